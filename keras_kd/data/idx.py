"""Read IDX files, the format in which MNIST and Fashion-MNIST are distributed."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

_UINT8 = 0x08


def read_idx(path):
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
            after its last element, or is a broken gzip stream.

    References:
        Y. LeCun, C. Cortes, C. Burges, The MNIST database, section "File formats".
    """
    content = _read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(
            f"{path} is not an IDX file: expected it to start with bytes 00 00. "
            f"Received: {content[:2].hex(' ') or 'an empty file'}."
        )
    element_type, rank = content[2], content[3]
    if element_type != _UINT8:
        raise ValueError(
            f"{path} must hold unsigned bytes (type 0x08). Received: type 0x{element_type:02x}."
        )
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError(
            f"{path} is truncated: its header announces {rank} dimensions and ends before them. "
            "Fetch it again."
        )
    shape = struct.unpack(f">{rank}I", content[4:start])
    expected, received = math.prod(shape), len(content) - start
    if received < expected:
        raise ValueError(
            f"{path} is truncated: expected {expected} bytes for shape {shape}. "
            f"Received: {received}. Fetch it again."
        )
    if received > expected:
        raise ValueError(
            f"{path} has {received - expected} trailing bytes after the {expected} of its shape "
            f"{shape}. Fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read_bytes(path):
    content = Path(path).read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} is a broken gzip file ({error}). Remove it and fetch it again."
        ) from error
