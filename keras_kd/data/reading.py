"""A path -> `Data`, whatever of the three kinds lies there."""

import os
from pathlib import Path
from typing import Any

from keras_kd._common.json_files import parsed
from keras_kd._common.typing import PathLike
from keras_kd.data.archive import read_npz
from keras_kd.data.encoded import name_of
from keras_kd.data.image_folder import image_folder
from keras_kd.data.records import SCHEMA, read_records
from keras_kd.data.splits import Data, check_class_names

CLASS_NAMES = "class_names.json"


def read(path: PathLike, **options: Any) -> Data:
    """Read a data set from a folder of images, a folder of TFRecord shards, or an `.npz` file.

    Args:
        path: for `image_folder`, `read_records` (a folder with `schema.json`) or `read_npz`.
        **options: the arguments of that reader; those of images mean nothing to arrays, and are
            refused there.

    Returns:
        A `Data`.

    Raises:
        FileNotFoundError: if nothing is there.
        ValueError: if it is none of these, or the reader refuses it.
    """
    path = Path(path)
    check_path(path, **options)
    if path.is_dir():
        return (read_records if (path / SCHEMA).exists() else image_folder)(path, **options)
    # Arrays have one size, and there is nothing to decode.
    for name in ("default_size", "image_size", "channels", "unreadable", "cache"):
        options.pop(name, None)
    return read_npz(path, **options)


def check_path(path, *, image_size=None, channels=None, **_):
    """Refuse the path of what none of the readers reads, without looking into it.

    Args:
        path: as in `read`.
        image_size: as in `read`.
        channels: as in `read`.
        **_: the other arguments of a reader.

    Raises:
        FileNotFoundError: if nothing is there.
        ValueError: if it is something else.
    """
    path = Path(path)
    is_there, is_folder = os.path.exists(path), os.path.isdir(path)
    for name, value in (("image_size", image_size), ("channels", channels)):
        if path.suffix == ".npz" and not is_folder and value is not None:
            raise ValueError(
                f"Arrays keep their shape. Received: {name} for {path}. Give the teacher a "
                "`preprocess` that resizes, or write the images to files."
            )
    if not is_folder and (path.suffix != ".npz" or not os.path.isfile(path)):
        raise (ValueError if is_there else FileNotFoundError)(
            "The data must be a folder of images, a folder of TFRecord shards with "
            f"{SCHEMA}, or an .npz file. Received: {name_of((path, None, None))}, "
            f"{'something else' if is_there else 'which is not there'}."
        )


def class_names_beside(path):
    """Return the class names in `class_names.json` beside a model file, `None` without one.

    Args:
        path: of the model.

    Raises:
        ValueError: if the file is something else.
    """
    path = Path(path).with_name(CLASS_NAMES)
    return class_names_in(path) if path.exists() else None


def class_names_in(path):
    """Return the class names in a JSON file.

    Args:
        path: of the file. It holds a list of names in the order of the logits, or an object of
            names and their numbers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else.
    """
    path = Path(path)
    check_class_names_path(path)
    try:
        names = parsed(path)
    except ValueError as error:
        raise _no_class_names(path, f"a file {error}") from error
    try:
        if isinstance(names, dict):
            by_number = {number: name for name, number in names.items()}
            names = [by_number[number] for number in range(len(names))]
        if not isinstance(names, list):
            raise TypeError(f"{names!r}")
        return check_class_names(names)
    except (KeyError, TypeError) as error:
        raise _no_class_names(path, error) from error


def _no_class_names(path, received):
    return ValueError(
        f"{path} must hold the class names as a list in the order of the logits, or as an object "
        f"of names and numbers from 0. Received: {received}."
    )


def check_class_names_path(path):
    """Refuse the path of what is no file of class names, without looking into it.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Class names must lie in a JSON file. Received: {path}, no file.")
