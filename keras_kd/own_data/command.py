"""`keras-kd distill` and `keras-kd check`: what they read before they call."""

import os

from keras_kd import data as data_module
from keras_kd._common.model_files import load_model_file
from keras_kd.checking.inspection import check
from keras_kd.data.datasets import NAMES
from keras_kd.data.reading import class_names_beside, class_names_in
from keras_kd.experiment.one_call import distill


def run_distill(options):
    """Run `keras-kd distill`; return its exit code, 1 if no file is within its budgets."""
    teachers, data = _read(options)
    unreadable = "leave_out" if options.leave_out_unreadable else "refuse"
    unlabelled = options.unlabelled and data_module.unlabelled(
        options.unlabelled, data, unreadable=unreadable
    )
    settings = {
        name: value
        for name in ("temperature", "alpha", "epochs", "patience", "batch_size", "formats")
        if (value := getattr(options, name)) is not None
    }
    result = distill(
        teachers,
        data,
        student=options.student,
        output=options.output,
        unlabelled=unlabelled,
        soft_labels=options.soft_labels,
        seed=options.seed,
        scale=options.scale,
        head=options.head,
        control=options.control,
        checked=options.check,
        max_kb=options.max_kb,
        max_drop=options.max_drop,
        max_us=options.max_us,
        overwrite=options.overwrite,
        **settings,
    )
    return 0 if result["to_ship"] else 1


def run_check(options):
    """Run `keras-kd check`; return its exit code, 1 if training would be wasted."""
    teachers, data = _read(options)
    found = check(teachers, data, student=options.student, scale=options.scale, head=options.head)
    return 0 if found.ok else 1


def _read(options):
    """Return the teachers and the data that the options name."""
    paths = options.teacher or []
    teachers = [load_model_file(path, "teacher") for path in paths]
    data = _data(options, *teachers[:1])
    return teachers[0] if len(teachers) == 1 else (teachers or None), data


def _data(options, teacher=None):
    if options.data in NAMES and not os.path.exists(options.data):
        return data_module.load(options.data, seed=options.seed)
    class_names = _class_names(options)
    return data_module.read(
        options.data,
        class_names=class_names,
        image_size=options.image_size,
        default_size=_size_of(teacher),
        unreadable="leave_out" if options.leave_out_unreadable else "refuse",
        seed=options.seed,
        cache=options.cache,
    )


def _class_names(options):
    """Return the classes in the order of the teachers, `None` if nothing tells it."""
    if options.class_map is not None:
        return class_names_in(options.class_map)
    told = {path: class_names_beside(path) for path in options.teacher or []}
    orders = {names for names in told.values() if names is not None}
    if len(orders) > 1:
        raise ValueError(
            "Several teachers must know their classes in one order. Received: other class_names."
            f"json beside {' and '.join(told)}. Distil from one of them."
        )
    return orders.pop() if orders else None


def _size_of(teacher):
    """Return the size of the images that a teacher takes, `None` if any."""
    inputs = getattr(teacher, "inputs", None) or []
    size = tuple(inputs[0].shape[1:3]) if len(inputs) == 1 else ()
    return size if len(size) == 2 and None not in size else None
