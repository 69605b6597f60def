"""The recipe `magika`: the student, its two controls, and the teacher, on packages never seen.

Command: `python benchmarks/scripts/file_contents.py --seeds 5`; `--check` compares the bytes that
are read with the package's own, `--time` measures. Without any it only writes the document anew.
Cost: with files and answers gathered (see the recipe), 12 minutes a seed on two busy cores.
Writes: `benchmarks/results/magika.json` and its section of `benchmarks/recipes.md`.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from pages import write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd.data.files import PADDING, ends_of, sampled
from keras_kd.data.splits import Split
from keras_kd.experiment.statistics import judged

RECIPE = kd.recipes.magika
PARTS = sys.modules["keras_kd.recipes.magika"]
WHO = ("distilled", "hard", "suffixes")
TITLES = {
    "distilled": "distilled",
    "hard": "the same student on the teacher's hard answers",
    "suffixes": "the same student on suffixes alone",
}
# Kinds with fewer test files have no figure of their own.
FEWEST = 40


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="the bytes against the package's own")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    if options.check:
        update("magika", "bytes", checked())
    if options.seeds:
        data, suffixes = RECIPE.load(0), suffixes_of()
        for seed in range(options.seeds):
            if f"seed_{seed}" not in read("magika"):
                update("magika", f"seed_{seed}", seed_of(seed, data, suffixes))
        update("magika", "teacher", teacher_of(data, suffixes))
    if options.time:
        update("magika", "time", timed())
    write_section("recipes.md", "magika", document())


def suffixes_of():
    with np.load(Path(PARTS.Place("files.npz"))) as arrays:
        return {split: arrays[f"{split}_suffixes"] for split in ("train", "test")}


def seed_of(seed, data, suffixes):
    """Return the figures of a seed's three students on the test files."""
    print(f"Seed {seed}", flush=True)
    began, students = time.perf_counter(), trained(seed, data, suffixes["train"])
    seconds = time.perf_counter() - began
    found = {}
    for who, student in students.items():
        logits = student.predict(data.test.images, batch_size=512, verbose=0)
        found[who] = figures(logits, data, suffixes["test"])
    path = Path(PARTS.Place("students", f"seed_{seed}.tflite"))
    path.parent.mkdir(exist_ok=True)
    students["distilled"].save(path.with_suffix(".keras"))
    kd.export.litert(
        students["distilled"], path, quantization="int8", calibration=data.train.images[:500],
        class_names=data.class_names,
    )  # fmt: skip
    logits = kd.export.run_litert(path, data.test.images).logits
    found["int8"] = figures(logits, data, suffixes["test"]) | {"bytes": path.stat().st_size}
    for who, each in found.items():
        print(who, {name: each[name] for name in ("agreement", "by_suffix")}, flush=True)
    return {"students": found, "seconds": seconds}


def trained(seed, data, suffixes):
    """Return the three students of a seed: equal first weights, equally many steps."""
    steps = -(-len(data.train) // RECIPE.batch_size) * RECIPE.epochs
    labels = kd.SoftLabels(PARTS.Place("answers", "train"))
    options = {"epochs": RECIPE.epochs, "verbose": 0}

    def distiller(**how):
        keras.utils.set_random_seed(seed)
        student = RECIPE.student((2048,), data.num_classes)
        made = kd.Distiller(student=student, **how)
        return made.compile(RECIPE.optimizer(steps), metrics=["accuracy"])

    soft = distiller(soft_labels=labels, distillation_loss=kd.losses.SoftTargets(1.0), alpha=1.0)
    soft.fit(data.train.batches(RECIPE.batch_size, shuffle_seed=seed), **options)
    hard = distiller(alpha=0)
    hard.fit(data.train.batches(RECIPE.batch_size, shuffle_seed=seed), **options)
    told = suffixes >= 0
    own = Split(data.train.images[told], suffixes[told])
    # As many steps: each file that has a suffix is seen more often.
    own = own.take(np.resize(np.arange(len(own)), len(data.train)))
    alone = distiller(alpha=0)
    alone.fit(own.batches(RECIPE.batch_size, shuffle_seed=seed), **options)
    return {"distilled": soft.student, "hard": hard.student, "suffixes": alone.student}


def figures(logits, data, suffixes):
    """Return agreement with the teacher, accuracy by unambiguous suffixes, and both per kind."""
    said, teacher, told = logits.argmax(-1), data.test.labels, suffixes >= 0
    kinds = [k for k in range(data.num_classes) if (teacher == k).sum() >= FEWEST]
    return {
        "agreement": float((said == teacher).mean()),
        "by_suffix": float((said == suffixes)[told].mean()),
        "kinds": {
            data.class_names[kind]: float((said == kind)[teacher == kind].mean()) for kind in kinds
        },
    }


def teacher_of(data, suffixes):
    told = suffixes["test"] >= 0
    return {
        "by_suffix": float((data.test.labels == suffixes["test"])[told].mean()),
        "files": {name: len(getattr(data, name)) for name in ("train", "validation", "test")},
        "told_by_suffix": int(told.sum()),
        "kinds": {
            name: int((data.test.labels == number).sum())
            for number, name in enumerate(data.class_names)
        },
        "bytes": PARTS.model_path().stat().st_size,
    }


def checked():
    """Return on how many sampled files our bytes are those of the package itself."""
    import magika
    from magika.types.seekable import Seekable

    extracted = vars(magika.Magika)["_extract_features_from_seekable"].__func__
    folders = [PARTS.MACHINE]
    if (packages := Path(PARTS.Place("packages"))).is_dir():
        folders += sorted(packages.iterdir())
    found = sampled(folders, per_folder=16, per_suffix=800, seed=0)
    equal = other = 0
    for path in found:
        ours = ends_of(path)
        if ours is None:
            continue
        with open(path, "rb") as file:
            own = extracted(Seekable(file), 1024, 0, 1024, PADDING, 4096, False)
        same = ours.tolist() == own.beg + own.end
        equal, other = equal + same, other + (not same)
    return {"files": equal + other, "equal": equal}


def timed():
    """Return microseconds a file of both, in this process, on one thread, in turns."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = threads.inter_op_num_threads = 1
    teacher = onnxruntime.InferenceSession(
        str(PARTS.model_path()), threads, providers=["CPUExecutionProvider"]
    )
    path = Path(PARTS.Place("students", "seed_0.tflite"))
    student = Interpreter(str(path), num_threads=1)
    student.allocate_tensors()
    number = student.get_input_details()[0]["index"]
    with np.load(Path(PARTS.Place("files.npz"))) as arrays:
        files = arrays["test"][:20, None]

    def by_student(file):
        student.set_tensor(number, file)
        student.invoke()

    seconds = {"teacher": [], "student": []}
    asked = {"teacher": lambda file: teacher.run(None, {"bytes": file}), "student": by_student}
    for _ in range(10):
        for name, ask in asked.items():
            for file in files:
                began = time.perf_counter()
                ask(file)
                seconds[name].append(time.perf_counter() - began)
    microseconds = {name: 1e6 * float(np.median(each)) for name, each in seconds.items()}
    sizes = {"teacher": PARTS.model_path().stat().st_size, "student": path.stat().st_size}
    machine = kd.experiment.Result if False else None
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine().items())
    return {
        "microseconds": microseconds,
        "bytes": sizes,
        "files": len(files),
        "rounds": 10,
        "machine": machine,
    }


def document():
    """Return the section from the results that are there."""
    found = read("magika")
    runs = [each for name, each in found.items() if name.startswith("seed_")]
    teacher, clock, equal = found["teacher"], found["time"], found["bytes"]
    files, rows = teacher["files"], []
    for who, title in TITLES.items():
        each = [run["students"][who] for run in runs]
        rows.append([title, _mean(each, "agreement"), _mean(each, "by_suffix")])
    integers = [run["students"]["int8"] for run in runs]
    files_of = "the distilled student as int8 `.tflite`"
    rows.insert(1, [files_of, _mean(integers, "agreement"), _mean(integers, "by_suffix")])
    rows.insert(0, ["teacher", "", f"{100 * teacher['by_suffix']:.1f} %"])
    sizes, times = clock["bytes"], clock["microseconds"]
    return "\n".join(
        [
            "## A production classifier of file contents, distilled\n",
            "Written by `benchmarks/scripts/file_contents.py` from `results/magika.json`. Teacher: "
            f"`magika`, {len(teacher['kinds'])} kinds. {files['train']:,} files to train, "
            f"{files['test']:,} to test, of packages that were never seen. Mean over {len(runs)} "
            'seeds (95 % interval). "Suffix": the share that is right where the suffix says the '
            f"kind, {teacher['told_by_suffix']:,} of the test files. The bytes that we read were "
            f"the package's own on {equal['equal']:,} of {equal['files']:,} sampled files.\n",
            *_table(["", "agrees with the teacher", "suffix"], rows),
            "",
            *(f"Distilled over {TITLES[who]}: {_gain(runs, who)}.\n" for who in WHO[1:]),
            *_table(
                ["", "bytes", "microseconds a file"],
                [
                    ["teacher, ONNX Runtime", f"{sizes['teacher']:,}", f"{times['teacher']:,.0f}"],
                    ["student, LiteRT", f"{sizes['student']:,}", f"{times['student']:,.0f}"],
                ],
            ),
            f"\nBoth in one process, on one thread, in turns: median of {clock['rounds']} rounds "
            f"over {clock['files']} files. {clock['machine']}.\n",
            "Agreement for each kind, as the teacher says it, with enough test files:\n",
            *_table(["kind", "test files", *TITLES.values()], _kinds(runs, teacher["kinds"])),
            "",
        ]
    )


def _mean(runs, name):
    values = [run[name] for run in runs]
    found = judged(values)
    text = f"{100 * found['mean']:.1f} %"
    if found["interval_95"]:
        low, high = found["interval_95"]
        text += f" ({100 * low:.1f} to {100 * high:.1f})"
    return text


def _gain(runs, other):
    """Return the points of agreement gained over another student, paired by seed."""
    pairs = [(run["students"]["distilled"], run["students"][other]) for run in runs]
    found = judged([ours["agreement"] - each["agreement"] for ours, each in pairs])
    text = f"{100 * found['mean']:+.2f} points of agreement"
    if found["interval_95"]:
        low, high = found["interval_95"]
        text += f" ({100 * low:+.2f} to {100 * high:+.2f}), {found['verdict']}"
    return text


def _kinds(runs, counts):
    kinds = runs[0]["students"]["distilled"]["kinds"]
    for kind in sorted(kinds, key=lambda kind: -counts[kind]):
        shares = [[run["students"][who]["kinds"][kind] for run in runs] for who in WHO]
        yield [kind, str(counts[kind]), *(f"{100 * np.mean(each):.0f} %" for each in shares)]


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
