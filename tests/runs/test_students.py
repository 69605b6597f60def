"""A student from whatever it is given as, for images, a table, or several inputs."""

import functools

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.export import uncompiled
from keras_kd.runs.students import build_student, built_for

RANDOM = np.random.default_rng(0)
LABELS = np.arange(40) % 2
# In metres and in years; the last never changes.
TABLE = np.stack(
    [RANDOM.normal(0.1, 0.01, 40), RANDOM.normal(2000, 10, 40), np.full(40, 7.0)], axis=1
)
SEVERAL = {"table": TABLE, "words": RANDOM.integers(0, 9, (40, 5))}


def data_of(inputs, **options):
    return kd.data.from_arrays((inputs, LABELS), (inputs, LABELS), **options)


IMAGES = data_of(RANDOM.integers(0, 256, (40, 4, 4), np.uint8))


def told(image_shape=None, input_shape=None, num_classes=None):
    return {"image_shape": image_shape, "input_shape": input_shape, "classes": num_classes}


class TestABuilder:
    def test_is_told_what_it_asks_for(self):
        table, several = data_of(TABLE), data_of(SEVERAL)
        of_images = {"image_shape": (4, 4, 1), "input_shape": None, "classes": 2}
        assert built_for(told, IMAGES) == of_images
        assert built_for(told, table) == {**of_images, "image_shape": None, "input_shape": (3,)}
        shapes = {"table": (3,), "words": (5,)}
        assert built_for(told, several)["input_shape"] == shapes
        assert built_for(lambda image_shape, num_classes: image_shape, table) == (3,)
        assert built_for(lambda input_shape, num_classes: input_shape, IMAGES) == (4, 4, 1)
        assert built_for(lambda **options: options, table) == {
            "input_shape": (3,), "num_classes": 2,
        }  # fmt: skip

    def test_that_asks_for_neither_is_refused(self):
        with pytest.raises(ValueError, match=r"must take `image_shape` and `num_classes`.*\(size"):
            built_for(lambda size, num_classes: size, IMAGES)
        with pytest.raises(ValueError, match="for several inputs must take `input_shape`"):
            built_for(lambda image_shape, num_classes: image_shape, data_of(SEVERAL))

    def test_of_ours_leaves_numbers_that_are_no_pixels_as_they_are(self):
        student = build_student(functools.partial(kd.models.mlp, [4]), data_of(TABLE), seed=0)
        normalize = student.get_layer("normalize")
        np.testing.assert_allclose(np.asarray(normalize(TABLE)), TABLE, rtol=1e-6)


class TestASpec:
    def test_standardises_each_feature_by_the_training_examples(self):
        data = data_of(TABLE)
        student = build_student("mlp:4", data, seed=0)
        # float32 tells years of 10 apart to a hundred-thousandth.
        numbers = np.asarray(student.get_layer("normalize")(data.train.images))
        np.testing.assert_allclose(numbers.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(numbers.std(0), [1, 1, 0], atol=1e-4)
        twin = uncompiled(student)
        np.testing.assert_array_equal(np.asarray(twin(TABLE)), np.asarray(student(TABLE)))

    def test_of_series_each_feature_at_every_step(self):
        series = RANDOM.normal([5.0, 500.0], [1.0, 100.0], (40, 6, 2))
        data = data_of(series, reads="numbers")
        student = build_student("mlp:4", data, seed=0)
        numbers = np.asarray(student.get_layer("normalize")(data.train.images))
        np.testing.assert_allclose(numbers.mean((0, 1)), 0, atol=1e-5)
        assert student.input_shape == (None, 6, 2)

    def test_of_images_is_what_it_was(self):
        student = build_student("mlp:4", IMAGES, seed=0)
        twin = kd.models.mlp([4], image_shape=(4, 4, 1), num_classes=2)
        assert student.get_config() == twin.get_config()

    @pytest.mark.parametrize(
        ("spec", "inputs", "sentence"),
        [
            ("conv:4", TABLE, r"'conv:4' takes images. Received: examples of shape \(3,\)"),
            ("mlp:4@8", TABLE, "'mlp:4@8' takes images"),
            ("mlp:4", SEVERAL, "in a word takes one input. Received: 'mlp:4', and inputs of"),
        ],
    )
    def test_that_cannot_take_the_data_is_refused(self, spec, inputs, sentence):
        with pytest.raises(ValueError, match=sentence):
            build_student(spec, data_of(inputs), seed=0)


def test_images_or_numbers_not_both():
    for shapes in ({}, {"image_shape": (4, 4, 1), "input_shape": (3,)}):
        with pytest.raises(ValueError, match="images, texts or other numbers.*Pass one of them"):
            kd.models.from_spec("mlp:4", num_classes=2, **shapes)


def test_the_same_seed_gives_the_same_student():
    data = data_of(TABLE)
    first, again, other = (build_student("mlp:4", data, seed=seed) for seed in (0, 0, 1))
    assert isinstance(first, keras.Model)
    for one, same in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert (first.get_weights()[0] != other.get_weights()[0]).any()
