"""The distiller: a `keras.Model` that trains its student from a teacher."""

import numbers

import keras
import tensorflow as tf
from keras import ops

from keras_kd.losses import CrossEntropy, SoftTargets
from keras_kd.teacher import as_teacher, head_of

_LOSS_NAMES = ("loss", "hard_loss", "distillation_loss")
_CROSS_ENTROPY_NAMES = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "crossentropy",
    "ce",
)


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(keras.Model):
    """Trains a student from the labels and from what a frozen teacher says of the same images.

        loss = alpha * distillation_loss + (1 - alpha) * hard_loss + the student's regularisers

    It is compiled, fitted, saved and loaded like any Keras model; it predicts with the student
    alone, and what is trained is `distiller.student`. Sample weights, class weights, masks,
    mixed precision, `jit_compile`, `steps_per_execution`, `run_eagerly` and gradient
    accumulation work as they do in `keras.Model`.

    The teacher runs once a training step, outside the gradient tape, and never in `predict`. It
    is not tracked: checkpoints, `restore_best_weights` and saved files hold the student and the
    optimizer. After loading, attach it again with `attach_teacher`.

    `fit` reports `loss`, `hard_loss` (unless alpha is 1), `distillation_loss` (unless it is 0)
    and the compiled metrics. `evaluate` leaves the teacher alone and reports what labels tell:
    `hard_loss` and the metrics; given images without labels it asks the teacher and reports
    `distillation_loss`. So what to watch on validation data is `val_hard_loss` or a metric (see
    `callbacks.EarlyStopping`).

    Args:
        student: a built `keras.Model` that returns logits.
        teacher: a trained `keras.Model` ending in logits, softmax or sigmoid, or a `Teacher`.
            `None` if `alpha` is 0 or the teacher is attached later.
        distillation_loss: a loss of `keras_kd.losses`, or any
            `keras.distillation.DistillationLoss`. `SoftTargets()` by default.
        alpha: weight of the **distillation** loss, from 0 to 1; `1 - alpha` weighs the
            hard-label loss. At 0 the teacher is not asked; at 1 labels are not needed.
        name: name of the model.

    Raises:
        ValueError: if student and teacher do not fit each other, or the student does not return
            logits.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    shape = dict(image_shape=data.image_shape, num_classes=data.num_classes)
    teacher = kd.models.mlp([64, 64], **shape)  # Trained, in earnest.
    distiller = kd.Distiller(student=kd.models.mlp([16], **shape), teacher=teacher)
    distiller.compile(optimizer="adam", metrics=["accuracy"])
    distiller.fit(data.train.batches(32, shuffle_seed=0), epochs=1, shuffle=False, verbose=0)
    distiller.student.save
    ```

    References:
        G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
        section 2.
    """

    def __init__(
        self, *, student, teacher=None, distillation_loss=None, alpha=0.5, name="distiller"
    ):
        _check_student(student)
        # The student's policy decides whether Keras scales the loss for mixed_float16.
        super().__init__(name=name, dtype=student.dtype_policy)
        self.student = student
        self.distillation_loss = SoftTargets() if distillation_loss is None else distillation_loss
        if not isinstance(self.distillation_loss, keras.distillation.DistillationLoss):
            raise ValueError(
                "`distillation_loss` must be a keras.distillation.DistillationLoss, such as "
                f"keras_kd.losses.SoftTargets(). Received: {type(distillation_loss).__name__}."
            )
        self.alpha = _check_alpha(alpha)
        self.hard_loss = CrossEntropy()
        # Keras adds the tracker of `loss` itself when the model is compiled.
        self._hard_loss_tracker = keras.metrics.Mean(name="hard_loss")
        self._distillation_loss_tracker = keras.metrics.Mean(name="distillation_loss")
        self.teacher = None
        self._teacher_fingerprint = None
        if teacher is not None:
            self.attach_teacher(teacher)
        self.built = True

    def attach_teacher(self, teacher):
        """Give the distiller its teacher, after loading or to begin with.

        Args:
            teacher: as in `Distiller`.

        Raises:
            ValueError: if it does not fit the student, or is not the one the distiller was
                saved with (by a fingerprint of the weights).
        """
        if teacher is self.student:
            raise ValueError("Teacher and student must be two models. Received: one as both.")
        image_shape = _shape(self.student, "inputs")
        teacher = as_teacher(teacher, image_shape=image_shape and image_shape[1:])
        _check_fit(teacher, self.student)
        if self._teacher_fingerprint and self._teacher_fingerprint != teacher.fingerprint:
            raise ValueError(
                "The teacher must be the one this distiller was saved with. Received: one with "
                "other weights. Build a new Distiller to go on with another teacher."
            )
        self.distillation_loss.validate_model_compatibility(teacher.model, self.student)
        # `Teacher` is no Keras object, so Keras does not track the model inside it.
        self.teacher = teacher

    def compile(self, optimizer="adam", loss=None, metrics=None, **kwargs):
        """Configure the training, as `keras.Model.compile` does, and return the distiller.

        Args:
            optimizer: as in Keras; Adam by default.
            loss: the hard-label loss on logits: `None` for cross-entropy with integer, one-hot
                or soft labels, a `keras.losses.Loss`, a function `(labels, logits)`, or a name.
                A cross-entropy given by name is taken on logits, since the student returns them.
            metrics: as in Keras.
            **kwargs: the other arguments of `keras.Model.compile`.

        Raises:
            ValueError: if `loss` is a cross-entropy on probabilities.
        """
        self.hard_loss = _as_loss_on_logits(loss)
        super().compile(optimizer=optimizer, loss=self.hard_loss, metrics=metrics, **kwargs)
        return self

    def compile_from_config(self, config):
        # Keras does these two lines for a model whose `compile` is its own.
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self):
        # Compiled metrics that have seen no labels yet are not built, and have no result.
        ready = [metric for metric in super().metrics if getattr(metric, "built", True)]
        # The losses first, as in Keras: `hard_loss, accuracy = distiller.evaluate(...)`.
        return sorted(ready, key=lambda metric: metric.name not in _LOSS_NAMES)

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def train_step(self, data):
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None and self.alpha < 1:
            raise ValueError(
                f"Training with alpha={self.alpha:g} needs labels. Received: images alone. "
                "Set alpha=1 to distil without labels."
            )
        # At alpha=1 labels may be placeholders: they serve the compiled metrics alone.
        hard_labels = labels if self.alpha < 1 else None
        # Outside the tape: no gradient is ever taken through the teacher.
        teacher_logits = self._ask_teacher(images) if self.alpha > 0 else None
        with tf.GradientTape() as tape:
            student_logits = self(images, training=True)
            losses = self._loss_terms(hard_labels, teacher_logits, student_logits, sample_weight)
            scaled_loss = self.optimizer.scale_loss(losses["loss"])
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._update_logs(images, labels, student_logits, sample_weight, losses)

    def test_step(self, data):
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        teacher_logits = self._ask_teacher(images) if labels is None else None
        student_logits = self(images, training=False)
        losses = self._loss_terms(labels, teacher_logits, student_logits, sample_weight)
        return self._update_logs(images, labels, student_logits, sample_weight, losses)

    def get_config(self):
        fingerprint = self.teacher.fingerprint if self.teacher else self._teacher_fingerprint
        return {
            "name": self.name,
            "student": keras.saving.serialize_keras_object(self.student),
            "distillation_loss": keras.saving.serialize_keras_object(self.distillation_loss),
            "alpha": self.alpha,
            "teacher_fingerprint": fingerprint,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        fingerprint = config.pop("teacher_fingerprint", None)
        for part in ("student", "distillation_loss"):
            config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects)
        distiller = cls(**config)
        distiller._teacher_fingerprint = fingerprint
        return distiller

    def _ask_teacher(self, images):
        if self.teacher is None:
            raise ValueError(
                "The distiller has no teacher. Pass `teacher` to `Distiller`, or call "
                "`distiller.attach_teacher(teacher)` after loading one."
            )
        return self.teacher(images)

    def _loss_terms(self, labels, teacher_logits, student_logits, sample_weight):
        """Return the parts that can be had, and `loss` if no part of it is missing."""
        losses = {}
        if labels is not None:
            losses["hard_loss"] = self.hard_loss(labels, student_logits, sample_weight)
        if teacher_logits is not None:
            losses["distillation_loss"] = self._distil(
                teacher_logits, student_logits, sample_weight
            )
        weights = {"hard_loss": 1 - self.alpha, "distillation_loss": self.alpha}
        wanted = {name: weight for name, weight in weights.items() if weight > 0}
        if wanted.keys() <= losses.keys():
            terms = [weight * losses[name] for name, weight in wanted.items()]
            # Keras's optimizer sums gradients over replicas; the losses are already divided.
            terms += [ops.sum(term) / _num_replicas() for term in self.losses]
            losses["loss"] = ops.sum(terms) if len(terms) > 1 else terms[0]
        return losses

    def _distil(self, teacher_logits, student_logits, sample_weight):
        if isinstance(self.distillation_loss, keras.losses.Loss):
            return self.distillation_loss(teacher_logits, student_logits, sample_weight)
        if sample_weight is not None:
            raise ValueError(
                f"{type(self.distillation_loss).__name__} returns one value a batch and cannot "
                "weigh examples. Received: sample or class weights. Use a loss of "
                "keras_kd.losses."
            )
        loss = self.distillation_loss.compute_loss(teacher_logits, student_logits)
        return loss / _num_replicas()

    def _update_logs(self, images, labels, student_logits, sample_weight, losses):
        """Update the trackers and the compiled metrics; return the results that this step has."""
        batch_size = ops.shape(student_logits)[0]
        for metric in self.metrics:
            if metric.name in losses:
                metric.update_state(losses[metric.name] * _num_replicas(), batch_size)
        if labels is None:  # The compiled metrics have nothing to compare with.
            return {m.name: m.result() for m in self.metrics if m.name in losses}
        logs = self.compute_metrics(images, labels, student_logits, sample_weight)
        return {
            name: value for name, value in logs.items() if name in losses or name not in _LOSS_NAMES
        }


def _num_replicas():
    return tf.distribute.get_strategy().num_replicas_in_sync


def _check_alpha(alpha):
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real) or not 0 <= alpha <= 1:
        raise ValueError(
            "`alpha`, the weight of the distillation loss, must be from 0 to 1. "
            f"Received: alpha={alpha!r}."
        )
    return float(alpha)


def _check_student(student):
    if not isinstance(student, keras.Model):
        raise ValueError(f"The student must be a keras.Model. Received: {type(student).__name__}.")
    if not student.built:
        raise ValueError(
            f"The student {student.name} must be built. Received: a model without weights. "
            "Begin it with a keras.Input."
        )
    outputs = getattr(student, "outputs", None) or [None]
    if len(outputs) != 1:
        raise ValueError(f"The student must have one output, its logits. Received: {len(outputs)}.")
    head = head_of(student)
    if head in ("softmax", "sigmoid"):
        raise ValueError(
            f"The student must return logits. Received: a model that ends in {head}. "
            "Leave the last activation out; the exported model can add it again."
        )


def _check_fit(teacher, student):
    images, logits = _shape(student, "inputs"), _shape(student, "outputs")
    if logits and logits[-1] != teacher.num_classes:
        raise ValueError(
            "Teacher and student must predict the same classes. Received: "
            f"{teacher.num_classes} and {logits[-1]}. "
            f"Build the student with `num_classes={teacher.num_classes}`."
        )
    if images and not _same_images(teacher.input_shape[1:], images[1:]):
        raise ValueError(
            "Teacher and student must take the same images. Received: "
            f"{teacher.input_shape[1:]} and {images[1:]}. "
            f"Build the student with `image_shape={teacher.input_shape[1:]}`."
        )


def _shape(model, ends):
    """Return the shape of a model's one input or output; `None` if only its calls know it."""
    known = getattr(model, ends, None)
    return tuple(known[0].shape) if known else None


def _same_images(one, other):
    # Keras adds or drops a last axis of 1 by itself.
    one, other = (shape[:-1] if shape[-1:] == (1,) else shape for shape in (one, other))
    return len(one) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(one, other, strict=True)
    )


def _as_loss_on_logits(loss):
    if loss is None or (isinstance(loss, str) and loss in _CROSS_ENTROPY_NAMES):
        return CrossEntropy()
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        if loss.get_config().get("from_logits") is False:
            raise ValueError(
                f"The hard-label loss must take logits. Received: {type(loss).__name__} on "
                "probabilities. Pass it with `from_logits=True`."
            )
        return loss
    if not callable(loss):
        raise ValueError(
            "`loss` must be a keras.losses.Loss, a function or a name. "
            f"Received: {type(loss).__name__}."
        )
    return _FunctionLoss(loss)


@keras.saving.register_keras_serializable(package="keras_kd")
class _FunctionLoss(keras.losses.Loss):
    """A function `(labels, logits)` as a Keras loss."""

    def __init__(self, function, *, name="hard_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)

    def get_config(self):
        function = keras.saving.serialize_keras_object(self.function)
        return {**super().get_config(), "function": function}

    @classmethod
    def from_config(cls, config):
        function = keras.saving.deserialize_keras_object(config["function"])
        return cls(**{**config, "function": function})
