"""Exported files: executed, compared, complete, or not kept."""

import gc
import hashlib
import importlib
import json
import weakref
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import warm
from keras import layers, ops

import keras_kd as kd
from keras_kd.export import conversion as CONVERSION
from keras_kd.export import runner as RUNNER
from keras_kd.quantize.calibration import calibration_images
from keras_kd.teachers.heads import open_head

LITERT = importlib.import_module("keras_kd.export.litert")  # The package has a function so named.
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)

MODELS = {
    "mlp": lambda: kd.models.mlp([16]),
    "conv_net": lambda: kd.models.conv_net([4, 8]),
    "mixed_float16": lambda: mixed("mixed_float16"),
    "mixed_bfloat16": lambda: mixed("mixed_bfloat16"),
}


def mixed(policy):
    keras.config.set_dtype_policy(policy)
    try:
        return kd.models.mlp([16])
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.bfloat16 if "bfloat16" in name else ())
        for name in MODELS
    ]
)
def model(request):
    return MODELS[request.param]()


class TestLiteRT:
    def test_the_executed_file_answers_as_the_model(self, model, tmp_path):
        path = kd.export.litert(model, tmp_path / "model.tflite")
        run = kd.export.run_litert(path, PIXELS)
        # The file computes in float32; two of the models keep two or three digits.
        np.testing.assert_allclose(run.logits, model(PIXELS), rtol=2e-2, atol=2e-2)
        assert run.microseconds > 0

    def test_the_same_model_gives_the_same_bytes(self, tmp_path):
        model = MODELS["mlp"]()
        one = kd.export.litert(model, tmp_path / "one.tflite").read_bytes()
        assert kd.export.litert(model, tmp_path / "other.tflite").read_bytes() == one

    def test_the_converters_collection_leaves_alone_what_was_there_before(self, tmp_path):
        class Circle:
            def __init__(self):
                self.itself = self

        gc.unfreeze()  # As outside the suite.
        gc.disable()
        try:
            before = weakref.ref(Circle())
            kd.export.litert(MODELS["mlp"](), tmp_path / "model.tflite")
            assert before() is not None
            gc.collect()
            assert before() is None
        finally:
            gc.enable()
            gc.freeze()

    def test_a_sequential_model_that_no_other_called_is_exported(self, tmp_path):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
        images = np.ones((2, 4), "float32")
        run = kd.export.run_litert(kd.export.litert(model, tmp_path / "model.tflite"), images)
        np.testing.assert_allclose(run.logits, model(images), rtol=1e-5)

    def test_it_takes_one_image_and_names_its_ends(self, tmp_path):
        from ai_edge_litert.interpreter import Interpreter

        path = kd.export.litert(MODELS["mlp"](), tmp_path / "model.tflite")
        runner = Interpreter(str(path)).get_signature_runner("serve")
        details = runner.get_input_details()["image"]
        assert details["shape"].tolist() == [1, 28, 28, 1] and details["dtype"] == np.float32
        answer = runner(image=PIXELS[:1].astype("float32"))
        assert set(answer) == {"logits", "probabilities"}
        assert answer["probabilities"].sum() == pytest.approx(1, abs=1e-6)

    def test_beside_small_weights_nothing_else_weighs(self, tmp_path):
        model = kd.models.conv_net([16, 32], name="a_name_that_every_tensor_would_repeat")
        sizes = {
            form: kd.export.litert(
                model, tmp_path / f"{form}.tflite", quantization=form, calibration=PIXELS
            )
            .stat()
            .st_size
            for form in (None, "int8")
        }
        assert sizes[None] < 1.03 * 4 * model.count_params()
        assert sizes["int8"] < 0.29 * sizes[None]
        assert b"a_name_that" not in (tmp_path / "int8.tflite").read_bytes()

    def test_operations_that_a_phone_lacks_are_refused_and_nothing_is_left(self, tmp_path, capfd):
        image = keras.Input((4, 4, 1))
        model = keras.Model(image, ops.erfinv(layers.Flatten()(image)))
        with pytest.raises(ValueError, match=r"builtin operations\. Received: .*Erfinv"):
            kd.export.litert(model, tmp_path / "model.tflite")
        assert list(tmp_path.iterdir()) == []
        assert "Erfinv" not in capfd.readouterr().err  # The sentence says it.

    def test_a_file_that_lost_its_weights_is_not_kept(self, tmp_path, monkeypatch):
        """The converter's own pitfall: a file of 3 KB without an error."""

        def convert(model, *_):
            @tf.function(input_signature=[tf.TensorSpec((1, 28, 28, 1), tf.float32, name="image")])
            def serve(image):
                return {"logits": model(image)}

            converter = tf.lite.TFLiteConverter.from_concrete_functions(
                [serve.get_concrete_function()], model
            )
            return converter.convert()

        monkeypatch.setattr(LITERT, "convert", convert)
        monkeypatch.setattr(RUNNER, "SIGNATURE", "serving_default")
        (tmp_path / "model.tflite").write_bytes(b"the old one")
        with pytest.raises(ValueError, match="must answer as the model does.*not kept"):
            kd.export.litert(kd.models.mlp([16]), tmp_path / "model.tflite")
        assert [file.name for file in tmp_path.iterdir()] == ["model.tflite"]
        assert (tmp_path / "model.tflite").read_bytes() == b"the old one"

    def test_a_file_that_answers_nan_is_not_kept(self, tmp_path):
        model = kd.models.mlp([16])
        model.set_weights([weight * np.nan for weight in model.get_weights()])
        with pytest.raises(ValueError, match="with finite logits. Received: mlp"):
            kd.export.litert(model, tmp_path / "model.tflite")

    def test_a_file_for_any_number_of_images_answers_many_at_once(self, tmp_path):
        model = MODELS["conv_net"]()
        path = kd.export.litert(model, tmp_path / "model.tflite", batch_size=None)
        assert RUNNER.LiteRTFile(path).batch_size is None
        logits = kd.export.run_litert(path, PIXELS).logits
        np.testing.assert_allclose(logits, model(PIXELS), rtol=1e-3, atol=1e-4)

    def test_images_of_another_shape_are_refused(self, tmp_path):
        path = kd.export.litert(MODELS["mlp"](), tmp_path / "model.tflite")
        with pytest.raises(ValueError, match=r"shape \(28, 28, 1\). Received: \(28, 1\)"):
            kd.export.run_litert(path, PIXELS[:, 0])


@pytest.fixture(scope="module")
def student(digits_teacher):
    """A trained one: untrained logits lie so close that rounding decides."""
    return digits_teacher


@pytest.fixture(scope="module")
def whole(student, tmp_path_factory):
    """Its file of float32."""
    return kd.export.litert(student, tmp_path_factory.mktemp("whole") / "float32.tflite")


class TestQuantized:
    @pytest.mark.parametrize(
        ("quantization", "image", "logits", "share", "agreement"),
        [
            (None, "float32", "float32", 1.0, 1.0),
            ("float16", "float32", "float32", 0.60, 0.995),
            ("dynamic", "float32", "float32", 0.45, 0.98),
            ("int8", "int8", "int8", 0.45, 0.97),
            ("int8_uint8_input", "uint8", "int8", 0.50, 0.97),
            ("16x8", "int16", "int16", 0.50, 0.98),
            ("int4", "float32", "float32", 0.40, 0.80),
        ],
    )
    def test_the_file_takes_and_weighs_what_was_asked_for(
        self, quantization, image, logits, share, agreement, student, whole, digits, tmp_path
    ):
        """Shares of the float32 file's bytes; small ones, where names and tables weigh much."""
        if quantization == "int4":
            pytest.importorskip("ai_edge_quantizer")
        path = kd.export.litert(
            student, tmp_path / "file.tflite", quantization=quantization, calibration=digits.train
        )
        assert path.stat().st_size <= share * whole.stat().st_size
        file = RUNNER.LiteRTFile(path)
        assert file.inputs["image"]["dtype"].__name__ == image
        assert file.outputs["logits"]["dtype"].__name__ == logits
        expected = student.predict(digits.test.images, verbose=0)
        run = kd.export.run_litert(path, digits.test.images)
        assert kd.metrics.agreement(run.logits, expected) >= agreement

    @pytest.mark.parametrize(
        ("low", "high", "brightest"), [(0, 255, 255), (0, 255, 180), (-1, 1, 0.4)]
    )
    def test_a_camera_frame_is_fed_as_it_is(self, low, high, brightest, digits, tmp_path):
        """However bright the calibration images were, which decides in which steps it computes."""
        keras.utils.set_random_seed(0)
        student = kd.models.mlp([32], image_shape=digits.image_shape)
        images = low + digits.test.images.astype("float32") * (brightest - low) / 255
        path = kd.export.litert(
            student,
            tmp_path / "file.tflite",
            quantization="int8_uint8_input",
            calibration=images,
            input_range=(low, high),
        )
        file = RUNNER.LiteRTFile(path)
        scale, zero_point = file.inputs["image"]["quantization"]
        assert scale == pytest.approx((high - low) / 255)
        assert scale * (0 - zero_point) == pytest.approx(low, abs=scale)
        frames = np.round((images - low) / scale).astype("uint8")
        expected = student.predict(images, verbose=0)
        found = RUNNER.answers_of(file, {"image": scale * (frames - np.float32(zero_point))})[
            "logits"
        ]
        np.testing.assert_allclose(found, expected, atol=0.1 * np.abs(expected).max())

    def test_another_process_writes_the_same_bytes(self, tmp_path):
        code = (
            "import numpy as np, keras, keras_kd as kd\n"
            "keras.utils.set_random_seed(3)\n"
            "model = kd.models.conv_net([4, 8])\n"
            "images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)\n"
            "for form in ('int8', 'float16'):\n"
            "    kd.export.litert(model, form, quantization=form, calibration=images)"
        )
        run = warm.run(code=code, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        keras.utils.set_random_seed(3)
        kd.models.mlp([4])  # What else this process made must not matter.
        keras.utils.set_random_seed(3)
        model = kd.models.conv_net([4, 8])
        for form in ("int8", "float16"):
            path = kd.export.litert(
                model, tmp_path / "one.tflite", quantization=form, calibration=PIXELS
            )
            assert path.read_bytes() == (tmp_path / form).read_bytes()

    def test_the_file_and_its_sidecar_say_what_it_is(self, student, digits, tmp_path):
        names = [f"digit {number}" for number in range(10)]
        path = kd.export.litert(
            student,
            tmp_path / "file.tflite",
            quantization="int8",
            calibration=digits.train,
            class_names=names,
            reads=digits.reads,
        )
        inside = kd.export.embedded(path)
        assert inside["class_names"] == names and inside["quantization"] == "int8"
        assert inside["input"] == {
            "name": "image",
            "shape": [1, 8, 8, 1],
            "dtype": "int8",
            "scale": 1.0,
            "zero_point": -128,
            "range": [0.0, 255.0],
            "reads": "images",
        }
        beside = json.loads((tmp_path / "file.tflite.json").read_text())
        assert beside.pop("sha256") == hashlib.sha256(path.read_bytes()).hexdigest()
        assert beside == inside

    def test_class_names_must_be_as_many_as_the_logits(self, student, tmp_path):
        with pytest.raises(ValueError, match="one for each of the 10 logits. Received: 2"):
            kd.export.litert(student, tmp_path / "file.tflite", class_names=["a", "b"])
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_quantization_is_refused_with_the_known_ones(self, student, tmp_path):
        with pytest.raises(ValueError, match="'int8_uint8_input'.*Received: quantization='int9'"):
            kd.export.litert(student, tmp_path / "file.tflite", quantization="int9")

    def test_what_it_reads_is_one_of_four(self, student, tmp_path):
        with pytest.raises(ValueError, match="'images', 'texts', 'files'.*Received: reads='sound'"):
            kd.export.litert(student, tmp_path / "file.tflite", reads="sound")

    def test_a_file_that_stayed_in_floats_is_not_kept(self, tmp_path):
        """The converter leaves small layers alone, and says nothing."""
        model = kd.models.mlp([2], image_shape=(4, 4, 1))
        with pytest.raises(ValueError, match="must hold int8 weights. Received: float32, int32"):
            kd.export.litert(model, tmp_path / "file.tflite", quantization="dynamic")
        assert list(tmp_path.iterdir()) == []

    def test_a_float_file_for_want_of_calibration_is_not_kept(
        self, student, digits, tmp_path, monkeypatch
    ):
        """What an empty calibration set did, had it come so far."""
        configure = CONVERSION._configure

        def without_images(converter, quantization, images):
            configure(converter, quantization, images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.representative_dataset = None
            converter.inference_input_type = converter.inference_output_type = tf.float32

        monkeypatch.setattr(CONVERSION, "_configure", without_images)
        with pytest.raises(ValueError, match="compute in integers alone. Received: float32, int"):
            kd.export.litert(
                student, tmp_path / "file.tflite", quantization="int8", calibration=digits.train
            )
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_no_runtime_opens_is_not_kept(self, student, tmp_path, monkeypatch):
        convert = LITERT.convert
        monkeypatch.setattr(LITERT, "convert", lambda *asked: convert(*asked)[:-2000])
        with pytest.raises(ValueError, match="must be one that LiteRT opens.*The file was not ke"):
            kd.export.litert(student, tmp_path / "file.tflite")
        assert list(tmp_path.iterdir()) == []


class TestCalibration:
    """Each of these wrote a file without an error before there was a gate."""

    @pytest.mark.parametrize(
        ("spoil", "sentence"),
        [
            (lambda images: None, "needs `calibration`.*Received: none"),
            (lambda images: images[:0], "must hold images. Received: an empty one"),
            (lambda images: tf.data.Dataset.from_tensor_slices(images[:0]), "an empty one"),
            (lambda images: images / 255, "scale of `input_range`, 0 to 255. .*from 0 to 1"),
            (lambda images: images / 127.5 - 1.0, "scale of `input_range`.*from -1 to 1"),
            (lambda images: np.full_like(images, 7), "Received: images of one colour"),
            (lambda images: images[:, :4], r"shape \(8, 8, 1\).*Received: \(4, 8, 1\)"),
            (lambda images: images[..., 0, 0], r"Received: \(8,\)"),
            (lambda images: images.astype(str), "Received: an array of <U"),
            (lambda images: images * np.nan, "Received: NaN"),
        ],
    )
    def test_what_cannot_be_training_images_is_refused(
        self, spoil, sentence, digits, student, tmp_path
    ):
        with pytest.raises(ValueError, match=sentence):
            kd.export.litert(
                student,
                tmp_path / "file.tflite",
                quantization="int8",
                calibration=spoil(digits.train.images),
            )
        assert list(tmp_path.iterdir()) == []

    def test_arrays_splits_and_datasets_give_the_same_images(self, digits):
        split = digits.train
        few = kd.data.Split(split.images[:60], split.labels[:60])
        wanted = few.images.astype("float32")
        for calibration in (few, few.images, few.batches(16), few.batches(16).map(lambda x, _: x)):
            found = calibration_images(calibration, (8, 8, 1), (0, 255))
            np.testing.assert_array_equal(found, wanted)

    def test_the_last_axis_of_1_may_be_missing_or_one_too_many_as_for_keras(self, digits):
        images = digits.train.images[:60]
        for shape in ((8, 8, 1), (8, 8), (None, None, 1)):
            for given in (images, images[..., 0]):
                found = calibration_images(given, shape, (0, 255))
                np.testing.assert_array_equal(found.reshape(-1), images.reshape(-1))
                assert found.shape[1:] == ((8, 8, 1) if len(shape) == 3 else (8, 8))

    def test_a_sorted_set_is_sampled_from_end_to_end(self):
        images = np.arange(2000, dtype="float32")[:, None] + [0.0, 1.0]
        found = calibration_images(images, (2,), (0, 2000))
        assert found[0, 0] == 0 and found[-1, 0] == 1999 and len(found) == 500


class TestModelsThatCannotBeExported:
    @pytest.mark.parametrize(
        ("build", "sentence"),
        [
            (lambda: "student.keras", "must be a keras.Model. Received: str"),
            (lambda: keras.Sequential([layers.Dense(2)]), "must know its input. Received: seq"),
            (lambda: any_size(), r"images of one shape. Received: \(None, None, 1\)"),
            (lambda: ending("softmax"), "must return logits. Received: closed, .* in softmax"),
            (lambda: ending("sigmoid"), "must return logits. Received: closed, .* in sigmoid"),
            (lambda: ending(None), "must return logits. Received: closed, .* in softmax"),
        ],
    )
    def test_one_sentence_and_nothing_written(self, build, sentence, tmp_path):
        for write in (kd.export.litert, kd.export.saved_model, kd.export.onnx):
            if write is kd.export.onnx:
                pytest.importorskip("tf2onnx")
            with pytest.raises(ValueError, match=sentence):
                write(build(), tmp_path / "model.onnx")
        assert list(tmp_path.iterdir()) == []


def any_size():
    image = keras.Input((None, None, 1))
    return keras.Model(image, layers.GlobalAveragePooling2D()(image))


def ending(activation):
    image = keras.Input((4,))
    logits = layers.Dense(3)(image)
    # An operation instead of a layer.
    outputs = layers.Activation(activation)(logits) if activation else ops.softmax(logits)
    return keras.Model(image, outputs, name="closed")


def test_a_model_that_was_opened_can_be_exported(tmp_path):
    opened = open_head(ending("softmax"))[0]
    path = kd.export.litert(opened, tmp_path / "model.tflite")
    image = np.ones((1, 4), "float32")
    np.testing.assert_allclose(
        kd.export.run_litert(path, image).logits, opened(image), rtol=1e-5, atol=1e-5
    )


def two_layers(image, name="two_layers"):
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(64, activation="relu")(x)
    return keras.Model(image, layers.Dense(4)(x), name=name)


class TestWhatAModelTakes:
    """Whatever shape and dtype Keras feeds to a model, its files and its twin are fed with."""

    @pytest.mark.parametrize(
        ("shape", "images"),
        [((28, 28), PIXELS), ((28, 28, 1), PIXELS[..., 0])],
        ids=["one too many", "missing"],
    )
    def test_the_last_axis_of_1_may_be_missing_or_one_too_many(self, shape, images, tmp_path):
        model = two_layers(keras.Input(shape))
        expected = model(images).numpy()
        twin = kd.quantize.prepare(model, calibration=images)
        for each, calibration in ((model, images), (twin, None)):
            path = kd.export.litert(
                each, tmp_path / "file.tflite", quantization="int8", calibration=calibration
            )
            logits = kd.export.run_litert(path, images).logits
            np.testing.assert_allclose(logits, expected, atol=0.1 * expected.std())

    @pytest.mark.parametrize("dtype", ["uint8", "int32"])
    def test_pixels_may_come_as_integers(self, dtype, tmp_path):
        model = two_layers(keras.Input((28, 28, 1), dtype=dtype))
        expected = model(PIXELS).numpy()
        twin = kd.quantize.prepare(model, calibration=PIXELS)
        assert kd.quantize.float_layers(twin) == []
        path = tmp_path / "file.tflite"
        kd.export.litert(model, path, quantization="int8", calibration=PIXELS)
        logits = kd.export.run_litert(path, PIXELS).logits
        np.testing.assert_allclose(logits, expected, atol=0.1 * expected.std())

    @pytest.mark.parametrize("structure", ["dict", "list"])
    def test_the_one_input_and_output_may_stand_in_a_structure(self, structure, tmp_path):
        plain = two_layers(keras.Input((28, 28, 1), name="pixels"))
        image, logits = plain.inputs[0], plain.outputs[0]
        ends = ({"pixels": image}, {"y": logits}) if structure == "dict" else ([image], [logits])
        path = kd.export.litert(keras.Model(*ends), tmp_path / "file.tflite")
        np.testing.assert_allclose(
            kd.export.run_litert(path, PIXELS).logits, plain(PIXELS), rtol=1e-4, atol=1e-5
        )
        kd.export.saved_model(keras.Model(*ends), tmp_path / "saved")

    def test_the_logits_may_be_one_of_several_pieces(self, tmp_path):
        image = keras.Input((28, 28, 1))
        model = keras.Model(image, ops.split(two_layers(keras.Input((28, 28, 1)))(image), 2, 1)[1])
        path = kd.export.litert(model, tmp_path / "file.tflite")
        np.testing.assert_allclose(
            kd.export.run_litert(path, PIXELS).logits, model(PIXELS), rtol=1e-4, atol=1e-5
        )

    def test_mixed_precision_may_be_inside_a_model_inside(self, tmp_path):
        image = keras.Input((28, 28, 1))
        inner = mixed("mixed_float16")
        model = keras.Model(image, layers.Dense(3)(inner(image)))
        path = kd.export.litert(model, tmp_path / "file.tflite")
        logits = kd.export.run_litert(path, PIXELS).logits
        np.testing.assert_allclose(logits, model(PIXELS), rtol=2e-2, atol=2e-2)


def reader(vocabulary, dtype="float32", **kwargs):
    words = keras.Input((8,), dtype=dtype)
    x = layers.Embedding(vocabulary, 16, **kwargs)(words)
    x = layers.Dense(64, activation="relu")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(words, layers.Dense(3)(x), name="reader")


class TestTexts:
    """Models that take numbers of words, as integers or as Keras's default float32."""

    @pytest.mark.parametrize(
        ("vocabulary", "dtype"),
        [(2, "float32"), (50, "int32"), (3000, "float32"), (3000, "int32")],
    )
    def test_no_range_need_be_told(self, vocabulary, dtype, tmp_path):
        model = reader(vocabulary, dtype, mask_zero=True)
        texts = np.random.default_rng(0).integers(0, vocabulary, (20, 8))
        texts[:, 0] = vocabulary - 1
        path = kd.export.litert(model, tmp_path / "file.tflite")
        logits = kd.export.run_litert(path, texts).logits
        np.testing.assert_allclose(logits, model(texts), rtol=1e-4, atol=1e-5)
        assert kd.export.embedded(path)["input"]["range"] == [0, vocabulary - 1]

    @pytest.mark.parametrize("dtype", ["float32", "int32"])
    def test_a_file_of_integers_tells_all_words_apart(self, dtype, tmp_path):
        model = reader(3000, dtype)
        texts = np.random.default_rng(0).integers(0, 3000, (200, 8))
        expected = model(texts).numpy()
        twin = kd.quantize.prepare(model, calibration=texts)
        for each, calibration in ((model, texts), (twin, None)):
            path = kd.export.litert(
                each, tmp_path / "file.tflite", quantization="int8", calibration=calibration
            )
            assert RUNNER.LiteRTFile(path).inputs["image"]["dtype"] == np.int32
            logits = kd.export.run_litert(path, texts).logits
            np.testing.assert_allclose(logits, expected, atol=0.15 * expected.std())

    def test_words_beyond_the_table_are_refused(self, tmp_path):
        texts = np.full((20, 8), 50)
        with pytest.raises(ValueError, match="from 0 to 49. Received: 50 to 50"):
            kd.export.litert(
                reader(50), tmp_path / "file.tflite", quantization="int8", calibration=texts
            )

    def test_strings_are_refused(self, tmp_path):
        words = keras.Input((1,), dtype="string")
        x = layers.StringLookup(vocabulary=["a"], output_mode="multi_hot")(words)
        with pytest.raises(ValueError, match="must take numbers. Received: .* takes strings"):
            kd.export.litert(keras.Model(words, layers.Dense(2)(x)), tmp_path / "file.tflite")


class Looping(layers.Layer):
    """A loop that no layer's name tells of."""

    def call(self, inputs):
        return ops.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, ops.tanh(x)), (0, inputs))[1]


def recurrent(layer):
    steps = keras.Input((6, 4))
    return keras.Model(steps, layers.Dense(3)(layer(steps)), name="recurrent")


SERIES = np.random.default_rng(0).uniform(0, 255, (60, 6, 4)).astype("float32")


class TestWhatEndsItsProcess:
    """Seen of LiteRT: the converter on an infinite value, its runtime on integers compared."""

    def test_a_comparison_in_integers_is_a_sentence(self, tmp_path):
        image = keras.Input((28, 28, 1))
        x = layers.Flatten()(ops.where(image > 3.0, image, 0.0))
        model = keras.Model(image, layers.Dense(10)(x))
        said = r"GREATER, SELECT_V2 among others\. signal \d+, which ended it.*was not kept"
        with pytest.raises(ValueError, match=said):
            kd.export.litert(model, tmp_path / "f.tflite", quantization="int8", calibration=PIXELS)
        assert list(tmp_path.iterdir()) == []
        kd.export.litert(model, tmp_path / "f.tflite")

    def test_an_infinite_logarithm_is_a_sentence(self, tmp_path):
        image = keras.Input((28, 28, 1))
        model = keras.Model(image, layers.Dense(10)(layers.Flatten()(ops.exp(ops.log(image)))))
        with pytest.raises(ValueError, match="may be infinite.*ended with signal"):
            kd.export.litert(model, tmp_path / "f.tflite", quantization="int8", calibration=PIXELS)
        assert list(tmp_path.iterdir()) == []
        finite = ops.log(image + 1.0)
        model = keras.Model(image, layers.Dense(10)(layers.Flatten()(finite)))
        kd.export.litert(model, tmp_path / "f.tflite", quantization="int8", calibration=PIXELS)


class TestLoops:
    """LiteRT's converter ends the process that calibrates a model with a loop in it."""

    @pytest.mark.parametrize(
        "layer",
        [
            lambda: layers.LSTM(8),
            lambda: keras.Sequential([keras.Input((6, 4)), layers.Bidirectional(layers.GRU(8))]),
        ],
        ids=["LSTM", "nested GRU"],
    )
    def test_a_crash_is_a_sentence_that_names_the_way_out(self, layer, tmp_path):
        with pytest.raises(ValueError, match="Received: a loop.*signal.*`unroll=True`"):
            kd.export.litert(
                recurrent(layer()),
                tmp_path / "file.tflite",
                quantization="int8",
                calibration=SERIES,
            )
        assert list(tmp_path.iterdir()) == []

    def test_loops_of_any_layer_are_known(self, tmp_path):
        known = [
            CONVERSION._has(
                CONVERSION._LOOPS,
                CONVERSION.write_serving(recurrent(layer), tmp_path / name, batch_size=1),
            )
            for name, layer in (
                ("gru", layers.GRU(8)),
                ("unrolled", layers.GRU(8, unroll=True)),
                ("own", keras.Sequential([layers.Flatten(), layers.Dense(3), Looping()])),
            )
        ]
        assert known == [True, False, True]

    @pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
    def test_unrolled_they_become_integers(self, kind, tmp_path):
        rolled = recurrent(getattr(layers, kind)(16))
        model = recurrent(getattr(layers, kind)(16, unroll=True))
        model.set_weights(rolled.get_weights())
        series = SERIES / 255
        expected = rolled(series).numpy()
        # Written once more, of one kind: the same bytes.
        files = [
            kd.export.litert(
                model, tmp_path / name, quantization="int8", calibration=series, input_range=(0, 1)
            )
            for name in ("ab" if kind == "GRU" else "a")
        ]
        logits = kd.export.run_litert(files[0], series).logits
        error = np.sqrt(np.mean(np.square(logits - expected)))
        assert error < 0.03 * np.abs(expected).max()
        assert files[0].read_bytes() == files[-1].read_bytes()

    def test_each_step_of_a_gru_adds_the_same_bias(self, tmp_path):
        keras.utils.set_random_seed(0)
        model, rng = recurrent(layers.GRU(5, unroll=True)), np.random.default_rng(0)
        for weight in model.weights:
            if weight.name == "bias":
                weight.assign(rng.normal(size=weight.shape))
        path = kd.export.litert(
            model, tmp_path / "file", quantization="16x8", calibration=SERIES / 255,
            input_range=(0, 1),
        )  # fmt: skip
        logits, expected = kd.export.run_litert(path, SERIES / 255).logits, model(SERIES / 255)
        assert np.abs(logits - expected).mean() < 0.02 * np.abs(expected).mean()

    @pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "Bidirectional"])
    def test_onnx_holds_them(self, kind, tmp_path):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        layer = layers.GRU(8) if kind == "Bidirectional" else getattr(layers, kind)(8)
        model = recurrent(layers.Bidirectional(layer) if kind == "Bidirectional" else layer)
        path = kd.export.onnx(model, tmp_path / "model.onnx")
        logits = RUNNER.answers_of(RUNNER.ONNXFile(path), {"image": SERIES})["logits"]
        np.testing.assert_allclose(logits, model(SERIES), rtol=1e-3, atol=1e-3)


class TestONNX:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")

    def test_the_executed_file_answers_as_the_model(self, model, tmp_path):
        path = kd.export.onnx(model, tmp_path / "model.onnx")
        logits = RUNNER.answers_of(RUNNER.ONNXFile(path), {"image": PIXELS})["logits"]
        np.testing.assert_allclose(logits, model(PIXELS), rtol=2e-2, atol=2e-2)

    def test_a_normalization_keeps_its_mean(self, tmp_path):
        image = keras.Input((28, 28, 1))
        normalization = layers.Normalization()
        normalization.adapt(PIXELS)
        model = keras.Model(image, layers.Dense(3)(layers.Flatten()(normalization(image))))
        path = kd.export.onnx(model, tmp_path / "model.onnx")
        logits = RUNNER.answers_of(RUNNER.ONNXFile(path), {"image": PIXELS})["logits"]
        np.testing.assert_allclose(logits, model(PIXELS), rtol=1e-4, atol=1e-4)

    def test_the_same_model_gives_the_same_bytes(self, tmp_path):
        model = MODELS["conv_net"]()
        one = kd.export.onnx(model, tmp_path / "one.onnx").read_bytes()
        assert kd.export.onnx(model, tmp_path / "other.onnx").read_bytes() == one

    def test_a_file_that_answers_nan_is_not_kept(self, tmp_path):
        model = kd.models.mlp([16])
        model.set_weights([weight * np.nan for weight in model.get_weights()])
        with pytest.raises(ValueError, match="with finite logits. Received: mlp"):
            kd.export.onnx(model, tmp_path / "model.onnx")
        assert list(tmp_path.iterdir()) == []


class TestSavedModel:
    def test_the_signatures_answer_as_the_model(self, model, tmp_path):
        kd.export.saved_model(model, tmp_path / "saved")
        signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
        assert set(signatures) == {"serve", "serving_default"}
        for name in signatures:
            answer = signatures[name](image=tf.constant(PIXELS.astype("float32")))
            np.testing.assert_allclose(answer["logits"], model(PIXELS), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(
                answer["probabilities"], ops.softmax(model(PIXELS)), rtol=1e-4, atol=1e-6
            )

    def test_every_weight_is_stored_once(self, tmp_path):
        """Keras's own `model.export` stores them twice (keras#23553)."""
        model = kd.models.mlp([128])
        kd.export.saved_model(model, tmp_path / "saved")
        stored = sum(file.stat().st_size for file in (tmp_path / "saved" / "variables").iterdir())
        assert stored < 1.15 * 4 * model.count_params()


def test_an_uncompiled_copy_is_as_small_as_its_weights(tmp_path):
    """ "Why is the compressed model bigger than before?" - because of the optimizer in it."""
    model = kd.models.mlp([128])
    model.compile("adam", kd.losses.CrossEntropy())
    model.fit(PIXELS, np.zeros(20), verbose=0)
    copy = kd.export.uncompiled(model)
    copy.save(tmp_path / "copy.keras")
    assert not copy.compiled
    np.testing.assert_array_equal(copy(PIXELS), model(PIXELS))
    with zipfile.ZipFile(tmp_path / "copy.keras") as file:
        assert file.getinfo("model.weights.h5").file_size < 1.1 * 4 * model.count_params()
