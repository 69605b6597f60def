"""Compare recipes over seeds and keep what came out.

Command: `python benchmarks/recipes.py mnist_mlp [--best] [--seeds 5]`, which is `keras-kd compare`
with its results kept; `python benchmarks/recipes.py --sweep FOLDER` keeps those of a finished
`keras-kd sweep` and its heat map beside them. Without either it only writes the document anew.
Cost: the recipe's docstring says it. A comparison that was stopped goes on.
Writes: `benchmarks/results/recipes/<recipe>.json`, `benchmarks/results/sweeps/<folder>.json` and
`.png`, and `benchmarks/recipes.md`.
"""

import argparse
import json
import os
import re
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_kd import experiment, recipes
from keras_kd.experiment import heat_map
from keras_kd.experiment.tables import METRICS, cell_title, mean_and_std, verdicts

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "recipes"
SWEEPS = ROOT / "results" / "sweeps"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", choices=recipes.__all__)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sweep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.recipe:
        keep(options.recipe, options.best, options.seeds)
    if options.sweep:
        keep_sweep(options.sweep)
    (ROOT / "recipes.md").write_text(document())


def keep(name, best, seeds):
    recipe = getattr(recipes, name)
    found = experiment.compare(recipe.best if best else recipe, seeds=seeds)
    command = f"keras-kd compare {name}{' --best' if best else ''} --seeds {seeds}"
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{found['recipe']}.json"
    path.write_text(json.dumps({"command": command, **found}, indent=1) + "\n")


def keep_sweep(folder):
    found = json.loads((folder / "results.json").read_text())
    del found["curves"]  # Long, and no table here needs them.
    command = json.loads((folder / "config.json").read_text())["command"]
    # Where somebody's data and results lay is nobody else's business.
    command = re.sub(r" --(data-dir|output) ('[^']*'|\S+)", "", command)
    SWEEPS.mkdir(parents=True, exist_ok=True)
    path = SWEEPS / f"{folder.resolve().name}.json"
    path.write_text(json.dumps({"command": command, **found}, indent=1) + "\n")
    heat_map.draw(path.with_suffix(".png"), found)


def document():
    """Return `recipes.md` from the results that are there."""
    parts = [
        "# Recipes, compared over seeds\n\nWritten by `benchmarks/recipes.py`; the single runs are "
        "in `results/recipes/`. Mean ± standard deviation over seeds; every choice made on a "
        "validation split, the test split read once, when all models of all seeds were trained.\n"
    ]
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return "\n".join(
        [
            *parts,
            *_table(_SUMMARY, map(_summary, found)),
            "",
            *map(_section, found),
            "# Sweeps, one seed each\n\nThe best cell is chosen on the validation split; it, the "
            "teacher and the student alone are all that is shown the test split.\n",
            *map(_sweep, sorted(SWEEPS.glob("*.json"))),
        ]
    )


_SUMMARY = ["command", "teacher", "distilled", "alone", "gain, points (95 % interval)", "verdict"]


def _summary(found):
    accuracies = [
        mean_and_std(found["models"][name]["test"]["accuracy"])
        for name in ("teacher", "student", "student_alone")
    ]
    gain = found["gains"]["student_alone"]["accuracy"]
    points = f"{100 * gain['mean']:+.2f}"
    if gain["interval_95"]:
        low, high = gain["interval_95"]
        points += f" ({100 * low:+.2f} to {100 * high:+.2f})"
    return [f"`{found['command']}`", *accuracies, points, found["verdict"]]


def _sweep(path):
    found = json.loads(path.read_text())
    data, models = found["data"], found["models"]
    (best,) = (cell for cell in found["cells"] if cell["name"] == found["best"])
    titles = {"teacher": "teacher", "student_alone": "student alone", "student": cell_title(best)}
    tested = [
        [
            title,
            *_figures(name, models[name]["test"], lambda figure, form: form.format(figure)),
            f"{models[name]['parameters']:,}",
            f"{models[name]['epochs']}",
        ]
        for name, title in titles.items()
    ]
    on_validation = {
        **{titles[name]: found["validation"][name] for name in ("teacher", "student_alone")},
        **{cell_title(cell): cell["validation"] for cell in found["cells"]},
    }
    validated = [
        [title, f"{figures['accuracy']:.4f}", *(f"{x:.3f}" for x in figures["per_class_accuracy"])]
        for title, figures in on_validation.items()
    ]
    return "\n".join(
        [
            f"## `{found['command']}`\n",
            f"Seed {found['seed']}, {found['seconds'] / 60:.0f} minutes, {data['train']:,} images "
            f"to train, {data['validation']:,} to validate. {_machine(found)}.\n",
            f"{data['test']:,} test images:\n",
            *_table(["", *(name for name, _ in METRICS.values()), "parameters", "epochs"], tested),
            "\nAccuracy on validation, of all images and of each class:\n",
            *_table(["", "all", *data["class_names"]], validated),
            f"\n![Validation accuracy by T and alpha](results/sweeps/{path.stem}.png)\n",
        ]
    )


def _machine(found):
    return ", ".join(f"{key} {value}" for key, value in found["machine"].items())


def _section(found):
    head = ["", *(name for name, _ in METRICS.values()), "parameters", "epochs", "seconds"]
    rows = [_row(name, model) for name, model in found["models"].items()]
    return "\n".join(
        [
            f"## `{found['recipe']}`\n",
            f"`{found['command']}`, seeds {', '.join(map(str, found['seeds']))}, "
            f"{found['data']['test']:,} test images. {_machine(found)}.\n",
            *_table(head, rows),
            "",
            *(f"- {sentence}." for sentence in verdicts(found)),
            "",
        ]
    )


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _row(name, model):
    figures = _figures(name, model["test"], mean_and_std)
    spent = [mean_and_std(model[key], "{:.0f}") for key in ("epochs", "seconds")]
    return [name.replace("_", " "), *figures, f"{model['parameters']:,}", *spent]


def _figures(name, test, text):
    """Return the cells of a model's metrics on test, each by `text(figure, form)`."""
    cells = {metric: text(test[metric], form) for metric, (_, form) in METRICS.items()}
    if name == "teacher":
        cells["agreement_with_teacher"] = ""  # With itself.
    return list(cells.values())


if __name__ == "__main__":
    main()
