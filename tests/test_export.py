"""Exported files: executed, compared, complete, or not kept."""

import importlib
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd

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

    def test_operations_that_a_phone_lacks_are_refused_and_nothing_is_left(self, tmp_path):
        image = keras.Input((4, 4, 1))
        model = keras.Model(image, ops.erfinv(layers.Flatten()(image)))
        with pytest.raises(ValueError, match=r"builtin operations\. Received: .*Erfinv"):
            kd.export.litert(model, tmp_path / "model.tflite")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_lost_its_weights_is_not_kept(self, tmp_path, monkeypatch):
        """The converter's own pitfall: a file of 3 KB without an error."""

        def convert(model):
            @tf.function(input_signature=[tf.TensorSpec((1, 28, 28, 1), tf.float32, name="image")])
            def serve(image):
                return {"logits": model(image)}

            converter = tf.lite.TFLiteConverter.from_concrete_functions(
                [serve.get_concrete_function()], model
            )
            return converter.convert()

        monkeypatch.setattr(LITERT, "_convert", convert)
        monkeypatch.setattr(LITERT, "_SIGNATURE", "serving_default")
        (tmp_path / "model.tflite").write_bytes(b"the old one")
        with pytest.raises(ValueError, match="must answer as the model does.*not kept"):
            kd.export.litert(kd.models.mlp([16]), tmp_path / "model.tflite")
        assert (tmp_path / "model.tflite").read_bytes() == b"the old one"

    def test_a_file_that_answers_nan_is_not_kept(self, tmp_path):
        model = kd.models.mlp([16])
        model.set_weights([weight * np.nan for weight in model.get_weights()])
        with pytest.raises(ValueError, match="Received: logits that differ by nan"):
            kd.export.litert(model, tmp_path / "model.tflite")


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

    def test_a_model_with_two_outputs_is_refused(self, tmp_path):
        image = keras.Input((4,))
        model = keras.Model(image, [layers.Dense(2)(image), layers.Dense(2)(image)])
        with pytest.raises(ValueError, match="one input and one output. Received: 1 and 2"):
            kd.export.saved_model(model, tmp_path / "saved")
        assert list(tmp_path.iterdir()) == []


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
