"""Trainings in a folder: what is finished is used again, what was killed goes on, to the bit."""

import dataclasses
import json
import typing
from pathlib import Path

import keras

from keras_kd import export
from keras_kd._common.backend import describe_machine
from keras_kd._common.files import sha256_of, written_whole
from keras_kd._common.json_files import NUMBER, misfit, parsed
from keras_kd.callbacks import EarlyStopping
from keras_kd.distillers.together import train_together
from keras_kd.runs.checkpoint import Checkpoint
from keras_kd.runs.progress import quiet_about_tracing, title_of


class Trained(typing.NamedTuple):
    """A model and how it came to be.

    Args:
        model: the `keras.Model`, with the weights of its best epoch.
        curves: `{key: [a value an epoch]}`, with `best_epoch` (from 1) and `seconds`.
    """

    model: keras.Model
    curves: dict


@dataclasses.dataclass(frozen=True)
class Keeper:
    """Trains distillers in a folder.

    What is finished lies there as `<name>.keras` with a record of what it was made of, and is
    used again while that is the same; what is training has its checkpoint there.

    Args:
        folder: to write to.
        progress: a `Progress`.
        callbacks: more callbacks for each model, `(name, checkpoint) -> list`; they come last.
        earlier: seconds that trainings took in earlier processes, an entry each is added to it.
    """

    folder: Path
    progress: object
    callbacks: typing.Callable = lambda name, checkpoint: []
    earlier: list[float] = dataclasses.field(default_factory=list)

    def train(self, name, distillers, batches, *, made_of, validation_data, epochs, patience):
        """Return `{name: Trained}`: from the folder, gone on with, or trained from the start.

        Args:
            name: of the training.
            distillers: `{name: Distiller}`, compiled; several train together.
            batches: a function from the number of the first epoch to what `Split.batches` or
                `SoftLabels.join` returns.
            made_of: a digest of everything that the weights depend on.
            validation_data: as in `keras.Model.fit`.
            epochs: at most.
            patience: of `EarlyStopping`; `None` for the last epoch, whatever validation says.
        """
        found = self._finished(name, distillers, made_of)
        if found:
            self.earlier.append(next(iter(found.values())).curves["seconds"])
            return found
        stoppings = {
            each: EarlyStopping(patience=patience) if patience
            else _Last(patience=epochs, restore_best_weights=False)
            for each in distillers
        }  # fmt: skip
        checkpoint = Checkpoint(self.folder, name, made_of, distillers, stoppings)
        self.earlier.append(checkpoint.seconds)
        if checkpoint.epoch:
            self.progress.say(f"{title_of(name):<17} goes on after epoch {checkpoint.epoch}")
        options = {
            "validation_data": validation_data,
            "epochs": epochs,
            # With nothing left to do, `fit` still brings back the best weights.
            "initial_epoch": epochs if checkpoint.all_stopped else checkpoint.epoch,
            "verbose": 0,
        }
        data = batches(checkpoint.epoch)
        display_of = self.progress.of(name, epochs, stoppings, checkpoint)
        with quiet_about_tracing(), display_of as display:
            callbacks = {
                each: [
                    stoppings[each],
                    checkpoint.callback(each),
                    display.callback(each),
                    *self.callbacks(each, checkpoint),
                ]
                for each in distillers
            }
            _fit(distillers, data, callbacks, options)
        curves = {
            each: {
                **{key: values for key, values in checkpoint.logs(each).items() if key != "epoch"},
                "best_epoch": stoppings[each].best_epoch + 1,
                "seconds": checkpoint.seconds,
            }
            for each in distillers
        }
        models = {each: distiller.student for each, distiller in distillers.items()}
        self.keep(name, models, curves, made_of)
        checkpoint.remove()
        return {each: Trained(distillers[each].student, curves[each]) for each in distillers}

    def _finished(self, name, distillers, made_of):
        """Return what the folder holds of the same making, or `None`."""
        try:
            record = parsed(self.folder / f"{name}.json")
        except (FileNotFoundError, ValueError):
            return None  # What cannot be read tells of no training, which then begins anew.
        paths = {each: self.folder / f"{each}.keras" for each in distillers}
        shape = {"made_of": str, "sha256": dict.fromkeys(paths, str)}
        shape["curves"] = {each: {"best_epoch": int, "seconds": NUMBER} for each in paths}
        whole = misfit(record, shape) is None and all(
            path.is_file() and sha256_of(path) == record["sha256"][each]
            for each, path in paths.items()
        )
        if not whole or record["made_of"] != made_of:
            return None
        self._say_used_again(name, paths)
        return {
            each: _loaded(distillers[each], path, record["curves"][each])
            for each, path in paths.items()
        }

    def _say_used_again(self, name, paths):
        first, *others = paths.values()
        these = f"{first} and {len(others)} more are" if others else f"{first} is"
        self.progress.say(
            f"{name.replace('_', ' ').capitalize()}: {these} of the same settings and "
            f"data, and {'are' if others else 'is'} used again"
        )

    def keep(self, name, models, curves, made_of):
        """Write what was trained, and the record by which it is known.

        Args:
            name: as in `train`.
            models: `{name: keras.Model}`.
            curves: of each, by name.
            made_of: as in `train`.
        """
        paths = {each: self.folder / f"{each}.keras" for each in models}
        for each, path in paths.items():
            with written_whole(path) as unfinished:
                export.uncompiled(models[each]).save(unfinished)
        record = {
            "made_of": made_of,
            "sha256": {each: sha256_of(path) for each, path in paths.items()},
            "curves": curves,
            "machine": describe_machine(),
        }
        with written_whole(self.folder / f"{name}.json") as unfinished:
            unfinished.write_text(json.dumps(record) + "\n")


def machines_of(folders):
    """Return where the models in some folders were trained, each kind of machine once.

    Args:
        folders: of a `Keeper`.
    """
    found = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        try:
            record = parsed(path)
        except ValueError:
            continue
        # Former versions did not note it.
        if misfit(record, {"made_of": str, "machine": {str: str}}) is None:
            found += [record["machine"]] * (record["machine"] not in found)
    return found


class _Last(EarlyStopping):
    """Takes every epoch for the best so far: the last one is kept."""

    def on_epoch_end(self, epoch, logs=None):
        self.best, self.best_epoch, self.best_weights = logs[self.monitor], epoch, []


def _fit(distillers, data, callbacks, options):
    if len(distillers) == 1:
        ((name, distiller),) = distillers.items()
        distiller.fit(data, callbacks=callbacks[name], **options)
        return
    names = {id(distiller): name for name, distiller in distillers.items()}
    train_together(
        list(distillers.values()),
        data,
        callbacks=lambda distiller: callbacks[names[id(distiller)]],
        **options,
    )


def _loaded(distiller, path, curves):
    # It was built as it was then, of whatever layers: the weights are all that is needed.
    distiller.student.load_weights(path)
    return Trained(distiller.student, curves)
