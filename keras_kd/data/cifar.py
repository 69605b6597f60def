"""Read CIFAR-10 in its two official layouts, `cifar-10-batches-bin` and `cifar-10-batches-py`."""

import hashlib
import io
import pickle
import typing
from pathlib import Path

import numpy as np

_RECORD = 1 + 3 * 32 * 32  # A label, then the red, green and blue planes.
_TRAIN = [f"data_batch_{number}" for number in range(1, 6)]

# MD5 of the pickled batches, as the data set's own loaders publish them.
_PICKLE_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def read_cifar10(folder):
    """Read `(train_images, train_labels), (test_images, test_labels)` from a folder of batches.

    Args:
        folder: holds `data_batch_1.bin` ... `test_batch.bin`, or the same names without
            `.bin`, which are pickles.

    Returns:
        Images as uint8 `[n, 32, 32, 3]`, labels as uint8 `[n]`.

    Raises:
        ValueError: if a batch is truncated, has labels out of range, or is a pickle that holds
            anything but arrays.
    """
    folder = Path(folder)
    binary = (folder / "test_batch.bin").exists()
    read, suffix = (_read_binary, ".bin") if binary else (_read_pickle, "")
    batches = [read(folder / f"{name}{suffix}") for name in _TRAIN]
    train = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    return train, read(folder / f"test_batch{suffix}")


def _read_binary(path):
    content = np.frombuffer(path.read_bytes(), np.uint8)
    if len(content) == 0 or len(content) % _RECORD:
        raise ValueError(
            f"{path} must be a whole number of {_RECORD}-byte records. "
            f"Received: {len(content)} bytes. Fetch it again."
        )
    records = content.reshape(-1, _RECORD)
    return _planes_to_pixels(records[:, 1:]), _checked_labels(path, records[:, 0])


def _read_pickle(path):
    content = path.read_bytes()
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        planes, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except Exception as error:  # A pickle can fail in any way; no way of failing runs its code.
        raise ValueError(f"{path} is not a CIFAR-10 batch ({error}). Fetch it again.") from error
    if planes.dtype != np.uint8 or planes.shape != (len(labels), _RECORD - 1):
        raise ValueError(
            f"{path} must hold uint8 rows of {_RECORD - 1}, one a label. "
            f"Received: {planes.dtype} {planes.shape} and {len(labels)} labels."
        )
    return _planes_to_pixels(planes), _checked_labels(path, labels)


def _planes_to_pixels(planes):
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _checked_labels(path, labels):
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(
            f"{path} must hold labels from 0 to 9. Received: {labels.min()} to {labels.max()}."
        )
    return labels.astype(np.uint8)


def is_official(folder):
    """Return whether every pickled batch in `folder` has its published MD5."""
    return all(
        hashlib.md5((Path(folder) / name).read_bytes()).hexdigest() == digest
        for name, digest in _PICKLE_MD5.items()
    )


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can build NumPy arrays and Python's plain containers, nothing else."""

    # What NumPy itself names when it pickles an array, found without naming a private module.
    _ALLOWED: typing.ClassVar = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch needs")
        return self._ALLOWED[module, name]
