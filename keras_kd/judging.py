"""Whether the options of a command could do, before anything is made, read, trained or written.

First what needs no more than the words themselves, then what needs Keras: names of losses,
formats, students. A file is asked whether it is there and a folder whether it could be written
to; what they hold is looked at later.
"""

import os
import re

from keras_kd._common import checks
from keras_kd._common.checks import (
    check_integer,
    check_number,
    check_seed,
    check_text,
    check_writable,
)


def judge_words(options):
    """Refuse what is wrong by itself. Nothing heavy is imported.

    Args:
        options: what `arguments.parser` returned.

    Raises:
        ValueError: in one sentence.
        OSError: if a file or folder is not there, or is the other of the two.
    """
    for name, given in vars(options).items():
        values = given if isinstance(given, list) else [given]
        for value in values:
            if isinstance(value, str):
                check_text(name, value)
            if name in _WORDS and value is not None:
                _WORDS[name](value)
    for name in ("output", "to", "cache"):
        if getattr(options, name, None) is not None:
            check_writable(name, getattr(options, name))
    for name in ("data_dir", "unlabelled", "soft_labels"):
        if getattr(options, name, None) is not None:
            _check_folder(name, getattr(options, name))
    must_be = options.command in ("resume", "report", "serve")
    if must_be or (options.command == "list" and os.path.lexists(options.folder)):
        _check_folder("DIR", options.folder)


def judge(options):
    """Refuse what is wrong for a reason that only Keras's side knows, or beside other options.

    Args:
        options: of `judge_words`, on whose device Keras computes.

    Raises:
        ValueError: in one sentence.
        OSError: if a file is not there.
        ImportError: if a package of an extra is missing.
    """
    _JUDGES.get(options.command, lambda options: None)(options)


def _check_folder(name, folder):
    if not os.path.isdir(folder):
        what = "something else" if os.path.lexists(folder) else "which is not there"
        raise FileNotFoundError(f"`{name}` must be a folder. Received: {folder}, {what}.")


def _recipe_of(options):
    import keras_kd
    from keras_kd.experiment import budget

    recipe = getattr(keras_kd.recipes, options.recipe)
    if options.best and recipe.best is None:
        raise ValueError(f"The recipe {recipe.name} has no best form. Leave `--best` out.")
    budget.seconds_of(getattr(options, "budget", None))
    return recipe.best if options.best else recipe


def _sweep(options):
    from keras_kd.experiment.grid import cells_of

    recipe = _recipe_of(options)
    temperature = recipe.temperatures if options.temperature is None else options.temperature
    cells_of(recipe, temperature, options.alpha or (0.5,), options.loss)


def _search(options):
    from keras_kd._common.backend import require_extra
    from keras_kd.experiment.space import DEFAULT, Space
    from keras_kd.runs.storage import check_storage

    require_extra("optuna", "search", "A search")
    names = ("temperature", "alpha", "learning_rate", "loss", "batch_size")
    axes = {name: getattr(options, name) for name in names}
    Space(
        _recipe_of(options),
        {name: values for name, values in axes.items() if values is not None} or DEFAULT,
    )
    check_storage(options.storage)


def _export(options):
    from keras_kd._common.model_files import check_path
    from keras_kd.data.datasets import check_name
    from keras_kd.export.proof import check_budgets, check_formats

    check_path(options.model, "model")
    if options.teacher is not None:
        check_path(options.teacher, "teacher")
    if options.data is not None:
        check_name(options.data)
    check_formats(options.formats)
    budgets = {name: getattr(options, name) for name in ("max_kb", "max_drop", "max_us")}
    check_budgets(budgets, options.data)


def _serve(options):
    from keras_kd._common.model_files import check_path
    from keras_kd.data.datasets import check_name

    if options.data is not None and not os.path.exists(options.data):
        check_name(options.data)
    if options.teacher is not None:
        check_path(options.teacher, "teacher")


def _own_data(options):
    from keras_kd._common.model_files import check_path, import_modules
    from keras_kd.data import reading
    from keras_kd.data.datasets import NAMES
    from keras_kd.experiment.recipe import check_teaching
    from keras_kd.export.proof import check_formats
    from keras_kd.models.spec import check_spec
    from keras_kd.runs.students import AUTO
    from keras_kd.teachers.fitting import check_scale

    soft_labels = getattr(options, "soft_labels", None)
    if not options.teacher and soft_labels is None:
        raise ValueError(
            "There must be a teacher, or soft labels that one left. Received: neither. Name a "
            ".keras file with --teacher."
        )
    for path in options.teacher or []:
        check_path(path, "teacher")
    if soft_labels is not None:
        check_teaching(options.teacher, soft_labels, options.unlabelled, options.student)
    student = options.student
    if student not in (None, AUTO) or (student == AUTO and options.command == "check"):
        if student.endswith(".keras"):
            check_path(student, "student")
        else:
            check_spec(student)
    check_scale(options.scale)
    if options.command == "distill" and options.formats is not None:
        check_formats(options.formats)
    if options.data not in NAMES or os.path.exists(options.data):
        reading.check_path(options.data, image_size=options.image_size)
    if options.class_map is not None:
        reading.check_class_names_path(options.class_map)
    try:
        import_modules(options.modules)  # Last, since it runs them.
    except ImportError as error:
        raise checks.ArgumentError(str(error)) from error


def _device(name):
    if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", name):
        raise ValueError(
            f"`device` must be 'auto', 'cpu', 'gpu' or 'gpu:N'. Received: device={name!r}."
        )


def _at_least(name, minimum, maximum=checks.MOST):
    return lambda value: check_integer(name, value, minimum=minimum, maximum=maximum)


def _within(name, bounds, also=""):
    return lambda value: value == "auto" or check_number(name, value, bounds, also)


# What each option by itself must be, whatever the command; of a list, each value.
_WORDS = {
    "seed": check_seed,
    "seeds": _at_least("seeds", 1, checks.MOST_SEEDS),
    "epochs": _at_least("epochs", 1),
    "patience": _at_least("patience", 1),
    "batch_size": _at_least("batch_size", 1),
    "trials": _at_least("trials", 1),
    "workers": _at_least("workers", 1, checks.MOST_WORKERS),
    "port": _at_least("port", 0, checks.MOST_PORT),
    "temperature": _within("temperature", checks.TEMPERATURES),
    "alpha": _within("alpha", checks.ALPHAS),
    "learning_rate": _within("learning_rate", checks.RATES),
    "max_kb": _within("max_kb", checks.BUDGETS),
    "max_drop": _within("max_drop", checks.BUDGETS),
    "max_us": _within("max_us", checks.BUDGETS),
    "device": _device,
}
_JUDGES = {
    "run": _recipe_of,
    "compare": _recipe_of,
    "sweep": _sweep,
    "search": _search,
    "export": _export,
    "serve": _serve,
    "distill": _own_data,
    "check": _own_data,
}
