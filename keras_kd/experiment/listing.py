"""The runs below a folder: what they are, how far they are, and how one goes on."""

import os
from pathlib import Path
from typing import Any

from keras_kd._common.console import Table
from keras_kd._common.typing import Config, PathLike
from keras_kd.experiment import report, tables
from keras_kd.experiment.compare import compare
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.run import run
from keras_kd.experiment.search import search
from keras_kd.experiment.sweep import sweep
from keras_kd.runs import checkpoint, records
from keras_kd.runs import folder as folder_module
from keras_kd.runs.progress import Progress, title_of

_CALLS = {"run": run, "compare": compare, "sweep": sweep, "search": search}


def resume(
    folder: PathLike, recipe: Recipe, *, data_dir: PathLike | None = None, verbose: bool = True
) -> dict[str, Any]:
    """Go on with a run, a comparison, a sweep or a search that was interrupted or killed.

    What was trained is kept; what was training goes on after its last whole epoch and ends with
    the weights of an uninterrupted run, to the bit, on the same machine. A finished one is shown.

    Args:
        folder: the directory of the run.
        recipe: the `Recipe` it was begun with.
        data_dir: as in `data.load`; the one it was begun with if `None`.
        verbose: show the progress and the closing table.

    Returns:
        The contents of `results.json`, as a dict.

    Raises:
        FileNotFoundError: if there is no run in the folder.
        ValueError: if the recipe is another one, or another process works in the folder.
    """
    config = check_run(folder)
    if config["recipe"] != recipe.name:
        raise ValueError(
            f"The run in {folder} is of the recipe {config['recipe']}. Received: {recipe.name}."
        )
    results = records.read_results(folder, config["kind"])
    if results is not None:
        _show(results, config["kind"], folder, Progress(verbose))
        return results
    options = {**config["options"], "output": folder, "verbose": verbose}
    if data_dir is not None:
        options["data_dir"] = data_dir
    return _CALLS[config["kind"]](recipe, **options)


def check_run(folder: PathLike) -> Config:
    """Return the `config.json` of a run as a dict.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the folder is a part of another run, or its `config.json` is damaged.
    """
    folder = Path(folder)
    config = records.read_config(folder)
    if config is None:
        raise FileNotFoundError(
            f"There is no run in {folder}. Look for one with `keras-kd list DIR`."
        )
    if config["kind"] == "distill":
        raise ValueError(
            "A distillation goes on when its command is said again. Received: "
            f"{folder}, begun with `{config['command']}`."
        )
    if config["kind"] not in _CALLS:
        raise ValueError(f"{folder} is a part of the comparison in {folder.parent}. Name that one.")
    return config


def _show(results, kind, folder, progress):
    progress.say(f"{folder} is finished:")
    if kind == "compare":
        progress.show(tables.comparison(results))
        progress.say(*tables.verdicts(results))
    elif kind == "sweep":
        progress.show(tables.grid(results))
        progress.say(*tables.best_cell(results))
    elif kind == "search":
        progress.show(tables.trials(results))
        progress.say(*tables.best_trial(results))
    else:
        progress.show(report.table(results))
        progress.say(*report.sentences(results, folder))


def list_runs(folder: PathLike = "saved_models") -> list[dict[str, Any]]:
    """Return the runs in and below a folder, as dicts, each judged by itself.

    Args:
        folder: where to look.

    Returns:
        A list, by path, of dicts: `path`, `kind`, `recipe`, `seeds`, `state` (`"running"`,
        `"finished"`, `"unfinished"`, `"damaged"`), `at` (what an unfinished one was training),
        `figures` (of a finished one, on the test split) and `damage` (of a damaged one, a
        sentence), all three text.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: found.append(error)):
        folders.sort()
        if "config.json" in (*folders, *names):
            found.append(Path(parent))
    described = [
        _not_looked_into(each) if isinstance(each, OSError) else _described(each) for each in found
    ]
    return sorted(filter(None, described), key=lambda run: run["path"])


def print_runs(folder: PathLike) -> None:
    """Show the runs in and below a folder as a table, or say that there are none."""
    runs = list_runs(folder)
    progress = Progress()
    if not runs:
        progress.say(f"There is no run in or below {folder}")
        return
    columns = ["run", "recipe", "seeds", "state", "at"]
    table = Table("", columns, left=range(len(columns)), broken=(2, 4))
    for each in runs:
        table.add_row(
            each["path"],
            f"{each['kind']} {each['recipe']}",
            ", ".join(map(str, each["seeds"])),
            each["state"],
            each["figures"] or each["at"],
        )
    progress.show(table)
    progress.say(*(each["damage"] for each in runs if each["damage"]))


def _not_looked_into(error):
    """Return the row of a folder that the system does not let us read, `None` of none at all."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return None
    sentence = f"A folder of runs must be one that can be read. Received: {error.filename} "
    return _damaged(error.filename, f"{sentence}({error.strerror}).")


def _described(path):
    """Return the row of a folder with a `config.json`, `None` if that is none of ours."""
    config = None
    try:
        config = records.read_config(path)
        if config is None or config["kind"] in records.PARTS:
            return None
        state = folder_module.state_of(path)
        results = None
        if state == "finished":
            results = records.read_results(path, config["kind"])
    except ValueError as error:
        return _damaged(path, str(error), config)
    return {
        **_named(path, config),
        "state": state,
        "at": "" if results else _at(path),
        "figures": _figures(results, config["kind"]) if results else "",
        "damage": "",
    }


def _named(path, config):
    options = config["options"]
    seeds = options["seeds"] if "seeds" in options else [options.get("seed", "")]
    kind, recipe = config["kind"], config["recipe"]
    return {"path": str(path), "kind": kind, "recipe": recipe, "seeds": seeds}


def _damaged(path, sentence, config=None):
    unknown = {"path": str(path), "kind": "", "recipe": "", "seeds": []}
    return {
        **(_named(path, config) if config else unknown),
        "state": "damaged",
        "at": "",
        "figures": "",
        "damage": sentence,
    }


def _at(path):
    """Return what is being trained, from the checkpoint that lies there."""
    for found in sorted(path.rglob("*.checkpoint.npz")):
        name = found.name.removesuffix(".checkpoint.npz")
        where = "" if found.parent == path else f"{found.parent.name}, "
        try:
            return f"{where}{title_of(name)} after epoch {checkpoint.read(found)['epoch']}"
        except ValueError:
            return f"{where}{title_of(name)}, whose checkpoint is damaged"
    return "between two trainings"


def _figures(results, kind):
    if kind == "compare":
        gain = results["gains"]["student_alone"]["accuracy"]
        return f"{results['verdict']}, {100 * gain['mean']:+.2f} points"
    student = results["models"]["student"]["test"]["accuracy"]
    alone = results["models"]["student_alone"]["test"]["accuracy"]
    return f"distilled {student:.4f}, alone {alone:.4f}"
