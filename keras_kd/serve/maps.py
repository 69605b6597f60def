"""What the page of maps shows: a student's file beside what teacher and control said before."""

import json
import zipfile
import zlib

import numpy as np

from keras_kd import export
from keras_kd.serve.runtime import STATIC

# What a recipe of maps leaves, and its arrays: uint8 images, and probabilities from 0 to 255.
SHOWN = "shown.npz"
_FILE = "student_int8.tflite"
_SAID = ("teacher", "student_alone")


def content_of_maps(folder):
    """Return what the page of maps fetches, by its path on the server, as `content_of` does.

    Args:
        folder: a `Path`, where a recipe of maps left its file and `shown.npz`.

    Raises:
        FileNotFoundError: if the file is not there.
        ValueError: if the two do not fit.
    """
    path = folder / _FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} must hold what a recipe of maps leaves. Received: {SHOWN} without {_FILE}. "
            "Say the command of the run again."
        )
    file, arrays = export.embedded(path), _arrays(folder / SHOWN)
    ends = [file[name][0] for name in ("inputs", "outputs")]
    shapes = [arrays[name].shape[1:] for name in ("images", *_SAID)]
    if shapes != [tuple(ends[0]["shape"][1:]), *[tuple(ends[1]["shape"][1:])] * 2]:
        raise ValueError(
            f"Images and maps must be of the sizes that {_FILE} takes and returns. Received: "
            f"{SHOWN} in {folder} with others. Say the command of the run again."
        )
    described = {"name": _FILE, "bytes": path.stat().st_size, "input": ends[0], "output": ends[1]}
    description = {
        "title": folder.resolve().name,
        "file": described,
        "shape": list(shapes[0]),
        "count": len(arrays["images"]),
    }
    return {
        "": (STATIC / "maps.html").read_bytes(),
        "description.json": json.dumps(description).encode(),
        f"models/{_FILE}": path.read_bytes(),
        **{name: each.tobytes() for name, each in arrays.items()},
    }


def _arrays(path):
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in ("images", *_SAID)}
        if all(each.dtype == np.uint8 and len(each) for each in arrays.values()):
            return arrays
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        pass
    raise ValueError(
        f"What the page shows must be as it was written. Received: {path}, which is damaged. Say "
        "the command of the run again."
    )
