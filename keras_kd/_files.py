"""Files appear whole or not at all."""

import contextlib
import tempfile
from pathlib import Path


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


def size_of(path):
    """Return the bytes that a file, or everything below a folder, takes."""
    path = Path(path)
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
