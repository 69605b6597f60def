"""What the page shows: files, test images, and the teacher's answers, from a folder of results."""

import json
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_kd import data as data_module
from keras_kd import export
from keras_kd._common.json_files import read_json
from keras_kd.teachers.teacher import load_teacher

# What a browser should be asked to load at once: all of Fashion-MNIST or CIFAR-10, and a part of
# larger sets.
_MOST_IMAGE_BYTES = 64_000_000


def content_of(folder, *, data=None, data_dir=None, teacher=None):
    """Return what the page fetches beside itself, by its path on the server.

    `description.json` tells of the rest: the files (`models/<name>`), the raw pixels of the test
    images (`images`), their labels (`labels`, int32) and the teacher's logits for them
    (`teacher_logits`, float32). The teacher is converted to LiteRT as well
    (`models/teacher`), to answer in the browser about what is drawn.

    Args:
        folder: with `.tflite` files that `export.litert` wrote, such as `keras-kd run` and
            `keras-kd export` leave.
        data: name of a data set whose test images are shown. By default the one that
            `results.json` or `export.json` in the folder names; no images if there is none.
        data_dir: as in `data.load`.
        teacher: a `.keras` file. By default `teacher.keras` in the folder; no teacher if there
            is none.

    Returns:
        A dict of bytes.

    Raises:
        ValueError: if the files, images and teacher do not go together, or cannot be shown.
        FileNotFoundError: if something named is not there.
    """
    folder = Path(folder)
    files = _exported_files(folder)
    image_shape = _with_channels(files[0]["input"]["shape"][1:])
    _check_image_shape(folder, image_shape)
    num_classes = files[0]["output"]["shape"][-1]
    content = {f"models/{file['name']}": (folder / file["name"]).read_bytes() for file in files}
    description = {
        "title": folder.resolve().name,
        "files": files,
        "image_shape": image_shape,
        "range": files[0]["input"]["range"],
        "class_names": files[0]["class_names"] or [str(each) for each in range(num_classes)],
        "images": None,
        "teacher": None,
    }
    images = None
    name = data or _data_name(folder)
    if name is not None:
        loaded = data_module.load(name, data_dir=data_dir)
        _check_fit(files, f"The test images of {name}", loaded.image_shape, loaded.num_classes)
        images, labels = _shown_part(loaded.test)
        content |= {"images": images.tobytes(), "labels": labels.tobytes()}
        description["class_names"] = list(loaded.class_names)
        description["images"] = {
            "name": name,
            "count": len(images),
            "total": len(loaded.test),
            "dtype": images.dtype.name,
        }
    path = Path(teacher or folder / "teacher.keras")
    if teacher is not None or path.is_file():
        model = _logits_model(path)
        _check_fit(files, f"The teacher {path}", model.input_shape[1:], model.output_shape[-1])
        if images is not None:
            logits = model.predict(images, batch_size=500, verbose=0)
            content["teacher_logits"] = logits.astype("<f4").tobytes()
        description["teacher"], file = _in_the_browser(model, description["range"])
        content |= file
    content["description.json"] = json.dumps(description).encode()
    return content


def _exported_files(folder):
    """Return what every `.tflite` file that the page can run says of itself."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"What to serve must be a folder that `keras-kd run` or `keras-kd export` wrote. "
            f"Received: {folder}, no folder."
        )
    files = []
    # The largest first: float32, and what was made of it.
    for path in sorted(folder.glob("*.tflite"), key=lambda path: -path.stat().st_size):
        try:
            description = export.embedded(path)
        except (zipfile.BadZipFile, KeyError):
            continue
        # The browser's runtime takes files for one image only.
        if description["input"]["shape"][0] == 1:
            files.append({"name": path.name, "bytes": path.stat().st_size, **description})
    if not files:
        raise FileNotFoundError(
            f"{folder} must hold a .tflite file for one image that keras_kd wrote. Received: none. "
            f"Write one with `keras-kd export student.keras --to {folder}`."
        )
    for file in files:
        ends = [(each["input"]["shape"], each["output"]["shape"]) for each in (file, files[0])]
        if ends[0] != ends[1]:
            raise ValueError(
                f"The .tflite files in {folder} must take the same images and know the same "
                f"classes. Received: {files[0]['name']} and {file['name']}, which do not."
            )
    return files


def _with_channels(shape):
    """Return the shape of an image of which a model may leave out the one channel."""
    return [*shape, 1] if len(shape) == 2 else list(shape)


def _check_image_shape(folder, shape):
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(
            "The page shows images of one or three channels. Received: files in "
            f"{folder} that take inputs of shape {tuple(shape)}."
        )


def _check_fit(files, name, image_shape, num_classes):
    wanted = (*_with_channels(files[0]["input"]["shape"][1:]), files[0]["output"]["shape"][-1])
    received = (*_with_channels(image_shape), num_classes)
    if received != wanted:
        raise ValueError(
            f"{name} must be for images {wanted[:-1]} of {wanted[-1]} classes, as "
            f"{files[0]['name']} is. Received: {received[:-1]} of {received[-1]} classes."
        )


def _data_name(folder):
    """Return the data set that a run or an export left the name of, if it is one to be loaded."""
    results, exported = folder / "results.json", folder / "export.json"
    way_out = "Name the test images yourself: `--data NAME`."
    found = read_json(
        results, {"data": {"name": str}}, what="The results of a run", way_out=way_out
    )
    name = found and found["data"]["name"]
    if found is None:
        shape = {"data": (str, None)}
        found = read_json(exported, shape, what="What an export says", way_out=way_out)
        name = found and found["data"]
    return name if name in data_module.NAMES else None


def _shown_part(test):
    """Return images and labels of a `Split` as a browser reads them."""
    count = max(1, _MOST_IMAGE_BYTES // test.images[0].nbytes)
    images = test.images[:count]
    if images.dtype != np.uint8:
        images = images.astype("<f4")
    return images, test.labels[:count].astype("<i4")


def _logits_model(path):
    """Return a teacher as a Keras model that ends in logits, on the teacher's own weights."""
    teacher = load_teacher(path)
    if teacher.is_sigmoid:
        raise ValueError(
            "The page shows one class of several. Received: a teacher of independent labels, "
            f"{path}, which ends in sigmoid."
        )
    image = keras.Input(teacher.input_shape[1:])
    (logits,) = teacher.ask_with_gradient(image).outputs.values()
    return keras.Model(image, logits)


def _in_the_browser(model, input_range):
    """Return what the page is told of the teacher, and the teacher as a file for LiteRT."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.tflite"
        try:
            export.litert(model, path, input_range=input_range)
        except ValueError as error:  # It may be of operations that LiteRT lacks.
            return {"runs_in_browser": False, "reason": str(error)}, {}
        return {"runs_in_browser": True, **export.embedded(path)}, {
            "models/teacher": path.read_bytes()
        }
