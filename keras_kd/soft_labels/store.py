"""The store: a folder of teacher logits, made once and joined to the data they are of."""

import dataclasses
import hashlib
import math
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.checks import check_integer, check_seed
from keras_kd._common.json_files import misfit
from keras_kd._common.locks import alone
from keras_kd._common.reprs import call_of
from keras_kd._common.typing import PathLike, Structure
from keras_kd.data.augmentation import views_at
from keras_kd.data.minibatches import Minibatches
from keras_kd.data.splits import Split
from keras_kd.data.targets import Targets
from keras_kd.launchers import Launcher
from keras_kd.soft_labels.objects_writing import ObjectsWriter
from keras_kd.soft_labels.places import Folder, place_of
from keras_kd.soft_labels.predict import examples_of, images_at_once, shapes_of
from keras_kd.soft_labels.record import (
    ALONE,
    Stored,
    check_same,
    described,
    is_whole,
    listed,
    outputs_of,
)
from keras_kd.soft_labels.rows import at_kept, dense_logits, parts_of, read_others, row_dtype
from keras_kd.soft_labels.source import (
    as_logits,
    as_split,
    asked_about,
    heads_of,
    kept_of,
    what_it_does,
)
from keras_kd.soft_labels.writing import Writer
from keras_kd.teachers.ensemble import TeacherLike

# A block, see `Writer`, has at most so many rows, and so many bytes.
# NOTE: Stores were made by them; with others the same call would draw other views.
_ROWS_PER_BLOCK, _BYTES_PER_BLOCK = 65536, 2**27
# A shard is no more than a block, and no less than so many rows, of which a small teacher says in
# an instant. Between the two there are about so many shards: enough for many workers, few files.
_ROWS_PER_SHARD, _SHARDS = 1024, 256
# Up to so many bytes lie in memory, a view in one piece: rows are found at once.
_SMALL = 2**26
# Of logits that are there already.
_ROWS_AT_ONCE = 4096


class SoftLabels:
    """A folder of teacher logits, found by the index of the image, never by position in an epoch.

    Each row holds the index of the image, the seed of its augmentation and the teacher's logits
    for that very view. When a student trains from it, the view is made again from image and
    seed: teacher and student see the same pixels (Beyer et al. 2021), and no image is stored.

    An image stands for any example: one of several inputs, a sequence of ids. Its logits are of
    any shape `[..., num_classes]`: a class at every step of a sequence, or at every place of a
    map. Of a teacher with several outputs those of each are stored, by name.

    Rows are memory-mapped, so that a store may be larger than the memory. Every shard is
    checked against its SHA-256 when the store is opened.

    Args:
        path: folder that `SoftLabels.create` or `SoftLabels.from_logits` wrote; or a place in an
            object store, such as `s3://bucket/labels`, which is copied to this machine.
        augmentation: the one it was created with, if there was one.

    Attributes:
        views: number of views of each image; epoch `e` trains on view `e % views`.
        num_examples: number of images.
        output_names: of the teacher's outputs; `("output",)` for one that stands alone.
        num_classes: number of logits at a place; with several outputs a dict by their names.
        head: what the teacher ends in, see `Teacher`; likewise.
        heads: the same as a dict in any case.

    Raises:
        FileNotFoundError: if there is no finished store at `path`.
        ValueError: if a shard is damaged.
        OSError: if an object store is not reached, or there is no room for the copy.

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

    def __init__(self, path: PathLike, *, augmentation: Callable[..., Any] | None = None):
        place = place_of(path)
        self.path = place.folder
        self.augmentation = augmentation
        self._made_of = place.record()
        if self._made_of is None:
            raise FileNotFoundError(
                f"There are no soft labels at {place}. Make them with "
                "`SoftLabels.create(path, teacher, data)`."
            )
        place.fetch(self._made_of)
        for name in ("views", "num_examples", "num_classes", "head"):
            setattr(self, name, self._made_of[name])
        self._outputs = outputs_of(self._made_of)
        only = isinstance(self._outputs, Stored)
        self._by_name = {ALONE: self._outputs} if only else self._outputs
        self.heads = {name: output.head for name, output in self._by_name.items()}
        self.output_names = tuple(self.heads)
        others = self._made_of.get("others", {})
        for shard in [*self._made_of["shards"], *others.values()]:
            if not is_whole(self.path, shard):
                raise ValueError(
                    f"The soft labels must be as they were written. Received: {shard['file']} in "
                    f"{place}, which is damaged. Delete the folder and create them again."
                )
        self._others = read_others(self.path, others)
        shards = [
            np.asarray(np.load(self.path / shard["file"], mmap_mode="r"))
            for shard in self._made_of["shards"]
        ]
        self._rows_per_piece, self._pieces = self._made_of["rows_per_shard"], shards
        if sum(shard.nbytes for shard in shards) <= _SMALL:
            self._rows_per_piece, count = self.num_examples, len(shards) // self.views
            firsts = range(0, len(shards), count)
            self._pieces = [np.concatenate(shards[first : first + count]) for first in firsts]

    def __repr__(self):
        shown = {name: getattr(self, name) for name in ("views", "num_examples", "num_classes")}
        return call_of(self, path=str(self.path), **shown)

    @classmethod
    def create(
        cls,
        path: PathLike,
        teacher: TeacherLike,
        data: Structure,
        *,
        views: int = 1,
        augmentation: Callable[..., Any] | None = None,
        dtype: str | Mapping[str, str] | None = None,
        top_k: int | Mapping[str, int] | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        overwrite: bool = False,
        launcher: Launcher | None = None,
        verbose: bool = True,
    ) -> Self:
        """Ask the teacher once for every view of every image, or open what was asked before.

        The folder appears when it is complete. A run that was killed goes on from its last whole
        shard. A finished folder is used again if it was made of the same. Of several processes
        one asks, and the others wait for it.

        Args:
            path: the folder, or a place in an object store, such as `s3://bucket/labels`.
            teacher: as in `Distiller`.
            data: a `Split`; `(images, labels)`, each an array or a structure of arrays as in
                `keras.Model.fit`; or images, or other inputs, alone.
            views: number of views of each image; above 1 only with an augmentation.
            augmentation: a function `(images, seeds) -> images`, see `data.RandomShift`.
            dtype: of the stored logits, `"float16"` or `"float32"`; by default float32 for
                values, else float16. With several outputs also a dict by name.
            top_k: how many of the largest logits of a place to keep, for many classes: 4 bytes
                each as float16. Of the others 35 bytes a place say how they differ from the
                mean, in the directions in which the teacher's logits differ most, and the mass
                that they have together. At 16 the loss is within 1 % on a language model of
                10,000 words (`benchmarks/files.md`). All if `None`. With several outputs
                also a dict by name.
            seed: integer that the seeds of the views are drawn from.
            batch_size: images the teacher sees at once; 256 if `None`, fewer of large ones.
            overwrite: replace soft labels of something else that are there, finished or not.
            launcher: who asks, such as `launchers.Processes(4)`; this process if `None`. The
                store is the same, byte for byte, where the processors are alike.
            verbose: show a progress bar.

        Returns:
            A `SoftLabels`.

        Raises:
            ValueError: if an argument is out of range, the folder holds soft labels of another
                teacher, data or augmentation, or the teacher's logits are not finite.
        """
        options = {
            "views": views,
            "augmentation": augmentation,
            "dtype": dtype,
            "top_k": top_k,
            "seed": seed,
            "batch_size": batch_size,
        }
        made_of, asked = _asked(teacher, data, **options)
        return cls._made(path, made_of, (*asked, overwrite), verbose, launcher)

    @classmethod
    def create_part(
        cls,
        path: PathLike,
        teacher: TeacherLike,
        data: Structure,
        part: tuple[int, int],
        *,
        verbose: bool = True,
        **options: Any,
    ) -> bool:
        """Do a part of what `create` does, beside others who do the other parts.

        Each may be done by another process or machine that sees the folder, in any order; whoever
        is killed says the same again. Who finds all parts there finishes the store.

        Args:
            path: as in `create`, like `teacher` and `data`.
            teacher: as there.
            data: as there.
            part: `(3, 16)` for the third of sixteen.
            verbose: show a progress bar.
            **options: the other arguments of `create`, but `overwrite` and `launcher`.

        Returns:
            Whether the store is finished.

        Raises:
            ValueError: as in `create`, or if the others make something else.
        """
        number, count = _checked_part(part)
        made_of, asked = _asked(teacher, data, **options)
        place = place_of(path)
        if _is_made(place, made_of, overwrite=False):
            return True
        writer = _writer(place, made_of, verbose)
        writer.join()
        numbers = writer.numbers()
        own = numbers[(number - 1) * len(numbers) // count : number * len(numbers) // count]
        writer.write(own, *asked)
        with alone(place.folder, print if verbose else _nothing):
            if _is_made(place, made_of, overwrite=False):  # By who was waited for.
                shutil.rmtree(writer.unfinished, ignore_errors=True)
                return True
            if writer.progress()[0] < len(numbers):
                return False
            if damaged := writer.missing(numbers):
                writer.write(damaged, *asked)
            writer.finish()
        return True

    @staticmethod
    def status(path: PathLike) -> str:
        """Return a sentence on how far a store is.

        Args:
            path: its place, finished or not.

        Raises:
            FileNotFoundError: if nobody has begun one there.
        """
        place = place_of(path)
        record = place.record()
        if record is None:
            found = place.unfinished()
            if found is None or misfit(found, {"views": int, "num_examples": int}) is not None:
                raise FileNotFoundError(
                    f"There are no soft labels at {place}, and nobody has begun any."
                )
            done, total = _writer_to(place)(place, found, verbose=False).progress()
            return f"{place}: {done} of {total} shards are written"
        views = f", {record['views']} views each" if record["views"] > 1 else ""
        return (
            f"{place}: finished, {record['num_examples']:,} examples{views}, "
            f"{place.nbytes() / 1e6:,.1f} MB in shards of {record['rows_per_shard']:,}"
        )

    @classmethod
    def from_logits(
        cls,
        path: PathLike,
        logits: Structure,
        data: Structure,
        *,
        head: str | Mapping[str, str] | None = "logits",
        dtype: str | Mapping[str, str] | None = None,
        top_k: int | Mapping[str, int] | None = None,
        overwrite: bool = False,
        verbose: bool = False,
    ) -> Self:
        """Store logits that were computed elsewhere, or open those that were stored before.

        For a teacher that is no Keras model: one of another framework, of scikit-learn, or one
        that is gone and left a file. Probabilities become logits by their logarithm (for
        independent labels, `log(p / (1 - p))`), held above 0: a logit must be finite.

        A folder made of them is known again by the logits themselves, as one of `create` is by the
        teacher's weights.

        Args:
            path: as in `create`.
            logits: `[n, ..., num_classes]`, in the order of the images and of the student's
                classes: an array, or a file of some, `np.load("logits.npy", mmap_mode="r")`. A
                dict of such by the names of the outputs, for a student with several.
            data: as in `create`: what the logits are of.
            head: what they mean: `"logits"`, or for certain `"softmax"` (one class of several) or
                `"sigmoid"` (independent labels); or that they are none: `"values"`. With several
                outputs also a dict by name.
            dtype: as in `create`.
            top_k: likewise.
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
        split = as_split(data)
        logits = as_logits(logits, len(split))
        heads = heads_of(logits, head)
        outputs = kept_of(logits, heads, dtype=dtype, top_k=top_k)
        made_of = {
            "teacher": f"logits {_digest_of(logits)}",
            "data": split.digest,
            "augmentation": None,
            "views": 1,
            "seed": 0,
            "num_examples": len(split),
            **described(outputs),
        }
        # Each row is its own answer.
        rows = Split(logits, split.labels)
        batch_size = images_at_once(*shapes_of(logits), at_most=_ROWS_AT_ONCE)
        making = (_as_float32, rows, None, batch_size, overwrite)
        return cls._made(path, made_of, making, verbose)

    @classmethod
    def _made(cls, path, made_of, making, verbose, launcher=None):
        """Open the folder if it is made of the same; make it, as `Writer.write` does, if not."""
        *asked, overwrite = making
        place = place_of(path)
        if not _is_made(place, made_of, overwrite):
            with alone(place.folder, print if verbose else _nothing):
                if not _is_made(place, made_of, overwrite):  # By who was waited for.
                    writer = _writer(place, made_of, verbose)
                    writer.begin(overwrite)
                    if launcher is None:
                        writer.write(writer.numbers(), *asked)
                    else:
                        writer.launch(launcher, *asked)
                    writer.finish()
        return cls(path, augmentation=asked[2])

    def join(
        self,
        data: Structure,
        batch_size: int = 32,
        *,
        shuffle_seed: int | None = None,
        initial_epoch: int = 0,
    ) -> tf.data.Dataset:
        """Return a `tf.data.Dataset` of `(images, Targets(labels, teacher_logits))` minibatches.

        `Distiller(teacher=None)` trains from it, on its fast path.

        Args:
            data: what the soft labels are of, as in `create`.
            batch_size: as in `Split.batches`, like the arguments that follow.
            shuffle_seed: as there.
            initial_epoch: as there; it also tells which view is next.

        Returns:
            images and labels as `Split.batches` gives them, the images augmented; float32 logits
            `[batch, ..., num_classes]`, of several outputs a dict by name.

        Raises:
            ValueError: if the data or the augmentation are not those of the soft labels.
        """
        split = as_split(data)
        batches = split.batches(batch_size, shuffle_seed=shuffle_seed, initial_epoch=initial_epoch)
        return self.joined(batches.minibatches).dataset()

    def joined(
        self, minibatches: Minibatches, pairs: Mapping[str, str] | None = None
    ) -> Minibatches:
        """Return `Minibatches` of the same examples in the same order, with teacher logits.

        Args:
            minibatches: of the data that the soft labels are of.
            pairs: the name here of each output that is wanted, by the student's; all, by their own
                names, if `None`.
        """
        split = minibatches.split
        found = {
            "data": split.digest,
            "augmentation": what_it_does(self.augmentation, split),
        }
        check_same({name: self._made_of[name] for name in found}, found, self.path)
        shapes = [output.shape for output in self._by_name.values()]
        size = 4 * self.num_examples * sum(math.prod(shape) for shape in shapes)
        if self.augmentation is None and minibatches.resident and size <= split.nbytes:
            # The images lie in memory, and what is said of them takes less.
            logits = self._logits(self._rows(np.arange(self.num_examples), 0))
            return minibatches.with_teacher_logits(self._as_outputs(logits, pairs))

        def found_at(positions, view):
            rows = self._rows(positions.ravel(), view)
            parts = [rows["seed"], *self._logits(rows)]
            return [each.reshape(*positions.shape, *each.shape[1:]) for each in parts]

        def gather(positions, epoch):
            images, *others = minibatches.gather(positions, epoch)
            types = [tf.int32, *[tf.float32] * len(shapes)]
            parts = [positions, epoch % self.views]
            seeds, *logits = tf.numpy_function(found_at, parts, types, stateful=False)
            if self.augmentation is not None:
                images = views_at(positions, images, seeds, self.augmentation)
            logits = [
                tf.ensure_shape(each, [*positions.shape, *shape])
                for each, shape in zip(logits, shapes, strict=True)
            ]
            labels, *weights = others or (None,)
            return images, Targets(labels, self._as_outputs(logits, pairs)), *weights

        return dataclasses.replace(
            minibatches, gather=gather, resident=None, has_teacher_logits=True
        )

    def verify(self, count: int, teacher: TeacherLike, data: Structure) -> float:
        """Ask the teacher again about random rows, and return the largest error of a logit.

        Args:
            count: number of rows, drawn anew at each call.
            teacher: as in `create`.
            data: as in `create`.

        Returns:
            A float. About a thousandth of the largest logit for float16; with `top_k` it counts
            the kept logits alone.
        """
        split = as_split(data)
        teacher = asked_about(teacher, split)
        generator = np.random.default_rng()
        view = int(generator.integers(self.views))
        positions = generator.integers(self.num_examples, size=count)
        rows = self._rows(positions, view)
        images = examples_of(split.images, positions)
        if self.augmentation is not None:
            images = self.augmentation(images, rows["seed"])
        answers = teacher(images)
        return max(
            float(np.abs(at_kept(part, np.asarray(answer)) - part["logits"]).max())
            for part, answer in zip(parts_of(rows, self._outputs), listed(answers), strict=True)
        )

    def _rows(self, positions, view):
        """Return the rows of the images at `positions`, `[n]`."""
        pieces_a_view = len(self._pieces) // self.views
        numbers, places = np.divmod(positions, self._rows_per_piece)
        rows = np.empty(len(positions), self._pieces[0].dtype)
        for number in np.unique(numbers):
            chosen = numbers == number
            rows[chosen] = self._pieces[view * pieces_a_view + number][places[chosen]]
        if not np.array_equal(rows["index"], positions):
            raise ValueError(f"The rows in {self.path} are not those of the examples asked for.")
        return rows

    def _logits(self, rows):
        """Return float32 logits `[n, ..., num_classes]` of rows, one array an output."""
        parts = parts_of(rows, self._outputs)
        return [
            dense_logits(parts[number], output, self._others.get(str(number)))
            for number, output in enumerate(self._by_name.values())
        ]

    def _as_outputs(self, logits, pairs=None):
        """Return arrays, one an output, as the teacher's answers were; see `joined`."""
        if isinstance(self._outputs, Stored):
            return logits[0]
        found = dict(zip(self._outputs, logits, strict=True))
        return found if pairs is None else {name: found[own] for name, own in pairs.items()}


def _asked(
    teacher, data, *, views=1, augmentation=None, dtype=None, top_k=None, seed=0, batch_size=None
):
    """Return what soft labels are made of, and what `Writer.write` takes; see `create`."""
    check_integer("views", views, minimum=1)
    if batch_size is not None:
        check_integer("batch_size", batch_size, minimum=1)
    check_seed(seed)
    if views > 1 and augmentation is None:
        raise ValueError(
            "Without an augmentation all views are the same. "
            f"Received: views={views}. Pass `augmentation`, or leave `views` at 1."
        )
    split = as_split(data)
    teacher = asked_about(teacher, split)
    if teacher.class_maps:
        raise ValueError(
            "Soft labels are for the student's own classes. Received: a teacher with a "
            "`class_map`. Distil from it without soft labels."
        )
    answers = teacher(examples_of(split.images, slice(1)))
    outputs = kept_of(answers, teacher.heads, dtype=dtype, top_k=top_k)
    made_of = {
        "teacher": teacher.fingerprint,
        "data": split.digest,
        "augmentation": what_it_does(augmentation, split),
        "views": views,
        "seed": seed,
        "num_examples": len(split),
        **described(outputs),
    }
    shapes = [*shapes_of(split.images), *shapes_of(answers)]
    batch_size = batch_size or images_at_once(*shapes)
    return made_of, (teacher, split, augmentation, batch_size)


def _writer_to(place):
    return Writer if isinstance(place, Folder) else ObjectsWriter


def _writer(place, made_of, verbose):
    block = _BYTES_PER_BLOCK // row_dtype(outputs_of(made_of)).itemsize
    block = min(_ROWS_PER_BLOCK, max(1, block))
    fair = made_of["views"] * made_of["num_examples"] // _SHARDS
    # A power of two, as the teacher's batches are: few of them lie in two shards.
    rows_per_shard = min(block, max(_ROWS_PER_SHARD, 1 << max(fair, 1).bit_length() - 1))
    found = place.unfinished() or {}
    # What was begun is gone on with as it is cut.
    if all(found.get(name) == value for name, value in made_of.items()):
        rows_per_shard = found.get("rows_per_shard", rows_per_shard)
    return _writer_to(place)(place, made_of | {"rows_per_shard": rows_per_shard}, verbose, block)


def _checked_part(part):
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        raise ValueError(
            f"`part` must be a number and of how many, such as (3, 16). Received: {part!r}."
        )
    number, count = part
    check_integer("num_parts", count, minimum=1)
    check_integer("part", number, minimum=1)
    if number > count:
        raise ValueError(
            f"`part` must be one of them, such as (3, 16). Received: part {number} of {count}."
        )
    return number, count


def _as_float32(logits):
    return keras.tree.map_structure(lambda each: tf.cast(each, tf.float32), logits)


def _digest_of(logits):
    """Return the SHA-256 of logits that were computed elsewhere."""
    digest = hashlib.sha256()
    for path, each in keras.tree.flatten_with_path(logits):
        digest.update("".join(map(str, path)).encode() + f"{each.dtype} {each.shape}".encode())
        for start in range(0, len(each), _ROWS_AT_ONCE):
            digest.update(np.ascontiguousarray(each[start : start + _ROWS_AT_ONCE]).data)
    return digest.hexdigest()


def _is_made(place, made_of, overwrite):
    """Return whether the soft labels are there; refuse what is there instead of them."""
    stored = place.record()
    if stored is not None:
        same = all(stored.get(name) == value for name, value in made_of.items())
        if not (same or overwrite):
            check_same(stored, made_of, place)
        return same
    if place.holds_something_else():
        raise ValueError(
            f"`path` must be a new folder, or one of soft labels. Received: {place}, which is "
            "something else."
        )
    return False


def _nothing(sentence):
    """Say nothing."""
