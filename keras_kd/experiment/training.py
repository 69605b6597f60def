"""Train the models of a recipe in a folder; a training that was killed goes on, to the bit."""

import dataclasses
import functools
from collections.abc import Callable

import keras

from keras_kd import data as data_module
from keras_kd._common.backend import on_gpu
from keras_kd.data.joining import taught
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.precision import computing_in, policy_for
from keras_kd.launchers import Launcher
from keras_kd.losses import LabelSmoothing
from keras_kd.runs.fingerprints import description, digest_of
from keras_kd.runs.keeper import Keeper, Trained
from keras_kd.runs.students import build_student
from keras_kd.soft_labels import SoftLabels
from keras_kd.soft_labels.predict import images_at_once, shapes_of
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.fitting import TeacherModel
from keras_kd.teachers.teacher import Teacher

# Who learns from labels alone.
ON_LABELS = ("student_alone", "label_smoothing")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What every kind of experiment may be asked for, see `experiment.run`."""

    epochs: int | None = None
    quick: bool = False
    budget: float | None = None
    tensorboard: bool = False
    data_dir: object = None
    overwrite: bool = False
    workers: int | Launcher = 1

    def options(self, left_out=()):
        """Return what `config.json` says of it, by name, but for some names."""
        said = {**vars(self), "workers": 1 if callable(self.workers) else self.workers}
        return {name: said[name] for name in said if name not in ("overwrite", *left_out)}


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Trains the recipe's models on its data; every one with the same seed.

    What is finished lies in the folder as `<name>.keras` with a record of what it was made of,
    and is used again while that is the same.

    Args:
        recipe: a `Recipe`.
        data: a `Data`.
        seed: of first weights and orders.
        folder: to write to.
        progress: a `Progress`.
        callbacks: more callbacks for each model, `(name, checkpoint) -> list`; they come last.
        earlier: seconds that trainings took in earlier processes, an entry each is added to it.
        fixed: the user's own teacher, of `Recipe.opened_teacher`; `None` if it is trained.
        asked: what else was asked for, an `Asked`.
    """

    recipe: object
    data: data_module.Data
    seed: int
    folder: object
    progress: object
    callbacks: Callable = lambda name, checkpoint: []
    earlier: list[float] = dataclasses.field(default_factory=list)
    fixed: Teacher | Ensemble | None = None
    asked: Asked = Asked()

    def settings(self):
        """Return the recipe's settings on this data, for JSON."""
        return self.recipe.settings(self.data, self.fixed)

    @functools.cached_property
    def taught(self):
        """What the teacher speaks of, a `Split`: unlabelled examples too, joined once."""
        return taught(self.data)

    def build(self, given):
        """Return a new model, with the same first weights whatever was trained before.

        Args:
            given: as in `Recipe.student`.
        """
        return build_student(given, self.data, self.seed)

    def teacher(self):
        """Return the teacher as a `Trained`: the user's own, or trained on the labels.

        `None` where soft labels stand for it.
        """
        if self.fixed is not None:
            return Trained(TeacherModel(self.fixed), {})
        if self.recipe.teacher is None:
            return None
        distillers = {"teacher": self.untrained_teacher()}
        return self.train("teacher", distillers, self.teacher_training)["teacher"]

    def untrained_teacher(self):
        """Return a compiled distiller that trains a new teacher on the labels."""
        return self._on_labels(self.recipe.teacher, self._optimizer_on_labels("teacher"))

    @property
    def teacher_training(self):
        """The `Training` of the teacher."""
        recipe = self.recipe
        return Training(
            epochs=recipe.epochs_of("teacher"),
            patience=recipe.teacher_patience,
            batch_size=recipe.batch_size_of("teacher"),
            augmentation=recipe.teacher_augmentation,
            precision=recipe.precision,
            times=self._times,
        )

    @property
    def student_training(self):
        """The `Training` of students."""
        recipe = self.recipe
        return Training(
            epochs=recipe.epochs,
            patience=recipe.student_patience,
            batch_size=recipe.batch_size,
            augmentation=recipe.augmentation,
            views=recipe.views,
            top_k=recipe.top_k,
            precision=recipe.precision,
            stored=self._is_stored,
        )

    def train_all(self, trainings):
        """Return `{name: Trained}` of the teacher and of all students, all written.

        Args:
            trainings: `(trainer, teacher) -> iterable of {name: Distiller}`, see `Kind.trainings`.
        """
        teacher = self.teacher()
        trained = {} if teacher is None else {"teacher": teacher}
        model = teacher and teacher.model
        for distillers in trainings(self, model):
            trained |= self.students(distillers, model)
        return trained

    def together(self, distillers):
        """Yield those of `{name: Distiller}` that can train together.

        Images without labels are for the teacher to speak of: who learns from labels alone trains
        without them.
        """
        if self.data.unlabelled is None:
            yield distillers
            return
        on_labels = {name: each for name, each in distillers.items() if name in ON_LABELS}
        yield from filter(None, (on_labels, _without(distillers, *ON_LABELS)))

    def students(self, distillers, teacher, name=None):
        """Return students, trained together if there are several, as `{name: Trained}`.

        Args:
            distillers: `{name: Distiller}`.
            teacher: the `keras.Model` that stored views are shown to, where the recipe has any.
            name: of the training; that of the only student, or `"students"`, if `None`.
        """
        if name is None:
            alone = set(distillers) <= set(ON_LABELS)
            several = "students_on_labels" if alone else "students"
            name = next(iter(distillers)) if len(distillers) == 1 else several
        return self.train(name, distillers, self.training_of(distillers), teacher)

    @property
    def _times(self):
        """How often who learns from labels alone sees each in an epoch, for as many steps."""
        return round(len(self.taught) / len(self.data.train))

    def training_of(self, names):
        """Return the `Training` of students: the teacher speaks of unlabelled images too."""
        training = self.student_training
        if self.data.unlabelled is None:
            return training
        if not set(names) <= set(ON_LABELS):
            return dataclasses.replace(training, unlabelled=True)
        # What is stored are the teacher's words on other examples.
        return dataclasses.replace(training, stored=False, times=self._times)

    def distilled(self, teacher, **changes):
        """Return a compiled distiller of a new student.

        Args:
            teacher: a `keras.Model`.
            **changes: of the recipe's `temperature`, `alpha`, `loss` and `distiller`.
        """
        recipe = dataclasses.replace(self.recipe, **changes)
        distiller = recipe.distiller_of(self.build(recipe.student), self._live(teacher))
        count = len(self.taught)
        return self._compiled(distiller, None, recipe.optimizer_of("student", count))

    def probe(self, **changes):
        """Return what `distilled` does, with the user's own teacher asked in every step."""
        recipe = dataclasses.replace(self.recipe, **changes)
        distiller = recipe.distiller_of(self.build(recipe.student), self.fixed)
        return self._compiled(distiller, None, keras.optimizers.Adam(recipe.learning_rate))

    def alone(self):
        """Return a compiled distiller that trains a new student on the labels alone."""
        return self._on_labels(self.recipe.student, self._optimizer_on_labels("student"))

    def smoothed(self, smoothing, teacher):
        """Return a compiled distiller that trains a new student on smoothed labels."""
        distiller = Distiller(
            student=self.build(self.recipe.student),
            # It is not asked; where others are, all get its logits, and this one ignores them.
            teacher=self._live(teacher),
            distillation_loss=LabelSmoothing(smoothing),
            alpha=1.0,
        )
        return self._compiled(distiller, None, self._optimizer_on_labels("student"))

    def train(self, name, distillers, training, teacher=None):
        """Return `{name: Trained}`: from the folder, gone on with, or trained from the start."""
        return Keeper(self.folder, self.progress, self.callbacks, self.earlier).train(
            name,
            distillers,
            lambda epoch: self.batches(training, teacher, epoch),
            made_of=self.made_of(distillers, training, teacher),
            validation_data=self.data.validation.batches(
                images_at_once(*shapes_of(self.data.validation.images), at_most=1000)
            ),
            epochs=training.epochs,
            patience=training.patience,
        )

    def keep(self, name, distiller, trained, teacher):
        """Keep a student that was trained in another training as if it had been by itself.

        Args:
            name: what its files are called.
            distiller: a new one, which tells what it is made of.
            trained: a `Trained`.
            teacher: as in `students`.
        """
        made_of = self.made_of({name: distiller}, self.training_of([name]), teacher)
        Keeper(self.folder, self.progress).keep(
            name, {name: trained.model}, {name: trained.curves}, made_of
        )

    def _optimizer_on_labels(self, who):
        """Return a new optimizer of a `"student"`, or a `"teacher"`, that learns from labels."""
        return self.recipe.optimizer_of(who, self._times * len(self.data.train))

    def _on_labels(self, builder, optimizer):
        # At alpha=0 a distiller is plain training, but for rounding, and on the same fast path.
        distiller = Distiller(student=self.build(builder), alpha=0.0)
        # Keras's own loss: the control has nothing of ours in it.
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return self._compiled(distiller, loss, optimizer)

    @property
    def _is_stored(self):
        """Whether what the teacher says lies on disk: of views, of many classes, of files."""
        recipe = self.recipe
        is_asked_once = self.data.train.is_read_anew and recipe.augmentation is None
        is_asked_once |= recipe.top_k is not None
        return bool(recipe.views) or recipe.soft_labels is not None or is_asked_once

    def _live(self, teacher):
        # What is stored comes with the minibatches.
        return None if self._is_stored else teacher_of(teacher)

    def _compiled(self, distiller, loss, optimizer):
        return distiller.compile(
            optimizer=optimizer,
            loss=loss,
            metrics=["accuracy"],
            precision=self.recipe.precision,
        )

    def in_its_precision(self, model):
        """Return a context in which a model computes as the recipe's training steps do."""
        precision = self.recipe.precision
        policy = precision and policy_for(precision, on_gpu=on_gpu())[0]
        return computing_in(policy, teacher_of(model).models)

    def batches(self, training, teacher=None, epoch=0):
        """Return what a training trains on; what is stored of the teacher is made first.

        Args:
            training: a `Training`.
            teacher: as in `students`.
            epoch: the next one.
        """
        options = {"shuffle_seed": self.seed, "initial_epoch": epoch}
        recipe = self.recipe
        train = self.taught if training.unlabelled else self.data.train
        if training.times > 1:
            train = train.repeated(training.times)
        if not training.stored:
            return train.batches(training.batch_size, augmentation=training.augmentation, **options)
        labels = recipe.stored_soft_labels() or self._soft_labels(training, teacher, train)
        return labels.join(train, training.batch_size, **options)

    def _soft_labels(self, training, teacher, train):
        """Return what a teacher says of every view of the training images, asked once."""
        made_of = [training.views, repr(training.augmentation), self.seed, self.data.digest]
        made_of += [training.precision] if training.precision else []
        made_of += [f"top_k={training.top_k}"] if training.top_k else []
        made_of += [train.digest] if training.unlabelled else []
        folder = digest_of(*made_of, teacher_of(teacher).fingerprint)[:12]
        with self.in_its_precision(teacher):
            return SoftLabels.create(
                self.folder / f"soft_labels_{folder}",
                teacher_of(teacher),
                train,
                views=training.views or 1,
                augmentation=training.augmentation,
                top_k=training.top_k,
                seed=self.seed,
                verbose=self.progress.verbose,
            )

    def made_of(self, distillers, training, teacher):
        """Return a digest of everything that the weights depend on."""
        parts = {name: description(distiller) for name, distiller in distillers.items()}
        stored = teacher_of(teacher).fingerprint if training.stored and teacher else None
        said = [parts, training.settings(), stored, self.seed, self.data.digest]
        if self.recipe.soft_labels is not None:
            said.append(self.recipe.digest_of_soft_labels())
        if training.unlabelled:
            said.append(self.taught.digest)
        return digest_of(*said)


def teacher_of(model):
    """Return the `Teacher` or `Ensemble` that a `keras.Model` is asked as."""
    return model.teacher if isinstance(model, TeacherModel) else Teacher(model)


def _without(distillers, *names):
    return {name: each for name, each in distillers.items() if name not in names}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What one `fit` is asked for."""

    epochs: int
    patience: int | None
    batch_size: int
    augmentation: object = None
    views: int | None = None
    top_k: int | None = None
    precision: str | None = None
    stored: bool = False
    unlabelled: bool = False
    times: int = 1

    def settings(self):
        """Return what weights depend on as JSON can hold it."""
        plain = {**dataclasses.asdict(self), "augmentation": repr(self.augmentation)}
        del plain["stored"], plain["unlabelled"]  # Said by the digests of what is learned from.
        if self.times == 1:
            del plain["times"]
        for name in ("precision", "top_k"):
            if plain[name] is None:
                del plain[name]
        return plain
