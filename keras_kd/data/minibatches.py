"""Epochs of minibatches over resident arrays, one by one or stacked for one compiled step."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf


class Stack(tf.experimental.ExtensionType):
    """Several minibatches in one tensor each, for a training step that goes through them.

    Attributes:
        parts: tensors `[height, batch_size, ...]`: images, labels and whatever else there is.
        count: integer scalar, how many of them count; the rest is padding.
    """

    parts: tuple[tf.Tensor, ...]
    count: tf.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Minibatches:
    """What a data set made by `Split.batches` is made of.

    The order of an epoch is a function of (`shuffle_seed`, epoch) alone. Every iteration over
    one of its data sets, stacked or not, is the next epoch.

    Args:
        gather: returns the tensors of the examples at integer positions of any shape, given the
            epoch too: `(positions, epoch) -> (images, labels, ...)`.
        num_examples: examples an epoch.
        batch_size: examples a minibatch; the last one of an epoch may be smaller.
        shuffle_seed: integer, or `None` for the order of the arrays.
        next_epoch: int64 variable, the number of the next epoch.
        split: where the examples come from.
    """

    gather: Callable
    num_examples: int
    batch_size: int
    shuffle_seed: int | None
    next_epoch: tf.Variable
    split: object

    def __len__(self):
        return -(-self.num_examples // self.batch_size)

    def dataset(self):
        """Return a `tf.data.Dataset` of minibatches, which remembers what it is made of."""

        def epoch_of(epoch, order):
            def minibatch(step):
                start = step * self.batch_size
                return self.gather(order[start : start + self.batch_size], epoch)

            # One at a time, since two cores gain nothing from more.
            return tf.data.Dataset.range(len(self)).map(minibatch, num_parallel_calls=1)

        dataset = self._epochs(epoch_of, len(self))
        # Only the data set itself is known by this: one that is derived from it is the user's.
        dataset.minibatches = self
        return dataset

    def stacks(self, height):
        """Return a `tf.data.Dataset` of `Stack`s of up to `height` minibatches, in the same order.

        The minibatches of full size come first, then, if the last one is smaller, a stack of it
        alone. All stacks but that one have the same shape, so that they compile once.
        """
        num_full, rest = divmod(self.num_examples, self.batch_size)
        height = min(height, num_full) or 1
        num_stacks = -(-num_full // height)

        def epoch_of(epoch, order):
            full = order[: num_full * self.batch_size]
            # Zeros are padding: whatever is there is gathered, and passed over.
            missing = num_stacks * height * self.batch_size - num_full * self.batch_size
            shape = [num_stacks, height, self.batch_size]
            positions = tf.reshape(tf.pad(full, [[0, missing]]), shape)

            def stack(number):
                count = tf.minimum(height, num_full - number * height)
                return Stack(self.gather(positions[number], epoch), count)

            stacks = tf.data.Dataset.range(num_stacks, output_type=tf.int32).map(stack)
            if not rest:
                return stacks
            last = tf.data.Dataset.from_tensors(order[tf.newaxis, num_full * self.batch_size :])
            return stacks.concatenate(last.map(lambda some: Stack(self.gather(some, epoch), 1)))

        return self._epochs(epoch_of, num_stacks + bool(rest))

    def _epochs(self, epoch_of, num_elements):
        def next_epoch(_):
            # The epoch is read and moved on in one operation.
            epoch = self.next_epoch.assign_add(1) - 1
            order = tf.range(self.num_examples)
            if self.shuffle_seed is not None:
                order = _permutation(self.num_examples, self.shuffle_seed, epoch)
            return epoch_of(epoch, order)

        return (
            tf.data.Dataset.range(1)
            .flat_map(next_epoch)
            .apply(tf.data.experimental.assert_cardinality(num_elements))
            .prefetch(tf.data.AUTOTUNE)
        )


def _permutation(count, seed, epoch):
    keys = tf.random.stateless_uniform(
        [count],
        seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
        minval=None,
        maxval=None,
        dtype=tf.int64,
    )
    return tf.argsort(keys)
