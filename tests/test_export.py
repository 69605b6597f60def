"""Exported files: executed, compared, complete, or not kept."""

import hashlib
import importlib
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd._calibration import calibration_images
from keras_kd.export import conversion as CONVERSION
from keras_kd.export import runner as RUNNER
from keras_kd.heads import open_head

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


@pytest.fixture(params=MODELS)
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
        with pytest.raises(ValueError, match="Received: logits that differ by nan"):
            kd.export.litert(model, tmp_path / "model.tflite")

    def test_a_file_for_any_number_of_images_answers_many_at_once(self, tmp_path):
        model = MODELS["conv_net"]()
        path = kd.export.litert(model, tmp_path / "model.tflite", batch_size=None)
        assert RUNNER.LiteRTFile(path).batch_size is None
        logits = kd.export.run_litert(path, PIXELS).logits
        np.testing.assert_allclose(logits, model(PIXELS), rtol=1e-3, atol=1e-4)

    def test_images_of_another_shape_are_refused(self, tmp_path):
        path = kd.export.litert(MODELS["mlp"](), tmp_path / "model.tflite")
        with pytest.raises(ValueError, match=r"shape \(28, 28, 1\). Received: \(28, 28\)"):
            kd.export.run_litert(path, PIXELS[..., 0])


@pytest.fixture(scope="module")
def student(digits_teacher):
    """A trained one: untrained logits lie so close that rounding decides."""
    return digits_teacher


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
        self, quantization, image, logits, share, agreement, student, digits, tmp_path
    ):
        """Shares of the float32 file's bytes; small ones, where names and tables weigh much."""
        if quantization == "int4":
            pytest.importorskip("ai_edge_quantizer")
        whole = kd.export.litert(student, tmp_path / "float32.tflite")
        path = kd.export.litert(
            student, tmp_path / "file.tflite", quantization=quantization, calibration=digits.train
        )
        assert path.stat().st_size <= share * whole.stat().st_size
        file = RUNNER.LiteRTFile(path)
        assert file.image["dtype"].__name__ == image and file.logits["dtype"].__name__ == logits
        expected = student.predict(digits.test.images, verbose=0)
        run = kd.export.run_litert(path, digits.test.images)
        assert kd.metrics.agreement(run.logits, expected) >= agreement

    def test_a_camera_frame_is_fed_as_it_is(self, student, digits, tmp_path):
        path = kd.export.litert(
            student,
            tmp_path / "file.tflite",
            quantization="int8_uint8_input",
            calibration=digits.train,
        )
        file = RUNNER.LiteRTFile(path)
        assert file.image["quantization"] == (1.0, 0)

    @pytest.mark.parametrize("quantization", ["int8", "float16"])
    def test_another_process_writes_the_same_bytes(self, quantization, tmp_path):
        code = (
            "import sys, numpy as np, keras, keras_kd as kd\n"
            "keras.utils.set_random_seed(3)\n"
            "model = kd.models.conv_net([4, 8])\n"
            "images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)\n"
            "kd.export.litert(model, sys.argv[1], quantization=sys.argv[2], calibration=images)"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "other.tflite"), quantization],
            check=True,
            capture_output=True,
        )
        keras.utils.set_random_seed(3)
        kd.models.mlp([4])  # What else this process made must not matter.
        keras.utils.set_random_seed(3)
        path = kd.export.litert(
            kd.models.conv_net([4, 8]),
            tmp_path / "one.tflite",
            quantization=quantization,
            calibration=PIXELS,
        )
        assert path.read_bytes() == (tmp_path / "other.tflite").read_bytes()

    def test_the_file_and_its_sidecar_say_what_it_is(self, student, digits, tmp_path):
        names = [f"digit {number}" for number in range(10)]
        path = kd.export.litert(
            student,
            tmp_path / "file.tflite",
            quantization="int8",
            calibration=digits.train,
            class_names=names,
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
            (lambda: two_outputs(), "one input and one output. Received: 1 and 2"),
            (lambda: any_size(), r"images of one shape. Received: \(None, None, 1\)"),
            (lambda: ending("softmax"), "must return logits. Received: closed, .* in softmax"),
            (lambda: ending("sigmoid"), "must return logits. Received: closed, .* in sigmoid"),
            (lambda: ending(None), "must return logits. Received: closed, .* in probabilities"),
        ],
    )
    def test_one_sentence_and_nothing_written(self, build, sentence, tmp_path):
        for write in (kd.export.litert, kd.export.saved_model, kd.export.onnx):
            if write is kd.export.onnx:
                pytest.importorskip("tf2onnx")
            with pytest.raises(ValueError, match=sentence):
                write(build(), tmp_path / "model.onnx")
        assert list(tmp_path.iterdir()) == []


def two_outputs():
    image = keras.Input((4,))
    return keras.Model(image, [layers.Dense(2)(image), layers.Dense(2)(image)])


def any_size():
    image = keras.Input((None, None, 1))
    return keras.Model(image, layers.GlobalAveragePooling2D()(image))


def ending(activation):
    image = keras.Input((4,))
    logits = layers.Dense(3)(image)
    # An operation instead of a layer: the graph does not tell what it is.
    outputs = layers.Activation(activation)(logits) if activation else ops.softmax(logits)
    return keras.Model(image, outputs, name="closed")


def test_a_model_that_was_opened_can_be_exported(tmp_path):
    opened = open_head(ending("softmax"))[0]
    path = kd.export.litert(opened, tmp_path / "model.tflite")
    image = np.ones((1, 4), "float32")
    np.testing.assert_allclose(
        kd.export.run_litert(path, image).logits, opened(image), rtol=1e-5, atol=1e-5
    )


class TestONNX:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")

    def test_the_executed_file_answers_as_the_model(self, model, tmp_path):
        path = kd.export.onnx(model, tmp_path / "model.onnx")
        logits = RUNNER.logits_of(RUNNER.ONNXFile(path), PIXELS)
        np.testing.assert_allclose(logits, model(PIXELS), rtol=2e-2, atol=2e-2)

    def test_the_same_model_gives_the_same_bytes(self, tmp_path):
        model = MODELS["conv_net"]()
        one = kd.export.onnx(model, tmp_path / "one.onnx").read_bytes()
        assert kd.export.onnx(model, tmp_path / "other.onnx").read_bytes() == one

    def test_a_file_that_answers_nan_is_not_kept(self, tmp_path):
        model = kd.models.mlp([16])
        model.set_weights([weight * np.nan for weight in model.get_weights()])
        with pytest.raises(ValueError, match="Received: logits that differ by nan"):
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
