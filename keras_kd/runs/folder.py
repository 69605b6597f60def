"""The directory of a run: what it was asked for, whether it is finished, who is at work in it."""

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path

from keras_kd._common.backend import describe_machine
from keras_kd._common.checks import ArgumentError, check_text, check_writable
from keras_kd._common.differences import differences, refuse_others
from keras_kd._common.files import written_whole
from keras_kd._common.json_files import misfit, parsed
from keras_kd._common.locks import is_held
from keras_kd.runs.records import read_config, read_head
from keras_kd.runs.storage import without_password

# How a run is made, and not what.
_HOW = ("data_dir", "tensorboard", "workers")
# What may differ between equal data: the same is found under another name, and a former version did
# not count what has no label, whose digest is among the settings.
_OF_DATA = ("name", "unlabelled")
# What they say stands among the settings too.
_IN_SETTINGS = ("epochs", "quick")
# What a run replaces; each of ours has a record beside it, or lies beside those of seeds.
_REPLACED = (
    "teacher.keras", "student.keras", "student_alone.keras", "student*.tflite",
    "student_saved_model*", "student_*.onnx",
)  # fmt: skip
_NOUNS = {"compare": "comparison", "distill": "distillation"}


def output_for(kind, recipe, output, options, overwrite):
    """Return the directory of a run, where one can be written there.

    Args:
        kind: as in `begin`.
        recipe: as in `begin`.
        output: the directory, below `saved_models/` and named after recipe and kind if `None`.
        options: as in `begin`.
        overwrite: as in `begin`.

    Raises:
        ValueError: if it is a file, or a directory that `begin` would refuse whatever the data.
    """
    name = recipe if kind == "run" else f"{recipe}_{kind}"
    if output is not None:
        check_text("output", output)
    path = Path(output or f"saved_models/{name}")
    if os.path.isfile(path):
        raise ValueError(f"`output` must be a folder. Received: {path}, a file.")
    check_writable("output", path)
    stored = _held(path, kind, recipe)
    if stored is not None and not overwrite:
        there, here = stored["options"], _plain(**options)
        _check_same(path, kind, _different_options(there, here, _IN_SETTINGS))
    return path


def begin(
    path, *, kind, recipe, options, settings, data, progress, made_from=None, overwrite=False
):
    """Write `config.json`, or go on with the run that is there if it is the same one.

    The same is a run of the same recipe, settings, data and options. A comparison of more seeds
    and a search of more trials go on too.

    Args:
        path: the directory.
        kind: `"run"`, `"compare"`, `"sweep"`, `"search"`, `"distill"` or `"seed"` (a part of a
            comparison).
        recipe: name of the recipe.
        options: what `resume` calls the same function with, by name.
        settings: of the recipe.
        data: what it is trained on, with a digest.
        progress: a `Progress`, to say what goes on with what.
        made_from: `Recipe.words`, for `resume` to make it again.
        overwrite: replace a run of the same kind and recipe with other settings.

    Raises:
        ValueError: if the directory holds another run, which would be lost, or a `config.json`
            that is none of ours.
    """
    stored = _held(path, kind, recipe)
    config = _plain(
        kind=kind,
        recipe=recipe,
        options=options,
        settings=settings,
        data=data,
        **({"made_from": made_from} if made_from else {}),
        machine=describe_machine(),
        command=_command(),
    )
    goes_on = stored is not None and not (different := _different(stored, config))
    if stored is not None and not goes_on and not overwrite:
        _check_same(path, kind, different)
    if goes_on:
        before = stored.get("machine", {})
        _say_what_changed(before, config["machine"], progress)
        config["machine"] = before or config["machine"]
        if _without(stored["options"], "data_dir") == _without(config["options"], "data_dir"):
            return stored
    if not goes_on or _is_more(stored["options"], config["options"]):
        for name in ("results.json", "report.html"):
            (path / name).unlink(missing_ok=True)
    write_json(path / "config.json", config)
    return config


def remembered(path, made_of, compute, shape):
    """Return what lies in a JSON file and was made of the same, or compute it and write it there.

    Args:
        path: of the file.
        made_of: a digest of what it depends on.
        compute: a function without arguments that returns a dict for JSON.
        shape: that it must have to be believed, as in `json_files.misfit`.
    """
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = parsed(path)
        if misfit(found, {"made_of": str, **shape}) is None and found["made_of"] == made_of:
            return found
    found = _plain(made_of=made_of, **compute())
    write_json(path, found)
    return found


def describe(data, unlabelled=0):
    """Return what a result must say of the data; the test split is left alone.

    Args:
        data: a `Data`.
        unlabelled: how many examples without labels the teacher speaks of.
    """
    return {
        "name": data.name,
        "train": len(data.train),
        "validation": len(data.validation),
        "class_names": list(data.class_names),
        "digest": data.digest,
        **({"unlabelled": unlabelled} if unlabelled else {}),
        **({"left_out": list(data.left_out)} if data.left_out else {}),
    }


def is_begun(path):
    """Return whether a folder holds a run, finished or not."""
    return os.path.lexists(path / "config.json")


def write_json(path, content):
    """Write a JSON file whole."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def head(what, settings, test):
    """Return what every `results.json` begins with: what was run, on which data, and where.

    Args:
        what: `kind`, `recipe`, `options` and `data`, as in `begin`.
        settings: of the recipe.
        test: the test split.
    """
    options = what["options"]
    return {
        "kind": what["kind"],
        "recipe": what["recipe"],
        **{name: options[name] for name in ("seed", "seeds", "quick") if name in options},
        "settings": settings,
        "machine": describe_machine(),
        "data": {**what["data"], "test": len(test)},
    }


def finish(path, results):
    """Write `results.json`; what is drawn of it comes after, and may fail."""
    write_json(path / "results.json", results)


def state_of(path):
    """Return `"running"`, `"finished"` or `"unfinished"`."""
    if is_held(path):
        return "running"
    return "finished" if os.path.lexists(Path(path) / "results.json") else "unfinished"


def _held(path, kind, recipe):
    """Return the `config.json` of a directory, `None` if there is none; refuse another run's."""
    stored = read_head(path)
    if stored is None:
        if not (path / "config.json").exists():
            _check_no_foreign_models(path, kind)
            return None
        holds = "config.json of something else"
    else:
        holds = f"{_NOUNS.get(stored['kind'], stored['kind'])} of {stored['recipe']}"
    if holds != f"{_NOUNS.get(kind, kind)} of {recipe}":
        noun = _NOUNS.get(kind, kind)
        raise ArgumentError(
            f"The folder of a {noun} must be a new folder or hold a {noun} of {recipe}. Received: "
            f"{path}, which holds a {holds}. Choose another folder."
        )
    return read_config(path)


def _check_no_foreign_models(path, kind):
    """Refuse a folder with a model that a run would replace, and that no run left there."""
    if any(path.glob("seed_*/config.json")):
        return
    foreign = [
        model for pattern in _REPLACED for model in sorted(path.glob(pattern))
        if not model.with_suffix(".json").exists()
    ]  # fmt: skip
    if foreign:
        raise ArgumentError(
            f"The folder of a {_NOUNS.get(kind, kind)} must be new, or hold what one left. "
            f"Received: {path}, which holds {foreign[0].name} of something else. Choose another "
            "folder, or move that file away."
        )


def _different(there, here):
    """Return where two runs of one kind and recipe differ, a few words each, the options first."""
    settings = differences(there.get("settings", {}), here["settings"])
    data = differences(
        *(_without(each.get("data", {}), *_OF_DATA) for each in (there, here)), "data"
    )
    # Other words for the same, such as the epochs that the recipe has by itself.
    words = () if settings or data else _IN_SETTINGS
    return _different_options(there["options"], here["options"], words) or settings or data


def _different_options(there, here, left_out):
    there, here = (_without(each, *_HOW, *left_out) for each in (there, here))
    for name in ("seeds", "trials"):
        if name in there and name in here and _holds(here[name], there[name]):
            there, here = _without(there, name), _without(here, name)
    return differences(there, here)


def _holds(more, few):
    """Return whether seeds are among others, or trials no more than others."""
    if isinstance(more, list):
        return isinstance(few, list) and set(few) <= set(more)
    return more >= few


def _is_more(there, here):
    return any(there.get(name) != here.get(name) for name in ("seeds", "trials"))


def _check_same(path, kind, different):
    state = "a finished" if (path / "results.json").exists() else "an unfinished"
    refuse_others(path, f"{state} {_NOUNS.get(kind, kind)}", different)


def _without(options, *names):
    return {name: value for name, value in options.items() if name not in names}


def _plain(**parts):
    """Return what JSON makes of a dict; a path is a text."""
    return json.loads(json.dumps(parts, default=str))


def _command():
    name = Path(sys.argv[0]).name
    # `python -m keras_kd` is the same command.
    name = "keras-kd" if name in ("keras-kd", "__main__.py") else f"python {shlex.quote(name)}"
    return " ".join([name, *map(shlex.quote, map(without_password, sys.argv[1:]))])


def _say_what_changed(before, now, progress):
    changes = [
        f"{key} {before.get(key)} is now {now[key]}" for key in now if before.get(key) != now[key]
    ]
    if changes:
        progress.say(
            f"Begun elsewhere ({'; '.join(changes)}): what is still to be trained may differ in "
            "the last bits from an uninterrupted run"
        )
