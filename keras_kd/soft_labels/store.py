"""The store: a folder of teacher logits, made once and joined to the data they are of."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import tensorflow as tf

from keras_kd._common.json_files import misfit
from keras_kd._common.reprs import call_of
from keras_kd._common.typing import PathLike, Structure
from keras_kd.data.augmentation import views_at
from keras_kd.data.minibatches import Minibatches
from keras_kd.data.targets import Targets
from keras_kd.launchers import Launcher
from keras_kd.soft_labels.making import (
    asked_of,
    check_part_of_many,
    make,
    make_part,
    of_logits,
    writer_to,
)
from keras_kd.soft_labels.places import place_of
from keras_kd.soft_labels.predict import examples_of
from keras_kd.soft_labels.record import (
    Stored,
    check_same,
    is_whole,
    listed,
)
from keras_kd.soft_labels.rows import at_kept, parts_of
from keras_kd.soft_labels.shards import Shards
from keras_kd.soft_labels.source import (
    as_split,
    asked_about,
    what_it_does,
)
from keras_kd.teachers.ensemble import TeacherLike


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
        others = self._made_of.get("others", {})
        for shard in [*self._made_of["shards"], *others.values()]:
            if not is_whole(self.path, shard):
                raise ValueError(
                    f"The soft labels must be as they were written. Received: {shard['file']} in "
                    f"{place}, which is damaged. Delete the folder and create them again."
                )
        self._shards = Shards(self.path, self._made_of)
        self.heads = {name: output.head for name, output in self._shards.by_name.items()}
        self.output_names = tuple(self.heads)

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
        made_of, asked = asked_of(teacher, data, **options)
        how = {"overwrite": overwrite, "verbose": verbose, "launcher": launcher}
        make(place_of(path), made_of, asked, **how)
        return cls(path, augmentation=augmentation)

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
        check_part_of_many(part)
        made_of, asked = asked_of(teacher, data, **options)
        return make_part(place_of(path), made_of, asked, part, verbose=verbose)

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
            done, total = writer_to(place)(place, found, verbose=False).progress()
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
        made_of, asked = of_logits(logits, data, head, dtype, top_k)
        make(place_of(path), made_of, asked, overwrite=overwrite, verbose=verbose)
        return cls(path)

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
        shapes = [output.shape for output in self._shards.by_name.values()]
        size = 4 * self.num_examples * sum(math.prod(shape) for shape in shapes)
        if self.augmentation is None and minibatches.resident and size <= split.nbytes:
            # The images lie in memory, and what is said of them takes less.
            logits = self._shards.logits(self._shards.rows(np.arange(self.num_examples), 0))
            return minibatches.with_teacher_logits(self._as_outputs(logits, pairs))

        def found_at(positions, view):
            rows = self._shards.rows(positions.ravel(), view)
            parts = [rows["seed"], *self._shards.logits(rows)]
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
        rows = self._shards.rows(positions, view)
        images = examples_of(split.images, positions)
        if self.augmentation is not None:
            images = self.augmentation(images, rows["seed"])
        answers = teacher(images)
        return max(
            float(np.abs(at_kept(part, np.asarray(answer)) - part["logits"]).max())
            for part, answer in zip(
                parts_of(rows, self._shards.outputs), listed(answers), strict=True
            )
        )

    def _as_outputs(self, logits, pairs=None):
        """Return arrays, one an output, as the teacher's answers were; see `joined`."""
        if isinstance(self._shards.outputs, Stored):
            return logits[0]
        found = dict(zip(self._shards.outputs, logits, strict=True))
        return found if pairs is None else {name: found[own] for name, own in pairs.items()}
