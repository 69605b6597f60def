"""What other processes train of an experiment: pieces of it, in the same folder.

Each reads the data and opens the teacher by itself, and leaves the files that one process leaves.
So the one that asked them finds everything trained, and chooses and judges as if it had done all.
"""

import copy
import dataclasses
import functools
import pickle
import platform
import time
from pathlib import Path

from keras_kd._common.checks import MOST_WORKERS, check_integer
from keras_kd._common.console import Console
from keras_kd._common.locks import alone
from keras_kd._common.model_files import Imported
from keras_kd.experiment.kind import Kind
from keras_kd.experiment.training import Asked, Trainer
from keras_kd.launchers import Launcher, Processes
from keras_kd.runs import events
from keras_kd.runs.folder import is_begun
from keras_kd.runs.progress import Progress


def launcher_of(workers: int | Launcher) -> Launcher | None:
    """Return the launcher that is asked for; `None` for this process alone.

    Args:
        workers: how many processes of this machine, or a launcher.

    Raises:
        ValueError: if it is neither.
    """
    if callable(workers):
        return workers
    check_integer("workers", workers, minimum=1, maximum=MOST_WORKERS)
    return Processes(workers) if workers > 1 else None


def num_pieces_of(workers: int | Launcher) -> int:
    """Return into how many pieces to cut what can be cut anywhere."""
    if isinstance(workers, int):
        return workers
    return getattr(workers, "num_workers", None) or MOST_WORKERS


def check_can_be_sent(*parts):
    """Refuse what no other process could be given.

    Args:
        *parts: of an experiment, such as its recipe.

    Raises:
        ValueError: if one holds a function that has no name in a module.
    """
    try:
        pickle.dumps(parts)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            "With several workers, the functions of a recipe must be those of a module, no lambdas "
            f"or inner functions. Received: {error}. Use `workers=1`."
        ) from error


def shared(kind, trainer, pieces):
    """Have other processes train pieces, if they were asked for.

    Args:
        kind: a `Kind`, whose `train_piece` they call.
        trainer: a `Trainer`, whose folder this process holds.
        pieces: that can be pickled; one alone is left to this process.

    Returns:
        The `Trainer` to go on with, which says nothing of what it finds trained.

    Raises:
        Exception: what a process raised.
        ChildProcessError: if they are killed again and again.
    """
    launcher = launcher_of(trainer.asked.workers)
    if launcher is None or len(pieces) < 2:
        return trainer
    began, say = time.perf_counter(), trainer.progress.say
    for count, piece in enumerate(launcher(_Work.of(kind, trainer), pieces), start=1):
        if title := kind.title_of_piece(piece):
            say(f"{title} is trained: {count} of {len(pieces)}")
    # The seconds of all trainings count, whoever did them, and not the waiting for them.
    trainer.earlier.append(began - time.perf_counter())
    return dataclasses.replace(trainer, progress=Progress(verbose=False))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Work:
    """Trains a piece, in whatever process it is unpickled in."""

    imported: Imported = dataclasses.field(default_factory=Imported)  # In front of the recipe.
    kind: Kind
    recipe: object
    seed: int
    folder: Path
    asked: Asked
    says: bool

    @classmethod
    def of(cls, kind, trainer):
        """Return the work of a `Trainer`."""
        # A log of the program's own is in this process alone.
        says = trainer.progress.verbose and not trainer.progress.console.is_logged
        asked = dataclasses.replace(trainer.asked, workers=1)
        return cls(
            kind=copy.copy(kind), recipe=trainer.recipe, seed=trainer.seed, folder=trainer.folder,
            asked=asked, says=says,
        )  # fmt: skip

    @functools.cached_property
    def _trainer(self):
        data, quiet = self.recipe.load(self.seed, self.asked.data_dir), Progress(verbose=False)
        callbacks = events.callbacks_for(self.folder, self.asked.tensorboard)
        fixed = self.recipe.opened_teacher(data, progress=quiet)
        return Trainer(
            self.recipe, data, self.seed, self.folder, quiet, callbacks, fixed=fixed,
            asked=self.asked,
        )  # fmt: skip

    def __call__(self, piece):
        title = self.kind.title_of_piece(piece)
        if not is_begun(self.folder):
            raise FileNotFoundError(
                "All machines must see the folder that a run is written in. Received: "
                f"{self.folder.absolute()}, where {platform.node()} finds no run. Name a folder "
                "that they share."
            )
        # Bars of several processes would be drawn over each other.
        console = Console(quiet=not self.says, force_terminal=False)
        progress = Progress(False, console, who=f"{title}: " if title else "")
        trainer = dataclasses.replace(self._trainer, progress=progress, earlier=[])
        # Who was taken for dead may still be at it.
        with alone(self.folder / (title or f"piece {piece}").replace(" ", "_"), progress.say):
            self.kind.train_piece(trainer, piece)
