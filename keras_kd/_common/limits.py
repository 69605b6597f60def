"""How much memory a file may take once it is unpacked.

Three megabytes can say that they are three gigabytes, or be them and say nothing. What a file
declares is checked before anything is unpacked, and what comes out is counted. At most a gigabyte
comes out, or twenty times what lies on the disk if that is more: a large file may be large. The
environment variable `KERAS_KD_MAX_GB` holds another number of gigabytes. A picture may take half
of them.
"""

import contextlib
import gzip
import math
import os
import zipfile
import zlib
from pathlib import Path

from keras_kd._common.checks import is_number

VARIABLE = "KERAS_KD_MAX_GB"

_DEFAULT_GB = "1"
_RATIO = 20
# No stream of deflate comes to more.
_MOST_DEFLATED = 1032
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK = 1 << 20


def most_bytes(on_disk=0):
    """Return how many bytes may come of a file of so many bytes on the disk.

    Raises:
        ValueError: if the environment holds no number of gigabytes.
    """
    text = os.environ.get(VARIABLE) or _DEFAULT_GB
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not is_number(gigabytes, (1e-3, 1e6)):
        raise ValueError(
            f"{VARIABLE} must be a number of gigabytes from 0.001 to 1000000. Received: {text!r}."
        )
    return max(int(1e9 * gigabytes), _RATIO * on_disk)


def check_bytes(path, declared, on_disk, what="takes unpacked"):
    """Refuse a file of which more would come than may.

    Raises:
        ValueError: in one sentence.
    """
    most = most_bytes(on_disk)
    if declared > most:
        raise ValueError(
            f"{path} must take at most {_size(most)} unpacked. Received: {_size(on_disk)} that "
            f"{what} {_size(declared)}. If you trust the file, allow more with {VARIABLE}."
        )


def check_archive(path):
    """Refuse a zip file (`.keras`, `.npz`) that unpacks to too much, whatever it says of itself.

    Raises:
        ValueError: in one sentence.
        zipfile.BadZipFile: if it is damaged.
    """
    on_disk = os.path.getsize(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_bytes(path, sum(each.file_size for each in members), on_disk, "says it unpacks to")
        packed = [each for each in members if each.compress_type != zipfile.ZIP_STORED]
        unknown = [each for each in packed if each.compress_type not in _METHODS]
        if unknown:
            raise ValueError(
                f"{path} must be packed by deflate or not at all. Received: a member packed by "
                f"method {unknown[0].compress_type}. Write it anew."
            )
        most = most_bytes(on_disk)
        if _MOST_DEFLATED * sum(each.compress_size for each in packed) <= most:
            return
        for member in packed:
            # Python hands out no more than was declared, and misses the checksum then.
            with archive.open(member) as file:
                while file.read(_CHUNK):
                    pass


def check_hdf5(file, path, on_disk):
    """Refuse an HDF5 file whose datasets are too large, or lie in other files.

    Args:
        file: what `h5py.File` opens.
        path: what it is called in an error.
        on_disk: its size.

    Raises:
        ValueError: in one sentence.
    """
    import h5py

    found = []
    with h5py.File(file, "r") as opened:
        # Nothing is said of what links lead to: Keras follows those inside the file alone.
        opened.visititems(lambda _, each: found.append(_of_dataset(each)))
    found = [each for each in found if each is not None]
    if any(elsewhere for _, elsewhere in found):
        raise ValueError(
            f"{path} must hold its weights itself. Received: a dataset that lies in another file. "
            "Save the model anew."
        )
    check_bytes(path, sum(size for size, _ in found), on_disk, "says its weights are")


def read_bounded(path, file, count):
    """Return so many bytes of an open file that may be a packed one, or fewer at its end."""
    check_bytes(path, count, os.path.getsize(path), "says it unpacks to")
    return file.read(count)


@contextlib.contextmanager
def maybe_gzipped(path):
    """Open a file that may be packed by gzip, told by its content, to read bytes one after another.

    Raises:
        ValueError: if the gzip stream is broken.
    """
    with Path(path).open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file) if packed else contextlib.nullcontext(file) as opened:
                yield opened
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path} is a broken gzip file ({error}). Remove it and fetch it again."
            ) from error


def _of_dataset(item):
    import h5py

    if not isinstance(item, h5py.Dataset):
        return None
    size = math.prod(item.shape or ()) * item.dtype.itemsize
    return size, bool(item.external) or item.is_virtual


def _size(count):
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
