"""What a classifier is worth, from its logits: accuracy, likelihood, calibration, agreement.

One class an example: labels `[n]`, logits `[n, num_classes]`. Or one at every place or time of an
example: labels `[n, ...]`, logits `[n, ..., num_classes]`; all places count alike.
"""

import numpy as np
from numpy.typing import ArrayLike

from keras_kd._common.surface import only

__all__ = [
    "accuracy",
    "agreement",
    "expected_calibration_error",
    "negative_log_likelihood",
    "paired_gain",
    "per_class_accuracy",
    "softmax",
]

__dir__ = only(__all__)


def accuracy(labels: ArrayLike, logits: ArrayLike) -> float:
    """Return the share of examples whose largest logit is that of their label.

    Args:
        labels: integers `[n]`, or `[n, ...]`.
        logits: `[n, num_classes]`, or `[n, ..., num_classes]`.
    """
    return float(np.mean(_right(labels, logits)))


def negative_log_likelihood(labels: ArrayLike, logits: ArrayLike) -> float:
    """Return the mean of `-log softmax(logits)[label]`, in nats.

    It punishes confident errors, which accuracy does not see.

    Args:
        labels: integers `[n]`, or `[n, ...]`.
        logits: `[n, num_classes]`, or `[n, ..., num_classes]`.
    """
    labels, logits = _checked(labels, logits)
    return float(-np.mean(_log_softmax(logits)[np.arange(len(labels)), labels]))


def expected_calibration_error(
    labels: ArrayLike, logits: ArrayLike, *, num_bins: int = 15
) -> float:
    """Return how far confidence and accuracy lie apart, from 0 (calibrated) to 1.

    Examples are put into `num_bins` bins of equal width by their largest probability; the error
    is the mean of |accuracy - confidence| over the bins, weighted by their examples.

    Args:
        labels: integers `[n]`, or `[n, ...]`.
        logits: `[n, num_classes]`, or `[n, ..., num_classes]`.
        num_bins: number of bins, at least 1.

    References:
        C. Guo, G. Pleiss, Y. Sun, K. Weinberger, On Calibration of Modern Neural Networks, 2017,
        equation 3.
    """
    correct = _right(labels, logits)
    confidences = softmax(_in_rows(logits)).max(axis=-1)
    # Bins are closed on the right, as in the paper; 0 falls into the first.
    bins = np.clip(np.ceil(confidences * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, correct - confidences, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(correct))


def per_class_accuracy(labels: ArrayLike, logits: ArrayLike) -> list[float]:
    """Return the share of each class's examples that are predicted right, NaN for none.

    Args:
        labels: integers `[n]`, or `[n, ...]`.
        logits: `[n, num_classes]`, or `[n, ..., num_classes]`.

    Returns:
        A list of `num_classes` floats.
    """
    right, labels = _right(labels, logits), np.ravel(labels)
    classes = range(np.shape(logits)[-1])
    return [float(right[labels == c].mean()) if np.any(labels == c) else np.nan for c in classes]


def agreement(logits: ArrayLike, other_logits: ArrayLike) -> float:
    """Return the share of examples on which two models predict the same class.

    Args:
        logits: `[n, num_classes]`, or `[n, ..., num_classes]`.
        other_logits: the same of the other.
    """
    one, other = (np.argmax(_in_rows(each), axis=-1) for each in (logits, other_logits))
    if len(one) != len(other):
        raise ValueError(
            "Two models agree about the same examples. "
            f"Received: logits of {len(one)} and of {len(other)}."
        )
    return float(np.mean(one == other))


def paired_gain(
    labels: ArrayLike, logits: ArrayLike, other_logits: ArrayLike
) -> tuple[float, float, float]:
    """Return the gain in accuracy of one model over another, with its 95 % interval.

    The interval is that of the mean of paired differences over the examples (normal
    approximation); of an example with many places their mean counts, as they are not independent.
    It says what another test set of this size might show of *these two* models;
    it knows nothing of what another training seed would give.

    Args:
        labels: integers `[n]`, or `[n, ...]`.
        logits: `[n, num_classes]`, or `[n, ..., num_classes]`, of the model that may be better.
        other_logits: the same, of the one it is compared with.

    Returns:
        `(gain, low, high)`, shares of 1.
    """
    one, other = _right(labels, logits), _right(labels, other_logits)
    differences = one.astype(float) - other.astype(float)
    differences = differences.reshape(len(logits), -1).mean(axis=-1)
    gain = differences.mean()
    half = 1.96 * differences.std(ddof=1) / np.sqrt(len(differences))
    return float(gain), float(gain - half), float(gain + half)


def _right(labels, logits):
    """Return for each place whether its largest logit is that of its label, in a row."""
    labels, logits = _checked(labels, logits)
    return np.argmax(logits, axis=-1) == labels


def _checked(labels, logits):
    """Return labels `[n]` and logits `[n, num_classes]` as arrays, of places in a row."""
    shape, labels, logits = np.shape(logits), np.asarray(labels), _in_rows(logits)
    # Labels [n, 1] would be compared with every example's class.
    if labels.shape != shape[:-1]:
        raise ValueError(
            f"Labels must be integers [n, ...], one for each row of the logits. Received: shape "
            f"{labels.shape} beside logits of {shape}."
        )
    return labels.ravel(), logits


def _in_rows(logits):
    logits = np.asarray(logits)
    if logits.ndim < 2:
        raise ValueError(
            f"Logits must be [n, ..., num_classes]. Received: shape {logits.shape}. Of one example "
            "write `logits[np.newaxis]`."
        )
    return logits.reshape(-1, logits.shape[-1])


def softmax(logits: ArrayLike) -> np.ndarray:
    """Return probabilities of logits, float64 of the same shape.

    Args:
        logits: `[..., num_classes]`.
    """
    return np.exp(_log_softmax(logits))


def _log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
