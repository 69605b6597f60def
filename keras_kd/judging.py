"""Whether the options of a command could do, before anything is made, read, trained or written.

First what needs no more than the words themselves, then what needs Keras: names of losses,
formats, students. A file is asked whether it is there and a folder whether it could be written
to; what they hold is looked at later.
"""

import dataclasses
import functools
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
from keras_kd._common.files import is_url


def judge_words(options):
    """Refuse what is wrong by itself. Nothing heavy is imported.

    Args:
        options: what `arguments.parser` returned.

    Raises:
        ValueError: in one sentence.
        OSError: if a file or folder is not there, or is the other of the two.
    """
    if options.command == "soft-labels":
        _judge_store(options)
    elif "recipe" in vars(options):
        _judge_whose(options)
    for name, given in vars(options).items():
        values = given if isinstance(given, list) else [given]
        for value in values:
            if isinstance(value, str):
                check_text(name, value)
            if name in _WORDS and value is not None:
                _WORDS[name](value)
    for name in ("output", "to", "cache"):
        place = getattr(options, name, None)
        # Soft labels alone may lie in an object store.
        if place is not None and not (options.command == "soft-labels" and is_url(place)):
            check_writable(name, place)
    unlabelled = getattr(options, "unlabelled", None)
    if unlabelled is not None and not _is_of_rows(unlabelled):
        _check_folder("unlabelled", unlabelled)
    for name in ("data_dir", "soft_labels"):
        place = getattr(options, name, None)
        if place is not None and not (name == "soft_labels" and is_url(place)):
            _check_folder(name, place)
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
    if getattr(options, "ray", None) is not None:
        from keras_kd._common.backend import require_extra

        require_extra("ray", "ray", "A Ray cluster")
    _JUDGES.get(options.command, lambda options: None)(options)


def _is_of_rows(path):
    # As `data.rows.SUFFIXES`; nothing heavy is imported.
    return path.lower().endswith((".csv", ".tsv", ".jsonl", ".ndjson")) and os.path.isfile(path)


def _check_folder(name, folder):
    if not os.path.isdir(folder):
        what = "something else" if os.path.lexists(folder) else "which is not there"
        raise FileNotFoundError(f"`{name}` must be a folder. Received: {folder}, {what}.")


def _judge_whose(options):
    """Refuse a recipe beside a teacher and data of the user's, and neither."""
    example = (
        f"`keras-kd {options.command} digits`, or `keras-kd {options.command} --teacher t.keras "
        "--data photos`"
    )
    given = [
        option
        for name, (option, default) in _OWN.items()
        if name not in _OTHERWISE.get(options.command, ())
        and getattr(options, name, default) != default
    ]
    if options.recipe is not None and given:
        raise ValueError(
            "Name a recipe, or a teacher and data of your own. Received: both, "
            f"{options.recipe} and {given[0]}. Say {example}."
        )
    if options.recipe is None and not given:
        raise ValueError(
            f"Name a recipe, or a teacher and data of your own. Received: neither. Say {example}."
        )
    if options.recipe is None and options.data is None:
        raise ValueError(
            "A teacher of your own needs data: a folder of images or texts, a .csv, .jsonl or .npz "
            "file, or a known name. "
            f"Received: no --data. Say {example}."
        )


def _judge_store(options):
    """Refuse a store of which too little is said, or what parts of one cannot do."""
    example = "`keras-kd soft-labels --teacher t.keras --data photos --output labels`"
    if options.asked:
        if len(options.asked) != 2 or options.asked[0] != "status":
            raise ValueError(
                "Ask how far a store is, or name teacher, data and output. Received: "
                f"{' '.join(options.asked)}. Say `keras-kd soft-labels status labels` or {example}."
            )
        return
    missing = [name for name in ("teacher", "data", "output") if getattr(options, name) is None]
    if missing:
        raise ValueError(
            "Soft labels are what a teacher says of data. Received: no "
            f"{' and no '.join(f'--{name}' for name in missing)}. Say {example}."
        )
    if options.shard is not None:
        beside = {
            "--overwrite": options.overwrite, "--workers": options.workers > 1, "--ray": options.ray
        }  # fmt: skip
        for name, given in beside.items():
            if given:
                raise ValueError(
                    f"One does a part of a store by itself. Received: --shard beside {name}. Leave "
                    "one of them out."
                )
        number, count = options.shard
        if not 1 <= number <= count:
            raise ValueError(
                f"`shard` must be one of the parts, such as 3/16. Received: shard={number}/{count}."
            )


def recipe_of(options):
    """Return the `Recipe` that the options name; nothing is opened.

    Args:
        options: of `judge_words`, of a command that takes a recipe. Of the user's own, what a
            teacher says of its images and classes is not known yet.

    Raises:
        ValueError: in one sentence.
    """
    import keras_kd
    from keras_kd.experiment import budget
    from keras_kd.experiment.maps import MapRecipe

    budget.seconds_of(getattr(options, "budget", None))
    if options.recipe is None:
        return _own_recipe(options)
    recipe = getattr(keras_kd.recipes, options.recipe)
    best = getattr(options, "best", False)
    if best and recipe.best is None:
        raise ValueError(f"The recipe {recipe.name} has no best form. Leave `--best` out.")
    recipe = recipe.best if best else recipe
    if isinstance(recipe, MapRecipe) and options.command != "run":
        raise ValueError(
            f"The recipe {recipe.name} is of maps, which `keras-kd run` alone trains and judges. "
            f"Received: `keras-kd {options.command}`. Say `keras-kd run {recipe.name}`, once a "
            "seed."
        )
    if options.command != "distill":
        return recipe
    return dataclasses.replace(recipe, max_kb=options.max_kb, max_us=options.max_us)


def _own_recipe(options):
    """Return the `Recipe` of the user's own teacher and data."""
    from keras_kd.experiment.recipe import Recipe

    if getattr(options, "best", False):
        raise ValueError(
            "Only a known recipe has a best form. Received: --best and data of your own. Leave it "
            "out."
        )
    teachers = options.teacher or []
    reading = {
        "image_size": options.image_size,
        "num_bytes": options.num_bytes,
        "unreadable": "leave_out" if options.leave_out_unreadable else None,
        "cache": options.cache and os.path.abspath(options.cache),
        "label": options.label,
        "text": options.text,
    }
    same = ("scale", "head", "student", "unlabelled", "soft_labels", "max_kb", "max_us")
    chosen = {"temperature", "alpha", "batch_size"} - set(_OTHERWISE.get(options.command, ()))
    settings = {name: getattr(options, name, None) for name in (*same, *chosen)}
    settings["student_patience"] = getattr(options, "patience", None)
    return Recipe(
        data=options.data,
        teacher=teachers[0] if len(teachers) == 1 else teachers or None,
        data_options={name: value for name, value in reading.items() if value is not None} or None,
        checked=getattr(options, "check", True),
        **{name: value for name, value in settings.items() if value is not None},
    )


def _sweep(options):
    from keras_kd.experiment.grid import cells_of

    recipe = _trained(options)
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
        _trained(options),
        {name: values for name, values in axes.items() if values is not None} or DEFAULT,
    )
    check_storage(options.storage)


def _export(options):
    from keras_kd._common.model_files import check_path
    from keras_kd.export.proof import check_budgets, check_formats
    from keras_kd.teachers.elsewhere import check_teacher_path

    check_path(options.model, "model")
    if options.teacher is not None:
        check_teacher_path(options.teacher)
    _data(options)
    check_formats(options.formats)
    budgets = {name: getattr(options, name) for name in ("max_kb", "max_drop", "max_us")}
    check_budgets(budgets, options.data)


def _serve(options):
    from keras_kd.data.datasets import check_name
    from keras_kd.teachers.elsewhere import check_teacher_path
    from keras_kd.teachers.fitting import check_scale

    if options.data is not None and not os.path.exists(options.data):
        check_name(options.data)
    if options.teacher is not None:
        check_teacher_path(options.teacher)
    if options.scale is not None:
        check_scale(options.scale)
    _import(options)


def _trained(options):
    """Return the `Recipe` of the options, having looked at what they name of the user's own."""
    recipe = recipe_of(options)
    if options.recipe is None:
        _own(options)
    return recipe


def _distill(options):
    from keras_kd.export.proof import check_formats

    _trained(options)
    if options.formats is not None:
        check_formats(options.formats)


def _soft_labels(options):
    if not options.asked:
        _own(options)


def _own(options):
    from keras_kd._common.model_files import check_path
    from keras_kd.models.spec import check_spec
    from keras_kd.runs.students import AUTO
    from keras_kd.teachers.elsewhere import check_teacher_path
    from keras_kd.teachers.fitting import check_scale

    for path in options.teacher or []:
        check_teacher_path(path)
    student = getattr(options, "student", None)
    if student is not None and (student != AUTO or options.command == "check"):
        if student.endswith(".keras"):
            check_path(student, "student")
        else:
            check_spec(student)
    if options.scale is not None:
        check_scale(options.scale)
    _data(options)
    _import(options)


def _data(options):
    """Refuse what is no data set, or is said of another kind of one."""
    from keras_kd.data import reading
    from keras_kd.data.datasets import NAMES

    told = {name: getattr(options, name, None) for name in _OF_DATA}
    if options.data is None or options.data in NAMES:
        given = [_OWN[name][0] for name, each in told.items() if each is not None]
        if given:
            raise ValueError(
                "How data are read is said of a folder or file of yours. Received: "
                f"{given[0]} beside {options.data or 'no data'}. Leave it out, or say --data PATH."
            )
    else:
        try:
            reading.check_path(options.data, **told)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error} Known names are {', '.join(NAMES)}.") from error
    if options.class_map is not None:
        reading.check_class_names_path(options.class_map)


def _import(options):
    """Run the modules that the options name: last, since it runs them."""
    from keras_kd._common.model_files import import_modules

    try:
        import_modules(options.modules)
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
    "top_k": _at_least("top_k", 1),
    "port": _at_least("port", 0, checks.MOST_PORT),
    "temperature": _within("temperature", checks.TEMPERATURES),
    "alpha": _within("alpha", checks.ALPHAS),
    "learning_rate": _within("learning_rate", checks.RATES),
    "max_kb": _within("max_kb", checks.BUDGETS),
    "max_drop": _within("max_drop", checks.BUDGETS),
    "max_us": _within("max_us", checks.BUDGETS),
    "device": _device,
    "ray": functools.partial(checks.check_address, "ray"),
}
# What tells of one kind of data alone.
_OF_DATA = ("image_size", "num_bytes", "label", "text", "class_map")
# What tells of a teacher and data of the user's: how it is said, and what it is if it is not.
_OWN = {
    "teacher": ("--teacher", None),
    "data": ("--data", None),
    "soft_labels": ("--soft-labels", None),
    "student": ("--student", None),
    "scale": ("--scale", None),
    "head": ("--head", None),
    "image_size": ("--image-size", None),
    "num_bytes": ("--num-bytes", None),
    "label": ("--label", None),
    "text": ("--text", None),
    "class_map": ("--class-map", None),
    "cache": ("--cache", None),
    "leave_out_unreadable": ("--leave-out-unreadable", False),
    "modules": ("--import", []),
    "temperature": ("--temperature", None),
    "alpha": ("--alpha", None),
    "batch_size": ("--batch-size", None),
    "patience": ("--patience", None),
    "unlabelled": ("--unlabelled", None),
    "max_kb": ("--max-kb", None),
    "max_us": ("--max-us", None),
    "check": ("--no-check", True),
}
# Of those, what a command asks of recipes too: its axes, and what its files may take.
_OTHERWISE = {
    "sweep": ("temperature", "alpha"),
    "search": ("temperature", "alpha", "batch_size"),
    "distill": ("max_kb", "max_us"),
}
_JUDGES = {
    "run": _trained,
    "compare": _trained,
    "sweep": _sweep,
    "search": _search,
    "distill": _distill,
    "check": _trained,
    "soft-labels": _soft_labels,
    "resume": _import,
    "export": _export,
    "serve": _serve,
}
