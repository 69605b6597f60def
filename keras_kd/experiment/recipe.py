"""What an experiment is."""

import dataclasses
from collections.abc import Callable

import keras

from keras_kd.experiment.run import run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of three runs: a teacher, a student distilled from it, the student alone.

    Student and student alone get the same budget: batches, optimizer, epochs, patience, first
    weights and order of the data. A recipe is called to run it; see `experiment.run`.

    Args:
        name: names the folder below `saved_models/`.
        dataset: a name for `data.load`.
        teacher: builds the teacher, `(image_shape=..., num_classes=...) -> keras.Model`.
        student: builds the student, in the same way.
        temperature: of the soft targets.
        alpha: weight of the distillation loss; `1 - alpha` weighs the hard-label loss.
        epochs: at most, for each of the three runs.
        quick_epochs: at most, with `quick`.
        teacher_patience: epochs without a better validation accuracy that end its training.
        student_patience: the same for both students.
        batch_size: examples a step.
        learning_rate: of Adam.
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

    def __call__(self, **options):
        """Run the recipe; the options are those of `experiment.run`."""
        return run(self, **options)
