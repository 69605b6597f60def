"""What may be wrong with a teacher, from what it answers to labelled examples."""

import numpy as np

from keras_kd import metrics
from keras_kd.checking.findings import Finding, examples_of, percent
from keras_kd.checking.temperature import mean_entropy
from keras_kd.teachers.fitting import at_every_scale

_SCALE_SAMPLE = 128
# More than three standard deviations of the difference of two shares of 128.
_CLEARLY = 0.2
_NOT_WORSE = 0.05
# Nats, and a share: no mere shrinking of a fitted teacher's logits gains so much.
_UNLIKELY, _CLEARLY_LIKELIER = 0.1, 0.5
_OVERFITTED = 0.2
# Of the entropy of even probabilities, at T = 8: there even a sure teacher should tell something.
_LEAST_ENTROPY = 0.01


def teacher_findings(teacher, data, samples, logits):
    """Return the findings on a teacher, and what it is worth at each scale.

    Args:
        teacher: of `opened_teacher`.
        data: a `Data`.
        samples: `{"train": Split, "validation": Split}`, of `sample_of`.
        logits: the teacher's, of the same names.
    """
    findings, examples = list(_steadiness(teacher, samples["train"])), examples_of(data)
    accuracies = {
        name: metrics.accuracy(sample.labels, logits[name]) for name, sample in samples.items()
    }
    scale, teachers = at_every_scale(teacher, data)
    scales = _figures_at_scales(teachers, samples["validation"])
    # The order of classes comes first: on some other scale a turned one can be right by chance.
    explained = _order(data, samples, logits) or _scale(scales, scale)
    if explained:
        findings.append(explained)
    elif accuracies["validation"] < _least_accuracy(data, len(samples["validation"])):
        findings.append(
            Finding(
                "teacher_accuracy",
                f"{percent(accuracies['validation'])} on validation {examples}, "
                f"{percent(accuracies['train'])} on training {examples}, where guessing gives "
                f"{percent(_guessing(data))}",
                "teacher",
                "Train it on these classes first, or look for another normalisation.",
                wasted=True,
            )
        )
    else:
        findings += _overfitting(accuracies, examples)
    return [*findings, *_sureness(logits["train"])], scales


def _guessing(data):
    counts = np.bincount(data.validation.labels, minlength=data.num_classes)
    return counts.max() / counts.sum()


def _least_accuracy(data, size):
    """Return what guessing reaches at most, three standard deviations of its share above it."""
    chance = _guessing(data)
    return min(chance + 3 * np.sqrt(chance * (1 - chance) / size), 0.999)


def _figures_at_scales(teachers, sample):
    """Return `{scale: {"accuracy": ..., "negative_log_likelihood": ..., "entropy_share": ...}}`."""
    chosen = np.linspace(0, len(sample) - 1, min(len(sample), _SCALE_SAMPLE)).astype(int)
    some = sample.take(chosen)
    logits = {scale: np.asarray(teacher(some.images)) for scale, teacher in teachers.items()}
    return {
        scale: {
            "accuracy": metrics.accuracy(some.labels, each),
            "negative_log_likelihood": metrics.negative_log_likelihood(some.labels, each),
            "entropy_share": _entropy_share(each),
        }
        for scale, each in logits.items()
    }


def _scale(figures, scale):
    """Return a finding if the teacher is clearly better on another scale.

    It shows in the accuracy, or, where ReLU layers hardly feel the scale, in the likelihood: the
    answers are the same, and far too sure.
    """
    if not figures:
        return None
    now = figures[scale]
    gains = {
        other: found["accuracy"] - now["accuracy"]
        for other, found in figures.items()
        if found["accuracy"] - now["accuracy"] >= _CLEARLY
    } or {
        other: -found["negative_log_likelihood"]
        for other, found in figures.items()
        if found["accuracy"] >= now["accuracy"] - _NOT_WORSE and _is_less_sure(found, now)
    }
    if not gains:
        return None
    best = max(gains, key=gains.get)
    was, would = (
        f"{percent(each['accuracy'])} (NLL {each['negative_log_likelihood']:.2f}, entropy at T = 8 "
        f"{percent(each['entropy_share'])} of guessing)"
        for each in (now, figures[best])
    )
    return Finding(
        "input_scale",
        f"with pixels of {scale} the teacher is right on {was} of the validation images, with "
        f"{best} on {would}",
        "teacher",
        f"Pass scale={best!r} (--scale={best}).",
        wasted=True,
    )


def _is_less_sure(found, now):
    if found["entropy_share"] < _LEAST_ENTROPY:
        return False
    was, would = now["negative_log_likelihood"], found["negative_log_likelihood"]
    is_likelier = was > _UNLIKELY and would < _CLEARLY_LIKELIER * was
    return is_likelier or now["entropy_share"] < _LEAST_ENTROPY


def _entropy_share(logits):
    """Return the entropy at T = 8, as a share of that of guessing."""
    return mean_entropy(logits, 8.0) / np.log(logits.shape[-1])


def _order(data, samples, logits):
    """Return a finding if the teacher's classes stand in another order than the labels."""
    num_classes = data.num_classes
    confusion = np.zeros((num_classes, num_classes), int)
    for name, sample in samples.items():
        np.add.at(confusion, (sample.labels, logits[name].argmax(-1)), 1)
    assigned = _assignment(confusion)
    renamed = [label for label, said in assigned.items() if label != said]
    right = sum(confusion[label, said] for label, said in assigned.items()) / confusion.sum()
    now = np.trace(confusion) / confusion.sum()
    # An untrained teacher gains by any assignment; a trained one is right on most images then.
    if not renamed or right - now < _CLEARLY or right < 0.5 + 0.5 / num_classes:
        return None
    label = renamed[0]
    names = [""] * num_classes
    for each, said in assigned.items():
        names[said] = data.class_names[each]
    return Finding(
        "class_order",
        f"the teacher is right on {percent(now)} of the {examples_of(data)}, on "
        f"{percent(right)} with its classes in another order: what is labelled "
        f"{data.class_names[label]!r} it calls number {assigned[label]}, which stands for "
        f"{data.class_names[assigned[label]]!r} here",
        "teacher and class names",
        f"Write class_names.json beside the teacher, in its order; it may be {names}.",
        wasted=True,
    )


def _assignment(confusion):
    """Return `{label: teacher's class}`, the most frequent pairs first, each used once."""
    assigned, taken = {}, set()
    for place in np.argsort(-confusion, axis=None, kind="stable"):
        label, said = np.unravel_index(place, confusion.shape)
        if label not in assigned and said not in taken:
            assigned[int(label)] = int(said)
            taken.add(said)
    return assigned


def _overfitting(accuracies, examples):
    gap = accuracies["train"] - accuracies["validation"]
    if gap > _OVERFITTED:
        yield Finding(
            "teacher_overfitted",
            f"{percent(accuracies['train'])} on training {examples}, "
            f"{percent(accuracies['validation'])} on validation {examples}",
            "teacher",
            f"It has learned the training {examples} by heart and says little about them; train "
            f"it less, or distil on {examples} it has not seen (--unlabelled).",
        )


def _sureness(logits):
    share = _entropy_share(logits)
    if share < _LEAST_ENTROPY:
        yield Finding(
            "teacher_too_sure",
            f"its softened answers have {percent(share)} of the entropy of guessing, at T = 8",
            "teacher",
            "Such soft targets say no more than the labels; raise the temperature, or train the "
            "teacher with less weight on its logits.",
        )


def _steadiness(teacher, sample):
    """The same examples twice, and fewer at once: an answer must depend on its example alone."""
    count = min(len(sample), 32)
    once, again, few = (
        np.asarray(teacher(sample.tensors(slice(size))))
        for size in (count, count, max(1, count // 4))
    )
    size = np.abs(once).max() + 1e-6
    # A teacher is asked from its state as it is, its random generators' too.
    draws = any("seed_generator" in path for path in teacher.changes)
    if draws or np.abs(once - again).max() > 1e-3 * size:
        yield Finding(
            "dropout_active",
            "the same examples get other answers each time that the model is called",
            "teacher",
            "A layer draws random numbers at inference (a Dropout or an augmentation called with "
            "training=True?); build the teacher without it.",
            wasted=True,
        )
        return
    if np.abs(once[: len(few)] - few).max() > 1e-2 * size:
        yield Finding(
            "batch_norm_active",
            "the answer to an example depends on the others in its batch",
            "teacher",
            "A BatchNormalization runs in training mode (called with training=True?); build the "
            "teacher without that.",
            wasted=True,
        )
