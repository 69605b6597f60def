"""What a row of soft labels holds, and how what a teacher said goes in and comes out."""

import numpy as np

from keras_kd.soft_labels.others import FIELDS, NUM_BYTES, Others
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
    places = tuple(output.places)
    return [
        ("logits", output.dtype, (*places, output.top_k)),
        ("classes", "<u2" if output.num_classes <= 2**16 else "<u4", (*places, output.top_k)),
        # Of the other classes, see `Others.fields_of`.
        ("codes", "u1", (*places, NUM_BYTES)),
        ("stretch", "<f2", places),
        ("level", "<f4", places),
    ]


def parts_of(rows, outputs):
    """Return the fields of each output, in their order.

    Args:
        rows: an array of `row_dtype(outputs)`.
        outputs: as there.
    """
    if isinstance(outputs, Stored):
        return [rows]
    return [rows[str(number)] for number in range(len(outputs))]


def read_others(folder, files):
    """Return the `Others` of outputs by number, of the files that a record names."""
    return {name: Others(np.load(folder / each["file"])) for name, each in files.items()}


def keep_logits(part, logits, output, others=None):
    """Write what a teacher said of an output into the rows' part of it.

    Args:
        part: see `parts_of`.
        logits: `[n, ..., num_classes]`.
        output: the `Stored`.
        others: the `Others` of an output with `top_k`.
    """
    if output.top_k is None:
        part["logits"] = logits
        return
    logits = logits.reshape(-1, output.num_classes)
    classes = np.argpartition(-logits, output.top_k - 1, axis=-1)[:, : output.top_k]
    fields = {"classes": classes, "logits": np.take_along_axis(logits, classes, -1)}
    for name, values in (fields | others.fields_of(logits, classes)).items():
        part[name] = values.reshape(part[name].shape)


def dense_logits(part, output, others=None):
    """Return float32 logits `[n, ..., num_classes]` of rows; see `keep_logits`."""
    kept = part["logits"].astype(np.float32)
    if output.top_k is None:
        return kept
    kept = kept.reshape(-1, output.top_k)
    if others is None:  # Of the former version: they share their mass evenly.
        level = part["rest"] - np.log(max(output.num_classes - output.top_k, 1))
        logits = np.repeat(level[:, np.newaxis], output.num_classes, axis=1).astype(np.float32)
    else:
        logits = others.logits({name: _in_a_row(part, name, output) for name in FIELDS})
    classes = part["classes"].reshape(kept.shape).astype(np.int64)
    np.put_along_axis(logits, classes, kept, axis=-1)
    return logits.reshape(len(part), *output.shape)


def _in_a_row(part, name, output):
    """Return a field of places one after the other."""
    values = part[name]
    return values.reshape(-1, *values.shape[1 + len(output.places) :])


def at_kept(part, logits):
    """Return logits `[n, ..., num_classes]` of those classes whose logits are kept."""
    if "classes" not in part.dtype.names:
        return logits
    return np.take_along_axis(logits, part["classes"].astype(np.int64), -1)
