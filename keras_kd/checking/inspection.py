"""What would go wrong, said before training."""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np

from keras_kd import data as data_module
from keras_kd import metrics
from keras_kd._common.typing import PathLike, Tensor
from keras_kd.checking.data_findings import data_findings
from keras_kd.checking.findings import (
    SAMPLE,
    Finding,
    examples_of,
    percent,
    refused,
    sample_of,
)
from keras_kd.checking.regimes import Case, atlas, resembling, sentences
from keras_kd.checking.student_findings import student_findings
from keras_kd.checking.teacher_findings import teacher_findings
from keras_kd.checking.temperature import mean_entropy, temperature_of
from keras_kd.data.encoded import EncodedImages
from keras_kd.data.joining import with_unlabelled
from keras_kd.data.splits import Data, Split
from keras_kd.runs.evaluation import logits_of
from keras_kd.runs.progress import Progress
from keras_kd.runs.students import StudentLike
from keras_kd.teachers.ensemble import Ensemble, TeacherLike
from keras_kd.teachers.fitting import check_scale, opened_teacher
from keras_kd.teachers.teacher import Teacher

_TEMPERATURES = (1, 2, 4, 8)
_PASSES_OF_UPDATE = 3
# Nats: a teacher surer than that of all it has seen is as good as certain.
_LEAST_ENTROPY = 0.01
_BYTES_OF_TENSORFLOW = 600_000_000


@dataclasses.dataclass(frozen=True)
class Check:
    """What `check` found.

    Args:
        findings: a list of `Finding`s, those that waste the training first.
        figures: what was measured, as a dict.
        teacher: the `Teacher` or `Ensemble` that was opened, for whoever trains from it; `None`
            if there is none, or it could not be opened.
    """

    findings: list
    figures: dict
    teacher: Teacher | Ensemble | None = None

    @property
    def ok(self) -> bool:
        """Whether training would not be wasted."""
        return not any(finding.wasted for finding in self.findings)

    def refuse(self) -> None:
        """Refuse to begin a training that would be wasted.

        Raises:
            ValueError: in the words of the first finding that wastes it.
        """
        if not self.ok:
            worst = self.findings[0]
            start = "" if worst.refusal else "Training would be wasted: "
            raise ValueError(f"{start}{worst.sentence}")


def check(
    teacher: TeacherLike | PathLike | None,
    data: Data,
    *,
    student: StudentLike | None = None,
    scale: str = "0..255",
    head: str | None = None,
    epochs: int = 100,
    unlabelled: Tensor | PathLike | None = None,
    verbose: bool = True,
) -> Check:
    """Say what would go wrong in a distillation, before it is begun, and what it may gain.

    The teacher is asked about some hundred examples; every example is looked at for duplicates,
    blank images and class balance. What is about pixels is said of images alone. Where nothing
    would go wrong, the row of our atlas that the case resembles is named, with what distillation
    gained there over seeds, and what to do to come where it gained.

    Args:
        teacher: a trained `keras.Model`, the path of its file, a `Teacher`, or a list of several;
            `None` to look at data and student alone.
        data: a `Data`, see `data.read`.
        student: as in `distill`; not looked at if `None`.
        scale: what the teacher was trained on: `"0..255"`, `"0..1"`, `"-1..1"`, `"imagenet"`
            (torchvision's normalisation) or `"caffe"`.
        head: as in `Teacher`, for a model whose last layer does not say what it returns.
        epochs: at most, for the expected time.
        unlabelled: examples without labels for the teacher to speak of, as in `Recipe`; those of
            the data if `None`.
        verbose: print figures and findings.

    Returns:
        A `Check`: `findings`, `figures`, `ok`, and the `teacher` as it was opened. Of the figures
        `"resembles"` holds at most two rows of the atlas, `"advice"` what is said of them.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits")
    teacher = kd.models.mlp([32], image_shape=data.image_shape)
    found = kd.check(teacher, data, verbose=False)  # This teacher was never trained.
    assert not found.ok and found.findings[0].name == "teacher_accuracy"
    ```
    """
    check_scale(scale)
    unlabelled = _without_labels(unlabelled, data)
    figures, opened = _data_figures(data), None
    findings, labels = data_findings(data)
    if teacher is not None:
        try:
            opened = opened_teacher(teacher, data, scale=scale, head=head)
        except (OSError, ValueError) as error:
            findings.append(refused("teacher", error))
        else:
            found, figures["teacher"] = _teacher(opened, data, unlabelled)
            findings += found
    if student is not None:
        found, figures["student"] = student_findings(student, opened, data)
        findings += found
    figures["expected"] = _expected(data, unlabelled, figures, epochs)
    findings += _memory(figures["expected"], data)
    findings.sort(key=lambda finding: not finding.wasted)
    is_wasted = any(finding.wasted for finding in findings)
    # Nothing is promised of a training that would be wasted.
    rows = {} if is_wasted else atlas()
    figures |= _resembled(_case(data, labels, figures, unlabelled, epochs), rows)
    result = Check(findings, figures, opened)
    _show(result, Progress(verbose))
    return result


def _without_labels(given, data):
    """Return examples without labels as models take them; those of the data if none are given."""
    if isinstance(given, (str, Path)):
        return data_module.unlabelled(given, data)
    if given is None:
        return data.unlabelled
    # Refused if they do not fit.
    with_unlabelled(data.train.take(slice(1)), Split(given, None).take(slice(1)).images)
    return given


def _resembled(case, rows):
    """Return what rows of the atlas say of a case."""
    names = resembling(case, rows)
    return {
        "resembles": [{"name": name, **rows[name]} for name in names],
        "advice": sentences(case, rows),
    }


def _case(data, labels, figures, unlabelled, epochs):
    """Return the `Case` of what was measured."""
    counts = np.array(labels["labels_of_classes"])
    teacher, student = figures.get("teacher", {}), figures.get("student", {})
    accuracy = teacher.get("accuracy", {})
    share = None
    if teacher.get("parameters") and "parameters" in student:
        share = student["parameters"] / teacher["parameters"]
    return Case(
        labels=len(data.train),
        classes=data.num_classes,
        classes_missing=int((counts == 0).sum()),
        imbalance=counts.max() / counts[counts > 0].min(),
        contradicting=labels["contradicting"],
        unlabelled=_count(unlabelled),
        surprise=teacher.get("surprise"),
        is_images=data.is_images,
        teachers=teacher.get("teachers", 1),
        train_accuracy=accuracy.get("train"),
        validation_accuracy=accuracy.get("validation"),
        student_share=share,
        epochs=epochs,
    )


def _count(unlabelled):
    return 0 if unlabelled is None else len(Split(unlabelled, None))


def _teacher(teacher, data, unlabelled):
    """Return the findings on a teacher that could be opened, and its figures."""
    if teacher.num_classes != data.num_classes:
        return [_other_classes(teacher, data)], {}
    size = max(SAMPLE, 10 * data.num_classes)
    samples = {name: sample_of(getattr(data, name), size) for name in ("train", "validation")}
    logits_of(teacher, samples["validation"])  # The first call compiles.
    started = time.perf_counter()
    logits = {name: logits_of(teacher, sample) for name, sample in samples.items()}
    seconds = time.perf_counter() - started
    if not all(np.isfinite(each).all() for each in logits.values()):
        reason = "Its logits for real {} hold NaN or infinity. Look at its normalisation."
        return [refused("teacher", reason.format(examples_of(data)))], {}
    findings, scales = teacher_findings(teacher, data, samples, logits)
    return findings, {
        "head": teacher.head,
        "teachers": len(teacher.models),
        "parameters": sum(model.count_params() for model in teacher.models),
        "surprise": _surprise(teacher, unlabelled, logits["validation"], size),
        "accuracy": {
            name: metrics.accuracy(sample.labels, logits[name]) for name, sample in samples.items()
        },
        "at_scale": scales,
        "mean_entropy": {str(t): mean_entropy(logits["train"], t) for t in _TEMPERATURES},
        "temperature": temperature_of(logits["train"]),
        "images_per_second": sum(map(len, samples.values())) / seconds,
    }


def _surprise(teacher, unlabelled, known, size):
    """Return the teacher's mean entropy on unlabelled examples over that of its logits `known`."""
    if not _count(unlabelled):
        return None
    examples = Split(unlabelled, None)
    chosen = np.linspace(0, len(examples) - 1, min(len(examples), size)).astype(int)
    logits = logits_of(teacher, examples.take(chosen))
    return mean_entropy(logits) / max(mean_entropy(known), _LEAST_ENTROPY)


def _other_classes(teacher, data):
    return Finding(
        "class_count",
        f"the teacher tells {teacher.num_classes} classes apart, the data has {data.num_classes}",
        "teacher and data",
        "Give the folders of the teacher's classes, all of them, in the order of its "
        "class_names.json; or train the teacher on these classes.",
        wasted=True,
    )


def _data_figures(data):
    return {
        "data": {
            "source": data.source,
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
            "classes": data.num_classes,
            "examples": _described(data),
            "left_out": len(data.left_out),
        }
    }


def _described(data):
    """Return what an example is, such as `images of 8x8x3`."""
    shapes = [
        " ".join([*map(str, path), "x".join(map(str, array.shape[1:])) or "1"])
        for path, array in keras.tree.flatten_with_path(data.train.images)
    ]
    size = "bytes" if data.reads == "texts" else ""
    return f"{examples_of(data)} of {', '.join(shapes)} {size}".rstrip()


def _expected(data, unlabelled, figures, epochs):
    """Return seconds and bytes that a distillation is expected to take at most."""
    # Of both students: the one without a teacher takes as many steps.
    count = len(data.train) + _count(unlabelled)
    teacher, student = figures.get("teacher", {}), figures.get("student", {})
    seconds = count / teacher["images_per_second"] if teacher else 0.0
    if student:
        # An update is a pass forwards and two of the same size backwards; validation is a pass.
        passes = _PASSES_OF_UPDATE * count + len(data.validation)
        seconds += 2 * epochs * passes / student["images_per_second"]
    arrays = sum(
        each.nbytes
        for images in (data.train.images, data.validation.images, data.test.images, unlabelled)
        for each in keras.tree.flatten(images)
        if each is not None and not isinstance(each, (np.memmap, EncodedImages))
    )
    # TensorFlow holds a second copy of what it trains on.
    size = _BYTES_OF_TENSORFLOW + 2 * arrays + 4 * count * data.num_classes
    return {"seconds_at_most": seconds, "bytes": size}


def _memory(expected, data):
    free = _free_bytes()
    if free is not None and expected["bytes"] > free:
        yield Finding(
            "memory",
            f"about {expected['bytes'] / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free",
            "this machine",
            "Read the data with a smaller `memory_limit`."
            if data.is_images
            else "Read the texts into a `cache`, or fewer bytes of each."
            if data.reads == "texts"
            else "Leave some examples out.",
            wasted=True,
        )


def _free_bytes():
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except OSError:  # Not Linux.
        pass
    return None


def _show(result, progress):
    figures = result.figures
    data = figures["data"]
    progress.say(
        f"Data: {data['train']} to train, {data['validation']} to validate, {data['test']} to "
        f"test; {data['classes']} classes, {data['examples']}"
    )
    if figures.get("teacher"):
        teacher = figures["teacher"]
        accuracy, entropy = teacher["accuracy"], teacher["mean_entropy"]
        progress.say(
            f"Teacher: ends in {teacher['head']}; accuracy {percent(accuracy['train'])} on "
            f"training, {percent(accuracy['validation'])} on validation data (samples)",
            *_by_scale(teacher["at_scale"]),
            "Mean entropy: "
            + ", ".join(f"T={t} {value:.2f}" for t, value in entropy.items())
            + f" of {np.log(data['classes']):.2f} nats; begin with T = {teacher['temperature']:g}",
        )
    if figures.get("student"):
        progress.say(f"Student: {figures['student']['parameters']:,} parameters")
    expected = figures["expected"]
    minutes, size = expected["seconds_at_most"] / 60, f"{expected['bytes'] / 1e9:.1f} GB"
    if figures.get("student"):
        progress.say(f"Expected: at most {minutes:.1f} minutes with the control, {size}")
    else:  # How long students take is known when there is one.
        progress.say(f"Expected: {size}, and the minutes of a student that is not named yet")
    progress.say(*(map(str, result.findings) if result.findings else ["Nothing found."]))
    progress.say(*figures["advice"])


def _by_scale(scales):
    if scales:
        figures = (f"{scale} {percent(each['accuracy'])}" for scale, each in scales.items())
        yield f"Accuracy by scale: {', '.join(figures)}"
