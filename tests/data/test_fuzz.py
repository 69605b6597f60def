"""Whatever bytes a reader is given, it reads them or refuses them in a sentence of its own.

Each example is a valid file with parts cut out, changed or put in. `make fuzz` tries far more of
them than the tests do.
"""

import gzip
import io
import json
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_kd as kd
from keras_kd.data.cifar import read_cifar10
from keras_kd.data.image_file import Form, decode, facts_of
from keras_kd.data.reading import class_names_beside
from keras_kd.runs import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's and NumPy's, about broken files.

many = settings(
    max_examples=int(os.environ.get("KERAS_KD_FUZZ_EXAMPLES", "40")),
    deadline=None,
    derandomize="KERAS_KD_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)

edits = st.lists(
    st.tuples(
        st.integers(0, 2**16), st.sampled_from(["cut", "change", "put"]), st.binary(max_size=8)
    ),
    max_size=4,
)


def edited(content, changes):
    content = bytearray(content)
    for place, kind, some in changes:
        start = place % (len(content) + 1)
        if kind == "cut":
            del content[start : start + 1 + len(some) * 16]
        elif kind == "change":
            content[start : start + len(some)] = some
        else:
            content[start:start] = some
    return bytes(content)


def encoded(form, **options):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    extra = {} if form == "BMP" else {"exif": exif}
    Image.fromarray(pixels).save(stream, form, **extra, **options)
    return stream.getvalue()


IMAGES = {form: encoded(form) for form in ("PNG", "JPEG", "BMP", "WEBP")}


def in_a_file(read, name, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return refused_or(read, path)


def refused_or(read, *arguments):
    """Return what a reader gives, or `None` if it refuses; anything else is a crash."""
    try:
        return read(*arguments)
    except (OSError, ValueError) as error:
        # Those of JSON, Unicode and the like are no sentences for users.
        if type(error) not in (ValueError, FileNotFoundError) or not str(error).strip():
            raise AssertionError(f"no sentence: {error!r}") from error
        return None


@many
@given(st.sampled_from(sorted(IMAGES)), edits)
def test_images(form, changes):
    content = edited(IMAGES[form], changes)
    facts = refused_or(facts_of, content)
    pixels = refused_or(decode, content, Form(5, 4, 3))
    assert pixels is None or (pixels.shape == (5, 4, 3) and facts is not None)


@many
@given(st.binary(max_size=64))
def test_bytes_that_were_never_an_image(content):
    assert refused_or(facts_of, content) is None or len(content) > 20


@many
@given(edits, st.booleans())
def test_idx_files(changes, zipped):
    content = struct.pack(">HBB3I", 0, 8, 3, 4, 3, 2) + bytes(range(24))
    content = edited(gzip.compress(content) if zipped else content, changes)
    array = in_a_file(kd.data.read_idx, "x.gz" if zipped else "x", content)
    assert array is None or array.dtype == np.uint8


@many
@given(edits)
def test_cifar_batches(changes):
    batch = bytes(3073) + bytes([9]) + bytes(3072)
    with tempfile.TemporaryDirectory() as folder:
        for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
            (Path(folder) / f"{name}.bin").write_bytes(batch)
        (Path(folder) / "data_batch_2.bin").write_bytes(edited(batch, changes))
        refused_or(read_cifar10, folder)


@many
@given(edits)
def test_archives_of_arrays(changes):
    stream = io.BytesIO()
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 3), dtype=np.uint8)
    labels = np.arange(20) % 2
    np.savez_compressed(
        stream, train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    data = in_a_file(kd.data.read_npz, "x.npz", edited(stream.getvalue(), changes))
    assert data is None or len(data.train) + len(data.validation) == 20


structures = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@many
@given(structures, edits)
def test_class_names(structure, changes):
    content = edited(json.dumps(structure).encode(), changes)
    names = in_a_file(class_names_beside, "class_names.json", content)
    assert names is None or (len(set(names)) == len(names) > 0)


def shard():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for label in (0, 1) * 10:
                image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[IMAGES["PNG"]]))
                number = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
                features = tf.train.Features(feature={"image": image, "label": number})
                writer.write(tf.train.Example(features=features).SerializeToString())
        return path.read_bytes()


SHARD = shard()
SCHEMA = {"train": "*.tfrecord", "class_names": ["a", "b"], "image": "image", "label": "label"}


@many
@given(edits, edits)
def test_records_and_their_schema(changes, changes_of_schema):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.tfrecord").write_bytes(edited(SHARD, changes))
        schema = edited(json.dumps(SCHEMA).encode(), changes_of_schema)
        (Path(folder) / "schema.json").write_bytes(schema)
        refused_or(kd.data.read, folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "labels"
    teacher = kd.models.mlp([2], image_shape=(3, 3, 1), num_classes=3)
    split = kd.data.Split(np.zeros((8, 3, 3, 1), np.uint8), np.zeros(8, np.int32))
    kd.SoftLabels.create(folder, teacher, split, verbose=False)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@many
@given(edits, st.booleans())
def test_stores_of_soft_labels(store, changes, of_rows):
    name = next(name for name in store if name.endswith(".npy") == of_rows)
    with tempfile.TemporaryDirectory() as folder:
        for each, content in store.items():
            content = edited(content, changes) if each == name else content
            (Path(folder) / each).write_bytes(content)
        refused_or(kd.SoftLabels, folder)


def run_directory():
    """What the readers of a run look at, each as the bytes of a valid file."""
    stream = io.BytesIO()
    state = {"variables": 1, "best_weights": 0, "stopping": {}, "stopped": False, "logs": []}
    head = {"made_of": "x", "epoch": 2, "seconds": 1.5, "states": {"student": state}}
    arrays = {"student/variables/0": np.zeros(3, np.float32)}
    np.savez(stream, head=json.dumps(head), **arrays)
    test = {"test": {"accuracy": 0.5}}
    return {
        "config.json": {
            "kind": "run",
            "recipe": "digits",
            "options": {"seed": 0, "epochs": None},
            "settings": {},
            "data": {"digest": "0"},
            "machine": {"python": "3"},
            "command": "keras-kd run digits",
        },
        "results.json": {"models": {"student": test, "student_alone": test}},
        "student.checkpoint.npz": stream.getvalue(),
    }


RUN = run_directory()


def with_one_replaced(structure, path, replacement):
    """Return a structure with what lies at a path of numbers replaced, as far as it leads."""
    if not path or not isinstance(structure, dict) or not structure:
        return replacement
    key = list(structure)[path[0] % len(structure)]
    return structure | {key: with_one_replaced(structure[key], path[1:], replacement)}


@many
@given(
    st.sampled_from(sorted(RUN)), edits, st.lists(st.integers(0, 9), max_size=3), structures,
    st.booleans(),
)  # fmt: skip
def test_run_directories(name, changes, path, replacement, finished):
    with tempfile.TemporaryDirectory() as folder:
        for each, content in RUN.items():
            if each == name and not isinstance(content, bytes) and not changes:
                content = with_one_replaced(content, path, replacement)
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            if finished or each != "results.json":
                (Path(folder) / each).write_bytes(edited(content, changes * (each == name)))
        # Whatever lies in one folder, the others are listed.
        assert len(kd.experiment.list_runs(folder)) <= 1
        kd.experiment.print_runs(folder)
        refused_or(kd.experiment.check_run, folder)
        head = refused_or(checkpoint.read, Path(folder) / "student.checkpoint.npz")
        assert head is None or head["states"].keys() <= {"student"}
