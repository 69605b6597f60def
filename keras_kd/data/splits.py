"""Train, validation and test: arrays of raw pixels or other numbers, and tf.data over them."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.checks import check_choice, check_integer
from keras_kd._common.reprs import call_of
from keras_kd._common.typing import Structure, Tensor
from keras_kd.data.augmentation import augmenting
from keras_kd.data.columns import Columns
from keras_kd.data.encoded import EncodedImages
from keras_kd.data.mapped import placed, unplaced
from keras_kd.data.minibatches import Minibatches, gathering, map_arrays

# What a model may read, as `Data.reads` and a file beside a `.tflite` say it.
READS = ("images", "texts", "files", "numbers")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a data set.

    Args:
        images: what models take. Images are uint8 (0 to 255) `[n, height, width, channels]`; the
            user's own arrays may be of another dtype and range, which their models then must
            expect. Or what is indexed like such an array: a memory-mapped file, or
            `EncodedImages`. Or any other numbers `[n, ...]`, such as features or sequences. Or a
            structure of these (a dict, a list or a tuple), for models with several inputs.
        labels: integers `[n]`, from 0 to the number of classes less one; `[n, ...]` of a class at
            every place, such as what follows each byte of a text; or a structure of arrays, for
            models with several outputs, or `None` if there are none.
    """

    images: object
    labels: object

    def __len__(self) -> int:
        return len(next(each for each in self._arrays() if each is not None))

    def __repr__(self):
        return call_of(self, images=self.images, labels=self.labels)

    def __reduce__(self):
        # Of what lies in a file the place is sent, not the content.
        parts = keras.tree.map_structure(placed, (self.images, self.labels))
        return _arrived, parts

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the arrays."""
        return _digest_of(self)

    @property
    def nbytes(self) -> int:
        """Bytes that all images, and what else the models take, have in memory."""
        return sum(each.nbytes for each in keras.tree.flatten(self.images))

    @property
    def is_read_anew(self) -> bool:
        """Whether images lie in files, to be read or decoded each time they are asked for."""
        return any(map(_lies_in_a_file, keras.tree.flatten(self.images)))

    def _arrays(self):
        return keras.tree.flatten((self.images, self.labels))

    def share(self, fraction: float) -> "Split":
        """Return a `Split` of a share of each class's examples, the same at each call.

        Where no label tells the class of an example, it is a share of all.

        Args:
            fraction: above 0, at most 1. One example is left of whatever rounds to none.
        """
        # Several labels an example, or none.
        is_one = self.labels is not None and not keras.tree.is_nested(self.labels)
        labels = self.labels if is_one else np.zeros(len(self), int)
        chosen = stratified(labels, fraction, seed=0)
        chosen[0] |= not chosen.any()
        return self.take(chosen)

    def take(self, positions: Tensor) -> "Split":
        """Return a `Split` of the examples at an array of integers or booleans.

        Args:
            positions: integers `[k]`, booleans `[n]`, or a slice. Encoded images stay encoded.
        """

        def taken(array):
            encoded = isinstance(array, EncodedImages)
            return array.take(positions) if encoded else array[positions]

        return Split(map_arrays(taken, self.images), map_arrays(taken, self.labels))

    def repeated(self, times: int) -> "Split":
        """Return a `Split` that holds each example so many times, for longer epochs."""
        return self.take(np.tile(np.arange(len(self)), times))

    def tensors(self, positions: Tensor | slice) -> Structure:
        """Return what models take at some positions, as tensors in their structure.

        Args:
            positions: integers `[k]`, booleans `[n]`, or a slice.
        """
        # As in `batches`: a `tf.data.Dataset` takes a list for one tensor.
        images = keras.tree.lists_to_tuples(self.images)
        return map_arrays(lambda each: _in_memory(each[positions]), images)

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
        # A pipeline runs on the processor, also where there is a GPU, and what it reads lies there.
        with tf.device("CPU:0"):
            return self._minibatches(
                batch_size, shuffle_seed, initial_epoch, augmentation
            ).dataset()

    def _minibatches(self, batch_size, shuffle_seed, initial_epoch, augmentation):
        # A `tf.data.Dataset` takes a list for one tensor.
        images, labels = keras.tree.lists_to_tuples((self.images, self.labels))
        labels = () if labels is None else (map_arrays(_in_memory, labels),)
        resident = None
        if not self.is_read_anew:
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
        )


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
        reads: what a model of the examples reads: `"images"` `[n, height, width, channels]`;
            `"texts"` as `encode_texts` returns them, int32 `[n, num_bytes]`; `"files"`, their ends
            as `files` returns them, int32 `[n, 2048]`; or other `"numbers"`.
        columns: how a row of a table becomes such an example, a `Columns`; `None` of all else.
        unlabelled: further training examples that nobody labelled, as in `Split.images`, for a
            teacher to speak of; `None` if there are none.

    Raises:
        ValueError: if they are said to be images or texts and are none.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    source: str
    left_out: tuple[str, ...] = ()
    reads: str = "images"
    unlabelled: object = None
    columns: Columns | None = None

    def __post_init__(self):
        check_choice("reads", self.reads, READS)
        shapes = self.input_shape
        if self.is_images and (not is_shape(shapes) or len(shapes) != 3):
            raise ValueError(
                f"Images must be [n, height, width, channels]. Received: examples of {shapes}. "
                'Say of other data `reads="numbers"`.'
            )
        if self.reads == "texts" and not _are_texts(self.train.images):
            raise ValueError(
                "Texts must be int32 [n, num_bytes], as `data.encode_texts` returns them. "
                f'Received: examples of {shapes}. Encode them, or say `reads="numbers"`.'
            )

    @property
    def is_images(self) -> bool:
        """Whether the examples are images."""
        return self.reads == "images"

    @property
    def input_shape(self) -> Structure:
        """Shape of one example, such as `(13,)`; of several inputs, shapes in their structure."""
        return keras.tree.map_structure(
            lambda each: tuple(map(int, each.shape[1:])), self.train.images
        )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(height, width, channels)` of one image.

        Raises:
            ValueError: if the examples are no images.
        """
        if not self.is_images:
            raise ValueError(
                f"Images have an `image_shape`. Received: examples of shape {self.input_shape}. "
                "Ask for `input_shape`."
            )
        return self.input_shape

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def share(
        self, fraction: float, splits: Sequence[str] = ("train", "validation", "test")
    ) -> "Data":
        """Return a `Data` of a share of each class's images, see `Split.share`.

        Args:
            fraction: the same, also of what has no label.
            splits: names of those that are cut; the others are not looked at.
        """
        few = {name: getattr(self, name).share(fraction) for name in splits}
        if self.unlabelled is not None:
            images = Split(self.unlabelled, None)
            few["unlabelled"] = images.take(slice(max(1, round(fraction * len(images))))).images
        return dataclasses.replace(self, **few)

    def keep_labels(self, count: int, *, seed: int) -> "Data":
        """Return a `Data` of so many labels: what else there is to train on loses them.

        The validation split keeps at most as many: nobody holds back more labels than there are.

        Args:
            count: labels that are left, as many of each class as its share allows; at least one a
                class, fewer than there are.
            seed: integer that the choice depends on.

        Raises:
            ValueError: if there are not so many.
        """
        check_integer(
            "count", count, minimum=self.num_classes, maximum=len(self.train) - self.num_classes
        )
        kept = few_of_each(self.train.labels, count, seed)
        judges = self.validation
        if len(judges) > count:
            judges = judges.take(few_of_each(judges.labels, count, seed))
        return dataclasses.replace(
            self,
            train=self.train.take(kept),
            validation=judges,
            unlabelled=self.train.take(~kept).images,
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the training arrays that have labels, and the validation arrays."""
        return _digest_of(self.train, self.validation)


def stratified(labels, fraction, seed):
    """Return a boolean mask that takes `fraction` of each class, drawn by `seed`.

    Of examples with a class at every place it takes `fraction` of all.
    """
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    labels = labels if np.ndim(labels) == 1 else np.zeros(len(labels), int)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(fraction * len(members))]] = True
    return chosen


def few_of_each(labels, count, seed):
    """Return a boolean mask of `count` examples, each class with its share, drawn by `seed`."""
    chosen = stratified(labels, count / len(labels), seed)
    # What rounding took or gave is drawn from all.
    generator = np.random.default_rng(seed)
    surplus = int(chosen.sum()) - count
    others = generator.permutation(np.flatnonzero(chosen if surplus > 0 else ~chosen))
    chosen[others[: abs(surplus)]] = surplus < 0
    return chosen


def is_shape(shapes):
    """Return whether a `Data.input_shape` is one shape, not a structure of several."""
    return isinstance(shapes, tuple) and all(isinstance(size, int) for size in shapes)


def _are_texts(array):
    return not keras.tree.is_nested(array) and array.dtype == "int32" and array.ndim == 2


def _arrived(*parts):
    return Split(*keras.tree.map_structure(unplaced, parts))


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
