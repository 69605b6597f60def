"""What the runs of `adversarial.py` share."""

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path

import keras

import keras_kd as kd
from keras_kd._common.files import written_whole


class Method(typing.NamedTuple):
    """One row of a table: how it is run, `(job) -> dict`, and for how many epochs."""

    run: Callable
    epochs: int


@dataclasses.dataclass(frozen=True)
class Job:
    """One row of a table for one seed."""

    table: str
    method: str
    seed: int
    epochs: int
    models: Path
    results: Path
    quick: bool


def falling(rate, num_steps):
    """Return the schedule that every run here has, so that its last epoch is no lottery."""
    return keras.optimizers.schedules.CosineDecay(rate, num_steps)


def kept_teacher(job, train):
    """Return the teacher of a table and a seed, from the folder, or trained by `train()`."""
    path = job.models / job.table / str(job.seed) / "teacher.keras"
    if not path.exists():
        teacher = train()
        with written_whole(path) as unfinished:
            kd.export.uncompiled(teacher).save(unfinished)
    return keras.models.load_model(path, compile=False)


def figures(job, data, student, teacher):
    """Return what the one reading of the test split says."""
    images, labels = data.test.images, data.test.labels
    logits, teacher_logits = (
        model.predict(images, batch_size=1000, verbose=0) for model in (student, teacher)
    )
    return {
        "accuracy": kd.metrics.accuracy(labels, logits),
        "teacher_accuracy": kd.metrics.accuracy(labels, teacher_logits),
        "agreement_with_teacher": kd.metrics.agreement(logits, teacher_logits),
        "epochs": job.epochs,
    }
