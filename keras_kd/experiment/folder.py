"""The directory of a run: what it was asked for, whether it is finished, who is at work in it."""

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path

from keras_kd._backend import describe_machine
from keras_kd._checks import check_text, check_writable
from keras_kd._files import written_whole
from keras_kd._locks import is_held
from keras_kd.experiment.storage import without_password


def output_for(kind, recipe, output):
    """Return the directory of a run, where one can be written there.

    Args:
        kind: as in `begin`.
        recipe: as in `begin`.
        output: the directory, below `saved_models/` and named after recipe and kind if `None`.

    Raises:
        ValueError: if it is a file, or a directory that `begin` would refuse.
    """
    name = recipe if kind == "run" else f"{recipe}_{kind}"
    if output is not None:
        check_text("output", output)
    path = Path(output or f"saved_models/{name}")
    if os.path.isfile(path):
        raise ValueError(f"`output` must be a folder. Received: {path}, a file.")
    check_writable("output", path)
    _check_free(path, kind, recipe)
    return path


def begin(path, *, kind, recipe, options, settings, data, progress):
    """Write `config.json`, or go on with the run that is there if it is the same one.

    Args:
        path: the directory.
        kind: `"run"`, `"compare"`, `"sweep"`, `"search"`, `"distill"` or `"seed"` (a part of a
            comparison).
        recipe: name of the recipe.
        options: what `resume` calls the same function with, by name.
        settings: of the recipe.
        data: what it is trained on, with a digest.
        progress: a `Progress`, to say what goes on with what.

    Raises:
        ValueError: if the directory holds another kind of run or one of another recipe, which
            would be lost, or a `config.json` that is none of ours.
    """
    _check_free(path, kind, recipe)
    config = _plain(
        kind=kind,
        recipe=recipe,
        options=options,
        settings=settings,
        data=data,
        machine=describe_machine(),
        command=_command(),
    )
    stored = read_config(path)
    if is_begun(path, kind=kind, recipe=recipe, options=options, settings=settings, data=data):
        _say_what_changed(stored["machine"], config["machine"], progress)
        return stored
    (path / "results.json").unlink(missing_ok=True)
    with written_whole(path / "config.json") as unfinished:
        unfinished.write_text(json.dumps(config, indent=1) + "\n")
    return config


def is_begun(path, **what):
    """Return whether the run in a directory is this one.

    Args:
        path: the directory.
        **what: `kind`, `recipe`, `options`, `settings` and `data`, as in `begin`.
    """
    stored = read_config(path)
    return stored is not None and _identity(stored) == _identity(_plain(**what))


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
    """Write `results.json`, the last file of a run."""
    with written_whole(path / "results.json") as unfinished:
        unfinished.write_text(json.dumps(results, indent=1) + "\n")


def read_config(path):
    """Return `config.json` of a directory as a dict, or `None` if there is none of ours."""
    config = _read(Path(path) / "config.json")
    # Others write files of that name too.
    if not isinstance(config, dict) or not isinstance(config.get("options"), dict):
        return None
    texts = [config.get(name) for name in ("kind", "recipe", "command")]
    if not all(isinstance(each, str) for each in texts):
        return None
    # An earlier version wrote down the password of a search's storage.
    config["command"] = without_password(config["command"])
    if isinstance(config["options"].get("storage"), str):
        config["options"]["storage"] = without_password(config["options"]["storage"])
    return config


def read_results(path):
    """Return `results.json` of a directory as a dict, or `None` if there is none."""
    return _read(Path(path) / "results.json")


def state_of(path):
    """Return `"running"`, `"finished"` or `"unfinished"`."""
    if is_held(path):
        return "running"
    return "finished" if (Path(path) / "results.json").is_file() else "unfinished"


def _check_free(path, kind, recipe):
    stored = read_config(path)
    if stored is None:
        if not (path / "config.json").exists():
            return
        holds = "config.json of something else"
    else:
        holds = f"{stored['kind']} of {stored['recipe']}"
    if holds != f"{kind} of {recipe}":
        raise ValueError(
            f"The folder of a {kind} must be a new folder or hold a {kind} of {recipe}. Received: "
            f"{path}, which holds a {holds}. Choose another folder."
        )


def _identity(config):
    """Return what makes a run this one: where its data was found does not."""
    identity = {key: config[key] for key in ("kind", "recipe", "settings", "data")}
    return identity, {k: v for k, v in config["options"].items() if k != "data_dir"}


def _plain(**parts):
    """Return what JSON makes of a dict."""
    return json.loads(json.dumps(parts))


def _read(path):
    # ValueError: what others call so need not be JSON.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        return json.loads(path.read_text())
    return None


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
