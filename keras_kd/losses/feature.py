"""Feature losses: what the student's layers should say, given the teacher's."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import check_number
from keras_kd._common.typing import Config, Shape, Structure, Tensor
from keras_kd.losses.base import ANY_HEAD, DistillationLoss, check_batch_size, over_whole_batch
from keras_kd.losses.masks import mask_of, without_padding
from keras_kd.losses.relation import (
    relational_angle,
    relational_distance,
    scaled,
    similarity_preserving,
    unit,
)


def hints(*, teacher_features: Tensor, student_features: Tensor) -> tf.Tensor:
    """Mean squared difference of the features.

        mean (f_student - f_teacher)^2

    Args:
        teacher_features: `[batch, ...]`.
        student_features: the same shape; a projector brings others to it.

    Returns:
        One float32 value per example, shape `[batch]`; of `[batch, time, channels]` one a step,
        `[batch, time]`, so that those of the padding can be left out.

    References:
        A. Romero et al., FitNets: Hints for Thin Deep Nets, 2015, equation 3.
    """
    difference = ops.cast(student_features, "float32") - ops.cast(teacher_features, "float32")
    rank = len(difference.shape)
    return ops.mean(ops.square(difference), axis=-1 if rank == 3 else tuple(range(1, rank)))


def attention_transfer(
    *, teacher_features: Tensor, student_features: Tensor, power: float = 2
) -> tf.Tensor:
    """The student should look where the teacher looks.

        mean (A_student - A_teacher)^2,  A = normalised vec(mean_channels |f|^p)

    Of two maps of different size the larger is average-pooled to the smaller. A sequence is a map
    of its steps.

    Args:
        teacher_features: `[batch, height, width, channels]`, or `[batch, time, channels]` with
            zeros where there is padding.
        student_features: the same, of any height, width and channels, and of as many steps.
        power: p.

    Returns:
        One float32 value per example, shape `[batch]`; of sequences one a step, `[batch, time]`,
        so that those of the padding can be left out.

    References:
        S. Zagoruyko, N. Komodakis, Paying More Attention to Attention, 2017, section 3.1,
        equation 2.
    """
    size = common_places(teacher_features.shape, student_features.shape)
    teacher, student = (
        attention_map(pooled(features, size), power)
        for features in (teacher_features, student_features)
    )
    by_place = ops.square(student - teacher)
    return by_place if size is None else ops.mean(by_place, axis=-1)


def attention_map(features: Tensor, power: float = 2) -> tf.Tensor:
    """Return where features are large: float32 `[batch, height * width]` of norm 1.

    Args:
        features: `[batch, height, width, channels]`, or `[batch, time, channels]`.
        power: p.
    """
    axes = tuple(range(1, len(features.shape)))
    features = scaled(ops.cast(features, "float32"), axis=axes)
    strength = ops.mean(ops.abs(features) ** power, axis=-1)
    if len(strength.shape) == 3:
        strength = ops.reshape(strength, (-1, strength.shape[1] * strength.shape[2]))
    return unit(strength)


def common_size(teacher_shape, student_shape):
    """Return the height and width that both feature maps can be pooled to, the smaller of each.

    Raises:
        ValueError: if the shapes are no maps `[batch, height, width, channels]` of known size.
    """
    shapes = tuple(teacher_shape), tuple(student_shape)
    if any(len(shape) != 4 or None in shape[1:] for shape in shapes):
        raise ValueError(
            "Feature maps must be [batch, height, width, channels] of known size. "
            f"Received: teacher {shapes[0]} and student {shapes[1]}. Name other layers."
        )
    return tuple(min(sizes) for sizes in zip(shapes[0][1:3], shapes[1][1:3], strict=True))


def common_places(teacher_shape, student_shape):
    """Return what `common_size` does, of at least two places; `None` for sequences.

    Raises:
        ValueError: if they are neither maps nor sequences of as many steps, or of one place, to
            which all attention goes.
    """
    sequences = len(teacher_shape) == len(student_shape) == 3
    if sequences and not _may_be_equal(teacher_shape[1], student_shape[1]):
        raise ValueError(
            "AttentionTransfer needs sequences of as many steps. Received: teacher "
            f"{tuple(teacher_shape)} and student {tuple(student_shape)}. Name other layers."
        )
    size = None if sequences else common_size(teacher_shape, student_shape)
    if size == (1, 1) or (sequences and 1 in (teacher_shape[1], student_shape[1])):
        raise ValueError(
            "AttentionTransfer needs maps of at least 2 places. Received: teacher "
            f"{tuple(teacher_shape)} and student {tuple(student_shape)}, which have 1 in common. "
            "Name earlier layers, or use losses.Hints."
        )
    return size


def pooled(features, size):
    """Return feature maps average-pooled to `size`, or as they are if they have it or it is none.

    Args:
        features: `[batch, height, width, channels]`, or of any shape for no size.
        size: height and width, or `None`.
    """
    if size is None or tuple(features.shape[1:3]) == tuple(size):
        return features
    return ops.adaptive_average_pool(features, size, data_format="channels_last")


@keras.saving.register_keras_serializable(package="keras_kd")
class Projector(keras.layers.Layer):
    """Brings the student's features to the teacher's shape; trained, saved, never exported.

    Maps are pooled to a common size and their channels mapped by a 1x1 convolution; vectors, and
    the steps of a sequence, are mapped by a dense layer; of a map and a vector the map is
    averaged over its places first.

    Args:
        num_channels: channels of the teacher's features.
        size: height and width of both, or `None` for vectors and sequences.
    """

    def __init__(self, num_channels, size=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True  # Steps of padding stay steps of padding.
        self.num_channels, self.size = num_channels, size and tuple(size)
        # A dense layer maps the last axis, whatever comes before: on maps it is a 1x1 convolution.
        self.channels = keras.layers.Dense(num_channels, dtype=self.dtype_policy)

    def build(self, input_shape):
        _, student_shape = input_shape
        self.channels.build(tuple(student_shape))

    def call(self, features):
        """Return `(teacher_features, student_features)` in one shape."""
        teacher, student = (
            averaged(each) if self.size is None else pooled(each, self.size) for each in features
        )
        return teacher, self.channels(student)

    def get_config(self):
        return {**super().get_config(), "num_channels": self.num_channels, "size": self.size}


def averaged(features):
    """Return vectors as they are, and maps averaged over their places."""
    return ops.mean(features, axis=(1, 2)) if len(features.shape) == 4 else features


class FeatureLoss(DistillationLoss):
    """A loss between a layer of the teacher and a layer of the student.

    Args:
        teacher_layer_name: name of the teacher's layer, nested ones as `backbone/block_3`;
            `None` for its logits.
        student_layer_name: name of the student's layer, likewise.
        name: name of the loss; that of its kind if `None`.
    """

    heads = ANY_HEAD
    default_name = None

    def __init__(
        self,
        teacher_layer_name: str | None = None,
        student_layer_name: str | None = None,
        *,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name or self.default_name, **kwargs)
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name

    def __call__(
        self,
        teacher_outputs: Structure,
        student_outputs: Structure,
        sample_weight: Tensor | None = None,
    ) -> tf.Tensor:
        mask = mask_of(student_outputs)
        if mask is not None and not self.goes_by_step(student_outputs.shape):
            teacher_outputs, student_outputs = without_padding(
                teacher_outputs, student_outputs, mask
            )
        return super().__call__(teacher_outputs, student_outputs, sample_weight)

    def goes_by_step(self, student_shape: Shape) -> bool:
        """Return whether it has a value a step, so that Keras leaves padding out of the mean.

        Where it compares examples whole, padding counts as zeros, for teacher and student.

        Args:
            student_shape: of a batch of the student's features.
        """
        return False

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "teacher_layer_name": self.teacher_layer_name,
            "student_layer_name": self.student_layer_name,
        }


@keras.saving.register_keras_serializable(package="keras_kd")
class Hints(FeatureLoss):
    """FitNets hints: a layer of the student, projected, should equal a layer of the teacher.

    See `hints`. In `keras_kd.Distiller` a `Projector` is trained between the two (the paper's
    regressor), where they have equal shapes too: the student then says the same in words of its
    own. Elsewhere the shapes must be equal.

    Args:
        teacher_layer_name: name of the teacher's layer, nested ones as `backbone/block_3`; `None`
            for its logits.
        student_layer_name: name of the student's layer, likewise.
        project: `False` to compare features of one shape as they are, as Keras's
            `FeatureDistillation` does.
        **kwargs: `name` of the loss.

    Raises:
        ValueError: when shapes cannot be bridged; both are named.

    References:
        A. Romero et al., FitNets: Hints for Thin Deep Nets, 2015, section 2.2.
    """

    default_name = "hints"

    def __init__(
        self,
        teacher_layer_name: str | None = None,
        student_layer_name: str | None = None,
        *,
        project: bool = True,
        **kwargs: Any,
    ):
        super().__init__(teacher_layer_name, student_layer_name, **kwargs)
        self.project = project

    def goes_by_step(self, student_shape: Shape) -> bool:
        return len(student_shape) == 3

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        shapes = tuple(teacher_outputs.shape)[1:], tuple(student_outputs.shape)[1:]
        if len(shapes[0]) != len(shapes[1]) or not all(map(_may_be_equal, *shapes)):
            raise ValueError(
                "Hints need features of one shape. Received: teacher "
                f"{tuple(teacher_outputs.shape)} and student {tuple(student_outputs.shape)}. "
                "Use keras_kd.Distiller, which trains a projector between them, with "
                "`project=True`."
            )
        return hints(teacher_features=teacher_outputs, student_features=student_outputs)

    def projector(self, teacher_shape: Shape, student_shape: Shape) -> keras.Layer | None:
        if not self.project:
            return None
        ranks = {len(teacher_shape), len(student_shape)}
        known = teacher_shape[-1] is not None and student_shape[-1] is not None
        in_step = ranks == {3} and _may_be_equal(teacher_shape[1], student_shape[1])
        if not known or not (ranks <= {2, 4} or in_step):
            raise ValueError(
                "No projector can bridge these features: teacher "
                f"{tuple(teacher_shape)} and student {tuple(student_shape)}. Name layers that "
                "return [batch, channels], [batch, height, width, channels], or [batch, time, "
                "channels] of as many steps."
            )
        size = common_size(teacher_shape, student_shape) if ranks == {4} else None
        layer = Projector(teacher_shape[-1], size, name=f"{self.name}_projector", dtype="float32")
        layer.build([tuple(teacher_shape), tuple(student_shape)])
        return layer

    def get_config(self) -> Config:
        return {**super().get_config(), "project": self.project}


def _may_be_equal(one, other):
    """Return whether two sizes are equal, or one of them is not known yet."""
    return one is None or other is None or one == other


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentionTransfer(FeatureLoss):
    """Attention transfer: the student should look where the teacher looks.

    See `attention_transfer`. It needs no projector. Its values are small; the paper's weight for
    it is about 1000. Of sequences it says to which steps to attend; padding takes no attention.

    Args:
        teacher_layer_name: name of the teacher's layer of feature maps, or of a sequence.
        student_layer_name: name of the student's.
        power: p of the attention map, from 1 to 16; 2 in the paper.
        **kwargs: `name` of the loss.

    Raises:
        ValueError: if `power` is out of range; when the features are neither maps nor sequences
            of as many steps, or have one place; both shapes are named.

    References:
        S. Zagoruyko, N. Komodakis, Paying More Attention to Attention, 2017, section 3.1.
    """

    default_name = "attention_transfer"

    def __init__(
        self,
        teacher_layer_name: str | None = None,
        student_layer_name: str | None = None,
        *,
        power: float = 2,
        **kwargs: Any,
    ):
        super().__init__(teacher_layer_name, student_layer_name, **kwargs)
        # Below 1, the gradient of |f|^p at 0 is infinite.
        check_number("power", power, (1, 16))
        self.power = power

    def goes_by_step(self, student_shape: Shape) -> bool:
        return len(student_shape) == 3

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        if (mask := mask_of(student_outputs)) is not None:  # Of steps: their length counts.
            teacher_outputs, student_outputs = without_padding(
                teacher_outputs, student_outputs, mask
            )
        return attention_transfer(
            teacher_features=teacher_outputs, student_features=student_outputs, power=self.power
        )

    def projector(self, teacher_shape: Shape, student_shape: Shape) -> keras.Layer | None:
        common_places(teacher_shape, student_shape)  # Refuses what `call` would.
        return None

    def get_config(self) -> Config:
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(package="keras_kd")
class SimilarityPreserving(FeatureLoss):
    """Examples that the teacher finds alike should be alike for the student.

    See `similarity_preserving`. It needs no projector. Its values are small; the paper's weight
    for it is about 3000.

    Args:
        teacher_layer_name: name of the teacher's layer.
        student_layer_name: name of the student's.
        name: name of the loss.

    Raises:
        ValueError: when called, for a batch of one example.

    References:
        F. Tung, G. Mori, Similarity-Preserving Knowledge Distillation, 2019.
    """

    default_name = "similarity_preserving"
    min_examples = 2  # One example is always like itself.

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_batch_size(self, student_outputs.shape)
        return over_whole_batch(
            similarity_preserving,
            teacher_features=teacher_outputs,
            student_features=student_outputs,
        )


@keras.saving.register_keras_serializable(package="keras_kd")
class RelationalDistance(FeatureLoss):
    """RKD-D: examples should lie as far apart, relatively, as they do for the teacher.

    See `relational_distance`. It needs no projector. The paper's weight for it is about 25.

    Args:
        teacher_layer_name: name of the teacher's layer.
        student_layer_name: name of the student's.
        name: name of the loss.

    Raises:
        ValueError: when called, for a batch of fewer than three examples.

    References:
        W. Park et al., Relational Knowledge Distillation, 2019, section 3.2.1.
    """

    default_name = "relational_distance"
    min_examples = 3  # Of two examples, the one distance is always its own mean.

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_batch_size(self, student_outputs.shape)
        return over_whole_batch(
            relational_distance, teacher_features=teacher_outputs, student_features=student_outputs
        )


@keras.saving.register_keras_serializable(package="keras_kd")
class RelationalAngle(FeatureLoss):
    """RKD-A: any three examples should form the angles that they form for the teacher.

    See `relational_angle`, and its memory. It needs no projector. The paper's weight for it is
    about 50.

    Args:
        teacher_layer_name: name of the teacher's layer.
        student_layer_name: name of the student's.
        name: name of the loss.

    Raises:
        ValueError: when called, for a batch of fewer than three examples, or for one number an
            example.

    References:
        W. Park et al., Relational Knowledge Distillation, 2019, section 3.2.2.
    """

    default_name = "relational_angle"
    min_examples = 3  # Of two examples, no angle is left.

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        check_batch_size(self, student_outputs.shape)
        return over_whole_batch(
            relational_angle, teacher_features=teacher_outputs, student_features=student_outputs
        )
