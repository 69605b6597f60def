"""What a store says of itself, and whether its shards are as they were written."""

import json
from pathlib import Path

from keras_kd._files import sha256_of


def read_record(path):
    """Return what a store says of itself, checked: its own digests are of its shards alone."""
    try:
        record = json.loads((path / "store.json").read_text())
        counts = [
            record[name] for name in ("views", "num_examples", "num_classes", "rows_per_shard")
        ]
        whole = all(isinstance(count, int) and count > 0 for count in counts)
        shards = [(each["file"], each["sha256"]) for each in record["shards"]]
        texts = [*sum(shards, ()), record["head"], record["teacher"], record["data"]]
        # A name is a name: no shard lies outside the folder.
        named = all(isinstance(each, str) for each in texts) and all(
            Path(name).name == name for name, _ in shards
        )
        per_view = -(-record["num_examples"] // record["rows_per_shard"])
        if not (whole and named and len(shards) == record["views"] * per_view):
            raise ValueError("numbers that do not fit")
        return record
    except (KeyError, TypeError, ValueError) as error:  # JSON's and Unicode's are ValueErrors.
        raise ValueError(
            f"The record of soft labels must be as it was written. Received: {path / 'store.json'},"
            " which is damaged. Delete the folder and create them again."
        ) from error


def is_whole(folder, shard):
    """Return whether a shard is there, with the SHA-256 that the record says."""
    path = folder / shard["file"]
    return path.is_file() and sha256_of(path) == shard["sha256"]
