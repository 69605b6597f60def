"""What an experiment is."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_kd import data as data_module
from keras_kd._common.checks import (
    ALPHAS,
    RATES,
    TEMPERATURES,
    ArgumentError,
    check_integer,
    check_number,
)
from keras_kd._common.files import sha256_of
from keras_kd._common.typing import Config, PathLike, Tensor
from keras_kd.checking.inspection import check
from keras_kd.data.joining import taught
from keras_kd.distillers.distiller import Distiller
from keras_kd.experiment.run import run
from keras_kd.losses import SoftTargets
from keras_kd.losses.lookup import builder_of
from keras_kd.runs.fingerprints import architecture, settings_of
from keras_kd.runs.progress import Progress
from keras_kd.runs.students import AUTO, StudentLike, build_student, built_for, named
from keras_kd.soft_labels import SoftLabels
from keras_kd.teachers.elsewhere import load_any
from keras_kd.teachers.ensemble import Ensemble, TeacherLike
from keras_kd.teachers.fitting import opened_teacher
from keras_kd.teachers.teacher import Teacher

# Where only what is chosen later is not known yet: to be timed, and to draw grids from.
_USUAL = {"temperature": 2.0, "alpha": 0.9}
# Settings that are paths, if something is there.
_PATHS = ("data", "teacher", "student", "unlabelled", "soft_labels")
_SAID_OTHERWISE = (
    "name", "data", "data_options", "teacher", "student", "best", "loss", "distiller", "optimizer",
    "teacher_optimizer", "quick_share", "temperatures", "scale", "head", "unlabelled",
    "soft_labels", "max_kb", "max_us", "checked",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a teacher, a student distilled from it, and the same student alone.

    Teacher and data may be the user's own. Student and student alone get the same budget: batches,
    optimizer, epochs, patience, first weights, order and augmentation of the data. A recipe is
    called to run it (see `experiment.run`), or given to `experiment.compare`, `sweep`, `search` or
    `distill`.

    Args:
        data: a name for `data.load`, the path of a folder or file for `data.read`, a `Data`, or a
            function `(seed) -> Data`. A `Data` keeps its validation split, all others draw one a
            seed.
        teacher: a function `(image_shape=..., num_classes=...) -> keras.Model` (`input_shape=` of
            data that are no images), whose model each run trains on the labels; or one that is
            there and never trained: a `keras.Model` that ends in logits, softmax or sigmoid, a
            `Teacher`, the path of a model file, or a list of several. `None` with `soft_labels`.
        student: such a function, a spec (`models.from_spec`), the path of a `.keras` file, or a
            `keras.Model` (a copy is trained). `"auto"` proposes three of one family, trains them
            together, runs their int8 files, and takes the most accurate within `max_kb` and
            `max_us`.
        temperature: of the soft targets. `"auto"` asks the teacher's logits, and a short probe on
            validation images.
        alpha: weight of the distillation loss; `1 - alpha` weighs the hard-label loss; or `"auto"`.
            Above 1, at most 2, it makes a student forget wrong labels, see `Distiller`.
        epochs: at most, for each training.
        quick_epochs: at most, with `quick`.
        teacher_patience: epochs without a better validation accuracy that end its training; `None`
            for all epochs, of which the last one is kept whatever validation says.
        student_patience: the same for all students.
        batch_size: examples a step.
        learning_rate: of Adam, where there is no other optimizer.
        name: names the folder below `saved_models/`; the data's name if `None`.
        data_options: of `data.read`, such as `{"image_size": (96, 96)}`.
        scale: what a teacher of the user's was trained on, see `check`.
        head: what such a teacher returns, see `Teacher`.
        unlabelled: images without labels for the teacher to speak of, beside the training images:
            an array of the same shape, or a folder; those of the data (`Data.unlabelled`) if
            `None`. Who learns from labels alone, a teacher that the run trains too, then sees each
            of these as often as makes epochs of as many steps.
        soft_labels: `SoftLabels` of the training images, or their folder, instead of a teacher;
            all seeds then have the first one's validation split.
        max_kb: most kilobytes of an `"auto"` student's file. If `None`, it has a quarter of its
            teacher's weights at most, and 500 KB.
        max_us: most microseconds of it for an image.
        checked: whether what `check` finds may refuse a teacher of the user's.
        loss: builds the distillation loss, `(temperature) -> loss`; or the name of one.
        distiller: builds what trains the student, `(student=..., teacher=...,
            distillation_loss=..., alpha=...) -> Distiller`, such as a `functools.partial` of
            `adversarial.DiscriminatorDistiller`; a plain `Distiller` if `None`.
        optimizer: builds the optimizer from the number of training steps, `(num_steps) ->
            keras.optimizers.Optimizer`, such as `optimizers.one_cycle(...)`; plain Adam if `None`.
        augmentation: of the students' images, see `data.RandomShift`.
        views: how many views of each image are stored with the teacher's logits for them, so that
            it is asked once for each; if `None`, every epoch has new views.
        top_k: how many of the teacher's largest logits are kept of a training example, or of each
            of its places, see `SoftLabels.create`; these lie on disk then. If `None`, all are.
        teacher_epochs: as `epochs`, for the teacher; `None` for the same, also below.
        teacher_batch_size: as `batch_size`, for the teacher.
        teacher_optimizer: as `optimizer`, for the teacher.
        teacher_augmentation: of the teacher's images; none if `None`.
        precision: what training steps, and the teacher where its logits are stored, compute in,
            as in `Distiller.compile`.
        quick_share: share of each class's images, of every split, that `quick` makes do with.
        share: the same of any run.
        labels: how many training examples keep their label, drawn by the seed, see
            `Data.keep_labels`; all if `None`. The others are what is unlabelled.
        temperatures: of a sweep that is told none.
        best: the same students under a better schedule, for `--best` and for a budget.

    Raises:
        ValueError: if a setting is out of range, or two of them contradict each other.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits")
    teacher = kd.models.mlp([64], image_shape=data.image_shape)
    teacher.compile("adam", kd.losses.CrossEntropy())
    teacher.fit(data.train.batches(32, shuffle_seed=0), epochs=5, shuffle=False, verbose=0)
    recipe = kd.experiment.Recipe(
        data="digits", teacher=teacher, student="mlp:8", temperature=2.0, alpha=0.9
    )
    assert recipe.has_fixed_teacher and recipe.name == "digits"
    ```
    """

    data: str | PathLike | data_module.Data | Callable[[int], data_module.Data]
    teacher: TeacherLike | PathLike | Callable[..., keras.Model] | None = None
    student: StudentLike = AUTO
    temperature: float | str = AUTO
    alpha: float | str = AUTO
    epochs: int = 100
    quick_epochs: int = 5
    teacher_patience: int | None = 10
    student_patience: int | None = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    name: str | None = None
    data_options: Mapping[str, Any] | None = None
    scale: str = "0..255"
    head: str | None = None
    unlabelled: Tensor | PathLike | None = None
    soft_labels: SoftLabels | PathLike | None = None
    max_kb: float | None = None
    max_us: float | None = None
    checked: bool = True
    loss: Callable | str = SoftTargets
    distiller: Callable[..., Distiller] | None = None
    optimizer: Callable[[int], keras.optimizers.Optimizer] | None = None
    augmentation: Callable | None = None
    views: int | None = None
    top_k: int | None = None
    teacher_epochs: int | None = None
    teacher_batch_size: int | None = None
    teacher_optimizer: Callable[[int], keras.optimizers.Optimizer] | None = None
    teacher_augmentation: Callable | None = None
    precision: str | None = None
    quick_share: float = 1.0
    share: float = 1.0
    labels: int | None = None
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    best: "Recipe | None" = None

    def __post_init__(self):
        if isinstance(self.loss, str):
            builder_of(self.loss)  # Refused now, if there is none.
        for name, bounds in (("temperature", TEMPERATURES), ("alpha", ALPHAS)):
            if getattr(self, name) != AUTO:
                check_number(name, getattr(self, name), bounds, ", or 'auto'")
        check_number("learning_rate", self.learning_rate, RATES)
        for name in ("epochs", "quick_epochs", "teacher_patience", "student_patience", "batch_size",
                     "teacher_epochs", "teacher_batch_size", "views", "top_k",
                     "labels"):  # fmt: skip
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), minimum=1)
        if self.views is not None and self.augmentation is None:
            raise ValueError(
                f"Views are of an augmentation. Received: views={self.views} and none. "
                "Set `augmentation`, or leave `views` at None."
            )
        if self.labels is not None and self.unlabelled is not None:
            raise ArgumentError(
                "With `labels` all other training examples are unlabelled. Received: `unlabelled` "
                "beside them. Leave one out."
            )
        check_teaching(self.teacher, self.soft_labels, self.unlabelled, self.student)
        if AUTO in self._choices() and not (self.has_fixed_teacher or self.soft_labels is not None):
            raise ArgumentError(
                "'auto' asks a teacher that is there before the run. Received: 'auto' and a "
                "teacher that the run trains. Name temperature, alpha and student."
            )
        if self.name is None:
            object.__setattr__(self, "name", _name_of(self.data))

    def __call__(self, **options: Any) -> dict[str, Any]:
        """Run the recipe; the options are those of `experiment.run`."""
        return run(self, **options)

    @property
    def has_fixed_teacher(self) -> bool:
        """Whether its teacher is there already, and never trained."""
        return self.teacher is not None and not _is_builder(self.teacher)

    @property
    def seeds_vary(self) -> list[str]:
        """What differs between seeds where the teacher is fixed."""
        split = [] if isinstance(self.data, data_module.Data) else ["the validation split"]
        return ["the student's first weights", "the order of the data", *split]

    def load(self, seed: int, data_dir: PathLike | None = None) -> data_module.Data:
        """Return its data.

        Args:
            seed: integer that the validation split depends on.
            data_dir: as in `data.load`.

        Returns:
            A `Data`.
        """
        if isinstance(self.data, data_module.Data):
            data = self.data
        elif callable(self.data):
            data = self.data(seed)
        elif self._is_known:
            data = data_module.load(str(self.data), seed=seed, data_dir=data_dir)
        else:
            options = {
                name: tuple(value) if isinstance(value, list) else value  # As JSON brings it back.
                for name, value in (self.data_options or {}).items()
            }
            data = data_module.read(self.data, seed=seed, **options)
        data = data if self.share == 1 else data.share(self.share)
        if self.labels is not None:
            return data.keep_labels(self.labels, seed=seed)
        images = self.unlabelled
        if isinstance(images, (str, Path)):
            options = self.data_options or {}
            how = {name: options[name] for name in ("unreadable", "text") if name in options}
            images = data_module.unlabelled(images, data, **how)
        return data if images is None else dataclasses.replace(data, unlabelled=images)

    def opened_teacher(
        self, data: data_module.Data, *, checked: bool = False, progress: Progress
    ) -> Teacher | Ensemble | None:
        """Return the teacher of the user's as it answers the data, `None` if the run trains one.

        Args:
            data: a `Data`.
            checked: whether it is looked at first, and refused if training would be wasted.
            progress: a `Progress`.

        Raises:
            ValueError: if it does not fit the data, or training would be wasted.
        """
        if not self.has_fixed_teacher:
            return None
        how = {"scale": self.scale, "head": self.head}
        if not checked:
            return opened_teacher(self.teacher, data, **how)
        student = None if self.student == AUTO else self.student
        found = check(
            self.teacher,
            data,
            student=student,
            epochs=self.epochs,
            verbose=progress.verbose,
            **how,
        )
        found.refuse()
        return found.teacher

    def with_size(self) -> "Recipe":
        """Return the recipe with the size for examples whose files do not say one.

        Of images that do not agree on a size, and of the bytes of texts, it is the teacher's own,
        if that is there already and takes one size alone.
        """
        options = self.data_options or {}
        is_path = isinstance(self.data, (str, Path)) and os.path.exists(self.data)
        # Arrays have one size.
        is_path = is_path and not str(self.data).endswith(".npz")
        told = {"image_size", "num_bytes"} & set(options)
        if not (is_path and self.has_fixed_teacher) or told:
            return self
        first = self.teacher[0] if isinstance(self.teacher, (list, tuple)) else self.teacher
        if isinstance(first, (str, Path)):
            first = load_any(first)
        inputs = getattr(first, "inputs", None) or []  # A subclassed model may have none.
        size = tuple(inputs[0].shape[1:3]) if len(inputs) == 1 else ()
        if not size or None in size:
            return self
        return dataclasses.replace(self, data_options={"default_size": size, **options})

    def with_images(self, data: data_module.Data) -> "Recipe":
        """Return the recipe with the images of its unlabelled folder, as its data hold them."""
        if not isinstance(self.unlabelled, (str, Path)):
            return self
        return dataclasses.replace(self, unlabelled=data.unlabelled)

    def stored_soft_labels(self) -> SoftLabels | None:
        """Return the `SoftLabels` that stand for a teacher, `None` if none do."""
        given = self.soft_labels
        return given if given is None or isinstance(given, SoftLabels) else SoftLabels(given)

    def digest_of_soft_labels(self) -> str:
        """Return a digest of the soft labels: their record holds that of every shard."""
        return sha256_of(self.stored_soft_labels().path / "store.json")

    def for_epochs(
        self, epochs: int | None = None, *, quick: bool = False, best: bool = False
    ) -> "Recipe":
        """Return the recipe, or its best form if it has one, with at most so many epochs."""
        if best and self.best is not None:
            return self.best.for_epochs(epochs, quick=quick)
        if epochs is None and not quick:
            return self
        epochs = epochs or self.quick_epochs
        # A student of fewer epochs never sees the other views.
        views = self.views and min(self.views, epochs)
        share = self.quick_share if quick else self.share
        return dataclasses.replace(
            self, epochs=epochs, teacher_epochs=None, views=views, share=share
        )

    def epochs_of(self, who: str) -> int:
        """Return the most epochs of `"teacher"` or `"student"`."""
        return self._of(who, "epochs")

    def batch_size_of(self, who: str) -> int:
        """Return the batch size of `"teacher"` or `"student"`."""
        return self._of(who, "batch_size")

    def optimizer_of(self, who: str, num_examples: int) -> keras.optimizers.Optimizer:
        """Return a new optimizer for `"teacher"` or `"student"`."""
        build = self.teacher_optimizer if who == "teacher" else self.optimizer
        if build is None:
            return keras.optimizers.Adam(self.learning_rate)
        return build(self.epochs_of(who) * -(-num_examples // self.batch_size_of(who)))

    def distillation_loss(self) -> Any:
        """Return a new distillation loss."""
        build = builder_of(self.loss)[0] if isinstance(self.loss, str) else self.loss
        return build(self._number("temperature"))

    def distiller_of(self, student: keras.Model, teacher: Any) -> Distiller:
        """Return a new distiller of a student, not compiled yet."""
        return (self.distiller or Distiller)(
            student=student,
            teacher=teacher,
            distillation_loss=self.distillation_loss(),
            alpha=self._number("alpha"),
        )

    def words(self) -> Config | None:
        """Return what makes the recipe again, as JSON can hold it; `None` if it holds objects."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = {name: getattr(self, name) for name in defaults}
        said = {name: each for name, each in values.items() if each is not defaults[name]}
        for name in {*_PATHS} & said.keys() - ({"data"} if self._is_known else set()):
            said[name] = _absolute(said[name])
        try:
            return json.loads(json.dumps(said))
        except TypeError:
            return None

    def settings(self, data: data_module.Data, teacher: Any = None) -> Config:
        """Return all settings as JSON can hold them, the models as digests of what they are.

        Args:
            data: the `Data`, which shapes and the length of a schedule depend on.
            teacher: of `opened_teacher`.
        """
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _SAID_OTHERWISE
        }
        for name in ("augmentation", "teacher_augmentation"):
            plain[name] = plain[name] and repr(plain[name])
        if self.distiller is not None:
            student = build_student(self.student, data, seed=0)
            asked = teacher or (self.teacher and built_for(self.teacher, data))
            plain["distiller"] = settings_of(self.distiller_of(student, asked))
        student = self.student
        return {
            # Of the user's own the digest tells: the same may be found under another name.
            **({"dataset": data.name} if self._is_known else {}),
            **plain,
            "loss": keras.saving.serialize_keras_object(self.distillation_loss()),
            "optimizer": _described(self.optimizer_of("student", len(data.train))),
            "teacher_optimizer": _described(self.optimizer_of("teacher", len(data.train))),
            "student": architecture(built_for(student, data)) if _is_builder(student)
            else student if student == AUTO else named(student, data, seed=0),
            **self._teaching(data, teacher),
            **({} if data.unlabelled is None else {"training images": taught(data).digest}),
        }  # fmt: skip

    def _teaching(self, data, teacher):
        """Return what tells who teaches, and of what."""
        if _is_builder(self.teacher):
            return {"teacher": architecture(built_for(self.teacher, data))}
        head = teacher.head if teacher else self.head
        said = {"teacher": teacher and teacher.fingerprint, "scale": self.scale, "head": head}
        if self.soft_labels is not None:
            said["soft labels"] = self.digest_of_soft_labels()
        if self.student == AUTO:
            said |= {"max_kb": self.max_kb, "max_us": self.max_us}
        return said

    @property
    def _is_known(self):
        """Whether the data is one that `data.load` knows by name; `./digits` is a folder's."""
        return isinstance(self.data, str) and self.data in data_module.NAMES

    def _choices(self):
        return [each for each in (self.temperature, self.alpha, self.student) if _is_text(each)]

    def _number(self, name):
        value = getattr(self, name)
        return _USUAL[name] if value == AUTO else value

    def _of(self, who, name):
        teachers = getattr(self, f"teacher_{name}")
        return teachers if who == "teacher" and teachers is not None else getattr(self, name)


def check_teaching(teacher, soft_labels, unlabelled, student):
    """Refuse what cannot stand beside each other, or a recipe from which nobody learns.

    Args:
        teacher: as in `Recipe`.
        soft_labels: the same.
        unlabelled: the same.
        student: the same.

    Raises:
        ArgumentError: in one sentence.
    """
    if soft_labels is None:
        if teacher is None:
            raise ArgumentError(
                "There must be a teacher, or soft labels that one left. Received: neither. Name a "
                ".keras file, in Python a `keras.Model`."
            )
        return
    if _is_text(student) and student == AUTO:
        raise ArgumentError(
            "A student is proposed where there is a teacher. Received: student='auto' and soft "
            "labels. Name a student, such as 'conv:16-32'."
        )
    if teacher is not None or unlabelled is not None:
        raise ArgumentError(
            "Soft labels stand for the teacher, on the training images alone. Received: a teacher "
            "or unlabelled images beside them. Pass one or the other."
        )


def _is_text(value):
    return isinstance(value, str)


def _is_builder(given):
    return callable(given) and not isinstance(given, (keras.Model, Teacher, Ensemble))


def _name_of(data):
    if callable(data):
        return "own"
    if not isinstance(data, (str, os.PathLike, data_module.Data)):
        raise ArgumentError(
            "`data` must be a name, a path, a `Data` or a function of the seed. Received: "
            f"{type(data).__name__}. Make a `Data` of arrays with `data.from_arrays`."
        )
    given = data.name if isinstance(data, data_module.Data) else Path(data).stem
    return re.sub(r"[^\w.-]+", "_", given).strip("._") or "own"


def _absolute(value):
    if isinstance(value, (list, tuple)):
        return [_absolute(each) for each in value]
    if not isinstance(value, (str, Path)):
        return value
    return os.path.abspath(value) if os.path.exists(value) else str(value)


def _described(optimizer):
    config = optimizer.get_config()
    del config["name"]  # Keras counts it up.
    return {"class": type(optimizer).__name__, **config}
