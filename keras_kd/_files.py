"""Files appear whole or not at all."""

import contextlib
import errno
import hashlib
import re
import shutil
import tempfile
from pathlib import Path

# A full disk, a quota, a limit on the size of files.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def written_whole(path):
    """Yield a path beside `path` to write a file or folder to; move it into place at the end.

    If the block fails or is interrupted, what was written is removed and an older `path` stays
    as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own, so that the name (which some writers check) can stay the same.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        if unfinished.is_dir() and path.is_dir():
            # A folder cannot be replaced in one step: the old one leaves first, and goes with
            # the temporary folder.
            path.rename(Path(folder) / "old")
        unfinished.replace(path)


def remove_leftovers(folder):
    """Remove what `written_whole` had begun in a folder when its process was killed."""
    for path in Path(folder).glob(".*"):
        name = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}", path.name)
        if name and path.is_dir() and {each.name for each in path.iterdir()} <= {name[1], "old"}:
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
