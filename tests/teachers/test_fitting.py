"""Teachers of other sizes, colours, scales and heads than the images ask for."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.teachers import teacher as teacher_module
from keras_kd.teachers.fitting import TeacherInput, at_every_scale, opened_teacher

layers = keras.layers
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (12, 6, 6, 1), dtype=np.uint8)
COLOURED = GENERATOR.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)


def data_of(images):
    some = images, np.arange(len(images)) % 4
    return kd.data.from_arrays(some, some, validation_fraction=0.4)


def ending_in(*head):
    return keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Rescaling(1 / 255), layers.Flatten(), *head]
    )


@pytest.mark.parametrize("scale", ["0..255", "0..1", "-1..1", "imagenet", "caffe"])
def test_a_scale_gives_the_teacher_what_it_was_trained_on(scale):
    preprocess = {
        "0..255": lambda x: x,
        "0..1": lambda x: x / 255,
        "-1..1": lambda x: x / 127.5 - 1,
        "imagenet": lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="torch"),
        "caffe": lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="caffe"),
    }[scale]
    expected = preprocess(COLOURED.astype("float32"))
    np.testing.assert_allclose(TeacherInput(None, 3, scale)(COLOURED), expected, atol=1e-2)


def test_a_teacher_of_other_size_and_colours_sees_converted_images():
    colour = kd.models.conv_net([2], image_shape=(12, 12, 3), num_classes=4)
    teacher = opened_teacher(colour, data_of(IMAGES))
    expected = colour(TeacherInput((12, 12), 3)(IMAGES))
    np.testing.assert_allclose(teacher(IMAGES), expected, atol=1e-5)
    grey = kd.models.conv_net([2], image_shape=(6, 6, 1), num_classes=4)
    teacher = opened_teacher(grey, data_of(COLOURED))
    grey_images = np.repeat(IMAGES, 3, -1)
    np.testing.assert_allclose(teacher(grey_images), grey(IMAGES.astype("float32")), atol=1e-3)


def test_one_sigmoid_is_two_classes_at_every_temperature():
    model = ending_in(layers.Dense(1, activation="sigmoid"))
    logits = np.asarray(opened_teacher(model, data_of(IMAGES))(IMAGES))
    positive = np.asarray(model(IMAGES))[:, 0]
    np.testing.assert_allclose(keras.ops.softmax(logits)[:, 1], positive, rtol=1e-5)


@pytest.mark.parametrize("scale", ["0..255", "0..1"])
def test_several_sigmoids_are_probabilities_that_sum_to_1(scale):
    model = ending_in(layers.Dense(3, activation="sigmoid"))
    logits = opened_teacher(model, data_of(IMAGES), scale=scale)(IMAGES)
    p = np.asarray(model(TeacherInput(None, 1, scale)(IMAGES)))
    np.testing.assert_allclose(keras.ops.softmax(logits), p / p.sum(-1, keepdims=True), rtol=1e-4)


@pytest.fixture
def opened(monkeypatch):
    """What models were tried on, to open them."""
    models, try_out = [], teacher_module.try_out

    def tried(model, **options):
        models.append(model.name)
        return try_out(model, **options)

    monkeypatch.setattr(teacher_module, "try_out", tried)
    return models


def test_a_file_is_opened_once_for_all_scales_and_whoever_asks_again(opened, tmp_path):
    model = ending_in(layers.Dense(4, activation="softmax"))
    model.save(tmp_path / "teacher.keras")
    data = data_of(IMAGES)
    for scale in ("0..255", "0..1"):
        teacher = opened_teacher(tmp_path / "teacher.keras", data, scale=scale)
        assert opened_teacher(teacher, data) is teacher
        own, teachers = at_every_scale(teacher, data)
        assert own == scale and set(teachers) == {"0..255", "0..1", "-1..1"}  # Grey images.
        for each, other in teachers.items():
            expected = keras.ops.softmax(other(IMAGES))
            seen = TeacherInput(None, 1, each)(IMAGES)
            np.testing.assert_allclose(expected, model(seen), atol=1e-5)
    assert opened == [model.name] * 2
