"""Augmentations as functions of (images, seeds): the same seed gives the same view, anywhere."""

import dataclasses

import tensorflow as tf

from keras_kd._checks import check_integer

# Odd numbers of 64 bits, as signed ones: G. Steele, D. Lea, C. Flood, Fast Splittable
# Pseudorandom Number Generators, 2014, figure 16, and two more.
_GOLDEN, _MIX_1, _MIX_2 = (
    number - 2**64 for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_ODD_EPOCH, _ODD_SEED = 0x2545F4914F6CDD1D, 0x5851F42D4C957F2D


@dataclasses.dataclass(frozen=True)
class RandomShift:
    """Shift each image by up to `pixels` in both directions, and mirror it half of the time.

    Padding with zeros, a random crop of the old size and a horizontal flip: the usual views of
    small images. An augmentation is any function of `(images, seeds)` that makes each view from
    its own image and seed alone; this one is an example.

    Args:
        pixels: the largest shift, at least 0.
        flip: whether to mirror.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    views = kd.data.RandomShift(2)(np.ones((3, 8, 8, 1), "uint8"), np.arange(6).reshape(3, 2))
    assert views.shape == (3, 8, 8, 1)
    ```
    """

    pixels: int = 2
    flip: bool = False

    def __post_init__(self):
        check_integer("pixels", self.pixels, minimum=0)

    def __call__(self, images, seeds):
        """Return the views.

        Args:
            images: `[n, height, width, channels]`, of any dtype, which is kept.
            seeds: integers at least 0 of shape `[n, 2]`, drawn evenly from a large range.
        """
        images, seeds = tf.convert_to_tensor(images), tf.cast(seeds, tf.int32)
        height, width = images.shape[1], images.shape[2]
        border = [self.pixels, self.pixels]
        padded = tf.pad(images, [[0, 0], border, border, [0, 0]])
        num_shifts = 2 * self.pixels + 1
        # The seeds are random numbers themselves: each image uses other digits of its own two.
        top, left = seeds[:, 0] % num_shifts, seeds[:, 1] % num_shifts
        rows = top[:, tf.newaxis] + tf.range(height)
        columns = left[:, tf.newaxis] + tf.range(width)
        if self.flip:
            mirrored = (seeds[:, :1] // num_shifts) % 2 == 1
            columns = tf.where(mirrored, columns[:, ::-1], columns)
        views = tf.gather(padded, rows, axis=1, batch_dims=1)
        return tf.gather(views, columns, axis=2, batch_dims=1)


def augmenting(gather, augmentation, seed):
    """Return a `gather` of `Minibatches` whose images are views of those of another.

    Args:
        gather: `(positions, epoch) -> (images, ...)`.
        augmentation: a function `(images, seeds) -> images`.
        seed: integer that the views depend on, with position and epoch.
    """

    def gather_views(positions, epoch):
        images, *others = gather(positions, epoch)
        inner = images.shape[len(positions.shape) :]
        seeds = tf.reshape(_seeds(positions, epoch, seed), [-1, 2])
        views = augmentation(tf.reshape(images, [-1, *inner]), seeds)
        views = tf.reshape(views, tf.concat([tf.shape(positions), inner], 0))
        return tf.ensure_shape(views, [*positions.shape, *inner]), *others

    return gather_views


def _seeds(positions, epoch, seed):
    """Return two integers at least 0 for each position, `[..., 2]`."""
    # SplitMix64: a counter of large odd steps, its bits mixed; it needs no state and no order.
    start = (epoch + 1) * _ODD_EPOCH + tf.constant(seed, tf.int64) * _ODD_SEED
    counter = 2 * tf.cast(positions, tf.int64) + start
    both = tf.stack([counter, counter + 1], axis=-1)
    mixed = tf.bitcast(both * _GOLDEN, tf.uint64)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        mixed = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, _bits(shift)))
        mixed = tf.bitcast(tf.bitcast(mixed, tf.int64) * factor, tf.uint64)
    # The highest 31 bits.
    return tf.cast(tf.bitwise.right_shift(mixed, _bits(33)), tf.int32)


def _bits(count):
    return tf.constant(count, tf.uint64)
