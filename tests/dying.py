"""What is killed in the middle: who shares an experiment, and what an end may be compared by."""

import contextlib
import dataclasses
import json
import os
import signal
from pathlib import Path

import keras
import numpy as np
from helpers import assert_equal_weights

from keras_kd import launchers
from keras_kd.runs import checkpoint


@dataclasses.dataclass(frozen=True)
class Dying:
    """A launcher of two processes. The first to have trained an epoch of a training is killed.

    Args:
        training: how the name of that training begins.
        folder: of the experiment.
    """

    training: str
    folder: Path
    num_workers: int = 2

    def __call__(self, work, pieces):
        return launchers.Processes(2)(_Watched(work, self), pieces)

    def killed(self):
        """Return the checkpoint that was left, and the epochs that were trained towards it."""
        (path,) = Path(f"{self.folder}.killed").read_text().split()
        lines = Path(f"{self.folder}.epochs").read_text().splitlines()
        return path, [int(line.split()[1]) for line in lines if line.split()[0] == path]


@dataclasses.dataclass(frozen=True)
class _Watched:
    work: object
    dying: Dying

    def __call__(self, piece):
        write, dying = checkpoint.Checkpoint._write, self.dying

        def write_and_die(state):
            write(state)
            path = str(state.path.relative_to(dying.folder))
            if path.rsplit("/")[-1].startswith(dying.training):
                with open(f"{dying.folder}.epochs", "a") as file:
                    file.write(f"{path} {state.epoch}\n")
                with (
                    contextlib.suppress(FileExistsError),
                    open(f"{dying.folder}.killed", "x") as file,
                ):
                    file.write(path)
                    file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.Checkpoint._write = write_and_die
        try:
            self.work(piece)
        finally:
            checkpoint.Checkpoint._write = write


def but_for_seconds(results):
    """Return what a run found, without the seconds that it took."""
    if isinstance(results, dict):
        return {key: but_for_seconds(each) for key, each in results.items() if key != "seconds"}
    return [but_for_seconds(each) for each in results] if isinstance(results, list) else results


# Not the same in another process.
OF_THE_MOMENT = ("seconds", "machine", "peak_bytes", "added_bytes")


def assert_same_distillation(folder, expected, num_seeds=1):
    """Every file is there, and weights, curves, answers, files and results are the same.

    Args:
        folder: of what was killed and went on.
        expected: of what was left alone.
        num_seeds: how many were trained.
    """
    assert _files_of(folder) == _files_of(expected)
    compared = 0
    for path in expected.rglob("*"):
        other = folder / path.relative_to(expected)
        if path.suffix == ".keras":
            weights = (
                keras.models.load_model(each, compile=False).get_weights() for each in (other, path)
            )
            assert_equal_weights(*weights)
        elif path.suffix == ".npz":
            ours, theirs = np.load(other), np.load(path)
            assert ours.files == theirs.files
            for name in theirs.files:
                np.testing.assert_array_equal(ours[name], theirs[name])
        elif path.suffix in (".csv", ".tflite"):
            assert other.read_bytes() == path.read_bytes(), path.name
        elif path.name in ("results.json", "chosen.json"):
            ours, theirs = (_told(json.loads(each.read_text())) for each in (other, path))
            assert ours == theirs
        else:
            continue
        compared += 1
    # Of a seed: two models, their curves, what they said, and its results.
    assert compared > 6 * num_seeds + 2


def _files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _told(content):
    """Return results without what is of the moment."""
    if isinstance(content, dict):
        return {
            name: _told(value)
            for name, value in content.items()
            if not any(word in name for word in OF_THE_MOMENT)
        }
    return [_told(each) for each in content] if isinstance(content, list) else content
