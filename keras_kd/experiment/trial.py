"""One trial of a search: a student distilled with sampled settings, watched by the study.

Imported where a search runs, once it is known that Optuna is there.
"""

import dataclasses
import time

import keras
import optuna

from keras_kd.experiment.space import title
from keras_kd.experiment.study import place_of
from keras_kd.runs import checkpoint as checkpoint_module
from keras_kd.runs.evaluation import figures_of, predict


@dataclasses.dataclass(frozen=True)
class Objective:
    """What an Optuna study maximises: a student's accuracy on the validation split.

    A trial leaves `<name>.keras` beside the other models of the folder. One that was killed and
    is taken up again has its name and goes on from its checkpoint.

    Args:
        trainer: a `Trainer` of the recipe that trials vary.
        space: a `Space`.
        teacher: the teacher, a `Trained`; `None` where soft labels stand for it.
        piece: number of the piece of work that it is, where several share the search.
    """

    trainer: object
    space: object
    teacher: object
    piece: int | None = None

    def __call__(self, trial):
        """Return the validation accuracy of the student of a trial.

        Raises:
            optuna.TrialPruned: if its best accuracy so far is below the median of earlier trials.
        """
        name = trial.user_attrs.get("name", f"trial_{trial.number:03d}")
        trial.set_user_attr("name", name)
        trial.set_user_attr("place", place_of(self.trainer.folder))
        trial.set_user_attr("piece", self.piece)
        settings = self.space.sample(trial)
        trial.set_user_attr("settings", settings)
        say = self.trainer.progress.say
        say(f"{name:<17} {title(settings)}")
        # What this trial took in processes before this one.
        trainer = dataclasses.replace(self.trainer, earlier=[])
        began = time.perf_counter()

        def note_seconds():
            seconds = time.perf_counter() - began + sum(trainer.earlier)
            trial.set_user_attr("seconds", seconds)

        try:
            trained = train(trainer, self.space, name, settings, self.teacher, trial)
        except optuna.TrialPruned:
            note_seconds()
            say(f"{name:<17} pruned after epoch {trial.user_attrs['epochs']}")
            for path in self._files_of(name):
                path.unlink(missing_ok=True)
            raise
        validation = self._validate(trained)
        trial.set_user_attr("validation", validation)
        trial.set_user_attr("epochs", len(trained.curves["loss"]))
        note_seconds()
        return validation["accuracy"]

    def _files_of(self, name):
        folder = self.trainer.folder
        return checkpoint_module.path_of(folder, name), folder / f"{name}_history.csv"

    def _validate(self, trained):
        """Return the figures of a student on the validation split."""
        split = self.trainer.data.validation
        models = (
            {"teacher": self.teacher, "student": trained} if self.teacher else {"student": trained}
        )
        logits = predict(models, split)
        return figures_of(split.labels, logits["student"], logits.get("teacher"))


def train(trainer, space, name, settings, teacher, trial=None):
    """Return the student of a trial as a `Trained`: from the folder, or trained.

    Args:
        trainer: a `Trainer` of the recipe that trials vary.
        space: a `Space`.
        name: of the student's files.
        settings: of `Space.sample`.
        teacher: as in `Objective`.
        trial: the Optuna trial that is told each epoch's accuracy and may end the training.
    """
    own = dataclasses.replace(trainer, recipe=space.recipe_of(settings))
    if trial is not None:
        own = dataclasses.replace(own, callbacks=lambda _, saved: [_Reports(trial, saved, name)])
    model = teacher and teacher.model
    return own.students({name: own.distilled(model)}, model)[name]


class _Reports(keras.callbacks.Callback):
    """Tells a trial the validation accuracy of each epoch, and ends what it would prune."""

    def __init__(self, trial, checkpoint, name):
        super().__init__()
        self.trial, self.checkpoint, self.name = trial, checkpoint, name

    def on_train_begin(self, logs=None):
        # A trial that is taken up again is a new one to Optuna.
        if self.checkpoint.epoch:
            accuracies = self.checkpoint.logs(self.name)["val_accuracy"]
            for epoch, accuracy in enumerate(accuracies, start=1):
                self.trial.report(accuracy, epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.trial.report(float(logs["val_accuracy"]), epoch + 1)
        if self.trial.should_prune():
            self.trial.set_user_attr("epochs", epoch + 1)
            raise optuna.TrialPruned
