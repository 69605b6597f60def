"""Sample weights of every shape, whatever a loss returns one value for."""

import keras
from keras import ops

from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.hard import FunctionLoss
from keras_kd.losses.masks import mask_of

# Losses that are means over the last axis of what each of its elements loses by itself.
_BY_ELEMENT = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
)
_CLASSES_BY_ELEMENT = tuple(
    getattr(keras.losses, "".join(part.title() for part in name.split("_"))) for name in _BY_ELEMENT
)
_FUNCTIONS_BY_ELEMENT = tuple(getattr(keras.losses, name) for name in _BY_ELEMENT)


def weighed(loss, targets, outputs, sample_weight):
    """Return a loss as a scalar, under weights of an example, of its places or of its labels.

        mean(weight * value)

    Weights of an example weigh each of its places. Weights of more axes than the loss has values
    (of places, for a loss that has one value an example) weigh by their mean, so that weights of
    one change nothing; weights of `outputs`' own shape weigh label by label, where the loss is a
    mean over labels (binary cross-entropy, squared error and the like).

    Args:
        loss: a `keras.losses.Loss`.
        targets: what it compares with: labels, or the teacher's outputs.
        outputs: the student's, `[batch, ..., num_classes]`.
        sample_weight: `[batch]`, `[batch, 1]`, `[batch, ...]`, `[batch, ..., 1]`,
            `[batch, ..., num_classes]`, or `None`.
    """
    rank = None if sample_weight is None else len(sample_weight.shape)
    if rank is None or (rank == 1 and len(outputs.shape) <= 2):
        return loss(targets, outputs, sample_weight)
    # A graph computes this once: nothing but its rank is used here.
    values_rank = len(loss.call(_as_given(loss, targets), _as_given(loss, outputs)).shape)
    if rank > values_rank and _is_by_label(loss, outputs, sample_weight):
        sample_weight = _with_padding(sample_weight, outputs)
        targets, outputs = (ops.expand_dims(each, -1) for each in (targets, outputs))
    elif rank > values_rank:
        sample_weight = ops.mean(
            ops.cast(sample_weight, loss.dtype), axis=tuple(range(values_rank, rank))
        )
    for _ in range(rank, values_rank):
        sample_weight = ops.expand_dims(sample_weight, -1)
    return loss(targets, outputs, sample_weight)


def check_weights(sample_weight, logits):
    """Refuse sample weights that are no example's, place's or label's.

    Args:
        sample_weight: as in `weighed`.
        logits: the student's, `[batch, ..., num_classes]`.

    Raises:
        ValueError: if an axis of theirs is neither 1 nor that of the logits.
    """
    own, whole = tuple(sample_weight.shape), tuple(logits.shape)
    pairs = zip(own[1:], whole[1:], strict=False)
    if len(own) > len(whole) or any(a not in (1, None, b) and b is not None for a, b in pairs):
        raise ValueError(
            "Sample weights must be one an example, [n], or one a place or a label, in axes of the "
            f"student's logits, {whole}. Received: shape {own}."
        )


def _as_given(loss, tensors):
    """Return tensors as Keras gives them to a loss's `call`."""
    return keras.tree.map_structure(
        lambda each: ops.convert_to_tensor(each, dtype=loss.dtype), tensors
    )


def _with_padding(sample_weight, outputs):
    """Return the weights with those of masked places 0, as Keras does it for values."""
    mask = mask_of(outputs)
    if mask is None:
        return sample_weight
    known = ops.cast(mask, "float32")
    return sample_weight * ops.divide_no_nan(known, ops.mean(known))[..., None]


def _is_by_label(loss, outputs, sample_weight):
    by_label = (
        (isinstance(loss, DistillationLoss) and loss.by_label)
        or type(loss) in _CLASSES_BY_ELEMENT
        or (isinstance(loss, FunctionLoss) and loss.function in _FUNCTIONS_BY_ELEMENT)
    )
    same_rank = len(sample_weight.shape) == len(outputs.shape)
    return by_label and same_rank and sample_weight.shape[-1] == outputs.shape[-1] > 1
