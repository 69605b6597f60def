"""Augmentations as functions of (images, seeds): the same seed gives the same view, anywhere."""

import dataclasses
import math

import keras
import tensorflow as tf

from keras_kd._common.checks import check_integer, check_number
from keras_kd._common.typing import Tensor

# Odd numbers of 64 bits, as signed ones: G. Steele, D. Lea, C. Flood, Fast Splittable
# Pseudorandom Number Generators, 2014, figure 16, and two more.
_GOLDEN, _MIX_1, _MIX_2 = (
    number - 2**64 for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_ODD_EPOCH, _ODD_SEED = 0x2545F4914F6CDD1D, 0x5851F42D4C957F2D

# Of degrees, shares, logarithms and pixels: beyond, nothing of an image is left.
_SIZES = (0, 1e4)


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

    def __call__(self, images: Tensor, seeds: Tensor) -> tf.Tensor:
        """Return the views.

        Args:
            images: `[n, height, width, channels]`, of any dtype, which is kept.
            seeds: integers at least 0 of shape `[n, 2]`, drawn evenly from a large range.

        Raises:
            ValueError: if they are no images.
        """
        images, seeds = _as_images(self, images), tf.cast(seeds, tf.int32)
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


@dataclasses.dataclass(frozen=True)
class RandomAffine:
    """Turn, shear, zoom, stretch and shift each image a little, and mirror it half of the time.

    Each is drawn evenly from minus to plus its argument. Pixels are interpolated, and what comes
    from outside is 0. Like `RandomShift`, a view is a function of its image and seed alone.

    Args:
        degrees: the largest turn, in degrees.
        shear: the largest shear, as a share.
        zoom: the largest zoom, as the logarithm of the factor.
        stretch: the largest stretch of width against height, likewise.
        pixels: the largest shift, in pixels and parts of them.
        flip: whether to mirror.

    Raises:
        ValueError: if one of the numbers is below 0.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    wiggle = kd.data.RandomAffine(degrees=6, zoom=0.05, pixels=1)
    views = wiggle(np.ones((3, 8, 8, 1), "uint8"), np.arange(6).reshape(3, 2))
    assert views.shape == (3, 8, 8, 1)
    ```
    """

    degrees: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    pixels: float = 0.0
    flip: bool = False

    def __post_init__(self):
        for field in ("degrees", "shear", "zoom", "stretch", "pixels"):
            value = getattr(self, field)
            check_number(field, value, _SIZES)

    def __call__(self, images: Tensor, seeds: Tensor) -> tf.Tensor:
        """Return the views; see `RandomShift`."""
        images = _as_images(self, images)
        turn, shear, zoom, stretch, right, down = _six_numbers(seeds)
        turn, shear = turn * math.radians(self.degrees), shear * self.shear
        zoom, stretch = tf.exp(zoom * self.zoom), tf.exp(stretch * self.stretch)
        cosine, sine = tf.cos(turn), tf.sin(turn)
        # From where in the image each pixel of the view comes, about the centre.
        across_x, across_y = cosine * zoom * stretch, sine * zoom * stretch
        down_x = (cosine * shear - sine) * zoom / stretch
        down_y = (sine * shear + cosine) * zoom / stretch
        if self.flip:
            mirrored = (tf.cast(seeds, tf.int32)[:, 0] // 2**30) % 2 == 1
            sign = tf.where(mirrored, -1.0, 1.0)
            across_x, across_y = sign * across_x, sign * across_y
        x, y = (images.shape[2] - 1) / 2, (images.shape[1] - 1) / 2
        offset_x = x - across_x * x - down_x * y + right * self.pixels
        offset_y = y - across_y * x - down_y * y + down * self.pixels
        zero = tf.zeros_like(zoom)
        rows = [across_x, down_x, offset_x, across_y, down_y, offset_y, zero, zero]
        return keras.ops.image.affine_transform(
            images,
            tf.stack(rows, axis=1),
            interpolation="bilinear",
            fill_mode="constant",
            data_format="channels_last",
        )


def _as_images(augmentation, images):
    """Return images as a tensor `[n, height, width, channels]`; refuse other data."""
    if keras.tree.is_nested(images) or len(images.shape) != 4:
        shapes = keras.tree.map_structure(lambda each: list(each.shape), images)
        raise ValueError(
            f"{type(augmentation).__name__} moves images [n, height, width, channels]. "
            f"Received: {shapes}. Of other data an augmentation is a function of your own, of "
            "(inputs, seeds)."
        )
    return tf.convert_to_tensor(images)


def _six_numbers(seeds):
    """Return six numbers from -1 to 1 for each image, of ten bits of its seeds each."""
    seeds = tf.cast(seeds, tf.int32)
    bits = [(seeds[:, one] // 2 ** (10 * part)) % 1024 for one in (0, 1) for part in (0, 1, 2)]
    return [(2 * tf.cast(each, tf.float32) + 1) / 1024 - 1 for each in bits]


def augmenting(gather, augmentation, seed):
    """Return a `gather` of `Minibatches` whose images are views of those of another.

    Args:
        gather: `(positions, epoch) -> (images, ...)`.
        augmentation: a function `(images, seeds) -> images`.
        seed: integer that the views depend on, with position and epoch.
    """

    def gather_views(positions, epoch):
        images, *others = gather(positions, epoch)
        seeds = _seeds(positions, epoch, seed)
        return views_at(positions, images, seeds, augmentation), *others

    return gather_views


def views_at(positions, images, seeds, augmentation):
    """Return the views of images at positions of any shape: augmentations know one axis of them.

    Args:
        positions: integers `[...]`.
        images: `[..., height, width, channels]`, or a structure of such, for an augmentation that
            takes it whole.
        seeds: integers `[..., 2]`.
        augmentation: a function `(images, seeds) -> images`.
    """
    rank = len(positions.shape)

    def in_a_row(each):
        return tf.reshape(each, [-1, *each.shape[rank:]])

    def in_place(view, each):
        view = tf.reshape(view, tf.concat([tf.shape(positions), each.shape[rank:]], 0))
        return tf.ensure_shape(view, [*positions.shape, *each.shape[rank:]])

    seeds = tf.ensure_shape(tf.reshape(seeds, [-1, 2]), [None, 2])
    views = augmentation(tf.nest.map_structure(in_a_row, images), seeds)
    return tf.nest.map_structure(in_place, views, images)


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
