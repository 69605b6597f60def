"""Views are functions of image and seed, and what their arguments say."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd

SEEDS = np.random.default_rng(0).integers(0, 2**31 - 1, (400, 2)).astype("int32")


def squares(dtype="uint8"):
    """Images of one bright square, off the centre."""
    images = np.zeros((400, 15, 15, 1), dtype)
    images[:, 6:9, 4:7] = 200
    return images


def centres(views):
    """Return row and column of the centre of what is bright."""
    weights = np.asarray(views)[..., 0].astype(float)
    total = weights.sum((1, 2))
    rows, columns = np.mgrid[:15, :15]
    return (weights * rows).sum((1, 2)) / total, (weights * columns).sum((1, 2)) / total


class TestRandomAffine:
    def test_without_arguments_nothing_happens(self):
        np.testing.assert_array_equal(kd.data.RandomAffine()(squares(), SEEDS), squares())

    def test_one_view_is_made_from_its_own_image_and_seed(self):
        wiggle = kd.data.RandomAffine(degrees=10, shear=0.1, zoom=0.1, stretch=0.1, pixels=2)
        views = wiggle(squares(), SEEDS)
        np.testing.assert_array_equal(wiggle(squares()[7:8], SEEDS[7:8])[0], views[7])
        compiled = np.asarray(tf.function(wiggle)(squares(), SEEDS))
        # Another program: what lies at a half may be rounded up or down.
        np.testing.assert_allclose(compiled.astype(int), views.numpy().astype(int), atol=1)
        assert (compiled != views.numpy()).mean() < 1e-3
        assert len(np.unique(np.asarray(views), axis=0)) > 390

    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_the_dtype_is_kept(self, dtype):
        views = kd.data.RandomAffine(degrees=5)(squares(dtype), SEEDS)
        assert views.dtype == dtype and views.shape == (400, 15, 15, 1)

    def test_shifts_are_even_up_to_their_size(self):
        rows, columns = centres(kd.data.RandomAffine(pixels=2)(squares("float32"), SEEDS))
        for moved in (rows - 7, columns - 5):
            assert -2.01 < moved.min() < -1.9 and 1.9 < moved.max() < 2.01
            assert abs(moved.mean()) < 0.15 and abs(moved.std() - 4 / 12**0.5) < 0.1
        assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.15

    def test_turns_move_what_is_off_the_centre(self):
        # Two pixels left of the centre: a quarter turn either way takes it up or down by two.
        rows, _ = centres(kd.data.RandomAffine(degrees=90)(squares("float32"), SEEDS))
        assert 1.8 < rows.max() - 7 < 2.2 and -2.2 < rows.min() - 7 < -1.8

    def test_zoom_changes_the_size(self):
        views = np.asarray(kd.data.RandomAffine(zoom=0.4)(squares("float32"), SEEDS))
        brightness = views.sum((1, 2, 3)) / squares("float32")[0].sum()
        # Area goes with the square of the factor.
        assert 2.0 < brightness.max() < np.exp(0.8) * 1.05
        assert np.exp(-0.8) * 0.95 < brightness.min() < 0.5

    def test_a_mirror_half_of_the_time(self):
        _, columns = centres(kd.data.RandomAffine(flip=True)(squares("float32"), SEEDS))
        assert set(np.round(columns)) == {5, 9}
        assert 0.4 < np.mean(np.round(columns) == 9) < 0.6

    @pytest.mark.parametrize("field", ["degrees", "shear", "zoom", "stretch", "pixels"])
    @pytest.mark.parametrize("value", [-1, float("nan"), "much"])
    def test_what_is_no_size_is_refused(self, field, value):
        with pytest.raises(ValueError, match=f"`{field}` must be a number from 0"):
            kd.data.RandomAffine(**{field: value})


@pytest.mark.parametrize("augmentation", [kd.data.RandomShift(1), kd.data.RandomAffine(shear=0.1)])
@pytest.mark.parametrize("inputs", [np.ones((6, 3)), {"a": np.ones((6, 2)), "b": np.ones((6, 2))}])
def test_what_is_no_image_is_not_moved(augmentation, inputs):
    split = kd.data.Split(inputs, np.arange(6))
    with pytest.raises(ValueError, match="moves images .*a function of your own, of"):
        split.batches(2, augmentation=augmentation)


def test_other_data_have_views_by_a_function_of_the_users():
    inputs = {"number": np.arange(6.0)[:, None], "kept": np.arange(6)[:, None]}

    def noisy(inputs, seeds):
        noise = tf.cast(seeds[:, :1], tf.float32) / 2**31
        return {**inputs, "number": inputs["number"] + noise}

    split = kd.data.Split(inputs, np.arange(6))
    epochs = [
        list(split.batches(6, shuffle_seed=0, augmentation=noisy).as_numpy_iterator())
        for _ in range(2)
    ]
    ((first, labels),), ((again, _),) = epochs
    np.testing.assert_array_equal(first["number"], again["number"])
    np.testing.assert_array_equal(first["kept"][:, 0], labels)
    moved = first["number"][:, 0] - labels
    assert (moved > 0).all() and (moved < 1).all() and len(set(moved)) == 6
