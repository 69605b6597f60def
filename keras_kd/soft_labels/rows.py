"""What a row of soft labels holds, and how what a teacher said goes in and comes out."""

import numpy as np

from keras_kd.soft_labels.record import Stored


def row_dtype(outputs):
    """Return the NumPy type of a row.

    Args:
        outputs: as `record.described` takes them.
    """
    fields = [("index", "<u4"), ("seed", "<i4", (2,))]
    if isinstance(outputs, Stored):
        return np.dtype(fields + _fields(outputs))
    numbered = enumerate(outputs.values())
    return np.dtype(fields + [(str(number), _fields(output)) for number, output in numbered])


def _fields(output):
    if output.top_k is None:
        return [("logits", output.dtype, output.shape)]
    kept = (*output.places, output.top_k)
    # The logarithm of the mass of the others, on the scale of the logits.
    return [("logits", output.dtype, kept), ("classes", "<u4", kept), ("rest", "<f4", kept[:-1])]


def parts_of(rows, outputs):
    """Return the fields of each output, in their order.

    Args:
        rows: an array of `row_dtype(outputs)`.
        outputs: as there.
    """
    if isinstance(outputs, Stored):
        return [rows]
    return [rows[str(number)] for number in range(len(outputs))]


def keep_logits(part, logits, output):
    """Write what a teacher said of an output into the rows' part of it.

    Args:
        part: see `parts_of`.
        logits: `[n, ..., num_classes]`.
        output: the `Stored`.
    """
    if output.top_k is None:
        part["logits"] = logits
        return
    order = np.argsort(-logits, axis=-1)
    part["classes"] = order[..., : output.top_k]
    part["logits"] = np.take_along_axis(logits, order[..., : output.top_k], -1)
    others = np.take_along_axis(logits, order[..., output.top_k :], -1).astype(np.float64)
    if others.shape[-1]:
        highest = others.max(-1, keepdims=True)
        part["rest"] = highest[..., 0] + np.log(np.exp(others - highest).sum(-1))


def dense_logits(part, output):
    """Return float32 logits `[n, ..., num_classes]` of rows; see `keep_logits`."""
    kept = part["logits"].astype(np.float32)
    if output.top_k is None:
        return kept
    # As if the others shared their mass evenly.
    level = part["rest"] - np.log(max(output.num_classes - output.top_k, 1))
    logits = np.repeat(level[..., np.newaxis], output.num_classes, axis=-1).astype(np.float32)
    np.put_along_axis(logits, part["classes"].astype(np.int64), kept, axis=-1)
    return logits


def at_kept(part, logits):
    """Return logits `[n, ..., num_classes]` of those classes whose logits are kept."""
    if "classes" not in part.dtype.names:
        return logits
    return np.take_along_axis(logits, part["classes"].astype(np.int64), -1)
