"""Files of models with several inputs and outputs, and with an answer at every place."""

import importlib

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.export.ends import call, check_equal_answers
from keras_kd.export.runner import LiteRTFile, ONNXFile, SavedModelFolder, answers_of

LITERT = importlib.import_module("keras_kd.export.litert")  # The package has a function so named.
N, PLACES, WORDS = 12, 6, 40
RANDOM = np.random.default_rng(0)
TEXTS = {
    "ids": RANDOM.integers(1, WORDS, (N, PLACES)).astype("int32"),
    "mask": (RANDOM.uniform(size=(N, PLACES)) < 0.8).astype("int32"),
    "table": RANDOM.normal(size=(N, 3)).astype("float32"),
}
IMAGES = RANDOM.integers(0, 256, (N, 8, 8, 1), np.uint8)


def tagger(mixed=False):
    """Words, their mask and a table of numbers, to a class at every place and three values."""
    inputs = {
        "ids": keras.Input((PLACES,), dtype="int32", name="ids"),
        "mask": keras.Input((PLACES,), dtype="bool", name="mask"),
        "table": keras.Input((3,), name="table"),
    }
    kind = {"dtype": "mixed_bfloat16"} if mixed else {}
    words = layers.Embedding(WORDS, 32, **kind)(inputs["ids"])
    counted = inputs["mask"][:, None]
    seen = layers.MultiHeadAttention(2, 16, **kind)(words, words, attention_mask=counted)
    seen = layers.LayerNormalization(**kind)(words + seen)
    places = layers.Dense(32, activation="gelu", **kind)(seen)
    facts = layers.RepeatVector(PLACES)(layers.Dense(32, **kind)(inputs["table"]))
    outputs = {
        "tags": layers.Dense(5, dtype="float32")(places + facts),
        "box": layers.Dense(3, activation="sigmoid", dtype="float32")(layers.Flatten()(places)),
    }
    return keras.Model(inputs, outputs, name="tagger")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tagger()


@pytest.fixture(scope="module")
def expected(model):
    return {name: np.asarray(each) for name, each in model(TEXTS, training=False).items()}


class TestSeveralInputsAndOutputs:
    """Every file goes by the names of the model and answers as it does, output by output."""

    @pytest.mark.parametrize(
        ("quantization", "tolerance"),
        [(None, 1e-5), ("float16", 1e-2), ("dynamic", 0.1), ("int8", 0.2)],
    )
    def test_litert(self, quantization, tolerance, model, expected, tmp_path):
        path = tmp_path / "tagger.tflite"
        kd.export.litert(model, path, quantization=quantization, calibration=TEXTS)
        run = kd.export.run_litert(path, TEXTS)
        assert run.outputs.keys() == expected.keys()
        for name, each in expected.items():
            assert run.outputs[name].shape == each.shape
            assert np.abs(run.outputs[name] - each).mean() < tolerance
        with pytest.raises(AttributeError, match=r"no `logits` but box, tags|tags, box"):
            _ = run.logits
        said = kd.export.embedded(path)
        assert {each["name"] for each in said["inputs"]} == TEXTS.keys()
        assert {each["name"]: each["shape"] for each in said["outputs"]} == {
            "tags": [1, PLACES, 5],
            "box": [1, 3],
        }

    def test_saved_model_and_any_number_at_once(self, model, expected, tmp_path):
        path = kd.export.saved_model(model, tmp_path / "tagger")
        for name, each in answers_of(SavedModelFolder(path), TEXTS).items():
            np.testing.assert_allclose(each, expected[name], rtol=1e-5, atol=1e-6)
        path = kd.export.litert(model, tmp_path / "tagger.tflite", batch_size=None)
        assert LiteRTFile(path).batch_size is None
        for name, each in kd.export.run_litert(path, TEXTS).outputs.items():
            np.testing.assert_allclose(each, expected[name], rtol=1e-4, atol=1e-5)

    def test_onnx_also_of_an_exact_gelu(self, model, expected, tmp_path):
        pytest.importorskip("tf2onnx")
        path = kd.export.onnx(model, tmp_path / "tagger.onnx")
        for name, each in answers_of(ONNXFile(path), TEXTS).items():
            np.testing.assert_allclose(each, expected[name], rtol=1e-4, atol=1e-5)

    def test_mixed_precision(self, tmp_path):
        path = kd.export.litert(tagger(mixed=True), tmp_path / "tagger.tflite")
        assert kd.export.run_litert(path, TEXTS).outputs["tags"].dtype == np.float32

    def test_inputs_in_a_list_go_by_their_own_names(self, tmp_path):
        left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
        model = keras.Model([left, right], layers.Dense(3)(left - right))
        inputs = {"right": RANDOM.normal(size=(5, 4)), "left": RANDOM.normal(size=(5, 4))}
        run = kd.export.run_litert(kd.export.litert(model, tmp_path / "model.tflite"), inputs)
        expected = model([inputs["left"], inputs["right"]])
        np.testing.assert_allclose(run.logits, expected, rtol=1e-5, atol=1e-6)
        assert run.outputs.keys() == {"logits", "probabilities"}


class TestPlaces:
    """One answer at every place of an image."""

    @staticmethod
    def segmenter():
        image = keras.Input((8, 8, 1))
        x = layers.Rescaling(1 / 255)(image)
        x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
        return keras.Model(image, layers.Conv2D(3, 1, name="segments")(x))

    @pytest.mark.parametrize("quantization", [None, "int8", "int8_uint8_input"])
    def test_the_file_has_one_input_called_image(self, quantization, tmp_path):
        keras.utils.set_random_seed(0)
        model, path = self.segmenter(), tmp_path / "model.tflite"
        kd.export.litert(model, path, quantization=quantization, calibration=IMAGES)
        run = kd.export.run_litert(path, IMAGES)
        assert np.abs(run.outputs["segments"] - model(IMAGES)).max() < 0.1
        assert run.logits is run.outputs["segments"]

    def test_one_wrong_place_among_many_is_found(self, tmp_path):
        model = self.segmenter()
        inputs = {"image": IMAGES}
        answers = {name: np.array(each) for name, each in call(model, inputs).items()}
        check_equal_answers(answers, model, inputs, "file", 0.5)
        # Far below the mean over 64 places, far above at this one.
        answers["segments"][:, 5, 2] += 1.5
        with pytest.raises(ValueError, match=r"segments that differ by 1.5 at \(5, 2\)"):
            check_equal_answers(answers, model, inputs, "file", 0.5)
        answers["segments"][:, 5, 2] = np.nan
        with pytest.raises(ValueError, match=r"segments that differ by nan at \(5, 2\)"):
            check_equal_answers(answers, model, inputs, "file", 0.5)


class TestIntegersAlone:
    """The converter leaves the negation of a LayerNormalization in float32."""

    def test_negations_are_integers(self, model, tmp_path):
        path = tmp_path / "tagger.tflite"
        kd.export.litert(model, path, quantization="int8", calibration=TEXTS)
        held = LiteRTFile(path).interpreter.get_tensor_details()
        assert not [each for each in held if np.dtype(each["dtype"]).name.startswith("float")]

    def test_they_negate_to_the_step(self, tmp_path):
        number = keras.Input((4,))
        model = keras.Model(number, ops.negative(layers.Dense(400)(number)))
        keras.utils.set_random_seed(0)
        table = RANDOM.uniform(0, 255, (50, 4)).astype("float32")
        path = kd.export.litert(
            model, tmp_path / "model.tflite", quantization="int8", calibration=table
        )
        run = kd.export.run_litert(path, table)
        step = LiteRTFile(path).outputs["logits"]["quantization"][0]
        assert np.abs(run.logits - model(table)).max() < 2.5 * step


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    return kd.export.litert(model, tmp_path_factory.mktemp("whole") / "tagger.tflite")


class TestBadInput:
    """One sentence each."""

    @pytest.mark.parametrize(
        ("inputs", "sentence"),
        [
            (TEXTS["ids"], "one for each input: .*ids.*Received: ndarray"),
            ({"ids": TEXTS["ids"]}, "one for each input: .*Received: ids"),
            (
                {**TEXTS, "mask": TEXTS["mask"][:, :2]},
                r"takes mask of shape \(6,\). Received: \(2,\)",
            ),
            ({**TEXTS, "ids": TEXTS["ids"][:2]}, "as many of each input. Received: .*2 of ids"),
        ],
    )
    def test_run(self, inputs, sentence, path):
        with pytest.raises(ValueError, match=sentence):
            kd.export.run_litert(path, inputs)

    @pytest.mark.parametrize(
        ("quantization", "calibration", "sentence"),
        [
            ("int8", None, "needs `calibration`"),
            ("int8", {**TEXTS, "table": TEXTS["table"] * np.nan}, "table of float32 with NaN"),
            ("int8", {name: each[:0] for name, each in TEXTS.items()}, "Received: an empty one"),
            ("int8_uint8_input", TEXTS, r"must have one input. Received: 3 \(ids, mask, table\)"),
        ],
    )
    def test_export(self, quantization, calibration, sentence, model, tmp_path):
        with pytest.raises(ValueError, match=sentence):
            kd.export.litert(
                model, tmp_path / "m.tflite", quantization=quantization, calibration=calibration
            )
        assert list(tmp_path.iterdir()) == []

    def test_sizes_that_are_free_are_named(self, tmp_path):
        ids = keras.Input((None,), dtype="int32", name="ids")
        table = keras.Input((3,), name="table")
        places = layers.Embedding(WORDS, 4)(ids)
        model = keras.Model({"ids": ids, "table": table}, layers.Dense(2)(places))
        with pytest.raises(
            ValueError, match=r"know the shape of ids. Received: \(None,\). Wrap it"
        ):
            kd.export.litert(model, tmp_path / "m.tflite")

    def test_names_of_classes_must_fit_an_output(self, model, tmp_path):
        with pytest.raises(
            ValueError, match="as many as the last axis of an output: .*Received: 4"
        ):
            kd.export.litert(model, tmp_path / "m.tflite", class_names=list("abcd"))

    def test_proving_is_for_classifiers(self, model, tmp_path):
        with pytest.raises(ValueError, match=r"must return logits \[batch, num_classes\] alone"):
            kd.export.export(model, tmp_path)
