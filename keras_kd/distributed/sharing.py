"""Each worker's share of the minibatches that all train on."""

import dataclasses

import keras
import tensorflow as tf

from keras_kd.data.minibatches import map_arrays


def shares_of(data, num_replicas, first, count):
    """Return a data set of what some replicas train on, one element a replica, in turn.

    Of a last minibatch that cannot be divided evenly the rest is left out, fewer examples than
    there are replicas: else the mean over replicas would not be the mean over examples.

    Args:
        data: a `tf.data.Dataset` of minibatches that all replicas share.
        num_replicas: how many share each.
        first: the first of the replicas.
        count: how many.
    """

    def part_of(examples, of, first, count):
        size = _length(examples) // of
        return map_arrays(lambda each: each[first * size : (first + count) * size], examples)

    minibatches = getattr(data, "minibatches", None)
    if minibatches is not None:
        # Only what is trained on here is read.
        def gather(chosen, epoch):
            return minibatches.gather(part_of(chosen, num_replicas, first, count), epoch)

        shares = dataclasses.replace(minibatches, gather=gather).dataset()
    else:
        shares = data.map(lambda *examples: part_of(examples, num_replicas, first, count))
    shares = shares.filter(lambda *examples: _length(examples) > 0)
    if count > 1:
        shares = shares.flat_map(
            lambda *examples: tf.data.Dataset.range(count, output_type=tf.int32).map(
                lambda number: part_of(examples, count, number, 1)
            )
        )
    return shares.prefetch(tf.data.AUTOTUNE)


def check_divisible(size, num_replicas):
    """Refuse minibatches that replicas cannot share evenly.

    Args:
        size: examples a minibatch.
        num_replicas: how many share it.

    Raises:
        ValueError: if something would be left over of each.
    """
    if size % num_replicas:
        raise ValueError(
            "The examples of a minibatch must be divided evenly among all workers and their GPUs. "
            f"Received: {size} among {num_replicas}. Make batches of "
            f"{-(-size // num_replicas) * num_replicas}: all share one."
        )


def _length(examples):
    return tf.shape(keras.tree.flatten(examples)[0])[0]
