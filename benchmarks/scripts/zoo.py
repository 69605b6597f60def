"""Train the students of the zoo, run their files on the test images, and write their cards.

Command: `python benchmarks/scripts/zoo.py`; a training that is finished is not done again. With
`--cards` it only writes the cards and tables anew.
Cost: about ten minutes on two cores.
Writes: `saved_models/zoo/`, `benchmarks/results/zoo.json`, and the tables of
`saved_models/README.md` and `docs/guides/zoo.md`.

All are of seed 0, which was said before any of them was trained: none was chosen for its figure.
Weights of `.keras` files are rounded to half precision and packed, which halves the files; what the
cards say is measured with these very files.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from pages import PAGES, write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd._common.files import sha256_of, written_whole
from keras_kd._common.model_files import load_model_file
from keras_kd.experiment.report import verdict
from keras_kd.runs.evaluation import logits_of

ROOT = PAGES.parent
RUNS, ZOO = ROOT / "saved_models", ROOT / "saved_models" / "zoo"
SEED = 0
# Of the twin: as in `export.py`.
TWIN_EPOCHS, TWIN_RATE, TEMPERATURE, ALPHA = 5, 1e-4, 2.0, 0.5

_TEACHER = "saved_models/atlas/teachers/fashion_mnist_all_0.keras"
_CONV = [
    f"PYTHONPATH=benchmarks python -m regimes.teachers fashion_mnist {SEED}",
    f"keras-kd distill --teacher {_TEACHER} --data fashion_mnist --student conv:16-32 "
    "--temperature 2 --alpha 0.5 --epochs 15 --formats int8 "
    "--output saved_models/fashion_mnist_conv_distill",
]


def _by_recipe(recipe):
    return [f"keras-kd distill {recipe} --formats int8"]


@dataclasses.dataclass(frozen=True)
class Student:
    """A file of the zoo.

    Args:
        what: it is, in words that follow "A".
        teacher: of whom it learned, in words that follow "a".
        run: the folder of its run, below `saved_models/`.
        commands: that train it.
        source: its file in that folder.
        note: what else its reader must know, a sentence.
    """

    what: str
    teacher: str
    run: str
    commands: list[str]
    source: str = "student.keras"
    note: str = ""


def _both(name, **told):
    """Return a student and its integer file, which is a plain conversion of it."""
    return {
        name: Student(**told),
        f"{name}_int8": Student(
            **told,
            source="student_int8.tflite",
            note="Its float student was converted after training: nothing was learned in integers.",
        ),
    }


_conv = {
    "what": "net of two convolutions, of 16 and 32 filters",
    "teacher": "conv net of 32, 64 and 64 filters",
    "run": "fashion_mnist_conv_distill",
}
STUDENTS = {
    **_both(
        "fashion_mnist/mlp",
        what="perceptron of 128 hidden units",
        teacher="perceptron of three layers of 128 units",
        run="fashion_mnist_mlp_distill",
        commands=_by_recipe("fashion_mnist_mlp"),
    ),
    **_both(
        "fashion_mnist/few_labels",
        what="perceptron of 128 hidden units that saw 500 labels",
        teacher="conv net that saw the same 500 labels",
        run="fashion_mnist_few_labels_distill",
        commands=_by_recipe("fashion_mnist_few_labels"),
    ),
    "fashion_mnist/conv": Student(**_conv, commands=_CONV),
    "fashion_mnist/conv_int8": Student(
        **_conv,
        commands=[*_CONV, "python benchmarks/scripts/zoo.py"],
        source="twin_int8.tflite",
        note="Its integers were distilled: after the float training, the student's twin, which "
        f"computes what the file computes, learned from the same teacher for {TWIN_EPOCHS} epochs "
        f"(Adam at {TWIN_RATE:g}, T = {TEMPERATURE:g}, alpha = {ALPHA:g}).",
    ),
    **_both(
        "mnist/mlp",
        what="perceptron of 32 hidden units",
        teacher="perceptron of 128 and 64 units",
        run="mnist_mlp_distill",
        commands=_by_recipe("mnist_mlp"),
    ),
    **_both(
        "digits/mlp",
        what="perceptron of 16 hidden units",
        teacher="perceptron of three layers of 128 units",
        run="digits_distill",
        commands=_by_recipe("digits"),
    ),
}

# What a card says of the data: its name, what it is and whose, and what it must not be taken for.
DATA = {
    "fashion_mnist": (
        "Fashion-MNIST",
        "Pictures of articles from Zalando's shop, grey, 28x28, one article in the middle of a "
        "black ground (Xiao, Rasul and Vollgraf 2017). Licence: MIT.",
        "Do not use it to sort goods, or photographs of people: it has never seen colour, a "
        "background, a worn garment or two articles at once.",
    ),
    "mnist": (
        "MNIST",
        "Handwritten digits of employees of the US Census Bureau and of high school students, "
        "grey, 28x28, centred (LeCun, Cortes and Burges 1998). Licence: CC BY-SA 3.0.",
        "Do not use it to read cheques, forms, postcodes or anything that somebody relies on: it "
        "knows the hands of one country and time, and one centred digit at a time.",
    ),
    "digits": (
        "the digits inside scikit-learn",
        "Handwritten digits of 13 people, 8x8, 17 shades (Alpaydin and Kaynak 1998, the test part "
        "of the UCI set). Licence: CC BY 4.0.",
        "Do not use it to read anything that somebody relies on: 8x8 pixels and 1,295 examples are "
        "enough to try a tool, and for nothing else.",
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cards", action="store_true", help="train and measure nothing")
    if not parser.parse_args().cards:
        for name in STUDENTS:
            made(name)
    write_pages()


def made(name):
    """Train a student if it is not trained, pack it, and keep what its file is worth."""
    student = STUDENTS[name]
    folder = RUNS / student.run
    if not (folder / "results.json").exists():
        (RUNS / f"{student.run}_commit").write_text(_commit())
        for command in student.commands:
            if command != "python benchmarks/scripts/zoo.py":
                print(f"$ {command}", flush=True)
                subprocess.run(_on_this_python(command), shell=True, check=True, cwd=ROOT)
    commit = RUNS / f"{student.run}_commit"
    if student.source.startswith("twin"):
        commit = folder / "twin_commit"
        twin(folder)
    results = json.loads((folder / "results.json").read_text())
    data = kd.data.load(name.split("/")[0], seed=SEED)
    path = ZOO / f"{name}{Path(student.source).suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    pack(folder / student.source, path)
    answers, teacher = logits(path, data), folder / f"seed_{SEED}" / "teacher.keras"
    teacher = load_model_file(teacher if teacher.exists() else ROOT / _TEACHER, "teacher")
    models = results["models"]
    update(
        "zoo",
        name,
        {
            "file": path.name,
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
            "images": len(data.test),
            "accuracy": kd.metrics.accuracy(data.test.labels, answers),
            "agreement_with_teacher": kd.metrics.agreement(answers, logits_of(teacher, data.test)),
            "parameters": models["student"]["parameters"],
            "seed": SEED,
            "data": results["data"],
            "models": {
                model: {
                    "accuracy": each["test"]["accuracy"],
                    "agreement_with_teacher": each["test"].get("agreement_with_teacher"),
                    "parameters": each["parameters"],
                }
                for model, each in models.items()
            },
            "converted": results["export"]["files"][0]["accuracy"],
            "gain": results["gain"],
            "commit": commit.read_text().strip(),
            "machine": describe_machine(),
        },
    )
    print(f"{name}: {path.stat().st_size:,} bytes", flush=True)


def twin(folder):
    """Distil the integers of a run's student from its teacher, and write its twin's file."""
    path = folder / "twin_int8.tflite"
    if path.exists():
        return
    (folder / "twin_commit").write_text(_commit())
    data = kd.data.load("fashion_mnist", seed=SEED)
    keras.utils.set_random_seed(SEED)
    distiller = kd.Distiller(
        student=kd.quantize.prepare(
            load_model_file(folder / "student.keras", "student"),
            weights="int8",
            calibration=data.train,
        ),
        teacher=kd.load_teacher(ROOT / _TEACHER),
        distillation_loss=kd.losses.SoftTargets(TEMPERATURE),
        alpha=ALPHA,
    )
    distiller.compile(keras.optimizers.Adam(TWIN_RATE), metrics=["accuracy"])
    distiller.fit(
        data.train.batches(64, shuffle_seed=SEED),
        validation_data=data.validation.batches(1000),
        epochs=TWIN_EPOCHS,
        shuffle=False,
        verbose=2,
        callbacks=[kd.callbacks.EarlyStopping(patience=TWIN_EPOCHS)],
    )
    kd.export.litert(
        distiller.student, path, quantization="int8", class_names=list(data.class_names)
    )


def pack(source, path):
    """Copy a student to its place in the zoo, a `.keras` file at half its size."""
    with written_whole(path) as unfinished:
        if source.suffix == ".tflite":
            unfinished.write_bytes(source.read_bytes())
            return
        model = kd.export.uncompiled(load_model_file(source, "student"))
        # Float32 whose last bits are 0: Keras computes as before, and the bits pack away.
        model.set_weights([w.astype("float16").astype("float32") for w in model.get_weights()])
        loose = source.with_name("rounded.keras")
        model.save(loose)
        members = _members(loose) | {"metadata.json": _members(source)["metadata.json"]}
        with zipfile.ZipFile(unfinished, "w") as packed:
            for member, content in members.items():
                # Fixed dates: packed again, the file has the same bytes.
                entry = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
                packed.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
        loose.unlink()


def _members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def logits(path, data):
    """Return what a file of the zoo answers to the test images."""
    if path.suffix == ".tflite":
        return kd.export.run_litert(path, data.test.images).logits
    return logits_of(load_model_file(path, "student"), data.test)


def write_pages():
    """Write every card, and the table where the zoo is told of."""
    found = read("zoo")
    for name in STUDENTS:
        path = ZOO / f"{name}.md"
        path.write_text(card(name, found[name]))
    write_section("saved_models/README.md", "zoo", table(found, "zoo/"), folder=ROOT)
    write_section("docs/guides/zoo.md", "zoo", table(found), folder=ROOT)


CARD = """\
# {name}

{what}

| | |
| --- | --- |
| file | `{file}`, {bytes:,} bytes, {parameters:,} parameters |
| open it | `kd.zoo.load("{name}")`: {opened} |
| takes | images `{shape}`, raw pixels, 0 to 255 |
| returns | {returned} |
| classes | {classes} |
| licence | Apache 2.0, as keras_kd |

## What it is worth

{measured}

{figures}

{verdict}

## How it was made

```sh
{commands}
```

{made}

## Data

{data}

## Use

{use}
"""


def card(name, found):
    """Return the card of a student, in Markdown."""
    student, (data, source, never) = STUDENTS[name], DATA[name.split("/")[0]]
    counts, is_litert = found["data"], name.endswith("_int8")
    seen = f"{counts['train']:,} training images with their labels"
    if counts.get("unlabelled"):
        seen += f", and from {counts['unlabelled']:,} without"
    versions = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    rounded = "Its weights are rounded to half precision, to be half as large."
    opened, returned = "a `keras.Model`", "logits, before softmax"
    if is_litert:
        opened = "its path, for `kd.export.run_litert` and for LiteRT"
        returned = "int8 logits, which `run_litert` scales back"
    return CARD.format(
        **{key: found[key] for key in ("file", "bytes", "parameters")},
        name=name,
        what=_lines(
            f"A {student.what}, distilled from a {student.teacher}. It tells the "
            f"{len(counts['class_names'])} classes of {data} apart."
        ),
        opened=opened,
        shape=_shape(name),
        returned=returned,
        classes=", ".join(counts["class_names"]),
        measured=f"On the {found['images']:,} test images of {data}, by this very file:",
        figures=_figures(name, found),
        verdict=_lines(
            verdict(found["gain"]),
            f"That is of the student before it was {'converted' if is_litert else 'rounded'}.",
            student.note,
            "Its probabilities were not calibrated, and it names a class whatever it is shown.",
        ),
        commands="\n".join(student.commands),
        made=_lines(
            f"Seed {found['seed']}, said beforehand. The epoch was chosen on "
            f"{counts['validation']:,} validation images; no choice saw the test images.",
            "" if is_litert else rounded,
            f"Commit `{found['commit']}`.",
            f"{versions[0].upper()}{versions[1:]}.",
        ),
        data=_lines(source, f"It learned from {seen}."),
        use=_lines(
            "It is there to try keras_kd, LiteRT or an app with, to teach with, and to be compared "
            "with a student of yours.",
            never,
            "Decide nothing about a person by it.",
        ),
    )


def _lines(*sentences):
    return textwrap.fill(" ".join(filter(None, sentences)), 100, break_on_hyphens=False)


def _shape(name):
    return "[n, 8, 8, 1]" if name.startswith("digits") else "[n, 28, 28, 1]"


def _figures(name, found):
    models = found["models"]
    rows = [("**this file**", found)]
    before = "it was converted" if name.endswith("_int8") else "its weights were rounded"
    rows.append((f"the student before {before}", models["student"]))
    if STUDENTS[name].source.startswith("twin"):
        rows.append(("that student, converted as it is", {"accuracy": found["converted"]}))
    rows += [
        ("its teacher", {**models["teacher"], "agreement_with_teacher": None}),
        ("the same student alone, without a teacher", models["student_alone"]),
    ]
    return "\n".join(
        ["| | accuracy | agreement with the teacher |", "| --- | --- | --- |"]
        + [
            f"| {what} | {each['accuracy']:.4f} | {_share(each.get('agreement_with_teacher'))} |"
            for what, each in rows
        ]
    )


def _share(value):
    return "" if value is None else f"{value:.4f}"


def table(found, cards=None):
    """Return the table of all students; with `cards`, the place of their cards, it says more."""
    columns = ["name", "what it is", "KB", "accuracy", "its teacher", "alone"]
    rows = []
    for name, student in STUDENTS.items():
        each = found[name]
        teacher, alone = (each["models"][key]["accuracy"] for key in ("teacher", "student_alone"))
        figures = (each["accuracy"], teacher, alone)
        title = f"`{name}`" if cards is None else f"[`{name}`]({cards}{name}.md)"
        kilobytes = f"{each['bytes'] / 1000:.0f}"
        rows.append([title, student.what, kilobytes, *(f"{figure:.4f}" for figure in figures)])
    if cards is None:
        for row in (columns, *rows):
            del row[1]
    lines = [columns, ["---"] * len(columns), *rows]
    total = sum(found[name]["bytes"] for name in STUDENTS)
    said = f"Alone: the same student, without a teacher. All files together: {total:,} bytes."
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", said, ""])


def _on_this_python(command):
    """Return a command that runs with this Python, whatever is on the path."""
    python = f"{sys.executable} -m"
    return command.replace("keras-kd ", f"{python} keras_kd ").replace("python -m", python)


def _commit():
    asked = ["git", "rev-parse", "HEAD"]
    return subprocess.run(asked, cwd=ROOT, check=True, text=True, capture_output=True).stdout


if __name__ == "__main__":
    main()
