"""Each replica gets its part of every minibatch, and nothing is trained on twice."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.distributed.sharing import check_divisible, shares_of

IMAGES = np.arange(22, dtype="float32").reshape(22, 1, 1, 1)


def of_all(data, num_replicas, count):
    """Return what each replica sees, `[replica][step]`, where machines have `count` of them."""
    seen = []
    for first in range(0, num_replicas, count):
        steps = [np.ravel(x) for x, *_ in shares_of(data(), num_replicas, first, count)]
        seen += [steps[number::count] for number in range(count)]
    return seen


def plain():
    return tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(22))).batch(8)


def shuffled():
    return kd.data.Split(IMAGES, np.arange(22)).batches(8, shuffle_seed=1)


@pytest.mark.parametrize("data", [plain, shuffled])
@pytest.mark.parametrize("count", [1, 2])
def test_shares_of_a_minibatch_are_the_minibatch(data, count):
    """Of 8, 8 and 6 examples among 4, the last two are left out: every share has as many."""
    whole = [np.ravel(x) for x, _ in data()]
    for step, parts in enumerate(zip(*of_all(data, 4, count), strict=True)):
        assert {len(part) for part in parts} == {len(whole[step]) // 4}
        np.testing.assert_array_equal(np.concatenate(parts), whole[step][: 4 * len(parts[0])])
    assert step == 2


def test_a_minibatch_of_fewer_examples_than_replicas_is_left_out():
    assert [len(steps) for steps in of_all(plain, 8, 1)] == [2] * 8


def test_minibatches_that_cannot_be_divided_are_refused():
    check_divisible(8, 4)
    with pytest.raises(ValueError, match="Received: 10 among 4. Make batches of 12"):
        check_divisible(10, 4)
