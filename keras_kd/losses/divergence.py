"""Other divergences between the softened probabilities of teacher and student than soft targets."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import TEMPERATURES
from keras_kd._common.typing import Config, Schedule, Structure, Tensor
from keras_kd.losses.base import (
    DistillationLoss,
    check_same_classes,
    check_setting,
    serialized,
)
from keras_kd.losses.response import SoftTargets

# Beyond, the divergence is one of the two that it lies between, too small for float32 to tell.
MIXINGS = (0.001, 0.999)


def reverse_soft_targets(
    *, teacher_logits: Tensor, student_logits: Tensor, temperature: float | tf.Tensor
) -> tf.Tensor:
    """Kullback-Leibler divergence of the teacher from the student, both softened.

        T^2 * sum_c q_c * (log q_c - log p_c),  p = softmax(teacher_logits / T),
                                                q = softmax(student_logits / T)

    Its gradient by the student's logits is `T * q * (log q - log p - sum_c q_c (log q_c -
    log p_c))`: it grows with the teacher's logits, where that of soft targets is bounded by T.

    Args:
        teacher_logits: `[..., num_classes]`, any range.
        student_logits: the same shape.
        temperature: T, above 0.

    Returns:
        One float32 value per example, at least 0, shape `[...]`.

    References:
        Y. Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, 2024, section 2.1.
    """
    teacher_log_probs, student_log_probs = (
        ops.log_softmax(ops.cast(logits, "float32") / temperature)
        for logits in (teacher_logits, student_logits)
    )
    difference = student_log_probs - teacher_log_probs
    return temperature**2 * ops.sum(ops.exp(student_log_probs) * difference, axis=-1)


def jensen_shannon(
    *,
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float | tf.Tensor,
    mixing: float | tf.Tensor,
) -> tf.Tensor:
    """Generalised Jensen-Shannon divergence of teacher and student, both softened.

        T^2 * (mixing * KL(p, m) + (1 - mixing) * KL(q, m)),  m = mixing * p + (1 - mixing) * q
        p = softmax(teacher_logits / T), q = softmax(student_logits / T)

    Its gradient by the student's logits is `T * (1 - mixing) * q * (log(q / m) - KL(q, m))`.
    Divided by `mixing` it tends to `soft_targets` as mixing goes to 0; divided by `1 - mixing`,
    to `reverse_soft_targets` as mixing goes to 1.

    Args:
        teacher_logits: `[..., num_classes]`, any range.
        student_logits: the same shape.
        temperature: T, above 0.
        mixing: the teacher's share of the mixture, above 0 and below 1.

    Returns:
        One float32 value per example, from 0 to `T^2 * log 2`, shape `[...]`.

    References:
        R. Agarwal et al., On-Policy Distillation of Language Models: Learning from Self-Generated
        Mistakes, 2024, section 2.
    """
    teacher_log_probs, student_log_probs = (
        ops.log_softmax(ops.cast(logits, "float32") / temperature)
        for logits in (teacher_logits, student_logits)
    )
    own, other = ops.log(mixing), ops.log(1.0 - mixing)
    # log m is never formed: log(p / m) = -log(mixing + (1 - mixing) q / p), exact at any gap.
    difference = student_log_probs - teacher_log_probs + other - own
    teacher_part = ops.exp(teacher_log_probs) * (-own - ops.softplus(difference))
    student_part = ops.exp(student_log_probs) * (-other - ops.softplus(-difference))
    mixed = mixing * teacher_part + (1.0 - mixing) * student_part
    return temperature**2 * ops.sum(mixed, axis=-1)


@keras.saving.register_keras_serializable(package="keras_kd")
class ReverseSoftTargets(SoftTargets):
    """Reverse KL: the student puts its probability where the teacher does, as far as it goes.

    `T^2 * KL(softmax(student / T) || softmax(teacher / T))`, see `reverse_soft_targets`. Where
    soft targets ask a small student to cover everything that the teacher finds possible, this
    lets it leave some of that out: what language models generate is then likelier text.

    Its gradient grows with the teacher's logits: clip it (`clipnorm`) or raise T. And it is small
    where the student is sure, right or wrong, so it suits a student that has learned something
    already, or stands beside the hard loss.

    Args:
        temperature: T, above 0, or a schedule.
        name: name of the loss.

    Raises:
        ValueError: as in `SoftTargets`.

    References:
        Y. Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, 2024, section 2.1.
    """

    def __init__(
        self, temperature: Schedule = 2.0, *, name: str = "reverse_soft_targets", **kwargs: Any
    ):
        super().__init__(temperature, name=name, **kwargs)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(teacher_outputs, student_outputs)
        return reverse_soft_targets(
            teacher_logits=teacher_outputs,
            student_logits=student_outputs,
            temperature=self.now(self.temperature),
        )


@keras.saving.register_keras_serializable(package="keras_kd")
class JensenShannon(DistillationLoss):
    """Generalised Jensen-Shannon divergence: between soft targets and their reverse.

    See `jensen_shannon`. With a small `mixing` it acts as `SoftTargets`, with a large one as
    `ReverseSoftTargets`; its values and gradients stay bounded whatever the logits. As with the
    reverse, the gradient is small where the student is sure, right or wrong.

    Where teacher and student agree closely it is `mixing * (1 - mixing)` times `SoftTargets`, a
    quarter at 0.5. To leave `alpha` its meaning, weigh it by the inverse:
    `distillation_loss=[JensenShannon(mixing=0.5)], distillation_loss_weights=[4.0]`.

    Args:
        temperature: T, above 0, or a schedule.
        mixing: beta of the paper, the teacher's share of the mixture: from 0.001 to 0.999, or a
            schedule.
        name: name of the loss.

    Raises:
        ValueError: if a setting is out of range; when called, as in `SoftTargets`.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    teacher, student = np.array([[3.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 3.0]])
    forward = float(kd.losses.SoftTargets(1.0)(teacher, student))
    mixed = float(kd.losses.JensenShannon(1.0, mixing=0.001)(teacher, student))
    assert abs(mixed / 0.001 / forward - 1) < 0.01
    ```

    References:
        R. Agarwal et al., On-Policy Distillation of Language Models: Learning from Self-Generated
        Mistakes, 2024, section 2.
    """

    def __init__(
        self,
        temperature: Schedule = 2.0,
        *,
        mixing: Schedule = 0.5,
        name: str = "jensen_shannon",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.temperature = check_setting("temperature", temperature, bounds=TEMPERATURES)
        self.mixing = check_setting("mixing", mixing, bounds=MIXINGS)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(teacher_outputs, student_outputs)
        return jensen_shannon(
            teacher_logits=teacher_outputs,
            student_logits=student_outputs,
            temperature=self.now(self.temperature),
            mixing=self.now(self.mixing),
        )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "temperature": serialized(self.temperature),
            "mixing": serialized(self.mixing),
        }
