"""Relation losses: how the examples of a batch, or its classes, lie to each other.

They look across the batch, so their value depends on what else is in it; with several replicas
the classes gather it first.
"""

import functools

import keras
from keras import ops

from keras_kd._checks import TEMPERATURES
from keras_kd.losses.base import (
    DistillationLoss,
    check_same_classes,
    check_setting,
    over_whole_batch,
    serialized,
)

# Inside roots: keeps the gradient of a vanishing norm finite.
_TINY = 1e-16


def dist(*, teacher_logits, student_logits, temperature, inter_weight, intra_weight):
    """Distillation from a stronger teacher (DIST): correlations instead of a divergence.

        T^2 * (beta * (1 - rho(q_i, p_i)) + gamma * mean_c (1 - rho(q_:c, p_:c)))
        p = softmax(teacher_logits / T), q = softmax(student_logits / T), rho: Pearson

    The first part compares the classes of each example, the second the examples of each class;
    the second is the same for every example of the batch.

    Args:
        teacher_logits: `[batch, num_classes]`.
        student_logits: the same shape.
        temperature: T, above 0.
        inter_weight: beta of the paper.
        intra_weight: gamma of the paper.

    Returns:
        One float32 value per example, shape `[batch]`.

    References:
        T. Huang et al., Knowledge Distillation from A Stronger Teacher, 2022, equations 6 to 8.
    """
    teacher_probs = ops.softmax(ops.cast(teacher_logits, "float32") / temperature)
    student_probs = ops.softmax(ops.cast(student_logits, "float32") / temperature)
    inter = 1.0 - pearson(student_probs, teacher_probs, axis=-1)
    intra = ops.mean(1.0 - pearson(student_probs, teacher_probs, axis=0))
    return temperature**2 * (inter_weight * inter + intra_weight * intra)


def pearson(one, other, *, axis):
    """Return Pearson's correlation of two arrays along an axis; 0 where one does not vary."""
    one, other = (values - ops.mean(values, axis=axis, keepdims=True) for values in (one, other))
    return ops.sum(unit(one, axis) * unit(other, axis), axis=axis)


def similarity_preserving(*, teacher_features, student_features):
    """Examples that the teacher finds alike should be alike for the student.

        sum_j (G_teacher - G_student)_ij^2 / batch,  G = row-normalised F F^T,  F [batch, -1]

    Its mean over the batch is the paper's `||G_teacher - G_student||_F^2 / batch^2`.

    Args:
        teacher_features: `[batch, ...]`, any shape.
        student_features: `[batch, ...]`, any shape; no projector is needed.

    Returns:
        One float32 value per example, shape `[batch]`.

    References:
        F. Tung, G. Mori, Similarity-Preserving Knowledge Distillation, 2019, equations 1 to 4.
    """
    teacher, student = (unit(_gram(_flat(f)), -1) for f in (teacher_features, student_features))
    return ops.mean(ops.square(teacher - student), axis=-1)


def relational_distance(*, teacher_features, student_features):
    """RKD-D: the distances between examples, in units of their mean, should be the teacher's.

        mean_j Huber(d_student_ij, d_teacher_ij),  d_ij = ||f_i - f_j|| / mean of the positive ones

    Args:
        teacher_features: `[batch, ...]`, any shape.
        student_features: `[batch, ...]`, any shape.

    Returns:
        One float32 value per example, shape `[batch]`.

    References:
        W. Park et al., Relational Knowledge Distillation, 2019, equations 5 to 8.
    """
    teacher = ops.stop_gradient(_relative_distances(_flat(teacher_features)))
    return ops.mean(_huber(_relative_distances(_flat(student_features)) - teacher), axis=-1)


def relational_angle(*, teacher_features, student_features):
    """RKD-A: the angle at each example between any two others should be the teacher's.

        mean_jk Huber(cos_student_ijk, cos_teacher_ijk),  cos_ijk = <e_ij, e_ik>,
        e_ij = (f_j - f_i) / ||f_j - f_i||

    It takes batch^3 numbers: 8 MB at a batch of 128, 67 MB at 256, 0.5 GB at 512.

    Args:
        teacher_features: `[batch, ...]`, any shape.
        student_features: `[batch, ...]`, any shape.

    Returns:
        One float32 value per example, shape `[batch]`.

    References:
        W. Park et al., Relational Knowledge Distillation, 2019, equations 9 and 10.
    """
    teacher = ops.stop_gradient(_angles(_flat(teacher_features)))
    return ops.mean(_huber(_angles(_flat(student_features)) - teacher), axis=(-2, -1))


def _flat(features):
    features = ops.cast(features, "float32")
    return ops.reshape(features, (ops.shape(features)[0], -1))


def unit(vectors, axis=-1):
    """Return vectors of length 1, zeros as they are, with finite gradients."""
    square = ops.sum(ops.square(vectors), axis=axis, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(square, _TINY))


def _gram(vectors):
    return ops.matmul(vectors, ops.transpose(vectors))


def _relative_distances(vectors):
    gram = _gram(vectors)
    norms = ops.diagonal(gram)
    square = norms[:, None] + norms[None, :] - 2.0 * gram
    # NOTE: the authors clamp at 1e-12; the diagonal is 0 by itself, its gradient by the mask.
    other = 1.0 - ops.eye(ops.shape(vectors)[0])
    distances = other * ops.sqrt(ops.maximum(square, 1e-12))
    positive = ops.cast(square * other > 1e-12, "float32")
    mean = ops.sum(distances * positive) / ops.maximum(ops.sum(positive), 1.0)
    return distances / ops.maximum(mean, 1e-12)


def _angles(vectors):
    directions = unit(vectors[None, :, :] - vectors[:, None, :], -1)
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

    References:
        T. Huang et al., Knowledge Distillation from A Stronger Teacher, 2022, equation 8.
    """

    def __init__(
        self, temperature=1.0, *, inter_weight=1.0, intra_weight=1.0, name="dist", **kwargs
    ):
        super().__init__(name=name, **kwargs)
        self.temperature = check_setting("temperature", temperature, bounds=TEMPERATURES)
        self.inter_weight = check_setting("inter_weight", inter_weight, zero_allowed=True)
        self.intra_weight = check_setting("intra_weight", intra_weight, zero_allowed=True)

    def call(self, teacher_outputs, student_outputs):
        check_same_classes(teacher_outputs, student_outputs)
        correlations = functools.partial(
            dist,
            temperature=self.now(self.temperature),
            inter_weight=self.now(self.inter_weight),
            intra_weight=self.now(self.intra_weight),
        )
        return over_whole_batch(
            correlations, teacher_logits=teacher_outputs, student_logits=student_outputs
        )

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": serialized(self.temperature),
            "inter_weight": serialized(self.inter_weight),
            "intra_weight": serialized(self.intra_weight),
        }
