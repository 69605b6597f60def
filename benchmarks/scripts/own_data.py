"""Teachers of every kind through `keras-kd distill` on a folder of images; the reader's pace.

Command: `python benchmarks/scripts/own_data.py --images FOLDER` (a folder such as CIFAR-10's as
JPEG files, with `train/` and `test/`). Cost: about half an hour on two cores.
Writes: `benchmarks/results/own_data.json`, and its section of `benchmarks/robust.md`.

The teachers are trained a little, from random weights, on a part of the images: this shows that
each kind is distilled by the one command with no code written, not how good it can get.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pages import write_section
from results import read, update

from keras_kd._common.backend import describe_machine

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

IMAGES_A_CLASS = {"train": 300, "test": 100}
TEACHER_EPOCHS, STUDENT_EPOCHS = 6, 6
STUDENT = "conv:16-32"
SUBCLASSED = "own_data_subclassed"  # The module of `subclassed`, below.

TEACHERS = ("mobilenet_v3_small", "efficientnet_v2_b0", "resnet50", "sequential_softmax",
            "nested_backbone", "subclassed")  # fmt: skip

SUBCLASSED_SOURCE = """
import keras


@keras.saving.register_keras_serializable("own_data")
class Subclassed(keras.Model):
    def __init__(self, width=32, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.body = keras.Sequential([
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(width, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(2 * width, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
        ])
        self.head = keras.layers.Dense(10, activation="softmax")

    def call(self, images, training=None):
        return self.head(self.body(images, training=training))

    def get_config(self):
        return {**super().get_config(), "width": self.width}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", required=True, help="folder with train/ and test/")
    parser.add_argument("--teachers", nargs="+", default=TEACHERS, choices=TEACHERS)
    parser.add_argument("--only", choices=["train", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "train":
        train_teacher(options.teachers[0], Path(options.folder))
    elif options.only == "read":
        measure_reader(options.images)
    else:
        update("own_data", "reader", readers(options.images) | {"machine": describe_machine()})
        for row in compare(options):
            update("own_data", ["teachers", row["teacher"]], row)
            # After each, since the next may take minutes.
            write_section("robust.md", "own data", document())


def compare(options):
    """Yield a row for each teacher, distilled through the command in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        take_some(Path(options.images), folder / "data")
        (folder / f"{SUBCLASSED}.py").write_text(SUBCLASSED_SOURCE)
        for teacher in options.teachers:
            ourselves = [sys.executable, __file__, "--images", options.images]
            subprocess.run(
                [*ourselves, "--only", "train", "--teachers", teacher, "--folder", folder],
                check=True,
                cwd=folder,
            )
            yield distilled(teacher, folder)


def distilled(teacher, folder):
    command = [sys.executable, "-m", "keras_kd", "distill", "--teacher", f"{teacher}.keras",
               "--data", "data", "--student", STUDENT, "--output", f"out_{teacher}",
               "--epochs", str(STUDENT_EPOCHS), "--formats", "int8"]  # fmt: skip
    command += ["--scale", "caffe"] if teacher == "resnet50" else []
    command += ["--import", SUBCLASSED, "--head", "softmax"] if teacher == "subclassed" else []
    started = time.perf_counter()
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    row = {
        "teacher": teacher,
        "exit code": run.returncode,
        "seconds": time.perf_counter() - started,
    }
    if run.returncode != 0:
        return row | {"error": (run.stderr.strip().splitlines() or ["?"])[-1]}
    report = json.loads((folder / f"out_{teacher}" / "results.json").read_text())
    return row | {"report": {key: report[key] for key in ("models", "gain", "settings", "export")}}


def take_some(images, folder):
    """Copy the first images of each class."""
    for split, count in IMAGES_A_CLASS.items():
        for each in sorted((images / split).iterdir()):
            target = folder / split / each.name
            target.mkdir(parents=True)
            for file in sorted(each.iterdir())[:count]:
                shutil.copy(file, target)


def train_teacher(name, folder):
    import keras

    import keras_kd as kd

    data = kd.data.read(folder / "data")
    keras.utils.set_random_seed(0)
    model = built(name, data.image_shape, folder)
    soften_moving_averages(model)
    images = data.train.images.astype("float32")
    if name == "resnet50":
        images = keras.applications.resnet.preprocess_input(images)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    model.fit(images, data.train.labels, batch_size=64, epochs=TEACHER_EPOCHS, verbose=0)
    model.save(folder / f"{name}.keras")


def soften_moving_averages(model):
    """Let BatchNorm learn its statistics in hundreds of steps; applications expect thousands."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            soften_moving_averages(layer)
        elif hasattr(layer, "momentum"):
            layer.momentum = 0.9


def built(name, shape, folder):
    import keras

    layers, applications = keras.layers, keras.applications
    options = {"weights": None, "classes": 10, "input_shape": shape}
    if name == "mobilenet_v3_small":
        return applications.MobileNetV3Small(**options)
    if name == "efficientnet_v2_b0":
        return applications.EfficientNetV2B0(**options)
    if name == "resnet50":
        return applications.ResNet50(**options)
    if name == "sequential_softmax":
        return keras.Sequential([
            keras.Input(shape), layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Conv2D(64, 3, strides=2, activation="relu"), layers.Flatten(),
            layers.Dense(10), layers.Softmax(),
        ])  # fmt: skip
    if name == "nested_backbone":
        inner = x = keras.Input(shape)
        for channels in (32, 64, 128):
            x = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        backbone = keras.Model(inner, layers.GlobalAveragePooling2D()(x), name="backbone")
        image = keras.Input(shape)
        x = backbone(layers.Rescaling(1 / 127.5, offset=-1)(image))
        return keras.Model(image, layers.Dense(10, activation="softmax")(layers.Dropout(0.2)(x)))
    sys.path.insert(0, str(folder))
    model = __import__(SUBCLASSED).Subclassed()
    model.build((None, *shape))
    return model


def readers(images):
    """Return what reading the whole folder takes, from a process of its own."""
    command = [sys.executable, __file__, "--images", images, "--only", "read"]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def measure_reader(images):
    import resource

    import keras_kd as kd
    from keras_kd.data.encoded import EncodedImages

    started = time.perf_counter()
    data = kd.data.image_folder(images)
    seconds = time.perf_counter() - started
    count = len(data.train) + len(data.validation) + len(data.test)
    encoded = kd.data.image_folder(images, memory_limit=1)
    assert isinstance(encoded.train.images, EncodedImages)
    started = time.perf_counter()
    for _ in encoded.train.batches(64, shuffle_seed=0):
        pass
    pace = len(encoded.train) / (time.perf_counter() - started)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"files": count, "seconds": seconds, "pace": pace, "peak": peak}))


def document():
    """Return the section from the teachers that are there."""
    found = read("own_data")
    reader = found["reader"]
    lines = [
        "## Teachers of every kind, by one command",
        "",
        "`python benchmarks/scripts/own_data.py --images CIFAR`; each teacher was trained for "
        f"{TEACHER_EPOCHS} epochs from random weights on {10 * IMAGES_A_CLASS['train']} JPEG files "
        f"of CIFAR-10, then distilled into `{STUDENT}` by `keras-kd distill` on the same folder, "
        f"at most {STUDENT_EPOCHS} epochs, temperature and alpha chosen by its probe. It shows "
        "that it goes, not how well: one seed, small data, hardly trained teachers.",
        "",
        "| teacher | parameters | head | accuracy | T, alpha | student distilled | alone | gain "
        "(95 % interval) | agreement | int8 file | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += map(line, found["teachers"].values())
    lines += [
        "",
        f"The whole folder, {reader['files']:,} files: indexed, decoded and checked in "
        f"{reader['seconds']:.0f} s; kept encoded, an epoch decodes {reader['pace']:,.0f} images "
        f"a second; peak memory of both together {reader['peak'] / 1e9:.2f} GB.",
        "",
        *(f"- {key}: {value}" for key, value in reader["machine"].items()),
        "",
    ]
    return "\n".join(lines)


def line(row):
    if "error" in row:
        return f"| {row['teacher']} | exit code {row['exit code']}: {row['error']} |"
    report = row["report"]
    models, gain = report["models"], report["gain"]
    low, high = (100 * each for each in gain["interval_95"])
    settings = report["settings"]
    return (
        f"| {row['teacher']} | {models['teacher']['parameters']:,} | {settings['head']} "
        f"| {models['teacher']['test']['accuracy']:.3f} "
        f"| {settings['temperature']:g}, {settings['alpha']:g} "
        f"| {models['student']['test']['accuracy']:.3f} "
        f"| {models['student_alone']['test']['accuracy']:.3f} "
        f"| {100 * gain['accuracy']:+.1f} ({low:+.1f} to {high:+.1f}) "
        f"| {models['student']['test']['agreement_with_teacher']:.3f} "
        f"| {report['export']['files'][0]['bytes'] / 1000:.0f} KB | {row['seconds']:.0f} |"
    )


if __name__ == "__main__":
    main()
