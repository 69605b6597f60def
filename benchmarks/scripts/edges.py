"""The recipe `edges`: students of a hundredth of an edge detector, over seeds, beside controls.

Command: `python benchmarks/scripts/edges.py --seeds 5`; `--time` measures teacher, student and file
in turns. Without any it only writes the document anew.
Cost: the recipe's docstring says that of a seed.
Writes: `benchmarks/results/edges.json` and its section of `benchmarks/recipes.md`.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Of everything, times included: one core.
os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

import numpy as np
from pages import write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd.experiment.maps import MEASURES
from keras_kd.experiment.statistics import judged

RECIPE = kd.recipes.edges
PARTS = sys.modules["keras_kd.recipes.edges"]
COMPARED = Path("saved_models/edges_compare")
_ROUNDS, _IMAGES = 10, 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=0, help="how many")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    for seed in range(options.seeds):
        found = RECIPE(seed, output=COMPARED / f"seed_{seed}")
        update("edges", f"seed_{seed}", found)
    if options.time:
        update("edges", "time", timed())
    write_section("recipes.md", "edges", document())


def timed():
    """Return microseconds an image of teacher, student and its file: one thread, in turns."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    images = RECIPE.data(0).test.images[:_IMAGES, None].astype("float32")
    path = COMPARED / "seed_0" / "student_int8.tflite"
    file = Interpreter(str(path), num_threads=1)
    file.allocate_tensors()
    taken = file.get_input_details()[0]
    scale, zero = taken["quantization"]

    def by_file(image):
        # What a program that calls it does too.
        numbers = np.round(image / scale) + zero
        file.set_tensor(taken["index"], numbers.astype(taken["dtype"]))
        file.invoke()

    def compiled(model):
        ask = tf.function(lambda image: model(image, training=False))
        return lambda image: ask(tf.constant(image)).numpy()

    teacher, student = PARTS.teacher(), PARTS.student()
    asked = {"teacher": compiled(teacher), "student": compiled(student), "int8": by_file}
    for ask in asked.values():
        ask(images[0])
    seconds = {name: [] for name in asked}
    for _ in range(_ROUNDS):
        for image in images:
            for name, ask in asked.items():
                began = time.perf_counter()
                ask(image)
                seconds[name].append(time.perf_counter() - began)
    return {
        "microseconds": {name: 1e6 * float(np.median(each)) for name, each in seconds.items()},
        "parameters": {"teacher": teacher.count_params(), "student": student.count_params()},
        "bytes": {"teacher": 4 * teacher.count_params(), "int8": path.stat().st_size},
        "machine": ", ".join(f"{name} {each}" for name, each in describe_machine().items()),
    }


_TITLES = {
    "student": "distilled",
    "student_alone": "the same student on the teacher's hard maps",
    "int8": "distilled, as the int8 file",
    "Sobel": "Sobel's filters, without learning",
}


def document():
    """Return the section from the results that are there."""
    found = read("edges")
    runs = [each for name, each in found.items() if name.startswith("seed_")]
    images, clock = runs[0]["images"], found["time"]
    figures = {
        title: [run["int8"] if name == "int8" else run["models"][name] for run in runs]
        for name, title in _TITLES.items()
    }
    rows = [
        [title, *(_spread([each[name] for each in all_of]) for name in ("iou", "mean_iou", *_F))]
        for title, all_of in figures.items()
    ]
    times, sizes = clock["microseconds"], clock["bytes"]
    lines = [
        "## Edges of photographs, by a hundredth of their detector\n",
        "Written by `benchmarks/scripts/edges.py` from `results/edges.json`. Squares of 128 x 128 "
        f"of 36 photographs: {images['train']:,} to train on, {images['validation']:,} to choose "
        f"on, and {images['test']:,} of nine photographs that were never seen. What is right is "
        f"where the teacher says yes. Seeds: {len(runs)}.\n",
        *_table(["", "IoU of edges", "mean IoU of both classes", "F-measure, one pixel"], rows),
        "",
        *(_gain(runs, name, other) for name in MEASURES for other in ("student_alone", "int8")),
        f"- The teacher has {clock['parameters']['teacher']:,} weights, {sizes['teacher']:,} bytes "
        f"as float32, the student {clock['parameters']['student']:,}: a "
        f"{clock['parameters']['teacher'] / clock['parameters']['student']:.0f}th. Its int8 file "
        f"has {sizes['int8']:,} bytes.",
        f"- An image takes the teacher {times['teacher'] / 1000:,.0f} ms, the student "
        f"{times['student'] / 1000:,.1f} ms in Keras and {times['int8'] / 1000:,.2f} ms as its "
        f"file: one thread, in turns in one process. {clock['machine']}.",
        "",
    ]
    return "\n".join(lines)


_F = ("f_measure",)
_WORDS = {"iou": "IoU of edges", "f_measure": "F-measure"}
_OTHERS = {"student_alone": "the same student on hard maps", "int8": "its int8 file"}


def _gain(runs, measure, other):
    values = [
        run["models"]["student"][measure]
        - (run["int8"] if other == "int8" else run["models"][other])[measure]
        for run in runs
    ]
    found = judged(values)
    text = f"- Distilled over {_OTHERS[other]}, {_WORDS[measure]}: {100 * found['mean']:+.2f}"
    if found["interval_95"] is None:
        return f"{text} points."
    low, high = found["interval_95"]
    return f"{text} points ({100 * low:+.2f} to {100 * high:+.2f}), {found['verdict']}."


def _spread(values):
    if len(set(values)) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
