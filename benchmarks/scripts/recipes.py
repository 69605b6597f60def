"""Compare recipes over seeds and keep what came out.

Command: `python benchmarks/scripts/recipes.py mnist_mlp [--best] [--epochs 5] [--seeds 5]`, which
is `keras-kd compare` with its results kept; `python benchmarks/scripts/recipes.py --sweep FOLDER
NAME` keeps those of a finished `keras-kd sweep` and its heat map beside them. Without either it
only writes the document anew.
Cost: the recipe's docstring says it. A comparison that was stopped goes on.
Writes: `benchmarks/results/recipes.json` (a comparison with `--epochs 5` as `<recipe>_5_epochs`) or
`benchmarks/results/sweeps.json` and a picture, and its section of `benchmarks/recipes.md`.
"""

import argparse
import json
import os
import re
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pages import write_section
from results import RESULTS, read, update

from keras_kd import experiment, recipes
from keras_kd.experiment import heat_map
from keras_kd.experiment.tables import METRICS, cell_title, mean_and_std, verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", choices=recipes.__all__)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sweep", nargs=2, metavar=("FOLDER", "NAME"))
    options = parser.parse_args()
    if options.recipe:
        keep(options.recipe, options.best, options.epochs, options.seeds)
    if options.sweep:
        keep_sweep(Path(options.sweep[0]), options.sweep[1])
    write_section("recipes.md", "recipes", document())


def keep(name, best, epochs, seeds):
    recipe = getattr(recipes, name)
    recipe = recipe.best if best else recipe
    kept_as = recipe.name if epochs is None else f"{recipe.name}_{epochs}_epochs"
    found = experiment.compare(
        recipe, seeds=seeds, epochs=epochs, output=f"saved_models/{kept_as}_compare"
    )
    shorter = "" if epochs is None else f" --epochs {epochs}"
    command = f"keras-kd compare {name}{' --best' if best else ''}{shorter} --seeds {seeds}"
    update("recipes", kept_as, {"command": command, **found})


def keep_sweep(folder, name):
    found = json.loads((folder / "results.json").read_text())
    del found["curves"]  # Long, and no table here needs them.
    command = json.loads((folder / "config.json").read_text())["command"]
    # Where somebody's data and results lay is nobody else's business.
    command = re.sub(r" --(data-dir|output) ('[^']*'|\S+)", "", command)
    update("sweeps", name, {"command": command, **found})
    heat_map.draw(RESULTS / "pictures" / f"sweep_{name}.png", found)


def document():
    """Return the section from the results that are there."""
    parts = [
        "## Recipes, compared over seeds\n\nWritten by `benchmarks/scripts/recipes.py`; the single "
        "runs are in `results/recipes.json`. Mean ± standard deviation over seeds; every choice "
        "made on a validation split, the test split read once, when all models of all seeds were "
        "trained.\n"
    ]
    found = read("recipes").values()
    return "\n".join(
        [
            *parts,
            *_table(_SUMMARY, map(_summary, found)),
            "",
            *map(_section, found),
            "## Sweeps, one seed each\n\nThe best cell is chosen on the validation split; it, the "
            "teacher and the student alone are all that is shown the test split.\n",
            *(_sweep(*named) for named in read("sweeps").items()),
        ]
    )


_TESTED = [*(name for name, _ in METRICS.values()), "errors", "parameters"]
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


def _sweep(name, found):
    data, models = found["data"], found["models"]
    (best,) = (cell for cell in found["cells"] if cell["name"] == found["best"])
    titles = {"teacher": "teacher", "student_alone": "student alone", "student": cell_title(best)}
    tested = [
        [
            title,
            *_figures(name, models[name]["test"], lambda figure, form: form.format(figure)),
            f"{(1 - models[name]['test']['accuracy']) * data['test']:.0f}",
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
            f"### `{found['command']}`\n",
            f"Seed {found['seed']}, {found['seconds'] / 60:.0f} minutes, {data['train']:,} images "
            f"to train, {data['validation']:,} to validate. {_machine(found)}.\n",
            f"{data['test']:,} test images:\n",
            *_table(["", *_TESTED, "epochs"], tested),
            "\nAccuracy on validation, of all images and of each class:\n",
            *_table(["", "all", *data["class_names"]], validated),
            f"\n![Validation accuracy by T and alpha](results/pictures/sweep_{name}.png)\n",
        ]
    )


def _machine(found):
    return ", ".join(f"{key} {value}" for key, value in found["machine"].items())


def _section(found):
    head = ["", *_TESTED, "epochs", "seconds"]
    num_images = found["data"]["test"]
    rows = [_row(name, model, num_images) for name, model in found["models"].items()]
    return "\n".join(
        [
            f"### `{found['command']}`\n",
            f"Seeds {', '.join(map(str, found['seeds']))}, "
            f"{num_images:,} test images. {_machine(found)}.\n",
            *_table(head, rows),
            "",
            *(f"- {sentence}." for sentence in verdicts(found)),
            "",
        ]
    )


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _row(name, model, num_images):
    figures = _figures(name, model["test"], mean_and_std)
    accuracy = model["test"]["accuracy"]
    errors = {
        "mean": (1 - accuracy["mean"]) * num_images,
        "std": accuracy["std"] and accuracy["std"] * num_images,
    }
    spent = [mean_and_std(model[key], "{:.0f}") for key in ("epochs", "seconds")]
    return [
        name.replace("_", " "),
        *figures,
        mean_and_std(errors, "{:.0f}"),
        f"{model['parameters']:,}",
        *spent,
    ]


def _figures(name, test, text):
    """Return the cells of a model's metrics on test, each by `text(figure, form)`."""
    cells = {metric: text(test[metric], form) for metric, (_, form) in METRICS.items()}
    if name == "teacher":
        cells["agreement_with_teacher"] = ""  # With itself.
    return list(cells.values())


if __name__ == "__main__":
    main()
