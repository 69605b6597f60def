"""The report page in a browser: no script error, no empty plot, no name taken for code."""

import html
import json
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

import keras_kd as kd
from keras_kd.experiment import page, plots
from keras_kd.experiment.compare import summary
from keras_kd.runs import evaluation
from keras_kd.runs.keeper import Trained

# A user's classes may be called anything.
CLASS_NAMES = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "a & $b$"]
GENERATOR = np.random.default_rng(0)
TEST = kd.data.Split(
    GENERATOR.integers(0, 256, (60, 6, 6, 1), dtype=np.uint8), np.arange(60, dtype=np.int32) % 3
)
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--hide-scrollbars", "--disable-background-networking", "--disable-sync",
    "--disable-component-update",
]  # fmt: skip
WATCH = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(event.message || "a file did not load"), true);
</script>"""
# An empty plot has its background and four edges, and no image.
PROBE = """<script>
const widths = () =>
  [...document.querySelectorAll(".bar")].map((bar) => parseFloat(bar.style.width));
const before = widths();
const slider = document.getElementById("temperature");
if (slider) { slider.value = 100; slider.dispatchEvent(new Event("input")); }
const plots = [...document.querySelectorAll(".panels svg")].map((svg) =>
  [...svg.querySelectorAll("g[id^=axes_]")].map((axes) =>
    [...axes.querySelectorAll("path, use, image")].filter((element) => {
      const box = element.getBoundingClientRect();
      return !element.closest("[id^='matplotlib.axis']") && box.width + box.height > 3;
    }).reduce((sum, element) => sum + (element.tagName === "image" ? 10 : 1), 0)));
const found = { problems, plots, before, after: widths(), title: document.title,
  width: document.documentElement.scrollWidth, texts: [...document.querySelectorAll("svg text")]
    .map((text) => parseFloat(getComputedStyle(text).fontSize)
      * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)),
  colours: [...new Set([...document.querySelectorAll("svg text, td, h1, figcaption")]
    .map((each) => getComputedStyle(each)[each.tagName === "text" ? "fill" : "color"]))],
  images: [...document.images].map((image) => image.complete && image.naturalWidth > 0) };
const probe = document.createElement("pre");
probe.id = "probe";
probe.textContent = JSON.stringify(found);
document.body.append(probe);
</script>"""


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def config(kind):
    return {
        "kind": kind, "recipe": "mine <b>", "command": "keras-kd <x>",
        "options": {"seeds": [0, 1]} if kind == "compare" else {"seed": 0},
    }  # fmt: skip


def curves():
    values = GENERATOR.uniform(0.3, 0.9, 5).tolist()
    return {"loss": values, "val_accuracy": values, "best_epoch": 3, "seconds": 1.0}


def one_seed(folder, seed, names=("teacher", "student_alone", "label_smoothing", "student")):
    """Leave in a folder what a seed of untrained models would; return its figures."""
    keras.utils.set_random_seed(seed)
    folder.mkdir(parents=True)
    trained = {
        name: Trained(kd.models.mlp([4], image_shape=(6, 6, 1), num_classes=3), curves())
        for name in names
    }
    for name, (model, _) in trained.items():
        model.save(folder / f"{name}.keras")
    _, figures = evaluation.evaluate(trained, TEST, folder)
    models = evaluation.describe_models(folder, trained, figures)
    curves_ = {name: each.curves for name, each in trained.items()}
    return {"seed": seed, "seconds": 9.0, "models": models, "curves": curves_}


DATA = {"name": "mine", "class_names": CLASS_NAMES, "test": 60, "validation": 30}


def comparison(folder):
    runs = [one_seed(folder / f"seed_{seed}", seed) for seed in (0, 1)]
    for run in runs:
        write(folder / f"seed_{run['seed']}" / "results.json", run)
    results = {"kind": "compare", "recipe": "mine <b>", "seeds": [0, 1], "data": DATA}
    results["seconds"] = 9.0
    write(folder / "config.json", config("compare"))
    write(folder / "results.json", {**results, **summary(runs)})
    return folder


def single(folder):
    run = one_seed(folder, 0, ("teacher", "student", "student_alone"))
    gain = {"accuracy": 0.01, "interval_95": [-0.01, 0.03]}
    litert = {
        "bytes": 8000, "accuracy": 0.5, "agreement_with_keras": 1.0,
        "microseconds_per_image": 1.5, "images": 60,
    }  # fmt: skip
    write(folder / "config.json", config("run"))
    results = {"recipe": "mine <b>", "data": DATA, "gain": gain, "litert": litert}
    write(folder / "results.json", {**run, **results})
    return folder


def swept(folder):
    run = one_seed(folder, 0, ("teacher", "student_alone", "student"))
    figures = run["models"]["student"]["test"]
    validation = {**figures, "per_class_accuracy": [0.2, 0.5, 0.8]}
    cells = [
        {
            "name": f"mine_{alpha}", "loss": "<i>mine", "temperature": 2.0, "alpha": alpha,
            "epochs": 5, "best_epoch": 3, "validation": {**validation, "accuracy": alpha},
        }
        for alpha in (0.1, 0.9)
    ]  # fmt: skip
    run["curves"] = {**run["curves"], "mine_0.1": curves(), "mine_0.9": run["curves"]["student"]}
    del run["curves"]["student"]
    beside = dict.fromkeys(("teacher", "student_alone"), validation)
    results = {"recipe": "mine <b>", "data": DATA, "cells": cells, "best": "mine_0.9"}
    write(folder / "config.json", config("sweep"))
    write(folder / "results.json", {**run, **results, "kind": "sweep", "validation": beside})
    return folder


KINDS = {"compare": comparison, "run": single, "sweep": swept}
# Curves on validation, closer and, where it was written down, in training; reliability of each
# model; the files.
NUM_PLOTS = {"compare": 2 + 4 + 1, "run": 2 + 3 + 1, "sweep": 2 + 3 + 1}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind."""
    root = tmp_path_factory.mktemp("pages")
    return {kind: page.write_report(make(root / kind)) for kind, make in KINDS.items()}


def looked_at(path, tmp_path, *flags, frame="{}"):
    """Open a page in a browser without a screen, move its slider, and return what is seen."""
    if BROWSER is None:
        pytest.skip("Chromium is missing (Debian: apt-get install chromium).")
    text = path.read_text("utf-8")
    watched = text.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{PROBE}</body>", 1)
    copy = tmp_path / "watched.html"
    copy.write_text(
        frame.replace("{}", html.escape(watched) if frame != "{}" else watched), "utf-8"
    )
    command = [BROWSER, *FLAGS, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    result = subprocess.run(
        [*command, copy.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    probe = re.search(r'<pre id="probe">(.*?)</pre>', result.stdout, flags=re.DOTALL)
    assert probe, result.stderr
    return json.loads(probe[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.fixture(scope="module")
def seen(pages, tmp_path_factory):
    """What a browser sees of each page, in the light."""
    return {
        kind: looked_at(path, tmp_path_factory.mktemp("look"), *in_scheme(1))
        for kind, path in pages.items()
    }


def in_scheme(number):
    """Return the flags for a light (1) or a dark (0) browser."""
    return [f"--blink-settings=preferredColorScheme={number}"]


def assert_good(seen, kind):
    assert seen["problems"] == []
    assert len(seen["plots"]) == NUM_PLOTS[kind]
    assert all(axes > 5 for plot in seen["plots"] for axes in plot) and all(seen["plots"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_finds_no_error_and_no_empty_plot(kind, seen):
    assert_good(seen[kind], kind)
    assert seen[kind]["title"].startswith("mine <b>: ")
    assert seen[kind]["images"] and all(seen[kind]["images"])


# Headless, a window is never narrower than 500 pixels; a frame is.
PHONE = """<body><iframe style="width: 390px; height: 9000px; border: 0" srcdoc="{}"></iframe>
<script>
onload = () => document.body.append(frames[0].document.getElementById("probe").cloneNode(true));
</script>"""


@pytest.mark.parametrize("kind", ["compare", "sweep"])
def test_on_a_phone_nothing_runs_over_and_what_is_written_can_be_read(kind, pages, tmp_path):
    seen = looked_at(pages[kind], tmp_path, frame=PHONE)
    assert seen["width"] == 390
    assert len(seen["texts"]) > 50 and min(seen["texts"]) >= 11


def test_in_the_dark_every_word_is_light(pages, seen, tmp_path):
    dark = looked_at(pages["run"], tmp_path, *in_scheme(0))
    assert all(luminance(colour) < 0.4 for colour in seen["run"]["colours"])
    assert all(luminance(colour) > 0.6 for colour in dark["colours"])


def luminance(colour):
    return np.mean([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255


def test_every_figure_says_what_it_shows(pages):
    text = pages["compare"].read_text()
    drawn = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert len(drawn) == NUM_PLOTS["compare"]
    assert drawn[0].startswith("Accuracy on validation by epoch. In the epochs kept: teacher ")
    assert all(re.search(r"\d %", alt) for alt in drawn)
    strips = re.findall(r'role="img" aria-label="([^"]+)" style', text)
    assert strips[0].startswith("Points of accuracy of the distilled student over each other model")


def test_the_slider_softens_the_distributions(pages, seen):
    sharp, soft = (np.array(seen["run"][when]).reshape(-1, 3, 2) for when in ("before", "after"))
    for shares in (sharp, soft):
        np.testing.assert_allclose(shares.sum(axis=1), 100, atol=0.05)
    with np.load(pages["run"].parent / "predictions.npz") as kept:
        first = kept["shown"][0]
        for column, name in enumerate(("teacher", "student")):
            for shares, temperature in ((sharp, 1), (soft, 20)):
                exponentials = np.exp(kept[f"logits/{name}"][first].astype(float) / temperature)
                expected = 100 * exponentials / exponentials.sum()
                np.testing.assert_allclose(shares[0, :, column], expected, atol=0.02)


class TestTheLookItselfFindsFaults:
    def test_a_script_error(self, pages, tmp_path):
        broken = tmp_path / "broken.html"
        broken.write_text(pages["run"].read_text().replace('"examples": [', '"examples": [,', 1))
        with pytest.raises(AssertionError, match="JSON"):
            assert_good(looked_at(broken, tmp_path), "run")

    def test_an_empty_plot(self, tmp_path, monkeypatch):
        def empty(*args):
            figure = Figure()
            figure.subplots()
            return [plots.svg(figure, "")]

        monkeypatch.setattr(plots, "curves", empty)
        path = page.write_report(single(tmp_path / "run"))
        with pytest.raises(AssertionError):
            assert_good(looked_at(path, tmp_path), "run")


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_one_file_and_names_are_no_code(kind, pages):
    text = pages[kind].read_text("utf-8")
    assert not re.search(r'\b(?:src|href)\s*=\s*"?(?!["#]|data:|image)\w+:', text)
    assert "<script>alert" not in text and "<img src=x" not in text and "<b>" not in text
    assert text.count("<script") == 2  # The data and the slider.
    assert "keras-kd &lt;x&gt;" in text


def test_the_verdict_comes_first(pages):
    text = pages["compare"].read_text("utf-8")
    assert text.index('class="verdict') < text.index("<table")
    results = json.loads((pages["compare"].parent / "results.json").read_text())
    assert results["verdict"] == "NO VERDICT"
    assert "<p>No verdict, since fewer than three seeds cannot tell: " in text


@pytest.mark.parametrize(
    ("verdict", "better"), [("BEATS", "student"), ("DOES NOT BEAT", "student_alone")]
)
def test_the_verdict_has_the_colour_of_the_better_student(verdict, better, pages, tmp_path):
    folder = shutil.copytree(pages["compare"].parent, tmp_path / "compare")
    results = json.loads((folder / "results.json").read_text())
    write(folder / "results.json", {**results, "verdict": verdict})
    assert f'class="verdict {better}"' in page.write_report(folder).read_text()


def test_data_time_and_machine_are_said_as_far_as_they_are_known(pages, tmp_path):
    assert (
        "Data: mine, 30 to validate, 60 to test. It took 0:09 minutes.<" in pages["run"].read_text()
    )
    folder = shutil.copytree(pages["run"].parent, tmp_path / "run")
    write(folder / "config.json", {**config("run"), "machine": {"device": "an abacus"}})
    assert "It took 0:09 minutes on an abacus.<" in page.write_report(folder).read_text()


def test_a_command_in_the_verdict_is_code(pages):
    assert "<code>keras-kd compare</code> tells over seeds" in pages["sweep"].read_text()


def test_sizes_and_times_are_shown_where_files_were_run(pages):
    assert "student.tflite" in pages["run"].read_text()
    assert "student.tflite" not in pages["compare"].read_text()


def test_a_run_without_an_end_has_no_report(tmp_path, pages):
    folder = shutil.copytree(pages["run"].parent, tmp_path / "run")
    (folder / "results.json").unlink()
    with pytest.raises(ValueError, match=r"is not finished. Go on with it: `keras-kd resume"):
        page.write_report(folder)
    with pytest.raises(FileNotFoundError, match="There is no run"):
        page.write_report(tmp_path)


def test_the_same_run_makes_the_same_page(pages):
    before = pages["run"].read_bytes()
    assert page.write_report(pages["run"].parent).read_bytes() == before


def test_a_student_that_never_differs_has_no_gallery(tmp_path):
    folder = single(tmp_path / "run")
    with np.load(folder / "predictions.npz") as kept:
        arrays = dict(kept)
    arrays |= {"shown": np.empty(0, int), "images": np.empty((0, 6, 6, 1), np.uint8)}
    np.savez(folder / "predictions.npz", **arrays)
    path = page.write_report(folder)
    assert "They predict the same class" in path.read_text()
    assert_good(looked_at(path, tmp_path), "run")
