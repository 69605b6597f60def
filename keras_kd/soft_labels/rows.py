"""What a row of soft labels holds, and how logits go in and come out."""

import numpy as np


def row_dtype(made_of):
    """Return the NumPy type of a row, from what `store.json` says."""
    num_kept = made_of["top_k"] or made_of["num_classes"]
    fields = [("index", "<u4"), ("seed", "<i4", (2,)), ("logits", made_of["dtype"], (num_kept,))]
    if made_of["top_k"]:
        # The logarithm of the mass of the others, on the scale of the logits.
        fields += [("classes", "<u4", (num_kept,)), ("rest", "<f4")]
    return np.dtype(fields)


def keep_logits(rows, logits, top_k):
    """Write logits `[n, num_classes]` into rows: all, or the largest and the mass of the rest."""
    if not top_k:
        rows["logits"] = logits
        return
    order = np.argsort(-logits, axis=-1)
    rows["classes"] = order[:, :top_k]
    rows["logits"] = np.take_along_axis(logits, order[:, :top_k], -1)
    others = np.take_along_axis(logits, order[:, top_k:], -1).astype(np.float64)
    if others.shape[-1]:
        highest = others.max(-1, keepdims=True)
        rows["rest"] = highest[:, 0] + np.log(np.exp(others - highest).sum(-1))


def dense_logits(rows, num_classes):
    """Return float32 logits `[n, num_classes]` of rows."""
    kept = rows["logits"].astype(np.float32)
    if "classes" not in rows.dtype.names:
        return kept
    num_others = num_classes - kept.shape[-1]
    # As if the others shared their mass evenly.
    others = rows["rest"] - np.log(max(num_others, 1))
    logits = np.repeat(others[:, np.newaxis], num_classes, axis=1).astype(np.float32)
    np.put_along_axis(logits, rows["classes"].astype(np.int64), kept, axis=-1)
    return logits
