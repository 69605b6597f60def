"""Run a recipe over seeds as a user would, and write what came out.

Command: `make bench`, or `python benchmarks/scripts/main_job.py [--recipe digits] [--seeds 5]`.
Cost: about three minutes a seed on two cores.
Writes: `benchmarks/results/main_job.json`, and its section of `benchmarks/recipes.md`.

Each seed is a process of its own, timed from its start to its end, Python and imports included.
A seed whose results lie in `saved_models/bench/` already is not run again.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time

from pages import PAGES, write_section
from results import read, update

TITLES = {"teacher": "teacher", "student": "student distilled", "student_alone": "student alone"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="fashion_mnist_mlp")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    runs = [run(options.recipe, seed) for seed in range(options.seeds)]
    update("main_job", options.recipe, runs)
    write_section("recipes.md", "main job", document())


def run(recipe, seed):
    """Return what is kept of one run: figures, not curves."""
    folder = PAGES.parent / "saved_models" / "bench" / recipe / str(seed)
    kept = folder / "bench.json"
    if not kept.exists():
        # What an interrupted one left would be gone on with, and the time be that of a part.
        shutil.rmtree(folder, ignore_errors=True)
        command = ["-m", "keras_kd", "run", recipe, "--seed", str(seed), "--output", str(folder)]
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True)
        results = json.loads((folder / "results.json").read_text())
        del results["curves"]
        results["command"] = f"keras-kd run {recipe} --seed {seed}"
        results["wall_seconds"] = time.perf_counter() - start
        # Of the largest child so far, in kilobytes (Linux).
        results["peak_bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        kept.write_text(json.dumps(results))
    return json.loads(kept.read_text())


def document():
    parts = [
        "## Runs from the command to the table\n\nWritten by `make bench`; the runs behind each "
        "table are in `results/main_job.json`. "
        "Mean ± standard deviation over seeds; test split, read once a run; every choice made on "
        "a validation split.\n"
    ]
    parts += map(section, read("main_job").values())
    return "\n".join(parts)


def section(runs):
    first = runs[0]
    machine = ", ".join(f"{key} {value}" for key, value in first["machine"].items())
    seeds = ", ".join(str(run["seed"]) for run in runs)
    lines = [
        f"### `{first['recipe']}`\n",
        f"`keras-kd run {first['recipe']} --seed S`, seeds {seeds}. {machine}.\n",
        "| model | accuracy | NLL | ECE | agreement with teacher | parameters | epochs |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(row(title, [run["models"][name] for run in runs]) for name, title in TITLES.items()),
        "",
        f"Gain of the distilled student over the same student alone, paired: {gain(runs)}",
        litert(runs),
        f"A run takes {spread(runs, 'wall_seconds', '{:.0f}')} s from command to table, "
        f"at most {max(run['peak_bytes'] for run in runs) / 1e9:.1f} GB of memory.\n",
    ]
    return "\n".join(lines)


def row(title, models):
    tests = [model["test"] for model in models]
    agreement = spread(tests, "agreement_with_teacher", "{:.4f}") if title != "teacher" else ""
    cells = [
        title,
        spread(tests, "accuracy", "{:.4f}"),
        spread(tests, "negative_log_likelihood", "{:.3f}"),
        spread(tests, "expected_calibration_error", "{:.3f}"),
        agreement,
        f"{models[0]['parameters']:,}",
        spread(models, "epochs", "{:.0f}"),
    ]
    return f"| {' | '.join(cells)} |"


def gain(runs):
    gains = [100 * run["gain"]["accuracy"] for run in runs]
    listed = ", ".join(f"{value:+.2f}" for value in gains)
    return f"{listed} points; mean {statistics.mean(gains):+.2f} ± {statistics.stdev(gains):.2f}."


def litert(runs):
    files = [run["litert"] for run in runs]
    worst = min(file["agreement_with_keras"] for file in files)
    return (
        f"The float32 `.tflite` file ({files[0]['bytes'] / 1000:.0f} KB), executed on all "
        f"{files[0]['images']:,} test images: agrees with Keras on at least {100 * worst:.2f} %, "
        f"{spread(files, 'microseconds_per_image', '{:.1f}')} microseconds an image."
    )


def spread(items, key, form):
    values = [item[key] for item in items]
    return f"{form.format(statistics.mean(values))} ± {form.format(statistics.stdev(values))}"


if __name__ == "__main__":
    main()
