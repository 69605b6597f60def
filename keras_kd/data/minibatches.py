"""Epochs of minibatches over resident arrays, one by one or stacked for one compiled step."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_kd.data.targets import Targets

_STACK_BYTES = 100_000_000


class Plan(tf.experimental.ExtensionType):
    """How a training step goes through a `Stack`.

    Attributes:
        positions: where the minibatches lie among all examples, `[height, batch_size]`.
        count: integer scalar, how many of them count; the rest is padding.
        gathered: whether the stack holds its minibatches; else it holds all examples.
        kept: whether the teacher's logits are the live teacher's own, kept; else they are stored
            ones, of the student's classes.
        xla: whether XLA compiles the step. It stands here, not in the model, so that what else
            the model does (`evaluate`, `predict`, another `fit`) is as Keras does it.
    """

    positions: tf.Tensor
    count: tf.Tensor
    gathered: bool
    kept: bool
    xla: bool


class Stack(NamedTuple):
    """Several minibatches, for a training step that goes through them.

    Args:
        parts: a minibatch's own structure, `(x, y, sample_weight)`, what comes last left out; each
            array `[height, batch_size, ...]` if the stack is gathered, else that of all examples,
            `[n, ...]`.
        plan: a `Plan`.
    """

    parts: tuple
    plan: Plan

    def minibatch(self, number):
        """Return one minibatch, as `Minibatches.dataset` would have had it."""
        if self.plan.gathered:
            return map_arrays(lambda part: part[number], self.parts)
        chosen = self.plan.positions[number]
        return map_arrays(lambda part: tf.gather(part, chosen), self.parts)


def map_arrays(function, structure):
    """Return a structure with each array replaced by what a function makes of it; `None` stays."""
    return tf.nest.map_structure(lambda each: None if each is None else function(each), structure)


@dataclasses.dataclass(frozen=True, eq=False)
class Minibatches:
    """What a data set made by `Split.batches` is made of.

    The order of an epoch is a function of (`shuffle_seed`, epoch) alone. Every iteration over
    one of its data sets, stacked or not, is the next epoch.

    Args:
        gather: returns the examples at integer positions of any shape, given the epoch too:
            `(positions, epoch) -> (x,)`, `(x, y)` or `(x, y, sample_weight)`. Each is an array or
            a structure of arrays, as Keras takes them; `y` may be `Targets`.
        num_examples: examples an epoch.
        batch_size: examples a minibatch; the last one of an epoch may be smaller.
        shuffle_seed: integer, or `None` for the order of the arrays.
        next_epoch: int64 variable, the number of the next epoch.
        split: where the examples come from.
        resident: what is gathered from, likewise, if it all lies in memory; else `None`.
        has_teacher_logits: whether the targets are `Targets`.
        kept: as in `Plan`.
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
                parts = self.gather(chosen, epoch) if gathered else self.resident
                return Stack(parts, Plan(chosen, count, gathered, self.kept, xla))

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
        spec = tf.nest.flatten(self.dataset().element_spec)
        parts = [part for part in spec if isinstance(part, tf.TensorSpec)]  # Not `None`.
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

        options = tf.data.Options()
        # Else the pipeline is written down and read again, with all examples in it.
        options.experimental_optimization.apply_default_optimizations = False
        return (
            tf.data.Dataset.range(1)
            .flat_map(next_epoch)
            .apply(tf.data.experimental.assert_cardinality(num_elements))
            .prefetch(tf.data.AUTOTUNE)
            .with_options(options)
        )

    def with_teacher_logits(self, teacher_logits):
        """Return the same with stored logits of all examples.

        Args:
            teacher_logits: `[n, ..., num_classes]`, or a structure of such.
        """
        with_logits = self._with(
            teacher_logits, lambda logits, x, y=None, *weights: (x, Targets(y, logits), *weights)
        )
        return dataclasses.replace(with_logits, has_teacher_logits=True)

    def with_sample_weight(self, sample_weight):
        """Return the same with the weights `[n, ...]` of all examples, or a structure of such."""
        return self._with(sample_weight, lambda weights, x, y=None: (x, y, weights))

    def _with(self, more, placed):
        """Return the same with more arrays of all examples, put where `placed` puts them."""
        with tf.device("CPU:0"):  # Where the pipeline reads it.
            more = map_arrays(tf.identity, more)
        if self.resident is not None:
            resident = placed(more, *self.resident)
            return dataclasses.replace(self, resident=resident, gather=gathering(resident))

        def gather(chosen, epoch):
            found = map_arrays(lambda each: tf.gather(each, chosen), more)
            return placed(found, *self.gather(chosen, epoch))

        return dataclasses.replace(self, gather=gather)


def gathering(parts):
    """Return the function from positions and epoch to what lies there."""
    return lambda chosen, epoch: map_arrays(lambda part: tf.gather(part, chosen), parts)


def _permutation(count, seed, epoch):
    keys = tf.random.stateless_uniform(
        [count],
        seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
        minval=None,
        maxval=None,
        dtype=tf.int64,
    )
    return tf.argsort(keys)
