"""The distiller: a `keras.Model` that trains its student from a teacher."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Self

import keras
import tensorflow as tf

from keras_kd._common.structures import by_name, output_names, part_for
from keras_kd._common.typing import Config, PathLike, Schedule, Structure
from keras_kd.distillers.batch import Batch, StudentOutputs, batch_of
from keras_kd.distillers.checks import (
    answers_of,
    can_be_tried,
    check_alpha,
    check_answers,
    check_by_name,
    check_fit,
    check_soft_labels,
    check_stored,
    check_student,
    shape_of,
    shapes_of,
    teacher_for,
)
from keras_kd.distillers.hard_losses import default_hard_losses
from keras_kd.distillers.objective import Objective, sum_of
from keras_kd.distillers.stacks import ask_teacher
from keras_kd.distillers.terms import DistillationTerms
from keras_kd.distillers.trainer import Trainer
from keras_kd.losses import SoftTargets
from keras_kd.losses.lookup import get_each
from keras_kd.soft_labels import SoftLabels
from keras_kd.teachers.ensemble import TeacherLike
from keras_kd.teachers.features import feature_model
from keras_kd.teachers.outputs import TeacherOutputs


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(Trainer):
    """Trains a student from the labels and from what a frozen teacher says of the same inputs.

        loss = alpha * distillation_loss + (1 - alpha) * hard_loss + the student's regularisers
        distillation_loss = sum of weight * loss over the distillation losses, usually one

    It is compiled, fitted, saved and loaded like any Keras model; it predicts with the student
    alone, and what is trained is `distiller.student`. Inputs are whatever `keras.Model.fit` takes;
    of a dict, student and teacher each take what they have inputs for. Sample weights, class
    weights, masks, mixed precision, `jit_compile`, `steps_per_execution`, `run_eagerly` and
    gradient accumulation work as they do in `keras.Model`.

    A student may have several outputs. Then `distillation_loss` and `alpha` go by the name of the
    output, as Keras's `loss`, `loss_weights` and `metrics` do, and the loss above is summed over
    the outputs, each with its `loss_weights`. An output without a distillation loss learns from
    labels alone, one without a hard loss from the teacher alone.

    The teacher runs outside the gradient tape, once for each example that lies in memory, else
    once a training step, and never in `predict`. It is not tracked: checkpoints and saved files
    hold the student and the optimizer. After loading, call `attach_teacher`.

    `fit` reports `loss`, `hard_loss` (unless alpha is 1), `distillation_loss` (unless it is 0)
    and the compiled metrics; of several outputs `{output}_loss` and `{output}_distillation_loss`
    as well. `evaluate` leaves the teacher alone: its `loss` is `hard_loss` and the student's
    regularisers, so Keras's callbacks find the `val_loss` that they watch. Given inputs without
    labels it asks the teacher, and `distillation_loss` takes the place of `hard_loss`.

    Args:
        student: a built `keras.Model` that returns logits, or values where it is compared by a
            loss on values (`losses.ValueMatching` and its kin).
        teacher: a trained `keras.Model` ending in logits, softmax, sigmoid or values, a
            `Teacher`, or what that takes (the path of an ONNX file, a fitted classifier); a list
            of them or an `Ensemble`. `None` if no loss needs it, or it is attached later.
        distillation_loss: a loss of `keras_kd.losses`, or its name, `"soft_targets"`, or any
            `keras.distillation.DistillationLoss`; or a list, or a dict by name, of several.
            `SoftTargets()` by default. What a loss compares (outputs, or layers by name) comes
            from one pass of each model. For a student of several outputs a dict by output, or a
            list in order, of any of these; `None` for an output that no teacher speaks of.
        distillation_loss_weights: one number above 0 for each of several losses, as a list or a
            dict by the same names; 1 by default.
        alpha: weight of the **distillation** loss, from 0 to 1, or a schedule; `1 - alpha`
            weighs the hard-label loss. At 0 the teacher is not asked; at 1 labels are not
            needed. Above 1, at most 2, the labels count against what the teacher says: this can
            pay where many labels are wrong, and the loss has no lower bound (Das and Sanghavi
            2023, section 4). One for all outputs, or a dict or list of one each.
        soft_labels: `SoftLabels`, or the folder of some, to train from instead of the live
            teacher. A loss on layers needs some that hold an output of the layer's name. A folder
            that is not there yet is made by the first `fit`, from the teacher and the training
            data as they are. Like the teacher it is not saved: after loading, set
            `distiller.soft_labels` again.
        examples: a batch of inputs from the data, to try student and teacher on; made up if
            `None`. Pass some where made-up ones are refused.
        name: name of the model.

    Raises:
        ValueError: if student, teacher and losses do not fit each other.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    shape = dict(image_shape=data.image_shape, num_classes=data.num_classes)
    teacher = kd.models.mlp([64, 64], **shape)  # Trained, in earnest.
    distiller = kd.Distiller(student=kd.models.mlp([16], **shape), teacher=teacher)
    distiller.compile(optimizer="adam", metrics=["accuracy"])
    distiller.fit(data.train.batches(32, shuffle_seed=0), epochs=1, verbose=0)
    assert distiller.student.output_shape == (None, 10)
    ```

    A model of two heads, a class and a box:

    ```python
    import keras
    import numpy as np
    import keras_kd as kd

    def detector(units, name):
        image = keras.Input((8, 8, 1), name="image")
        x = keras.layers.Dense(units, activation="relu")(keras.layers.Flatten()(image))
        heads = {"class": keras.layers.Dense(3)(x), "box": keras.layers.Dense(4)(x)}
        return keras.Model(image, heads, name=name)

    distiller = kd.Distiller(
        student=detector(8, "student"),
        teacher=detector(32, "teacher"),  # Trained, in earnest.
        distillation_loss={"class": kd.losses.SoftTargets(2.0), "box": kd.losses.ValueMatching()},
        alpha={"class": 0.9, "box": 0.5},
    )
    distiller.compile("adam", loss_weights={"box": 0.1}, metrics={"class": ["accuracy"]})
    images, boxes = np.zeros((16, 8, 8, 1)), np.zeros((16, 4))
    history = distiller.fit(images, {"class": np.arange(16) % 3, "box": boxes}, verbose=0)
    assert "class_accuracy" in history.history and "box_distillation_loss" in history.history
    ```

    References:
        G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
        section 2.
    """

    # What `get_config` serialises.
    _config_parts = ("student", "distillation_loss", "alpha")

    def __new__(cls, *args, **kwargs):
        check_by_name(cls, args, kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(
        self,
        *,
        student: keras.Model,
        teacher: TeacherLike | None = None,
        distillation_loss: Structure | None = None,
        distillation_loss_weights: Structure | None = None,
        alpha: Schedule | Sequence[Schedule] | Mapping[str, Schedule] = 0.5,
        soft_labels: SoftLabels | PathLike | None = None,
        examples: Structure | None = None,
        name: str = "distiller",
    ):
        check_student(student)
        names = output_names(student, answers_of(student, examples))
        losses = SoftTargets() if distillation_loss is None else get_each(distillation_loss)
        terms = DistillationTerms(losses, distillation_loss_weights, names)
        if can_be_tried(student, examples):
            check_answers(student, terms.of_logits(), examples=examples)
        parts = Objective(names, terms, check_alpha(alpha, names), dict.fromkeys(names))
        defaults = default_hard_losses(parts.heads({}, {}))
        super().__init__(student, dataclasses.replace(parts, hard_losses=defaults), name=name)
        self.distillation_loss = losses
        self.distillation_loss_weights = distillation_loss_weights
        self.alpha = float(alpha) if isinstance(alpha, int) else alpha
        self.soft_labels = check_soft_labels(soft_labels, self.parts.live, terms)
        layers = self.parts.live.student_layers()
        features = feature_model(student, layers) if layers else None
        # A bound method, since the model would be tracked beside the student that it is made of.
        self._student_features = features and features.__call__
        self._student_shapes = shapes_of(student, names) if self.parts.live.terms else {}
        self._student_shapes |= {name: features.output[name].shape for name in layers}
        self.projectors = {}
        self._teacher_shapes = {}
        self._teacher_fingerprint = None
        if teacher is not None:
            self.attach_teacher(teacher, examples=examples)
        self.built = True

    def attach_teacher(self, teacher: TeacherLike, *, examples: Structure | None = None) -> None:
        """Give the distiller its teacher, after loading or to begin with.

        Args:
            teacher: as in `Distiller`.
            examples: as in `Distiller`.

        Raises:
            ValueError: if it does not fit the student or the losses, or is not the one the
                distiller was saved with (by a fingerprint of the weights).
        """
        if teacher is self.student:
            raise ValueError("Teacher and student must be two models. Received: one as both.")
        image_shape = shape_of(self.student, "inputs")
        options = {"image_shape": image_shape and image_shape[1:], "examples": examples}
        terms = self.parts.terms
        teacher, pairs = teacher_for(teacher, terms, **options)
        values = [name for name in pairs if terms.is_of_values(name)]
        check_fit(teacher, self.student, pairs, values=values)
        by_teacher = isinstance(teacher.input_shape, tuple) and examples is None
        if by_teacher and not can_be_tried(self.student):
            check_answers(self.student, terms.of_logits(), image_shape=teacher.input_shape[1:])
        if self._teacher_fingerprint and self._teacher_fingerprint != teacher.fingerprint:
            raise ValueError(
                "The teacher must be the one this distiller was saved with. Received: one with "
                "other weights. Build a new Distiller to go on with another teacher."
            )
        terms.check_heads(teacher.heads, pairs)
        terms.check_models(teacher.models, self.student)
        shapes = {name: teacher.output_shape(own) for name, own in pairs.items()}
        layers = self.teacher_layers()
        self._make_projectors(shapes | {name: teacher.feature_shape(name) for name in layers})
        # `Teacher` is no Keras object, so Keras does not track the model inside it.
        self.teacher, self._pairs = teacher, pairs

    def train_on_minibatch(self, data: Structure) -> dict[str, tf.Tensor]:
        """Update the student once, and return the logs.

        Args:
            data: `(inputs, labels, sample_weight)`, as in Keras, what comes last may be left out;
                `Targets` in the place of the labels hold the teacher's outputs too.
        """
        batch, stored = batch_of(data)
        if stored is not None:
            return self.learn(batch, self.stored(stored))
        return self.learn(batch, self.said(self.ask_teacher(batch.inputs)))

    def stored(
        self, outputs: Structure, finite: bool = False, index: tf.Tensor | None = None
    ) -> TeacherOutputs | None:
        """Return what a teacher said before, as `objective` takes it; `None` if nobody asks.

        Args:
            outputs: in the structure of the student's; a dict may hold layers of the teacher too.
            finite: whether they are known to be finite.
            index: as in `TeacherOutputs`.
        """
        names, features = self.parts.names, {}
        if isinstance(outputs, dict):
            features = {name: each for name, each in outputs.items() if name not in names}
            outputs = {name: each for name, each in outputs.items() if name in names}
        outputs = by_name(outputs, names, what="Stored teacher outputs")
        shapes = shapes_of(self.student, names)
        missing = [name for name in self.teacher_layers() if name not in features]
        compared = self.parts.live.compared_outputs()
        check_stored(outputs, shapes, missing, compared, features)
        if not self.uses_teacher():
            return None
        self._check_projectors({name: each.shape for name, each in features.items()})
        return TeacherOutputs(outputs, features, finite=finite, index=index)

    def said(
        self, teacher: TeacherOutputs, index: tf.Tensor | None = None
    ) -> TeacherOutputs | None:
        """Return what a teacher said by the student's names; `None` if nobody asks.

        Args:
            teacher: `TeacherOutputs` by the teacher's own names, or `None`.
            index: as in `TeacherOutputs`.

        Raises:
            ValueError: if a loss needs a teacher, and there is none.
        """
        if not self.uses_teacher():
            return None
        if teacher is None and self.needs_teacher():
            raise ValueError(
                "The distiller has no teacher. Pass `teacher` to `Distiller`, or call "
                "`distiller.attach_teacher(teacher)` after loading one, or train from stored "
                "logits: `SoftLabels`, or minibatches `(images, Targets(labels, logits))`."
            )
        if teacher is None:
            return TeacherOutputs({}, index=index)
        return dataclasses.replace(teacher.renamed(self._pairs), index=index)

    def learn(self, batch: Batch, teacher: TeacherOutputs | None) -> dict[str, tf.Tensor]:
        """Update the student once, and return the logs; `train_step` calls it.

        Args:
            batch: a `Batch`.
            teacher: `TeacherOutputs` by the student's names, or `None`.
        """
        self._check_labels(batch.labels)
        with tf.GradientTape() as tape:
            outputs, losses = self.objective(batch, teacher)
            losses["loss"] = self.regularized(losses["loss"])
            scaled_loss = self.optimizer.scale_loss(losses["loss"])
        self.descend(tape, scaled_loss, teacher)
        return self.logs_of(batch, outputs, losses)

    def objective(
        self, batch: Batch, teacher: TeacherOutputs | None
    ) -> tuple[Structure, dict[str, tf.Tensor]]:
        """Return the student's outputs for a batch, and the losses by their names in the logs.

        What a distiller of your own overrides: `losses["loss"]` is what a training step descends,
        the regularisers added. It runs under the tape of the step.

        Args:
            batch: a `Batch`: `inputs`, `labels`, `sample_weight`.
            teacher: `TeacherOutputs` by the names of the student's outputs; `None` if no loss
                asks the teacher.

        Returns:
            `(outputs, losses)`: the outputs as the student returns them, for the metrics; scalars.
        """
        student = self.ask_student(batch.inputs, training=True)
        learned = self.parts.learned() if batch.labels is not None else ()
        losses = self.losses_of(batch, teacher, student, learned=learned)
        losses["loss"] = sum_of(self.parts.weighted(losses, self._step()))
        return student.structure, losses

    def test_step(self, data: Structure) -> dict[str, tf.Tensor]:
        batch, stored = batch_of(data)
        if batch.labels is not None and self.parts.labelled():
            student = self._answers(self(batch.inputs, training=False))
            losses = self.losses_of(batch, None, student, learned=self.parts.labelled())
            losses["loss"] = losses["hard_loss"]
        else:
            if not self.parts.live.needs_teacher():
                raise ValueError(
                    "Evaluating without a teacher's part needs labels. Received: images alone, and "
                    f"alpha={self.alpha}."
                )
            student = self.ask_student(batch.inputs, training=False)
            losses = self._losses_without_labels(batch, student, stored)
            losses["loss"] = losses["distillation_loss"]
        losses["loss"] = self.regularized(losses["loss"], self.student)
        return self.logs_of(batch, student.structure, losses)

    def _losses_without_labels(self, batch, student, stored):
        live = stored is None
        teacher = self.said(self.ask_teacher(batch.inputs)) if live else self.stored(stored)
        return self.losses_of(batch, teacher, student, learned=())

    def get_config(self) -> Config:
        fingerprint = self.teacher.fingerprint if self.teacher else self._teacher_fingerprint
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "student": serialize(self.student),
            "distillation_loss": serialize(_plain(self.distillation_loss)),
            "distillation_loss_weights": _plain(self.distillation_loss_weights),
            "alpha": serialize(_plain(self.alpha)),
            "teacher_fingerprint": fingerprint,
            "teacher_shapes": self._teacher_shapes if self.projectors else {},
        }

    @classmethod
    def from_config(cls, config: Config, custom_objects: Config | None = None) -> Self:
        config = dict(config)
        fingerprint = config.pop("teacher_fingerprint", None)
        shapes = config.pop("teacher_shapes", {})
        for part in cls._config_parts:
            config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects)
        distiller = cls(**config)
        distiller._teacher_fingerprint = fingerprint
        if shapes:  # So that the projectors are there when their weights are loaded.
            distiller._make_projectors({name: tuple(shape) for name, shape in shapes.items()})
        return distiller

    def _make_projectors(self, teacher_shapes):
        self._teacher_shapes = {name: list(shape) for name, shape in teacher_shapes.items()}
        found = self.parts.live.projectors(teacher_shapes, self._student_shapes)
        for name, projector in found.items():
            if name not in self.projectors:  # Those of a loaded distiller are trained.
                self.projectors[name] = projector

    def _check_projectors(self, shapes):
        """Refuse stored layers that a loss would project, where no teacher told their shape."""
        if self.teacher is not None:
            return
        with tf.init_scope():  # Made to be looked at, not to be trained.
            wanted = self.parts.live.projectors(shapes, self._student_shapes)
        if missing := [name for name in wanted if name not in self.projectors]:
            raise ValueError(
                f"Stored layers are compared as they are. Received: {missing[0]}, which trains a "
                "projector. Build the loss with `project=False`, or attach the teacher."
            )

    def losses_of(
        self,
        batch: Batch,
        teacher: TeacherOutputs | None,
        student: StudentOutputs,
        *,
        learned: bool,
    ) -> dict[str, tf.Tensor]:
        """Return the losses by their names in the logs, as far as they can be had.

        Args:
            batch: a `Batch`.
            teacher: `TeacherOutputs` by the student's names, or `None`.
            student: `StudentOutputs`.
            learned: names of the outputs whose labels are there to be learned.
        """
        options = {"projectors": self.projectors, "step": self._step()}
        return self.parts.losses(batch, teacher, student, learned=learned, **options)

    def _step(self):
        return self.optimizer.iterations if self.optimizer else 0

    def labels_as_classes(self) -> list[str]:
        """Return the outputs whose labels anything but the hard loss takes for classes."""
        return [term.output for term in self.parts.live.terms if term.loss.uses_labels]

    def teacher_layers(self) -> tuple[str, ...]:
        """Return the teacher's layers that the losses compare."""
        return self.parts.terms.teacher_layers()

    def asks_teacher(self) -> bool:
        """Return whether a training step asks the live teacher."""
        return self.teacher is not None and self.needs_teacher()

    def uses_teacher(self) -> bool:
        """Return whether a training step is given what a teacher said, stored or asked."""
        return bool(self.parts.live.terms)

    def needs_teacher(self) -> bool:
        """Return whether it cannot do without."""
        return self.parts.live.needs_teacher()

    def ask_student(self, inputs: Structure, *, training: bool) -> StudentOutputs:
        """Return `StudentOutputs`: the outputs and the layers that are compared, from one pass.

        Args:
            inputs: any structure that the student takes, or a dict that holds its inputs.
            training: whether the student is in training.
        """
        if self._student_features is None:
            return self._answers(self(inputs, training=training), training=training)
        found = self._student_features(part_for(self.student, inputs), training=training)
        return self._answers(found["logits"], found, training=training)

    def _answers(self, structure, features=None, *, training=False):
        outputs = by_name(structure, self.parts.names, what="The student's outputs")
        return StudentOutputs(structure, outputs, features or {}, training)

    def _check_labels(self, labels):
        if labels is None and self.parts.needs_labels():
            raise ValueError(
                f"Training with alpha={self.alpha} needs labels. Received: images alone. "
                "To distil without labels, set alpha=1 and use losses that ask the teacher."
            )

    def ask_teacher(self, inputs: Structure) -> TeacherOutputs | None:
        """Return what the live teacher says, by its own names; `None` if a step does not ask it.

        Args:
            inputs: of a batch.
        """
        # Outside the tape: no gradient is ever taken through the teacher.
        asks = self.asks_teacher()
        return ask_teacher(self.teacher, inputs, self.teacher_layers()) if asks else None


def _plain(structure):
    """Return Keras's tracked lists and dicts as plain ones, which can be serialised."""
    if isinstance(structure, dict):
        return {name: _plain(each) for name, each in structure.items()}
    is_list = isinstance(structure, (list, tuple))
    return [_plain(each) for each in structure] if is_list else structure
