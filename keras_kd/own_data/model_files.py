"""`.keras` files, loaded without running code that they may carry."""

import importlib
import os
import sys
import zipfile
from pathlib import Path

import keras


def load_model_file(path, what="model"):
    """Load a `.keras` file with Keras's safe mode on.

    Args:
        path: the file.
        what: what to call it in an error, such as `"teacher"`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no `.keras` file, is damaged, or holds what would run code.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"The {what} must be a .keras file. Received: {path}, no file.")
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(
            f"The {what} must be a .keras file. Received: {path}. Write one with "
            '`model.save("model.keras")`.'
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"The {what} must be a whole .keras file. Received: {path}, which is damaged or of "
            'another kind. Write it again with `model.save("model.keras")`.'
        )
    importlib.import_module("keras_kd.quantize")  # Its layers may be in the file.
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises all kinds, in paragraphs.
        raise ValueError(
            f"The {what} must be made of Keras's own layers, without code of its own such as a "
            f"Lambda layer. Received: {path}: {_first_sentence(error)}. For a class of yours, name "
            "the module that registers it with --import."
        ) from error


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
                f"{_first_sentence(error)}."
            ) from error


def _first_sentence(error):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".:")
