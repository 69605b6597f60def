"""Response losses: what the student's logits should be, given the teacher's or the labels."""

import keras
from keras import ops

from keras_kd.losses.base import DistillationLoss, check_positive, check_same_classes


def soft_targets(*, teacher_logits, student_logits, temperature):
    """Kullback-Leibler divergence of the student from the teacher, both softened.

        T^2 * sum_c p_c * (log p_c - log q_c),  p = softmax(teacher_logits / T),
                                                q = softmax(student_logits / T)

    Its gradient by the student's logits is `T * (q - p)`.

    Args:
        teacher_logits, student_logits: `[..., num_classes]`, any range.
        temperature: T, above 0. Larger shows more of the classes the teacher finds unlikely.

    Returns:
        One float32 value per example, at least 0, shape `[...]`.

    References:
        G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
        section 2.
    """
    teacher_log_probs = ops.log_softmax(ops.cast(teacher_logits, "float32") / temperature)
    student_log_probs = ops.log_softmax(ops.cast(student_logits, "float32") / temperature)
    divergence = ops.sum(
        ops.exp(teacher_log_probs) * (teacher_log_probs - student_log_probs), axis=-1
    )
    # Soft-target gradients shrink as 1/T^2 (Hinton et al. 2015, section 2).
    return temperature**2 * divergence


def cross_entropy(*, labels, student_logits):
    """Cross-entropy with integer labels `[...]` (or `[..., 1]`), or with one-hot or soft ones.

        -sum_c y_c * log q_c,  q = softmax(student_logits)

    Args:
        labels: class numbers of shape `[...]` or `[..., 1]`, or probabilities
            `[..., num_classes]`.
        student_logits: `[..., num_classes]`.

    Returns:
        One float32 value per example, shape `[...]`.
    """
    student_logits = ops.cast(student_logits, "float32")
    if len(labels.shape) == len(student_logits.shape) and labels.shape[-1] != 1:
        return keras.losses.categorical_crossentropy(labels, student_logits, from_logits=True)
    if len(labels.shape) == len(student_logits.shape):
        labels = ops.squeeze(labels, axis=-1)
    return keras.losses.sparse_categorical_crossentropy(labels, student_logits, from_logits=True)


@keras.saving.register_keras_serializable(package="keras_kd")
class SoftTargets(DistillationLoss):
    """Soft targets: the student matches the teacher's softened probabilities.

    `T^2 * KL(softmax(teacher / T) || softmax(student / T))`, see `soft_targets`. Carrying T^2,
    it keeps the size of its gradient, so that `alpha` means the same at every temperature. The
    first loss to try.

    Args:
        temperature: T, above 0. 1 to 4 suit students much smaller than their teacher; a larger T
            asks them for more than they can follow.
        name: name of the loss.

    Raises:
        ValueError: if `temperature` is not a positive number; when called, if teacher and
            student have different numbers of classes.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    loss = kd.losses.SoftTargets(temperature=2.0)
    teacher_logits = np.array([[3.0, 1.0, 0.0]])
    assert float(loss(teacher_logits, teacher_logits)) == 0.0
    assert float(loss(teacher_logits, -teacher_logits)) > 1.0
    ```

    References:
        G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
        section 2.
    """

    def __init__(self, temperature=2.0, *, name="soft_targets", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = check_positive("temperature", temperature)

    def call(self, teacher_outputs, student_outputs):
        check_same_classes(teacher_outputs, student_outputs)
        return soft_targets(
            teacher_logits=teacher_outputs,
            student_logits=student_outputs,
            temperature=self.temperature,
        )

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="keras_kd")
class CrossEntropy(keras.losses.Loss):
    """The hard-label loss of a classifier that returns logits; see `cross_entropy`.

    It takes integer, one-hot and soft labels alike, and is what a `Distiller` uses unless it is
    compiled with another loss.
    """

    def __init__(self, *, name="cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return cross_entropy(labels=y_true, student_logits=y_pred)
