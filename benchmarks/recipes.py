"""Compare recipes over seeds and keep what came out.

Command: `python benchmarks/recipes.py mnist_mlp [--best] [--seeds 5]`, which is `keras-kd compare`
with its results kept; without a recipe it only writes the document anew.
Cost: the recipe's docstring says it. A comparison that was stopped goes on.
Writes: `benchmarks/results/recipes/<recipe>.json` and `benchmarks/recipes.md`.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_kd import experiment, recipes
from keras_kd.experiment.tables import METRICS, verdicts

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "recipes"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", choices=recipes.__all__)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.recipe:
        keep(options.recipe, options.best, options.seeds)
    (ROOT / "recipes.md").write_text(document())


def keep(name, best, seeds):
    recipe = getattr(recipes, name)
    found = experiment.compare(recipe.best if best else recipe, seeds=seeds)
    command = f"keras-kd compare {name}{' --best' if best else ''} --seeds {seeds}"
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{found['recipe']}.json"
    path.write_text(json.dumps({"command": command, **found}, indent=1) + "\n")


def document():
    """Return `recipes.md` from the results that are there."""
    parts = [
        "# Recipes, compared over seeds\n\nWritten by `benchmarks/recipes.py`; the single runs are "
        "in `results/recipes/`. Mean ± standard deviation over seeds; every choice made on a "
        "validation split, the test split read once, when all models of all seeds were trained.\n"
    ]
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return "\n".join([*parts, *_table(_SUMMARY, map(_summary, found)), "", *map(_section, found)])


_SUMMARY = ["command", "teacher", "distilled", "alone", "gain, points (95 % interval)", "verdict"]


def _summary(found):
    accuracies = [
        _spread(found["models"][name]["test"]["accuracy"], "{:.4f}")
        for name in ("teacher", "student", "student_alone")
    ]
    gain = found["gains"]["student_alone"]["accuracy"]
    points = f"{100 * gain['mean']:+.2f}"
    if gain["interval_95"]:
        low, high = gain["interval_95"]
        points += f" ({100 * low:+.2f} to {100 * high:+.2f})"
    return [f"`{found['command']}`", *accuracies, points, found["verdict"]]


def _section(found):
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    head = ["", *(name for name, _ in METRICS.values()), "parameters", "epochs", "seconds"]
    rows = [_row(name, model) for name, model in found["models"].items()]
    return "\n".join(
        [
            f"## `{found['recipe']}`\n",
            f"`{found['command']}`, seeds {', '.join(map(str, found['seeds']))}, "
            f"{found['data']['test']:,} test images. {machine}.\n",
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
    figures = [_spread(model["test"][metric], form) for metric, (_, form) in METRICS.items()]
    if name == "teacher":
        figures[list(METRICS).index("agreement_with_teacher")] = ""
    spent = [_spread(model[key], "{:.0f}") for key in ("epochs", "seconds")]
    return [name.replace("_", " "), *figures, f"{model['parameters']:,}", *spent]


def _spread(figures, form):
    deviation = "" if figures["std"] is None else f" ± {form.format(figures['std'])}"
    return form.format(figures["mean"]) + deviation


if __name__ == "__main__":
    main()
