"""Splits and pipelines: stratified, deterministic, raw."""

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.data.splits import stratified


def arrays(count=60, num_classes=3, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (count, 4, 4), np.uint8)
    return images, np.arange(count) % num_classes


def order_of(batches):
    return np.concatenate([labels for _, labels in batches.as_numpy_iterator()])


def numbered(count=50):
    """A split whose labels are the positions of its examples."""
    return kd.data.Split(np.zeros((count, 2, 2, 1), np.uint8), np.arange(count))


def test_validation_is_stratified_and_drawn_by_seed():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    chosen = stratified(labels, 0.1, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [10, 5, 1]
    assert np.array_equal(chosen, stratified(labels, 0.1, seed=0))
    assert not np.array_equal(chosen, stratified(labels, 0.1, seed=1))


def test_train_and_validation_share_no_image_and_lose_none():
    images = np.arange(60, dtype=np.int32).reshape(60, 1, 1)
    labels = np.arange(60) % 3
    data = kd.data.from_arrays((images, labels), (images, labels), validation_fraction=0.2)
    both = [*data.train.images.ravel(), *data.validation.images.ravel()]
    assert sorted(both) == list(range(60))
    np.testing.assert_array_equal(data.test.images.ravel(), np.arange(60))


def test_a_share_has_its_part_of_each_class():
    images, labels = arrays(60)
    split = kd.data.Split(images, labels)
    few = split.share(0.1)
    assert np.bincount(few.labels).tolist() == [2, 2, 2]
    for image, label in zip(few.images, few.labels, strict=True):
        (found,) = np.flatnonzero((images == image).all((1, 2)))
        assert labels[found] == label
    assert split.share(0.1).digest == few.digest and split.share(1).digest == split.digest
    assert len(split.share(1e-6)) == 1


def test_images_stay_raw():
    images, labels = arrays()
    data = kd.data.from_arrays((images, labels), (images, labels))
    batch, _ = next(data.train.batches(8).as_numpy_iterator())
    assert batch.dtype == np.uint8 and batch.shape == (8, 4, 4, 1) and batch.max() > 200


def test_an_epoch_has_every_example_once():
    batches = numbered(50).batches(16, shuffle_seed=0)
    assert batches.cardinality() == 4
    assert sorted(order_of(batches)) == list(range(50))
    assert not np.array_equal(order_of(batches), np.arange(50))


def test_without_a_seed_the_order_is_that_of_the_arrays():
    batches = numbered(50).batches(16)
    for _ in range(2):
        np.testing.assert_array_equal(order_of(batches), np.arange(50))


def test_the_order_depends_on_seed_and_epoch_alone():
    first, again, other = (numbered().batches(16, shuffle_seed=seed) for seed in (0, 0, 1))
    epochs = [order_of(first) for _ in range(3)]
    assert not np.array_equal(epochs[0], epochs[1])
    for epoch in epochs:
        np.testing.assert_array_equal(order_of(again), epoch)
    assert not np.array_equal(order_of(other), epochs[0])


def test_the_order_can_be_taken_up_in_the_middle():
    whole, resumed = (
        numbered().batches(16, shuffle_seed=0),
        numbered().batches(16, shuffle_seed=0, initial_epoch=2),
    )
    epochs = [order_of(whole) for _ in range(4)]
    np.testing.assert_array_equal(order_of(resumed), epochs[2])
    np.testing.assert_array_equal(order_of(resumed), epochs[3])


def augmented(split=None, shuffle_seed=0, **options):
    split = split or kd.data.Split(
        np.tile(np.arange(25, dtype=np.uint8), (40, 4, 1, 1)).reshape(40, 10, 10, 1), np.arange(40)
    )
    return split.batches(
        16, shuffle_seed=shuffle_seed, augmentation=kd.data.RandomShift(4), **options
    )


def views_of(batches):
    """Return one epoch's views by label, whatever their order."""
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return images[np.argsort(labels)]


def test_views_are_a_function_of_seed_epoch_and_image_alone():
    whole, resumed = augmented(), augmented(initial_epoch=1)
    first, second = views_of(whole), views_of(whole)
    assert (first != second).any()
    np.testing.assert_array_equal(views_of(resumed), second)
    assert (views_of(augmented(shuffle_seed=1)) != first).any()
    # Equal images have views of their own.
    assert len(np.unique(first.reshape(40, -1), axis=0)) > 20


def test_views_are_the_same_in_stacks():
    minibatches = augmented().minibatches
    assert minibatches.resident is None
    found = []
    for stack in minibatches.stacks(2, gathered=True):
        found += [stack.minibatch(number) for number in range(int(stack.plan.count))]
    np.testing.assert_array_equal(views_of(found), views_of(augmented()))


def test_every_shift_is_as_likely():
    from collections import Counter

    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 4, 4] = 1
    split = kd.data.Split(np.repeat(image, 20000, axis=0), np.arange(20000))
    ((images, _),) = split.batches(20000, augmentation=kd.data.RandomShift(1))
    counts = Counter(int(np.argmax(view)) for view in images.numpy())
    assert len(counts) == 9
    # Chi-squared with 8 degrees of freedom: above 26.1 once in a thousand.
    assert sum((count - 20000 / 9) ** 2 / (20000 / 9) for count in counts.values()) < 26.1


def test_images_and_labels_stay_together():
    images = np.arange(50, dtype=np.int32).reshape(50, 1, 1, 1)
    for batch, labels in kd.data.Split(images, np.arange(50)).batches(7, shuffle_seed=3):
        np.testing.assert_array_equal(batch.numpy().ravel(), labels)


def test_the_digest_knows_the_data():
    one, same = (kd.data.from_arrays(arrays(), arrays()) for _ in range(2))
    assert one.digest == same.digest
    assert one.digest != kd.data.from_arrays(arrays(seed=1), arrays()).digest
    assert one.digest != kd.data.from_arrays(arrays(), arrays(), seed=1).digest


IMAGES, LABELS = arrays()


@pytest.mark.parametrize(
    ("train", "options", "sentence"),
    [
        ((IMAGES[:-1], LABELS), {}, "equally many. Received: 59 images and 60 labels"),
        ((IMAGES, LABELS - 1), {}, "must count from 0. Received: a label of -1"),
        ((IMAGES, LABELS), {"class_names": ["a", "b"]}, r"from 0 to 1, .* Received: a label of 2"),
        ((IMAGES, LABELS * 1.0), {}, "must be integers"),
        ((IMAGES, np.eye(3)[LABELS]), {}, r"labels.argmax\(-1\)"),
        ((IMAGES[:, 0], LABELS), {}, r"must be \[n, height, width"),
        ((IMAGES[:0], LABELS[:0]), {}, "none of them 0"),
        ((IMAGES[:, :3], LABELS), {}, "must have the same shape"),
        ((IMAGES, LABELS), {"validation_fraction": 1.0}, "above 0 and below 1"),
        ((IMAGES, LABELS), {"validation_fraction": 0.001}, "leave images on both sides"),
        ((IMAGES, LABELS), {"seed": -1}, "`seed` must be an integer of at least 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(train, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.data.from_arrays(train, (IMAGES, LABELS), **options)


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": True}, {"batch_size": 8, "shuffle_seed": -1}]
)
def test_pipeline_arguments_are_checked(options):
    with pytest.raises(ValueError, match="must be an integer of at least"):
        numbered().batches(**options)
