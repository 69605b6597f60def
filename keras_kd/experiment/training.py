"""Train the models of a recipe in a folder; a training that was killed goes on, to the bit."""

import dataclasses
from collections.abc import Callable

import keras

from keras_kd import data as data_module
from keras_kd._common.backend import on_gpu
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.precision import computing_in, policy_for
from keras_kd.losses import LabelSmoothing
from keras_kd.runs.fingerprints import description, digest_of
from keras_kd.runs.keeper import Keeper
from keras_kd.soft_labels import SoftLabels
from keras_kd.teachers.teacher import Teacher


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
    """

    recipe: object
    data: data_module.Data
    seed: int
    folder: object
    progress: object
    callbacks: Callable = lambda name, checkpoint: []
    earlier: list[float] = dataclasses.field(default_factory=list)

    def build(self, builder):
        """Return a new model, with the same first weights whatever was trained before."""
        keras.utils.set_random_seed(self.seed)
        return builder(image_shape=self.data.image_shape, num_classes=self.data.num_classes)

    def teacher(self):
        """Return the teacher, trained on the labels, as a `Trained`."""
        distillers = {"teacher": self.untrained_teacher()}
        return self.train("teacher", distillers, self.teacher_training)["teacher"]

    def untrained_teacher(self):
        """Return a compiled distiller that trains a new teacher on the labels."""
        recipe = self.recipe
        return self._on_labels(recipe.teacher, recipe.optimizer_of("teacher", self._num_train))

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
            precision=recipe.precision,
        )

    def distil(self, teacher):
        """Return a student trained from the teacher, as a `Trained`."""
        return self.students("student", {"student": self.distilled(teacher)}, teacher)["student"]

    def train_alone(self, teacher):
        """Return a student trained on the labels alone, as a `Trained`."""
        name = "student_alone"
        return self.students(name, {name: self.alone()}, teacher)[name]

    def students(self, name, distillers, teacher):
        """Return students, trained together if there are several, as `{name: Trained}`.

        Args:
            name: of the training.
            distillers: `{name: Distiller}`.
            teacher: the `keras.Model` that stored views are shown to, where the recipe has any.
        """
        return self.train(name, distillers, self.student_training, teacher)

    def distilled(self, teacher, **changes):
        """Return a compiled distiller of a new student.

        Args:
            teacher: a `keras.Model`.
            **changes: of the recipe's `temperature`, `alpha`, `loss` and `distiller`.
        """
        recipe = dataclasses.replace(self.recipe, **changes)
        distiller = recipe.distiller_of(self.build(recipe.student), self._live(teacher))
        return self._compiled(distiller, None, recipe.optimizer_of("student", self._num_train))

    def alone(self):
        """Return a compiled distiller that trains a new student on the labels alone."""
        recipe = self.recipe
        return self._on_labels(recipe.student, recipe.optimizer_of("student", self._num_train))

    def smoothed(self, smoothing, teacher):
        """Return a compiled distiller that trains a new student on smoothed labels."""
        distiller = Distiller(
            student=self.build(self.recipe.student),
            # It is not asked; where others are, all get its logits, and this one ignores them.
            teacher=self._live(teacher),
            distillation_loss=LabelSmoothing(smoothing),
            alpha=1.0,
        )
        return self._compiled(distiller, None, self.recipe.optimizer_of("student", self._num_train))

    def train(self, name, distillers, training, teacher=None):
        """Return `{name: Trained}`: from the folder, gone on with, or trained from the start."""
        return Keeper(self.folder, self.progress, self.callbacks, self.earlier).train(
            name,
            distillers,
            lambda epoch: self.batches(training, teacher, epoch),
            made_of=self._made_of(distillers, training, teacher),
            validation_data=self.data.validation.batches(1000),
            epochs=training.epochs,
            patience=training.patience,
        )

    def _on_labels(self, builder, optimizer):
        # At alpha=0 a distiller is plain training, but for rounding, and on the same fast path.
        distiller = Distiller(student=self.build(builder), alpha=0.0)
        # Keras's own loss: the control has nothing of ours in it.
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return self._compiled(distiller, loss, optimizer)

    def _live(self, teacher):
        # Stored views come with what the teacher says of them.
        return None if self.recipe.views else Teacher(teacher)

    def _compiled(self, distiller, loss, optimizer):
        return distiller.compile(
            optimizer=optimizer,
            loss=loss,
            metrics=["accuracy"],
            precision=self.recipe.precision,
        )

    @property
    def _num_train(self):
        return len(self.data.train)

    def in_its_precision(self, model):
        """Return a context in which a model computes as the recipe's training steps do."""
        precision = self.recipe.precision
        return computing_in(precision and policy_for(precision, on_gpu=on_gpu())[0], [model])

    def batches(self, training, teacher=None, epoch=0):
        """Return what a training trains on; with views, the teacher is asked about them first.

        Args:
            training: a `Training`.
            teacher: as in `students`.
            epoch: the next one.
        """
        options = {"shuffle_seed": self.seed, "initial_epoch": epoch}
        train = self.data.train
        if not training.views:
            return train.batches(training.batch_size, augmentation=training.augmentation, **options)
        made_of = [training.views, repr(training.augmentation), self.seed, self.data.digest]
        made_of += [training.precision] if training.precision else []
        folder = digest_of(*made_of, Teacher(teacher).fingerprint)[:12]
        with self.in_its_precision(teacher):
            labels = SoftLabels.create(
                self.folder / f"soft_labels_{folder}",
                teacher,
                train,
                views=training.views,
                augmentation=training.augmentation,
                seed=self.seed,
                verbose=self.progress.verbose,
            )
        return labels.join(train, training.batch_size, **options)

    def _made_of(self, distillers, training, teacher):
        """Return a digest of everything that the weights depend on."""
        parts = {name: description(distiller) for name, distiller in distillers.items()}
        stored = Teacher(teacher).fingerprint if training.views else None
        return digest_of(parts, training.settings(), stored, self.seed, self.data.digest)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What one `fit` is asked for."""

    epochs: int
    patience: int
    batch_size: int
    augmentation: object = None
    views: int | None = None
    precision: str | None = None

    def settings(self):
        """Return them as JSON can hold them."""
        plain = {**dataclasses.asdict(self), "augmentation": repr(self.augmentation)}
        if self.precision is None:
            del plain["precision"]
        return plain
