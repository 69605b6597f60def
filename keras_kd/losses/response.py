"""Response losses: what the student's logits should be, given the teacher's or the labels."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import TEMPERATURES, check_integer
from keras_kd._common.typing import Config, Schedule, Structure, Tensor
from keras_kd.losses.base import (
    ANY_HEAD,
    DistillationLoss,
    check_num_classes,
    check_same_classes,
    check_setting,
    check_some,
    is_labelled,
    label_probabilities,
    logits_of,
    serialized,
    target_class,
)
from keras_kd.losses.hard import cross_entropy
from keras_kd.losses.masks import mask_of, with_mask
from keras_kd.losses.relation import quotient

# Far below any logit gap, and finite, so that 0 times it is 0.
_MASKED = -1e9


def soft_targets(
    *, teacher_logits: Tensor, student_logits: Tensor, temperature: float | tf.Tensor
) -> tf.Tensor:
    """Kullback-Leibler divergence of the student from the teacher, both softened.

        T^2 * sum_c p_c * (log p_c - log q_c),  p = softmax(teacher_logits / T),
                                                q = softmax(student_logits / T)

    Its gradient by the student's logits is `T * (q - p)`.

    Args:
        teacher_logits: `[..., num_classes]`, any range.
        student_logits: the same shape.
        temperature: T, above 0. Larger shows more of the classes the teacher finds unlikely.

    Returns:
        One float32 value per example, at least 0, shape `[...]`.

    References:
        G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
        section 2.
    """
    teacher_log_probs = ops.log_softmax(ops.cast(teacher_logits, "float32") / temperature)
    student_log_probs = ops.log_softmax(ops.cast(student_logits, "float32") / temperature)
    # Soft-target gradients shrink as 1/T^2 (Hinton et al. 2015, section 2).
    return temperature**2 * _divergence(teacher_log_probs, student_log_probs)


def binary_soft_targets(
    *, teacher_logits: Tensor, student_logits: Tensor, temperature: float | tf.Tensor
) -> tf.Tensor:
    """The same for independent labels: the mean over the labels of a divergence each.

        T^2 * mean_c (p_c * log(p_c / q_c) + (1 - p_c) * log((1 - p_c) / (1 - q_c))),
        p = sigmoid(teacher_logits / T), q = sigmoid(student_logits / T)

    Its gradient by the student's logits is `T * (q - p) / num_labels`. Binary cross-entropy is a
    mean over the labels too, so that `alpha` weighs the two alike at any number of them.

    Args:
        teacher_logits: `[..., num_labels]`, any range; one label for a binary classifier.
        student_logits: the same shape.
        temperature: T, above 0.

    Returns:
        One float32 value per example, at least 0, shape `[...]`.
    """
    teacher_logits = ops.cast(teacher_logits, "float32") / temperature
    student_logits = ops.cast(student_logits, "float32") / temperature
    # A label is a choice of two: log p and log(1 - p), from the logit and its negative.
    teacher_log_probs, student_log_probs = (
        ops.stack([ops.log_sigmoid(logits), ops.log_sigmoid(-logits)], axis=-1)
        for logits in (teacher_logits, student_logits)
    )
    divergences = _divergence(teacher_log_probs, student_log_probs)
    return temperature**2 * ops.mean(divergences, axis=-1)


def logit_matching(*, teacher_logits: Tensor, student_logits: Tensor) -> tf.Tensor:
    """Mean squared difference of the logits.

        mean_c (student_c - teacher_c)^2

    The limit of soft targets for T -> infinity, up to a factor, when both sides' logits have
    mean 0 (Hinton et al. 2015, section 2.1, equation 4).

    Args:
        teacher_logits: `[..., num_classes]`.
        student_logits: the same shape.

    Returns:
        One float32 value per example, shape `[...]`.

    References:
        J. Ba, R. Caruana, Do Deep Nets Really Need to be Deep?, 2014, section 2.2.
    """
    difference = ops.cast(student_logits, "float32") - ops.cast(teacher_logits, "float32")
    return ops.mean(ops.square(difference), axis=-1)


def logit_distance(*, teacher_logits: Tensor, student_logits: Tensor) -> tf.Tensor:
    """Mean absolute difference of the logits.

        mean_c |student_c - teacher_c|

    Its gradient keeps its size however near the two are.

    Args:
        teacher_logits: `[..., num_classes]`.
        student_logits: the same shape.

    Returns:
        One float32 value per example, shape `[...]`.

    References:
        G. Fang et al., Data-Free Adversarial Distillation, 2019, equation 3.
    """
    difference = ops.cast(student_logits, "float32") - ops.cast(teacher_logits, "float32")
    return ops.mean(ops.abs(difference), axis=-1)


def decoupled_kd(
    *,
    teacher_logits: Tensor,
    student_logits: Tensor,
    target: Tensor,
    temperature: float | tf.Tensor,
    target_weight: float | tf.Tensor,
    non_target_weight: float | tf.Tensor,
) -> tf.Tensor:
    """Decoupled knowledge distillation (DKD): soft targets in two parts, weighed apart.

        T^2 * (alpha * TCKD + beta * NCKD)
        TCKD = KL(b_teacher, b_student),  b = [p_target, 1 - p_target]
        NCKD = KL(r_teacher, r_student),  r = softmax over the other classes alone

    Plain soft targets are `TCKD + (1 - p_target of the teacher) * NCKD`: the surer the teacher,
    the less it tells of the other classes. Here that part keeps its weight.

    Args:
        teacher_logits: `[..., num_classes]`, at least three classes.
        student_logits: the same shape.
        target: one-hot class of each example, `[..., num_classes]`.
        temperature: T, above 0.
        target_weight: alpha of the paper.
        non_target_weight: beta of the paper.

    Returns:
        One float32 value per example, shape `[...]`.

    References:
        B. Zhao et al., Decoupled Knowledge Distillation, 2022, equations 5 to 7.
    """
    is_target = ops.cast(target, "bool")
    sides = [
        _target_and_rest(ops.cast(logits, "float32") / temperature, is_target)
        for logits in (teacher_logits, student_logits)
    ]
    (teacher_binary, teacher_rest), (student_binary, student_rest) = sides
    return temperature**2 * (
        target_weight * _divergence(teacher_binary, student_binary)
        + non_target_weight * _divergence(teacher_rest, student_rest)
    )


def _target_and_rest(logits, is_target):
    """Return the log-probabilities of [target, any other], and among the others alone."""
    log_probs = ops.log_softmax(logits)
    # NOTE: the authors' code subtracts 1000 from the target; at logit gaps above 1000 it would
    # be back.
    rest_log_probs = ops.where(is_target, _MASKED, log_probs)
    binary = ops.stack(
        [
            ops.sum(ops.where(is_target, log_probs, 0.0), axis=-1),
            ops.logsumexp(rest_log_probs, axis=-1),
        ],
        axis=-1,
    )
    return binary, ops.log_softmax(ops.where(is_target, _MASKED, logits))


def _divergence(teacher_log_probs, student_log_probs):
    return ops.sum(ops.exp(teacher_log_probs) * (teacher_log_probs - student_log_probs), axis=-1)


def standardized(logits: Tensor) -> tf.Tensor:
    """Return each example's logits with mean 0 and standard deviation 1 over the classes.

    Args:
        logits: `[..., num_classes]`, at least three: two would always be the same two numbers.

    Returns:
        float32, the same shape.

    References:
        S. Sun et al., Logit Standardization in Knowledge Distillation, 2024, section 4.2.
    """
    logits = ops.cast(logits, "float32")
    centred = logits - ops.mean(logits, axis=-1, keepdims=True)
    # The authors divide by the sample's deviation (n - 1).
    variance = ops.sum(ops.square(centred), axis=-1, keepdims=True) / (logits.shape[-1] - 1)
    return quotient(centred, ops.sqrt(ops.maximum(variance, 1e-24)))


@keras.saving.register_keras_serializable(package="keras_kd")
class SoftTargets(DistillationLoss):
    """Soft targets: the student matches the teacher's softened probabilities.

    `T^2 * KL(softmax(teacher / T) || softmax(student / T))`, see `soft_targets`. Carrying T^2,
    it keeps the size of its gradient, so that `alpha` means the same at every temperature. The
    first loss to try.

    Args:
        temperature: T, above 0, or a schedule. 1 to 4 suit students much smaller than their
            teacher; a larger T asks them for more than they can follow.
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

    def __init__(self, temperature: Schedule = 2.0, *, name: str = "soft_targets", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.temperature = check_setting("temperature", temperature, bounds=TEMPERATURES)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(teacher_outputs, student_outputs)
        return soft_targets(
            teacher_logits=teacher_outputs,
            student_logits=student_outputs,
            temperature=self.now(self.temperature),
        )

    def get_config(self) -> Config:
        return {**super().get_config(), "temperature": serialized(self.temperature)}


@keras.saving.register_keras_serializable(package="keras_kd")
class BinarySoftTargets(SoftTargets):
    """Soft targets for binary and multi-label heads: a sigmoid for each label.

    See `binary_soft_targets`. For a teacher that ends in sigmoid; the hard-label loss is then
    `BinaryCrossEntropy`.

    Args:
        temperature: T, above 0, or a schedule.
        name: name of the loss.

    Raises:
        ValueError: if `temperature` is not a positive number; when called, if teacher and
            student have different numbers of labels.
    """

    heads = ("logits", "sigmoid")
    by_label = True

    def __init__(
        self, temperature: Schedule = 2.0, *, name: str = "binary_soft_targets", **kwargs: Any
    ):
        super().__init__(temperature, name=name, **kwargs)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(teacher_outputs, student_outputs, at_least=1)
        return binary_soft_targets(
            teacher_logits=teacher_outputs,
            student_logits=student_outputs,
            temperature=self.now(self.temperature),
        )


@keras.saving.register_keras_serializable(package="keras_kd")
class TeacherLabels(DistillationLoss):
    """Hard teacher labels: cross-entropy with the class that the teacher predicts.

    What is left of distillation when a teacher gives away its decision only; also how unlabelled
    images get labels.

    Args:
        name: name of the loss.
    """

    def __init__(self, *, name: str = "teacher_labels", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(teacher_outputs, student_outputs)
        predicted = ops.argmax(teacher_outputs, axis=-1)
        return cross_entropy(labels=predicted, student_logits=student_outputs)


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitMatching(DistillationLoss):
    """Mean squared error between the logits; see `logit_matching`.

    It has no temperature, and asks the student for the size of the logits too, which a small
    one may not afford.

    Args:
        name: name of the loss.
    """

    heads = ANY_HEAD
    by_label = True

    def __init__(self, *, name: str = "logit_matching", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(teacher_outputs, student_outputs, at_least=1)
        return logit_matching(teacher_logits=teacher_outputs, student_logits=student_outputs)


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitDistance(DistillationLoss):
    """Mean absolute error between the logits; see `logit_distance`.

    Args:
        name: name of the loss.
    """

    heads = ANY_HEAD
    by_label = True

    def __init__(self, *, name: str = "logit_distance", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(teacher_outputs, student_outputs, at_least=1)
        return logit_distance(teacher_logits=teacher_outputs, student_logits=student_outputs)


@keras.saving.register_keras_serializable(package="keras_kd")
class DecoupledKD(DistillationLoss):
    """Decoupled knowledge distillation (DKD): how sure, and what else, weighed apart.

    See `decoupled_kd`. The target class is the label's, or the teacher's prediction where there
    is none. The paper uses the ordinary cross-entropy beside it at full weight, and warms the
    loss up over 20 epochs: `warm_up_steps = 20 * steps_per_epoch`.

    Args:
        temperature: T, above 0, or a schedule.
        target_weight: alpha of the paper, at least 0, or a schedule.
        non_target_weight: beta of the paper, at least 0, or a schedule; 1 to 8, larger for
            surer teachers.
        warm_up_steps: training steps over which the loss rises from 0 to its full weight.
        name: name of the loss.

    Raises:
        ValueError: if a setting is out of range; when called, if there are fewer than three
            classes (with two, there is no choice among the other classes).

    References:
        B. Zhao et al., Decoupled Knowledge Distillation, 2022, equation 7 and appendix.
    """

    uses_labels = True

    def __init__(
        self,
        temperature: Schedule = 4.0,
        *,
        target_weight: Schedule = 1.0,
        non_target_weight: Schedule = 8.0,
        warm_up_steps: int = 0,
        name: str = "decoupled_kd",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.temperature = check_setting("temperature", temperature, bounds=TEMPERATURES)
        self.target_weight = check_setting("target_weight", target_weight, zero_allowed=True)
        self.non_target_weight = check_setting(
            "non_target_weight", non_target_weight, zero_allowed=True
        )
        check_some("target_weight", self.target_weight, "non_target_weight", self.non_target_weight)
        check_integer("warm_up_steps", warm_up_steps, minimum=0)
        self.warm_up_steps = warm_up_steps

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        teacher_logits = logits_of(teacher_outputs)
        check_same_classes(teacher_logits, student_outputs, at_least=3)
        values = decoupled_kd(
            teacher_logits=teacher_logits,
            student_logits=student_outputs,
            target=target_class(teacher_outputs, student_outputs),
            temperature=self.now(self.temperature),
            target_weight=self.now(self.target_weight),
            non_target_weight=self.now(self.non_target_weight),
        )
        if self.warm_up_steps:
            step = ops.cast(self.step, "float32")
            values = values * ops.minimum(step / self.warm_up_steps, 1.0)
        return values

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "temperature": serialized(self.temperature),
            "target_weight": serialized(self.target_weight),
            "non_target_weight": serialized(self.non_target_weight),
            "warm_up_steps": self.warm_up_steps,
        }


@keras.saving.register_keras_serializable(package="keras_kd")
class StandardizedLogits(DistillationLoss):
    """Logit standardisation: a z-score of the logits on both sides, then another loss.

    The student then need not match the size of the teacher's logits, only their relations. It
    wraps `SoftTargets` or `DecoupledKD`.

    Args:
        loss: a response loss of ours, or its name; `SoftTargets(2.0)` by default.
        name: name of the loss.

    Raises:
        ValueError: if `loss` is none; when called, if there are fewer than three classes.

    References:
        S. Sun et al., Logit Standardization in Knowledge Distillation, 2024, algorithm 1.
    """

    def __init__(self, loss: Any = None, *, name: str = "standardized_logits", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        # It knows this class too, so it is imported after this module.
        from keras_kd.losses.lookup import get

        self.loss = SoftTargets(2.0) if loss is None else get(loss)
        if not isinstance(self.loss, DistillationLoss):
            raise ValueError(
                "`loss` must be a loss of keras_kd.losses. "
                f"Received: {type(loss).__name__}. Pass SoftTargets or DecoupledKD."
            )
        self.uses_labels = self.loss.uses_labels

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(logits_of(teacher_outputs), student_outputs, at_least=3)
        standard = standardized(logits_of(teacher_outputs))
        if isinstance(teacher_outputs, dict):
            standard = {**teacher_outputs, "logits": standard}
        self.loss.step = self.step
        student_logits = with_mask(standardized(student_outputs), mask_of(student_outputs))
        return self.loss.call(standard, student_logits)

    def get_config(self) -> Config:
        return {**super().get_config(), "loss": serialized(self.loss)}


@keras.saving.register_keras_serializable(package="keras_kd")
class LabelSmoothing(DistillationLoss):
    """Label smoothing as a virtual teacher that is right and otherwise knows nothing.

        -sum_c y_c * log q_c,  y = (1 - smoothing) * label + smoothing / num_classes

    The baseline that a real teacher has to beat. It needs labels and no teacher:
    `Distiller(student=..., distillation_loss=LabelSmoothing(0.1), alpha=1.0)`. Soft labels (a
    mix of two images) are smoothed as they are; what has no label is left out of the mean.

    Args:
        smoothing: share spread evenly over the classes, above 0 and below 1.
        name: name of the loss.

    Raises:
        ValueError: if `smoothing` is out of range.

    References:
        C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016,
        section 7; L. Yuan et al., Revisiting Knowledge Distillation via Label Smoothing
        Regularization, 2020, section 4.
    """

    uses_labels = True
    needs_teacher = False

    def __init__(self, smoothing: float = 0.1, *, name: str = "label_smoothing", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.smoothing = check_setting("smoothing", smoothing)
        if not (isinstance(self.smoothing, float) and self.smoothing < 1):
            raise ValueError(
                f"`smoothing` must be above 0 and below 1. Received: smoothing={smoothing!r}."
            )

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_num_classes(
            student_outputs.shape[-1],
            at_least=2,
            remedy="keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=...)",
        )
        labels = teacher_outputs.get("labels") if isinstance(teacher_outputs, dict) else None
        if labels is None:
            labels = ops.argmax(logits_of(teacher_outputs), axis=-1)
        labels = label_probabilities(labels, student_outputs)
        smooth = (1 - self.smoothing) * labels + self.smoothing / student_outputs.shape[-1]
        values = cross_entropy(labels=smooth, student_logits=student_outputs)
        return with_mask(values, is_labelled(labels))

    def get_config(self) -> Config:
        return {**super().get_config(), "smoothing": self.smoothing}
