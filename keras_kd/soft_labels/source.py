"""What soft labels are made of: data, who is asked about it, and what is kept of the answers."""

import hashlib

import keras
import numpy as np

from keras_kd._common.checks import check_integer
from keras_kd._common.structures import by_name
from keras_kd.data.encoded import EncodedImages
from keras_kd.data.splits import Split
from keras_kd.soft_labels.record import ALONE, Stored
from keras_kd.teachers.ensemble import as_teacher

_HEADS = ("logits", "softmax", "sigmoid", "values")
# One class of many is chosen: the largest logits say most of it.
_OF_CLASSES = ("logits", "softmax")
# How many images an augmentation is tried on, to know it again by what it does.
_NUM_PROBED = 64
# How many examples a model is tried on.
_EXAMPLES = 8


def as_split(data):
    """Return a `Split` of what `SoftLabels` takes as data.

    Args:
        data: a `Split`; `(x, y)`, each an array or a structure of arrays as in
            `keras.Model.fit`; or `x` alone.

    Raises:
        ValueError: if the arrays do not have one entry an example each.
    """
    if isinstance(data, Split):
        return data
    if isinstance(data, tuple) and len(data) > 2:
        raise ValueError(
            f"`data` must be a `Split`, `(x, y)` or `x`. Received: a tuple of {len(data)}. Weights "
            "of examples are no part of it; several inputs stand in a list or a dict."
        )
    x, *y = data if isinstance(data, tuple) else (data,)
    split = Split(_arrays(x), _arrays(y[0]) if y else None)
    counts = {
        each.shape[0]
        for each in keras.tree.flatten((split.images, split.labels))
        if each is not None
    }
    if len(counts) > 1:
        raise ValueError(
            "The arrays of `data` must have one entry an example each. Received: arrays of "
            f"{', '.join(map(str, sorted(counts)))} entries."
        )
    return split


def _arrays(part):
    """Return a structure of arrays; lists of numbers are one array."""
    leaves = keras.tree.flatten(part)
    if not leaves or any(np.ndim(each) == 0 for each in leaves):
        return None if part is None else np.asarray(part)
    return keras.tree.map_structure(
        lambda each: each if isinstance(each, (EncodedImages, np.memmap)) else np.asarray(each),
        part,
    )


def asked_about(teacher, split):
    """Return a `Teacher` or `Ensemble` that can be asked about a split."""
    examples = None
    if len(split):
        examples = keras.tree.map_structure(lambda each: np.asarray(each[:_EXAMPLES]), split.images)
    image_shape = None if keras.tree.is_nested(split.images) else split.images.shape[1:]
    return as_teacher(teacher, image_shape=image_shape, examples=examples)


def kept_of(answers, heads, *, dtype, top_k):
    """Return what is to be kept of a teacher's answers: a `Stored`, or a dict of some by output.

    Args:
        answers: `[n, ..., num_classes]`, or a dict of such by output.
        heads: `{output: head}`.
        dtype: as in `SoftLabels.create`.
        top_k: likewise.

    Raises:
        ValueError: if an argument is out of range or an output is unknown.
    """
    dtypes, counts = (
        by_name(value, tuple(heads), what=f"`{name}`")
        if isinstance(value, dict)
        else dict.fromkeys(heads, value)
        for name, value in {"dtype": dtype, "top_k": top_k}.items()
    )
    by_output = answers if isinstance(answers, dict) else {next(iter(heads)): answers}
    kept = {
        name: _kept(name, each.shape[1:], heads[name], dtypes.get(name), counts.get(name))
        for name, each in by_output.items()
    }
    return kept if isinstance(answers, dict) else next(iter(kept.values()))


def _kept(name, shape, head, dtype, top_k):
    if not shape:
        raise ValueError(
            "Soft labels are numbers [n, ..., classes]. Received: one number an example for "
            f"{name}. Give it an axis of one, such as with `logits[:, np.newaxis]`."
        )
    *places, num_classes = map(int, shape)
    if dtype is None:
        # Values are on any scale: float16 ends at 65,504 and has three digits.
        dtype = "float32" if head == "values" else "float16"
    if dtype not in ("float16", "float32"):
        raise ValueError(f"`dtype` must be float16 or float32. Received: dtype={dtype!r}.")
    if top_k is not None:
        check_integer("top_k", top_k, minimum=1)
        if head not in _OF_CLASSES:
            what = "independent labels" if head == "sigmoid" else "values"
            of = "" if name == ALONE else f" of {name}"
            raise ValueError(
                f"`top_k` is for outputs that are one class of many. Received: top_k={top_k} for "
                f"the {what}{of}. Keep all of them; with several outputs, name those it is for: "
                "`top_k={output: number}`."
            )
        top_k = min(top_k, num_classes)
    return Stored(head, num_classes, places, dtype, top_k)


def heads_of(logits, head):
    """Return the head of each output, by name, of logits that were computed elsewhere.

    Args:
        logits: what `as_logits` returned.
        head: as in `SoftLabels.from_logits`.
    """
    names = tuple(logits) if isinstance(logits, dict) else (ALONE,)
    heads = by_name(head, names, what="`head`") if isinstance(head, dict) else {}
    heads = dict.fromkeys(names, "logits" if isinstance(head, dict) else head) | heads
    for each in heads.values():
        if each not in _HEADS:
            raise ValueError(f"`head` must be one of {', '.join(_HEADS)}. Received: head={each!r}.")
    return heads


def as_logits(logits, num_examples):
    """Return logits that were computed elsewhere as an array, or a dict of some by output.

    Args:
        logits: as in `SoftLabels.from_logits`.
        num_examples: of the data.

    Raises:
        ValueError: if they do not fit the data.
    """
    if isinstance(logits, dict):
        return {
            name: _as_logits(each, num_examples, f" of {name}") for name, each in logits.items()
        }
    return _as_logits(logits, num_examples, "")


def _as_logits(logits, num_examples, of):
    logits = logits if isinstance(logits, np.ndarray) else np.asarray(logits)
    shape = logits.shape
    if len(shape) < 2 or shape[0] != num_examples or np.dtype(logits.dtype).kind not in "fiu":
        raise ValueError(
            f"`logits`{of} must be numbers [{num_examples}, ..., num_classes], a row an image. "
            f"Received: {logits.dtype} of shape {shape}."
        )
    return logits


def what_it_does(augmentation, split):
    """Return a digest of an augmentation's views of a few images: a function has no other name."""
    if augmentation is None:
        return None
    images = keras.tree.map_structure(
        lambda each: np.ascontiguousarray(each[:_NUM_PROBED]), split.images
    )
    count = min(_NUM_PROBED, len(split))
    seeds = np.random.default_rng(0).integers(0, 2**31 - 1, (count, 2)).astype(np.int32)
    views = keras.tree.flatten(augmentation(images, seeds))
    digest = hashlib.sha256()
    for view, image in zip(views, keras.tree.flatten(images), strict=True):
        view = np.asarray(view)
        if view.shape != image.shape:
            raise ValueError(
                "An augmentation must keep the shape of the images. "
                f"Received: {view.shape} for {image.shape}."
            )
        digest.update(f"{view.dtype}".encode() + view.tobytes())
    return digest.hexdigest()
