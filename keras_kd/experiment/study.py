"""The Optuna study of a search: where it is stored, who draws from it, whose trials were lost.

Imported by `experiment.search` alone, once it is known that Optuna is there.
"""

import contextlib
import json
import os
import platform
import warnings
from pathlib import Path

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from keras_kd._common.json_files import misfit
from keras_kd.runs.progress import quiet_about_tracing
from keras_kd.runs.storage import without_password

# A worker that was not heard of for twice as long is dead: databases alone can tell.
HEARTBEAT_SECONDS = 30
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(name, storage, *, create, epochs):
    """Return the study of a name in a storage.

    Args:
        name: of the study.
        storage: the path of a journal file, or a database's URL.
        create: make the study if it is not there yet; done once, before the workers.
        epochs: of a trial, at most; none is pruned in their first fifth.

    Raises:
        ValueError: if the storage is a database that cannot be reached, or a damaged journal.
    """
    from sqlalchemy.exc import SQLAlchemyError

    options = {
        "study_name": name,
        "pruner": optuna.pruners.MedianPruner(n_warmup_steps=epochs // 5 + 1),
    }
    try:
        options["storage"] = _open_storage(storage)
        with _quiet():
            if create:
                return optuna.create_study(direction="maximize", load_if_exists=True, **options)
            return optuna.load_study(**options)
    except SQLAlchemyError as error:
        reason = without_password(str(error).splitlines()[0])
        raise ValueError(
            "`storage` must be the path of a journal file or the URL of a database that can be "
            f"reached, such as sqlite:///search.db. Received: "
            f"{without_password(str(storage))} ({reason})."
        ) from error


def work(study, objective, tickets, *, trials, seed, worker):
    """Run trials until there is no ticket left, or as many are finished as were asked for.

    Args:
        study: of `open_study`.
        objective: `(trial) -> value`.
        tickets: an iterable, an item a trial.
        trials: how many are to be finished, by all who share the study.
        seed: of the search.
        worker: number of this worker; no two draw the same.
    """
    with _quiet():
        for _ in tickets:
            if num_finished(study) >= trials:
                return
            # NOTE: One seed for all would make a resumed search draw its first trials again.
            state = np.random.SeedSequence([seed, worker, len(study.get_trials(deepcopy=False))])
            study.sampler = optuna.samplers.TPESampler(seed=int(state.generate_state(1)[0]))
            study.optimize(objective, n_trials=1, gc_after_trial=True)


def num_finished(study):
    """Return how many trials ran to their end or were pruned."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def finished(study):
    """Return the trials that ran to their end or were pruned, as dicts that JSON can hold."""
    found = []
    for trial in study.get_trials(deepcopy=False, states=FINISHED):
        each = {key: trial.user_attrs[key] for key in ("name", "settings", "epochs")}
        each["seconds"] = trial.user_attrs.get("seconds", 0.0)  # Former versions did not note it.
        if trial.state is TrialState.COMPLETE:
            each |= {"state": "complete", "validation": trial.user_attrs["validation"]}
            each["value"] = trial.value
        else:
            each |= {"state": "pruned", "value": max(trial.intermediate_values.values())}
        found.append(each)
    return found


def best_of(trials):
    """Return the best of `finished` by validation accuracy, then likelihood."""

    def worth(trial):
        validation = trial["validation"]
        return validation["accuracy"], -validation["negative_log_likelihood"]

    return max((trial for trial in trials if trial["state"] == "complete"), key=worth)


def place_of(folder):
    """Return what tells a folder from those of other searches that share a study."""
    return f"{platform.node()}:{Path(folder).resolve()}"


def take_up_again(study, place, piece=None):
    """Queue the trials of a place that were killed or failed, with the settings they had.

    Args:
        study: of `open_study`.
        place: of `place_of`, in which nobody is at work.
        piece: for one of several at work there: number of its piece of the work, whose trials are
            meant alone.
    """
    with _quiet():
        lost, still_going = {}, set()
        for trial in study.get_trials(deepcopy=False):
            said = trial.user_attrs
            is_meant = said.get("place") == place and piece in (None, said.get("piece"))
            if is_meant and trial.state in (TrialState.RUNNING, TrialState.FAIL):
                if trial.state is TrialState.RUNNING:
                    study.tell(trial.number, state=TrialState.FAIL)
                lost[said["name"]] = trial
            elif trial.state is not TrialState.FAIL:
                still_going.add(said.get("name"))
        for name in lost.keys() - still_going:
            _retry()(study, lost[name])


def mend_journal(path):
    """Remove what a killed process leaves of a journal: its lock, and half a line.

    Args:
        path: of a journal that nobody else is at work with.
    """
    # Optuna breaks the lock by itself, after half a minute.
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        os.truncate(path, whole)


def _check_journal(path):
    """Refuse a journal that Optuna would stumble over."""
    if not os.path.lexists(path):
        return
    reason = None
    if not path.is_file():  # A pipe would be waited for, for ever.
        reason = "which is no file"
    else:
        # What stands behind the last line end is being written.
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                fits = misfit(json.loads(line), {"op_code": int, "worker_id": str}) is None
            except (ValueError, RecursionError):
                fits = False
            if not fits:
                reason = f"which is damaged in line {number}"
                break
    if reason is not None:
        raise ValueError(
            f"The journal of a search must be as it was written. Received: {path}, {reason}. "
            "Remove it: the trials then begin anew."
        )


def _open_storage(storage):
    if "://" not in str(storage):
        path = Path(storage)
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_journal(path)
        # NOTE: The default lock is a symbolic link to the journal. Left by a killed process, it is
        # never broken where its target's path means nothing: relative, or of another machine.
        lock = JournalFileOpenLock(str(path))
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))
    with _quiet():
        return optuna.storages.RDBStorage(
            storage,
            heartbeat_interval=HEARTBEAT_SECONDS,
            heartbeat_stale_trial_callback=_retry(),
        )


def _retry():
    return optuna.storages.RetryHeartbeatStaleTrialCallback()


@contextlib.contextmanager
def _quiet():
    """Hold back what Optuna says of each trial, that heartbeats are new, and that each trial's
    model is traced anew."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with quiet_about_tracing(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
