"""`.keras` files, loaded without running code that they may carry."""

import contextlib
import importlib
import os
import zipfile
import zlib
from pathlib import Path

import keras

from keras_kd._limits import check_archive, check_hdf5


def load_model_file(
    path,
    what,
    *,
    remedy="For a class of yours, load it in Python, where the module that registers it was "
    "imported.",
):
    """Load a `.keras` file with Keras's safe mode on.

    Args:
        path: the file.
        what: what to call it in an error, such as `"teacher"`.
        remedy: what to do about a class that Keras does not know.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no `.keras` file, is damaged, or holds what would run code.
    """
    path = Path(path)
    check_path(path, what)
    _check_content(path, what)
    importlib.import_module("keras_kd.quantize")  # Its layers may be in the file.
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # Keras raises all kinds, in paragraphs.
        raise ValueError(
            f"The {what} must be made of Keras's own layers, without code of its own such as a "
            f"Lambda layer. Received: {path}: {first_sentence(error)}. {remedy}"
        ) from error


def check_path(path, what):
    """Refuse the path of what is no `.keras` file, without looking into it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"The {what} must be a .keras file. Received: {path}, no file.")
    if path.suffix != ".keras" or not os.path.isfile(path):
        raise ValueError(
            f"The {what} must be a .keras file. Received: {path}. Write one with "
            '`model.save("model.keras")`.'
        )


def _check_content(path, what):
    """Refuse a damaged file, and one that unpacks to more than a file may."""
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                # What h5py cannot open Keras cannot either, and says why.
                with archive.open(name) as file, contextlib.suppress(OSError):
                    if name.endswith(".h5"):
                        check_hdf5(file, path, os.path.getsize(path))
    except (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"The {what} must be a whole .keras file. Received: {path}, which is damaged or of "
            'another kind. Write it again with `model.save("model.keras")`.'
        ) from error


def first_sentence(error):
    """Return the first sentence of what an exception says, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".:")
