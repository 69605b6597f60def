"""Splits and pipelines: stratified, deterministic, raw."""

import numpy as np
import pytest
import tensorflow as tf

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


def test_a_share_of_examples_with_a_class_at_every_place_is_one_of_all():
    split = kd.data.Split(np.arange(40).reshape(20, 2), np.arange(40).reshape(20, 2))
    few = split.share(0.25)
    assert len(few) == 5 and np.array_equal(few.images, few.labels)


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
        ((IMAGES[:, 0], LABELS), {"reads": "images"}, r"must be \[n, height, width"),
        ((IMAGES[:, 0], LABELS), {}, "must have the same shape"),
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


RANDOM = np.random.default_rng(0)
SEVERAL = {"age": RANDOM.normal(size=60), "words": RANDOM.integers(0, 9, (60, 5))}


class TestNoImages:
    @pytest.mark.parametrize(
        ("inputs", "options", "shape"),
        [
            (RANDOM.normal(size=(60, 13)), {}, (13,)),
            (RANDOM.integers(0, 9, (60, 7)), {}, (7,)),
            (RANDOM.normal(size=(60, 7, 2)), {"reads": "numbers"}, (7, 2)),
            (RANDOM.normal(size=(60, 2, 3, 4, 1)), {}, (2, 3, 4, 1)),
            (SEVERAL, {}, {"age": (1,), "words": (5,)}),
            (tuple(SEVERAL.values()), {}, ((1,), (5,))),
            ({"mask": np.ones((60, 5), bool)}, {}, {"mask": (5,)}),
        ],
    )
    def test_they_are_kept_as_they_are(self, inputs, options, shape):
        data = kd.data.from_arrays((inputs, LABELS), (inputs, LABELS), **options)
        assert data.input_shape == shape and not data.is_images
        assert len(data.train) + len(data.validation) == len(data.test) == 60
        with pytest.raises(ValueError, match="Ask for `input_shape`"):
            _ = data.image_shape
        for given, kept in zip(
            tf.nest.flatten(inputs), tf.nest.flatten(data.test.images), strict=True
        ):
            np.testing.assert_array_equal(np.reshape(given, kept.shape), kept)

    def test_a_series_is_read_as_images_unless_it_is_called_something_else(self):
        series = RANDOM.normal(size=(60, 7, 2))
        data = kd.data.from_arrays((series, LABELS), (series, LABELS))
        assert data.is_images and data.image_shape == (7, 2, 1)

    def test_all_inputs_of_an_example_stay_together(self):
        inputs = {"one": np.arange(60), "two": np.arange(60) + 100}
        data = kd.data.from_arrays((inputs, LABELS), (inputs, LABELS))
        for split in (data.train, data.validation, data.train.share(0.5)):
            for batch, labels in split.batches(7, shuffle_seed=1):
                one = batch["one"].numpy()[:, 0]
                np.testing.assert_array_equal(batch["two"].numpy()[:, 0], one + 100)
                np.testing.assert_array_equal(one % 3, labels)
        np.testing.assert_array_equal(data.test.tensors(slice(2, 4))["two"], [[102], [103]])

    @pytest.mark.parametrize(
        ("inputs", "labels", "options", "sentence"),
        [
            ({**SEVERAL, "age": np.ones(59)}, LABELS, {}, "equally many. Received: 59 inputs"),
            ({}, LABELS, {}, "an empty dict"),
            ({"age": np.full(60, np.nan)}, LABELS, {}, "inputs 'age' must be finite"),
            (np.array([["a", "b"]] * 60), LABELS, {}, "TextVectorization"),
            ({"x": np.array(1.0)}, LABELS, {}, r"must be \[n, ...\]"),
            (SEVERAL, LABELS, {"reads": "images"}, "must be one array. Received: a dict"),
            (IMAGES, LABELS, {"reads": "pictures"}, "`reads` must be one of"),
            (SEVERAL, {"kind": LABELS}, {}, "a dict of kind. .*`Distiller.fit`"),
            (SEVERAL, LABELS * 0.5, {}, "for what is no class use `Distiller.fit`"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, inputs, labels, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            kd.data.from_arrays((inputs, labels), (SEVERAL, LABELS), **options)

    def test_other_inputs_in_the_test_split_are_refused(self):
        other = {**SEVERAL, "words": np.ones((60, 4))}
        with pytest.raises(ValueError, match="must have the same shape"):
            kd.data.from_arrays((SEVERAL, LABELS), (other, LABELS))

    def test_a_data_of_other_things_must_say_so(self):
        split = kd.data.Split(np.ones((9, 4)), np.arange(9) % 3)
        names = ("a", "b", "c")
        with pytest.raises(ValueError, match='Say of other data `reads="numbers"`'):
            kd.data.Data("x", split, split, split, names, "made up")
        data = kd.data.Data("x", split, split, split, names, "made up", reads="numbers")
        assert data.input_shape == (4,)


@pytest.mark.parametrize(
    "labels", [kd.Targets(LABELS, np.zeros((60, 3))), {"a": LABELS, "b": LABELS * 0.5}, None]
)
def test_of_examples_without_one_label_a_share_is_one_of_all(labels):
    split = kd.data.Split(IMAGES, labels)
    few = split.share(0.25)
    assert len(few) == 15 and type(few.labels) is type(split.labels)
    np.testing.assert_array_equal(few.images, split.share(0.25).images)


def test_validation_may_be_given():
    images, labels = arrays(30, seed=1)
    data = kd.data.from_arrays((IMAGES, LABELS), (IMAGES, LABELS), validation=(images, labels))
    assert len(data.train) == 60
    np.testing.assert_array_equal(data.validation.images[..., 0], images)
    with pytest.raises(ValueError, match="Received: a label of 7"):
        kd.data.from_arrays(
            (IMAGES, LABELS),
            (IMAGES, LABELS),
            validation=(images, labels + 5),
            class_names=["a", "b", "c"],
        )


class TestDatasets:
    @pytest.mark.parametrize("batch_size", [None, 7])
    @pytest.mark.parametrize("inputs", [IMAGES, SEVERAL])
    def test_they_are_read_as_their_arrays_are(self, inputs, batch_size):
        dataset = tf.data.Dataset.from_tensor_slices((inputs, LABELS))
        dataset = dataset.batch(batch_size) if batch_size else dataset
        read = kd.data.from_dataset(dataset, dataset, validation=dataset, class_names=list("abc"))
        given = (inputs, LABELS)
        same = kd.data.from_arrays(given, given, validation=given, class_names=list("abc"))
        assert read.digest == same.digest and read.is_images == same.is_images
        assert read.test.digest == same.test.digest

    def test_the_names_that_keras_left_are_taken(self):
        dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
        dataset.class_names = ["a", "b", "c"]
        assert kd.data.from_dataset(dataset, dataset).class_names == ("a", "b", "c")

    @pytest.mark.parametrize(
        ("change", "options", "sentence"),
        [
            (lambda each: each.repeat(), {}, "must end.*`repeat`"),
            (lambda each: each.take(0), {}, "an empty tf.data.Dataset"),
            (lambda each: each.map(lambda x, y: (x, y, 1.0)), {}, "sample weights as well"),
            (lambda each: each.map(lambda x, y: x), {}, r"must be of \(x, y\)"),
            (lambda each: each.map(lambda x, y: (x, {"a": y})), {}, "use `Distiller.fit`"),
            (lambda each: each.map(lambda x, y: (x, tf.one_hot(y, 3))), {}, "an integer label"),
            (lambda each: each.batch(7).map(lambda x, y: (x, tf.one_hot(y, 3))), {}, "argmax"),
            (lambda each: each.map(lambda x, y: (x[: y + 1], y)), {}, "all have one shape"),
            (
                lambda each: each.map(lambda x, y: (tf.RaggedTensor.from_tensor(x), y)),
                {},
                "plain tensors.*`to_tensor`",
            ),
            (lambda each: each, {"memory_limit": 1000}, "fit into 1,000 bytes.*in `train`"),
            (lambda each: each, {"memory_limit": 2000}, "fit into 2,000 bytes.*in `test`"),
            (lambda each: [], {}, "must be a tf.data.Dataset. Received: list"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, change, options, sentence):
        dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
        with pytest.raises(ValueError, match=sentence):
            kd.data.from_dataset(change(dataset), dataset, **options)
