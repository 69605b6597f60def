"""Measure the memory of `fit`, with what a teacher said kept and without.

Command: `make memory`, or `python benchmarks/scripts/memory.py`.
Cost: about five minutes on two cores.
Writes: `benchmarks/results/memory.json`, and its section of `benchmarks/speed.md`.

Each line is a process of its own, whose peak is that of its resident memory (`VmHWM`), less what it
had when `fit` began.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from pages import write_section
from results import read, update

from keras_kd._common.backend import describe_machine

ROOT = Path(__file__).parent.parent.parent
# What is compared: examples, classes, features of an example, and outputs of such classes.
CASES = {
    "0.4 GB of logits": (100_000, 1000, 8, 1),
    "0.4 GB in two outputs": (50_000, 1000, 8, 2),
    "just below the bound, kept": (33_000, 1000, 8, 1),
    "0.4 GB of inputs": (100_000, 10, 1000, 1),
}
WAYS = ("Keras fit, student alone", "one by one", "stacks")


ROUNDS = 3


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    cases = {name: {way: [] for way in WAYS} for name in CASES}
    for _ in range(ROUNDS):
        for name, case in CASES.items():
            for way in WAYS:
                cases[name][way].append(round(_in_process(way, *case), 1))
    update("memory", "cases", cases)
    update("memory", "machine", describe_machine())
    write_section("speed.md", "memory", document())


def document():
    """Return the table of what was found."""
    found = read("memory")
    lines = [
        "## Memory of `fit`",
        "",
        "Written by `make memory`. Peak memory of `fit` above what the process had before it, MB: "
        f"the median of {ROUNDS} processes of one epoch each, and the lowest and the highest. What "
        "a teacher said of all examples is kept if it takes less than 128 MiB; above, the teacher "
        "is asked in each step. So stacks never take 150 MB more than steps one by one.",
        "",
        f"|  | {' | '.join(WAYS)} | stacks over one by one |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, peaks in found["cases"].items():
        over = statistics.median(peaks["stacks"]) - statistics.median(peaks["one by one"])
        cells = [
            f"{statistics.median(each):.0f} ({min(each):.0f} to {max(each):.0f})"
            for each in peaks.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {over:+.0f} |")
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    return "\n".join([*lines, "", f"Seed 0. {machine}."]) + "\n"


def peak(way, num_examples, num_classes, num_features, num_outputs):
    """Return the megabytes that one epoch takes at most."""
    import keras
    import numpy as np

    import keras_kd as kd

    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    inputs = generator.random((num_examples, num_features), dtype="float32")
    names = [f"output_{number}" for number in range(num_outputs)]
    labels = {name: np.arange(num_examples) % num_classes for name in names}

    def net(units):
        features = keras.Input((num_features,))
        x = keras.layers.Dense(units, activation="relu")(features)
        outputs = {name: keras.layers.Dense(num_classes, name=name)(x) for name in names}
        return keras.Model(features, outputs if num_outputs > 1 else outputs[names[0]])

    labels = labels if num_outputs > 1 else labels[names[0]]
    student, teacher = net(4), net(8)
    if way == "Keras fit, student alone":
        model = student
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    else:
        losses = {name: kd.losses.SoftTargets() for name in names}
        loss = losses if num_outputs > 1 else losses[names[0]]
        model = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
        model.compile("sgd", steps_per_execution=1 if way == "one by one" else None)
    Path("/proc/self/clear_refs").write_text("5")  # The peak is counted from here.
    before = _memory("VmRSS")
    model.fit(inputs, labels, batch_size=500, verbose=0)
    return _memory("VmHWM") - before


def _memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(field))


def _in_process(*arguments):
    """Return what `peak` returns in a process of its own."""
    call = f"import memory; print('RESULT', memory.peak(*{arguments!r}))"
    output = subprocess.run(
        [sys.executable, "-c", call],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    ).stdout
    return float(output.rsplit("RESULT", 1)[1])


if __name__ == "__main__":
    main()
