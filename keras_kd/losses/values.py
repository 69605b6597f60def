"""Losses between values: regression, embeddings, boxes; and the units that they are compared in."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.backend import num_replicas
from keras_kd._common.checks import WEIGHTS, check_number
from keras_kd._common.typing import Config, Shape, Structure, Tensor
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.relation import unit
from keras_kd.losses.response import logit_distance, logit_matching

# Spread below this share of the mean is float32's rounding of values that are all the same.
_RESOLUTION = 1e-6
# Above, float32 counts no further one by one.
_MOST = 2.0**24


def value_matching(*, teacher_values: Tensor, student_values: Tensor) -> tf.Tensor:
    """Mean squared difference of the values.

        mean_c (student_c - teacher_c)^2

    Args:
        teacher_values: `[..., num_values]`, in any units.
        student_values: the same shape, in the same units.

    Returns:
        One float32 value per example, shape `[...]`.

    References:
        N. Reimers, I. Gurevych, Making Monolingual Sentence Embeddings Multilingual using
        Knowledge Distillation, 2020, section 2.
    """
    return logit_matching(teacher_logits=teacher_values, student_logits=student_values)


def value_distance(*, teacher_values: Tensor, student_values: Tensor) -> tf.Tensor:
    """Mean absolute difference of the values.

        mean_c |student_c - teacher_c|

    Args:
        teacher_values: `[..., num_values]`, in any units.
        student_values: the same shape, in the same units.

    Returns:
        One float32 value per example, shape `[...]`.
    """
    return logit_distance(teacher_logits=teacher_values, student_logits=student_values)


def huber_matching(
    *, teacher_values: Tensor, student_values: Tensor, delta: float = 1.0
) -> tf.Tensor:
    """Mean Huber loss of the differences: squared where they are small, absolute beyond.

        mean_c h(student_c - teacher_c),  h(d) = d^2 / 2                      if |d| <= delta,
                                                 delta * (|d| - delta / 2)    else

    Args:
        teacher_values: `[..., num_values]`, in any units.
        student_values: the same shape, in the same units.
        delta: where the one becomes the other, above 0, in those units.

    Returns:
        One float32 value per example, shape `[...]`.

    References:
        R. Girshick, Fast R-CNN, 2015, equation 3, with delta = 1.
    """
    size = ops.abs(ops.cast(student_values, "float32") - ops.cast(teacher_values, "float32"))
    # The squared part of it, so that no square of a huge difference is formed.
    near = ops.minimum(size, delta)
    return ops.mean(near * (size - 0.5 * near), axis=-1)


def cosine_matching(*, teacher_values: Tensor, student_values: Tensor) -> tf.Tensor:
    """One less the cosine of the angle between the values.

        1 - <student, teacher> / (||student|| ||teacher||)

    Values that are all 0 have no direction: their cosine is 0, and their gradient is finite.

    Args:
        teacher_values: `[..., num_values]`, at least two, of any size.
        student_values: the same shape.

    Returns:
        One float32 value per example, from 0 to 2, shape `[...]`.

    References:
        V. Sanh et al., DistilBERT, a distilled version of BERT, 2019, section 3.
    """
    teacher, student = (
        unit(ops.cast(values, "float32")) for values in (teacher_values, student_values)
    )
    return 1.0 - ops.sum(teacher * student, axis=-1)


@keras.saving.register_keras_serializable(package="keras_kd")
class TeacherUnits(keras.layers.Layer):
    """Brings the teacher's values to mean 0 and variance 1, each by itself; saved, never exported.

    Mean and variance are those of all that the teacher said during training so far, padding left
    out; they are learned in the step before they are used. A value that never varies is centred
    alone.

    Args:
        num_values: values of an example.
    """

    def __init__(self, num_values, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.num_values = num_values

    def build(self, input_shape):
        def known(name, shape, initializer):
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=initializer,
                dtype="float32",
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",  # They are the same in each.
            )

        self.mean = known("mean", (self.num_values,), "zeros")
        self.variance = known("variance", (self.num_values,), "ones")
        self.count = known("count", (), "zeros")

    def call(self, values, mask=None, training=False):
        """Return the teacher's values in these units, and the student's as they are.

        Args:
            values: `(teacher_values, student_values)`, `[..., num_values]`.
            mask: of both, the student's counts.
            training: whether to learn from the teacher's.
        """
        teacher, student = values
        if training:
            self._learn(ops.cast(teacher, "float32"), None if mask is None else mask[1])
        return (ops.cast(teacher, "float32") - self.mean) / self.deviation(), student

    def restore(self, values):
        """Return what a student answers in these units in the teacher's own.

        Args:
            values: `[..., num_values]`, such as `student.predict(inputs)`.
        """
        return ops.cast(values, "float32") * self.deviation() + self.mean

    def deviation(self):
        """Return the standard deviation of each value, 1 where it never varies."""
        deviation = ops.sqrt(self.variance)
        varies = deviation > _RESOLUTION * ops.abs(self.mean)
        return ops.where(varies & (deviation > 0), deviation, 1.0)

    def _learn(self, teacher, mask):
        number, mean, variance = _statistics(teacher, mask)
        count = self.count + number
        share = ops.divide_no_nan(number, count)
        moved = mean - self.mean
        # T. Chan et al., Updating Formulae and a Pairwise Algorithm for Computing Sample
        # Variances, 1979, equation 2.1.
        new_variance = (1 - share) * self.variance + share * (
            variance + (1 - share) * ops.square(moved)
        )
        # What is not finite is not learned from: the step that it comes from is not taken either.
        good = ops.all(ops.isfinite(moved) & ops.isfinite(new_variance))
        self.variance.assign(ops.where(good, new_variance, self.variance))
        self.mean.assign(ops.where(good, self.mean + share * moved, self.mean))
        self.count.assign(ops.where(good, ops.minimum(count, _MOST), self.count))

    def get_config(self):
        return {**super().get_config(), "num_values": self.num_values}


def _statistics(values, mask):
    """Return how many examples and places count, and the mean and variance of each value.

    Under several replicas they are those of the whole batch.
    """
    axes = tuple(range(len(values.shape) - 1))
    counts = ops.ones_like(values[..., :1])
    if mask is not None:
        missing = len(values.shape) - len(mask.shape)
        counts *= ops.cast(ops.reshape(mask, (*ops.shape(mask), *[1] * missing)), "float32")

    def total(terms):
        found = ops.sum(ops.where(counts > 0, terms, 0.0), axis=axes)
        if num_replicas() == 1:
            return found
        return tf.distribute.get_replica_context().all_reduce("SUM", found)

    number = total(counts)[0]
    mean = ops.divide_no_nan(total(values), number)
    return number, mean, ops.divide_no_nan(total(ops.square(values - mean)), number)


class ValueLoss(DistillationLoss):
    """A loss between the values of teacher and student.

    Args:
        normalize: whether the teacher's values are brought to mean 0 and variance 1 before they
            are compared, for a teacher whose scale is not the student's, or whose values differ in
            scale among themselves. Mean and variance are learned in `keras_kd.Distiller` from
            what the teacher says in training, each example once, whatever its sample weight. The
            student then answers in these units: compile its hard loss on labels in them, or train
            with `alpha=1`. `distiller.projectors[name].restore(answers)`, with the name of the
            loss, gives the teacher's own back.
        name: name of the loss; that of its kind if `None`.
    """

    heads = ("logits", "values")
    by_label = True
    min_values = 1
    default_name = None

    def __init__(self, *, normalize: bool = False, name: str | None = None, **kwargs: Any):
        super().__init__(name=name or self.default_name, **kwargs)
        self.normalize = self.projects_outputs = bool(normalize)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        _check_values(self, teacher_outputs.shape, student_outputs.shape)
        return self.compare(teacher_outputs, student_outputs)

    def compare(self, teacher_values: Tensor, student_values: Tensor) -> tf.Tensor:
        """Return one float32 value per example, of values whose shapes fit."""
        raise NotImplementedError("A loss between values must implement `compare`.")

    def compute_loss(
        self, teacher_outputs: Structure, student_outputs: Structure, **kwargs: Any
    ) -> tf.Tensor:
        if self.normalize:
            raise ValueError(
                f"{type(self).__name__} learns the teacher's units in keras_kd.Distiller. Received:"
                " normalize=True in keras.distillation. Use keras_kd.Distiller."
            )
        return super().compute_loss(teacher_outputs, student_outputs)

    def projector(self, teacher_shape: Shape, student_shape: Shape) -> keras.Layer | None:
        if not self.normalize:
            return None
        layer = TeacherUnits(teacher_shape[-1], name=f"{self.name}_units", dtype="float32")
        layer.build([tuple(teacher_shape), tuple(student_shape)])
        return layer

    def get_config(self) -> Config:
        return {**super().get_config(), "normalize": self.normalize}


def _check_values(loss, teacher_shape, student_shape):
    if len(teacher_shape) != len(student_shape) or len(student_shape) < 2:
        raise ValueError(
            "Values must be [batch, ..., num_values] of teacher and student alike. Received: "
            f"{tuple(teacher_shape)} and {tuple(student_shape)}. Leave the last axis, also of one."
        )
    number, student_number = teacher_shape[-1], student_shape[-1]
    if number != student_number:
        raise ValueError(
            "Teacher and student must return as many values. Received: "
            f"{number} and {student_number}. Build the student with {number}."
        )
    if number < loss.min_values:
        raise ValueError(
            f"{type(loss).__name__} needs at least {loss.min_values} values, of which there is a "
            f"direction. Received: {number}. Use losses.ValueMatching."
        )


@keras.saving.register_keras_serializable(package="keras_kd")
class ValueMatching(ValueLoss):
    """Mean squared error between the values; see `value_matching`.

    For regression and embeddings, where a few large differences matter most.

    Args:
        normalize: whether to learn the teacher's units and compare in them; see `ValueLoss`.
        name: name of the loss.

    Raises:
        ValueError: when called, if teacher and student have different numbers of values.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_kd as kd

    inputs = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    teacher = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    distiller = kd.Distiller(
        student=student,
        teacher=kd.Teacher(teacher, head="values"),
        distillation_loss=kd.losses.ValueMatching(normalize=True),
        alpha=1.0,
    )
    distiller.compile("adam")
    distiller.fit(inputs, epochs=1, verbose=0)
    units = distiller.projectors["value_matching"]
    assert units.restore(student(inputs)).shape == (64, 2)
    ```

    References:
        N. Reimers, I. Gurevych, Making Monolingual Sentence Embeddings Multilingual using
        Knowledge Distillation, 2020, section 2.
    """

    default_name = "value_matching"

    def compare(self, teacher_values: Tensor, student_values: Tensor) -> tf.Tensor:
        return value_matching(teacher_values=teacher_values, student_values=student_values)


@keras.saving.register_keras_serializable(package="keras_kd")
class ValueDistance(ValueLoss):
    """Mean absolute error between the values; see `value_distance`.

    For values among which some differ vastly: they weigh no more than others.

    Args:
        normalize: whether to learn the teacher's units and compare in them; see `ValueLoss`.
        name: name of the loss.

    Raises:
        ValueError: when called, if teacher and student have different numbers of values.
    """

    default_name = "value_distance"

    def compare(self, teacher_values: Tensor, student_values: Tensor) -> tf.Tensor:
        return value_distance(teacher_values=teacher_values, student_values=student_values)


@keras.saving.register_keras_serializable(package="keras_kd")
class HuberMatching(ValueLoss):
    """Huber loss between the values; see `huber_matching`.

    For boxes and other values that are mostly close and sometimes far off.

    Args:
        delta: where squared becomes absolute, above 0, in the units that are compared.
        **kwargs: `normalize`, whether to learn the teacher's units and compare in them, see
            `ValueLoss`, and `name` of the loss.

    Raises:
        ValueError: if `delta` is out of range; when called, if teacher and student have different
            numbers of values.

    References:
        R. Girshick, Fast R-CNN, 2015, equation 3, with delta = 1.
    """

    default_name = "huber_matching"

    def __init__(self, delta: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        check_number("delta", delta, WEIGHTS)
        self.delta = float(delta)

    def compare(self, teacher_values: Tensor, student_values: Tensor) -> tf.Tensor:
        return huber_matching(
            teacher_values=teacher_values, student_values=student_values, delta=self.delta
        )

    def get_config(self) -> Config:
        return {**super().get_config(), "delta": self.delta}


@keras.saving.register_keras_serializable(package="keras_kd")
class CosineMatching(ValueLoss):
    """One less the cosine between the values; see `cosine_matching`.

    For embeddings, which are compared by direction: their length is the student's own affair.

    Args:
        normalize: whether to learn the teacher's units and compare in them; see `ValueLoss`.
        name: name of the loss.

    Raises:
        ValueError: when called, if teacher and student have different numbers of values, or one.

    References:
        V. Sanh et al., DistilBERT, a distilled version of BERT, 2019, section 3.
    """

    default_name = "cosine_matching"
    by_label = False
    min_values = 2  # Of one number, only the sign is left.

    def compare(self, teacher_values: Tensor, student_values: Tensor) -> tf.Tensor:
        return cosine_matching(teacher_values=teacher_values, student_values=student_values)
