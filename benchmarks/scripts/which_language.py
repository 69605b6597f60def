"""The recipe `languages`: what its int8 files are worth, language by language, and how fast.

Command: `python benchmarks/scripts/recipes.py languages --seeds 5`, then `python
benchmarks/scripts/which_language.py --files`; `--time` measures, in the file and in Chromium.
Without any it only writes the document anew.
Cost: the recipe's docstring says that of the comparison; the files of five students, 2 minutes.
Writes: `benchmarks/results/languages.json` and its section of `benchmarks/recipes.md`.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from pages import write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd.experiment.statistics import judged

RECIPE = kd.recipes.languages
COMPARED = Path("saved_models/languages_compare")
WHO = {"teacher": "teacher", "student": "distilled", "student_alone": "alone"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", action="store_true", help="write int8 files, and run them")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    if options.files:
        data = RECIPE.data(0)
        update("languages", "pieces", pieces_of(data))
        for folder in sorted(COMPARED.glob("seed_*")):
            update("languages", folder.name, files_of(folder, data))
    if options.time:
        update("languages", "time", timed())
    write_section("recipes.md", "languages", document())


def pieces_of(data):
    """Return how many pieces each language has in each split."""
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    counts = {name: np.bincount(split.labels).tolist() for name, split in splits.items()}
    return {
        name: {split: each[number] for split, each in counts.items()}
        for number, name in enumerate(data.class_names)
    }


def files_of(folder, data):
    """Return the figures of a seed's student as an int8 file, and of its three models."""
    found = {}
    for who in WHO:
        model = keras.models.load_model(folder / f"{who}.keras")
        logits = model.predict(data.test.images, batch_size=500, verbose=0)
        found[who] = figures(logits, data)
        if who == "student":
            said, student = logits.argmax(-1), model
    path = kd.export.litert(
        student, folder / "student_int8.tflite", quantization="int8", calibration=data.train,
        class_names=data.class_names, reads=data.reads,
    )  # fmt: skip
    logits = kd.export.run_litert(path, data.test.images).logits
    same = float((logits.argmax(-1) == said).mean())
    file = {"bytes": path.stat().st_size, "agrees_with_student": same}
    return {"models": found, "int8": figures(logits, data) | file}


def figures(logits, data):
    """Return the share of test pieces that is right, of all and of each language."""
    right = logits.argmax(-1) == data.test.labels
    each = [float(right[data.test.labels == label].mean()) for label in range(data.num_classes)]
    return {
        "accuracy": float(right.mean()),
        "languages": dict(zip(data.class_names, each, strict=True)),
    }


def timed():
    """Return texts a second, on one thread, of the first seed's int8 file."""
    data, path = RECIPE.data(0), COMPARED / "seed_0" / "student_int8.tflite"
    run = kd.export.run_litert(path, data.test.images[:1000])
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine().items())
    return {
        "file": run.microseconds,
        "browser": in_the_browser(path),
        "pieces": 1000,
        "machine": machine,
    }


def in_the_browser(path):
    """Return microseconds a text of a file, as the page of `keras-kd serve` says it in Chromium."""
    from selenium import webdriver

    from keras_kd.serve.content import content_of
    from keras_kd.serve.server import server_of

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, folder)
        content = content_of(folder)
    with server_of(content) as server:
        threading.Thread(target=server.serve_forever).start()
        driver.get(f"http://127.0.0.1:{server.server_port}/")
        while " ms " not in (said := driver.find_element("id", "about").text):
            time.sleep(0.1)
        server.shutdown()
    driver.quit()
    return 1000 * float(said.split(", ")[-1].split(" ms ")[0])


def document():
    """Return the section from the results that are there."""
    found, compared = read("languages"), read("recipes")["languages"]
    runs = [each for name, each in found.items() if name.startswith("seed_")]
    pieces, clock = found["pieces"], found["time"]
    sizes = [run["int8"]["bytes"] for run in runs]
    gains = {name: each["accuracy"] for name, each in compared["gains"].items()}
    behind = judged([_accuracy(run, "teacher") - run["int8"]["accuracy"] for run in runs])
    low, high = behind["interval_95"]
    rows = [
        [who, f"{100 * np.mean(each):.1f} %", f"{100 * np.std(each, ddof=1):.1f}"]
        for who, each in {
            **{title: [_accuracy(run, who) for run in runs] for who, title in WHO.items()},
            "distilled, as the int8 file": [run["int8"]["accuracy"] for run in runs],
        }.items()
    ]
    return "\n".join(
        [
            "## Which language is this?\n",
            "Written by `benchmarks/scripts/which_language.py` from `results/languages.json` and, "
            f"of the gains, `results/recipes.json`. {len(pieces)} languages, pieces of some words "
            f"of manual pages: {_count(pieces, 'train'):,} to train on, of which "
            f"{RECIPE.labels:,} have a label, and {_count(pieces, 'test'):,} of pages that were "
            f"never seen. {len(runs)} seeds, each with labels of its own.\n",
            *_table(["", "right", "standard deviation over seeds, points"], rows),
            "",
            *(f"- Distilled over {_TITLES[name]}: {_gain(each)}." for name, each in gains.items()),
            f"- The int8 file is {_points(-behind['mean'])} points ({_points(-high)} to "
            f"{_points(-low)}) from its teacher. It has {min(sizes):,} to {max(sizes):,} bytes, "
            f"and says what its student says of {_least(runs):.1f} % of the pieces at least.",
            f"- It reads {_rate(clock['file'])} texts a second, in Chromium "
            f"{_rate(clock['browser'])}, both on one thread. {clock['machine']}.\n",
            "Each language, mean over seeds. Pieces to train on, to validate, to test:\n",
            *_table(["language", "pieces", *WHO.values(), "int8 file"], _languages(runs, pieces)),
            "",
        ]
    )


_TITLES = {
    "teacher": "its teacher",
    "student_alone": "the same student alone",
    "label_smoothing": "the same student on smoothed labels",
    "teacher_labels": "the same student on the teacher's hard labels",
}


def _accuracy(run, who):
    return run["models"][who]["accuracy"]


def _count(pieces, split):
    return sum(each[split] for each in pieces.values())


def _least(runs):
    return 100 * min(run["int8"]["agrees_with_student"] for run in runs)


def _rate(microseconds):
    return f"{1e6 / microseconds:,.0f}"


def _points(share):
    return f"{100 * share:+.2f}"


def _gain(gain):
    text = f"{_points(gain['mean'])} points"
    if gain["interval_95"]:
        low, high = gain["interval_95"]
        text += f" ({_points(low)} to {_points(high)}), {gain['verdict']}"
    return text


def _languages(runs, pieces):
    for name, counts in pieces.items():
        models = [[run["models"][who]["languages"][name] for run in runs] for who in WHO]
        models.append([run["int8"]["languages"][name] for run in runs])
        said = ", ".join(f"{each:,}" for each in counts.values())
        yield [name, said, *(f"{100 * np.mean(each):.0f} %" for each in models)]


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
