"""Relation losses: how the examples of a batch, or its classes, lie to each other.

They look across the batch, so their value depends on what else is in it; with several replicas
the classes gather it first.
"""

import functools
import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import TEMPERATURES
from keras_kd._common.typing import Config, Schedule, Shape, Structure, Tensor
from keras_kd.losses.base import (
    DistillationLoss,
    check_batch_size,
    check_same_classes,
    check_setting,
    check_some,
    over_whole_batch,
    serialized,
)
from keras_kd.losses.masks import mask_of

# What cannot be told from 0: guards the quotients, as in the authors' codes.
_TINY = 1e-12
# A quotient's gradient grows as 1 / denominator, down to here.
_STEADY = 1e-2


def dist(
    *,
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float | tf.Tensor,
    inter_weight: float | tf.Tensor,
    intra_weight: float | tf.Tensor,
    mask: Tensor | None = None,
) -> tf.Tensor:
    """Distillation from a stronger teacher (DIST): correlations instead of a divergence.

        T^2 * (beta * (1 - rho(q_i, p_i)) + gamma * mean_c (1 - rho(q_:c, p_:c)))
        p = softmax(teacher_logits / T), q = softmax(student_logits / T), rho: Pearson

    The first part compares the classes of each example, the second the examples of each class;
    the second is the same for every example of the batch. Places of a map and steps of a sequence
    are examples.

    Args:
        teacher_logits: `[..., num_classes]`, at least three classes: two always correlate.
        student_logits: the same shape.
        temperature: T, above 0.
        inter_weight: beta of the paper.
        intra_weight: gamma of the paper.
        mask: `[...]`, true where an example counts in the second part; everywhere if `None`.

    Returns:
        One float32 value per example, shape `[...]`.

    References:
        T. Huang et al., Knowledge Distillation from A Stronger Teacher, 2022, equations 6 to 8.
    """
    teacher_probs, student_probs = (
        ops.softmax(ops.reshape(ops.cast(logits, "float32"), (-1, logits.shape[-1])) / temperature)
        for logits in (teacher_logits, student_logits)
    )
    counts = 1.0 if mask is None else ops.reshape(ops.cast(mask, "float32"), (-1, 1))
    inter = 1.0 - pearson(student_probs, teacher_probs, axis=-1)
    intra = ops.mean(1.0 - pearson(student_probs, teacher_probs, axis=0, counts=counts))
    values = temperature**2 * (inter_weight * inter + intra_weight * intra)
    return ops.reshape(values, ops.shape(student_logits)[:-1])


def pearson(one, other, *, axis, counts=1.0):
    """Return Pearson's correlation of two arrays along an axis; 0 where one does not vary.

    Args:
        one: probabilities.
        other: the same shape.
        axis: the one that is summed over.
        counts: 1 for what counts, 0 for what does not.
    """
    number = ops.sum(counts * ops.ones_like(one), axis=axis, keepdims=True)
    centred = []
    for values in (one, other):
        mean = ops.divide_no_nan(ops.sum(counts * values, axis=axis, keepdims=True), number)
        # A probability moves by its own size when its logit moves by 1.
        steady = _STEADY * mean * ops.sqrt(number)
        centred.append(unit(counts * (values - mean), axis, steady=steady))
    return ops.sum(centred[0] * centred[1], axis=axis)


def similarity_preserving(*, teacher_features: Tensor, student_features: Tensor) -> tf.Tensor:
    """Examples that the teacher finds alike should be alike for the student.

        sum_j (G_teacher - G_student)_ij^2 / batch,  G = row-normalised F F^T,  F [batch, -1]

    Its mean over the batch is the paper's `||G_teacher - G_student||_F^2 / batch^2`.

    Args:
        teacher_features: `[batch, ...]`, any shape; at least two examples.
        student_features: `[batch, ...]`, any shape; no projector is needed.

    Returns:
        One float32 value per example, shape `[batch]`.

    References:
        F. Tung, G. Mori, Similarity-Preserving Knowledge Distillation, 2019, equations 1 to 4.
    """
    teacher, student = (
        unit(_gram(scaled(_flat(features)))) for features in (teacher_features, student_features)
    )
    return ops.mean(ops.square(teacher - student), axis=-1)


def relational_distance(*, teacher_features: Tensor, student_features: Tensor) -> tf.Tensor:
    """RKD-D: the distances between examples, in units of their mean, should be the teacher's.

        mean_j Huber(d_student_ij, d_teacher_ij),  d_ij = ||f_i - f_j|| / mean over i != j

    Args:
        teacher_features: `[batch, ...]`, any shape; at least three examples.
        student_features: `[batch, ...]`, any shape.

    Returns:
        One float32 value per example, shape `[batch]`.

    References:
        W. Park et al., Relational Knowledge Distillation, 2019, equations 5 to 8.
    """
    teacher = ops.stop_gradient(_relative_distances(_spread(teacher_features)))
    return ops.mean(_huber(_relative_distances(_spread(student_features)) - teacher), axis=-1)


def relational_angle(*, teacher_features: Tensor, student_features: Tensor) -> tf.Tensor:
    """RKD-A: the angle at each example between any two others should be the teacher's.

        mean_jk Huber(cos_student_ijk, cos_teacher_ijk),  cos_ijk = <e_ij, e_ik>,
        e_ij = (f_j - f_i) / ||f_j - f_i||

    It takes batch^3 numbers: 8 MB at a batch of 128, 67 MB at 256, 0.5 GB at 512.

    Args:
        teacher_features: `[batch, ...]`, any shape; at least three examples.
        student_features: `[batch, ...]`, any shape of at least two numbers an example.

    Returns:
        One float32 value per example, shape `[batch]`.

    Raises:
        ValueError: if the student has one number an example.

    References:
        W. Park et al., Relational Knowledge Distillation, 2019, equations 9 and 10.
    """
    if tuple(student_features.shape[1:]) in ((), (1,), (1, 1), (1, 1, 1)):
        raise ValueError(
            "RelationalAngle needs at least 2 numbers an example: on a line there are no angles. "
            f"Received: features of shape {tuple(student_features.shape)}. "
            "Use losses.RelationalDistance."
        )
    teacher = ops.stop_gradient(_angles(_spread(teacher_features)))
    return ops.mean(_huber(_angles(_spread(student_features)) - teacher), axis=(-2, -1))


def _flat(features):
    features = ops.cast(features, "float32")
    return ops.reshape(features, (ops.shape(features)[0], -1))


def _spread(features):
    """Return features around their mean, in units of the largest: relations do not change."""
    # Distances are differences of squares, in which a common part would drown the rest.
    vectors = _flat(features)
    return scaled(vectors - ops.mean(vectors, axis=0, keepdims=True))


def quotient(values, size, *, steady=_STEADY):
    """Return `values / size`, with a gradient that grows no further once `size` is below `steady`.

    The value is exact down to a size of 1e-12. The gradient, which grows as 1 / size, keeps its
    direction: one step from features or logits that hardly vary yet would throw them far away.

    Args:
        values: any shape.
        size: of them, at least 0, a shape that broadcasts to theirs.
        steady: above 0, likewise.
    """
    size = ops.maximum(size, _TINY)
    exact = values / size
    share = ops.stop_gradient(ops.minimum(size / ops.maximum(steady, _TINY), 1.0))
    known = ops.stop_gradient(exact)
    return known + share * (exact - known)


def unit(vectors, axis=-1, *, steady=_STEADY):
    """Return vectors of length 1, zeros as they are; see `quotient`."""
    square = ops.sum(ops.square(vectors), axis=axis, keepdims=True)
    return quotient(vectors, ops.sqrt(ops.maximum(square, _TINY**2)), steady=steady)


def scaled(features, axis=None):
    """Return features in units of the largest, so that no square is lost; see `quotient`."""
    largest = ops.stop_gradient(ops.max(ops.abs(features), axis=axis, keepdims=True))
    return quotient(features, largest)


def _gram(vectors):
    return ops.matmul(vectors, ops.transpose(vectors))


def _relative_distances(vectors):
    gram = _gram(vectors)
    norms = ops.diagonal(gram)
    square = norms[:, None] + norms[None, :] - 2.0 * gram
    number = ops.cast(ops.shape(vectors)[0], "float32")
    # The authors' clamp; duplicates count in the mean, the diagonal does not.
    distances = ops.sqrt(ops.maximum(square, 1e-12)) * (1.0 - ops.eye(ops.shape(vectors)[0]))
    mean = ops.sum(distances) / ops.maximum(number * (number - 1.0), 1.0)
    return distances / ops.maximum(mean, 1e-6)


def _angles(vectors):
    directions = unit(vectors[None, :, :] - vectors[:, None, :])
    return ops.matmul(directions, ops.transpose(directions, (0, 2, 1)))


def _huber(difference):
    size = ops.abs(difference)
    return ops.where(size < 1.0, 0.5 * ops.square(difference), size - 0.5)


@keras.saving.register_keras_serializable(package="keras_kd")
class DIST(DistillationLoss):
    """DIST: match correlations, which a much stronger teacher does not drown; see `dist`.

    Args:
        temperature: T, above 0, or a schedule.
        inter_weight: beta of the paper (classes of an example), at least 0, or a schedule.
        intra_weight: gamma of the paper (examples of a class), at least 0, or a schedule.
        name: name of the loss.

    Raises:
        ValueError: if a setting is out of range or both weights are 0; when called, if there are
            fewer than three classes.

    References:
        T. Huang et al., Knowledge Distillation from A Stronger Teacher, 2022, equation 8.
    """

    def __init__(
        self,
        temperature: Schedule = 1.0,
        *,
        inter_weight: Schedule = 1.0,
        intra_weight: Schedule = 1.0,
        name: str = "dist",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.temperature = check_setting("temperature", temperature, bounds=TEMPERATURES)
        self.inter_weight = check_setting("inter_weight", inter_weight, zero_allowed=True)
        self.intra_weight = check_setting("intra_weight", intra_weight, zero_allowed=True)
        check_some("inter_weight", self.inter_weight, "intra_weight", self.intra_weight)
        # Two examples of a class always correlate.
        self.min_examples = 3 if self.inter_weight == 0 else 1

    def num_examples_in(self, student_shape: Shape) -> int | None:
        places = tuple(student_shape)[:-1]
        return None if None in places else math.prod(places)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_same_classes(teacher_outputs, student_outputs, at_least=3)
        check_batch_size(self, student_outputs.shape)
        correlations = functools.partial(
            dist,
            temperature=self.now(self.temperature),
            inter_weight=self.now(self.inter_weight),
            intra_weight=self.now(self.intra_weight),
        )
        outputs = {"teacher_logits": teacher_outputs, "student_logits": student_outputs}
        if (mask := mask_of(student_outputs)) is not None:
            outputs["mask"] = mask
        return over_whole_batch(correlations, **outputs)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "temperature": serialized(self.temperature),
            "inter_weight": serialized(self.inter_weight),
            "intra_weight": serialized(self.intra_weight),
        }
