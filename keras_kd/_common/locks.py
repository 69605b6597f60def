"""One process at a time writes a folder: it holds a lock, which goes with the process."""

import contextlib
import datetime
import json
import os
import platform
from pathlib import Path

import filelock

from keras_kd._common.files import remove_leftovers

# In a folder that is written to, while it is.
LOCK = ".lock"
# Who looks whether a lock is held takes it for a moment.
_PATIENCE = 1.0


@contextlib.contextmanager
def at_work(folder):
    """Hold a folder, made if it is missing; remove what a killed process left unfinished in it.

    Raises:
        ValueError: if another process holds it.
        OSError: if it cannot be written to.
    """
    folder = Path(folder)
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquired(folder / LOCK, _PATIENCE)
    if lock is None:
        raise ValueError(
            f"Another process is at work in {folder}{_holder(folder / LOCK)}. Wait for it, or "
            "end it."
        )
    with _released(lock):
        _sign(lock)
        remove_leftovers(folder)
        yield


@contextlib.contextmanager
def alone(path, say=print):
    """Hold what is made once for all, such as a cache; wait for a process that makes it.

    Args:
        path: of the file or folder to be; the lock lies beside it.
        say: is told in a sentence what is waited for.

    Raises:
        OSError: if nothing can be written beside it.
    """
    path = Path(path)
    lock_path = path.with_name(f".{path.name}.lock")
    with _writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquired(lock_path, _PATIENCE)
        if lock is None:
            say(f"Waiting for another process that writes {path}{_holder(lock_path)}")
            lock = _acquired(lock_path, None)
    with _released(lock):
        _sign(lock)
        yield


def is_held(folder):
    """Return whether a process is at work in a folder."""
    path = Path(folder) / LOCK
    if not path.is_file():
        return False
    # OSError: in a folder of somebody else's nobody can tell.
    with contextlib.suppress(OSError):
        lock = _acquired(path, 0)
        if lock is None:
            return True
        with _released(lock):
            return False
    return False


def _acquired(path, seconds):
    """Return the lock, or `None` if another holds it for so long; `None` seconds: wait."""
    # One a call: a thread that writes where another of its process does is refused as well.
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=-1 if seconds is None else seconds, poll_interval=0.05)
    except filelock.Timeout:
        return None
    return lock


def _sign(lock):
    """Write into a lock who holds it."""
    since = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    me = {"process": os.getpid(), "host": platform.node(), "since": since}
    Path(lock.lock_file).write_text(json.dumps(me))


@contextlib.contextmanager
def _released(lock):
    try:
        yield
    finally:
        # Who waits sees that the file it opened is gone, and makes another. Windows keeps it.
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def _holder(path):
    """Return who holds a lock, in brackets, as far as that can be read."""
    # Windows lets nobody read it; what else lies there says nothing.
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict) and isinstance(found.get("process"), int):
            return " (process {process} on {host}, since {since})".format_map(
                {"host": "?", "since": "?"} | found
            )
    return ""


@contextlib.contextmanager
def _writable(folder):
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"The folder to write to must be one that can be written to. Received: {folder} "
            f"({error.strerror or error}). Name another."
        ) from error
