"""Arrays in an `.npz` file -> train, validation and test."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_kd._common.limits import check_archive
from keras_kd._common.typing import PathLike
from keras_kd.data.arrays import from_arrays
from keras_kd.data.splits import Data

# (images, labels) of a split, in our words and in those of Keras's own files.
_KEYS = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "validation": (("validation_images", "validation_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}


def read_npz(
    path: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    validation_fraction: float = 0.1,
    name: str | None = None,
) -> Data:
    """Read an `.npz` file of arrays.

    It holds `train_images` and `train_labels`, `test_images` and `test_labels`, maybe
    `validation_images` and `validation_labels`, maybe `class_names`; or Keras's `x_train`,
    `y_train` and so on. Arrays of two axes are features, as in `from_arrays`. No pickled object is
    ever loaded.

    Args:
        path: the file.
        class_names: one string a class; those of the file, else `"0"`, `"1"`, ... if `None`.
        seed: integer that the validation split depends on, if the file has none.
        validation_fraction: share of each class's training images, if the file has none.
        name: what the data set is called in reports; the file's name by default.

    Returns:
        A `Data`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, does not hold these arrays, or unpacks to more than a file
            may (see `KERAS_KD_MAX_GB` in `data.image_folder`).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The data must be an .npz file. Received: {path}, no file.")
    arrays = _arrays(path)
    pairs = {split: _pair(arrays, split) for split in _KEYS}
    if pairs["train"] is None or pairs["test"] is None:
        raise ValueError(
            "An .npz file must hold `train_images`, `train_labels`, `test_images` and "
            f"`test_labels`. Received: {path} with {', '.join(sorted(arrays)) or 'nothing'}."
        )
    _check_no_half(path, arrays, "validation")
    if class_names is None and "class_names" in arrays:
        class_names = _names(path, arrays["class_names"])
    return from_arrays(
        pairs["train"],
        pairs["test"],
        validation=pairs["validation"],
        class_names=class_names,
        seed=seed,
        validation_fraction=validation_fraction,
        name=name or path.stem,
        source=str(path),
    )


def _arrays(path):
    check_file(path)
    wanted = {*sum(sum(_KEYS.values(), ()), ()), "class_names"}
    try:
        # NumPy leaves a file open that it cannot read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {key: file[key] if key in wanted else None for key in file.files}
    except Exception as error:  # A damaged archive fails in any way: of zip, zlib, NumPy, ...
        raise _no_archive(path, error) from error


def check_file(path):
    """Refuse an `.npz` file that unpacks to more than may be.

    Raises:
        ValueError: in one sentence.
    """
    try:
        check_archive(path)
    except (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _no_archive(path, error) from error


def _no_archive(path, error):
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(
        f"{path} must be an .npz file of plain arrays. Received: {reason.rstrip('.')}. Write "
        "it with `numpy.savez`."
    )


def _names(path, array):
    array = np.asarray(array)  # NumPy returns bytes of what is no array.
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise ValueError(
            f"The `class_names` of an .npz file must be texts [classes]. Received: {array.dtype} "
            f"of shape {array.shape} in {path}."
        )
    return [each.decode(errors="replace") if isinstance(each, bytes) else str(each)
            for each in array]  # fmt: skip


def _pair(arrays, split):
    for keys in _KEYS[split]:
        if all(key in arrays for key in keys):
            return tuple(arrays[key] for key in keys)
    return None


def _check_no_half(path, arrays, split):
    there = [key for keys in _KEYS[split] for key in keys if key in arrays]
    if len(there) == 1:
        raise ValueError(
            f"The {split} images of an .npz file must have their labels, and labels their images. "
            f"Received: {path} with {there[0]} alone. Add the other, or remove it."
        )
