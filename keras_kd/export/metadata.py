"""What a file must tell whoever runs it: inside the file, and in a `.json` beside it."""

import json
import zipfile
from pathlib import Path

import keras_kd
from keras_kd._common.backend import quiet_native_stderr
from keras_kd._common.files import sha256_of, written_whole
from keras_kd._common.typing import Config, PathLike
from keras_kd.export.runner import LiteRTFile

_NAME = "keras_kd.json"
_OF_A_CLASSIFIER = {"logits", "probabilities"}
# Names of a hundred thousand classes are a few.
_MOST_BYTES = 10_000_000


def describe_litert(
    path,
    *,
    quantization,
    class_names,
    input_range,
    reads,
    columns=None,
    float_layers=None,
    float_share=None,
    saturation=None,
):
    """Return what is to be known of a `.tflite` file, as a dict for JSON.

    Args:
        path: the file.
        quantization: as in `litert`.
        class_names: one string a class, or `None`.
        input_range: lowest and highest number that the one input takes; `None` of several.
        reads: what that input stands for, as in `litert`.
        columns: of a model of a table, a `Columns`.
        float_layers: of a model of `quantize.prepare`, the layers that stayed in float32.
        float_share: of such a model, the share of the multiply-adds that these make.
        saturation: of such a model, by the name of the range that cuts off most, the share of what
            it was given on the calibration images.

    Raises:
        ValueError: if the class names are not as many as the logits, or the columns as the inputs.
    """
    with quiet_native_stderr():
        file = LiteRTFile(path)
    _check_class_names(class_names, file)
    _check_columns(columns, file)
    return {
        "format": "litert",
        "quantization": quantization,
        "signature": "serve",
        **_ends(file, input_range, reads),
        "float_layers": float_layers,
        "float_share": float_share,
        "class_names": None if class_names is None else list(class_names),
        **({} if saturation is None else {"saturation": saturation}),
        **({} if columns is None else columns.get_config()),
        "written_by": f"keras_kd {keras_kd.__version__}",
    }


def _check_class_names(class_names, file):
    sizes = [int(tensor["shape"][-1]) for tensor in file.outputs.values()]
    if class_names is None or len(class_names) in sizes:
        return
    if file.outputs.keys() == _OF_A_CLASSIFIER:
        raise ValueError(
            f"`class_names` must be one for each of the {sizes[0]} logits. "
            f"Received: {len(class_names)}."
        )
    raise ValueError(
        "`class_names` must be as many as the last axis of an output: "
        f"{', '.join(map(str, sizes))}. Received: {len(class_names)}."
    )


def _check_columns(columns, file):
    shapes = [each["shape"][1:].tolist() for each in file.inputs.values()]
    if columns is not None and shapes != [[len(columns.inputs)]]:
        raise ValueError(
            f"`columns` must make the {' and '.join(map(str, shapes))} numbers that the model "
            f"takes. Received: columns of {len(columns.inputs)}."
        )


def _ends(file, input_range, reads):
    """Return what a file takes and returns: one image and its logits, or a list of each."""
    if file.outputs.keys() == _OF_A_CLASSIFIER and file.inputs.keys() == {"image"}:
        said = {"range": [float(limit) for limit in input_range], "reads": reads}
        return {
            "input": {"name": "image", **_tensor(file.inputs["image"]), **said},
            "output": {"name": "logits", **_tensor(file.outputs["logits"])},
        }
    return {
        key: [{"name": name, **_tensor(tensor)} for name, tensor in tensors.items()]
        for key, tensors in (("inputs", file.inputs), ("outputs", file.outputs))
    }


def embed(path, description):
    """Append a description to a `.tflite` file, as an archive that any unzip can read.

    It is TensorFlow Lite's own place for a model's associated files; a runtime does not look past
    the model's end.
    """
    with zipfile.ZipFile(path, "a") as archive:
        # A fixed date: the same model gives the same bytes.
        entry = zipfile.ZipInfo(_NAME, date_time=(1980, 1, 1, 0, 0, 0))
        text = json.dumps(description, separators=(",", ":"))
        archive.writestr(entry, text, compress_type=zipfile.ZIP_DEFLATED)


def embedded(path: PathLike) -> Config:
    """Return the description inside a `.tflite` file that `litert` wrote.

    A file from `image` to `logits` is described by `input` and `output`; any other by lists of all
    its `inputs` and `outputs`.

    Args:
        path: of the file.
    """
    with zipfile.ZipFile(path) as archive, archive.open(_NAME) as file:
        return json.loads(file.read(_MOST_BYTES))


def write_sidecar(path, description):
    """Write a description and the file's SHA-256 to `<path>.json`; return that path."""
    path = Path(path)
    sidecar = path.with_name(path.name + ".json")
    with written_whole(sidecar) as unfinished:
        unfinished.write_text(
            json.dumps({**description, "sha256": sha256_of(path)}, indent=1) + "\n"
        )
    return sidecar


def _tensor(details):
    scale, zero_point = details["quantization"]
    return {
        # -1 stands for a batch of any size.
        "shape": [int(size) for size in details["shape_signature"]],
        "dtype": details["dtype"].__name__,
        # real value = scale * (integer - zero_point)
        "scale": float(scale) if scale else None,
        "zero_point": int(zero_point) if scale else None,
    }
