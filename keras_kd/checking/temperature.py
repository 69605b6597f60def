"""Which temperature the teacher's own logits ask for."""

import numpy as np

# Of the entropy of even probabilities: there the teacher's second thoughts are seen, and its
# first is still the first.
_WANTED_SHARE = 0.3
_LOWEST, _HIGHEST = 1.0, 20.0


def mean_entropy(logits, temperature=1.0):
    """Return the mean entropy of `softmax(logits / temperature)`, in nats.

    Args:
        logits: `[n, num_classes]`.
        temperature: above 0.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    log_probs = scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))
    return float(-(np.exp(log_probs) * log_probs).sum(axis=-1).mean())


def temperature_of(logits):
    """Return the temperature at which a teacher says most beside its first choice.

    The one at which the mean entropy of its softened probabilities is 0.3 of the entropy of
    guessing, from 1 to 20 and to one decimal. It is a rule of thumb to begin from, no optimum.

    Args:
        logits: the teacher's, `[n, num_classes]`, of images that the student will see.
    """
    wanted = _WANTED_SHARE * np.log(np.shape(logits)[-1])
    low, high = _LOWEST, _HIGHEST
    if mean_entropy(logits, low) >= wanted:
        return low
    if mean_entropy(logits, high) <= wanted:
        return high
    while high - low > 0.01:  # The entropy grows with the temperature.
        middle = (low + high) / 2
        low, high = (middle, high) if mean_entropy(logits, middle) < wanted else (low, middle)
    return round(high, 1)
