"""`.keras` and `.h5` files, loaded without running code that they may carry."""

import contextlib
import importlib
import os
import sys
import zipfile
import zlib
from pathlib import Path

import keras

from keras_kd._common.limits import check_archive, check_hdf5

_KINDS = (".keras", ".h5", ".hdf5")
# For the processes that this one begins.
_imported: list[str] = []
# OSError is h5py's: the file itself could be opened.
_DAMAGE = (EOFError, NotImplementedError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


def load_model_file(path, what):
    """Load a `.keras` file, or a `.h5` file of a whole model, with Keras's safe mode on.

    Args:
        path: the file.
        what: what to call it in an error, such as `"teacher"`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is another kind of file, is damaged, or holds what would run code.
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
            f"Lambda layer. Received: {path}: {first_sentence(error)}. For a class of yours, name "
            "the module that registers it with --import; in Python, import it first."
        ) from error


class Imported:
    """Where it is unpickled, the modules are imported that `import_modules` imported here.

    A process that is given a user's layers needs them first: it comes in front of these.
    """

    def __reduce__(self):
        return import_modules, (tuple(_imported),)


def import_modules(names):
    """Import the modules that register a user's own layers and models.

    Args:
        names: as in an `import` statement, found in the current folder too.

    Raises:
        ImportError: if one cannot be imported.
    """
    here = os.getcwd()
    if names and here not in sys.path:
        sys.path.insert(0, here)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # The user's code may fail in any way.
            raise ImportError(
                f"--import must name a module that can be imported. Received: {name!r}: "
                f"{first_sentence(error)}."
            ) from error
        _imported.append(name)


def check_path(path, what, *, kinds="a .keras file"):
    """Refuse the path of what is no file of a whole model, without looking into it.

    Args:
        path: the file.
        what: what to call it in an error.
        kinds: what it may be.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"The {what} must be {kinds}. Received: {path}, no file.")
    if os.path.isfile(path / "saved_model.pb"):
        raise ValueError(
            f"The {what} must be a .keras file. Received: {path}, a SavedModel, which is a "
            "program. If you trust it, make a model of it: `keras.Sequential([keras.Input(shape), "
            f"keras.layers.TFSMLayer({str(path)!r}, call_endpoint='serving_default')])`."
        )
    if path.suffix not in _KINDS or not os.path.isfile(path):
        raise ValueError(
            f"The {what} must be {kinds}. Received: {path}. Write one with "
            '`model.save("model.keras")`.'
        )
    if path.name.endswith(".weights.h5"):
        raise ValueError(
            f"The {what} must be a whole model. Received: {path}, weights alone. Build the model "
            'in Python, call `model.load_weights(path)` and `model.save("model.keras")`.'
        )


def is_whole(path):
    """Return whether a `.keras` file holds what was written, bit for bit."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error):
        return False


def _check_content(path, what):
    """Refuse a damaged file, and one that unpacks to more than a file may."""
    check = _check_zip if path.suffix == ".keras" else _check_h5
    with open(path, "rb") as file:
        try:
            check(file, path)
        except _DAMAGE as error:
            raise ValueError(
                f"The {what} must be a whole {path.suffix} file. Received: {path}, which is "
                'damaged or of another kind. Write it again with `model.save("model.keras")`.'
            ) from error


def _check_zip(_, path):
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            # What h5py cannot open Keras cannot either, and says why.
            with archive.open(name) as file, contextlib.suppress(OSError):
                if name.endswith(".h5"):
                    check_hdf5(file, path, os.path.getsize(path))


def _check_h5(file, path):
    check_hdf5(file, path, os.path.getsize(path))


def first_sentence(error):
    """Return the first sentence of what an exception says, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".:")
