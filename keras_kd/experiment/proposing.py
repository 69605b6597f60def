"""`student="auto"`: three students of one family within a budget, trained together, one picked."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from keras_kd import export, metrics
from keras_kd._common.backend import quiet_native_stderr
from keras_kd._common.files import remove_leftovers, size_of
from keras_kd._common.json_files import NUMBER
from keras_kd.checking.findings import sample_of
from keras_kd.data.splits import is_shape
from keras_kd.experiment import blocks
from keras_kd.models import from_spec
from keras_kd.runs.folder import remembered
from keras_kd.teachers.fitting import TeacherModel

DEFAULT_KB = 500
_SHARES = (1.0, 0.5, 0.25)  # Of the budget in kilobytes.
_OF_TEACHER = 0.25  # Of its weights, what a student has where no budget is given.
# What a file holds beside its weights, about: the graph, and for every channel a bias of
# four bytes and the scales and zero points of weights and bias.
_GRAPH_BYTES, _CHANNEL_BYTES = 6000, 27
_WIDEST = 512
_JUDGES = 1000
_FIGURES = {
    "parameters": int,
    "kilobytes": NUMBER,
    "microseconds": NUMBER,
    "validation_accuracy": NUMBER,
}


def proposed(data, max_kb=None, teacher=None):
    """Return three specs whose files take about all, a half and a quarter of a budget.

    Without a budget the largest has a quarter of its teacher's weights, and takes 500 KB at most.
    Convolutional nets of three layers, each twice as wide as the one before, for images of at
    least 12 pixels a side; perceptrons of one hidden layer for smaller ones, and for numbers that
    are no images; two convolutions over the bytes of texts, the second twice as wide.

    Args:
        data: a `Data`.
        max_kb: the budget in kilobytes, or `None`.
        teacher: a `Teacher` or an `Ensemble`, or `None` where none is at hand.

    Raises:
        ValueError: if not even the narrowest fits the budget, or there are several inputs.
    """
    if not is_shape(data.input_shape):
        raise ValueError(
            f"A student is proposed for one input. Received: inputs of {data.input_shape}. Give a "
            "keras.Model, or a function of `input_shape` and `num_classes`."
        )
    budget = 1000 * (DEFAULT_KB if max_kb is None else max_kb)
    sizes = [share * budget for share in _SHARES]
    most = 0
    if max_kb is None:
        most = _OF_TEACHER * size_of_teacher(teacher) * (1 if _is_int8(data) else 4)
    if most:
        sizes = [
            min(size, _GRAPH_BYTES + share * most)
            for size, share in zip(sizes, _SHARES, strict=True)
        ]
    size_of_width = _sizes(data)
    widths = [_widest(size_of_width, size) for size in sizes]
    widths = list(dict.fromkeys(width for width in widths if width))
    if not widths and not most:
        raise ValueError(
            f"`max_kb` must leave room for the smallest student proposed. Received: "
            f"max_kb={max_kb:g}, with {size_of_width(1) / 1000:.0f} KB needed. "
            "Allow more, or name a student."
        )
    return [_spec(data, width) for width in widths or [1]]


def size_of_teacher(teacher):
    """Return how many parameters a teacher has, the largest of several; 0 if nobody knows.

    Args:
        teacher: a `Teacher`, an `Ensemble`, or `None`.
    """
    return max((model.count_params() for model in teacher.models), default=0) if teacher else 0


def pick(trainer, specs, made_of):
    """Train students together on one teacher pass, and take the best within the budgets.

    The most accurate int8 file on validation images is taken, the smallest among equals; if none
    is within its budgets, the smallest of all. Of numbers that are no images it is the float32
    file: in int8 they would all have one scale, which leaves nothing of the small ones. They lie
    in `proposals/`, the one that is taken as `student.keras` too.

    Args:
        trainer: a `Trainer`, whose recipe holds temperature, alpha and the budgets.
        specs: the students, see `models.from_spec`.
        made_of: a digest of what all of it depends on.

    Returns:
        `(spec, table)`; the table is a list of dicts for the results.
    """
    trainer = dataclasses.replace(trainer, folder=trainer.folder / "proposals")
    trainer.folder.mkdir(exist_ok=True)
    remove_leftovers(trainer.folder)
    teacher = TeacherModel(trainer.fixed)
    of_spec = {
        spec: dataclasses.replace(trainer, recipe=dataclasses.replace(trainer.recipe, student=spec))
        for spec in specs
    }
    distillers = {spec.replace(":", "_"): each.distilled(teacher) for spec, each in of_spec.items()}
    trained = trainer.students(distillers, teacher, "students").values()
    students = dict(zip(specs, trained, strict=True))
    max_kb, max_us = (each or np.inf for each in (trainer.recipe.max_kb, trainer.recipe.max_us))
    table = remembered(
        trainer.folder / "proposals.json",
        made_of,
        lambda: {
            "students": [
                {"student": spec, **_measured(student.model, trainer.data)}
                for spec, student in students.items()
            ]
        },
        {"students": [{"student": lambda name: name in specs, **_FIGURES}]},
    )["students"]
    for row in table:
        row["within_budgets"] = row["kilobytes"] <= max_kb and row["microseconds"] <= max_us
    best = max(
        table,
        key=lambda row: (
            row["within_budgets"],
            row["validation_accuracy"] if row["within_budgets"] else 0,
            -row["kilobytes"],
        ),
    )["student"]
    of_spec[best].keep("student", of_spec[best].distilled(teacher), students[best], teacher)
    return best, table


def lines(table, picked, teacher_parameters=0):
    """Return a line on each proposed student, and one on a picked one that is no smaller.

    Args:
        table: of `pick`.
        picked: the student that is taken.
        teacher_parameters: of the teacher; 0 if nobody knows.
    """
    found = [
        f"{row['student']:<22} {row['parameters']:>9,} parameters, "
        f"{row['kilobytes']:.0f} KB, {row['microseconds']:.0f} microseconds an "
        f"example, validation "
        f"accuracy {row['validation_accuracy']:.4f}"
        + ("" if row["within_budgets"] else ", beyond its budgets")
        + (" <- picked" if row["student"] == picked else "")
        for row in table
    ]
    (size,) = (row["parameters"] for row in table if row["student"] == picked)
    if 0 < teacher_parameters <= size:
        found.append(
            f"{picked} is no smaller than its teacher, of {teacher_parameters:,} parameters. "
            "Name a smaller student, or a budget: --max-kb."
        )
    return found


def section(proposals):
    """Return the page's section on the students that were tried."""
    rows = [
        [
            row["student"],
            f"{row['parameters']:,}",
            f"{row['kilobytes']:.0f} KB",
            f"{row['microseconds']:.0f}",
            f"{100 * row['validation_accuracy']:.1f} %",
            "yes" if row["within_budgets"] else "no",
        ]
        for row in proposals
    ]
    columns = [
        "student", "parameters", "file", "microseconds", "validation accuracy", "within budgets",
    ]  # fmt: skip
    note = "Trained together on one teacher pass; each file was run. The most accurate is taken."
    return blocks.section(
        "Students that were tried", blocks.table(columns, rows), blocks.note(note)
    )


def _measured(student, data):
    """Return what the student's file is worth, run on validation examples."""
    judges = sample_of(data.validation, _JUDGES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.tflite"
        how = {}
        if _is_int8(data):
            how = {"quantization": "int8", "calibration": sample_of(data.train, 500)}
        with quiet_native_stderr():
            export.litert(student, path, **how)
            run = export.run_litert(path, judges.images)
        size = size_of(path)
    return {
        "parameters": student.count_params(),
        "kilobytes": size / 1000,
        "microseconds": float(run.microseconds),
        "validation_accuracy": metrics.accuracy(judges.labels, run.logits),
    }


def _is_int8(data):
    """Return whether int8 files are what students of such data are shipped as."""
    return data.reads in ("images", "texts")


def _spec(data, width):
    if data.reads == "texts":
        return f"bytes:{width}-{2 * width}"
    if not data.is_images or min(data.image_shape[:2]) < 12:
        return f"mlp:{4 * width}"
    return f"conv:{width}-{2 * width}-{4 * width}"


def _widest(size_of_width, size):
    """Return the greatest width whose int8 file takes at most `size` bytes, 0 if none does."""
    low, high = 0, _WIDEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size_of_width(middle) <= size else (low, middle)
    return low


def _sizes(data):
    """Return a function of width: the bytes of a file.

    Weights go by the square of the width at most, so three students tell of all others.
    """
    first, second, third = (_bytes_of(_spec(data, width), data) for width in (1, 2, 3))
    step, growth = second - first, third - 2 * second + first
    return lambda width: first + (width - 1) * step + (width - 1) * (width - 2) // 2 * growth


def _bytes_of(spec, data):
    student = from_spec(spec, **_shape_of(data), num_classes=data.num_classes)
    if not _is_int8(data):
        return _GRAPH_BYTES + 4 * student.count_params()
    num_channels = sum(weight.shape[0] for weight in student.weights if len(weight.shape) == 1)
    return _GRAPH_BYTES + _CHANNEL_BYTES * num_channels + student.count_params()


def _shape_of(data):
    if data.reads == "texts":
        return {"num_bytes": data.input_shape[0]}
    return {"image_shape" if data.is_images else "input_shape": data.input_shape}
