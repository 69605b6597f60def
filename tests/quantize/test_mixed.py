"""Layers of a twin that have fewer bits than others, or none."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.export.runner import LiteRTFile


@pytest.fixture(scope="module")
def student(digits):
    """Return a small net with BatchNormalization, trained enough to tell layers apart."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 255, name="scale")(image)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.SeparableConv2D(16, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="hidden")(x)
    model = keras.Model(image, layers.Dense(10, name="logits")(x), name="student")
    model.compile(keras.optimizers.Adam(3e-3), kd.losses.CrossEntropy())
    model.fit(digits.train.batches(64, shuffle_seed=0), epochs=6, shuffle=False, verbose=0)
    return model


def bits_of(twin):
    return {each.name: each.weight_bits for each in twin.layers if hasattr(each, "weight_bits")}


def test_named_layers_have_int4_and_the_others_int8(student, digits, tmp_path):
    weights = {"hidden": "int4"}
    twin = kd.quantize.prepare(student, weights=weights, calibration=digits.train)
    int8 = {"conv": 8, "separable_depthwise": 8, "separable": 8, "logits": 8}
    assert bits_of(twin) == {**int8, "hidden": 4}
    assert kd.quantize.weight_bits(twin) == 4 and twin.name == "student_mixed"
    path = kd.export.litert(twin, tmp_path / "mixed.tflite", quantization="int4")
    whole = kd.quantize.prepare(student, calibration=digits.train)
    other = kd.export.litert(whole, tmp_path / "int8.tflite", quantization="int8")
    saved = other.stat().st_size - path.stat().st_size
    assert saved == pytest.approx(4 * 4 * 16 * 64 / 2, abs=64)
    logits = kd.export.run_litert(path, digits.test.images).logits
    predicted = twin.predict(digits.test.images, verbose=0)
    assert kd.metrics.agreement(logits, predicted) >= 0.99


def test_what_is_kept_computes_in_float32_there_and_in_the_file(student, digits, tmp_path):
    twin = kd.quantize.prepare(student, keep_float=["conv", "logits"], calibration=digits.train)
    assert bits_of(twin) == {"separable_depthwise": 8, "separable": 8, "hidden": 8}
    assert kd.quantize.float_layers(twin) == ["conv", "norm", "logits"]
    conv, logits = 64 * 9 * 8, 64 * 10
    integers = 64 * (9 * 8 + 8 * 16) + 16 * 16 * 64
    share = (conv + logits) / (conv + logits + integers)
    assert kd.quantize.float_share(twin) == pytest.approx(share)
    path = kd.export.litert(twin, tmp_path / "kept.tflite", quantization="int8")
    tensors = LiteRTFile(path).interpreter.get_tensor_details()
    assert not any(each["dtype"] is np.float64 for each in tensors)
    kernels = {tuple(each["shape"]): np.dtype(each["dtype"]).name for each in tensors}
    assert kernels[8, 3, 3, 1] == kernels[10, 64] == "float32"
    assert kernels[64, 1, 1, 256] == "int8"
    run = kd.export.run_litert(path, digits.test.images).logits
    predicted = twin.predict(digits.test.images, verbose=0)
    assert kd.metrics.agreement(run, predicted) >= 0.99


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": {"hiden": "int4"}}, "`weights` must be one of 'conv', 'separable'"),
        ({"weights": {"hidden": "int2"}}, "`weights` must be one of 'int8', 'int4'"),
        ({"weights": ["conv"]}, r"`weights` must be one of .*Received: weights=\['conv'\]"),
        ({"keep_float": None}, "`keep_float` must be names of layers. Received: keep_float=None"),
        ({"calibration": 0.5}, "must be an array of pixels.*Received: 0.5"),
        ({"calibration": {"x": [1]}}, "must be one array.*Received: a dict of x"),
        ({"keep_float": ["relu"]}, "`keep_float` must be one of 'conv'"),
        (
            {"weights": {"conv": "int4"}, "keep_float": ["conv"]},
            "conv in both `weights` and `keep_float`",
        ),
        (
            {"keep_float": ["conv", "separable", "hidden", "logits"]},
            "`keep_float` must leave a layer to integers",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, said, student):
    with pytest.raises(ValueError, match=said):
        kd.quantize.prepare(student, **options)


def reader():
    words = keras.Input((8,))  # Of Keras's default, float32.
    x = layers.Embedding(3000, 16, name="table")(words)
    x = layers.Dense(16, name="hidden")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(words, layers.Dense(3, name="logits")(x), name="reader")


def test_int4_of_what_has_it_in_no_file_is_refused():
    with pytest.raises(ValueError, match="'table': 'int4'.* of a layer Embedding"):
        kd.quantize.prepare(reader(), weights={"table": "int4"})


def test_a_table_that_is_kept_is_looked_up_by_whole_words():
    model, texts = reader(), np.random.default_rng(0).integers(0, 3000, (200, 8))
    twin = kd.quantize.prepare(model, keep_float=["table"], calibration=texts)
    expected = model(texts).numpy()
    np.testing.assert_allclose(twin(texts), expected, atol=0.1 * expected.std())
