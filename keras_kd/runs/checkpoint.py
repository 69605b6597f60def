"""A training between two epochs, on disk: what was killed goes on from there, to the bit."""

import csv
import json
import os
import time

import keras
import numpy as np

from keras_kd._common.files import written_whole
from keras_kd._common.json_files import NUMBER, misfit
from keras_kd._common.limits import check_archive
from keras_kd.distillers.variables import of_optimizers

# NOTE: Keras's `BackupAndRestore` keeps neither what `EarlyStopping` knows nor the logs of the
# epochs, writes weights and epoch one after the other (a kill between the two leaves a pair that
# does not belong together), and knows of one model alone.
_OF_STOPPING = ("best", "best_epoch", "wait", "stopped_epoch")
_HEAD = {
    "made_of": str,
    "epoch": int,
    "seconds": NUMBER,
    "states": {
        str: {
            "variables": int,
            "best_weights": int,
            "stopped": bool,
            "stopping": dict.fromkeys(_OF_STOPPING, NUMBER),
            "logs": [{str: NUMBER}],
        }
    },
}


class Checkpoint:
    """The state of distillers that train in one `fit`, written whole after every epoch.

    It holds each one's weights, projectors and seed generators, its optimizers with the step that
    schedules go by, what `EarlyStopping` knows, whether it stopped, and the logs of its epochs.
    The order of the data is a function of seed and epoch and needs no state.

    Args:
        folder: where it lies, with one `<name>_history.csv` a distiller.
        name: of the training.
        made_of: a string; a checkpoint of another one is not taken up.
        distillers: `{name: Distiller}`.
        stoppings: `{name: EarlyStopping}`.

    Attributes:
        epoch: epochs that are done.
        seconds: time that they took, over all processes.
    """

    def __init__(self, folder, name, made_of, distillers, stoppings):
        self.folder, self.path, self.made_of = folder, path_of(folder, name), made_of
        self.distillers, self.stoppings = distillers, stoppings
        self.epoch, self.seconds = 0, 0.0
        self._states, self._waiting = {}, set()
        self._take_up()
        self._started = time.perf_counter()

    def callback(self, name):
        """Return the callback of one distiller, to come after its `EarlyStopping`."""
        return _Member(self, name)

    @property
    def all_stopped(self):
        """Whether there is nothing left to train."""
        return bool(self._states) and all(state["stopped"] for state in self._states.values())

    def logs(self, name):
        """Return the logs of all epochs, `{key: [a value an epoch]}`."""
        rows = self._states[name]["logs"]
        return {key: [row[key] for row in rows] for key in rows[0]}

    def num_epochs(self, name):
        """Return how many epochs a distiller trained."""
        return len(self._states[name]["logs"])

    def remove(self):
        """Remove the file, once what was trained is kept elsewhere."""
        self.path.unlink(missing_ok=True)

    def _take_up(self):
        found = read(self.path)
        taken_up = found is not None and found["made_of"] == self.made_of
        if taken_up:
            self.epoch, self.seconds = found["epoch"], found["seconds"]
            self._states = found["states"]
        for name in self.distillers:
            _remove(self._history(name))
            for row in self._states[name]["logs"] if taken_up else ():
                self._append(name, row)

    def _history(self, name):
        return self.folder / f"{name}_history.csv"

    def _append(self, name, row):
        path = self._history(name)
        begins = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            # Those that an earlier version began with: what it did not report is left out.
            columns = list(self._states[name]["logs"][0])
            if begins:
                writer.writerow(columns)
            writer.writerow(row.get(column, "") for column in columns)

    def restore(self, name):
        """Bring a distiller and its `EarlyStopping` to where they were."""
        if name not in self._states:
            return
        state, distiller, stopping = (
            self._states[name], self.distillers[name], self.stoppings[name],
        )  # fmt: skip
        for variable, value in zip(_variables(distiller), state["variables"], strict=True):
            variable.assign(value)
        for attribute in _OF_STOPPING:
            setattr(stopping, attribute, state["stopping"][attribute])
        stopping.best_weights = state["best_weights"]
        distiller.stop_training = state["stopped"]

    def begin_epoch(self, name):
        """Note that a distiller is to train in the epoch that begins."""
        self._waiting.add(name)

    def end_epoch(self, name, epoch, logs):
        """Keep a distiller as it is; write the file when all have ended the epoch."""
        distiller, stopping = self.distillers[name], self.stoppings[name]
        earlier = self._states[name]["logs"] if name in self._states else []
        row = {"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}}
        self._states[name] = {
            "variables": [np.array(variable) for variable in _variables(distiller)],
            "best_weights": stopping.best_weights,
            "stopping": {attribute: getattr(stopping, attribute) for attribute in _OF_STOPPING},
            "stopped": bool(distiller.stop_training),
            "logs": [*earlier, row],
        }
        self._append(name, row)
        self._waiting.discard(name)
        if not self._waiting:
            self.epoch = epoch + 1
            self._write()

    def _write(self):
        now = time.perf_counter()
        self.seconds += now - self._started
        self._started = now
        arrays, plain = {}, {}
        for name, state in self._states.items():
            for part in ("variables", "best_weights"):
                for number, array in enumerate(state[part]):
                    # NumPy's files know no bfloat16; every one of them is a float32 too.
                    arrays[f"{name}/{part}/{number}"] = (
                        array.astype("float32") if array.dtype.kind == "V" else array
                    )
            plain[name] = {key: state[key] for key in ("stopping", "stopped", "logs")}
            plain[name] |= {part: len(state[part]) for part in ("variables", "best_weights")}
        head = {"made_of": self.made_of, "epoch": self.epoch, "seconds": self.seconds}
        with written_whole(self.path) as unfinished:
            np.savez(unfinished, head=json.dumps(head | {"states": plain}), **arrays)


class _Member(keras.callbacks.Callback):
    def __init__(self, checkpoint, name):
        super().__init__()
        self.checkpoint, self.name = checkpoint, name

    def on_train_begin(self, logs=None):
        self.checkpoint.restore(self.name)

    def on_epoch_begin(self, epoch, logs=None):
        self.checkpoint.begin_epoch(self.name)

    def on_epoch_end(self, epoch, logs=None):
        self.checkpoint.end_epoch(self.name, epoch, logs)


def _remove(path):
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # A folder, to some systems a matter of permission.
        raise OSError(
            f"A history must be a file that can be written. Received: {path} ({error.strerror}). "
            "Remove it, and say the same command again."
        ) from error


def path_of(folder, name):
    """Return where the checkpoint of a training lies."""
    return folder / f"{name}.checkpoint.npz"


def read(path):
    """Return a checkpoint's contents as a dict, or `None` if there is none.

    Raises:
        ValueError: if it is damaged.
    """

    def taken(head, arrays):
        for name, state in head["states"].items():
            for part in ("variables", "best_weights"):
                state[part] = [arrays[f"{name}/{part}/{n}"] for n in range(state[part])]
        return head

    way_out = "Remove it: this training then begins anew, and what is finished is kept."
    return read_archive(path, _HEAD, taken, way_out)


def read_archive(path, shape, taken, way_out):
    """Return what is made of an archive of arrays with a `head` of JSON, `None` if there is none.

    Args:
        path: of the archive.
        shape: of the head, as `json_files.misfit` takes it.
        taken: a function `(head, arrays)` that returns what is wanted.
        way_out: what to do about a damaged one, in a sentence.

    Raises:
        ValueError: if it is damaged.
    """
    if not os.path.lexists(path):
        return None
    try:
        if not path.is_file():  # A pipe would be waited for, for ever.
            raise ValueError("no file")
        check_archive(path)
        # NumPy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            head = json.loads(str(arrays["head"]))
            if reason := misfit(head, shape):
                raise ValueError(reason)
            return taken(head, arrays)
    except MemoryError:
        raise
    except Exception as error:  # A damaged archive fails in any way: of zip, NumPy, JSON, ...
        raise ValueError(
            f"A checkpoint must be as it was written. Received: {path}, which is damaged. {way_out}"
        ) from error


def _variables(distiller):
    return [*distiller.variables, *of_optimizers(distiller)]
