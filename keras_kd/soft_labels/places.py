"""Where a store lies: in a folder, or in an object store with a copy in a folder here."""

import contextlib
import hashlib
import json
import re
import shutil
from pathlib import Path

from keras_kd._common.files import is_url, keras_home, size_of, written_whole
from keras_kd.soft_labels.predict import progress_bar
from keras_kd.soft_labels.record import is_whole, read_store, read_unfinished

# Objects of a store: its record, that of one being written, shards, and beside each what it is.
_STORE, _UNFINISHED = "store.json", "unfinished.json"
_OURS = re.compile(r"(store|unfinished|rows-\d+)\.json|(rows|others)-\d+\.npy")
# Below, all are there in a moment.
_LARGE = 2**26


def place_of(path):
    """Return the `Folder` or the `Objects` that a path or URL names."""
    return Objects(path) if is_url(path) else Folder(path)


def unfinished_of(path):
    """Return the folder beside a store's folder in which it is written."""
    return path.with_name(f".{path.name}.unfinished")


class Folder:
    """A folder, which others may see as well.

    Args:
        path: of the folder.
    """

    def __init__(self, path):
        self.folder = Path(path)

    def __str__(self):
        return str(self.folder)

    def record(self):
        """Return what the finished store says of itself, `None` if there is none."""
        return read_store(self.folder)

    def unfinished(self):
        """Return the same of one that is being written."""
        return read_unfinished(unfinished_of(self.folder) / _STORE)

    def holds_something_else(self):
        """Return whether what lies there, where there is no record, is no store."""
        return self.folder.exists()

    def nbytes(self):
        """Return how much the finished store takes."""
        return size_of(self.folder)

    def fetch(self, record):
        """Bring the shards of the finished store into the folder: they are there."""


class Objects:
    """A place in an object store, which has no locks, no renames and no part of a file.

    An object appears whole or not at all. So shards are objects of their own, what a shard is comes
    after it, and the record of the store last. Here everything goes through a folder, in which
    shards stay: what is opened again is not fetched again.

    Args:
        url: such as `s3://bucket/labels`, of what `fsspec` knows.

    Raises:
        ImportError: if a package is missing for it.
        ValueError: if nobody knows such URLs.
        OSError: if it cannot be reached.
    """

    def __init__(self, url):
        self.url = url.rstrip("/")
        self._connect()
        with self._reached():
            self._objects.exists(self._root)

    def __str__(self):
        return self.url

    def __reduce__(self):
        return Objects, (self.url,)

    @property
    def folder(self):
        """The folder on this machine."""
        name = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        return keras_home() / "soft_labels" / name / Path(self.url).name

    def record(self):
        """As of a `Folder`; the one here is brought up to date."""
        found, here = self.read(_STORE), self.folder / _STORE
        if found is None:
            here.unlink(missing_ok=True)
            return None
        if not here.is_file() or here.read_bytes() != found:
            with written_whole(here) as unfinished:
                unfinished.write_bytes(found)
        with self._named():
            return read_store(self.folder)

    def unfinished(self):
        """As of a `Folder`."""
        found = self.read(_UNFINISHED)
        if found is None:
            return None
        record = unfinished_of(self.folder) / _STORE
        with written_whole(record) as unfinished:
            unfinished.write_bytes(found)
        return read_unfinished(record)

    def holds_something_else(self):
        """As of a `Folder`."""
        sizes = self.sizes()
        return bool(sizes) and not all(map(_OURS.fullmatch, sizes))

    def nbytes(self):
        """As of a `Folder`."""
        return sum(self.sizes().values())

    def fetch(self, record):
        """Bring what a record names into the folder here, if it is not there yet.

        Args:
            record: of a store.
        """
        wanted = [*record["shards"], *record.get("others", {}).values()]
        wanted = [each for each in wanted if not is_whole(self.folder, each)]
        sizes = self.sizes() if wanted else {}
        total = sum(sizes.get(each["file"], 0) for each in wanted)
        free = shutil.disk_usage(_nearest(self.folder)).free
        if total > free:
            raise OSError(
                f"Soft labels of an object store are read from a copy. Received: {self.url} of "
                f"{total / 1e9:.1f} GB, and {self.folder.parent} with {free / 1e9:.1f} GB free. "
                "Set `KERAS_HOME` to a folder with more room."
            )
        with progress_bar("fetching", total >= _LARGE, unit="bytes") as bar:
            task = bar.add_task("", total=total, pace="")
            for each in wanted:
                self.bring(each["file"], self.folder)
                bar.advance(task, sizes.get(each["file"], 0))

    # --- objects ----------------------------------------------------------------------------------

    def sizes(self):
        """Return the bytes of all objects, by name."""
        with self._reached():
            self._objects.invalidate_cache()
            found = []
            with contextlib.suppress(FileNotFoundError):
                found = self._objects.ls(self._root, detail=True)
        return {each["name"].rpartition("/")[2]: each["size"] or 0 for each in found}

    def read(self, name):
        """Return the bytes of an object, `None` if it is not there."""
        with self._reached(), contextlib.suppress(FileNotFoundError):
            return self._objects.cat_file(self._at(name))
        return None

    def read_each(self, names):
        """Return `{name: its JSON}` of objects that are there and are such."""
        paths = {self._at(name): name for name in names}
        if not paths:
            return {}
        with self._reached():
            read = self._objects.cat([*paths], on_error="omit")
        found = {}
        for path, content in read.items():
            with contextlib.suppress(ValueError):
                found[path.rpartition("/")[2]] = json.loads(content)
        return found

    def write(self, name, content, *, new=False):
        """Write an object.

        Args:
            name: its name.
            content: bytes.
            new: leave one that is there, be it since a moment, as it is.
        """
        with self._reached(), contextlib.suppress(FileExistsError):
            mode = {"mode": "create"} if new else {}
            self._objects.pipe_file(self._at(name), content, **mode)

    def send(self, path):
        """Write an object of the name and the content of a file."""
        with self._reached():
            self._objects.put_file(str(path), self._at(path.name))

    def bring(self, name, folder):
        """Write a file of the name and the content of an object."""
        with written_whole(folder / name) as unfinished, self._reached():
            self._objects.get_file(self._at(name), str(unfinished))

    def remove(self, names):
        """Remove objects."""
        with self._reached():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._objects.rm_file(self._at(name))

    def clear(self):
        """Remove the store, finished or not: its record first, so that nobody opens half of it."""
        names = sorted(filter(_OURS.fullmatch, self.sizes()), key=lambda name: name != _STORE)
        self.remove(names)

    def _at(self, name):
        return f"{self._root}/{name}"

    def _connect(self):
        try:
            import fsspec
        except ImportError:
            raise ImportError(
                f"A place in an object store needs the package fsspec. Received: {self.url}. "
                'Install it: `pip install "keras-kd[objects]"`.'
            ) from None
        scheme = self.url.partition("://")[0]
        try:
            self._objects, self._root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise ImportError(
                f"A place of {scheme}:// needs another package. Received: {self.url} ({error})."
            ) from error
        except ValueError as error:
            raise ValueError(
                "A place of soft labels must be a folder, or a URL that fsspec knows, such as "
                f"s3://bucket/labels. Received: {self.url} ({error})."
            ) from error

    @contextlib.contextmanager
    def _reached(self):
        """Tell in a sentence what an object store says that is not reached, or refuses."""
        try:
            yield
        # NOTE: Each service has exceptions of its own, which none here imports.
        except Exception as error:
            raise OSError(
                "An object store must be reached, and let you read and write. Received: "
                f"{self.url} ({type(error).__name__}: {str(error).strip()})."
            ) from error

    @contextlib.contextmanager
    def _named(self):
        """Name the place in errors in which the folder here stands."""
        try:
            yield
        except ValueError as error:
            raise ValueError(str(error).replace(str(self.folder), self.url)) from None


def _nearest(folder):
    """Return the first folder above that exists."""
    return next(each for each in folder.parents if each.exists())
