"""Whether labels that lie in memory are such as the losses can learn: asked once, before training.

Without XLA, TensorFlow stops at the step that meets a bad label, when the steps before it are
trained; with XLA it trains to NaN in silence. Neither tells which image it is.
"""

import keras
import numpy as np

from keras_kd.losses import BinaryCrossEntropy, CrossEntropy
from keras_kd.losses.hard import FunctionLoss, ignored_class

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
_SPARSE = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.sparse_categorical_crossentropy,
)


def check_labels(
    labels, *, shapes, hard_losses, learned, as_classes=(), values=(), name="training data"
):
    """Refuse labels that a loss cannot learn, naming the first, its image and, of several, output.

    A loss of the user's own is asked nothing: what its labels mean, it knows alone.

    Args:
        labels: `{output: an array [n, ...]}`.
        shapes: `{output: shape of one example's logits, [..., num_classes], or values}`.
        hard_losses: `{output: hard-label loss, or None}`.
        learned: names of the outputs whose hard-label loss is computed.
        as_classes: names of the outputs whose labels anything else takes for classes (a loss that
            uses labels, a discriminator).
        values: names of the outputs that are values, not logits.
        name: what the labels are of, for the sentence.

    Raises:
        ValueError: if a label is no number, not finite or out of range, or they have the wrong
            shape.
    """
    for output, own in labels.items():
        if own is None or not (output in learned or output in as_classes):
            continue
        _check_output(
            own,
            tuple(shapes[output]),
            # Computed or not, what it ignores is no label for anything else either.
            ignored={ignored_class(hard_losses.get(output))} - {None},
            hard_loss=hard_losses.get(output) if output in learned else None,
            as_classes=output in as_classes,
            is_values=output in values,
            name=name if len(shapes) == 1 else f"{name}, output {output}",
        )


def _check_output(labels, shape, *, ignored, hard_loss, as_classes, is_values, name):
    kind = hard_loss.function if isinstance(hard_loss, FunctionLoss) else type(hard_loss)
    if hard_loss is None or not kind.__module__.startswith(("keras.", "keras_kd.")):
        if not as_classes:
            return
        kind = None
    if labels.dtype.kind not in "biufV":  # V: bfloat16.
        raise ValueError(f"Labels must be numbers. Received: {labels.dtype} in the {name}.")
    if labels.dtype.kind == "f":
        _refuse_first(labels, lambda some: ~np.isfinite(some), name, "Labels must be finite", "")
    *places, num_classes = shape
    if is_values:
        _check_values(labels, shape, name)
        return
    if kind in _BINARY:
        _check_binary(labels, kind is BinaryCrossEntropy, name)
    by_class = _is_of(labels, places) or _is_of(labels, [*places, 1])
    soft = num_classes > 1 and _is_of(labels, [*places, num_classes])
    if kind in _ONE_HOT and not soft:
        raise _wrong_shape(labels, name, [[*places, num_classes]])
    if kind is CrossEntropy or as_classes:
        if not (by_class or soft) and kind in (CrossEntropy, None):
            raise _wrong_shape(labels, name, [places, [*places, 1], [*places, num_classes]])
        ignored = ignored | ({-1} if kind in (CrossEntropy, None) else set())
    if kind in _SPARSE and not by_class:
        raise _wrong_shape(labels, name, [places, [*places, 1]])
    if by_class and num_classes > 1 and (as_classes or kind in (CrossEntropy, *_SPARSE)):
        _check_classes(labels, num_classes, ignored, name)


def _check_values(labels, shape, name):
    """Refuse labels that are no values of this shape; Keras takes an axis of 1 as there or not."""
    shapes = [[*shape], *([[*shape[:-1]]] if shape[-1:] == (1,) else [])]
    if not any(_is_of(labels, each) for each in shapes):
        raise _wrong_shape(labels, name, shapes, "values")


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


def _wrong_shape(labels, name, shapes, what="logits"):
    wanted = " or ".join(
        f"[{', '.join(['n', *('any' if size is None else str(size) for size in shape)])}]"
        for shape in shapes
    )
    return ValueError(
        f"Labels for these {what} must have the shape {wanted}. "
        f"Received: {list(labels.shape)} in the {name}."
    )
