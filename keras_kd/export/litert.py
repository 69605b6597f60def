"""LiteRT (TFLite): the file a phone runs, and the running of it."""

import dataclasses
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd._common.backend import quiet_native_stderr, require_extra
from keras_kd._common.checks import check_choice
from keras_kd._common.files import written_whole
from keras_kd._common.inputs import taken_by, vocabularies
from keras_kd._common.reprs import call_of
from keras_kd._common.typing import PathLike, Structure
from keras_kd.data.columns import Columns
from keras_kd.data.splits import READS
from keras_kd.export import metadata
from keras_kd.export.calibrating import INTEGER
from keras_kd.export.conversion import convert
from keras_kd.export.ends import check_equal_answers, check_model, inputs_of, probes
from keras_kd.export.mending import integer_operations_in
from keras_kd.export.runner import LiteRTFile, answers_of, microseconds_of, run_afresh
from keras_kd.export.saved_model import in_float32
from keras_kd.quantize import float_layers, float_share, saturation, weight_bits
from keras_kd.quantize.calibration import calibration_images, calibration_inputs

QUANTIZATIONS = (None, "float16", "dynamic", *INTEGER, "int4")

# What integer files of all kinds of nets were seen to run, a thousand times.
_USUAL = {
    "ADD",
    "AVERAGE_POOL_2D",
    "BATCH_MATMUL",
    "CAST",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DEQUANTIZE",
    "EXP",
    "EXPAND_DIMS",
    "FULLY_CONNECTED",
    "GATHER",
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOGISTIC",
    "MAX_POOL_2D",
    "MEAN",
    "MUL",
    "PACK",
    "PAD",
    "QUANTIZE",
    "REDUCE_MAX",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "REVERSE_V2",
    "RSQRT",
    "SHAPE",
    "SOFTMAX",
    "SPLIT",
    "SQUARED_DIFFERENCE",
    "SQUEEZE",
    "STRIDED_SLICE",
    "SUB",
    "SUM",
    "TANH",
    "TILE",
    "TRANSPOSE",
    "TRANSPOSE_CONV",
    "UNPACK",
}

# By how much, of the logits' own size, a file may differ from the model. Float formats differ by
# rounding. For the others this only tells a file that works from one that answers nonsense; what
# it costs in accuracy is for `export.export` to measure.
_TOLERANCES = {None: 1e-3, "float16": 1e-2}
_TOLERANCE_OF_INTEGERS = 0.5
# Of what one range is given: above that a twin lost accuracy, see `benchmarks/tried.md`.
_MOST_CUT_OFF = 0.03


def litert(
    model: keras.Model,
    path: PathLike,
    *,
    quantization: str | None = None,
    calibration: Any = None,
    input_range: tuple[float, float] = (0.0, 255.0),
    class_names: Sequence[str] | None = None,
    columns: Columns | None = None,
    batch_size: int | None = 1,
    reads: str | None = None,
) -> Path:
    """Write a model as a `.tflite` file.

    | `quantization` | weights | computes in | `image` | `logits` |
    | --- | --- | --- | --- | --- |
    | `None` | float32 | float32 | float32 | float32 |
    | `"float16"` | float16 | float32 | float32 | float32 |
    | `"dynamic"` | int8 | int8, ranges found while it runs | float32 | float32 |
    | `"int4"` | int4 | int8, ranges found while it runs | float32 | float32 |
    | `"int8"` | int8 | int8 | int8 | int8 |
    | `"int8_uint8_input"` | int8 | int8 | uint8, as a camera gives it | int8 |
    | `"16x8"` | int8 | int16 | int16 | int16 |

    A model of texts takes numbers of words, in any format; one of integers takes them as int32. A
    model with a loop in it (a recurrent layer) has integer files only if it is unrolled.

    A model of `quantize.prepare` is written as `"int8"` or `"int8_uint8_input"`, or as `"int4"`,
    whichever it was prepared for, from the ranges that it has learned; its int4 file computes in
    int8 and takes and returns int8.

    The file holds builtin operations only, so that it runs wherever LiteRT does; its signature
    `serve` takes `image` (raw pixels) and returns `logits` and `probabilities`. Several inputs,
    several outputs and outputs of other axes than `[batch, num_classes]` go by the model's own
    names; of several inputs, numbers that are no floats are taken as int32. The file is run and
    compared with the model, every output at every place, before it is moved into place. The same
    model and calibration give
    the same bytes. Names of inner tensors, which weigh in a small file and which no runtime reads,
    are left out. A model trained in mixed precision is written with the float32 weights that it
    holds.

    Beside the file lies `<path>.json`: class names, range of the pixels, shapes, dtypes, scales
    and zero points of both ends, SHA-256. All but the last is inside the file too (see
    `export.embedded`).

    Args:
        model: a built `keras.Model` whose inputs have known shapes. One that classifies, logits
            `[batch, num_classes]`, must return logits.
        path: the file to write; an older one is replaced.
        quantization: one of the table above.
        calibration: images such as the model was trained on, for the ranges of `"int8"`,
            `"int8_uint8_input"` and `"16x8"`, which need it: an array `[n, ...]`, a `Split`, or a
            `tf.data.Dataset` of batches; of several inputs, dicts by name. Up to 500 are used.
            Other formats are compared with the model on it, if it is given.
        input_range: lowest and highest pixel that the model expects, of one input.
        class_names: one string a class, to be kept in and beside the file.
        columns: of a model of a table, how a row becomes what it takes (`Data.columns`), to be
            kept in and beside the file.
        batch_size: examples a call; `None` for any number, to evaluate many at once.
        reads: what the one input stands for, to be kept in and beside the file: `"images"`,
            `"texts"` (see `data.encode_texts`), `"files"` (see `data.files`) or other
            `"numbers"`; `None` to say nothing. `Data.reads` tells.

    Returns:
        The path.

    Raises:
        ValueError: if an argument does not fit, the model cannot be expressed in builtin
            operations, or the file does not hold what was asked for or answers otherwise than
            the model.
        ImportError: if LiteRT is not installed (extra `export`), or for `"int4"` the
            `ai-edge-quantizer` (extra `int4`).

    Example:

    ```python
    import tempfile
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    student = kd.models.mlp([16], image_shape=data.image_shape)
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/student.tflite"
        kd.export.litert(student, path, quantization="int8", calibration=data.train)
        run = kd.export.run_litert(path, data.test.images[:5])
        assert run.logits.shape == (5, 10)
    ```
    """
    check_choice("quantization", quantization, QUANTIZATIONS)
    check_choice("reads", reads, (None, *READS))
    if not isinstance(columns, Columns | None):
        raise ValueError(
            f"`columns` must be those of a table, `Data.columns`. Received: columns={columns!r}."
        )
    _require_litert()
    model = check_model(model)
    is_twin = _is_twin(model, quantization)
    if quantization == "int4" and not is_twin:
        require_extra("ai_edge_quantizer", "int4", "An int4 file")
    if quantization == "int8_uint8_input" and len(model.inputs) > 1:
        raise ValueError(
            "A file that takes a camera's bytes must have one input. Received: "
            f"{len(model.inputs)} ({', '.join(inputs_of(model))}). Pass quantization='int8'."
        )
    inputs = probes(model, input_range)
    if calibration is not None or (quantization in INTEGER and not is_twin):
        inputs = _calibration_inputs(model, calibration, input_range)
    model = in_float32(model)
    with written_whole(path) as unfinished:
        unfinished.write_bytes(convert(model, quantization, inputs, batch_size, input_range))
        _check_types(
            unfinished, quantization, may_hold_floats=is_twin and bool(float_layers(model))
        )
        _check_it_survives(unfinished, quantization, inputs)
        tolerance = _TOLERANCES.get(quantization, _TOLERANCE_OF_INTEGERS)
        answers = run_litert(unfinished, inputs).outputs
        check_equal_answers(answers, model, inputs, path, tolerance)
        cut_off = None
        if is_twin and calibration is not None:
            cut_off = dict(list(saturation(model, inputs["image"]).items())[:1])
        description = metadata.describe_litert(
            unfinished,
            quantization=quantization,
            class_names=class_names,
            columns=columns,
            input_range=_range_of(model, input_range),
            reads=reads,
            float_layers=float_layers(model) if is_twin else None,
            float_share=float_share(model) if is_twin else None,
            saturation=cut_off,
        )
        metadata.embed(unfinished, description)
    metadata.write_sidecar(path, description)
    _warn_of_saturation(cut_off or {}, path)
    return Path(path)


def _warn_of_saturation(cut_off, path):
    for name, share in cut_off.items():
        if share > _MOST_CUT_OFF:
            warnings.warn(
                f"{path} cuts off {share:.1%} of what {name} is given on the calibration images, "
                f"where up to {_MOST_CUT_OFF:.0%} does no harm. Train the twin longer on images "
                "such as these, or give them to `quantize.prepare` as its `calibration`.",
                stacklevel=3,
            )


def _calibration_inputs(model, calibration, input_range):
    shapes = {name: end.shape[1:] for name, end in inputs_of(model).items()}
    if len(shapes) > 1:
        return calibration_inputs(calibration, shapes)
    words = vocabularies(model)
    return {"image": calibration_images(calibration, shapes["image"], input_range, words)}


def _range_of(model, input_range):
    """Return the lowest and the highest number that the one input takes; `None` of several."""
    if len(model.inputs) > 1:
        return None
    words = vocabularies(model)
    return (0, max(words) - 1) if words else input_range


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LiteRTRun:
    """What the interpreter answered.

    Args:
        outputs: arrays `[n, ...]` by the names of the file's outputs, `logits` and
            `probabilities` of a classifier; float32, those of an integer file scaled back.
        microseconds: median time of one call on one thread.
    """

    outputs: dict[str, np.ndarray]
    microseconds: float

    @property
    def logits(self) -> np.ndarray:
        """The logits, float32 `[n, num_classes]`; of a file with another output alone, that."""
        if "logits" not in self.outputs and len(self.outputs) > 1:
            raise AttributeError(
                f"The file has no `logits` but {', '.join(self.outputs)}. Take one of `outputs`."
            )
        return self.outputs.get("logits", next(iter(self.outputs.values())))

    def __repr__(self):
        return call_of(self, **self.outputs, microseconds=self.microseconds)


def run_litert(path: PathLike, images: Structure) -> LiteRTRun:
    """Run a `.tflite` file on examples, one at a time on one thread, as a phone would.

    Args:
        path: a file that `litert` wrote. Inputs are quantised for it and its outputs scaled back
            as it says of itself.
        images: `[n, height, width, channels]`, raw pixels; an axis of 1 at the end may be
            missing. Of several inputs a dict of arrays by name.

    Returns:
        A `LiteRTRun`.

    Raises:
        ValueError: if these are not what the file takes.
        ImportError: if LiteRT is not installed (extra `export`).
    """
    _require_litert()
    with quiet_native_stderr():
        file = LiteRTFile(path)
    taken = _as_taken(file, images, path)
    answers = answers_of(file, taken)
    return LiteRTRun(answers, float(np.median(microseconds_of(file, taken))))


def _as_taken(file, images, path, chosen=slice(None)):
    shapes = {name: tuple(each["shape"][1:].tolist()) for name, each in file.inputs.items()}
    return {name: each[chosen] for name, each in taken_by(shapes, images, what=path).items()}


def _is_twin(model, quantization):
    """Return whether `quantize.prepare` made a model; refuse to write it as what it is not."""
    num_bits = weight_bits(model)
    if num_bits is None:
        return False
    written_as = ("int4",) if num_bits == 4 else ("int8", "int8_uint8_input")
    if quantization not in written_as:
        raise ValueError(
            f"The model {model.name}, prepared for int{num_bits} weights, must be written with "
            f"`quantization` {' or '.join(map(repr, written_as))}. "
            f"Received: quantization={quantization!r}."
        )
    return True


def _check_types(path, quantization, may_hold_floats=False):
    """Refuse a file that no runtime opens, or that the converter left in floats without a word."""
    try:
        with quiet_native_stderr():
            file = LiteRTFile(path)
    except ValueError as error:  # Seen of ai-edge-quantizer's int4, of a residual net.
        raise ValueError(
            f"A file must be one that LiteRT opens. Received: what its converter made with "
            f"quantization={quantization!r}, which it refuses ({str(error).strip()}). Prepare the "
            "model by `quantize.prepare`, or write another kind. The file was not kept."
        ) from error
    if quantization is None:
        return
    held = {np.dtype(tensor["dtype"]).name for tensor in file.interpreter.get_tensor_details()}
    wanted = "float16" if quantization == "float16" else "int8"
    if wanted not in held:
        raise ValueError(
            f"A file of {quantization} must hold {wanted} weights. Received: {_listed(held)}; "
            "layers of fewer than 1024 weights are left as they are. The file was not kept."
        )
    if (
        quantization in INTEGER
        and not may_hold_floats
        and any(name.startswith("float") for name in held)
    ):
        raise ValueError(
            f"A file of {quantization} must compute in integers alone. "
            f"Received: {_listed(held)}. The file was not kept."
        )


def _check_it_survives(path, quantization, inputs):
    """Run a file of unusual operations in a process of its own first, which it may end.

    An integer file that compares (`ops.where(x > 3, x, 0)`) was seen to.
    """
    if quantization in (None, "float16"):
        return
    unusual = integer_operations_in(path.read_bytes()) - _USUAL
    if not unusual:
        return
    with tempfile.TemporaryDirectory() as folder:
        inputs_file, answers_file = Path(folder) / "inputs.npz", Path(folder) / "answers.npz"
        np.savez(inputs_file, **_as_taken(LiteRTFile(path), inputs, path, slice(1)))
        try:
            run_afresh(path, inputs_file, answers_file, 1)
        except ValueError as error:
            raise ValueError(
                f"A file of {quantization} must run. Received: one that LiteRT's converter made "
                f"of {_listed(unusual)} among others. {str(error).split('Received: ')[-1]}. Write "
                "the model without these operations, or as float32. The file was not kept."
            ) from error


def _listed(names):
    return ", ".join(sorted(names))


def _require_litert():
    require_extra("ai_edge_litert", "export", "A LiteRT file")
