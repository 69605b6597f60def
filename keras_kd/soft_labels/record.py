"""What a store says of itself, and whether its shards are as they were written."""

import dataclasses
from pathlib import Path

from keras_kd._common import json_files
from keras_kd._common.files import sha256_of

_WAY_OUT = "Delete the folder and create them again."
# The name of an output that stands alone, as one tensor.
ALONE = "output"


def _count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _name(value):
    # No shard lies outside the folder.
    return isinstance(value, str) and Path(value).name == value not in ("", "..")


def _dtype(value):
    return value in ("float16", "float32")


def _of_each(*shapes):
    """Return the shape of what is one value of the only output, or a dict of one an output."""
    return (*shapes, {str: shapes})


SHARD = {"file": _name, "sha256": str}
_STORE = {
    "views": _count,
    "num_examples": _count,
    "num_classes": _of_each(_count),
    "places?": _of_each([_count]),
    "rows_per_shard": _count,
    "head": _of_each(str),
    "dtype": _of_each(_dtype),
    "top_k": _of_each(_count, None),
    "teacher": str,
    "data": str,
    "shards": [SHARD],
    "others?": {str: SHARD},
    "versions?": {str: str},  # The former version told none.
}
_UNFINISHED = {name: _STORE[name] for name in ("others?", "versions?")} | {
    "shards?": [SHARD],
    "rows_per_shard?": _count,
}


@dataclasses.dataclass(frozen=True)
class Stored:
    """What is stored of one output.

    Args:
        head: what it is, see `Teacher`.
        num_classes: logits, or values, at a place.
        places: shape of what lies between the example and its classes, `[]` for one place.
        dtype: of what is stored.
        top_k: how many of the largest logits of a place are, `None` for all.
    """

    head: str
    num_classes: int
    places: list[int]
    dtype: str
    top_k: int | None

    @property
    def shape(self):
        """Shape of what is said of one example."""
        return (*self.places, self.num_classes)


_FIELDS = [field.name for field in dataclasses.fields(Stored)]


def described(outputs):
    """Return what a record says of outputs.

    Args:
        outputs: a `Stored`, or a dict of some by the name of the output.
    """
    if isinstance(outputs, Stored):
        return dataclasses.asdict(outputs)
    return {
        field: {name: getattr(output, field) for name, output in outputs.items()}
        for field in _FIELDS
    }


def outputs_of(record):
    """Return what `described` was given."""
    fields = {field: record[field] for field in _FIELDS}
    if not isinstance(record["head"], dict):
        return Stored(**fields)
    return {
        name: Stored(**{field: value[name] for field, value in fields.items()})
        for name in record["head"]
    }


def listed(outputs):
    """Return the outputs, or what a teacher answered, one after the other."""
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def read_store(path):
    """Return what a store says of itself, checked: its own digests are of its shards alone.

    Raises:
        ValueError: if that is damaged.
    """
    file, what = path / "store.json", "The record of soft labels"
    record = json_files.read_json(file, _STORE, what=what, way_out=_WAY_OUT)
    if record is None:
        return None
    record.setdefault("places", [])  # The former version knew no others.
    per_view = -(-record["num_examples"] // record["rows_per_shard"])
    names = {
        tuple(value) if isinstance(value := record[field], dict) else None for field in _FIELDS
    }
    if len(record["shards"]) != record["views"] * per_view or len(names) > 1 or () in names:
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
    if json_files.misfit(record, _UNFINISHED) is not None:
        return None
    record.setdefault("places", [])
    return record


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


def check_versions(stored, here, path):
    """Refuse to go on with a store that other versions began: its shards may differ in a bit.

    Args:
        stored: the record of the unfinished store.
        here: of `backend.versions`.
        path: the place of the store.
    """
    there = stored.get("versions", here)
    different = [name for name, version in here.items() if there.get(name) != version]
    if different:
        told = ", ".join(f"{name}: {there.get(name)} there, {here[name]} now" for name in different)
        raise ValueError(
            f"The unfinished soft labels at {path} are by other versions ({told}). Install the "
            "same, make others at another path, or pass `overwrite=True` to begin anew."
        )


def is_whole(folder, shard):
    """Return whether a shard is there, with the SHA-256 that the record says."""
    path = folder / shard["file"]
    return path.is_file() and sha256_of(path) == shard["sha256"]
