"""Find, read and check the data sets that have a name."""

import hashlib
import os
import socket
from pathlib import Path

import numpy as np

from keras_kd._common.checks import ArgumentError
from keras_kd._common.files import keras_home
from keras_kd._common.typing import PathLike
from keras_kd.data.arrays import from_arrays
from keras_kd.data.cifar import is_official, read_cifar10
from keras_kd.data.idx import read_idx
from keras_kd.data.image_folder import image_folder
from keras_kd.data.splits import Data, stratified

_DIGITS = tuple("0123456789")
_CLASS_NAMES = {
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    "mnist": _DIGITS,
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer",
        "dog", "frog", "horse", "ship", "truck",
    ),
    "digits": _DIGITS,
}  # fmt: skip
NAMES = tuple(_CLASS_NAMES)

_FOLDERS = {
    "fashion_mnist": ("fashion_mnist", "fashion-mnist"),
    "mnist": ("mnist",),
    "cifar10": (
        "cifar-10-batches-bin",
        "cifar-10-batches-py",
        "cifar-10-batches-py-target/cifar-10-batches-py",  # As Keras unpacks it.
        "cifar10",
        "cifar10-jpeg",
    ),
}

_IDX_FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)

# SHA-256 of the elements (not of the files, which differ in their compression): train images,
# train labels, test images, test labels.
_DIGESTS = {
    "fashion_mnist": (
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
    "mnist": (
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
}

_REMEDIES = {
    "fashion_mnist": (
        "On Debian, `apt-get install dataset-fashion-mnist`; elsewhere, put its four IDX files "
        "into a folder and name it with `data_dir` or KERAS_KD_DATA."
    ),
    "mnist": ("Put its four IDX files into a folder and name it with `data_dir` or KERAS_KD_DATA."),
    "cifar10": (
        "Put `cifar-10-batches-bin`, `cifar-10-batches-py`, or its images as "
        "`cifar10-jpeg/train/airplane/...` and `cifar10-jpeg/test/airplane/...`, into a folder and "
        "name it with `data_dir` or KERAS_KD_DATA."
    ),
}


def load(
    name: str, *, seed: int = 0, validation_fraction: float = 0.1, data_dir: PathLike | None = None
) -> Data:
    """Load a data set by name, split into train, validation and test.

    Validation is carved from the training images, stratified by class and drawn by `seed`; the
    test images are the data set's own. Images are raw pixels: uint8, 0 to 255.

    Files are looked for in this order: `data_dir`; each folder in the environment variable
    `KERAS_KD_DATA` (separated as in `PATH`); `/usr/share/datasets`; Keras's cache; Keras's
    download. What is found is checked against the known digests of these data sets.

    | name | images | train + validation, test |
    | --- | --- | --- |
    | `fashion_mnist` | 28x28x1 | 60 000, 10 000 |
    | `mnist` | 28x28x1 | 60 000, 10 000 |
    | `cifar10` | 32x32x3 | 50 000, 10 000; also as image files, by class in `train` and `test` |
    | `digits` | 8x8x1 (0 to 16 scaled to 0 to 255) | 1 438, 359; comes inside scikit-learn |

    Args:
        name: one of the names above.
        seed: integer that the validation split depends on.
        validation_fraction: share of each class's training images, above 0 and below 1.
        data_dir: a folder that holds the files, or a folder named after the data set that
            holds them.

    Returns:
        A `Data`: `train`, `validation`, `test`, `class_names`, `image_shape`.

    Raises:
        ValueError: if the name is unknown, or a file is damaged or not the known one.
        FileNotFoundError: if no place has the files; it lists every place tried.
        ImportError: if image files were found and Pillow is missing (extra `images`).

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    assert data.image_shape == (8, 8, 1) and data.num_classes == 10
    ```
    """
    check_name(name)
    options = {
        "class_names": _CLASS_NAMES[name],
        "seed": seed,
        "validation_fraction": validation_fraction,
        "name": name,
    }
    if name == "digits":
        return from_arrays(*_read_digits(), source="scikit-learn", **options)
    folder, tried = _find(name, data_dir)
    if folder is not None and _has_images(name, folder):
        return image_folder(folder, **options)
    train, test = _read(name, folder) if folder is not None else _fetch(name, tried)
    source = "Keras's download" if folder is None else str(folder)
    _check_digests(name, source, (*train, *test))
    return from_arrays(train, test, source=source, **options)


def check_name(name):
    """Refuse a name that `load` does not know.

    Raises:
        ArgumentError: in one sentence.
    """
    if name not in _CLASS_NAMES:
        raise ArgumentError(
            f"`name` must be one of {', '.join(sorted(_CLASS_NAMES))}. Received: name={name!r}. "
            "For arrays of your own use `data.from_arrays`."
        )


def _find(name, data_dir):
    """Return the folder that holds the files, `None` if none does, and the places tried."""
    tried = []
    for base in _places(data_dir):
        for folder in (*(base / folder for folder in _FOLDERS[name]), base):
            if _has_files(name, folder) or _has_images(name, folder):
                return folder, tried
        tried.append(str(base))
    return None, tried


def _fetch(name, tried):
    try:
        return _download(name)
    except Exception as error:  # Whatever went wrong, the remedy is the same.
        tried.append(f"Keras's download ({type(error).__name__}: {str(error).splitlines()[0]})")
    raise FileNotFoundError(
        f"The data set {name} was not found. Tried: {'; '.join(tried)}. {_REMEDIES[name]}"
    )


def _places(data_dir):
    if data_dir is not None:
        yield Path(data_dir)
    for folder in os.environ.get("KERAS_KD_DATA", "").split(os.pathsep):
        if folder:
            yield Path(folder)
    yield Path("/usr/share/datasets")
    yield keras_home() / "datasets"


def _idx_path(folder, file):
    """Return the path of an IDX file that may be gzipped, or None."""
    for path in (folder / f"{file}.gz", folder / file):
        if path.is_file():
            return path
    return None


def _has_files(name, folder):
    if name == "cifar10":
        return (folder / "test_batch.bin").is_file() or (folder / "test_batch").is_file()
    return all(_idx_path(folder, file) for pair in _IDX_FILES for file in pair)


def _has_images(name, folder):
    return name == "cifar10" and all(
        (folder / split / class_name).is_dir()
        for split in ("train", "test")
        for class_name in _CLASS_NAMES[name]
    )


def _read(name, folder):
    if name != "cifar10":
        return [tuple(read_idx(_idx_path(folder, file)) for file in pair) for pair in _IDX_FILES]
    if not (folder / "test_batch.bin").exists() and not is_official(folder):
        raise ValueError(
            f"The batches in {folder} are not the published ones (their MD5 differs). "
            "Fetch them again."
        )
    return read_cifar10(folder)


def _download(name):
    import keras

    before = socket.getdefaulttimeout()
    # Behind a network that drops packets Keras would wait for ever.
    socket.setdefaulttimeout(20)
    try:
        return getattr(keras.datasets, name).load_data()
    finally:
        socket.setdefaulttimeout(before)


def _check_digests(name, source, arrays):
    for array, expected in zip(arrays, _DIGESTS.get(name, ()), strict=False):
        received = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        if received != expected:
            raise ValueError(
                f"The files from {source} are not {name}: expected SHA-256 {expected[:12]}..., "
                f"received {received[:12]}... for an array of shape {array.shape}. Fetch them "
                "again, or give data of your own to `data.from_arrays`."
            )


def _read_digits():
    from keras_kd._common.backend import require_extra

    require_extra("sklearn", "data", "The data set digits")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    # The set has no test split of its own; this one is the same for every seed of ours.
    test = stratified(digits.target, 0.2, seed=0)
    return (images[~test], digits.target[~test]), (images[test], digits.target[test])
