"""TFRecord shards of encoded images, and the schema beside them."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_kd as kd


def example(number, label, keys=("image", "label")):
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    if isinstance(label, int):
        feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    else:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[label.encode()]))
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[stream.getvalue()]))
    features = dict(zip(keys, (image, feature), strict=True))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_shard(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


@pytest.fixture
def shards(tmp_path):
    for number in range(2):
        records = [example(20 * number + each, each % 2) for each in range(20)]
        write_shard(tmp_path / f"train-{number}.tfrecord", records)
    schema = {"train": "train-*.tfrecord", "class_names": ["a", "b"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    return tmp_path


def test_images_and_labels_are_those_of_the_examples(shards):
    data = kd.data.read(shards)
    assert data.class_names == ("a", "b") and data.image_shape == (8, 8, 3)
    assert [len(each) for each in (data.train, data.validation, data.test)] == [32, 4, 4]
    known = {
        np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8).tobytes(): (
            number % 2
        )
        for number in range(40)
    }
    for image, label in zip(data.train.images, data.train.labels, strict=True):
        assert known[image.tobytes()] == label


def test_beyond_the_memory_limit_images_are_read_where_they_lie(shards):
    kept, encoded = kd.data.read(shards), kd.data.read(shards, memory_limit=1)
    np.testing.assert_array_equal(kept.train.images, np.asarray(encoded.train.images))


def test_features_of_other_names_and_labels_by_name(tmp_path):
    keys = {"image": "image/encoded", "label": "image/class/text"}
    for split in ("train", "test"):
        records = [example(each, "dog" if each % 2 else "cat", keys.values()) for each in range(20)]
        write_shard(tmp_path / f"{split}.tfrecord", records)
    schema = {"train": "train.tfrecord", "test": "test.*", "class_names": ["dog", "cat"], **keys}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    data = kd.data.read_records(tmp_path)
    assert len(data.test) == 20 and data.test.labels.tolist() == [1, 0] * 10


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ("{", "must be a JSON object"),
        ("[]", "must be a JSON object of texts"),
        pytest.param("[" * 100_000, "must be a JSON object. Received: a file which", id="deep"),
        ('{"class_names": ["a", "b"]}', "of which `train` is needed"),
        ('{"train": "train-*", "traim": "x"}', "must be a JSON object of texts"),
        ('{"train": "../*"}', "must lie in its folder"),
        ('{"train": "/etc/*"}', "must lie in its folder"),
        ('{"train": "nothing-*"}', "no file 'nothing-\\*'"),
        ('{"train": "train-*"}', "`class_names` must be a list"),
        ('{"train": "train-*", "image": "picture"}', "one encoded image as 'picture'"),
        ('{"train": "train-*", "label": "number"}', "a label 'number' from 0 to 1"),
    ],
)
def test_a_wrong_schema_is_refused(shards, schema, sentence):
    if schema.startswith('{"train": ') and sentence[0] != "`":
        schema = schema[:-1] + ', "class_names": ["a", "b"]}'
    (shards / "schema.json").write_text(schema)
    with pytest.raises(ValueError, match=sentence):
        kd.data.read(shards)


def test_a_label_out_of_range_is_named(shards):
    write_shard(shards / "train-2.tfrecord", [example(0, 2)])
    with pytest.raises(ValueError, match=r"Received: \[2\] in record 0 of .*train-2"):
        kd.data.read(shards)


@pytest.mark.parametrize("where", ["length", "record", "end"])
def test_a_damaged_shard_is_refused(shards, where):
    path = shards / "train-1.tfrecord"
    content = bytearray(path.read_bytes())
    if where == "end":
        content = content[:-7]
    else:
        content[0 if where == "length" else 60] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-1.tfrecord must be whole, uncompressed TFRecords"):
        kd.data.read(shards)


def test_a_record_of_something_else_is_refused(shards):
    write_shard(shards / "train-2.tfrecord", [b"\xff\xff\xff"])
    with pytest.raises(ValueError, match="something else at record 0"):
        kd.data.read(shards)


def test_an_image_that_cannot_be_decoded_is_named_by_its_place(shards):
    damaged = example(0, 0).replace(b"IHDR", b"IXDR")
    write_shard(shards / "train-2.tfrecord", [example(1, 1), damaged])
    with pytest.raises(ValueError, match=r"1 that cannot be decoded: .*train-2.tfrecord at byte"):
        kd.data.read(shards)
    assert len(kd.data.read(shards, unreadable="leave_out").left_out) == 1


def test_a_missing_schema_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"need a schema.json beside them"):
        kd.data.read_records(tmp_path)


def masked_crc32c(content):
    """The checksum of a record's length (Castagnoli's, bit by bit, turned as TFRecords do)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_record_that_says_it_is_a_terabyte_is_not_made_room_for(shards):
    length = (10**12).to_bytes(8, "little")
    head = length + masked_crc32c(length).to_bytes(4, "little")
    assert (shards / "train-1.tfrecord").read_bytes()[8:12] == masked_crc32c(
        (shards / "train-1.tfrecord").read_bytes()[:8]
    ).to_bytes(4, "little")
    (shards / "train-1.tfrecord").write_bytes(head + bytes(100))
    with pytest.raises(
        ValueError, match=r"uncompressed TFRecords. Received: corrupted record at 0"
    ):
        kd.data.read(shards)
