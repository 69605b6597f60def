"""The files that the page runs: those that were exported, or the students of a run, converted."""

import tempfile
import zipfile
from pathlib import Path

from keras_kd import export
from keras_kd._common.inputs import vocabularies
from keras_kd._common.model_files import load_model_file
from keras_kd.data.files import KEPT, PADDING
from keras_kd.data.texts import MOST_BYTES


def files_of(folder, say):
    """Return what each file that the page can run says of itself, and its bytes, both in order.

    Without any exported file, the students that the run left there (of the first of several
    seeds) are converted.

    Args:
        folder: of a run or an export.
        say: is told in a line what takes time.

    Raises:
        FileNotFoundError: if there is no such folder, or nothing in it that the page can run.
        ValueError: if the files do not go together, or are not of images.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"What to serve must be a folder that `keras-kd run` or `keras-kd export` wrote. "
            f"Received: {folder}, no folder."
        )
    found = _exported(folder) or _converted(folder, say)
    if others := [each["name"] for each, _ in found if "input" not in each]:
        raise ValueError(
            "The page shows what one image is told as. Received: "
            f"{folder / others[0]}, with several inputs, several outputs or an answer at every "
            "place. Run such a file with `export.run_litert`."
        )
    if not found:
        raise FileNotFoundError(
            f"{folder} must hold a .tflite file for one image that keras_kd wrote. Received: none. "
            f"Write one with `keras-kd export student.keras --to {folder}`."
        )
    # The largest first: float32, and what was made of it.
    found.sort(key=lambda each: -each[0]["bytes"])
    descriptions = [description for description, _ in found]
    _check_alike(folder, descriptions)
    return descriptions, [content for _, content in found]


def teacher_in(folder):
    """Return the path of the teacher that a run left in its folder, `None` if it left none."""
    path = _of_models(folder) / "teacher.keras"
    return path if path.is_file() else None


def shape_of_image(file):
    """Return the shape of an image of which a model may leave out the one channel."""
    shape = file["input"]["shape"][1:]
    return [*shape, 1] if len(shape) == 2 else list(shape)


def read_by(file):
    """Return what a file reads: `"images"`, `"texts"`, `"files"` or `"numbers"`, as it says.

    One that says nothing is an older one, or was written without data: there its shape tells.
    """
    taken = file["input"]
    if taken.get("reads"):
        return taken["reads"]
    shape, limits = list(taken["shape"][1:]), list(taken["range"])
    if len(shape) > 1:
        return "images"
    if shape == [2 * KEPT] and limits == [0, PADDING]:
        return "files"
    is_text = taken["dtype"] == "int32" and limits == [0, 255] and shape[0] <= MOST_BYTES
    return "texts" if is_text else "numbers"


def _exported(folder):
    found = []
    for path in folder.glob("*.tflite"):
        try:
            found.append(_described(path, path.name))
        except (zipfile.BadZipFile, KeyError):
            continue
    # The browser's runtime takes files for one image only.
    return [each for each in found if _num_images(each[0]) == 1]


def _num_images(file):
    """Return how many images a call of a file takes, -1 for any number."""
    ends = [file["input"]] if "input" in file else file["inputs"]
    return ends[0]["shape"][0]


def _described(path, name):
    content = path.read_bytes()
    return {"name": name, "bytes": len(content), **export.embedded(path)}, content


def _converted(folder, say):
    """Return what `_exported` does, of the run's students as float32 files."""
    paths = [path for path in _of_models(folder).glob("*.keras") if path.stem != "teacher"]
    # Most runs call theirs `student`; all are of one size.
    paths.sort(key=lambda path: (path.stem != "student", path.name))
    if paths:
        say(f"{len(paths)} students of {paths[0].parent} are converted for the browser ...")
    with tempfile.TemporaryDirectory() as place:
        return [_convert(path, Path(place) / f"{path.stem}.tflite") for path in paths]


def _convert(path, file):
    model = load_model_file(path, "student")
    export.litert(model, file, reads=_read_by_model(model))
    return _described(file, path.name)


def _read_by_model(model):
    """Return what a model reads that looks up one row of numbers in tables; `None` of others."""
    words = vocabularies(model) if len(model.inputs) == 1 else ()
    if not words or len(model.inputs[0].shape) != 2:
        return None
    # Texts have a number for each byte, files one more.
    return {PADDING: "texts", PADDING + 1: "files"}.get(max(words), "numbers")


def _of_models(folder):
    """Return the folder of a run's models: that of the first seed, where there are several."""
    seeds = [each for each in folder.glob("seed_*") if each.name.removeprefix("seed_").isdigit()]
    has_models = any(folder.glob("*.keras"))
    return folder if has_models or not seeds else min(seeds, key=lambda each: int(each.name[5:]))


def _check_alike(folder, files):
    for file in files:
        ends = [
            (read_by(each), each["input"]["shape"], each["output"]["shape"])
            for each in (file, files[0])
        ]
        if ends[0] != ends[1]:
            raise ValueError(
                f"The .tflite files in {folder} must take the same images and know the same "
                f"classes. Received: {files[0]['name']} and {file['name']}, which do not."
            )
    shape, reads = shape_of_image(files[0]), read_by(files[0])
    is_shown = len(shape) == 3 and shape[-1] in (1, 3) if reads == "images" else reads != "numbers"
    if not is_shown:
        raise ValueError(
            "The page shows images of one or three channels, texts, or the bytes of files. "
            f"Received: files in {folder} that take {reads} of shape {tuple(shape)}."
        )
