"""The store: a folder of teacher logits, made once and joined to the data they are of."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_kd._common.checks import check_integer, check_seed
from keras_kd._common.locks import alone
from keras_kd._common.reprs import call_of
from keras_kd.data.splits import Split
from keras_kd.data.targets import Targets
from keras_kd.soft_labels.predict import images_at_once
from keras_kd.soft_labels.record import check_same, is_whole, read_store
from keras_kd.soft_labels.rows import dense_logits
from keras_kd.soft_labels.writing import Writer
from keras_kd.teachers.ensemble import as_teacher

_ROWS_PER_SHARD = 65536
# Of logits that are there already.
_ROWS_AT_ONCE = 4096
_HEADS = ("logits", "softmax", "sigmoid")
# How many images an augmentation is tried on, to know it again by what it does.
_NUM_PROBED = 64
# How many examples a model is tried on.
_EXAMPLES = 8


class SoftLabels:
    """A folder of teacher logits, found by the index of the image, never by position in an epoch.

    Each row holds the index of the image, the seed of its augmentation and the teacher's logits
    for that very view. When a student trains from it, the view is made again from image and
    seed: teacher and student see the same pixels (Beyer et al. 2021), and no image is stored.

    Rows are memory-mapped, so that a store may be larger than the memory. Every shard is
    checked against its SHA-256 when the store is opened.

    Args:
        path: folder that `SoftLabels.create` or `SoftLabels.from_logits` wrote.
        augmentation: the one it was created with, if there was one.

    Attributes:
        views: number of views of each image; epoch `e` trains on view `e % views`.
        num_examples: number of images.
        num_classes: number of logits.
        head: what the teacher ends in, see `Teacher`.

    Raises:
        FileNotFoundError: if there is no finished store at `path`.
        ValueError: if a shard is damaged.

    Example:

    ```python
    import tempfile
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    shape = dict(image_shape=data.image_shape, num_classes=data.num_classes)
    teacher = kd.models.mlp([64, 64], **shape)  # Trained, in earnest.
    with tempfile.TemporaryDirectory() as folder:
        shift = kd.data.RandomShift(1)
        labels = kd.SoftLabels.create(
            folder + "/labels", teacher, data.train, views=2, augmentation=shift, verbose=False
        )
        distiller = kd.Distiller(student=kd.models.mlp([16], **shape))
        distiller.compile().fit(labels.join(data.train, 32, shuffle_seed=0), epochs=2, verbose=0)
    ```

    References:
        L. Beyer et al., Knowledge distillation: A good teacher is patient and consistent, 2021,
        section 3. Z. Shen, E. Xing, A Fast Knowledge Distillation Framework for Visual
        Recognition, 2021, section 3.2.
    """

    def __init__(self, path, *, augmentation=None):
        self.path = Path(path)
        self.augmentation = augmentation
        self._made_of = read_store(self.path)
        if self._made_of is None:
            raise FileNotFoundError(
                f"There are no soft labels at {self.path}. Make them with "
                "`SoftLabels.create(path, teacher, data)`."
            )
        for name in ("views", "num_examples", "num_classes", "head"):
            setattr(self, name, self._made_of[name])
        for shard in self._made_of["shards"]:
            if not is_whole(self.path, shard):
                raise ValueError(
                    f"The soft labels must be as they were written. Received: {shard['file']} in "
                    f"{self.path}, which is damaged. Delete the folder and create them again."
                )
        self._shards = [
            np.load(self.path / shard["file"], mmap_mode="r") for shard in self._made_of["shards"]
        ]

    def __repr__(self):
        shown = {name: getattr(self, name) for name in ("views", "num_examples", "num_classes")}
        return call_of(self, path=str(self.path), **shown)

    @classmethod
    def create(
        cls,
        path,
        teacher,
        data,
        *,
        views=1,
        augmentation=None,
        dtype="float16",
        top_k=None,
        seed=0,
        batch_size=None,
        overwrite=False,
        verbose=True,
    ):
        """Ask the teacher once for every view of every image, or open what was asked before.

        The folder appears when it is complete. A run that was killed goes on from its last whole
        shard. A finished folder is used again if it was made of the same. Of several processes
        one asks, and the others wait for it.

        Args:
            path: the folder.
            teacher: as in `Distiller`.
            data: a `Split`, or `(images, labels)` arrays.
            views: number of views of each image; above 1 only with an augmentation.
            augmentation: a function `(images, seeds) -> images`, see `data.RandomShift`.
            dtype: of the stored logits, `"float16"` or `"float32"`.
            top_k: how many of the largest logits to keep, for many classes; the mass of the
                others is kept as one number, and spread evenly over them. All if `None`.
            seed: integer that the seeds of the views are drawn from.
            batch_size: images the teacher sees at once; 256 if `None`, fewer of large ones.
            overwrite: replace soft labels of something else that are there, finished or not.
            verbose: show a progress bar.

        Returns:
            A `SoftLabels`.

        Raises:
            ValueError: if an argument is out of range, the folder holds soft labels of another
                teacher, data or augmentation, or the teacher's logits are not finite.
        """
        check_integer("views", views, minimum=1)
        if batch_size is not None:
            check_integer("batch_size", batch_size, minimum=1)
        check_seed(seed)
        if views > 1 and augmentation is None:
            raise ValueError(
                "Without an augmentation all views are the same. "
                f"Received: views={views}. Pass `augmentation`, or leave `views` at 1."
            )
        _check_dtype(dtype)
        split = data if isinstance(data, Split) else Split(*map(np.asarray, data))
        teacher = _as_teacher(teacher, split)
        if getattr(teacher, "class_map", None):
            raise ValueError(
                "Soft labels are for the student's own classes. Received: a teacher with a "
                "`class_map`. Distil from it without soft labels."
            )
        if top_k is not None:
            check_integer("top_k", top_k, minimum=1)
            top_k = min(top_k, teacher.num_classes)
        made_of = {
            "teacher": teacher.fingerprint,
            "data": split.digest,
            "augmentation": _what_it_does(augmentation, split),
            "dtype": dtype,
            "top_k": top_k,
            "views": views,
            "seed": seed,
            "num_examples": len(split),
            "num_classes": teacher.num_classes,
            "head": teacher.head,
        }
        batch_size = batch_size or images_at_once(split.images.shape[1:])
        making = (teacher, split, augmentation, batch_size, overwrite)
        return cls._made(path, made_of, making, verbose)

    @classmethod
    def from_logits(
        cls, path, logits, data, *, head="logits", dtype="float16", overwrite=False, verbose=False
    ):
        """Store logits that were computed elsewhere, or open those that were stored before.

        For a teacher that is no Keras model: one of another framework, of scikit-learn, or one
        that is gone and left a file. Probabilities become logits by their logarithm (for
        independent labels, `log(p / (1 - p))`), held above 0: a logit must be finite.

        A folder made of them is known again by the logits themselves, as one of `create` is by the
        teacher's weights.

        Args:
            path: the folder.
            logits: `[n, num_classes]`, in the order of the images and of the student's classes: an
                array, or a file of some, `np.load("logits.npy", mmap_mode="r")`.
            data: a `Split`, or `(images, labels)` arrays: what the logits are of.
            head: what they mean: `"logits"`, or for certain `"softmax"` (one class of several) or
                `"sigmoid"` (independent labels).
            dtype: as in `create`.
            overwrite: as in `create`.
            verbose: show a progress bar.

        Returns:
            A `SoftLabels`.

        Raises:
            ValueError: if they do not fit the data, are not finite, or the folder holds others.

        Example:

        ```python
        import tempfile
        import numpy as np
        import keras_kd as kd
        from sklearn.neighbors import KNeighborsClassifier

        data = kd.data.load("digits", seed=0)
        pixels = data.train.images.reshape(len(data.train), -1)
        teacher = KNeighborsClassifier(20).fit(pixels, data.train.labels)
        # A class that no neighbour has gets a thousandth.
        logits = np.log(np.maximum(teacher.predict_proba(pixels), 1e-3))
        with tempfile.TemporaryDirectory() as folder:
            labels = kd.SoftLabels.from_logits(folder + "/labels", logits, data.train)
            student = kd.models.mlp([16], image_shape=data.image_shape)
            distiller = kd.Distiller(student=student, soft_labels=labels).compile()
            distiller.fit(data.train.batches(32, shuffle_seed=0), verbose=0)
        ```
        """
        split = data if isinstance(data, Split) else Split(*map(np.asarray, data))
        logits = logits if isinstance(logits, np.ndarray) else np.asarray(logits)
        shape = logits.shape
        if len(shape) != 2 or shape[0] != len(split) or np.dtype(logits.dtype).kind not in "fiu":
            raise ValueError(
                f"`logits` must be numbers [{len(split)}, num_classes], a row an image. "
                f"Received: {logits.dtype} of shape {shape}."
            )
        _check_dtype(dtype)
        if head not in _HEADS:
            raise ValueError(f"`head` must be one of {', '.join(_HEADS)}. Received: head={head!r}.")
        digest = hashlib.sha256(f"{logits.dtype} {shape}".encode())
        for start in range(0, shape[0], _ROWS_PER_SHARD):
            digest.update(np.ascontiguousarray(logits[start : start + _ROWS_PER_SHARD]).data)
        made_of = {
            "teacher": f"logits {digest.hexdigest()}",
            "data": split.digest,
            "augmentation": None,
            "dtype": dtype,
            "top_k": None,
            "views": 1,
            "seed": 0,
            "num_examples": shape[0],
            "num_classes": shape[1],
            "head": head,
        }
        # Each row is its own answer.
        rows = Split(logits, split.labels)
        making = (_as_float32, rows, None, _ROWS_AT_ONCE, overwrite)
        return cls._made(path, made_of, making, verbose)

    @classmethod
    def _made(cls, path, made_of, making, verbose):
        """Open the folder if it is made of the same; make it, as `Writer.write` does, if not."""
        teacher, split, augmentation, _, overwrite = making
        path = Path(path)
        if not _is_made(path, made_of, overwrite):
            with alone(path, print if verbose else _nothing):
                if not _is_made(path, made_of, overwrite):  # By who was waited for.
                    _check_rows(teacher(split.images[:1]))
                    writer = Writer(path, made_of | {"rows_per_shard": _ROWS_PER_SHARD}, verbose)
                    writer.write(*making)
        return cls(path, augmentation=augmentation)

    def join(self, data, batch_size=32, *, shuffle_seed=None, initial_epoch=0):
        """Return a `tf.data.Dataset` of `(images, Targets(labels, teacher_logits))` minibatches.

        `Distiller(teacher=None)` trains from it, on its fast path.

        Args:
            data: the `Split` (or the arrays) that the soft labels are of.
            batch_size: as in `Split.batches`, like the arguments that follow.
            shuffle_seed: as there.
            initial_epoch: as there; it also tells which view is next.

        Returns:
            images and labels as `Split.batches` gives them, the images augmented; float32 logits
            `[batch, num_classes]`.

        Raises:
            ValueError: if the data or the augmentation are not those of the soft labels.
        """
        split = data if isinstance(data, Split) else Split(*map(np.asarray, data))
        batches = split.batches(batch_size, shuffle_seed=shuffle_seed, initial_epoch=initial_epoch)
        return self.joined(batches.minibatches).dataset()

    def joined(self, minibatches):
        """Return `Minibatches` of the same examples in the same order, with teacher logits."""
        split = minibatches.split
        found = {
            "data": split.digest,
            "augmentation": _what_it_does(self.augmentation, split),
        }
        check_same({name: self._made_of[name] for name in found}, found, self.path)
        size = 4 * self.num_examples * self.num_classes
        if self.augmentation is None and minibatches.resident and size <= split.images.nbytes:
            # The images lie in memory, and what is said of them takes less.
            _, logits = self._rows(np.arange(self.num_examples), 0)
            return minibatches.with_teacher_logits(logits)

        def gather(positions, epoch):
            images, labels, *weights = minibatches.gather(positions, epoch)
            shape = tf.shape(positions)
            seeds, logits = tf.numpy_function(
                self._rows, [positions, epoch % self.views], (tf.int32, tf.float32), stateful=False
            )
            if self.augmentation is not None:
                inner = images.shape[len(positions.shape) :]
                seeds = tf.ensure_shape(tf.reshape(seeds, [-1, 2]), [None, 2])
                views = self.augmentation(tf.reshape(images, [-1, *inner]), seeds)
                images = tf.reshape(views, tf.concat([shape, inner], 0))
                images = tf.ensure_shape(images, [*positions.shape, *inner])
            logits = tf.ensure_shape(logits, [*positions.shape, self.num_classes])
            return images, Targets(labels, logits), *weights

        return dataclasses.replace(
            minibatches, gather=gather, resident=None, has_teacher_logits=True
        )

    def verify(self, count, teacher, data):
        """Ask the teacher again about random rows, and return the largest error of a logit.

        Args:
            count: number of rows, drawn anew at each call.
            teacher: as in `create`.
            data: as in `create`.

        Returns:
            A float. About a thousandth of the largest logit for float16; with `top_k` it counts
            the kept logits alone.
        """
        split = data if isinstance(data, Split) else Split(*map(np.asarray, data))
        teacher = _as_teacher(teacher, split)
        generator = np.random.default_rng()
        view = int(generator.integers(self.views))
        positions = generator.integers(self.num_examples, size=count)
        seeds, logits = self._rows(positions, view)
        images = split.images[positions]
        if self.augmentation is not None:
            images = self.augmentation(images, seeds)
        errors = np.abs(np.asarray(teacher(images)) - logits)
        if self._made_of["top_k"]:
            errors = np.sort(errors, axis=-1)[:, : self._made_of["top_k"]]
        return float(errors.max())

    def _rows(self, positions, view):
        """Return seeds `[..., 2]` and logits `[..., num_classes]` of the images at `positions`."""
        flat = positions.ravel()
        shards_a_view = len(self._shards) // self.views
        numbers, places = np.divmod(flat, self._made_of["rows_per_shard"])
        rows = np.empty(len(flat), self._shards[0].dtype)
        for number in np.unique(numbers):
            chosen = numbers == number
            rows[chosen] = self._shards[view * shards_a_view + number][places[chosen]]
        if not np.array_equal(rows["index"], flat):
            raise ValueError(f"The rows in {self.path} are not those of the images asked for.")
        logits = dense_logits(rows, self.num_classes)
        return rows["seed"].reshape(*positions.shape, 2), logits.reshape(*positions.shape, -1)


def _as_float32(logits):
    return tf.cast(logits, tf.float32)


def _check_rows(logits):
    if len(logits.shape) != 2:
        raise ValueError(
            "Soft labels are one row of logits an image. Received: a teacher that answers "
            f"{tuple(logits.shape[1:])}. Distil from it without soft labels."
        )


def _check_dtype(dtype):
    if dtype not in ("float16", "float32"):
        raise ValueError(f"`dtype` must be float16 or float32. Received: dtype={dtype!r}.")


def _what_it_does(augmentation, split):
    """Return a digest of an augmentation's views of a few images: a function has no other name."""
    if augmentation is None:
        return None
    images = np.ascontiguousarray(split.images[:_NUM_PROBED])
    seeds = np.random.default_rng(0).integers(0, 2**31 - 1, (len(images), 2)).astype(np.int32)
    views = np.asarray(augmentation(images, seeds))
    if views.shape != images.shape:
        raise ValueError(
            "An augmentation must keep the shape of the images. "
            f"Received: {views.shape} for {images.shape}."
        )
    return hashlib.sha256(f"{views.dtype}".encode() + views.tobytes()).hexdigest()


def _is_made(path, made_of, overwrite):
    """Return whether the soft labels are there; refuse what is there instead of them."""
    stored = read_store(path)
    if stored is not None:
        same = all(stored.get(name) == value for name, value in made_of.items())
        if not (same or overwrite):
            check_same(stored, made_of, path)
        return same
    if path.exists():
        raise ValueError(
            f"`path` must be a new folder, or one of soft labels. Received: {path}, which is "
            "something else."
        )
    return False


def _nothing(sentence):
    """Say nothing."""


def _as_teacher(teacher, split):
    examples = np.asarray(split.images[:_EXAMPLES]) if len(split) else None
    return as_teacher(teacher, image_shape=split.images.shape[1:], examples=examples)
