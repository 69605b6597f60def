"""What the page shows: files, test images, and the teacher's answers, from a folder of results."""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_kd import data as data_module
from keras_kd import export
from keras_kd._common.json_files import read_json
from keras_kd.data.datasets import NAMES
from keras_kd.data.files import BLOCK, FEWEST, KEPT, PADDING
from keras_kd.data.splits import Data, Split
from keras_kd.runs.evaluation import logits_of
from keras_kd.serve.files import files_of, read_by, shape_of_image, teacher_in
from keras_kd.serve.maps import SHOWN, content_of_maps
from keras_kd.teachers.fitting import opened_teacher

# What a browser should be asked to load at once: all of Fashion-MNIST or CIFAR-10, and a part of
# larger sets.
_MOST_IMAGE_BYTES = 64_000_000
_PATHS = (str, [str], None)
_MADE_FROM = {
    "data?": _PATHS,
    "data_options?": (None, {}),
    "teacher?": _PATHS,
    "scale?": str,
    "head?": (None, str),
}
# How the bytes of a file are drawn, and what the page must know to read them as `data.files` does.
_BYTES_AS_IMAGE = [32, 2 * KEPT // 32, 1]
_OF_FILES = {"block": BLOCK, "kept": KEPT, "padding": PADDING, "fewest": FEWEST}
# What tells of data and teacher, in this order.
_RECORDS = {
    "config.json": ("What a run was asked for", {"made_from?": (None, _MADE_FROM)}),
    "results.json": ("The results of a run", {"data?": {"name": str, "class_names?": [str]}}),
    "export.json": ("What an export says", {"data": (str, None)}),
}


def content_of(folder, *, data_dir=None, say=lambda _: None, **made_from):
    """Return what the page fetches beside itself, by its path on the server.

    `description.json` tells of the rest: the files (`models/<name>`), the raw pixels of the test
    images (`images`), their labels (`labels`, int32) and the teacher's logits for them
    (`teacher_logits`, float32). The teacher is converted to LiteRT as well
    (`models/teacher`), to answer in the browser about what is drawn.

    Args:
        folder: with `.tflite` files that `export.litert` wrote, such as `keras-kd run`,
            `distill` and `export` leave; or with the students that any run leaves.
        data_dir: as in `data.load`.
        say: is told in a line what takes time.
        **made_from: `data`, `teacher`, `scale` and `head` as in `serve`; what is `None` is as the
            run or export in the folder was told. No images, and no teacher, if nothing tells.

    Returns:
        A dict of bytes.

    Raises:
        ValueError: if the files, images and teacher do not go together, or cannot be shown.
        FileNotFoundError: if something named is not there.
    """
    folder = Path(folder)
    if (folder / SHOWN).is_file():
        return content_of_maps(folder)
    files, contents = files_of(folder, say)
    told = {name: each for name, each in made_from.items() if each is not None}
    made_from = {"teacher": teacher_in(folder)} | _made_from(folder) | told
    reads = read_by(files[0])
    content = {f"models/{file['name']}": each for file, each in zip(files, contents, strict=True)}
    description = {
        "title": folder.resolve().name,
        "files": files,
        "reads": reads,
        "image_shape": _as_image(files[0]),
        "range": files[0]["input"]["range"],
        "bytes": _OF_FILES if reads == "files" else None,
        "class_names": _class_names(files[0], folder),
        "images": None,
        "teacher": None,
    }
    shown = _data_of(files[0], made_from, data_dir)
    if shown is not None:
        part = _shown_part(shown.test)
        images = part.images if part.images.dtype == np.uint8 else part.images.astype("<f4")
        content |= {"images": images.tobytes(), "labels": part.labels.astype("<i4").tobytes()}
        description["class_names"] = list(shown.class_names)
        description["images"] = {
            "name": shown.name,
            "count": len(images),
            "total": len(shown.test),
            "dtype": images.dtype.name,
        }
    opened = _teacher_of(files[0], made_from, shown)
    if opened is not None:
        if shown is not None:
            logits = logits_of(opened, part)
            content["teacher_logits"] = logits.astype("<f4").tobytes()
        description["teacher"], file = _in_the_browser(opened, files[0], description)
        content |= file
    content["description.json"] = json.dumps(description).encode()
    return content


def _as_image(file):
    """Return the shape of what the page shows: an image, or bytes drawn as one."""
    reads = read_by(file)
    if reads == "files":
        return _BYTES_AS_IMAGE
    return [1, *file["input"]["shape"][1:], 1] if reads == "texts" else shape_of_image(file)


def _num_classes(file):
    return file["output"]["shape"][-1]


def _check_fit(file, name, image_shape, num_classes):
    wanted, received = (*shape_of_image(file), _num_classes(file)), (*image_shape, num_classes)
    if received != wanted:
        raise ValueError(
            f"{name} must be for {read_by(file)} {wanted[:-1]} of {wanted[-1]} classes, as "
            f"{file['name']} is. Received: {received[:-1]} of {received[-1]} classes."
        )


def _records_in(folder):
    """Return what lies in a folder of `_RECORDS`, each `{}` if it does not."""
    way_out = "Name the test images yourself: `--data NAME` or `--data PATH`."
    return [
        read_json(folder / name, shape, what=what, way_out=way_out) or {}
        for name, (what, shape) in _RECORDS.items()
    ]


def _class_names(file, folder):
    """Return the names of the classes: as the file, or else the run, says; or their numbers."""
    _, results, _ = _records_in(folder)
    count = _num_classes(file)
    of_run = results.get("data", {}).get("class_names", [])
    return file["class_names"] or (of_run if len(of_run) == count else list(map(str, range(count))))


def _made_from(folder):
    """Return what a run or an export says of its data and teacher, by name."""
    config, results, exported = _records_in(folder)
    if config.get("made_from"):
        return config["made_from"]
    # Of one seed of several the folder above it says the data.
    name = results.get("data", {}).get("name") if results else exported.get("data")
    return {"data": name} if name in NAMES else {}


def _data_of(file, made_from, data_dir):
    """Return the `Data` that is shown, `None` if nothing tells which."""
    path = made_from.get("data")
    if path is None:
        return None
    if str(path) in NAMES:
        found = data_module.load(path, data_dir=data_dir)
    else:
        options = {"class_names": file["class_names"], **(made_from.get("data_options") or {})}
        options["shape"] = shape_of_image(file)
        found = _there("data", path, lambda: data_module.read(path, **options))
    name = f"The test {read_by(file)} of {found.name}"
    _check_fit(file, name, found.input_shape, found.num_classes)
    return found


def _teacher_of(file, made_from, data):
    """Return the teacher as it answers the images, `None` if there is none."""
    given = made_from.get("teacher")
    if given is None:
        return None
    data = data or _made_up(file)
    options = {name: made_from[name] for name in ("scale", "head") if name in made_from}
    opened = _there("teacher", given, lambda: opened_teacher(given, data, **options))
    _check_fit(file, f"The teacher {given}", data.input_shape, opened.num_classes)
    return opened


def _there(name, path, opened):
    """Return what lies at a path that a run may have been told on another day."""
    try:
        return opened()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} Say where it lies now: `--{name} PATH`.") from error


def _made_up(file):
    """Return a `Data` of noise, to try a teacher on where no images are shown."""
    shape = (8, *shape_of_image(file))
    reads = read_by(file)
    dtype = np.uint8 if reads == "images" else np.int32
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=dtype)
    split = Split(noise, np.zeros(8, np.int32))
    return Data("noise", split, split, split, (), "made up", reads=reads)


def _shown_part(test):
    """Return a `Split` of what a browser should be asked to load."""
    return test.take(slice(max(1, _MOST_IMAGE_BYTES // test.images[0].nbytes)))


def _in_the_browser(teacher, file, description):
    """Return what the page is told of the teacher, and the teacher as a file for LiteRT."""
    dtype = "float32" if read_by(file) == "images" else "int32"
    image = keras.Input(shape_of_image(file), dtype=dtype)
    model = keras.Model(image, teacher(image), name="teacher")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.tflite"
        try:
            export.litert(model, path, input_range=description["range"])
        except ValueError as error:  # It may be of operations that LiteRT lacks.
            return {"runs_in_browser": False, "reason": str(error)}, {}
        return {"runs_in_browser": True, **export.embedded(path)}, {
            "models/teacher": path.read_bytes()
        }
