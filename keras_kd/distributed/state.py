"""A training of several workers between two epochs, in a folder that all of them see."""

import json

import numpy as np

from keras_kd._common.files import written_whole
from keras_kd._common.json_files import NUMBER
from keras_kd.distillers.variables import of_optimizers
from keras_kd.runs.checkpoint import read_archive

# What Keras's callbacks know of the epochs before.
_OF_CALLBACKS = ("best", "best_epoch", "wait", "stopped_epoch", "cooldown_counter")
_HEAD = {
    "made_of": str,
    "epoch": int,
    "stopped": bool,
    "variables": int,
    "logs": [{str: NUMBER}],
    "callbacks": {str: {"knows": {str: (*NUMBER, None)}, "best_weights": int}},
}


class State:
    """Weights, optimizers, seeds, logs, and what callbacks know: written whole by the chief alone.

    Args:
        distiller: a compiled `Distiller`, its optimizers built.
        callbacks: of this worker.
        made_of: a string; a checkpoint of another one is refused.
        path: of the file, or `None` to keep nothing.

    Attributes:
        epoch: epochs that are done.
        stopped: whether a callback ended the training.
        logs: of each epoch, a dict.
    """

    def __init__(self, distiller, callbacks, made_of, path):
        self.distiller, self.callbacks = distiller, callbacks
        self.made_of, self.path = made_of, path
        self.epoch, self.stopped, self.logs = 0, False, []
        self._of_callbacks = {}

    def take_up(self):
        """Bring the distiller to where the file says, if there is one.

        Raises:
            ValueError: if it is damaged, or of another training.
        """
        way_out = "Remove it to begin anew."
        found = self.path and read_archive(self.path, _HEAD, _taken, way_out)
        if not found:
            return
        head, variables, best = found
        if head["made_of"] != self.made_of:
            raise ValueError(
                "A folder must hold the checkpoint of this training alone. Received: "
                f"{self.path.parent}, of other models, settings or data. Name another folder, or "
                f"remove {self.path.name} to begin anew."
            )
        self.epoch, self.stopped, self.logs = head["epoch"], head["stopped"], head["logs"]
        for variable, value in zip(self.variables(), variables, strict=True):
            variable.assign(value)
        for name, each in head["callbacks"].items():
            self._of_callbacks[name] = each["knows"], best[name]

    def restore_callbacks(self):
        """Tell callbacks what they knew: after `on_train_begin`, in which they forget."""
        for name, callback in self._named():
            knows, best = self._of_callbacks.get(name, ({}, []))
            for attribute, value in knows.items():
                setattr(callback, attribute, value)
            if best:
                callback.best_weights = best

    def end_epoch(self, logs, stopped):
        """Note that an epoch is done; the chief writes it down."""
        self.epoch, self.stopped = self.epoch + 1, stopped
        self.logs.append(logs)

    def write(self):
        """Write the file, whole or not at all."""
        arrays = {f"variables/{k}": each for k, each in enumerate(self.values())}
        told = {}
        for name, callback in self._named():
            best = getattr(callback, "best_weights", None) or []
            arrays |= {f"{name}/{number}": each for number, each in enumerate(best)}
            told[name] = {"knows": _known(callback), "best_weights": len(best)}
        head = {
            "made_of": self.made_of,
            "epoch": self.epoch,
            "stopped": self.stopped,
            "variables": len(self.variables()),
            "logs": self.logs,
            "callbacks": told,
        }
        with written_whole(self.path) as unfinished:
            np.savez(unfinished, head=json.dumps(head), **arrays)

    def variables(self):
        """Return what a training step changes."""
        return [*self.distiller.variables, *of_optimizers(self.distiller)]

    def values(self):
        """Return their values; NumPy's files know no bfloat16, of which each is a float32 too."""
        arrays = map(np.asarray, self.variables())
        return [each.astype("float32") if each.dtype.kind == "V" else each for each in arrays]

    def _named(self):
        """Yield callbacks by their kind, and number among those of a kind."""
        counts = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            counts[kind] = counts.get(kind, -1) + 1
            yield f"{kind} {counts[kind]}", callback


def _known(callback):
    values = {name: getattr(callback, name, None) for name in _OF_CALLBACKS}
    return {name: None if each is None else float(each) for name, each in values.items()
            if hasattr(callback, name)}  # fmt: skip


def _taken(head, arrays):
    """Return `(head, variables, best weights by callback)` of a checkpoint's archive."""

    def several(name, count):
        return [arrays[f"{name}/{number}"] for number in range(count)]

    best = {name: several(name, each["best_weights"]) for name, each in head["callbacks"].items()}
    return head, several("variables", head["variables"]), best
