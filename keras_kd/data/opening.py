"""A path -> `Data`, whatever of the three kinds lies there."""

import json
from pathlib import Path

from keras_kd.data.archive import read_npz
from keras_kd.data.assembling import check_class_names
from keras_kd.data.encoded import name_of
from keras_kd.data.image_folder import image_folder
from keras_kd.data.records import SCHEMA, read_records

CLASS_NAMES = "class_names.json"


def read(path, **options):
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
    if path.is_dir():
        return (read_records if (path / SCHEMA).exists() else image_folder)(path, **options)
    if path.suffix != ".npz":
        is_there = path.exists()
        raise (ValueError if is_there else FileNotFoundError)(
            "The data must be a folder of images, a folder of TFRecord shards with "
            f"{SCHEMA}, or an .npz file. Received: {name_of((path, None, None))}, "
            f"{'something else' if is_there else 'which is not there'}."
        )
    options.pop("default_size", None)  # Arrays have one size.
    for name in ("image_size", "channels"):
        if options.pop(name, None) is not None:
            raise ValueError(
                f"Arrays keep their shape. Received: {name} for {path}. Give the teacher a "
                "`preprocess` that resizes, or write the images to files."
            )
    for name in ("unreadable", "cache"):  # There is nothing to decode.
        options.pop(name, None)
    return read_npz(path, **options)


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
    if not path.is_file():
        raise FileNotFoundError(f"Class names must lie in a JSON file. Received: {path}, no file.")
    try:
        names = json.loads(path.read_text())
        if isinstance(names, dict):
            by_number = {number: name for name, number in names.items()}
            names = [by_number[number] for number in range(len(names))]
        if not isinstance(names, list):
            raise TypeError(f"{names!r}")
        return check_class_names(names)
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must hold the class names as a list in the order of the logits, or as an "
            f"object of names and numbers from 0. Received: {error}."
        ) from error
