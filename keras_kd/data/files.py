"""Files of any kind -> the bytes at their two ends, which tell the kind."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_kd._common.checks import check_integer, check_seed
from keras_kd._common.typing import PathLike
from keras_kd.data.joining import NO_LABEL
from keras_kd.data.splits import Split

# So much is read at either end, and so many bytes are kept of it.
BLOCK, KEPT = 4096, 1024
PADDING = 256
# Of a file with fewer bytes nothing can be told.
FEWEST = 8


def files(
    paths: PathLike | Sequence[PathLike],
    *,
    suffixes: Mapping[str, int],
    per_folder: int = 4,
    per_suffix: int | None = None,
    seed: int = 0,
) -> Split:
    """Sample files by folder and suffix; return the bytes at their two ends.

    Of the first 4,096 bytes without white space before them the first 1,024 are kept, of the last
    4,096 without white space behind them the last 1,024: what Google's `magika` looks at. Nothing
    else of a file is kept, neither its name nor its place.

    In every folder at most `per_folder` files of each suffix are drawn. Links are not followed.
    Files that cannot be read, hold fewer than 8 bytes, or begin or end as one before them are left
    out.

    Args:
        paths: a folder, or a file; or several of these.
        suffixes: `{suffix: label}`, such as `{".py": 0}`: what a file is by its name. A suffix that
            is not there says nothing.
        per_folder: the most files of one suffix in one folder.
        per_suffix: the most files of one suffix in all; any number if `None`.
        seed: integer that the choice depends on.

    Returns:
        A `Split`: int32 `[n, 2048]`, values from 0 to 255, 256 where there is no byte; labels by
        suffix, -1 where it says nothing.

    Raises:
        FileNotFoundError: if a path is not there.
        ValueError: if there is no file that can be told, or an argument is out of range.

    Example:

    ```python
    import pathlib
    import keras_kd as kd

    pathlib.Path("sources").mkdir(exist_ok=True)
    pathlib.Path("sources/first.py").write_text("print('Hello, world.')")
    split = kd.data.files("sources", suffixes={".py": 0})
    assert split.images.shape == (1, 2048) and split.labels.tolist() == [0]
    ```
    """
    check_integer("per_folder", per_folder, minimum=1)
    if per_suffix is not None:
        check_integer("per_suffix", per_suffix, minimum=1)
    check_seed(seed)
    found = sampled(paths, per_folder=per_folder, per_suffix=per_suffix, seed=seed)
    seen, ends, labels = set(), [], []
    for path in found:
        bytes_of_it = ends_of(path)
        if bytes_of_it is None or bytes_of_it.tobytes() in seen:
            continue
        seen.add(bytes_of_it.tobytes())
        ends.append(bytes_of_it)
        labels.append(suffixes.get(suffix_of(path), NO_LABEL))
    if not ends:
        raise ValueError(
            f"There must be files of at least {FEWEST} bytes. Received: none in {paths}. Name "
            "another folder."
        )
    return Split(np.array(ends, np.int32), np.array(labels, np.int32))


def sampled(paths, *, per_folder, per_suffix, seed):
    """Return the paths that `files` reads, in their order; the arguments are its own."""
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    generator = np.random.default_rng(seed)
    by_suffix = {}
    for path in paths:
        for names in _folders(Path(path)):
            for suffix, each in _grouped(names).items():
                by_suffix.setdefault(suffix, []).extend(_drawn(each, per_folder, generator))
    return sorted(
        path for each in by_suffix.values() for path in _drawn(each, per_suffix, generator)
    )


def ends_of(path):
    """Return int16 `[2048]` of a file; `None` if it cannot be read or has too few bytes."""
    try:
        with open(path, "rb") as file:
            first = file.read(BLOCK)
            file.seek(max(0, os.fstat(file.fileno()).st_size - BLOCK))
            last = file.read(BLOCK)
    except OSError:
        return None
    return ends(first, last)


def ends(first, last):
    """Return int16 `[2048]` of the first and the last 4,096 bytes of a file, or `None`."""
    first, last = first.lstrip()[:KEPT], last.rstrip()[-KEPT:]
    if len(first) < FEWEST:
        return None
    found = np.full(2 * KEPT, PADDING, np.int16)
    found[: len(first)] = np.frombuffer(first, np.uint8)
    found[2 * KEPT - len(last) :] = np.frombuffer(last, np.uint8)
    return found


def suffix_of(path):
    """Return what a file's name ends in, such as `.py`; of `libc.so.6` that is `.so`."""
    return os.path.splitext(re.sub(r"(\.\d+)+$", "", path))[1]


def _folders(root):
    """Yield, for each folder from `root` down, the sorted paths of its regular files."""
    if not root.exists():
        raise FileNotFoundError(f"There must be a folder or a file. Received: {root}, neither.")
    if root.is_file():
        yield [str(root)]
        return
    for parent, folders, names in os.walk(root):
        folders.sort()
        paths = [os.path.join(parent, name) for name in sorted(names)]
        yield [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]


def _grouped(paths):
    groups = {}
    for path in paths:
        groups.setdefault(suffix_of(path), []).append(path)
    return groups


def _drawn(paths, most, generator):
    """Return at most so many, drawn."""
    if most is None or len(paths) <= most:
        return paths
    return [paths[at] for at in sorted(generator.permutation(len(paths))[:most])]
