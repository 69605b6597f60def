"""A path -> `Data`, whatever of the kinds that there are lies there."""

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_kd._common.json_files import parsed
from keras_kd._common.typing import PathLike
from keras_kd.data.archive import read_npz
from keras_kd.data.class_folders import check_unreadable, refuse_unreadable
from keras_kd.data.encoded import EncodedImages, name_of
from keras_kd.data.image_folder import IMAGES, image_folder, unlabelled_images
from keras_kd.data.records import SCHEMA, read_records
from keras_kd.data.rows import SUFFIXES, files_of, read_rows
from keras_kd.data.splits import Data, check_class_names
from keras_kd.data.table import table
from keras_kd.data.text_file import text_file, texts_in
from keras_kd.data.text_folder import TEXTS, readable, text_folder, texts_below
from keras_kd.data.texts import check_num_bytes, numbers_of

CLASS_NAMES = "class_names.json"
# What people call what each reads.
_KINDS = {
    image_folder: "Images",
    text_folder: "Texts",
    text_file: "Texts",
    table: "Rows of a table",
    read_records: "Records",
    read_npz: "Arrays",
}
# Arrays have one size, and there is nothing to decode.
_NOT_OF_ARRAYS = ("image_size", "channels", "unreadable", "cache")


def read(path: PathLike, **options: Any) -> Data:
    """Read a data set, by the reader of what lies there.

    | what lies there | reader |
    | --- | --- |
    | a folder with a folder of images for each class | `image_folder` |
    | a folder with a folder of `.txt` files for each class | `text_folder` |
    | a file `.csv`, `.tsv` or `.jsonl` with a column `text`, or with `text=` said | `text_file` |
    | another such file | `table` |
    | a folder with `train.csv`, or another such file | the same two |
    | a folder of TFRecord shards with `schema.json` | `read_records` |
    | a file `.npz` | `read_npz` |

    Args:
        path: of the folder or file.
        **options: the arguments of that reader. Those of another are refused. Two may be said of
            any: `default_size`, that of images, and `(num_bytes,)` of texts; and `shape`, that of
            one example as a model takes it, to which images and texts are brought.

    Returns:
        A `Data`.

    Raises:
        FileNotFoundError: if nothing is there.
        ValueError: if it is none of these, or the reader refuses it.
    """
    path = Path(path)
    check_path(path, **options)
    reader = _reader_of(path, options)
    options = _for(reader, **options)
    taken = inspect.signature(reader).parameters
    for name in options.keys() - taken.keys():
        raise ValueError(
            f"{_KINDS[reader]} are read without `{name}`. Received: {name}={options[name]!r} for "
            f"{name_of((path, None, None))}. Leave it out."
        )
    return reader(path, **options)


def unlabelled(
    path: PathLike, like: Data, *, unreadable: str = "refuse", text: str = "text"
) -> np.ndarray | EncodedImages:
    """Read examples without labels, such as those of a `Data`.

    They are all images, or all `.txt` files, below a folder, whatever its folders are called; or
    the rows of a CSV or JSON-lines file, where the data are texts or a table.

    Args:
        path: the folder or file.
        like: the `Data` whose shape they take; images lie in memory if its training images do.
        unreadable: as in `image_folder`.
        text: the column of texts in a file.

    Returns:
        What models take: uint8 images `[n, height, width, channels]` as an array or
        `EncodedImages`, int32 texts `[n, num_bytes]`, or float32 rows `[n, features]`.

    Raises:
        FileNotFoundError: if nothing is there.
        ValueError: if there are no such examples, or one cannot be read.
        ImportError: if Pillow is not installed, for images (extra `images`).
    """
    check_unreadable(unreadable)
    if like.columns is not None:
        rows = [read_rows(file) for file in files_of(path).values()]
        for each in rows:
            each.check_has(*(column.name for column in like.columns.columns))
        return like.columns.encode([row for each in rows for row in each.rows])
    if like.reads != "texts":
        return unlabelled_images(path, like, unreadable)
    if os.path.isdir(path):
        texts = texts_below(path)
    else:
        rows = read_rows(files_of(path)["train"])
        rows.check_has(text, of=" of texts", option="text")
        texts = texts_in(rows, text)
    (num_bytes,), left_out = like.input_shape, {}
    found, _ = readable(texts, num_bytes, left_out)
    refuse_unreadable(left_out, unreadable, one="text", fault="that hold none")
    if not found:
        raise ValueError(
            "A folder of unlabelled texts must hold some (.txt). Received: "
            f"{name_of((path, None, None))}, which holds none."
        )
    return numbers_of(found, num_bytes)


def _reader_of(path, options):
    """Return the function that reads what lies at a path."""
    if path.suffix.lower() == ".npz" and not path.is_dir():
        return read_npz
    if (path / SCHEMA).exists():
        return read_records
    if not path.is_dir() or _has_rows(path):
        is_text = "text" in options or "text" in read_rows(files_of(path)["train"]).columns
        return text_file if is_text else table
    # A text beside an image tells of it.
    return text_folder if TEXTS.below(path) and not IMAGES.below(path) else image_folder


def _for(reader, *, default_size=None, shape=None, **options):
    """Return options for a reader, sizes and shapes as it calls them of its examples."""
    if reader is read_npz:
        return {name: each for name, each in options.items() if name not in _NOT_OF_ARRAYS}
    if shape is not None and None not in shape:
        if reader in (image_folder, read_records) and len(shape) == 3:
            options |= {"image_size": tuple(shape[:2]), "channels": shape[2]}
        elif reader in (text_folder, text_file) and len(shape) == 1:
            options["num_bytes"] = shape[0]
    size = default_size or ()
    if reader in (image_folder, read_records) and len(size) == 2:
        return {"default_size": default_size, **options}
    if reader in (text_folder, text_file) and len(size) == 1:
        return {"num_bytes": size[0], **options}
    return options


def _has_rows(folder):
    return any((folder / f"train{suffix}").is_file() for suffix in SUFFIXES)


def check_path(
    path, *, image_size=None, channels=None, num_bytes=None, label=None, text=None, **_
):  # fmt: skip
    """Refuse the path of what none of the readers reads, without looking into it.

    Args:
        path: as in `read`.
        image_size: as in `read`.
        channels: as in `read`.
        num_bytes: as in `read`.
        label: as in `read`.
        text: as in `read`.
        **_: the other arguments of a reader.

    Raises:
        FileNotFoundError: if nothing is there.
        ValueError: if it is something else, or `num_bytes` is no number of bytes.
    """
    path = Path(path)
    if num_bytes is not None:
        check_num_bytes(num_bytes)
    sizes = {"image_size": image_size, "channels": channels, "num_bytes": num_bytes}
    is_there, is_folder = os.path.exists(path), os.path.isdir(path)
    suffix = path.suffix.lower()
    for name, value in sizes.items():
        if suffix == ".npz" and not is_folder and value is not None:
            raise ValueError(
                f"Arrays keep their shape. Received: {name} for {path}. Give the teacher a "
                "`preprocess` that resizes, or write them to files."
            )
    for name, value in (("label", label), ("text", text)):
        if value is not None and not (is_folder or suffix in SUFFIXES):
            raise ValueError(
                f"A column is one of a file of rows ({', '.join(SUFFIXES)}). Received: "
                f"{name}={value!r} for {name_of((path, None, None))}. Leave it out."
            )
    if not is_folder and (suffix not in (".npz", *SUFFIXES) or not os.path.isfile(path)):
        raise (ValueError if is_there else FileNotFoundError)(
            "The data must be a folder of images or texts, a folder of TFRecord shards with "
            f"{SCHEMA}, a file of rows ({', '.join(SUFFIXES)}), or an .npz file. Received: "
            f"{name_of((path, None, None))}, "
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
