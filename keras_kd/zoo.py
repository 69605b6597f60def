"""Small distilled students that come with the package, each with its model card.

They are there to be tried: in a notebook, on a phone, in the browser, before a student of your own
is trained. What each is worth, what it was made from and what it must not be used for stands in its
card. In a checkout they lie in `saved_models/zoo/`.
"""

from pathlib import Path

import keras

from keras_kd._common.checks import check_choice
from keras_kd._common.model_files import load_model_file
from keras_kd._common.surface import only

__all__ = ["card", "load", "names", "path"]

__dir__ = only(__all__)

# Inside an installed package, where the build puts them; or beside the package of a checkout.
_PLACES = (
    Path(__file__).parent / "saved_models",
    Path(__file__).parent.parent / "saved_models" / "zoo",
)
_SUFFIXES = (".keras", ".tflite")


def names() -> tuple[str, ...]:
    """Return the names of all students, such as `"fashion_mnist/conv_int8"`.

    Raises:
        FileNotFoundError: if the package was copied without them.
    """
    return tuple(_files())


def load(name: str) -> keras.Model | Path:
    """Open a student.

    Args:
        name: one of `names()`.

    Returns:
        A `keras.Model`, raw pixels in, logits out. A name that ends in `_int8` is a file for
        LiteRT, which Keras cannot open: then its path, which `export.run_litert` takes, as does
        LiteRT's own interpreter.

    Raises:
        ValueError: if there is no student of that name.
        FileNotFoundError: if the package was copied without them.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits")
    student = kd.zoo.load("digits/mlp")
    logits = student.predict(data.test.images, verbose=0)
    assert kd.metrics.accuracy(data.test.labels, logits) > 0.9

    run = kd.export.run_litert(kd.zoo.load("digits/mlp_int8"), data.test.images)
    assert kd.metrics.accuracy(data.test.labels, run.logits) > 0.9
    ```
    """
    file = path(name)
    return file if file.suffix == ".tflite" else load_model_file(file, "student")


def path(name: str) -> Path:
    """Return the file of a student, to be copied into an app or named in a command.

    Args:
        name: as in `load`.

    Raises:
        ValueError: as in `load`.
        FileNotFoundError: the same.
    """
    files = _files()
    check_choice("name", name, tuple(files))
    return files[name]


def card(name: str) -> str:
    """Return the model card of a student, in Markdown.

    Args:
        name: as in `load`.

    Raises:
        ValueError: as in `load`.
        FileNotFoundError: the same.
    """
    return path(name).with_suffix(".md").read_text("utf-8")


def _files():
    """Return the file of each student by its name, in order."""
    for place in _PLACES:
        found = sorted(file for file in place.glob("*/*") if file.suffix in _SUFFIXES)
        if found:
            return {f"{file.parent.name}/{file.stem}": file for file in found}
    raise FileNotFoundError(
        f"The students of the zoo must lie in {_PLACES[0]}. Received: none. Install keras_kd from "
        "its wheel or its checkout, which have them."
    )
