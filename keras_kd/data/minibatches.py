"""Epochs of minibatches over resident arrays, one by one or stacked for one compiled step."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

_STACK_BYTES = 100_000_000


class Stack(tf.experimental.ExtensionType):
    """Several minibatches, for a training step that goes through them.

    Attributes:
        parts: images, labels and, maybe, teacher logits: the minibatches' own,
            `[height, batch_size, ...]`, if `gathered`, else those of all examples, `[n, ...]`.
        positions: where the minibatches lie among all examples, `[height, batch_size]`.
        gathered: see `parts`.
        count: integer scalar, how many of them count; the rest is padding.
    """

    parts: tuple[tf.Tensor, ...]
    positions: tf.Tensor
    count: tf.Tensor
    gathered: bool

    def minibatch(self, number):
        """Return the tensors of one minibatch."""
        if self.gathered:
            return tuple(part[number] for part in self.parts)
        return tuple(tf.gather(part, self.positions[number]) for part in self.parts)


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
        has_teacher_logits: whether the third tensor is there.
        resident: the tensors that are gathered from, if they all lie in memory; else `None`.
    """

    gather: Callable
    num_examples: int
    batch_size: int
    shuffle_seed: int | None
    next_epoch: tf.Variable
    split: object
    resident: tuple | None = None
    has_teacher_logits: bool = False

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

    def stacks(self, height, *, gathered):
        """Return a `tf.data.Dataset` of `Stack`s of up to `height` minibatches, in the same order.

        Args:
            height: at least 1.
            gathered: whether a stack holds its minibatches (for a device that is not where the
                examples lie), or all examples, which costs nothing where they lie already.

        The minibatches of full size come first, then, if the last one is smaller, a stack of it
        alone. All stacks but that one have the same shape, so that they compile once.
        """
        gathered = gathered or self.resident is None
        if self.resident is None:
            # What is read as it is needed waits in memory, a stack at a time.
            images = self.split.images
            size = self.batch_size * int(np.prod(images.shape[1:])) * images.dtype.itemsize
            height = min(height, max(1, _STACK_BYTES // size))
        num_full, rest = divmod(self.num_examples, self.batch_size)
        height = min(height, num_full) or 1
        num_stacks = -(-num_full // height)

        def epoch_of(epoch, order):
            def stack_of(chosen, count):
                parts = self.gather(chosen, epoch) if gathered else self.resident
                return Stack(parts, chosen, count, gathered)

            full = order[: num_full * self.batch_size]
            # Zeros are padding: whatever is there is gathered, and passed over.
            missing = num_stacks * height * self.batch_size - num_full * self.batch_size
            shape = [num_stacks, height, self.batch_size]
            positions = tf.reshape(tf.pad(full, [[0, missing]]), shape)

            def stack(number):
                count = tf.minimum(height, num_full - number * height)
                return stack_of(positions[number], count)

            stacks = tf.data.Dataset.range(num_stacks, output_type=tf.int32).map(stack)
            if not rest:
                return stacks
            last = tf.data.Dataset.from_tensors(order[tf.newaxis, num_full * self.batch_size :])
            return stacks.concatenate(last.map(lambda some: stack_of(some, 1)))

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

    def with_teacher_logits(self, teacher_logits):
        """Return the same with a third tensor, logits `[n, num_classes]` of all examples."""
        resident = self.resident and (*self.resident, tf.constant(teacher_logits))
        return dataclasses.replace(
            self, resident=resident, gather=gathering(resident), has_teacher_logits=True
        )


def gathering(tensors):
    """Return the function from positions and epoch to what lies there."""
    return lambda chosen, epoch: tuple(tf.gather(tensor, chosen) for tensor in tensors)


def _permutation(count, seed, epoch):
    keys = tf.random.stateless_uniform(
        [count],
        seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
        minval=None,
        maxval=None,
        dtype=tf.int64,
    )
    return tf.argsort(keys)
