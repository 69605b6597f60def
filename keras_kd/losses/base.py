"""What every distillation loss of ours is."""

import math
import numbers

import keras


class DistillationLoss(keras.losses.Loss, keras.distillation.DistillationLoss):
    """A loss between what teacher and student say of the same examples.

    A subclass writes one method, `call(teacher_outputs, student_outputs)`, which returns one
    float32 value per example. The rest comes from Keras's own `Loss`: sample weights, masks,
    float32 under mixed precision, the mean over the batch and its share under several replicas.

    It is used three ways:

    - in `keras_kd.Distiller`;
    - in `keras.distillation.Distiller`, through `compute_loss`;
    - on two tensors, `loss(teacher_logits, student_logits, sample_weight=None)`, which returns
      the mean; so it also serves as the `loss` of a plain `keras.Model` whose labels are
      teacher logits.
    """

    def call(self, teacher_outputs, student_outputs):
        """Return one float32 value per example."""
        raise NotImplementedError("A distillation loss must implement `call`.")

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        """Return the mean over the batch, as `keras.distillation.Distiller` asks for it."""
        return self(teacher_outputs, student_outputs)


def check_positive(name, value):
    """Return `value` as a float if it is a finite number above 0.

    Raises:
        ValueError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be a positive number. Received: {name}={value!r}.")
    return float(value)


def check_same_classes(teacher_logits, student_logits):
    """Refuse logits that cannot be compared class by class.

    Raises:
        ValueError: if the shapes differ, or there is only one class.
    """
    if teacher_logits.shape[-1] != student_logits.shape[-1]:
        raise ValueError(
            "Teacher and student must predict the same classes. Received: "
            f"{teacher_logits.shape[-1]} and {student_logits.shape[-1]}. "
            f"Build the student with `num_classes={teacher_logits.shape[-1]}`."
        )
    if student_logits.shape[-1] == 1:
        raise ValueError(
            "A softmax over classes needs at least two logits. Received: one. "
            "Give a binary classifier two outputs."
        )
