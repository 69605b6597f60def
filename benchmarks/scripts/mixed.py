"""Choose which layers have int4 weights by a budget, and run the files, over seeds.

Command: `python benchmarks/scripts/mixed.py [--seeds 5]`, after `pruning.py mlp` with as many.
Cost: a minute a seed on one busy core.
Writes: `benchmarks/results/mixed.json`, and its section of `benchmarks/files.md`.

The perceptron 784-128-128-128-10 of `pruning.py` (its teacher) as integers, without any training as
such. Each row is a budget of `quantize.prepare(..., budget_kb=...)`, with 500 training images for
ranges and errors; its file is written and run on all test images. Error: root mean square of what
is added to the logits, in % of their spread on the test images; foretold: from the errors of single
layers on the calibration images, as the choice has it. `the worst` turns the same choice around: of
all choices of layers that save as many bytes, that with the largest sum of squares.
"""

import argparse
import itertools
import math
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from pages import PAGES, write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd.experiment.statistics import spread

BENCH = PAGES.parent / "saved_models" / "bench" / "pruning" / "mlp"
BUDGETS = 150, 135, 100, 95, 85
WORST = " the worst"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s; at least 3")
    for seed in range(parser.parse_args().seeds):
        if str(seed) not in read("mixed"):
            update("mixed", str(seed), run(seed))
        print(f"seed {seed} is done", flush=True)
    write_section("files.md", "mixed", document())


def run(seed):
    """Return the figures of all files of one seed."""
    data = kd.data.load("fashion_mnist", seed=seed)
    student = keras.models.load_model(BENCH / str(seed) / "teacher.keras", compile=False)
    logits = student.predict(data.test.images, batch_size=1000, verbose=0)
    own = {"accuracy": kd.metrics.accuracy(data.test.labels, logits)}
    found = kd.quantize.sensitivity(student, data.train.images[:500])
    layers = {layer.name: layer for layer in found.layers}
    files = {}
    for budget in BUDGETS:
        twin = kd.quantize.prepare(student, budget_kb=budget, calibration=data.train)
        chosen = [each.name for each in twin.layers if getattr(each, "weight_bits", 8) == 4]
        files[str(budget)] = _figures(twin, chosen, layers, logits, data)
        worst = _worst(layers, sum(layers[name].num_weights for name in chosen))
        if set(worst) != set(chosen):
            weights = dict.fromkeys(worst, "int4")
            twin = kd.quantize.prepare(student, weights=weights, calibration=data.train)
            files[f"{budget}{WORST}"] = _figures(twin, worst, layers, logits, data)
    machine = describe_machine()
    return {"seed": seed, "machine": machine, "student": own, "files": files}


def _worst(layers, num_weights):
    """Return the layers that save as much, at least, with the largest errors and none to spare."""
    enough = [
        names
        for count in range(len(layers) + 1)
        for names in itertools.combinations(layers, count)
        if sum(layers[name].num_weights for name in names) >= num_weights
        and all(
            sum(layers[name].num_weights for name in names if name != left) < num_weights
            for left in names
        )
    ]
    return max(enough, key=lambda names: sum(layers[each].error["int4"] ** 2 for each in names))


def _figures(twin, chosen, layers, logits, data):
    width = f"int{kd.quantize.weight_bits(twin)}"
    with tempfile.TemporaryDirectory() as folder:
        path = kd.export.litert(twin, Path(folder) / "file.tflite", quantization=width)
        size = path.stat().st_size
        answered = kd.export.run_litert(path, data.test.images).logits
    widths = {name: "int4" if name in chosen else "int8" for name in layers}
    foretold = sum(layers[name].error[width] ** 2 for name, width in widths.items())
    return {
        "bytes": size,
        "int4": chosen,
        "accuracy": kd.metrics.accuracy(data.test.labels, answered),
        "error": math.sqrt(np.mean((answered - logits) ** 2) / np.var(logits)),
        "foretold": math.sqrt(foretold),
    }


def document():
    """Return the section from the seeds that are there."""
    found = read("mixed")
    runs = [found[seed] for seed in sorted(found, key=int)]
    head = ["budget, KB", "file, KB", "int4 in", "error, %", "foretold, %", "points lost"]
    rows = [head, ["---"] * len(head)]
    for name in dict.fromkeys(name for each in runs for name in each["files"]):
        those = [(each["student"], each["files"][name]) for each in runs if name in each["files"]]
        choices = {", ".join(file["int4"]) or "no layer" for _, file in those}
        lost = spread([student["accuracy"] - file["accuracy"] for student, file in those])
        rows.append(
            [
                name,
                f"{max(file['bytes'] for _, file in those) / 1000:.1f}",
                "; or ".join(sorted(choices)),
                *(
                    f"{100 * np.mean([file[key] for _, file in those]):.1f}"
                    for key in ("error", "foretold")
                ),
                f"{100 * lost['mean']:+.2f} ± {100 * (lost['std'] or 0):.2f}",
            ]
        )
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    machines = {
        ", ".join(f"{key} {value}" for key, value in each["machine"].items()) for each in runs
    }
    return (
        "## Mixed int4 and int8 within a budget\n\n"
        "Command: `python benchmarks/scripts/mixed.py`.\n"
        f"{__doc__[__doc__.index('The perceptron') :].strip()}\n\n"
        f"{len(runs)} seeds; points lost: mean ± standard deviation; file: the largest.\n\n"
        f"{table}\n\n{'; '.join(sorted(machines))}.\n"
    )


if __name__ == "__main__":
    main()
