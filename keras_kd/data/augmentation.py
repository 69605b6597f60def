"""Augmentations as functions of (images, seeds): the same seed gives the same view, anywhere."""

import dataclasses

import tensorflow as tf

from keras_kd._checks import check_integer


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
