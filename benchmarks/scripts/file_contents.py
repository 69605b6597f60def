"""The recipe `magika`: the student, its two controls, and the teacher, on packages never seen.

Command: `python benchmarks/scripts/file_contents.py --seeds 5`; `--check` compares the bytes that
are read with the package's own, `--time` measures. Without any it only writes the document anew.
Whoever is stopped goes on at the next student; `--only distilled` leaves the controls for later.
Cost: with files and answers gathered (see the recipe), four to five minutes of one core a student.
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
    parser.add_argument("--only", nargs="+", choices=WHO, default=WHO, help="these students")
    parser.add_argument("--check", action="store_true", help="the bytes against the package's own")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    if options.check:
        update("magika", "bytes", checked())
    if options.seeds:
        data, suffixes = RECIPE.load(0), suffixes_of()
        update("magika", "teacher", teacher_of(data, suffixes))
        for seed in range(options.seeds):
            for who in options.only:
                students = read("magika").get(f"seed_{seed}", {})
                if who not in students:
                    found = student_of(who, seed, data, suffixes)
                    update("magika", f"seed_{seed}", students | found)
    if options.time:
        update("magika", "time", timed())
    write_section("recipes.md", "magika", document())


def suffixes_of():
    with np.load(PARTS.gathered()) as arrays:
        return {split: arrays[f"{split}_suffixes"] for split in ("train", "test")}


def student_of(who, seed, data, suffixes):
    """Return the figures of a student on the test files, by name; of the distilled its file's."""
    print(f"Seed {seed}, {who}", flush=True)
    began, student = time.process_time(), trained(who, seed, data, suffixes["train"])
    seconds = time.process_time() - began
    logits = student.predict(data.test.images, batch_size=512, verbose=0)
    found = {who: figures(logits, data, suffixes["test"]) | {"processor_seconds": seconds}}
    if who == "distilled":
        path = Path(PARTS.Place("students", f"seed_{seed}.tflite"))
        path.parent.mkdir(exist_ok=True)
        student.save(path.with_suffix(".keras"))
        kd.export.litert(
            student, path, quantization="int8", calibration=data.train.images[:500],
            class_names=data.class_names,
        )  # fmt: skip
        logits = kd.export.run_litert(path, data.test.images).logits
        found["int8"] = figures(logits, data, suffixes["test"]) | {"bytes": path.stat().st_size}
    for name, each in found.items():
        print(name, each["agreement"], each["by_suffix"], flush=True)
    return found


def trained(who, seed, data, suffixes):
    """Return a student of a seed: all have equal first weights, and equally many steps."""
    keras.utils.set_random_seed(seed)
    student = RECIPE.student((2048,), data.num_classes)
    train = data.train
    if who == "distilled":
        distiller = RECIPE.distiller_of(student, None)
        distiller.soft_labels = kd.SoftLabels(PARTS.Place("answers", "train"))
    else:
        distiller = kd.Distiller(student=student, alpha=0)
    if who == "suffixes":
        told = suffixes >= 0
        train = Split(data.train.images[told], suffixes[told])
        # As many steps: each file that has a suffix is seen more often.
        train = train.take(np.resize(np.arange(len(train)), len(data.train)))
    distiller.compile(RECIPE.optimizer_of("student", len(train)), metrics=["accuracy"])
    distiller.fit(
        train.batches(RECIPE.batch_size, shuffle_seed=seed),
        validation_data=data.validation.batches(500),
        epochs=RECIPE.epochs,
        verbose=2,
    )
    return distiller.student


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
    with np.load(PARTS.gathered()) as arrays:
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
    for who, title in (TITLES | {"int8": "the distilled student as int8 `.tflite`"}).items():
        each = [run[who] for run in runs if who in run]
        rows.append([title, str(len(each)), _mean(each, "agreement"), _mean(each, "by_suffix")])
    rows.insert(1, rows.pop())
    rows.insert(0, ["teacher", "", "", f"{100 * teacher['by_suffix']:.1f} %"])
    sizes, times = clock["bytes"], clock["microseconds"]
    return "\n".join(
        [
            "## A production classifier of file contents, distilled\n",
            "Written by `benchmarks/scripts/file_contents.py` from `results/magika.json`. Teacher: "
            f"`magika`, {len(teacher['kinds'])} kinds. {files['train']:,} files to train, "
            f"{files['validation']:,} to choose by, {files['test']:,} to test; all of each are of "
            "packages that the others have nothing of. Mean over seeds (95 % interval, where there "
            'are two or more). "Suffix": the share that is right where the suffix says the kind, '
            f"{teacher['told_by_suffix']:,} of the test files. The bytes that we read were the "
            f"package's own on {equal['equal']:,} of {equal['files']:,} sampled files.\n",
            *_table(["", "seeds", "agrees with the teacher", "suffix"], rows),
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
    if not values:
        return "not run"
    found = judged(values)
    text = f"{100 * found['mean']:.1f} %"
    if found["interval_95"]:
        low, high = found["interval_95"]
        text += f" ({100 * low:.1f} to {100 * high:.1f})"
    return text


def _gain(runs, other):
    """Return the points of agreement gained over another student, paired by seed."""
    pairs = [(run["distilled"], run[other]) for run in runs if {"distilled", other} <= set(run)]
    if not pairs:
        return "not run"
    found = judged([ours["agreement"] - each["agreement"] for ours, each in pairs])
    text = f"{100 * found['mean']:+.2f} points of agreement"
    if found["interval_95"]:
        low, high = found["interval_95"]
        return f"{text} ({100 * low:+.2f} to {100 * high:+.2f}), {found['verdict']}"
    return f"{text} on one seed"


def _kinds(runs, counts):
    kinds = runs[0]["distilled"]["kinds"]
    for kind in sorted(kinds, key=lambda kind: -counts[kind]):
        shares = [[run[who]["kinds"][kind] for run in runs if who in run] for who in WHO]
        said = (f"{100 * np.mean(each):.0f} %" if each else "" for each in shares)
        yield [kind, str(counts[kind]), *said]


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
