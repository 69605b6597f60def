"""Epochs of minibatches over resident arrays, one by one or stacked for one compiled step."""

import dataclasses
import math
import typing
from collections.abc import Callable

import tensorflow as tf

from keras_kd.data.targets import Targets

_STACK_BYTES = 100_000_000


class Stack(tf.experimental.ExtensionType):
    """Several minibatches, for a training step that goes through them.

    Their parts are the minibatches' own, `[height, batch_size, ...]`, if `gathered`, else those of
    all examples, `[n, ...]`.

    Attributes:
        images: see above.
        labels: likewise.
        teacher_logits: likewise; `None` if nothing is stored.
        sample_weight: likewise; `None` if all count alike.
        positions: where the minibatches lie among all examples, `[height, batch_size]`.
        count: integer scalar, how many of them count; the rest is padding.
        gathered: see above.
        kept: whether the teacher's logits are the live teacher's own, kept; else they are stored
            ones, of the student's classes.
        xla: whether XLA compiles the step. It stands here, not in the model, so that what else
            the model does (`evaluate`, `predict`, another `fit`) is as Keras does it.
    """

    images: tf.Tensor
    labels: tf.Tensor
    # TensorFlow knows no `tf.Tensor | None`.
    teacher_logits: typing.Optional[tf.Tensor]  # noqa: UP045
    sample_weight: typing.Optional[tf.Tensor]  # noqa: UP045
    positions: tf.Tensor
    count: tf.Tensor
    gathered: bool
    kept: bool
    xla: bool

    def minibatch(self, number):
        """Return one minibatch, as `Minibatches.dataset` would have had it."""
        parts = self.images, self.labels, self.teacher_logits, self.sample_weight
        if self.gathered:
            return _minibatch(*(part if part is None else part[number] for part in parts))
        chosen = self.positions[number]
        return _minibatch(*(part if part is None else tf.gather(part, chosen) for part in parts))


def _minibatch(images, labels, teacher_logits, sample_weight):
    targets = labels if teacher_logits is None else Targets(labels, teacher_logits)
    return (images, targets) if sample_weight is None else (images, targets, sample_weight)


@dataclasses.dataclass(frozen=True, eq=False)
class Minibatches:
    """What a data set made by `Split.batches` is made of.

    The order of an epoch is a function of (`shuffle_seed`, epoch) alone. Every iteration over
    one of its data sets, stacked or not, is the next epoch.

    Args:
        gather: returns the examples at integer positions of any shape, given the epoch too:
            `(positions, epoch) -> (images, targets)` or `(images, targets, sample_weight)`, where
            the targets are labels or `Targets`.
        num_examples: examples an epoch.
        batch_size: examples a minibatch; the last one of an epoch may be smaller.
        shuffle_seed: integer, or `None` for the order of the arrays.
        next_epoch: int64 variable, the number of the next epoch.
        split: where the examples come from.
        resident: what is gathered from, likewise, if it all lies in memory; else `None`.
        has_teacher_logits: whether the targets are `Targets`.
        kept: as in `Stack`.
    """

    gather: Callable
    num_examples: int
    batch_size: int
    shuffle_seed: int | None
    next_epoch: tf.Variable
    split: object
    resident: tuple | None = None
    has_teacher_logits: bool = False
    kept: bool = False

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

    def stacks(self, height, *, gathered, xla=False):
        """Return a `tf.data.Dataset` of `Stack`s of up to `height` minibatches, in the same order.

        Args:
            height: at least 1.
            gathered: whether a stack holds its minibatches (for a device that is not where the
                examples lie), or all examples, which costs nothing where they lie already.
            xla: whether XLA compiles the step that goes through a stack.

        The minibatches of full size come first, then, if the last one is smaller, a stack of it
        alone. All stacks but that one have the same shape, so that they compile once.
        """
        gathered = gathered or self.resident is None
        if gathered:  # What waits in memory, a stack at a time.
            height = min(height, max(1, _STACK_BYTES // self._bytes_of_minibatch()))
        num_full, rest = divmod(self.num_examples, self.batch_size)
        height = min(height, num_full) or 1
        num_stacks = -(-num_full // height)

        def epoch_of(epoch, order):
            def stack_of(chosen, count):
                images, labels, *weights = self.gather(chosen, epoch) if gathered else self.resident
                logits = None
                if isinstance(labels, Targets):
                    labels, logits = labels
                weights = weights[0] if weights else None
                parts = images, labels, logits, weights
                return Stack(*parts, chosen, count, gathered, self.kept, xla)

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

    def _bytes_of_minibatch(self):
        parts = tf.nest.flatten(self.dataset().element_spec)
        sizes = [math.prod(part.shape[1:]) * part.dtype.size for part in parts]
        return max(1, self.batch_size * sum(sizes))

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
        """Return the same with stored logits `[n, ..., num_classes]` of all examples."""
        logits = tf.constant(teacher_logits)
        with_logits = self._with(logits, lambda x, y, more, *rest: (x, Targets(y, more), *rest))
        return dataclasses.replace(with_logits, has_teacher_logits=True)

    def with_sample_weight(self, sample_weight):
        """Return the same with the weights `[n, ...]` of all examples."""
        return self._with(tf.constant(sample_weight), lambda x, y, more: (x, y, more))

    def _with(self, more, placed):
        """Return the same with a tensor more of all examples, put where `placed` puts it."""
        if self.resident is not None:
            images, targets, *rest = self.resident
            resident = placed(images, targets, more, *rest)
            return dataclasses.replace(self, resident=resident, gather=gathering(resident))

        def gather(chosen, epoch):
            images, targets, *rest = self.gather(chosen, epoch)
            return placed(images, targets, tf.gather(more, chosen), *rest)

        return dataclasses.replace(self, gather=gather)


def gathering(parts):
    """Return the function from positions and epoch to what lies there."""
    return lambda chosen, epoch: tf.nest.map_structure(lambda part: tf.gather(part, chosen), parts)


def _permutation(count, seed, epoch):
    keys = tf.random.stateless_uniform(
        [count],
        seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
        minval=None,
        maxval=None,
        dtype=tf.int64,
    )
    return tf.argsort(keys)
