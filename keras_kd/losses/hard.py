"""The hard-label loss: cross-entropy, or one yes or no for each label, always on logits."""

import inspect
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.reprs import call_of, call_of_configured, in_small_letters
from keras_kd._common.typing import Tensor
from keras_kd.losses.base import check_num_classes
from keras_kd.losses.masks import mask_of, with_mask

_CROSS_ENTROPY_NAMES = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "crossentropy",
    "ce",
    "cross_entropy",
    "CrossEntropy",
)
_BINARY_NAMES = ("binary_crossentropy", "bce", "binary_cross_entropy", "BinaryCrossEntropy")


def cross_entropy(*, labels: Tensor, student_logits: Tensor) -> tf.Tensor:
    """Cross-entropy with integer labels `[...]` (or `[..., 1]`), or with one-hot or soft ones.

        -sum_c y_c * log q_c,  q = softmax(student_logits)

    Args:
        labels: class numbers of shape `[...]` or `[..., 1]`, where -1 stands for no label and
            counts for nothing; or probabilities `[..., num_classes]`.
        student_logits: `[..., num_classes]`.

    Returns:
        One float32 value per example, shape `[...]`.

    Raises:
        ValueError: if there is one logit, of which softmax makes 1.
    """
    check_num_classes(
        student_logits.shape[-1],
        at_least=2,
        remedy="losses.BinaryCrossEntropy",
    )
    student_logits = ops.cast(student_logits, "float32")
    if len(labels.shape) == len(student_logits.shape) and labels.shape[-1] != 1:
        return keras.losses.categorical_crossentropy(labels, student_logits, from_logits=True)
    if len(labels.shape) == len(student_logits.shape):
        labels = ops.squeeze(labels, axis=-1)
    return keras.losses.sparse_categorical_crossentropy(
        labels, student_logits, from_logits=True, ignore_class=-1
    )


def binary_cross_entropy(*, labels: Tensor, student_logits: Tensor) -> tf.Tensor:
    """Cross-entropy of each label by itself, a yes or a no.

        log(1 + exp(s_c)) - y_c * s_c

    Args:
        labels: from 0 to 1, `[..., num_labels]`, or `[...]` for one logit.
        student_logits: `[..., num_labels]`.

    Returns:
        One float32 value per label, shape `[..., num_labels]`.
    """
    student_logits = ops.cast(student_logits, "float32")
    labels = ops.cast(_with_last_axis(labels, student_logits), "float32")
    return keras.losses.binary_crossentropy(
        labels[..., None], student_logits[..., None], from_logits=True
    )


def _with_last_axis(labels, student_logits):
    one_logit = len(labels.shape) + 1 == len(student_logits.shape) and student_logits.shape[-1] == 1
    return ops.expand_dims(labels, -1) if one_logit else labels


def ignored_class(loss):
    """Return the `ignore_class` of a hard-label loss, or `None`; -1 is no label anyway."""
    return getattr(loss, "ignore_class", None)


@keras.saving.register_keras_serializable(package="keras_kd")
class CrossEntropy(keras.losses.Loss):
    """The hard-label loss of a classifier that returns logits; see `cross_entropy`.

    It takes integer, one-hot and soft labels alike; examples labelled -1 have no label and are
    left out of the mean. A `Distiller` uses it unless it is compiled with another loss.

    Args:
        name: name of the loss.
        **kwargs: `reduction` and `dtype`, as in Keras.
    """

    def __init__(self, *, name: str = "cross_entropy", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> tf.Tensor:
        return cross_entropy(labels=y_true, student_logits=y_pred)

    def __repr__(self):
        return call_of_configured(self)


@keras.saving.register_keras_serializable(package="keras_kd")
class BinaryCrossEntropy(keras.losses.Loss):
    """The hard-label loss of a model with independent labels; see `binary_cross_entropy`.

    Its mean is over the labels that are known: -1 stands for one that is not. A `Distiller` uses
    it beside `BinarySoftTargets` or a teacher that ends in sigmoid.

    Args:
        name: name of the loss.
        **kwargs: `reduction` and `dtype`, as in Keras.
    """

    def __init__(self, *, name: str = "binary_cross_entropy", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> tf.Tensor:
        mask = mask_of(y_pred)
        if mask is not None:  # Of places, where Keras would look for one of labels.
            y_true = ops.cast(_with_last_axis(y_true, y_pred), self.dtype)
            y_true = ops.where(mask[..., None], y_true, -1.0)
            y_pred = ops.copy(y_pred)
        if sample_weight is not None:  # Of examples or places: the same for each label.
            shape = ops.shape(sample_weight)
            missing = len(y_pred.shape) - len(shape)
            sample_weight = ops.reshape(sample_weight, (*shape, *[1] * missing))
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> tf.Tensor:
        values = binary_cross_entropy(labels=y_true, student_logits=y_pred)
        return with_mask(values, _with_last_axis(y_true, y_pred) >= 0)

    def __repr__(self):
        return call_of_configured(self)


def as_loss_on_logits(loss):
    """Return what a user gave as hard-label loss as a `keras.losses.Loss` on logits.

    Args:
        loss: `None` for `CrossEntropy`, a `keras.losses.Loss` or a class of some, a function
            `(labels, logits)`, or a name. Names, classes and Keras's own functions are taken with
            `from_logits=True` where they know it, since a student returns logits.

    Raises:
        ValueError: if it is a loss object on probabilities, or none of these.
    """
    if loss is None or (isinstance(loss, str) and loss in _CROSS_ENTROPY_NAMES):
        return CrossEntropy()
    if isinstance(loss, str) and loss in _BINARY_NAMES:
        return BinaryCrossEntropy()
    if isinstance(loss, str):
        found = keras.losses.get(loss)
        loss = type(found) if isinstance(found, keras.losses.Loss) else found
    if inspect.isclass(loss) and issubclass(loss, keras.losses.Loss):
        loss = loss(**_on_logits(loss))
    if isinstance(loss, keras.losses.Loss):
        if loss.get_config().get("from_logits") is False:
            raise ValueError(
                f"The hard-label loss must take logits. Received: {type(loss).__name__} on "
                "probabilities. Pass it with `from_logits=True`."
            )
        return loss
    if not callable(loss):
        raise ValueError(
            "`loss` must be a keras.losses.Loss, a function or a name. "
            f"Received: {type(loss).__name__}."
        )
    return FunctionLoss(loss)


def as_loss(loss):
    """Return a loss as Keras takes it, for an output that is no logits, as a `keras.losses.Loss`.

    Args:
        loss: a `keras.losses.Loss`, a function `(labels, outputs)`, or a name.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(loss, str) and in_small_letters(loss) in (
        "cross_entropy",
        "binary_cross_entropy",
    ):
        return as_loss_on_logits(loss)
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, keras.losses.Loss) else FunctionLoss(loss, on_logits=False)


def _on_logits(function):
    """Return the arguments that tell a function, or a class, to take logits, if it knows any."""
    knows_logits = "from_logits" in inspect.signature(function).parameters
    return {"from_logits": True} if knows_logits else {}


@keras.saving.register_keras_serializable(package="keras_kd")
class FunctionLoss(keras.losses.Loss):
    """A function `(labels, logits)` as a Keras loss, on logits if it can be told so.

    Args:
        function: returns one value per example.
        on_logits: whether to tell it so.
        name: name of the loss.
    """

    def __init__(self, function, *, on_logits=True, name="hard_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.function = function
        self.on_logits = on_logits

    def call(self, y_true, y_pred):
        options = _on_logits(self.function) if self.on_logits else {}
        return self.function(_with_last_axis(y_true, y_pred), y_pred, **options)

    def __repr__(self):
        # Not by the configuration: Keras asks for this in `fit`, and warns where it saves a lambda.
        return call_of(self, name=self.name, function=self.function)

    def get_config(self):
        function = keras.saving.serialize_keras_object(self.function)
        own = {} if self.on_logits else {"on_logits": False}
        return {**super().get_config(), "function": function, **own}

    @classmethod
    def from_config(cls, config):
        function = keras.saving.deserialize_keras_object(config["function"])
        return cls(**{**config, "function": function})
