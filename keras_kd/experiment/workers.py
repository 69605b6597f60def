"""Processes that share the trials of a search.

Imported where a search runs, once it is known that Optuna is there.
"""

import contextlib
import dataclasses
import multiprocessing
import pickle
import sys

from keras_kd._common.console import Console
from keras_kd.device import call_in_new_process, visible_gpus
from keras_kd.experiment.space import Space
from keras_kd.experiment.study import num_finished, open_study, place_of, take_up_again, work
from keras_kd.experiment.training import Trainer
from keras_kd.experiment.trial import Objective
from keras_kd.launchers.processes import end_with_parent
from keras_kd.runs.progress import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker must know.

    Args:
        recipe: the `Recipe`.
        axes: of the `Space`.
        study: name of the study, which is there.
        storage: of `open_study`.
        trials: how many are to be finished.
        seed: of the search.
        folder: with the trained teacher.
        data_dir: as in `data.load`.
        verbose: say a line for each trial.
    """

    recipe: object
    axes: dict
    study: str
    storage: str = dataclasses.field(repr=False)  # May hold a password.
    trials: int
    seed: int
    folder: object
    data_dir: object
    verbose: bool

    def options(self, worker):
        """Return what `work` asks of a worker by number."""
        return {"trials": self.trials, "seed": self.seed, "worker": worker}


def check_can_be_sent(recipe):
    """Refuse a recipe that no other process could be given.

    Raises:
        ValueError: if it holds a function that has no name in a module.
    """
    try:
        pickle.dumps(recipe)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            "With several workers, the functions of a recipe must be those of a module, no lambdas "
            f"or inner functions. Received: the recipe {recipe.name} ({error}). Use `workers=1`."
        ) from error


def run_trials(study, job, objective, num_workers):
    """Run trials until as many are finished as were asked for.

    Args:
        study: the study of the job.
        job: a `Job`, in whose folder nobody else is at work.
        objective: an `Objective`, for one worker: this process.
        num_workers: how many processes.

    Raises:
        Exception: what a worker raised.
        ChildProcessError: if all workers were killed.
    """
    while (num_left := job.trials - num_finished(study)) > 0:
        take_up_again(study, place_of(job.folder))
        if num_workers == 1:
            work(study, objective, range(num_left), **job.options(worker=0))
        else:
            _run_workers(job, num_workers, num_left)


def _run_workers(job, num_workers, num_trials):
    """Run trials in processes of their own, until each has ended."""
    # Not forked: TensorFlow does not survive that.
    context = multiprocessing.get_context("spawn")
    left, errors = context.Value("i", num_trials), context.SimpleQueue()
    processes = [
        context.Process(
            target=call_in_new_process,
            args=(pickle.dumps((_worker, job)), visible_gpus(), number, left, errors),
        )
        for number in range(min(num_workers, num_trials))
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()
    if not errors.empty():
        raise errors.get()
    codes = [process.exitcode for process in processes]
    if all(codes):
        raise ChildProcessError(
            f"The workers of a search must end by themselves. Received: exit codes {codes}. Look "
            "for what killed them, such as memory, and begin again: the search goes on."
        )


def _worker(job, number, left, errors):
    end_with_parent()
    try:
        # One line is drawn over by one process at most.
        progress = Progress(console=Console(quiet=not job.verbose, force_terminal=False))
        data, quiet = job.recipe.load(job.seed, job.data_dir), Progress(verbose=False)
        fixed = job.recipe.opened_teacher(data, progress=quiet)
        trainer = Trainer(job.recipe, data, job.seed, job.folder, quiet, fixed=fixed)
        teacher = trainer.teacher()
        objective = Objective(
            dataclasses.replace(trainer, progress=progress), Space(job.recipe, job.axes), teacher
        )
        study = open_study(job.study, job.storage, create=False, epochs=job.recipe.epochs)
        work(study, objective, _tickets(left), **job.options(worker=number))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        with contextlib.suppress(Exception):  # Not every one can be sent.
            errors.put(error)
        raise


def _tickets(left):
    while True:
        with left.get_lock():
            if left.value <= 0:
                return
            left.value -= 1
        yield
