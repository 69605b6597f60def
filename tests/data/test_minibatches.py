"""Minibatches and stacks of any structure hold the same examples, in the same order."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.data.minibatches import map_arrays

COUNT = 23  # Four minibatches of 5 and one of 3.
NUMBERS = np.arange(COUNT)
INPUTS = {
    "array": np.stack([NUMBERS, NUMBERS + 9], -1).astype("uint8"),
    "dict": {"ids": np.stack([NUMBERS, -NUMBERS], -1), "mask": NUMBERS[:, None] % 2 == 0},
    "list": [NUMBERS.astype("float64"), {"more": np.stack([NUMBERS] * 3, -1)}],
}
LABELS = {
    "array": NUMBERS,
    "dict": {"class": NUMBERS, "box": np.stack([NUMBERS / 2, NUMBERS / 4], -1)},
    "tuple": (NUMBERS, NUMBERS / 2),
    "none": None,
}
LOGITS = {"class": np.stack([NUMBERS] * 3, -1) / 8, "box": np.ones((COUNT, 2, 4)) * 0.5}
WEIGHTS = {"class": NUMBERS / 2, "box": NUMBERS / 4}


def read(minibatches):
    """Return all examples of some minibatches."""
    found = [map_arrays(np.asarray, each) for each in minibatches]
    return tf.nest.map_structure(
        lambda *parts: None if parts[0] is None else np.concatenate(parts), *found
    )


def in_stacks(minibatches, height, gathered):
    for stack in minibatches.stacks(height, gathered=gathered):
        yield from (stack.minibatch(number) for number in range(int(stack.plan.count)))


def assert_equal(one, other):
    tf.nest.assert_same_structure(one, other)
    for each, same in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        assert getattr(each, "dtype", None) == getattr(same, "dtype", None)
        np.testing.assert_array_equal(each, same)


def expected(*parts, order):
    """Return the parts as Keras has them, in an order."""
    return map_arrays(
        lambda each: (each.astype("float32") if each.dtype == float else each)[order],
        keras.tree.lists_to_tuples(parts),
    )


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_they_hold_the_structures_of_their_split(inputs, labels):
    split = kd.data.Split(INPUTS[inputs], LABELS[labels])
    parts = [INPUTS[inputs]] if labels == "none" else [INPUTS[inputs], LABELS[labels]]
    assert len(split) == COUNT
    dataset = split.batches(5)
    assert_equal(read(dataset), expected(*parts, order=NUMBERS))
    shuffled = read(split.batches(5, shuffle_seed=1))
    order = tf.nest.flatten(shuffled)[0].reshape(COUNT, -1)[:, 0].astype(int)
    assert sorted(order) == list(NUMBERS) != list(order)
    assert_equal(shuffled, expected(*parts, order=order))


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("augmentation", [None, lambda images, seeds: images], ids=["", "views"])
@pytest.mark.parametrize("labels", [LABELS["dict"], None], ids=["labels", "none"])
def test_a_stack_holds_logits_and_weights_too(gathered, augmentation, labels):
    split = kd.data.Split(INPUTS["dict"], labels)
    options = {"shuffle_seed": 1, "augmentation": augmentation}
    minibatches = split.batches(5, **options).minibatches
    minibatches = minibatches.with_sample_weight(as_float32(WEIGHTS))
    minibatches = minibatches.with_teacher_logits(as_float32(LOGITS))
    plain = read(minibatches.dataset())
    again = split.batches(5, **options).minibatches
    again = again.with_sample_weight(as_float32(WEIGHTS)).with_teacher_logits(as_float32(LOGITS))
    assert_equal(read(in_stacks(again, 3, gathered)), plain)
    order = plain[0]["ids"][:, 0]
    parts = INPUTS["dict"], kd.Targets(labels, LOGITS), WEIGHTS
    assert_equal(plain, expected(*parts, order=order))


def as_float32(structure):
    return tf.nest.map_structure(lambda each: each.astype("float32"), structure)


def test_a_part_that_lies_in_a_file_is_read_as_it_is_needed(tmp_path):
    np.save(tmp_path / "ids.npy", INPUTS["dict"]["ids"])
    inputs = INPUTS["dict"] | {"ids": np.load(tmp_path / "ids.npy", mmap_mode="r")}
    minibatches = kd.data.Split(inputs, NUMBERS).batches(5, shuffle_seed=1).minibatches
    assert minibatches.resident is None
    in_memory = kd.data.Split(INPUTS["dict"], NUMBERS).batches(5, shuffle_seed=1)
    assert_equal(read(minibatches.dataset()), read(in_memory))


def test_an_augmentation_takes_the_structure_whole():
    def shifted(inputs, seeds):
        assert seeds.shape[1:] == (2,)
        return {"ids": inputs["ids"] + 100, "mask": inputs["mask"]}

    split = kd.data.Split(INPUTS["dict"], NUMBERS)
    minibatches = split.batches(5, augmentation=shifted).minibatches
    found, _ = read(in_stacks(minibatches, 2, gathered=True))
    np.testing.assert_array_equal(found["ids"], INPUTS["dict"]["ids"] + 100)
    np.testing.assert_array_equal(found["mask"], INPUTS["dict"]["mask"])


def test_the_digest_tells_the_parts_of_a_structure_apart():
    one, two = np.arange(6.0), np.arange(6.0) + 1

    def digest(images, labels=one):
        return kd.data.Split(images, labels).digest

    assert digest({"a": one, "b": two}) == digest({"b": two, "a": one})
    different = [{"a": one, "b": two}, {"a": two, "b": one}, {"a": one, "c": two}, [one, two], one]
    assert len({digest(images) for images in different}) == len(different)
    assert digest(one, None) != digest(one)
