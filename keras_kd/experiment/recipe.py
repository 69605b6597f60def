"""What an experiment is."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_kd import data as data_module
from keras_kd._common.checks import ALPHAS, RATES, TEMPERATURES, check_integer, check_number
from keras_kd._common.typing import Config, PathLike
from keras_kd.distillers.distiller import Distiller
from keras_kd.experiment.run import run
from keras_kd.losses import SoftTargets
from keras_kd.losses.lookup import builder_of
from keras_kd.runs.fingerprints import architecture, settings_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a teacher, a student distilled from it, and the same student alone.

    Student and student alone get the same budget: batches, optimizer, epochs, patience, first
    weights, order and augmentation of the data. A recipe is called to run it; see
    `experiment.run`.

    Args:
        name: names the folder below `saved_models/`.
        dataset: a name for `data.load`.
        teacher: builds the teacher, `(image_shape=..., num_classes=...) -> keras.Model`.
        student: builds the student, in the same way.
        temperature: of the soft targets.
        alpha: weight of the distillation loss; `1 - alpha` weighs the hard-label loss.
        epochs: at most, for each training.
        quick_epochs: at most, with `quick`.
        teacher_patience: epochs without a better validation accuracy that end its training.
        student_patience: the same for both students.
        batch_size: examples a step.
        learning_rate: of Adam, where there is no other optimizer.
        loss: builds the distillation loss, `(temperature) -> loss`; or the name of one.
        distiller: builds what trains the student, `(student=..., teacher=...,
            distillation_loss=..., alpha=...) -> Distiller`, such as a `functools.partial` of
            `adversarial.DiscriminatorDistiller`; a plain `Distiller` if `None`.
        optimizer: builds the optimizer from the number of training steps, `(num_steps) ->
            keras.optimizers.Optimizer`, such as `optimizers.one_cycle(...)`; plain Adam if `None`.
        augmentation: of the students' images, see `data.RandomShift`.
        views: how many views of each image are stored with the teacher's logits for them, so that
            it is asked once for each; if `None`, every epoch has new views.
        teacher_epochs: as `epochs`, for the teacher; `None` for the same, also below.
        teacher_batch_size: as `batch_size`, for the teacher.
        teacher_optimizer: as `optimizer`, for the teacher.
        teacher_augmentation: of the teacher's images; none if `None`.
        precision: what training steps, and the teacher where its logits are stored, compute in,
            as in `Distiller.compile`.
        quick_share: share of each class's images, of every split, that `quick` makes do with.
        share: the same of any run.
        temperatures: of a sweep that is told none.
        best: the same students under a better schedule, for `--best` and for a budget.
    """

    name: str
    dataset: str
    teacher: Callable[..., keras.Model]
    student: Callable[..., keras.Model]
    temperature: float
    alpha: float
    epochs: int
    quick_epochs: int
    teacher_patience: int
    student_patience: int
    batch_size: int
    learning_rate: float = 1e-3
    loss: Callable | str = SoftTargets
    distiller: Callable[..., Distiller] | None = None
    optimizer: Callable[[int], keras.optimizers.Optimizer] | None = None
    augmentation: Callable | None = None
    views: int | None = None
    teacher_epochs: int | None = None
    teacher_batch_size: int | None = None
    teacher_optimizer: Callable[[int], keras.optimizers.Optimizer] | None = None
    teacher_augmentation: Callable | None = None
    precision: str | None = None
    quick_share: float = 1.0
    share: float = 1.0
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    best: "Recipe | None" = None

    def __post_init__(self):
        if isinstance(self.loss, str):
            object.__setattr__(self, "loss", builder_of(self.loss)[0])
        check_number("temperature", self.temperature, TEMPERATURES)
        check_number("alpha", self.alpha, ALPHAS)
        check_number("learning_rate", self.learning_rate, RATES)
        for name in ("epochs", "quick_epochs", "teacher_patience", "student_patience",
                     "batch_size", "teacher_epochs", "teacher_batch_size", "views"):  # fmt: skip
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), minimum=1)
        if self.views is not None and self.augmentation is None:
            raise ValueError(
                f"Views are of an augmentation. Received: views={self.views} and none. "
                "Set `augmentation`, or leave `views` at None."
            )

    def __call__(self, **options: Any) -> dict[str, Any]:
        """Run the recipe; the options are those of `experiment.run`."""
        return run(self, **options)

    def data(self, seed: int, data_dir: PathLike | None = None) -> data_module.Data:
        """Return its data.

        Args:
            seed: integer that the validation split depends on.
            data_dir: as in `data.load`.

        Returns:
            A `Data`.
        """
        data = data_module.load(self.dataset, seed=seed, data_dir=data_dir)
        if self.share == 1:
            return data
        splits = ("train", "validation", "test")
        few = {name: getattr(data, name).share(self.share) for name in splits}
        return dataclasses.replace(data, **few)

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
        return self.loss(self.temperature)

    def distiller_of(self, student: keras.Model, teacher: Any) -> Distiller:
        """Return a new distiller of a student, not compiled yet."""
        return (self.distiller or Distiller)(
            student=student,
            teacher=teacher,
            distillation_loss=self.distillation_loss(),
            alpha=self.alpha,
        )

    def settings(self, data: data_module.Data) -> Config:
        """Return all settings as JSON can hold them, the models as digests of what they are.

        Args:
            data: the `Data`, which shapes and the length of a schedule depend on.
        """
        shape = {"image_shape": data.image_shape, "num_classes": data.num_classes}
        left_out = (
            "name", "teacher", "student", "best", "loss", "distiller", "optimizer",
            "teacher_optimizer", "quick_share", "temperatures",
        )  # fmt: skip
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in left_out
        }
        for name in ("augmentation", "teacher_augmentation"):
            plain[name] = plain[name] and repr(plain[name])
        if self.distiller is not None:
            models = self.student(**shape), self.teacher(**shape)
            plain["distiller"] = settings_of(self.distiller_of(*models))
        return plain | {
            "loss": keras.saving.serialize_keras_object(self.distillation_loss()),
            "optimizer": _described(self.optimizer_of("student", len(data.train))),
            "teacher_optimizer": _described(self.optimizer_of("teacher", len(data.train))),
            "teacher": architecture(self.teacher(**shape)),
            "student": architecture(self.student(**shape)),
        }

    def _of(self, who, name):
        teachers = getattr(self, f"teacher_{name}")
        return teachers if who == "teacher" and teachers is not None else getattr(self, name)


def _described(optimizer):
    config = optimizer.get_config()
    del config["name"]  # Keras counts it up.
    return {"class": type(optimizer).__name__, **config}
