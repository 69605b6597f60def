"""Losses that are not ours, in a class of ours, so that whoever takes a loss asks each the same."""

import keras

from keras_kd._common.backend import num_replicas
from keras_kd.losses.base import ANY_HEAD, DistillationLoss
from keras_kd.losses.masks import mask_of

# What a loss of the user's may say of itself in our words.
_SAID = (
    "uses_labels",
    "needs_teacher",
    "by_label",
    "min_examples",
    "teacher_layer_name",
    "student_layer_name",
)


def as_distillation_loss(loss):
    """Return a loss as a `DistillationLoss` of ours: ours as it is, any other in a `ForeignLoss`.

    Args:
        loss: a `keras.distillation.DistillationLoss`.

    Raises:
        ValueError: if it is something else.
    """
    if isinstance(loss, DistillationLoss):
        return loss
    if not isinstance(loss, keras.distillation.DistillationLoss):
        raise ValueError(
            "`distillation_loss` must be a keras.distillation.DistillationLoss, such as "
            f"keras_kd.losses.SoftTargets(). Received: {type(loss).__name__}."
        )
    return ForeignLoss(loss)


class ForeignLoss(DistillationLoss):
    """A loss of `keras.distillation`, or of the user's, as one of ours.

    It lives in a distiller alone: what is saved is the loss inside it. One that is no
    `keras.losses.Loss` returns one value a batch, which cannot be weighed.

    Args:
        loss: a `keras.distillation.DistillationLoss` that is not ours.
    """

    def __init__(self, loss):
        super().__init__(name=getattr(loss, "name", type(loss).__name__))
        self.loss = loss
        for attribute in _SAID:
            setattr(self, attribute, getattr(loss, attribute, getattr(self, attribute)))
        # It is not known what it takes the teacher's outputs for: for what they are.
        self.heads = getattr(loss, "heads", ANY_HEAD)

    def __call__(self, teacher_outputs, student_outputs, sample_weight=None):
        if isinstance(self.loss, keras.losses.Loss):
            self.loss.step = self.step
            return self.loss(teacher_outputs, student_outputs, sample_weight)
        if sample_weight is not None or mask_of(student_outputs) is not None:
            raise self._cannot_weigh()
        if num_replicas() > 1:
            # Keras divides by the replicas inside its loss objects, not inside its loss functions.
            raise ValueError(
                f"{type(self.loss).__name__} does not say whether it is divided among replicas. "
                f"Received: {num_replicas()} replicas. Use a loss of keras_kd.losses."
            )
        return self.loss.compute_loss(teacher_outputs, student_outputs)

    def call(self, teacher_outputs, student_outputs):
        if not isinstance(self.loss, keras.losses.Loss):
            raise self._cannot_weigh()
        self.loss.step = self.step
        return self.loss.call(teacher_outputs, student_outputs)

    def projector(self, teacher_shape, student_shape):
        own = getattr(self.loss, "projector", None)
        return own and own(teacher_shape, student_shape)

    def validate_outputs(self, teacher_outputs, student_outputs):
        self.loss.validate_outputs(teacher_outputs, student_outputs)

    def validate_model_compatibility(self, teacher, student):
        self.loss.validate_model_compatibility(teacher, student)

    def _cannot_weigh(self):
        return ValueError(
            f"{type(self.loss).__name__} returns one value a batch and cannot weigh examples. "
            "Received: sample or class weights, or padding. Use a loss of keras_kd.losses."
        )
