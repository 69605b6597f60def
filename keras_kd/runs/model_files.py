"""Model files that a user of the command names, and the modules that their classes need."""

import importlib
import os
import sys

from keras_kd._common import model_files


def load_model_file(path, what):
    """Load a `.keras` file without running code that it may carry.

    Args:
        path: the file.
        what: what to call it in an error, such as `"teacher"`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no `.keras` file, is damaged, or holds what would run code.
    """
    remedy = "For a class of yours, name the module that registers it with --import."
    return model_files.load_model_file(path, what, remedy=remedy)


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
                f"{model_files.first_sentence(error)}."
            ) from error
