"""Memory-mapped arrays sent to other processes by the place of their file."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an array lies in a file.

    Args:
        path: of the file, absolute.
        dtype: of the array.
        shape: likewise.
        offset: of its first byte.
    """

    path: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


def placed(array):
    """Return the `Place` of an array, or the array itself if it is not what a file holds."""
    is_in_file = isinstance(array, np.memmap) and array.filename is not None and array.mode != "c"
    if not is_in_file or not array.flags.c_contiguous or not array.size:
        return array
    whole = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    # NOTE: NumPy gives a part the offset of the whole.
    offset = whole.offset + _address(array) - _address(whole)
    return Place(str(array.filename), array.dtype, array.shape, offset)


def unplaced(array):
    """Return the array of what `placed` returned."""
    if not isinstance(array, Place):
        return array
    return np.memmap(array.path, array.dtype, "r", array.offset, array.shape)


def _address(array):
    return array.__array_interface__["data"][0]
