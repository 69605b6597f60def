"""Images that stay encoded until they are asked for: an array to whoever indexes it."""

import concurrent.futures
import functools
import hashlib
import os
import stat

import numpy as np

from keras_kd._common.limits import VARIABLE, most_bytes
from keras_kd.data.image_file import decode

# Python's own share of a small file is so large that threads only wait for each other.
_BYTES_WORTH_THREADS = 16_000
_CHUNK, _CHUNK_BYTES = 512, 25_000_000


class EncodedImages:
    """Encoded images, indexed like a uint8 array `[n, height, width, channels]`.

    Images are decoded when they are indexed, large ones on all processors, so that a data set
    takes the memory of its names alone.

    Args:
        sources: one a place of an encoded image, `(path, offset, length)`: a part of a file, or
            with `None` for both the whole.
        form: a `Form`.

    Attributes:
        shape: `(n, height, width, channels)`.
        nbytes: bytes that all images take decoded.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, sources, form):
        self.sources = list(sources)
        self.form = form
        self.shape = (len(self.sources), *form.image_shape)
        self.nbytes = int(np.prod(self.shape))

    def __len__(self):
        return len(self.sources)

    def __repr__(self):
        return f"EncodedImages({list(self.shape)})"

    def __getitem__(self, positions):
        """Return the images at an integer, a slice, or an array of integers or booleans."""
        chosen = np.arange(len(self))[positions]
        images, failures = self.decoded(chosen.ravel())
        if failures:
            number, reason = next(iter(failures.items()))
            raise ValueError(
                f"An image that could be read before must stay so. Received: "
                f"{self.name(chosen.ravel()[number])} ({reason}). Put it back, or read the data "
                "again."
            )
        return images.reshape(*chosen.shape, *self.form.image_shape)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)

    @functools.cached_property
    def digest(self):
        """SHA-256 over the encoded images, and over what they are turned into."""
        digest = hashlib.sha256(repr(self.form).encode())
        for source in self.sources:
            digest.update(hashlib.sha256(read(source)).digest())
        return digest.hexdigest()

    def decoded(self, positions):
        """Return images `[k, height, width, channels]` and `{number: reason}` of what failed.

        Args:
            positions: integers `[k]`.
        """
        images = np.zeros((len(positions), *self.form.image_shape), np.uint8)
        failures = {}

        def decode_one(number):
            try:
                images[number] = decode(read(self.sources[positions[number]]), self.form)
            except (OSError, ValueError) as error:
                failures[number] = _reason(error)

        if len(positions) > 1 and self._is_large(positions[0]):
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(decode_one, range(len(positions))))
        else:
            for number in range(len(positions)):
                decode_one(number)
        return images, dict(sorted(failures.items()))

    def chunks(self):
        """Yield `(start, images, {position: reason})` through all images, a few at a time."""
        count = int(np.clip(_CHUNK_BYTES // np.prod(self.form.image_shape), 1, _CHUNK))
        for start in range(0, len(self), count):
            images, failures = self.decoded(np.arange(start, min(start + count, len(self))))
            yield start, images, {start + number: why for number, why in failures.items()}

    def take(self, positions):
        """Return the same images, still encoded, at an array of integers or booleans."""
        return EncodedImages([self.sources[i] for i in np.arange(len(self))[positions]], self.form)

    def name(self, position):
        """Return what to call the image at a position."""
        return name_of(self.sources[position])

    def _is_large(self, position):
        path, _, length = self.sources[position]
        try:
            return (length or os.path.getsize(path)) >= _BYTES_WORTH_THREADS
        except OSError:  # Told when it is read.
            return False


def read(source):
    """Return the bytes of a source of `EncodedImages`."""
    path, offset, length = source
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # A pipe would be waited for, for ever.
        raise ValueError("no file")
    with open(path, "rb") as file:
        if offset is None:
            if found.st_size > most_bytes():
                raise ValueError(f"{found.st_size:,} bytes, above what {VARIABLE} allows")
            return file.read()
        file.seek(offset)
        return file.read(length)


def name_of(source):
    """Return the name of a source of `EncodedImages` on one line, whatever is in it."""
    path, offset, _ = source
    text = ascii(os.fspath(path))[1:-1]
    return text if offset is None else f"{text} at byte {offset}"


def _reason(error):
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
