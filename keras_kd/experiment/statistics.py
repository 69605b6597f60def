"""What paired differences over seeds allow to be said."""

import numpy as np

from keras_kd._common.backend import require_extra

BEATS, DOES_NOT_BEAT, INCONCLUSIVE = "BEATS", "DOES NOT BEAT", "INCONCLUSIVE"
NO_VERDICT = "NO VERDICT"
TOO_SHORT = "`--quick` is too short to judge"
# Two seeds have an interval of a dozen standard deviations; under three nothing can be told.
_FEWEST_SEEDS = 3
# Gains are differences of shares and likelihoods: what is less is rounding.
_NO_SPREAD = 1e-12
_OTHERS = {
    "student_alone": "the same student alone",
    "label_smoothing": "the same student on smoothed labels",
    "soft_targets": "the same student on plain soft targets",
    "teacher_labels": "the same student on the teacher's hard labels",
    "teacher": "its teacher",
}
# More than these nobody runs; that many would settle nothing of worth.
_MOST_SEEDS = 1000


def judged(gains, *, quick=False):
    """Return mean, spread, 95 % interval and verdict of gains, one a seed.

    The interval is Student's, of the mean of paired differences: it says what other *seeds* might
    show on the same test images. BEATS: it lies above 0. DOES NOT BEAT: it holds nothing above 0.
    INCONCLUSIVE: neither; `seeds_needed` then is the number of seeds at which gains of this mean
    and spread would settle it, `None` where that is more than a thousand or cannot be told.
    NO VERDICT: there is nothing to judge by, and `reason` says why: fewer than three seeds, no
    spread between them, or trainings cut short by `--quick`.

    Args:
        gains: numbers, one a seed; above 0 where the first model is better.
        quick: whether the models were trained for a first look alone.

    Returns:
        A dict: `values`, `mean`, `std`, `interval_95` (`None` without a verdict), `verdict`,
        `reason` (`None` with one), `seeds_needed`.

    Example:

    ```python
    from keras_kd.experiment.statistics import judged

    assert judged([0.010, 0.012, 0.011])["verdict"] == "BEATS"
    assert judged([0.010, -0.012, 0.011])["verdict"] == "INCONCLUSIVE"
    assert judged([0.010, 0.012])["verdict"] == "NO VERDICT"
    ```
    """
    gains = np.asarray(gains, float)
    found = {"values": gains.tolist(), **spread(gains), "reason": None, "seeds_needed": None}
    if reason := _nothing_to_judge_by(found, quick):
        return found | {"interval_95": None, "verdict": NO_VERDICT, "reason": reason}
    half = _half_width(found["std"], len(gains))
    low, high = found["mean"] - half, found["mean"] + half
    verdict = BEATS if low > 0 else DOES_NOT_BEAT if high <= 0 else INCONCLUSIVE
    if verdict == INCONCLUSIVE:
        found["seeds_needed"] = _seeds_needed(found["mean"], found["std"])
    return found | {"interval_95": [low, high], "verdict": verdict}


def on_one_seed(gain, interval_95, *, quick=False):
    """Return what one seed says, in the form of `judged`: its interval is over the test images.

    Args:
        gain: a share, as `interval_95`, see `metrics.paired_gain`.
        interval_95: `(low, high)`.
        quick: as in `judged`.
    """
    found = {"values": [gain], "mean": gain, "std": None, "seeds_needed": None}
    interval, reason = (None, TOO_SHORT) if quick else (list(interval_95), None)
    return found | {"interval_95": interval, "verdict": NO_VERDICT, "reason": reason}


def sentence_of(gain, other="student_alone"):
    """Return one plain sentence on the accuracy of the distilled student beside another model's.

    Args:
        gain: of `judged` or `on_one_seed`.
        other: the name of the other model.
    """
    name, points = _OTHERS.get(other, other), _signed(gain["mean"])
    if gain["interval_95"] is None:
        # Former versions judged one seed, and gave no reason.
        reason = gain.get("reason") or "fewer than three seeds cannot tell"
        return f"No verdict, since {reason}: {points} points of accuracy over {name}."
    low, high = gain["interval_95"]
    count = len(gain["values"])
    over = (
        f"{count} seeds" if count > 1 else "over test examples; one seed, and another may turn it"
    )
    if low > 0 or high <= 0 > low:
        less, more = sorted((abs(low), abs(high)))
        return (
            f"The distilled student is {100 * abs(gain['mean']):.2f} points "
            f"{'better' if low > 0 else 'worse'} than {name} ({100 * less:.2f} to "
            f"{100 * more:.2f}, {over})."
        )
    needed = gain["seeds_needed"]
    return (
        f"Whether the distilled student is better than {name} is open: {points} points "
        f"({_signed(low)} to {_signed(high)}, {over})"
        + (f"; about {needed} seeds would settle it." if needed else ".")
    )


def spread(values):
    """Return mean and standard deviation (`None` for one value) of numbers, as a dict."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std}


def check_scipy():
    """Refuse to start a comparison that could not be judged at its end.

    Raises:
        ImportError: if SciPy is missing.
    """
    require_extra("scipy", "report", "An interval over seeds")


def _signed(share):
    # Not -0.00.
    return f"{round(100 * share, 2) + 0.0:+.2f}"


def _nothing_to_judge_by(found, quick):
    if quick:
        return TOO_SHORT
    if len(found["values"]) < _FEWEST_SEEDS:
        return "fewer than three seeds cannot tell"
    if found["std"] < _NO_SPREAD:
        return "the seeds do not differ"
    return None


def _half_width(std, count):
    from scipy import stats

    return float(stats.t.ppf(0.975, count - 1)) * std / count**0.5


def _seeds_needed(mean, std):
    for count in range(3, _MOST_SEEDS + 1):
        if _half_width(std, count) < abs(mean):
            return count
    return None
