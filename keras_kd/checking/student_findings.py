"""What may be wrong with a student, before it is trained."""

import time

import numpy as np

from keras_kd._common.structures import part_for
from keras_kd.checking.findings import Finding, examples_of, refused
from keras_kd.distillers.checks import (
    check_answers,
    check_fit,
    check_one_output,
    check_student,
    shape_of,
)
from keras_kd.runs.evaluation import compiled
from keras_kd.runs.students import build_student

_TIMED = 64


def student_findings(student, teacher, data):
    """Return the findings on a student, and its figures.

    Args:
        student: as in `check`.
        teacher: of `opened_teacher`; `None` if there is none.
        data: a `Data`.
    """
    try:
        built = build_student(student, data, seed=0)
        check_student(built)
        check_one_output(examples_of(data), built)
        _check_inputs(built, data)
        examples = data.train.tensors(slice(_TIMED))
        own_inputs = part_for(built, examples)
        check_answers(built, examples=own_inputs)
        logits = np.asarray(built(own_inputs, training=False))
        if teacher is not None:
            check_fit(teacher, built)
        if logits.shape[1:] != (data.num_classes,):
            raise ValueError(
                f"It must tell the {data.num_classes} classes of the data apart. Received: "
                f"{logits.shape[-1]} logits. Build it with that number of classes."
            )
    except (OSError, ValueError) as error:
        return [refused("student", error)], {}
    ask = compiled(built, examples)
    ask(examples)
    started = time.perf_counter()
    ask(examples)
    figures = {
        "parameters": built.count_params(),
        "images_per_second": len(logits) / (time.perf_counter() - started),
    }
    return list(_size(built, teacher)), figures


def _check_inputs(student, data):
    shape, wanted = data.input_shape, shape_of(student, "inputs")
    if wanted is None or not all(isinstance(size, int) for size in shape):
        return  # Of several inputs, it is asked.
    wanted = wanted[1:]
    if len(wanted) != len(shape) or any(
        own not in (None, size) for own, size in zip(wanted, shape, strict=True)
    ):
        remedy = ", or resize them with `image_size`" if data.is_images else ""
        raise ValueError(
            f"The student must take {examples_of(data)} of shape {shape}. "
            f"Received: one for {wanted}. Build it for these{remedy}."
        )


def _size(student, teacher):
    models = [] if teacher is None else teacher.models
    size = sum(model.count_params() for model in models)
    if size and student.count_params() >= size:  # What is asked elsewhere has none here.
        yield Finding(
            "student_not_smaller",
            f"{student.count_params():,} parameters, the teacher has {size:,}",
            "student",
            "Name a smaller student, unless it is faster.",
        )
