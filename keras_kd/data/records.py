"""TFRecord shards of encoded images, told apart by a small schema file."""

import json
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from keras_kd._common.json_files import parsed
from keras_kd._common.typing import PathLike
from keras_kd.data.assembly import Reading, assembled
from keras_kd.data.image_file import require_decoder
from keras_kd.data.splits import Data, check_class_names

SCHEMA = "schema.json"

_HEADER, _FOOTER = 12, 4  # Length and its checksum before a record, the checksum after it.


def read_records(
    path: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
    default_size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "stretch",
    background: int = 255,
    unreadable: str = "refuse",
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    memory_limit: int = 1_000_000_000,
    cache: PathLike | None = None,
    name: str | None = None,
) -> Data:
    """Read a folder of TFRecord shards whose `schema.json` says what is in them.

        {"train": "train-*.tfrecord", "test": "test-*.tfrecord",
         "image": "image", "label": "label", "class_names": ["cat", "dog"]}

    `train` (and maybe `validation`, `test`) name the shards by a pattern inside the folder;
    `image` and `label` name the features of each example, as here if left out: an encoded PNG,
    JPEG, BMP, WebP or GIF image, and the number (or the name) of its class. The checksums of all
    records are verified; shards are not compressed. What is missing is carved, decoded and kept
    as in `image_folder`, whose arguments these are.

    Args:
        path: the folder.
        class_names: the classes in the order of the labels; those of the schema if `None`.
        image_size: as in `image_folder`, like the arguments that follow.
        default_size: as there.
        channels: as there.
        fit: as there.
        background: as there.
        unreadable: as there.
        seed: as there.
        validation_fraction: as there.
        test_fraction: as there.
        memory_limit: as there.
        cache: as there.
        name: as there.

    Returns:
        A `Data`.

    Raises:
        FileNotFoundError: if there is no such folder or no schema in it.
        ValueError: if schema, shards or images are not what they should be.
        ImportError: if Pillow is not installed (extra `images`).
    """
    require_decoder()
    root = Path(path)
    schema = _schema(root)
    names = check_class_names(class_names or schema.get("class_names", ()))
    sources, labels = {}, {}
    for split in ("train", "validation", "test"):
        if split in schema:
            sources[split], labels[split] = [], []
            for shard in _shards(root, split, schema[split]):
                for source, label in _examples(shard, schema, names):
                    sources[split].append(source)
                    labels[split].append(label)
    return assembled(
        sources,
        labels,
        Reading(
            name=name or root.resolve().name,
            source=str(root),
            class_names=names,
            image_size=image_size,
            default_size=default_size,
            channels=channels,
            fit=fit,
            background=background,
            unreadable=unreadable,
            seed=seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            memory_limit=memory_limit,
            cache=cache,
        ),
    )


def _schema(root):
    path = root / SCHEMA
    if not path.is_file():
        raise FileNotFoundError(
            f"TFRecord shards need a {SCHEMA} beside them. Received: {root} without one. Write "
            'for example {"train": "train-*.tfrecord", "class_names": ["cat", "dog"]}.'
        )
    try:
        schema = parsed(path)
    except ValueError as error:
        raise ValueError(f"{path} must be a JSON object. Received: a file {error}.") from error
    known = {"train": str, "validation": str, "test": str, "image": str, "label": str}
    known["class_names"] = list
    valid = isinstance(schema, dict) and "train" in schema
    if not valid or not all(isinstance(schema[key], known.get(key, ())) for key in schema):
        raise ValueError(
            f"{path} must be a JSON object of texts `train`, `validation`, `test`, `image`, "
            f"`label` and the list `class_names`, of which `train` is needed. "
            f"Received: {json.dumps(schema)[:200]}."
        )
    return schema


def _shards(root, split, pattern):
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ValueError(
            f"The shards of a {SCHEMA} must lie in its folder. Received: {split}={pattern!r}."
        )
    shards = sorted(each for each in root.glob(pattern) if each.is_file())
    if not shards:
        raise ValueError(
            f"The {split} shards of a {SCHEMA} must be there. Received: no file {pattern!r} in "
            f"{root}."
        )
    return shards


def _examples(shard, schema, class_names):
    """Yield where the image of each example lies in the shard, and its label."""
    image_key, label_key = schema.get("image", "image"), schema.get("label", "label")
    offset = 0
    for number, record in enumerate(_records(shard)):
        try:
            features = tf.train.Example.FromString(record).features.feature
        except Exception as error:  # Protocol buffers have errors of their own.
            raise ValueError(
                f"{shard} must hold tf.train.Example records. Received: something else at record "
                f"{number}."
            ) from error
        images = features[image_key].bytes_list.value
        if len(images) != 1:
            raise ValueError(
                f"Each example must hold one encoded image as {image_key!r}. Received: "
                f"{len(images)} in record {number} of {shard}, which holds "
                f"{', '.join(sorted(set(features) - {image_key, label_key})) or 'nothing else'}. "
                f"Name the feature in {SCHEMA}."
            )
        start = offset + _HEADER + record.find(images[0])
        yield (
            (str(shard), start, len(images[0])),
            _label(features[label_key], label_key, class_names, f"record {number} of {shard}"),
        )
        offset += _HEADER + len(record) + _FOOTER


def _records(shard):
    _check_lengths(shard)
    try:
        for record in tf.data.TFRecordDataset(str(shard)):
            yield record.numpy()
    except tf.errors.DataLossError as error:
        reason = error.message.splitlines()[0].split("}} ")[-1].partition(" (")[0]
        raise ValueError(
            f"{shard} must be whole, uncompressed TFRecords. Received: {reason}. Write or copy it "
            "again."
        ) from error


def _check_lengths(shard):
    """Refuse records that go beyond their file, for which TensorFlow would make room first."""
    size, offset = shard.stat().st_size, 0
    with shard.open("rb") as file:
        while offset < size:
            file.seek(offset)
            length = int.from_bytes(file.read(8), "little")
            if offset + _HEADER + length + _FOOTER > size:
                raise ValueError(
                    f"{shard} must be whole, uncompressed TFRecords. Received: corrupted record at "
                    f"{offset}. Write or copy it again."
                )
            offset += _HEADER + length + _FOOTER


def _label(feature, key, class_names, where):
    numbers, names = feature.int64_list.value, feature.bytes_list.value
    if len(numbers) == 1 and 0 <= numbers[0] < len(class_names):
        return numbers[0]
    if len(names) == 1 and names[0].decode(errors="replace") in class_names:
        return class_names.index(names[0].decode(errors="replace"))
    received = list(numbers) or [name.decode(errors="replace") for name in names]
    raise ValueError(
        f"Each example must hold a label {key!r} from 0 to {len(class_names) - 1}, or the name of "
        f"a class. Received: {received} in {where}."
    )
