"""Texts <-> numbers: the first bytes of each, which a small model reads without a vocabulary."""

import hashlib
import math
from collections.abc import Iterable

import numpy as np

from keras_kd._common.checks import check_integer
from keras_kd._common.typing import Tensor

NUM_BYTES = 256
# Of a place where no byte stands. A NUL is in no text.
PADDING = 0
# No text is read so far by a model for a phone.
MOST_BYTES = 65_536
_CHUNK = 4096


def encode_texts(texts: Iterable[str], num_bytes: int = NUM_BYTES) -> np.ndarray:
    """Return texts as models take them: the first bytes of their UTF-8, as numbers.

    Of each text, without white space at its ends, the first `num_bytes` bytes are kept, cut back
    to a whole character, and padded with 0 at the end. They are int32, as numbers of words are: to
    be looked up in a table, not to be scaled as the uint8 of pixels is.

    Args:
        texts: the texts.
        num_bytes: how many bytes of each, from 1 to 65,536.

    Returns:
        int32 `[n, num_bytes]`, values from 0 to 255.

    Raises:
        ValueError: if one is no text, or has nothing in it, or holds a NUL.

    Example:

    ```python
    import keras_kd as kd

    numbers = kd.data.encode_texts(["Grüße", "Hi"], num_bytes=4)
    assert numbers.tolist() == [[71, 114, 195, 188], [72, 105, 0, 0]]
    assert kd.data.decode_texts(numbers) == ["Grü", "Hi"]
    ```
    """
    check_num_bytes(num_bytes)
    texts = [texts] if isinstance(texts, str) else list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"Each text must be a string. Received: {text!r} as number {number}.")
        if reason := why_no_text(text):
            raise ValueError(
                f"Each text must hold characters. Received: one with {reason}, number {number}."
            )
    return numbers_of([beginning(text, num_bytes) for text in texts], num_bytes)


def decode_texts(numbers: Tensor) -> list[str]:
    """Return the beginnings of texts that `encode_texts` turned into numbers.

    Args:
        numbers: integers `[n, num_bytes]`.

    Raises:
        ValueError: if they are something else.
    """
    numbers = np.asarray(numbers)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iu":
        raise ValueError(
            "Texts must be integers [n, num_bytes], as `encode_texts` returns them. Received: "
            f"{numbers.dtype} {list(numbers.shape)}."
        )
    rows = numbers.astype(np.uint8)
    # What was not written by `encode_texts` may be no UTF-8.
    return [row[row != PADDING].tobytes().decode("utf-8", "replace") for row in rows]


def check_num_bytes(num_bytes):
    """Refuse what is no number of bytes of a text.

    Raises:
        ArgumentError: in one sentence.
    """
    check_integer("num_bytes", num_bytes, minimum=1, maximum=MOST_BYTES)


class Texts:
    """Texts that become numbers a few at a time, for a file of them.

    Args:
        beginnings: of `beginning`.
        num_bytes: as in `encode_texts`.
    """

    dtype = np.dtype(np.int32)

    def __init__(self, beginnings, num_bytes):
        self.beginnings = beginnings
        self.shape = (len(beginnings), num_bytes)

    @property
    def nbytes(self):
        """Bytes that their numbers take."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def digest(self):
        """SHA-256 over their numbers."""
        digest = hashlib.sha256(repr(self.shape).encode())
        for _, numbers, _ in self.chunks():
            digest.update(numbers)
        return digest.hexdigest()

    def chunks(self):
        """Yield `(start, numbers, {})` through all, a few at a time, as `EncodedImages` does."""
        for start in range(0, len(self.beginnings), _CHUNK):
            some = self.beginnings[start : start + _CHUNK]
            yield start, numbers_of(some, self.shape[1]), {}


def why_no_text(text):
    """Return what a string has that is no text, `None` if it is one."""
    if not text.strip():
        return "nothing in it"
    return "a NUL in it" if "\0" in text else None


def beginning(text, num_bytes):
    """Return the first bytes of a text's UTF-8, none of them of a part of a character.

    Args:
        text: a string, of which white space at its ends is not kept.
        num_bytes: how many bytes at most.
    """
    # A character has at least one byte, so what follows is not looked at.
    found = text.strip()[:num_bytes].encode("utf-8", "replace")[:num_bytes]
    return found.decode("utf-8", "ignore").encode()


def numbers_of(beginnings, num_bytes):
    """Return what `encode_texts` does, of beginnings that `beginning` returned."""
    numbers = np.full((len(beginnings), num_bytes), PADDING, np.int32)
    for row, found in zip(numbers, beginnings, strict=True):
        row[: len(found)] = np.frombuffer(found, np.uint8)
    return numbers
