"""Images beyond the memory: what a distillation takes does not grow with their number."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc"),
]

SIDE, FEW, MANY = 256, 320, 1200
# A process of its own, in which nothing else takes memory.
CODE = """
import json, pathlib, sys, tempfile, threading

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_kd as kd

SIDE, FEW, MANY = map(int, sys.argv[1:])


def taken():
    # Not what files are mapped to: that is given back when others need it.
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return 1024 * int(lines["RssAnon"].split()[0])


class Peak:
    def __enter__(self):
        self.highest, self.ended = taken(), threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.ended.wait(0.02):
            self.highest = max(self.highest, taken())

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def picture(number):
    colours = 50 + 100 * (number % 2), number % 256, number // 256
    return Image.new("RGB", (SIDE, SIDE), colours)


def folder_of(count, path):
    for number in range(count):
        file = path / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(file, compress_level=1)


def records_of(count, path, folder):
    path.mkdir()
    (path / "schema.json").write_text(
        json.dumps({"train": "*.tfrecord", "class_names": ["a", "b"]})
    )
    feature = tf.train.Feature
    with tf.io.TFRecordWriter(str(path / "x.tfrecord")) as writer:
        for number in range(count):
            content = (folder / "ab"[number % 2] / f"{number}.png").read_bytes()
            features = {
                "image": feature(bytes_list=tf.train.BytesList(value=[content])),
                "label": feature(int64_list=tf.train.Int64List(value=[number % 2])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def distil(path, **options):
    data = kd.data.read(path, memory_limit=1, **options)
    kd.distill(
        teacher, data, student="conv:2", temperature=2.0, alpha=0.5, epochs=1, batch_size=8,
        control=False, checked=False, verbose=False,
    )
    return len(data.train) + len(data.validation) + len(data.test)


teacher = keras.Sequential([
    keras.Input((SIDE, SIDE, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2),
])
peaks = {}
with tempfile.TemporaryDirectory() as name:
    root = pathlib.Path(name)
    for count in (FEW, MANY):
        folder_of(count, root / f"folder_{count}")
        records_of(count, root / f"records_{count}", root / f"folder_{count}")
    for kind in ("folder", "records", "cache"):
        source = "records" if kind == "records" else "folder"
        options = {"cache": root / "cache"} if kind == "cache" else {}
        if kind == "folder":
            distil(root / f"folder_{FEW}", **options)  # Compiles, and makes room.
        for count in (FEW, MANY):
            with Peak() as peak:
                assert distil(root / f"{source}_{count}", **options) == count
            peaks[f"{kind} {count}"] = peak.highest
print(json.dumps(peaks))
"""


def test_memory_does_not_grow_with_the_number_of_images():
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, (SIDE, FEW, MANY))],
        capture_output=True,
        text=True,
        timeout=1200,
        # Each thread's own arena keeps what it freed: more of them are busy on a busy machine.
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout.splitlines()[-1])
    print(peaks)
    more = 3 * SIDE**2 * (MANY - FEW)
    for kind in ("folder", "records", "cache"):
        grown = peaks[f"{kind} {MANY}"] - peaks[f"{kind} {FEW}"]
        # Batches that wait for each other come and go; the images that are more take 173 MB.
        assert grown < more / 5, (kind, grown, more)
