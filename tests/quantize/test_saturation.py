"""What a twin's ranges cut off, by hand, and what an exported file says of it."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.export import metadata


def twin_of(images):
    """Return a twin of a student that sums its pixels, calibrated on images."""
    student = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            layers.Flatten(),
            layers.Dense(2, kernel_initializer="ones", name="logits"),
        ]
    )
    return kd.quantize.prepare(student, calibration=images)


@pytest.fixture
def images():
    """Eight images with one bright pixel each, up to 255."""
    images = np.zeros((8, 2, 2, 1), "float32")
    images[:, 0, 0, 0] = np.linspace(32, 255, 8)
    return images


def test_shares_are_counted_beyond_the_ends(images):
    twin = twin_of(images)
    assert kd.quantize.saturation(twin, images) == {"logits_range": 0.0}
    brighter = np.concatenate([images, np.full((8, 2, 2, 1), 255.0, "float32")])
    assert kd.quantize.saturation(twin, brighter) == {"logits_range": 0.5}


def test_what_lies_within_half_a_step_is_not_cut_off(images):
    twin = twin_of(images)
    grid = twin.get_layer("logits_range")
    high = float(grid.highest.numpy())
    grid.highest.assign(high - high / 600)
    assert kd.quantize.saturation(twin, images) == {"logits_range": 0.0}
    grid.highest.assign(high - high / 400)
    assert kd.quantize.saturation(twin, images) == {"logits_range": 1 / 8}


def test_a_float_student_is_refused():
    student = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="`saturation` asks a model of `quantize.prepare`"):
        kd.quantize.saturation(student, np.zeros((4, 3)))


def test_a_file_says_what_it_cuts_off_and_warns_of_much(images, tmp_path):
    twin, path = twin_of(images), tmp_path / "file.tflite"
    kd.export.litert(twin, path, quantization="int8", calibration=images)
    assert metadata.embedded(path)["saturation"] == {"logits_range": 0.0}
    kd.export.litert(twin, path, quantization="int8")
    assert "saturation" not in metadata.embedded(path)
    brighter = np.concatenate([images, images + np.float32([[[0], [0]], [[0], [255]]])])
    with pytest.warns(UserWarning, match=r"cuts off 50.0% of what logits_range is given"):
        kd.export.litert(twin, path, quantization="int8", calibration=brighter)
    assert json.loads(path.with_suffix(".tflite.json").read_text())["saturation"] == {
        "logits_range": 0.5
    }


def test_a_twin_whose_answers_lie_between_0_and_1_is_known_to_return_logits(tmp_path):
    """It is tried with other weights, of which its ranges have some."""
    image = keras.Input((4,))
    layer = layers.Dense(3, kernel_initializer="ones", use_bias=False)
    student = keras.Model(image, layer(image))
    images = np.random.default_rng(0).uniform(0, 0.1, (20, 4)).astype("float32")
    twin = kd.quantize.prepare(student, calibration=images, input_range=(0, 0.1))
    path = kd.export.litert(
        twin, tmp_path / "t.tflite", quantization="int8", calibration=images, input_range=(0, 0.1)
    )
    assert path.exists()
