"""What a generator of training images is asked for: terms, each with its weight."""

import math
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.reprs import call_of_configured
from keras_kd._common.typing import Config, Schedule
from keras_kd.losses import SoftTargets, get
from keras_kd.losses.base import DistillationLoss, check_num_classes, check_setting, serialized


def one_hot(teacher_logits):
    """Cross-entropy of the teacher with its own prediction: 0 when it is sure of every image.

        -mean log max_c p_c,  p = softmax(teacher_logits)

    Args:
        teacher_logits: `[batch, num_classes]`.

    Returns:
        A float32 scalar, at least 0.

    References:
        H. Chen et al., Data-Free Learning of Student Networks, 2019, equation 3.
    """
    _check_classes(teacher_logits)
    log_probs = ops.log_softmax(ops.cast(teacher_logits, "float32"))
    return -ops.mean(ops.max(log_probs, axis=-1))


def class_balance(teacher_logits):
    """Negative entropy of the teacher's mean prediction: least when all classes are as frequent.

        sum_c m_c * log m_c,  m = mean over the batch of softmax(teacher_logits)

    NOTE: the authors' code takes the logarithm to base 10; a weight of theirs is divided by
    ln 10 = 2.303 here.

    Args:
        teacher_logits: `[batch, num_classes]`. The mean says something from about four images a
            class.

    Returns:
        A float32 scalar, from `-log(num_classes)` to 0.

    References:
        H. Chen et al., Data-Free Learning of Student Networks, 2019, equation 5.
    """
    _check_classes(teacher_logits)
    log_probs = ops.log_softmax(ops.cast(teacher_logits, "float32"))
    # The mean in log space, where a class that is never predicted is no log(0).
    log_mean = ops.logsumexp(log_probs, axis=0) - ops.log(
        ops.cast(ops.shape(log_probs)[0], "float32")
    )
    return ops.sum(ops.exp(log_mean) * log_mean)


def activation(teacher_features):
    """Negative mean size of the teacher's features: real images excite them, noise does not.

        -mean |f|

    Args:
        teacher_features: `[batch, ...]`.

    Returns:
        A float32 scalar, at most 0.

    References:
        H. Chen et al., Data-Free Learning of Student Networks, 2019, equation 4.
    """
    return -ops.mean(ops.abs(ops.cast(teacher_features, "float32")))


def batch_statistics(features, moving_mean, moving_variance):
    """Distance of a batch's statistics from those that a BatchNorm layer has kept.

        ||mean(f) - moving_mean||_2 + ||var(f) - moving_variance||_2

    Args:
        features: what enters the layer, `[batch, ..., channels]`.
        moving_mean: `[channels]`.
        moving_variance: `[channels]`.

    Returns:
        A float32 scalar, at least 0.

    References:
        H. Yin et al., Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion, 2020,
        equation 4.
    """
    features = ops.cast(features, "float32")
    mean, variance = ops.moments(features, axes=tuple(range(len(features.shape) - 1)))
    return _norm(mean - moving_mean) + _norm(variance - moving_variance)


def total_variation(images):
    """Mean difference of neighbouring pixels: small for strokes and surfaces, large for noise.

        mean |x[i + 1, j] - x[i, j]| + mean |x[i, j + 1] - x[i, j]|,  x = images / 255

    NOTE: the paper's code takes the root of the summed squares, over the diagonals too; sizes of
    differences forgive an edge that roots do not, and do not grow with batch or image.

    Args:
        images: raw pixels `[batch, height, width, channels]`, 0 to 255.

    Returns:
        A float32 scalar, at least 0.

    References:
        H. Yin et al., Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion, 2020,
        equation 3.
    """
    pixels = ops.cast(images, "float32") / 255.0
    down, right = pixels[:, 1:] - pixels[:, :-1], pixels[:, :, 1:] - pixels[:, :, :-1]
    differences = [each for each in (down, right) if 0 not in each.shape]
    if not differences:
        raise ValueError(
            "TotalVariation needs images of at least 2 pixels. Received: images of shape "
            f"{tuple(images.shape)}. Leave that term out."
        )
    return sum(ops.mean(ops.abs(each)) for each in differences)


def _check_classes(teacher_logits):
    check_num_classes(
        teacher_logits.shape[-1], at_least=2, remedy="terms on other outputs, such as Activation"
    )


def _norm(vector):
    # The gradient of a root at 0 is infinite.
    return ops.sqrt(ops.maximum(ops.sum(ops.square(vector)), 1e-12))


class GeneratorTerm:
    """One thing a generator is asked for.

    A subclass writes `call`, which returns a scalar to be minimised.

    Args:
        weight: at least 0, or a schedule over the generator's steps.

    Attributes:
        name: key of its value in the logs.
        teacher_layer_name: the layer of the teacher that it looks at, or `None`.
        asks_student: whether it looks at the student.
        asks_batch_norm: whether it looks at what enters the teacher's BatchNorm layers.
    """

    name = None
    teacher_layer_name = None
    asks_student = False
    asks_batch_norm = False

    def __init__(self, weight: Schedule = 1.0):
        self.weight = check_setting("weight", weight, zero_allowed=True)

    def call(self, teacher: dict[str, Any], student: dict[str, Any] | None) -> tf.Tensor:
        """Return the term's value, a float32 scalar.

        Args:
            teacher: what the teacher saw and said: `"images"`, `"logits"`, its layers by name,
                and, for a term that asks for them, `"batch_norm"`: pairs of a BatchNorm layer and
                what enters it.
            student: the student's outputs by name; `None` if no term asks for it.
        """
        raise NotImplementedError("A generator term must implement `call`.")

    def get_config(self) -> Config:
        return {"weight": serialized(self.weight)}

    def __repr__(self):
        return call_of_configured(self)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**{key: _deserialized(value) for key, value in config.items()})


@keras.saving.register_keras_serializable(package="keras_kd")
class OneHot(GeneratorTerm):
    """Images of which the teacher is sure; see `one_hot`.

    Args:
        weight: 1 in the paper on MNIST, 0.05 on CIFAR-10.
    """

    name = "one_hot_loss"

    def call(self, teacher: dict[str, Any], student: dict[str, Any] | None) -> tf.Tensor:
        return one_hot(teacher["logits"])


@keras.saving.register_keras_serializable(package="keras_kd")
class ClassBalance(GeneratorTerm):
    """Images of all classes; see `class_balance`.

    Args:
        weight: 5 / ln 10 is the paper's.
    """

    name = "class_balance_loss"

    def call(self, teacher: dict[str, Any], student: dict[str, Any] | None) -> tf.Tensor:
        return class_balance(teacher["logits"])


@keras.saving.register_keras_serializable(package="keras_kd")
class Activation(GeneratorTerm):
    """Images that excite a layer of the teacher; see `activation`.

    Args:
        weight: 0.1 in the paper on MNIST.
        teacher_layer_name: in the paper the layer before the logits.
    """

    name = "activation_loss"

    def __init__(self, weight: Schedule = 1.0, *, teacher_layer_name: str):
        super().__init__(weight)
        self.teacher_layer_name = teacher_layer_name

    def call(self, teacher: dict[str, Any], student: dict[str, Any] | None) -> tf.Tensor:
        return activation(teacher[self.teacher_layer_name])

    def get_config(self) -> Config:
        return {**super().get_config(), "teacher_layer_name": self.teacher_layer_name}


@keras.saving.register_keras_serializable(package="keras_kd")
class Disagreement(GeneratorTerm):
    """Images on which the student does not follow the teacher yet: the adversarial term.

        -mean log(1 + D)    (bounded)        -mean D    (as published)

    D is a distillation loss between the two. Unbounded, the generator can gain for ever on
    images that are like nothing: in our trials that ended in divergence.

    Args:
        weight: 1 by default; `schedules.Linear(0.0, 1.0, steps=...)` warms it up, so that the
            generator finds the classes before it seeks what the student misses.
        distance: D, a loss on logits with one value an example, or its name; `SoftTargets(1.0)`
            by default.
        bounded: which of the two.

    References:
        G. Fang et al., Data-Free Adversarial Distillation, 2019, equations 3 and 7; P. Micaelli,
        A. Storkey, Zero-shot Knowledge Transfer via Adversarial Belief Matching, 2019, section
        3.1.
    """

    name = "disagreement_loss"
    asks_student = True

    def __init__(
        self,
        weight: Schedule = 1.0,
        *,
        distance: DistillationLoss | None = None,
        bounded: bool = True,
    ):
        super().__init__(weight)
        self.distance = SoftTargets(1.0) if distance is None else get(distance)
        self.bounded = bounded

    def call(self, teacher: dict[str, Any], student: dict[str, Any] | None) -> tf.Tensor:
        distances = self.distance.call(teacher["logits"], student["logits"])
        return -ops.mean(ops.log1p(distances) if self.bounded else distances)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "distance": serialized(self.distance),
            "bounded": self.bounded,
        }


@keras.saving.register_keras_serializable(package="keras_kd")
class BatchStatistics(GeneratorTerm):
    """Images whose statistics are those that the teacher's BatchNorm layers have kept.

    See `batch_statistics`; the sum over the layers. For a teacher that has such layers.

    Args:
        weight: 1 to 10 in the papers.
    """

    name = "batch_statistics_loss"
    asks_batch_norm = True

    def call(self, teacher: dict[str, Any], student: dict[str, Any] | None) -> tf.Tensor:
        return ops.sum(
            [
                batch_statistics(features, layer.moving_mean, layer.moving_variance)
                for layer, features in teacher["batch_norm"]
            ]
        )


@keras.saving.register_keras_serializable(package="keras_kd")
class TotalVariation(GeneratorTerm):
    """Images of strokes and surfaces rather than of dots; see `total_variation`.

    Args:
        weight: 1 in our hybrid. 5 was too much: blobs of two grey levels.
    """

    name = "total_variation_loss"

    def call(self, teacher: dict[str, Any], student: dict[str, Any] | None) -> tf.Tensor:
        return total_variation(teacher["images"])


def as_terms(terms):
    """Return the terms of a generator's loss as a list, checked.

    Raises:
        ValueError: if there is none, all weights are zero, or one stands there twice.
    """
    terms = list(terms) if isinstance(terms, (list, tuple)) else [terms]
    for term in terms:
        if not isinstance(term, GeneratorTerm):
            raise ValueError(
                "`generator_loss` must be a list of terms of keras_kd.adversarial, such as "
                f"OneHot(1.0). Received: {type(term).__name__}."
            )
    if all(term.weight == 0 for term in terms):
        raise ValueError(
            "`generator_loss` must have a term of weight above 0. Received: weights "
            f"{[term.weight for term in terms]}."
        )
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise ValueError(
            f"`generator_loss` must have each kind of term once. Received: {', '.join(names)}."
        )
    # A term without weight is not computed.
    return [term for term in terms if term.weight != 0]


def check_batch_size(terms, batch_size, num_classes):
    """Return what to warn of when batches are too small for their class balance, or `None`."""
    balanced = any(isinstance(term, ClassBalance) for term in terms)
    if balanced and batch_size < 4 * num_classes:
        return (
            f"Class balance is taken over each batch: {batch_size} images for {num_classes} "
            "classes are too few, since even a balanced batch of that size looks unbalanced. "
            f"Use batch_size={math.ceil(4 * num_classes)} or more."
        )
    return None


def _deserialized(value):
    is_object = isinstance(value, dict) and "class_name" in value
    return keras.saving.deserialize_keras_object(value) if is_object else value
