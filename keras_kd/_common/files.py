"""Files appear whole or not at all."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

_URL = re.compile(r"[a-z][a-z0-9+.-]+://.+")
# A full disk, a quota, a limit on the size of files.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_url(path):
    """Return whether a path is the URL of a place elsewhere."""
    return isinstance(path, str) and _URL.fullmatch(path) is not None


def keras_home():
    """Return the folder in which Keras keeps what it fetched."""
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))


def move(path, place):
    """Move a file or folder to its place, where only a file may lie, and write that through."""
    path.replace(place)
    _sync(place.parent)


def move_new(path, place):
    """Move a file to its place, unless one lies there already, be it since a moment."""
    try:
        os.link(path, place)
    except FileExistsError:
        return
    except OSError:  # There are no links here, and a moment in which two may come.
        if not place.exists():
            path.replace(place)
    _sync(place.parent)


@contextlib.contextmanager
def written_whole(path, move=move):
    """Yield a path beside `path` to write a file or folder to; move it into place at the end.

    If the block fails or is interrupted, what was written is removed and an older `path` stays
    as it was. What is moved lies on the disk: a machine that stops leaves the old or the new.

    Args:
        path: its place.
        move: `move`, or `move_new` for a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own, so that the name (which some writers check) can stay the same.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        write_through(unfinished)
        if unfinished.is_dir() and path.is_dir():
            # A folder cannot be replaced in one step: the old one leaves first, and goes with
            # the temporary folder.
            path.rename(Path(folder) / "old")
        move(unfinished, path)


def write_through(path):
    """Wait until a file, or a folder with everything in it, lies on the disk."""
    for parent, _, names in os.walk(path):
        for name in names:
            _sync(Path(parent) / name)
        _sync(Path(parent))
    if not path.is_dir():
        _sync(path)


def _sync(path):
    if path.is_dir() and os.name == "nt":  # Windows opens no folders, and needs none written.
        return
    # NOTE: Windows writes through what was opened for writing alone.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder):
    """Remove what `written_whole` had begun in a folder when its process was killed.

    A folder that was about to be replaced is brought back, as the new one if that was whole.
    """
    folder = Path(folder)
    for path in folder.glob(".*"):
        name = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}", path.name)
        if not name or not path.is_dir() or path.is_symlink():
            continue
        there = {each.name for each in path.iterdir()}
        if not there <= {name[1], "old"}:
            continue
        if "old" in there and not (folder / name[1]).exists():
            # The old one leaves only when the new one is whole.
            move(path / (name[1] if name[1] in there else "old"), folder / name[1])
        shutil.rmtree(path)


def size_of(path):
    """Return the bytes that a file, or everything below a folder, takes."""
    path = Path(path)
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def sha256_of(path):
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def no_room(error):
    """Return whether an exception, or one that it came from, tells of a disk without room."""
    while error is not None:
        # HDF5 and TensorFlow tell it in words alone.
        if getattr(error, "errno", None) in _NO_ROOM or "No space left" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
