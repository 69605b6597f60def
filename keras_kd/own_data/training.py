"""A student trained from a teacher, or alone, with early stopping on validation images."""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from keras_kd.data import Data
from keras_kd.distillers.distiller import Distiller
from keras_kd.losses import SoftTargets
from keras_kd.runs.fingerprints import description, digest_of
from keras_kd.runs.keeper import Keeper
from keras_kd.runs.progress import Progress
from keras_kd.runs.students import build_student
from keras_kd.soft_labels import SoftLabels, images_at_once

_MOST_PREDICTED = 1000  # Small images that are shown to a model at once when none learns.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How student and control are trained: the same first weights, order of data and patience.

    Args:
        data: a `Data`.
        student: a spec (see `models.from_spec`), a path of a `.keras` file, a built
            `keras.Model`, or a function `(image_shape=..., num_classes=...) -> keras.Model`.
        epochs: at most.
        patience: epochs without a better validation accuracy that end a training.
        batch_size: examples a step.
        learning_rate: of Adam.
        seed: of the first weights and the order of the data.
        folder: where trainings lie until they are finished.
        progress: a `Progress`.
        earlier: seconds that trainings took in earlier processes, an entry each is added to it.
    """

    data: Data
    student: object
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    seed: int
    folder: Path
    progress: Progress
    earlier: list[float] = dataclasses.field(default_factory=list)

    def build(self):
        """Return the student with its first weights, the same at each call."""
        return build_student(self.student, self.data, self.seed)

    def distil(self, teacher, *, temperature, alpha, train=None, soft_labels=None):
        """Return a student trained from the teacher, and how it went, as a `Trained`.

        Args:
            teacher: a `Teacher` or an `Ensemble`, or `None` with soft labels.
            temperature: of the soft targets.
            alpha: weight of the distillation loss.
            train: the `Split` to train on, if not that of the data.
            soft_labels: `SoftLabels` of the training images, to learn from instead.
        """
        train = train or self.data.train
        if soft_labels is None and type(train.images) is not np.ndarray:
            # Images that are decoded each epoch are shown to the teacher only once.
            folder = self.folder / "soft_labels"
            soft_labels = SoftLabels.create(folder, teacher, train, verbose=False)
        distiller = Distiller(
            student=self.build(),
            teacher=teacher,
            distillation_loss=SoftTargets(temperature),
            alpha=alpha,
            soft_labels=soft_labels,
        )
        return self.train("student", {"student": distiller}, train)["student"]

    def alone(self):
        """Return the same student trained on the labels alone, as a `Trained`."""
        # At alpha=0 a distiller is plain training, but for rounding, and on the same fast path.
        distiller = Distiller(student=self.build(), alpha=0.0)
        name = "student_alone"
        return self.train(name, {name: distiller}, self.data.train)[name]

    def train(self, name, distillers, train):
        """Train distillers, or go on with what the folder holds of them.

        Args:
            name: of the training.
            distillers: `{name: Distiller}`, not compiled yet; several train together.
            train: the `Split` to train on.

        Returns:
            `{name: Trained}`.
        """
        for each in distillers.values():
            optimizer = keras.optimizers.Adam(self.learning_rate)
            each.compile(optimizer=optimizer, metrics=["accuracy"])
        descriptions = {each: description(distiller) for each, distiller in distillers.items()}
        settings = (self.epochs, self.patience, self.batch_size, self.seed)
        return Keeper(self.folder, self.progress, earlier=self.earlier).train(
            name,
            distillers,
            lambda epoch: train.batches(
                self.batch_size, shuffle_seed=self.seed, initial_epoch=epoch
            ),
            made_of=digest_of(descriptions, settings, self.data.digest),
            validation_data=self.validation_batches(),
            epochs=self.epochs,
            patience=self.patience,
        )

    def validation_batches(self):
        """Return what every training is judged on."""
        return self.data.validation.batches(
            images_at_once(self.data.image_shape, at_most=_MOST_PREDICTED)
        )
