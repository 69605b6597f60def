"""Train, validation and test: arrays of raw pixels, and the tf.data pipelines over them."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.checks import MOST, check_integer, check_part, check_seed
from keras_kd._common.reprs import call_of
from keras_kd._common.typing import Tensor
from keras_kd.data.augmentation import augmenting
from keras_kd.data.encoded import EncodedImages
from keras_kd.data.minibatches import Minibatches, gathering, map_arrays

_DTYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64", "bfloat16",
)  # fmt: skip
# Images looked at at once.
_CHUNK = 1000
# Share of the classes that must have training images where nobody named the classes.
_FEWEST_KNOWN = 0.1


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a data set.

    Args:
        images: uint8 (0 to 255) `[n, height, width, channels]`; the user's own arrays may be of
            another dtype and range, which their models then must expect. Or what is indexed like
            such an array: a memory-mapped file, or `EncodedImages`. Or a structure of these (a
            dict, a list or a tuple), for models with several inputs.
        labels: integers `[n]`, from 0 to the number of classes less one; or a structure of arrays,
            for models with several outputs, or `None` if there are none.
    """

    images: object
    labels: object

    def __len__(self) -> int:
        return len(next(each for each in self._arrays() if each is not None))

    def __repr__(self):
        return call_of(self, images=self.images, labels=self.labels)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the arrays."""
        return _digest_of(self)

    @property
    def nbytes(self) -> int:
        """Bytes that all images, and what else the models take, have in memory."""
        return sum(each.nbytes for each in keras.tree.flatten(self.images))

    def _arrays(self):
        return keras.tree.flatten((self.images, self.labels))

    def share(self, fraction: float) -> "Split":
        """Return a `Split` of a share of each class's images, the same at each call.

        Args:
            fraction: above 0, at most 1. One image is left of whatever rounds to none.
        """
        chosen = stratified(self.labels, fraction, seed=0)
        chosen[0] |= not chosen.any()
        encoded = isinstance(self.images, EncodedImages)
        images = self.images.take(chosen) if encoded else self.images[chosen]
        return Split(images, self.labels[chosen])

    def batches(
        self,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        initial_epoch: int = 0,
        augmentation: Callable[..., Any] | None = None,
    ) -> tf.data.Dataset:
        """Return a `tf.data.Dataset` of `(images, labels)` batches for `fit` or `evaluate`.

        Arrays stay resident and each batch is gathered whole from a shuffled index; nothing is
        handled element by element. Images of a file, or still encoded, are read as they are
        needed. Each iteration over the data set is an epoch, and the
        order of an epoch is a function of (`shuffle_seed`, epoch) alone: a run that goes on at
        epoch 7 with `initial_epoch=7` sees what the uninterrupted run saw.

        A `Distiller` needs nothing beside it. To the `fit` of any other Keras model pass
        `shuffle=False`: Keras's own default asks for a shuffle that it cannot do on a
        `tf.data.Dataset`, and warns about it.

        Args:
            batch_size: examples a batch, at least 1. The last batch of an epoch may be smaller.
            shuffle_seed: integer, or `None` for the order of the arrays.
            initial_epoch: number of the first epoch, from 0.
            augmentation: a function `(images, seeds) -> images`, see `data.RandomShift`. The
                view of an image is a function of (`shuffle_seed`, epoch, image) alone.

        Returns:
            A `tf.data.Dataset` of known cardinality.

        Raises:
            ValueError: if an argument is out of range.
        """
        check_integer("batch_size", batch_size, minimum=1)
        check_integer("initial_epoch", initial_epoch, minimum=0)
        if shuffle_seed is not None:
            check_integer("shuffle_seed", shuffle_seed, minimum=0)
        # A `tf.data.Dataset` takes a list for one tensor.
        images, labels = keras.tree.lists_to_tuples((self.images, self.labels))
        labels = () if labels is None else (map_arrays(_in_memory, labels),)
        resident = None
        if not any(map(_lies_in_a_file, keras.tree.flatten(images))):
            resident = map_arrays(_in_memory, images), *labels
        gather = gathering(resident) if resident else _reading(images, labels)
        if augmentation is not None:
            gather, resident = augmenting(gather, augmentation, shuffle_seed or 0), None
        return Minibatches(
            gather=gather,
            num_examples=len(self),
            batch_size=int(batch_size),  # NumPy's 64 bits would make TensorFlow's 32 its own.
            shuffle_seed=shuffle_seed,
            next_epoch=tf.Variable(initial_epoch, dtype=tf.int64, trainable=False),
            split=self,
            resident=resident,
        ).dataset()


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A data set, split.

    Args:
        name: what it is called in reports.
        train: the `Split` to train on.
        validation: the `Split` for every choice (epoch, temperature, alpha).
        test: the `Split` to read once, after every choice is made.
        class_names: one string a class, in the order of the labels.
        source: where the files were found.
        left_out: files that could not be read, each with the reason, if that was allowed.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    source: str
    left_out: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(height, width, channels)` of one image."""
        return self.train.images.shape[1:]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the training and validation arrays: equal digests, equal training."""
        return _digest_of(self.train, self.validation)


def from_arrays(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    validation_fraction: float = 0.1,
    name: str = "arrays",
    source: str = "arrays in memory",
) -> Data:
    """Split the user's own arrays as `load` splits a known data set.

    Validation is carved from `train`, stratified by class and drawn by `seed`; `test` is left as
    it is.

    Args:
        train: `(images, labels)`. Images `[n, height, width]` or `[n, height, width, channels]`,
            best as uint8 pixels (0 to 255); labels integers `[n]` or `[n, 1]`.
        test: the same, for the one reading at the end.
        class_names: one string a class; `"0"`, `"1"`, ... by default.
        seed: integer that the validation split depends on.
        validation_fraction: share of each class's training images, above 0 and below 1.
        name: what the data set is called in reports.
        source: where it came from, for reports.

    Returns:
        A `Data`.

    Raises:
        ValueError: if counts, shapes, dtypes or labels do not fit.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 4
    data = kd.data.from_arrays((images[:30], labels[:30]), (images[30:], labels[30:]))
    assert data.image_shape == (8, 8, 1)
    assert len(data.train) + len(data.validation) == 30
    ```
    """
    check_seed(seed)
    check_part("validation_fraction", validation_fraction)
    train = checked("train", *_pair("train", train))
    test = checked("test", *_pair("test", test))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            "Train and test images must have the same shape. "
            f"Received: {train.images.shape[1:]} and {test.images.shape[1:]}."
        )
    highest = int(max(train.labels.max(), test.labels.max()))
    if class_names is None:
        _check_classes(train, highest)
        class_names = list(map(str, range(highest + 1)))
    class_names = check_class_names(class_names)
    if highest >= len(class_names):
        raise ValueError(
            f"Labels must be from 0 to {len(class_names) - 1}, one a class name. "
            f"Received: a label of {highest}."
        )
    chosen = stratified(train.labels, validation_fraction, seed)
    if not chosen.any() or chosen.all():
        raise ValueError(
            f"`validation_fraction` must leave images on both sides of {len(train)}. "
            f"Received: validation_fraction={validation_fraction}."
        )
    return Data(
        name=name,
        train=Split(train.images[~chosen], train.labels[~chosen]),
        validation=Split(train.images[chosen], train.labels[chosen]),
        test=test,
        class_names=class_names,
        source=source,
    )


def stratified(labels, fraction, seed):
    """Return a boolean mask that takes `fraction` of each class, drawn by `seed`."""
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(fraction * len(members))]] = True
    return chosen


def _lies_in_a_file(array):
    return isinstance(array, (np.memmap, EncodedImages))


def _in_memory(array):
    return _as_keras(tf.constant(array))


def _reading(images, labels):
    """Return the function from positions and epoch to images of files, and `labels`, if any."""
    images = map_arrays(lambda each: each if _lies_in_a_file(each) else _in_memory(each), images)

    def read(array, chosen):
        if not _lies_in_a_file(array):
            return tf.gather(array, chosen)
        found = tf.numpy_function(array.__getitem__, [chosen], array.dtype, stateful=False)
        return _as_keras(tf.ensure_shape(found, [*chosen.shape, *array.shape[1:]]))

    def gather(chosen, epoch):
        found = map_arrays(lambda each: read(each, chosen), images)
        return found, *map_arrays(lambda each: tf.gather(each, chosen), labels)

    return gather


def _as_keras(tensor):
    """Return numbers with a point as `keras.config.floatx()`, as `fit` does with arrays."""
    return tf.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor


def _digest_of(*splits):
    digest = hashlib.sha256()
    for split in splits:
        for part in (split.images, split.labels):
            for path, array in keras.tree.flatten_with_path(part):
                digest.update(repr(path).encode() if path else b"")
                if isinstance(array, EncodedImages):
                    digest.update(array.digest.encode())
                elif array is not None:
                    digest.update(f"{array.dtype} {array.shape}".encode())
                    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def checked(part, images, labels):
    """Return the `Split` of the user's own arrays.

    Args:
        part: what to call it in an error.
        images: as in `from_arrays`.
        labels: as in `from_arrays`.

    Raises:
        ValueError: if counts, shapes, dtypes or labels do not fit.
    """
    images, labels = _array(part, "images", images), _array(part, "labels", labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.size == 0:
        raise ValueError(
            f"The {part} images must be [n, height, width(, channels)], none of them 0. "
            f"Received: shape {images.shape}."
        )
    if images.dtype.name not in _DTYPES:
        raise ValueError(
            f"The {part} images must be numbers, best uint8 pixels. Received: {images.dtype}. "
            "Turn them into `uint8`."
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        remedy = "one-hot labels into integers with `labels.argmax(-1)`"
        if labels.ndim == 1:
            remedy = 'them into the numbers of classes, such as with `labels.astype("int64")`'
        raise ValueError(
            f"The {part} labels must be integers [n]. Received: {labels.dtype} of shape "
            f"{labels.shape}. Turn {remedy}."
        )
    if len(images) != len(labels):
        raise ValueError(
            f"The {part} images and labels must be equally many. "
            f"Received: {len(images)} images and {len(labels)} labels."
        )
    if labels.min() < 0:
        raise ValueError(
            f"The {part} labels must count from 0. Received: a label of {labels.min()}."
        )
    if labels.max() > MOST:
        raise ValueError(
            f"The {part} labels must be numbers of classes, from 0. Received: a label of "
            f"{labels.max()}."
        )
    if images.dtype.kind == "f" and not _all_finite(images):
        raise ValueError(
            f"The {part} images must be finite. Received: NaN, infinity, or what float32 does not "
            "hold. Look at how they were made."
        )
    return Split(images.astype(images.dtype.newbyteorder("="), copy=False), labels.astype(np.int32))


def check_class_names(class_names):
    """Return class names as a tuple of strings, each there once.

    Raises:
        ValueError: if they are none.
    """
    is_list = isinstance(class_names, (list, tuple, np.ndarray)) and np.ndim(class_names) == 1
    names = tuple(class_names) if is_list else ()
    if not names or not all(isinstance(each, str) and each.strip() for each in names):
        raise ValueError(
            "`class_names` must be a list of names in the order of the labels. "
            f"Received: {class_names!r}."
        )
    twice = [each for each, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"`class_names` must name each class once. Received: {twice[0]!r} twice.")
    return tuple(map(str, names))


def _check_classes(train, highest):
    """Refuse labels that make classes of which almost none has an image."""
    num_known = len(np.unique(train.labels))
    if num_known < _FEWEST_KNOWN * (highest + 1):
        raise ValueError(
            f"Labels must count the classes from 0. Received: a label of {highest}, and training "
            f"images of {num_known} classes. Number the classes anew, or name them all with "
            "`class_names`."
        )


def _array(part, what, values):
    try:
        return np.asarray(values)
    except ValueError as error:  # Lists of other lengths.
        raise ValueError(f"The {part} {what} must be one array. Received: {error}.") from error


def _all_finite(images):
    """Return whether all are finite in float32, which models compute in."""
    chunks = (images[n : n + _CHUNK] for n in range(0, len(images), _CHUNK))
    with np.errstate(over="ignore"):
        return all(np.isfinite(chunk.astype(np.float32, copy=False)).all() for chunk in chunks)


def _pair(part, arrays):
    if not isinstance(arrays, (list, tuple)) or len(arrays) != 2:
        raise ValueError(
            f"`{part}` must be `(images, labels)`. Received: {type(arrays).__name__}"
            f"{f' of {len(arrays)}' if isinstance(arrays, (list, tuple)) else ''}."
        )
    return arrays
