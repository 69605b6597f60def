"""Read IDX files, the format in which MNIST and Fashion-MNIST are distributed."""

import math
import struct

import numpy as np

from keras_kd._common.limits import maybe_gzipped, read_bounded
from keras_kd._common.typing import PathLike

_UINT8 = 0x08
_MOST_DIMENSIONS = 4
# Are counted, as many as this.
_MOST_TRAILING = 1 << 20


def read_idx(path: PathLike) -> np.ndarray:
    """Read one IDX file of unsigned bytes, plain or gzipped.

    The format: two zero bytes, a byte for the element type, a byte for the number of
    dimensions, each dimension as a big-endian 32-bit integer, then the elements, last dimension
    fastest.

    Args:
        path: the file. Gzip is recognised by its content, not by its name.

    Returns:
        A uint8 array of the shape the header gives.

    Raises:
        ValueError: if the file is not IDX, holds another element type, is cut short, goes on
            after its last element, is a broken gzip stream, or unpacks to more than a file may
            (see `KERAS_KD_MAX_GB` in `data.image_folder`).

    References:
        Y. LeCun, C. Cortes, C. Burges, The MNIST database, section "File formats".
    """
    with maybe_gzipped(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0":
            file.read(_MOST_TRAILING)  # A broken stream is told as one.
            raise ValueError(
                f"{path} is not an IDX file: expected it to start with bytes 00 00. "
                f"Received: {head[:2].hex(' ') or 'an empty file'}."
            )
        element_type, rank = head[2], head[3]
        if element_type != _UINT8:
            raise ValueError(
                f"{path} must hold unsigned bytes (type 0x08). Received: type 0x{element_type:02x}."
            )
        sizes = file.read(4 * rank)
        if len(sizes) < 4 * rank:
            raise ValueError(
                f"{path} is truncated: its header announces {rank} dimensions and ends before "
                "them. Fetch it again."
            )
        if not 1 <= rank <= _MOST_DIMENSIONS:
            raise ValueError(
                f"{path} must have from 1 to {_MOST_DIMENSIONS} dimensions. Received: {rank}."
            )
        shape = struct.unpack(f">{rank}I", sizes)
        expected = math.prod(shape)
        content = read_bounded(path, file, expected)
        if len(content) < expected:
            raise ValueError(
                f"{path} is truncated: expected {expected} bytes for shape {shape}. "
                f"Received: {len(content)}. Fetch it again."
            )
        trailing = len(file.read(_MOST_TRAILING))
        if trailing:
            many = "at least " if trailing == _MOST_TRAILING else ""
            raise ValueError(
                f"{path} has {many}{trailing} trailing bytes after the {expected} of its shape "
                f"{shape}. Fetch it again."
            )
    return np.frombuffer(content, np.uint8).reshape(shape)
