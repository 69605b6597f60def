"""Epochs that fit into a given time: measured on this machine first, chosen once, then kept."""

import dataclasses
import functools
import re
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.backend import on_gpu
from keras_kd._common.checks import is_number
from keras_kd.distillers.stacks import dense
from keras_kd.distillers.together import train_together
from keras_kd.experiment.proposing import proposed
from keras_kd.experiment.training import teacher_of
from keras_kd.models import mlp
from keras_kd.runs import records
from keras_kd.runs.progress import Progress, clock, quiet_about_tracing
from keras_kd.runs.students import AUTO

# Seconds: from a microsecond to ten years.
_LENGTHS = (1e-6, 3650 * 86400)
_UNITS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_DURATION = re.compile(
    "".join(rf"\s*(?:(?P<{unit}>\d+(?:\.\d+)?)\s*{unit})?" for unit in _UNITS) + r"\s*"
)
# For what is not measured (reading the data, testing, exporting) and for the error of what is.
_RESERVE = 0.1
# The teacher comes first: students learn what it knows.
_TEACHERS_SHARE = 0.5
# Four epochs are timed, of which the first compiles: on a processor of two stacks of minibatches,
# see `stacks`. On a GPU these are over before an epoch has begun and ended, and that would be all
# that is timed: on an H200 16 minibatches of ResNet-18 at half width took 0.4 s, 352 1.5 s.
_NUM_MINIBATCHES, _NUM_MINIBATCHES_ON_GPU, _NUM_EPOCHS = 16, 256, 4
# What `SoftLabels.create` shows the teacher at once, and how often it is shown to be timed.
_BATCH_ASKED, _NUM_ASKED = 256, 4
# What of a recipe is chosen: a run's `config.json` holds it among its settings.
_CHOSEN = ("epochs", "teacher_epochs", "views")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that the parts of a run take.

    Args:
        teacher: an epoch of the teacher; 0 if it is not trained.
        view: asking it about one view of every training image.
        students: an epoch of all students.
        compiling: what their first epochs take longer than others, together.
    """

    teacher: float
    view: float
    students: float
    compiling: float = 0.0

    @property
    def least(self):
        """Seconds of the shortest run."""
        return self.teacher + self.view + self.students


def seconds_of(budget):
    """Return a duration in seconds, `None` for `None`.

    Args:
        budget: a number of seconds, or a text such as `"90min"` or `"1h30min"`.

    Raises:
        ValueError: if it is neither, or not above 0.
    """
    if budget is None:
        return None
    seconds = budget
    if isinstance(budget, str):
        found = _DURATION.fullmatch(budget)
        parts = found.groupdict(default="0") if found else {}
        seconds = sum(float(number) * _UNITS[unit] for unit, number in parts.items())
    if not is_number(seconds, _LENGTHS):
        raise ValueError(
            "`budget` must be a duration above 0, such as '90min', '1h30min' or '20s', and at most "
            "3650d. "
            f"Received: budget={budget!r}."
        )
    return float(seconds)


def fitted(trainer, kind, started):
    """Return the trainer with the epochs of its recipe cut to what the asked budget holds.

    What was chosen for the run that lies in the trainer's folder is kept, unless it is to be
    replaced; `folder.begin` tells whether that is this run.

    Args:
        trainer: a `Trainer`; its recipe's epochs and views are the most.
        kind: the `Kind`, whose `trainings` are timed, and take place for each of its seeds.
        started: the `time.perf_counter()` at which the budget began.

    Raises:
        ValueError: if the budget does not hold one epoch of each training.
    """
    budget, num_runs = trainer.asked.budget, len(kind.seeds)
    if budget is None:
        return trainer
    recipe, say = trainer.recipe, trainer.progress.say
    stored = None if trainer.asked.overwrite else records.read_config(trainer.folder)
    settings = (stored or {}).get("settings", {})
    if settings.keys() >= set(_CHOSEN):
        kept = dataclasses.replace(recipe, **{name: settings[name] for name in _CHOSEN})
        say(f"Budget: {_epochs_of(kept)}, as the run was begun with")
        return dataclasses.replace(trainer, recipe=kept)
    say(f"Budget: {clock(budget)}; timing a few steps of teacher and students")
    pace = measured(trainer, kind.trainings)
    spent = time.perf_counter() - started
    seconds = (budget - spent) * (1 - _RESERVE) / num_runs - pace.compiling
    say(
        f"Budget: an epoch of the teacher takes about {pace.teacher:.3g} s here, of the students "
        f"{pace.students:.3g} s, soft labels of a view {pace.view:.3g} s, compiling "
        f"{pace.compiling:.3g} s"
    )
    if seconds < pace.least:
        needed = spent + num_runs * (pace.least + pace.compiling) / (1 - _RESERVE)
        raise ValueError(
            "`budget` must hold one epoch of each training. Received: "
            f"{clock(budget)} minutes, where this machine needs {clock(needed)}. Give more."
        )
    recipe = chosen(recipe, seconds, pace)
    say(f"Budget: {_epochs_of(recipe)}")
    return dataclasses.replace(trainer, recipe=recipe)


def chosen(recipe, seconds, pace):
    """Return a recipe with as many epochs and views as fit, at most as many as it has.

    The teacher takes up to half of the time. Of the rest, students take a view an epoch, up to
    the recipe's views, which later epochs see again.

    Args:
        recipe: a `Recipe`.
        seconds: at least `pace.least`.
        pace: a `Pace`.
    """
    teacher_epochs, rest = None, seconds
    if pace.teacher:  # It is trained, too.
        for_teacher = min(_TEACHERS_SHARE * seconds, seconds - pace.view - pace.students)
        teacher_epochs = _whole(for_teacher / pace.teacher, recipe.epochs_of("teacher"))
        rest = seconds - teacher_epochs * pace.teacher
    views = recipe.views or 1  # A teacher that is not stored is asked once, or in the step.
    epochs = rest / (pace.students + pace.view)
    if epochs > views:
        epochs = (rest - views * pace.view) / pace.students
    epochs = _whole(epochs, recipe.epochs)
    return dataclasses.replace(
        recipe,
        epochs=epochs,
        teacher_epochs=teacher_epochs,
        views=recipe.views and min(recipe.views, epochs),
    )


def measured(trainer, students):
    """Return the `Pace` of a run, from a short training of which nothing is kept.

    Args:
        trainer: as in `fitted`.
        students: as in `fitted`.
    """
    recipe = trainer.recipe
    changes = {"views": recipe.views and 1}
    if isinstance(recipe.student, str) and recipe.student == AUTO:
        changes["student"] = proposed(trainer.data, recipe.max_kb, trainer.fixed)[0]
    with tempfile.TemporaryDirectory() as folder, quiet_about_tracing():
        probe = dataclasses.replace(
            trainer,
            recipe=dataclasses.replace(recipe, **changes),
            folder=Path(folder),
            progress=Progress(verbose=False),
        )
        seconds, compiling, teacher = _seconds_of_teacher(probe)
        # What stored soft labels say takes no time: anyone may have said it.
        speaker = probe.build(functools.partial(mlp, [1])) if recipe.views else teacher
        view = _seconds_of_view(probe, teacher) if teacher else 0.0
        of_students = [
            _seconds_of_epoch(probe, distillers, probe.training_of(distillers), speaker)
            for distillers in students(probe, speaker)
        ]
        return Pace(
            teacher=seconds,
            view=view,
            students=sum(epoch for epoch, _ in of_students),
            compiling=compiling + sum(compiling for _, compiling in of_students),
        )


def _seconds_of_teacher(trainer):
    """Return the seconds of an epoch of the teacher and of compiling it, and the teacher."""
    if trainer.fixed is not None or trainer.recipe.teacher is None:
        found = trainer.teacher()
        return 0.0, 0.0, found and found.model
    distiller = trainer.untrained_teacher()
    seconds = _seconds_of_epoch(trainer, {"teacher": distiller}, trainer.teacher_training)
    return *seconds, distiller.student


def _seconds_of_epoch(trainer, distillers, training, teacher=None):
    """Return the seconds of an epoch, validation included, and of compiling, from fewer images."""
    data = trainer.data
    first, *others = distillers.values()
    models = [model for each in (first, *others) for model in each.models_in_step(teacher=True)]
    # Dense models are fast, and how a step of theirs is compiled depends on the images.
    number = _NUM_MINIBATCHES_ON_GPU if on_gpu() else _NUM_MINIBATCHES
    few = 1 if dense(models) else number * training.batch_size / len(trainer.taught)
    small = data.share(min(1, few), ("train", "validation"))
    watch = _Watch()
    train_together(
        [first, *others],
        dataclasses.replace(trainer, data=small).batches(training, teacher),
        epochs=max(_NUM_EPOCHS, training.epochs),  # What is compiled depends on them too.
        validation_data=small.validation.batches(1000),
        callbacks=lambda distiller: [watch if distiller is first else _Watch()],
        verbose=0,
    )
    epoch = float(np.median(watch.seconds[1:]))
    return epoch * len(data.train) / len(small.train), max(0.0, watch.seconds[0] - epoch)


def _seconds_of_view(trainer, teacher):
    """Return the seconds in which a teacher is asked about all that it speaks of once."""
    images = trainer.data.train.tensors(slice(_BATCH_ASKED))
    ask = tf.function(teacher_of(teacher), autograph=False)
    with trainer.in_its_precision(teacher):
        ask(images)
        began = time.perf_counter()
        for _ in range(_NUM_ASKED):
            ask(images).numpy()
    seconds = (time.perf_counter() - began) / _NUM_ASKED
    return seconds * len(trainer.taught) / min(len(trainer.data.train), _BATCH_ASKED)


class _Watch(keras.callbacks.Callback):
    """Notes the seconds of each of a few epochs."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.began)
        self.model.stop_training = len(self.seconds) == _NUM_EPOCHS


def _whole(number, most):
    return int(min(most, max(1, number)))


def _epochs_of(recipe):
    epochs = f"{recipe.epochs} epochs of students"
    if recipe.teacher_epochs is not None:
        epochs = f"{recipe.teacher_epochs} epochs of the teacher, {recipe.epochs} of students"
    return f"{epochs} on {recipe.views} stored views" if recipe.views else epochs
