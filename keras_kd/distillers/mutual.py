"""Deep mutual learning: students that teach each other in one `fit`."""

from collections.abc import Sequence
from typing import Self

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.structures import part_for
from keras_kd._common.typing import Config, Schedule, Structure
from keras_kd.distillers.batch import Batch, StudentOutputs
from keras_kd.distillers.checks import check_one_output
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.objective import sum_of
from keras_kd.losses import SoftTargets
from keras_kd.teachers.outputs import TeacherOutputs


@keras.saving.register_keras_serializable(package="keras_kd")
class MutualDistiller(Distiller):
    """Trains several students at once, each from the labels and from what the others say.

        loss = sum_k ((1 - alpha) * hard_loss(labels, student_k)
                      + alpha * mean_{j != k} distillation_loss(student_j, student_k))

    No gradient goes through the student that teaches. `hard_loss` and `distillation_loss` in the
    logs are means over the students; the compiled metrics, `evaluate` and `predict` are about
    the first one; all of them are in `students`. Without labels, `evaluate` reports what the
    first one loses by what the others say.

    NOTE: the paper updates one student after another; here all take their step together, which
    costs one pass of each.

    Args:
        students: at least two built `keras.Model`s that return logits for the same images.
        distillation_loss: a loss on logits; `SoftTargets(1.0)` by default, as in the paper.
        alpha: weight of the distillation loss, from 0 to 2; 0.5 is the paper's ratio.
        name: name of the model.

    Raises:
        ValueError: if there are fewer than two students, or they do not fit each other.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    students = [kd.models.mlp([units], image_shape=data.image_shape) for units in (16, 32)]
    mutual = kd.MutualDistiller(students).compile(metrics=["accuracy"])
    mutual.fit(data.train.batches(32, shuffle_seed=0), epochs=1, verbose=0)
    ```

    References:
        Y. Zhang et al., Deep Mutual Learning, 2018, equations 4 to 8.
    """

    _config_parts = ("students", "distillation_loss", "alpha")

    def __init__(
        self,
        students: Sequence[keras.Model],
        *,
        distillation_loss: Structure | None = None,
        alpha: Schedule = 0.5,
        name: str = "mutual_distiller",
    ):
        students = list(students)
        if len(students) < 2 or len({id(student) for student in students}) < len(students):
            raise ValueError(
                "`students` must be at least two models, each once. "
                f"Received: {len(students)} models."
            )
        for student in students:
            check_one_output(type(self).__name__, student)
        super().__init__(
            student=students[0],
            distillation_loss=distillation_loss or SoftTargets(1.0),
            alpha=alpha,
            name=name,
        )
        if self.parts.terms.student_layers() or self.parts.terms.teacher_layers():
            raise ValueError(
                "Students teach each other by their logits. Received: a loss on layers. "
                "Use one of losses on logits, such as SoftTargets."
            )
        for other in students[1:]:
            # Each serves the others as a teacher: what must fit there must fit here.
            Distiller(student=other, teacher=students[0], distillation_loss=self.distillation_loss)
        self.students = students

    def models_in_step(self, *, teacher: bool) -> list[keras.Model]:
        return self.students

    def stored(
        self, outputs: Structure, finite: bool = False, index: tf.Tensor | None = None
    ) -> TeacherOutputs | None:
        raise ValueError(
            f"The students of a {type(self).__name__} teach each other. Received: stored teacher "
            "logits. Train on (images, labels), or distil from them with a Distiller."
        )

    def said(
        self, teacher: TeacherOutputs, index: tf.Tensor | None = None
    ) -> TeacherOutputs | None:
        return None  # They ask each other, inside the objective.

    def objective(
        self, batch: Batch, teacher: TeacherOutputs | None
    ) -> tuple[Structure, dict[str, tf.Tensor]]:
        logits = self.ask_students(batch.inputs)
        return logits[0], self.mutual_losses(batch, logits)

    def ask_students(self, inputs: Structure) -> list[tf.Tensor]:
        """Return the logits of each student, in training."""
        return [student(part_for(student, inputs), training=True) for student in self.students]

    def mutual_losses(self, batch: Batch, logits: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the losses as means over the students, and under `loss` their weighted sum.

        Args:
            batch: a `Batch`.
            logits: of each student.
        """
        parts = [self._losses_of_one(number, batch, logits) for number in range(len(logits))]
        weighted = [term for losses in parts for term in self.parts.weighted(losses, self._step())]
        means = {key: ops.mean([losses[key] for losses in parts]) for key in parts[0]}
        return {**means, "loss": sum_of(weighted)}

    def _losses_of_one(self, number, batch, logits):
        """Return hard and distillation loss of one student, taught by the others."""
        own, (name,) = logits[number], self.parts.names
        learned = self.parts.learned() if batch.labels is not None else ()
        by_peer = [
            self.losses_of(
                batch,
                TeacherOutputs({name: ops.stop_gradient(peer)}),
                StudentOutputs(own, {name: own}),
                learned=learned,
            )
            for other, peer in enumerate(logits)
            if other != number
        ]
        return {key: ops.mean([losses[key] for losses in by_peer]) for key in by_peer[0]}

    def _losses_without_labels(self, batch, student, stored):
        if stored is not None:
            self.stored(stored)
        others = [
            other(part_for(other, batch.inputs), training=False) for other in self.students[1:]
        ]
        logits = [student.structure, *others]
        return self._losses_of_one(0, batch, logits)

    def get_config(self) -> Config:
        config = super().get_config()
        return {
            "students": [keras.saving.serialize_keras_object(each) for each in self.students],
            **{key: config[key] for key in ("distillation_loss", "alpha", "name")},
        }

    @classmethod
    def from_config(cls, config: Config, custom_objects: Config | None = None) -> Self:
        found = {
            part: keras.saving.deserialize_keras_object(config[part], custom_objects)
            for part in cls._config_parts
        }
        return cls(**{**config, **found})
