"""Decoded images, or encoded texts, in a file that is mapped into memory."""

import shutil

import numpy as np

from keras_kd._common.files import remove_leftovers, sha256_of, written_whole
from keras_kd._common.locks import alone


def cached(encoded, folder):
    """Return what models take, as a memory-mapped file that is written if it is missing.

    The file is named by the digest of what it is made of; beside it lies its own, against which it
    is checked whenever it is opened.

    Args:
        encoded: `EncodedImages`, all of which can be decoded, or `Texts`.
        folder: the `Path` to write to.

    Raises:
        ValueError: if the file is damaged.
        OSError: if the disk has no room for it.
    """
    path = folder / f"{encoded.digest}.npy"
    record = path.with_suffix(".sha256")
    if not (path.is_file() and record.is_file()):
        with alone(folder / "images"):  # All of them: what is left over is removed.
            remove_leftovers(folder)
            if not (path.is_file() and record.is_file()):  # Written by who was waited for.
                _write(encoded, path, record)
    if sha256_of(path) != record.read_text().strip():
        raise ValueError(
            f"A cache must be as it was written. Received: {path}, which is damaged. Remove it: "
            "it is then written again."
        )
    return np.load(path, mmap_mode="r")


def _write(encoded, path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < encoded.nbytes:
        raise OSError(
            f"`cache` must have room for {encoded.nbytes / 1e9:.1f} GB of what models take. "
            f"Received: {path.parent} with {free / 1e9:.1f} GB free. Name another folder, or "
            "leave `cache` out."
        )
    with written_whole(path) as unfinished:
        # Not as a memory map: a disk that is full would end the process without a word.
        with unfinished.open("wb") as file:
            descr = np.lib.format.dtype_to_descr(encoded.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": encoded.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for _, images, _ in encoded.chunks():
                file.write(images)
        digest = sha256_of(unfinished)
    with written_whole(record) as unfinished:
        unfinished.write_text(digest + "\n")
