"""Processes that share an experiment, one of which is killed in the middle of a training."""

import contextlib
import dataclasses
import os
import signal
from pathlib import Path

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
