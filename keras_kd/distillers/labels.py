"""Whether labels that lie in memory are such as the losses can learn: asked once, before training.

Without XLA, TensorFlow stops at the step that meets a bad label, when the steps before it are
trained; with XLA it trains to NaN in silence. Neither tells which image it is.
"""

import keras
import numpy as np

from keras_kd.losses import BinaryCrossEntropy, CrossEntropy
from keras_kd.losses.hard import FunctionLoss

_AT_ONCE = 2**22
_ONE_HOT = {
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.categorical_crossentropy,
    keras.losses.categorical_focal_crossentropy,
}
_BINARY = {
    BinaryCrossEntropy,
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.binary_crossentropy,
    keras.losses.binary_focal_crossentropy,
}


def check_labels(
    labels, *, logits_shape, hard_loss, as_classes=False, ignored=None, name="training data"
):
    """Refuse labels that a loss cannot learn, naming the first and its image.

    A loss of the user's own is asked nothing: what its labels mean, it knows alone.

    Args:
        labels: an array `[n, ...]`.
        logits_shape: of one image, `[..., num_classes]`.
        hard_loss: the hard-label loss, or `None` if it is not computed.
        as_classes: whether anything else takes labels for classes (a loss that uses labels, a
            discriminator).
        ignored: the `ignore_class` of the compiled loss, computed or not, which is no label for
            anything else either.
        name: what the labels are of, for the sentence.

    Raises:
        ValueError: if a label is no number, not finite or out of range, or they have the wrong
            shape.
    """
    kind = hard_loss.function if isinstance(hard_loss, FunctionLoss) else type(hard_loss)
    if hard_loss is None or not kind.__module__.startswith(("keras.", "keras_kd.")):
        if not as_classes:
            return
        kind = None
    if labels.dtype.kind not in "biufV":  # V: bfloat16.
        raise ValueError(f"Labels must be numbers. Received: {labels.dtype} in the {name}.")
    if labels.dtype.kind == "f":
        _refuse_first(labels, lambda some: ~np.isfinite(some), name, "Labels must be finite", "")
    if kind in _BINARY:
        _check_binary(labels, kind is BinaryCrossEntropy, name)
    *places, num_classes = logits_shape
    by_class = _is_of(labels, places) or _is_of(labels, [*places, 1])
    soft = num_classes > 1 and _is_of(labels, [*places, num_classes])
    if kind in _ONE_HOT and not soft:
        raise _wrong_shape(labels, name, [[*places, num_classes]])
    ignored = {ignored} - {None}
    if kind is CrossEntropy or as_classes:
        if not (by_class or soft) and kind in (CrossEntropy, None):
            raise _wrong_shape(labels, name, [places, [*places, 1], [*places, num_classes]])
        ignored |= {-1} if kind in (CrossEntropy, None) else set()
    sparse = (
        keras.losses.SparseCategoricalCrossentropy,
        keras.losses.sparse_categorical_crossentropy,
    )
    if kind in sparse and not by_class:
        raise _wrong_shape(labels, name, [places, [*places, 1]])
    if by_class and num_classes > 1 and (as_classes or kind in (CrossEntropy, *sparse)):
        _check_classes(labels, num_classes, ignored, name)


def _is_of(labels, shape):
    """Return whether each label has this shape, `None` where free."""
    return len(labels.shape) == 1 + len(shape) and all(
        own == size or size is None for own, size in zip(labels.shape[1:], shape, strict=True)
    )


def _check_classes(labels, num_classes, ignored, name):
    known = "".join(f", or {each} where there is none" for each in sorted(ignored))
    remedy = (
        " Correct it; a place without a label has -1, or another number if you compile with "
        "`keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=...)`."
    )

    def is_bad(some):
        some = np.trunc(some) if some.dtype.kind == "f" else some
        bad = (some < 0) | (some >= num_classes)
        for each in ignored:
            bad &= some != each
        return bad

    _refuse_first(
        labels, is_bad, name, f"Labels must be from 0 to {num_classes - 1}{known}", remedy
    )


def _check_binary(labels, may_be_missing, name):
    """Refuse labels that are no yes or no: cross-entropy has no lower bound for them."""
    known, remedy = ", or -1 where there is none", ""
    if not may_be_missing:
        known, remedy = "", " For labels of -1, which count for nothing, compile with "
        remedy += "`keras_kd.losses.BinaryCrossEntropy()`."
    _refuse_first(
        labels,
        lambda some: ((some < 0) | (some > 1)) & ~((some == -1) & may_be_missing),
        name,
        f"Labels must be from 0 to 1{known}",
        remedy,
    )


def _refuse_first(labels, is_bad, name, demand, remedy):
    """Raise for the first label that `is_bad`, a part of the array at a time."""
    rows = max(1, _AT_ONCE // max(1, int(np.prod(labels.shape[1:]))))
    for start in range(0, len(labels), rows):
        some = labels[start : start + rows]
        bad = is_bad(some)
        if bad.any():
            first = np.unravel_index(bad.argmax(), bad.shape)
            raise ValueError(
                f"{demand}. Received: label {some[first]:g} for image {start + first[0]} of the "
                f"{name}; nothing was trained.{remedy}"
            )


def _wrong_shape(labels, name, shapes):
    wanted = " or ".join(
        f"[{', '.join(['n', *('any' if size is None else str(size) for size in shape)])}]"
        for shape in shapes
    )
    return ValueError(
        f"Labels for these logits must have the shape {wanted}. "
        f"Received: {list(labels.shape)} in the {name}."
    )
