"""Every format in one call: each file run in a process of its own, and measured."""

import hashlib
import importlib.util
import json
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_kd._common import checks
from keras_kd._common.backend import describe_machine, require_extra
from keras_kd._common.checks import ArgumentError, check_text
from keras_kd._common.console import Console
from keras_kd._common.differences import differences, refuse_others
from keras_kd._common.files import move, no_room, size_of, written_whole
from keras_kd._common.json_files import read_json
from keras_kd._common.locks import at_work
from keras_kd._common.typing import PathLike
from keras_kd.data.splits import Data
from keras_kd.export import report
from keras_kd.export.ends import check_model, is_classifier
from keras_kd.export.litert import litert
from keras_kd.export.measuring import Question, measured, range_of
from keras_kd.export.onnx import onnx
from keras_kd.export.saved_model import saved_model
from keras_kd.quantize import float_layers, float_share, weight_bits

_FLOAT = ("saved_model", "onnx", "float32", "float32_any_batch", "float16", "dynamic", "int4")
_CALIBRATED = ("int8", "int8_uint8_input", "16x8")
FORMATS = (*_FLOAT, *_CALIBRATED)
_TWIN_FORMATS = {8: ("saved_model", "int8", "int8_uint8_input"), 4: ("saved_model", "int4")}
_NEEDED_PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "int4": ("ai_edge_quantizer",)}

_MISSED_BUDGET = "missed_budget"


def export(
    model: keras.Model,
    folder: PathLike,
    *,
    formats: Sequence[str] | None = None,
    data: Data | None = None,
    teacher: keras.Model | None = None,
    input_range: tuple[float, float] | None = None,
    max_kb: float | None = None,
    max_drop: float | None = None,
    max_us: float | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> dict[str, Any]:
    """Write a student in every format, run every file in a fresh process, and say what it is worth.

    Written to the folder: `student_<format>.tflite` with its `.json`, `student_saved_model/`,
    `student_onnx.onnx`, each measured before it is moved there; `export.json` with all figures;
    `export.png`, accuracy over size. A format that fails, or a file that misses a budget, stops
    no other: the first is reported with its reason, the second kept as
    `student_<format>.missed_budget...`.

    Measured are, on the test images of `data`: accuracy and its drop in points from the Keras
    student's, agreement with student and teacher, the largest error of a logit; the time of one
    image after warm-up (p50, p90, p99 on one and on two threads); bytes; memory.

    Args:
        model: a built `keras.Model` that returns logits `[batch, num_classes]`, or the integer
            twin of one (`quantize.prepare`).
        folder: where to write.
        formats: some of `FORMATS`. By default all that the model can have and that the installed
            packages can write.
        data: a `data.Data`: the training images calibrate, the test images measure. If `None`,
            no format that needs calibration is written, and made-up images stand for the test.
        teacher: a `keras.Model` on the same images, to compare with.
        input_range: lowest and highest number that the model expects, of one input; if `None`,
            those of the training examples where `data` holds no images, else 0 and 255.
        max_kb: budget of a file in kilobytes (1000 bytes).
        max_drop: budget of the drop in accuracy, in points.
        max_us: budget of the median microseconds for one image on one thread.
        overwrite: replace an export of another model, or of other settings, in the folder.
        verbose: show the progress and the table.

    Returns:
        What `export.json` holds, as a dict; `"ok"` says whether every format was written and met
        its budgets.

    Raises:
        ValueError: if an argument does not fit, the model cannot be exported at all, the folder
            holds another export, or another process works in it.
        OSError: if the folder cannot be written to.
        ImportError: if LiteRT or matplotlib is not installed (extras `export` and `report`).
    """
    require_extra("ai_edge_litert", "export", "Running a LiteRT file")
    require_extra("matplotlib", "report", "The picture of an export")
    model = _checked_model(model)
    budgets = {"max_kb": max_kb, "max_drop": max_drop, "max_us": max_us}
    formats = _checked_formats(formats, model, data)
    check_budgets(budgets, data)
    check_text("folder", folder)
    folder = Path(folder)
    with at_work(folder):
        return export_held(
            model, folder, formats=formats, data=data, teacher=teacher, input_range=input_range,
            budgets=budgets, overwrite=overwrite, verbose=verbose,
        )  # fmt: skip


def export_held(
    model, folder, *, formats, data, teacher, input_range, budgets, overwrite, verbose
):  # fmt: skip
    """Do what `export` does, in a folder that the caller holds; the arguments are checked."""
    input_range = range_of(model, data) if input_range is None else input_range
    made_of = {
        "model": _digest(model),
        "formats": list(formats),
        "data": data and data.digest,
        "teacher": _digest(teacher),
        "input_range": [float(end) for end in input_range],
        "budgets": budgets,
    }
    _make_room(folder, made_of, overwrite)
    console = Console(quiet=not verbose)
    started = time.perf_counter()
    with _workshop(folder) as workshop:
        question = Question(model, data, teacher, input_range, workshop)
        files = []
        for form in formats:
            with console.status(f"{form}: written, run and measured"):
                files.append(_proved(form, question, folder, budgets))
            console.say(report.line(files[-1]))
    results = {
        "model": model.name,
        "made_of": made_of,
        "machine": describe_machine(),
        "data": None if data is None else data.name,
        "images": question.num_examples,
        "budgets": {name: value for name, value in budgets.items() if value is not None},
        "float_layers": float_layers(model) if weight_bits(model) else None,
        "float_share": float_share(model) if weight_bits(model) else None,
        **question.references(),
        "files": files,
        "ok": all("failed" not in file and not file["missed"] for file in files),
        "seconds": time.perf_counter() - started,
    }
    with written_whole(folder / "export.json") as unfinished:
        unfinished.write_text(json.dumps(results, indent=1) + "\n")
    report.draw(folder / "export.png", results)
    console.show(report.table(results))
    return results


def _checked_model(model):
    model = check_model(model)
    if not is_classifier(model):
        shapes = ", ".join(str(tuple(end.shape)) for end in model.outputs)
        raise ValueError(
            "A model whose files are proved must return logits [batch, num_classes] alone. "
            f"Received: {shapes}. Write each file by itself: `export.litert`, "
            "`export.saved_model` and `export.onnx` compare every output with the model's."
        )
    return model


def _make_room(folder, made_of, overwrite):
    """Refuse a folder that holds another export, or remove that one's files."""
    path = folder / "export.json"
    shape = {"files": [{"file?": _is_ours}], "made_of?": {str: object}}
    way_out = "Remove it, and look which files beside it are to stay."
    there = read_json(path, shape, what="What an export says", way_out=way_out)
    if there is None:
        return
    if "made_of" in there:
        different = differences(there["made_of"], json.loads(json.dumps(made_of)))
    else:
        different = ["of which model, the former version did not say"]
    if different and not overwrite:
        refuse_others(folder, "an export", different)
    if different:
        for name in (each["file"] for each in there["files"] if "file" in each):
            _remove(folder, name)
        path.unlink()


def _is_ours(value):
    # Nothing that lies elsewhere is removed, nor the folder that holds it.
    return isinstance(value, str) and re.fullmatch(r"student_[\w.]+", value) is not None


def _digest(model):
    """Return a digest of a model's weights, `None` of what has none."""
    if not hasattr(model, "get_weights"):
        return None
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(f"{weight.dtype} {weight.shape}".encode() + weight.tobytes())
    return digest.hexdigest()


def _proved(form, question, folder, budgets):
    """Write, run, measure and place one file; return its figures, or why there are none."""
    workplace = question.workshop / form
    workplace.mkdir()
    try:
        path = _write(form, question, workplace)
        figures = {"format": form, "bytes": size_of(path), **measured(path, question)}
        figures["missed"] = _missed(figures, budgets)
        figures["file"] = _place(path, folder, bool(figures["missed"]))
    except Exception as error:  # TensorFlow and the converters have classes of their own.
        if no_room(error) or isinstance(error, MemoryError):  # So would the others.
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return {"format": form, "failed": reason[0]}
    return figures


def _write(form, question, workplace):
    if form == "saved_model":
        return saved_model(question.model, workplace / "student_saved_model")
    if form == "onnx":
        path = workplace / "student_onnx.onnx"
        return onnx(question.model, path, input_range=question.input_range)
    data = question.data
    return litert(
        question.model,
        workplace / f"student_{form}.tflite",
        quantization=None if form.startswith("float32") else form,
        calibration=question.calibration,
        input_range=question.input_range,
        class_names=None if data is None else data.class_names,
        columns=None if data is None else data.columns,
        batch_size=None if form.endswith("any_batch") else 1,
        reads=None if data is None else data.reads,
    )


def _missed(figures, budgets):
    """Return a sentence for each budget that a file misses."""
    found = {
        "max_kb": figures["bytes"] / 1000,
        "max_drop": figures["drop_points"],
        "max_us": figures["microseconds"]["1 thread"]["p50"],
    }
    return [
        f"{name} is {limit:g}; the file takes {found[name]:.4g}"
        for name, limit in budgets.items()
        if limit is not None and found[name] > limit
    ]


def _place(path, folder, missed):
    """Move a file, and what lies beside it, to the folder; return its name there."""
    kept = path.with_stem(f"{path.stem}.{_MISSED_BUDGET}").name
    placed = kept if missed else path.name
    for name in (path.name, kept):  # One of another run would be taken for this one.
        _remove(folder, name)
    move(path, folder / placed)
    sidecar = path.with_name(f"{path.name}.json")
    if sidecar.exists():
        move(sidecar, folder / f"{placed}.json")
    return placed


def _remove(folder, name):
    for old in (folder / name, folder / f"{name}.json"):
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)


def _workshop(folder):
    """Return a temporary folder beside the files to be, so that they can be moved there whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _TemporaryPath(prefix=".export.", dir=folder)
    except OSError as error:
        raise OSError(
            f"The folder to export to must be writable. Received: {folder} ({error.strerror})."
        ) from error


class _TemporaryPath(tempfile.TemporaryDirectory):
    def __enter__(self):
        # Laid out as `written_whole` does, so that what a killed process leaves is known again.
        path = Path(super().__enter__()) / "export"
        path.mkdir()
        return path


def _checked_formats(formats, model, data):
    num_bits = weight_bits(model)
    if formats is None:
        able = _TWIN_FORMATS.get(num_bits, FORMATS if data is not None else _FLOAT)
        return tuple(form for form in able if num_bits or _is_installed(form))
    check_formats(formats)
    if set(formats) <= set(_CALIBRATED):  # Others are written beside one that fails.
        check_calibration(formats, model, data)
    return tuple(dict.fromkeys(formats))


def check_calibration(formats, model, data):
    """Refuse formats that nothing could calibrate.

    Args:
        formats: names, or `None`.
        model: as in `export`.
        data: as in `export`.

    Raises:
        ArgumentError: in one sentence.
    """
    needing = [form for form in formats or () if form in _CALIBRATED]
    if needing and data is None and not weight_bits(model):
        raise ArgumentError(
            f"The format {needing[0]} needs `data` (--data), whose training images calibrate it. "
            "Received: none. Name a data set, or leave the format out."
        )


def check_formats(formats):
    """Refuse what is none of `FORMATS`; `None` is all that are possible.

    Raises:
        ArgumentError: in one sentence.
    """
    unknown = [form for form in formats or () if form not in FORMATS]
    if unknown or (formats is not None and not formats):
        raise ArgumentError(
            f"`formats` must be some of {', '.join(FORMATS)}. "
            f"Received: {', '.join(map(str, unknown)) or 'none'}."
        )


def _is_installed(form):
    packages = _NEEDED_PACKAGES.get(form, ())
    return all(importlib.util.find_spec(package) is not None for package in packages)


def check_budgets(budgets, data):
    """Refuse budgets of a file that are none, and one of accuracy where nothing tells it.

    Raises:
        ArgumentError: in one sentence.
    """
    checks.check_budgets(budgets)
    if budgets["max_drop"] is not None and data is None:
        raise ArgumentError("`max_drop` needs `data`, whose test images tell the accuracy.")
