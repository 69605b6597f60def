"""The runs below a folder: what they are, how far they are, and how one goes on."""

import os
from pathlib import Path
from typing import Any

from keras_kd._common.console import Table
from keras_kd._common.typing import Config, PathLike
from keras_kd.experiment.frame import show
from keras_kd.experiment.kinds import KINDS
from keras_kd.experiment.recipe import Recipe
from keras_kd.runs import checkpoint, records
from keras_kd.runs import folder as folder_module
from keras_kd.runs.progress import Progress, title_of


def resume(
    folder: PathLike,
    recipe: Recipe | None = None,
    *,
    data_dir: PathLike | None = None,
    verbose: bool = True,
) -> dict[str, Any]:
    """Go on with a run of any kind that was interrupted or killed.

    What was trained is kept; what was training goes on after its last whole epoch and ends with
    the weights of an uninterrupted run, to the bit, on the same machine. A finished one is shown.

    Args:
        folder: the directory of the run.
        recipe: the `Recipe` it was begun with; `None` if that was made of paths and numbers alone,
            as the command makes it: then it stands in the folder.
        data_dir: as in `data.load`; the one it was begun with if `None`.
        verbose: show the progress and the closing table.

    Returns:
        A `Result`; of a finished run a dict, the contents of `results.json`.

    Raises:
        FileNotFoundError: if there is no run in the folder.
        ValueError: if the recipe is another one, or another process works in the folder.
    """
    config = check_run(folder)
    kind = KINDS[config["kind"]]
    results = records.read_results(folder, config["kind"])
    if recipe is not None and config["recipe"] != recipe.name:
        raise ValueError(
            f"The run in {folder} is of the recipe {config['recipe']}. Received: {recipe.name}."
        )
    if results is not None:
        progress = Progress(verbose)
        progress.say(f"{folder} is finished:")
        show(kind, results, folder, progress)
        return results
    if recipe is None:
        recipe = recipe_of(folder, config)
    options = {**config["options"], "output": folder, "verbose": verbose}
    if data_dir is not None:
        options["data_dir"] = data_dir
    return kind.call(recipe, **options)


def recipe_of(folder, config):
    """Return the `Recipe` that a run was begun with.

    Args:
        folder: of the run.
        config: of `check_run`.

    Raises:
        ValueError: if it was made of objects of a Python program.
    """
    if "made_from" not in config:
        raise ValueError(
            f"The run in {folder} was begun with objects of a Python program, such as a model. "
            "Received: no recipe. Call the same function again with the same folder, or "
            "`experiment.resume(folder, recipe)`: it goes on."
        )
    return Recipe(**config["made_from"])


def check_run(folder: PathLike) -> Config:
    """Return the `config.json` of a run as a dict.

    Args:
        folder: that of the run.

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
    if config["kind"] in records.PARTS:
        raise ValueError(f"{folder} is a part of the comparison in {folder.parent}. Name that one.")
    return config


def list_runs(folder: PathLike = "saved_models") -> list[dict[str, Any]]:
    """Return the runs in and below a folder, as dicts, each judged by itself.

    Args:
        folder: where to look.

    Returns:
        A list, by path, of dicts: `path`, `kind`, `recipe`, `seeds`, `state` (`"running"`,
        `"finished"`, `"unfinished"`, `"damaged"`, `"of a former version"`), `at` (what an
        unfinished one was training), `figures` (of a finished one, on the test split) and `damage`
        (of a damaged one, a sentence), all three text.
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
    """Show the runs in and below a folder as a table, or say that there are none.

    Args:
        folder: where to look.
    """
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
    except records.FormerVersionError as error:
        return _damaged(path, str(error)) | {"state": "of a former version"}
    except ValueError as error:
        return _damaged(path, str(error), config)
    return {
        **_named(path, config),
        "state": state,
        "at": "" if results else _at(path),
        "figures": KINDS[config["kind"]].figures(results) if results else "",
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
