"""What a store says of itself, and whether its shards are as they were written."""

from pathlib import Path

from keras_kd._common import json_files
from keras_kd._common.files import sha256_of

_WAY_OUT = "Delete the folder and create them again."


def _count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _name(value):
    # No shard lies outside the folder.
    return isinstance(value, str) and Path(value).name == value not in ("", "..")


_SHARDS = [{"file": _name, "sha256": str}]
_STORE = {
    "views": _count,
    "num_examples": _count,
    "num_classes": _count,
    "rows_per_shard": _count,
    "head": str,
    "teacher": str,
    "data": str,
    "shards": _SHARDS,
}


def read_store(path):
    """Return what a store says of itself, checked: its own digests are of its shards alone.

    Raises:
        ValueError: if that is damaged.
    """
    file, what = path / "store.json", "The record of soft labels"
    record = json_files.read_json(file, _STORE, what=what, way_out=_WAY_OUT)
    if record is None:
        return None
    per_view = -(-record["num_examples"] // record["rows_per_shard"])
    if len(record["shards"]) != record["views"] * per_view:
        raise ValueError(
            f"{what} must be as it was written. Received: {file}, which is damaged: its numbers "
            f"do not fit. {_WAY_OUT}"
        )
    return record


def read_unfinished(path):
    """Return the record of a store that is being written, `None` if it tells nothing."""
    try:
        record = json_files.parsed(path)
    except (FileNotFoundError, ValueError):
        return None
    return record if json_files.misfit(record, {"shards": _SHARDS}) is None else None


def check_same(stored, wanted, path, what="soft labels"):
    """Refuse a store that is made of something else, by the names of what differs."""
    different = [name for name, value in wanted.items() if stored.get(name) != value]
    if different:
        name = different[0]
        raise ValueError(
            f"The {what} at {path} are of another {' and another '.join(different)} "
            f"({name}: {stored.get(name)} there, {wanted[name]} now). Use what they were made "
            "with, make others at another path, or pass `overwrite=True` to replace them."
        )


def is_whole(folder, shard):
    """Return whether a shard is there, with the SHA-256 that the record says."""
    path = folder / shard["file"]
    return path.is_file() and sha256_of(path) == shard["sha256"]
