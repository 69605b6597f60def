"""The distiller: a `keras.Model` that trains its student from a teacher."""

import numbers

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_kd.ensemble import as_teacher
from keras_kd.features import feature_model
from keras_kd.heads import head_of
from keras_kd.losses import BinarySoftTargets, SoftTargets, as_loss_on_logits

_LOSS_NAMES = ("loss", "hard_loss", "distillation_loss")


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(keras.Model):
    """Trains a student from the labels and from what a frozen teacher says of the same images.

        loss = alpha * distillation_loss + (1 - alpha) * hard_loss + the student's regularisers
        distillation_loss = sum of weight * loss over the distillation losses, usually one

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
        teacher: a trained `keras.Model` ending in logits, softmax or sigmoid, or a `Teacher`; a
            list of them or an `Ensemble`. `None` if no loss needs it, or it is attached later.
        distillation_loss: a loss of `keras_kd.losses`, or any
            `keras.distillation.DistillationLoss`; or a list, or a dict by name, of several.
            `SoftTargets()` by default. What a loss compares (logits, or layers by name) comes
            from one pass of each model.
        distillation_loss_weights: one number above 0 for each of several losses, as a list or a
            dict by the same names; 1 by default.
        alpha: weight of the **distillation** loss, from 0 to 1, or a schedule; `1 - alpha`
            weighs the hard-label loss. At 0 the teacher is not asked; at 1 labels are not
            needed.
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
    assert distiller.student.output_shape == (None, 10)
    ```

    References:
        G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
        section 2.
    """

    # What `get_config` serialises.
    _config_parts = ("student", "distillation_loss", "alpha")

    def __init__(
        self,
        *,
        student,
        teacher=None,
        distillation_loss=None,
        distillation_loss_weights=None,
        alpha=0.5,
        name="distiller",
    ):
        _check_student(student)
        # The student's policy decides whether Keras scales the loss for mixed_float16.
        super().__init__(name=name, dtype=student.dtype_policy)
        self.student = student
        self.distillation_loss = SoftTargets() if distillation_loss is None else distillation_loss
        self.distillation_loss_weights = distillation_loss_weights
        self.alpha = _check_alpha(alpha)
        self._terms = _named_terms(self.distillation_loss, distillation_loss_weights)
        # A bound method, since the model would be tracked beside the student that it is made of.
        layers = _layers_named("student_layer_name", self._terms) if self.alpha != 0 else ()
        features = feature_model(student, layers) if layers else None
        self._student_features = features and features.__call__
        self._student_shapes = features and {name: features.output[name].shape for name in layers}
        self.projectors = {}
        # Keras adds the tracker of `loss` itself when the model is compiled.
        names = ["hard_loss", "distillation_loss"]
        names += self._terms if len(self._terms) > 1 else []
        self._trackers = [keras.metrics.Mean(name=name) for name in names]
        self.hard_loss = self._default_hard_loss()
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
            ValueError: if it does not fit the student or the losses, or is not the one the
                distiller was saved with (by a fingerprint of the weights).
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
        for loss, _ in self._terms.values():
            _check_head(teacher, loss)
            if teacher.model is not None:
                loss.validate_model_compatibility(teacher.model, self.student)
        layers = _layers_named("teacher_layer_name", self._terms)
        self._make_projectors({name: teacher.feature_shape(name) for name in layers})
        # `Teacher` is no Keras object, so Keras does not track the model inside it.
        self.teacher = teacher

    def compile(self, optimizer="adam", loss=None, metrics=None, **kwargs):
        """Configure the training, as `keras.Model.compile` does, and return the distiller.

        Args:
            optimizer: as in Keras; Adam by default.
            loss: the hard-label loss on logits: `None` for cross-entropy with integer, one-hot
                or soft labels (binary cross-entropy beside `BinarySoftTargets`), a
                `keras.losses.Loss`, a function `(labels, logits)`, or a name. Names and Keras's
                functions are taken on logits, since the student returns them.
            metrics: as in Keras. Beside `BinarySoftTargets`, `"accuracy"` counts labels whose
                logit is on the right side of 0.
            **kwargs: the other arguments of `keras.Model.compile`.

        Raises:
            ValueError: if `loss` is a loss on probabilities.
        """
        self.hard_loss = self._default_hard_loss() if loss is None else as_loss_on_logits(loss)
        if metrics and self._is_binary():
            # Keras would compare the logits with a probability of 0.5.
            metrics = [
                keras.metrics.BinaryAccuracy(name=metric, threshold=0.0)
                if metric in ("accuracy", "acc")
                else metric
                for metric in metrics
            ]
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
        self._check_labels(labels)
        # Outside the tape: no gradient is ever taken through the teacher.
        teacher = self._ask_teacher(images) if self.alpha != 0 else None
        with tf.GradientTape() as tape:
            student = self._ask_student(images, training=True)
            losses = self._loss_terms(
                labels, teacher, student, sample_weight, hard=self._learns_labels(labels)
            )
            losses["loss"] = _sum([*self._weighted(losses), *self._regularizers()])
            scaled_loss = self.optimizer.scale_loss(losses["loss"])
        self._apply(tape, scaled_loss)
        return self._update_logs(images, labels, student["logits"], sample_weight, losses)

    def test_step(self, data):
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None:
            if self.alpha == 0:
                raise ValueError("Evaluating with alpha=0 needs labels. Received: images alone.")
            teacher = self._ask_teacher(images)
            student = self._ask_student(images, training=False)
        else:
            teacher, student = None, {"logits": self(images, training=False)}
        losses = self._loss_terms(labels, teacher, student, sample_weight, hard=labels is not None)
        if weighted := self._weighted(losses):
            losses["loss"] = _sum([*weighted, *self._regularizers()])
        return self._update_logs(images, labels, student["logits"], sample_weight, losses)

    def get_config(self):
        fingerprint = self.teacher.fingerprint if self.teacher else self._teacher_fingerprint
        return {
            "name": self.name,
            "student": keras.saving.serialize_keras_object(self.student),
            "distillation_loss": keras.saving.serialize_keras_object(
                _plain(self.distillation_loss)
            ),
            "distillation_loss_weights": _plain(self.distillation_loss_weights),
            "alpha": keras.saving.serialize_keras_object(self.alpha),
            "teacher_fingerprint": fingerprint,
            "teacher_shapes": self._teacher_shapes if self.projectors else {},
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
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
        for name, (loss, _) in self._terms.items():
            pair = (
                teacher_shapes.get(getattr(loss, "teacher_layer_name", None)),
                (self._student_shapes or {}).get(getattr(loss, "student_layer_name", None)),
            )
            if name in self.projectors or None in pair or not hasattr(loss, "projector"):
                continue
            projector = loss.projector(*pair)
            if projector is not None:
                self.projectors[name] = projector

    def _is_binary(self):
        return any(isinstance(loss, BinarySoftTargets) for loss, _ in self._terms.values())

    def _default_hard_loss(self):
        binary = keras.losses.BinaryCrossentropy(from_logits=True)
        return binary if self._is_binary() else as_loss_on_logits(None)

    def _needs_teacher(self):
        return any(getattr(loss, "needs_teacher", True) for loss, _ in self._terms.values())

    def _needs_labels(self):
        return self.alpha != 1 or not self._needs_teacher()

    def _check_labels(self, labels):
        if labels is None and self._needs_labels():
            raise ValueError(
                f"Training with alpha={self.alpha} needs labels. Received: images alone. "
                "To distil without labels, set alpha=1 and use losses that ask the teacher."
            )

    def _ask_teacher(self, images):
        """Return the teacher's outputs by name, nothing if no loss needs a teacher."""
        if not self._needs_teacher():
            return {}
        if self.teacher is None:
            raise ValueError(
                "The distiller has no teacher. Pass `teacher` to `Distiller`, or call "
                "`distiller.attach_teacher(teacher)` after loading one."
            )
        layers = _layers_named("teacher_layer_name", self._terms)
        if layers:
            return self.teacher.with_features(images, layers)
        return {"logits": self.teacher(images)}

    def _ask_student(self, images, training):
        if self._student_features:
            return self._student_features(images, training=training)
        return {"logits": self(images, training=training)}

    def _loss_terms(self, labels, teacher, student, sample_weight, *, hard):
        """Return the hard and the distillation loss, as far as they can be had.

        Args:
            labels: or `None`.
            teacher: the teacher's outputs by name, or `None`.
            student: the student's outputs by name.
            sample_weight: or `None`.
            hard: whether the labels are there to be learned.
        """
        losses = {}
        if hard:
            losses["hard_loss"] = self.hard_loss(labels, student["logits"], sample_weight)
        if teacher is not None:
            terms = {
                name: self._distil(name, loss, labels, teacher, student, sample_weight)
                for name, (loss, _) in self._terms.items()
            }
            weighted = [weight * terms[name] for name, (_, weight) in self._terms.items()]
            losses["distillation_loss"] = _sum(weighted)
            losses |= terms if len(terms) > 1 else {}
        return losses

    def _weighted(self, losses):
        """Return the weighted parts of the objective; `[]` if one of them is missing."""
        alpha = self._alpha_now()
        weights = {"hard_loss": 1 - alpha, "distillation_loss": alpha}
        if not isinstance(self.alpha, LearningRateSchedule):
            weights = {name: weight for name, weight in weights.items() if weight != 0}
        known = weights.keys() <= losses.keys()
        return [weight * losses[name] for name, weight in weights.items()] if known else []

    def _regularizers(self):
        # Keras's optimizer sums gradients over replicas; the other losses are divided already.
        return [ops.sum(term) / _num_replicas() for term in self.losses]

    def _learns_labels(self, labels):
        # At alpha=1 labels may be placeholders, for the compiled metrics alone.
        return labels is not None and self.alpha != 1

    def _apply(self, tape, scaled_loss):
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))

    def _distil(self, name, loss, labels, teacher, student, sample_weight):
        """Return one distillation loss, a scalar, on what it compares."""
        pair = (
            teacher.get(getattr(loss, "teacher_layer_name", None) or "logits"),
            student[getattr(loss, "student_layer_name", None) or "logits"],
        )
        if name in self.projectors:
            pair = self.projectors[name](pair)
        teacher_outputs, student_outputs = pair
        class_map = self.teacher and self.teacher.class_map
        if class_map and getattr(loss, "student_layer_name", None) is None:
            # The teacher's classes, in its order.
            student_outputs = ops.take(student_outputs, class_map, axis=-1)
            labels = _labels_in(class_map, labels, student["logits"])
        if getattr(loss, "uses_labels", False):
            known = {"logits": teacher_outputs, "labels": labels}
            teacher_outputs = {key: value for key, value in known.items() if value is not None}
        if isinstance(loss, keras.losses.Loss):
            loss.step = self.optimizer.iterations if self.optimizer else 0
            return loss(teacher_outputs, student_outputs, sample_weight)
        if sample_weight is not None:
            raise ValueError(
                f"{type(loss).__name__} returns one value a batch and cannot weigh examples. "
                "Received: sample or class weights. Use a loss of keras_kd.losses."
            )
        if _num_replicas() > 1:
            # Keras divides by the replicas inside its loss objects, not inside its loss functions.
            raise ValueError(
                f"{type(loss).__name__} does not say whether it is divided among replicas. "
                f"Received: {_num_replicas()} replicas. Use a loss of keras_kd.losses."
            )
        return loss.compute_loss(teacher_outputs, student_outputs)

    def _alpha_now(self):
        if isinstance(self.alpha, LearningRateSchedule):
            return self.alpha(self.optimizer.iterations)
        return self.alpha

    def _update_logs(self, images, labels, student_logits, sample_weight, losses):
        """Update the trackers and the compiled metrics; return the results that this step has."""
        batch_size = ops.shape(student_logits)[0]
        for metric in self.metrics:
            if metric.name in losses:
                metric.update_state(losses[metric.name] * _num_replicas(), batch_size)
        if labels is None:  # The compiled metrics have nothing to compare with.
            return {m.name: m.result() for m in self.metrics if m.name in losses}
        logs = self.compute_metrics(images, labels, student_logits, sample_weight)
        trackers = {"loss", *(tracker.name for tracker in self._trackers)}
        return {name: logs[name] for name in logs if name in losses or name not in trackers}


def _num_replicas():
    return tf.distribute.get_strategy().num_replicas_in_sync


def _sum(terms):
    return ops.sum(terms) if len(terms) > 1 else terms[0]


def _plain(structure):
    """Return Keras's tracked lists and dicts as plain ones, which can be serialised."""
    if isinstance(structure, dict):
        return dict(structure)
    return list(structure) if isinstance(structure, (list, tuple)) else structure


def _named_terms(losses, weights):
    """Return `{name: (loss, weight)}` of one distillation loss, a list or a dict of them."""
    if isinstance(losses, dict):
        if weights is not None and (not isinstance(weights, dict) or set(weights) != set(losses)):
            raise ValueError(
                "`distillation_loss_weights` must be a dict with the names of the losses: "
                f"{', '.join(losses)}. Received: {weights!r}."
            )
        terms = {name: (loss, (weights or {}).get(name, 1.0)) for name, loss in losses.items()}
    else:
        losses = list(losses) if isinstance(losses, (list, tuple)) else [losses]
        weights = [1.0] * len(losses) if weights is None else weights
        if not isinstance(weights, (list, tuple)) or len(weights) != len(losses) or not losses:
            raise ValueError(
                "`distillation_loss_weights` must be a list of one number a loss, for at least "
                f"one loss. Received: {weights!r} for {len(losses)} losses."
            )
        terms = {}
        for loss, weight in zip(losses, weights, strict=True):
            name = base = getattr(loss, "name", type(loss).__name__)
            while name in terms:
                name = f"{base}_{len(terms) + 1}"
            terms[name] = (loss, weight)
    for name, (loss, weight) in terms.items():
        _check_term(name, loss, weight)
    return {name: (loss, float(weight)) for name, (loss, weight) in terms.items()}


def _check_term(name, loss, weight):
    if not isinstance(loss, keras.distillation.DistillationLoss):
        raise ValueError(
            "`distillation_loss` must be a keras.distillation.DistillationLoss, such as "
            f"keras_kd.losses.SoftTargets(). Received: {type(loss).__name__}."
        )
    is_number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
    if not is_number or not 0 < weight < float("inf"):
        raise ValueError(f"The weight of `{name}` must be a positive number. Received: {weight!r}.")
    if name in _LOSS_NAMES:
        raise ValueError(f"A distillation loss cannot be called `{name}`, which is another log.")


def _layers_named(attribute, terms):
    """Return the layers that the losses compare, each once, in a fixed order."""
    names = (getattr(loss, attribute, None) for loss, _ in terms.values())
    return tuple(dict.fromkeys(name for name in names if name is not None))


def _labels_in(class_map, labels, student_logits):
    """Return labels as a teacher of these classes numbers them, -1 for what it does not know."""
    if labels is None:
        return None
    num_classes, rank = student_logits.shape[-1], len(student_logits.shape)
    if len(labels.shape) == rank and labels.shape[-1] != 1:  # One-hot or soft.
        return ops.take(labels, class_map, axis=-1)
    positions = [class_map.index(c) if c in class_map else -1 for c in range(num_classes)]
    labels = ops.cast(labels, "int32")
    known = ops.take(ops.convert_to_tensor(positions), ops.maximum(labels, 0))
    return ops.where(labels < 0, -1, known)


def _check_alpha(alpha):
    if isinstance(alpha, LearningRateSchedule):
        return alpha
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real) or not 0 <= alpha <= 1:
        raise ValueError(
            "`alpha`, the weight of the distillation loss, must be from 0 to 1, or a schedule. "
            f"Received: alpha={alpha!r}."
        )
    return float(alpha)


def _check_head(teacher, loss):
    heads = getattr(loss, "heads", (teacher.head,))
    if teacher.head not in heads:
        remedy = "BinarySoftTargets" if teacher.head == "sigmoid" else "SoftTargets"
        raise ValueError(
            f"{type(loss).__name__} is for teachers that end in {' or '.join(heads)}. "
            f"Received: one that ends in {teacher.head}. Use losses.{remedy}."
        )


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
    if logits and teacher.class_map and max(teacher.class_map) >= logits[-1]:
        raise ValueError(
            f"`class_map` must name classes of the student, from 0 to {logits[-1] - 1}. "
            f"Received: {list(teacher.class_map)}."
        )
    if logits and not teacher.class_map and logits[-1] != teacher.num_classes:
        raise ValueError(
            "Teacher and student must predict the same classes. Received: "
            f"{teacher.num_classes} and {logits[-1]}. "
            f"Build the student with `num_classes={teacher.num_classes}`, or say which classes "
            "these are: `Teacher(model, class_map=...)`."
        )
    if images and teacher.input_shape and not _same_images(teacher.input_shape[1:], images[1:]):
        raise ValueError(
            "Teacher and student must take the same images. Received: "
            f"{teacher.input_shape[1:]} and {images[1:]}. "
            f"Build the student with `image_shape={teacher.input_shape[1:]}`, or convert them: "
            "`Teacher(model, preprocess=keras.layers.Resizing(...))`."
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
