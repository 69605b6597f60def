"""The distillation losses of a distiller, by name, and what each of them compares."""

import itertools

import keras
from keras import ops

from keras_kd._common.backend import num_replicas
from keras_kd._common.checks import WEIGHTS, check_number
from keras_kd.losses import BinarySoftTargets, DistillationLoss
from keras_kd.losses.base import check_batch_size
from keras_kd.losses.masks import mask_of, with_mask
from keras_kd.losses.weights import weighed

LOSS_NAMES = ("loss", "hard_loss", "distillation_loss")


class DistillationTerms:
    """Named, weighted distillation losses.

    Args:
        losses: a `keras.distillation.DistillationLoss`, or a list, or a dict by name, of several.
        weights: one number above 0 for each of several losses, as a list or a dict by the same
            names; 1 if `None`.

    Raises:
        ValueError: if they are something else, or do not belong together.
    """

    def __init__(self, losses, weights):
        if losses in ([], (), {}):
            raise ValueError(f"`distillation_loss` must be a loss, or several. Received: {losses}.")
        if isinstance(losses, dict):
            given = weights is None or (isinstance(weights, dict) and set(weights) == set(losses))
            if not given:
                raise ValueError(
                    "`distillation_loss_weights` must be a dict with the names of the losses: "
                    f"{', '.join(losses)}. Received: {weights!r}."
                )
            weights = {name: (weights or {}).get(name, 1.0) for name in losses}
        else:
            losses = list(losses) if isinstance(losses, (list, tuple)) else [losses]
            weights = [1.0] * len(losses) if weights is None else weights
            is_list = isinstance(weights, (list, tuple))
            if not is_list or len(weights) != len(losses):
                raise ValueError(
                    "`distillation_loss_weights` must be a list of one number a loss. "
                    f"Received: {weights!r} for {len(losses)} losses."
                )
            names = _names_of(losses)
            losses = dict(zip(names, losses, strict=True))
            weights = dict(zip(names, weights, strict=True))
        for name, loss in losses.items():
            _check(name, loss, weights[name])
        self.losses = losses
        self.weights = {name: float(weight) for name, weight in weights.items()}

    def __len__(self):
        return len(self.losses)

    def is_binary(self):
        """Return whether the logits are one yes or no each."""
        return any(isinstance(loss, BinarySoftTargets) for loss in self.losses.values())

    def needs_teacher(self):
        """Return whether a loss needs a teacher."""
        return any(getattr(loss, "needs_teacher", True) for loss in self.losses.values())

    def uses_labels(self):
        """Return whether a loss takes labels for classes."""
        return any(getattr(loss, "uses_labels", False) for loss in self.losses.values())

    def uses_index(self):
        """Return whether a loss takes the index of each image in the training data."""
        return any(getattr(loss, "uses_index", False) for loss in self.losses.values())

    def check_examples(self, minibatches):
        """Refuse training data in which a loss would not find its images by their index.

        Args:
            minibatches: `Minibatches`, or `None` for data of another kind.
        """
        for loss in self.losses.values():
            if not getattr(loss, "uses_index", False):
                continue
            if minibatches is None or num_replicas() > 1:
                raise _without_index(loss)
            if loss.num_examples != minibatches.num_examples:
                raise ValueError(
                    f"`num_examples` of {type(loss).__name__} must be that of the training data, "
                    f"{minibatches.num_examples}. Received: num_examples={loss.num_examples}."
                )

    def check_batch_size(self, batch_size, student_shapes):
        """Refuse batches too small for a loss that compares their examples.

        Args:
            batch_size: of `fit`; `None` if it is not known.
            student_shapes: as in `projectors`.
        """
        for loss in self.losses.values():
            if isinstance(loss, DistillationLoss):
                # A student that does not know its shape answers with one prediction an image.
                shape = student_shapes.get(loss.student_layer_name or "logits", (None, None))
                check_batch_size(loss, (batch_size, *shape[1:]))

    def teacher_layers(self):
        """Return the teacher's layers that are compared, each once, in a fixed order."""
        return self._layers("teacher_layer_name")

    def student_layers(self):
        """Return the student's layers that are compared, likewise."""
        return self._layers("student_layer_name")

    def _layers(self, attribute):
        names = (getattr(loss, attribute, None) for loss in self.losses.values())
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def check_teacher(self, teacher, student=None):
        """Refuse a teacher that a loss cannot take.

        Args:
            teacher: a `Teacher`, an `Ensemble` or `SoftLabels`.
            student: the `keras.Model`, if layers are to be found in both.
        """
        for loss in self.losses.values():
            _check_head(teacher, loss)
            if student is not None and teacher.model is not None:
                loss.validate_model_compatibility(teacher.model, student)

    def projectors(self, teacher_shapes, student_shapes):
        """Return the layers that bring features together, by name of the loss.

        Args:
            teacher_shapes: `{layer: shape of a batch}`, `"logits"` among the layers.
            student_shapes: the same.

        Raises:
            ValueError: if nothing can bridge two shapes; both are named.
        """
        found = {}
        for name, loss in self.losses.items():
            pair = (
                teacher_shapes.get(getattr(loss, "teacher_layer_name", None) or "logits"),
                student_shapes.get(getattr(loss, "student_layer_name", None) or "logits"),
            )
            if None not in pair and hasattr(loss, "projector") and not _on_logits(loss):
                projector = loss.projector(*pair)
                found |= {} if projector is None else {name: projector}
        return found

    def values(self, teacher, student, labels, sample_weight, *, projectors, step):
        """Return every loss, a scalar each, by name.

        Args:
            teacher: the teacher's outputs by name: `logits` and layers, `class_map`, its own if
                the logits are in its order, and `index`, integers `[batch]`, where the images are
                in the training data, if it is known.
            student: the student's.
            labels: or `None`.
            sample_weight: or `None`.
            projectors: what `projectors` returned.
            step: of the training, for settings that are schedules.
        """
        values, class_map = {}, teacher.get("class_map")
        for name, loss in self.losses.items():
            teacher_outputs = teacher.get(getattr(loss, "teacher_layer_name", None) or "logits")
            student_outputs = student[getattr(loss, "student_layer_name", None) or "logits"]
            known_labels = labels
            if name in projectors:
                pair = teacher_outputs, student_outputs
                if getattr(loss, "uses_index", False):
                    if "index" not in teacher:
                        raise _without_index(loss)
                    pair = projectors[name](pair, index=teacher["index"])
                else:
                    pair = projectors[name](pair)
                teacher_outputs, student_outputs = pair
            if class_map and _compares_classes(loss):
                # The teacher's classes, in its order.
                taken = ops.take(student_outputs, class_map, axis=-1)
                student_outputs = with_mask(taken, mask_of(student_outputs))
                known_labels = _labels_in(class_map, labels, student["logits"])
            if getattr(loss, "uses_labels", False):
                known = {"logits": teacher_outputs, "labels": known_labels}
                teacher_outputs = {key: each for key, each in known.items() if each is not None}
            values[name] = _value(loss, teacher_outputs, student_outputs, sample_weight, step)
        return values

    def sum_of(self, values):
        """Return the weighted sum of what `values` returned."""
        weighted = [self.weights[name] * value for name, value in values.items()]
        return ops.sum(weighted) if len(weighted) > 1 else weighted[0]


def _on_logits(loss):
    names = ("teacher_layer_name", "student_layer_name")
    return all(getattr(loss, name, None) is None for name in names)


def _compares_classes(loss):
    """Return whether a loss is between the classes of teacher and student."""
    return _on_logits(loss) and getattr(loss, "needs_teacher", True)


def _without_index(loss):
    return ValueError(
        f"{type(loss).__name__} finds each image by its index in the training data. Received: "
        "data without one, several devices, or weights beside it. Pass arrays or "
        "`Split.batches(...)` alone to `fit`, on one device."
    )


def _names_of(losses):
    names = []
    for loss in losses:
        name = base = getattr(loss, "name", type(loss).__name__)
        numbers_of_base = itertools.count(2)
        while name in names:
            name = f"{base}_{next(numbers_of_base)}"
        names.append(name)
    return names


def _check(name, loss, weight):
    if not isinstance(loss, keras.distillation.DistillationLoss):
        raise ValueError(
            "`distillation_loss` must be a keras.distillation.DistillationLoss, such as "
            f"keras_kd.losses.SoftTargets(). Received: {type(loss).__name__}."
        )
    check_number(f"weight of {name}", weight, WEIGHTS)
    if name in LOSS_NAMES:
        raise ValueError(f"A distillation loss cannot be called `{name}`, which is another log.")


def _check_head(teacher, loss):
    """Refuse a teacher whose logits mean something else than the loss takes them for."""
    heads = getattr(loss, "heads", (teacher.head,))
    if teacher.head not in heads:
        remedy = "BinarySoftTargets" if teacher.head == "sigmoid" else "SoftTargets"
        raise ValueError(
            f"{type(loss).__name__} is for teachers that end in {' or '.join(heads)}. "
            f"Received: one that ends in {teacher.head}. Use losses.{remedy}."
        )


def _value(loss, teacher_outputs, student_outputs, sample_weight, step):
    """Return one loss as a scalar, ours or Keras's."""
    if isinstance(loss, keras.losses.Loss):
        loss.step = step
        return weighed(loss, teacher_outputs, student_outputs, sample_weight)
    if sample_weight is not None or mask_of(student_outputs) is not None:
        raise ValueError(
            f"{type(loss).__name__} returns one value a batch and cannot weigh examples. "
            "Received: sample or class weights, or padding. Use a loss of keras_kd.losses."
        )
    if num_replicas() > 1:
        # Keras divides by the replicas inside its loss objects, not inside its loss functions.
        raise ValueError(
            f"{type(loss).__name__} does not say whether it is divided among replicas. "
            f"Received: {num_replicas()} replicas. Use a loss of keras_kd.losses."
        )
    return loss.compute_loss(teacher_outputs, student_outputs)


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
