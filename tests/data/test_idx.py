"""The IDX reader takes what is right and names each thing that is wrong."""

import gzip
import struct

import numpy as np
import pytest

from keras_kd.data import read_idx

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx_bytes(array=PIXELS, element_type=0x08):
    header = struct.pack(">HBB", 0, element_type, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(tmp_path, content):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_elements_and_shape_are_read(tmp_path, pack):
    np.testing.assert_array_equal(read_idx(write(tmp_path, pack(idx_bytes()))), PIXELS)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not an IDX file: expected it to start with bytes 00 00"),
        (b"PK\x03\x04rest", "is not an IDX file.* Received: 50 4b"),
        (idx_bytes(element_type=0x0D), r"must hold unsigned bytes.* Received: type 0x0d"),
        (idx_bytes()[:9], "is truncated: its header announces 3 dimensions"),
        (idx_bytes()[:-1], r"is truncated: expected 24 bytes .* Received: 23"),
        (idx_bytes() + b"\0\0", "has 2 trailing bytes after the 24"),
        (gzip.compress(idx_bytes())[:-12], "is a broken gzip file"),
        (gzip.compress(idx_bytes())[:12] + b"\xff" * 30, "is a broken gzip file"),
    ],
    ids=["empty", "magic", "dtype", "header", "truncated", "trailing", "gzip-cut", "gzip-noise"],
)
def test_a_damaged_file_is_refused_with_its_own_sentence(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_idx(write(tmp_path, content))
