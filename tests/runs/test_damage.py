"""Folders that something damaged: each is judged by itself, in a sentence that names the file."""

import json
import os
import re
import shutil

import numpy as np
import pytest

import keras_kd as kd
from keras_kd import cli
from keras_kd._common.json_files import misfit, parsed, read_json
from keras_kd.runs import checkpoint
from keras_kd.runs.records import read_results

TEST = {
    "accuracy": 0.9,
    "negative_log_likelihood": 0.3,
    "expected_calibration_error": 0.01,
    "agreement_with_teacher": 0.95,
}
NAMES = ("teacher", "student", "student_alone")
CURVES = {
    "loss": [0.5, 0.4], "accuracy": [0.8, 0.9], "val_accuracy": [0.8, 0.9], "best_epoch": 2,
    "seconds": 1.0,
}  # fmt: skip
CONFIG = {
    "kind": "run", "recipe": "digits", "command": "keras-kd run digits", "settings": {},
    "options": {"seed": 0, "epochs": 2, "quick": False, "data_dir": None},
    "data": {}, "machine": {},
}  # fmt: skip
RESULTS = {
    "kind": "run", "recipe": "digits", "seed": 0, "seconds": 1.5,
    "data": {"name": "digits", "class_names": ["a", "$\\foo$"], "validation": 9, "test": 6},
    "models": {
        name: {"parameters": 10, "bytes": 100, "epochs": 2, "test": TEST} for name in NAMES
    },
    "gain": {"accuracy": 0.01, "interval_95": [-0.01, 0.03]},
    "litert": {
        "bytes": 100, "images": 6, "accuracy": 0.9, "agreement_with_keras": 1.0,
        "microseconds_per_image": 1.0,
    },
    "curves": dict.fromkeys(NAMES, CURVES),
}  # fmt: skip


def write_run(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "results.json").write_text(json.dumps(RESULTS))
    logits = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
    np.savez(
        folder / "predictions.npz",
        labels=np.arange(6) % 2,
        shown=np.array([1, 2]),
        images=np.zeros((2, 4, 4, 1), "uint8"),
        **{f"logits/{name}": logits for name in NAMES},
    )
    return folder


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


def changed(content, *path):
    """Return JSON in which the value at a path of names is another, or is missing."""
    *path, value = path
    content = json.loads(json.dumps(content))
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(content)


BY_CLASS = {**TEST, "per_class_accuracy": [0.9, 0.8]}
CELLS = [
    {
        "name": f"T{temperature}_a{alpha}", "loss": "SoftTargets", "temperature": temperature,
        "alpha": alpha, "epochs": 2, "validation": BY_CLASS,
    }
    for temperature in (1, 2)
    for alpha in (0.5, 0.9)
]  # fmt: skip
SWEEP = {
    **RESULTS, "kind": "sweep", "best": "T1_a0.5", "cells": CELLS,
    "validation": {"teacher": BY_CLASS, "student_alone": BY_CLASS},
}  # fmt: skip


def test_a_sweep_is_read_and_one_without_its_grid_is_named(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(SWEEP))
    assert read_results(tmp_path, "sweep") == SWEEP
    for broken in (
        changed(SWEEP, "cells", 1, "validation", "per_class_accuracy", []),
        changed(SWEEP, "cells", 1, "alpha", 0.7),
        changed(SWEEP, "cells", 1, "alpha", 0.5),
        changed(SWEEP, "cells", CELLS[:3]),
    ):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"Received: .*results.json, which is damaged: "):
            read_results(tmp_path, "sweep")


BROKEN = ["", "{", "null", "[1, 2]", "7", '"x"', "[" * 100_000, b"\xff\xfe\x00", b"\x80PNG"]
OF_CONFIG = [
    *BROKEN,
    "{}",
    changed(CONFIG, "options", KeyError),
    changed(CONFIG, "kind", "[/red]"),
    changed(CONFIG, "kind", ["run"]),
    changed(CONFIG, "recipe", 7),
    changed(CONFIG, "options", "seed", "x"),
    changed(CONFIG, "options", "seed", True),
    changed(CONFIG, "options", "epochs", [1]),
    changed(CONFIG, "options", "unheard", 1),
    changed({**CONFIG, "kind": "compare"}, "options", {"seeds": "x"}),
]
OF_RESULTS = [
    *BROKEN,
    changed(RESULTS, "models", KeyError),
    changed(RESULTS, "models", [1]),
    changed(RESULTS, "models", "student", "test", "accuracy", "0.9"),
    changed(RESULTS, "models", "student", "test", "accuracy", None),
    changed(RESULTS, "gain", "interval_95", 3),
    changed(RESULTS, "gain", "interval_95", [0.1]),
    changed(RESULTS, "models", "another", 7),
    changed(RESULTS, "data", "class_names", [1]),
    changed(RESULTS, "curves", "student", "best_epoch", 3),
    changed(RESULTS, "curves", "student", "val_accuracy", []),
    changed(RESULTS, "seconds", "[/red]\x1b[31m"),
]
PLACES = ["a folder", "a pipe", "a link to nothing", "a link to itself"]


def damage(path, content):
    path.unlink(missing_ok=True)
    if content == "a folder":
        path.mkdir()
    elif content == "a pipe":
        os.mkfifo(path)
    elif content == "a link to nothing":
        path.symlink_to("nowhere")
    elif content == "a link to itself":
        path.symlink_to(path.name)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("config.json", content) for content in [*OF_CONFIG, *PLACES]),
        *(("results.json", content) for content in [*OF_RESULTS, *PLACES]),
    ],
)
def test_a_damaged_folder_spoils_no_other_and_names_its_file(tmp_path, capsys, name, content):
    if content in PLACES and os.name == "nt":
        pytest.skip("needs the system's rights")
    for each in ("a", "b", "c"):
        write_run(tmp_path / each)
    damage(tmp_path / "b" / name, content)
    found = {run["path"]: run for run in kd.experiment.list_runs(tmp_path)}
    assert [found[str(tmp_path / each)]["state"] for each in "abc"] == [
        "finished", "damaged", "finished",
    ]  # fmt: skip
    kd.experiment.print_runs(tmp_path)
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("distilled 0.9000, alone 0.9000, +1.00 points (-1.00 to +3.00)") == 2
    assert str(tmp_path / "b" / name) in text and "Remove it" in text and "\x1b" not in text
    sentence = rf"must be as it was written\. Received: .*{name}, which .*Remove it: "
    for use in (
        lambda: kd.experiment.write_report(tmp_path / "b"),
        lambda: kd.experiment.resume(tmp_path / "b", kd.recipes.digits),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        None,
        b"",
        b"PK\x03\x04 cut",
        "cut",
        {"labels": np.array([0, 1, 2, 0, 1, 7])},
        {"labels": np.array("x")},
        {"shown": np.array([99, 1])},
        {"images": np.zeros((2, 4))},
        {"logits/student": np.zeros((6, 3), "float32")},
        {"logits/student": np.array([object()] * 6)},
        {"logits/teacher": None},
        "a folder",
        "a link to nothing",
    ],
    # Not by what the arrays hold: objects have other names in every process.
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else repr(change),
)
def test_damaged_predictions_are_named_by_the_report(run, change):
    path = run / "predictions.npz"
    if isinstance(change, dict):
        with np.load(path) as arrays:
            whole = {**arrays, **change}
        np.savez(path, **{name: each for name, each in whole.items() if each is not None})
    elif change == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif change is None:
        path.unlink()
    else:
        damage(path, change)
    with pytest.raises(ValueError, match=r"must be as it was written.*predictions\.npz"):
        kd.experiment.write_report(run)
    assert not (run / "report.html").exists()


def test_names_that_mean_something_to_a_terminal_or_to_markup_are_shown(run, capsys):
    name = "[/red]\x1b]0;owned\x07\u202e"
    (run / "config.json").write_text(changed(CONFIG, "recipe", name))
    kd.experiment.print_runs(run)
    text = capsys.readouterr().out
    assert r"[/red]\x1b]0;owned\x07\u202e" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)


def test_a_name_that_no_encoding_takes_is_shown_on_the_page(run):
    (run / "results.json").write_text(changed(RESULTS, "data", "class_names", ["a", "\udce9"]))
    assert r"\udce9" in kd.experiment.write_report(run).read_text("utf-8")


@pytest.mark.parametrize("content", [b"", b"PK", "a folder", "a pipe", "a link to nothing", "head"])
def test_a_damaged_checkpoint_is_listed_and_named(run, content):
    path = run / "student.checkpoint.npz"
    (run / "results.json").unlink()
    if content == "head":
        np.savez(path, head=json.dumps({"made_of": 1, "epoch": "x", "seconds": 1, "states": []}))
    else:
        damage(path, content)
    (found,) = kd.experiment.list_runs(run)
    assert found["at"] == "student distilled, whose checkpoint is damaged"
    with pytest.raises(ValueError, match=r"A checkpoint must be as it was written\. .*Remove it: "):
        checkpoint.read(path)


def test_a_history_that_is_a_folder_is_named(run):
    (run / "teacher_history.csv").mkdir()
    with pytest.raises(OSError, match=r"A history must be a file .*teacher_history\.csv"):
        checkpoint.Checkpoint(run, "teacher", "this", {"teacher": None}, {})


def test_the_command_says_it_in_one_line(run, capsys):
    (run / "results.json").write_text("[1, 2]")
    for command in (["report", str(run)], ["resume", str(run)]):
        assert cli.main(command) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and str(run / "results.json") in error
    assert cli.main(["list", str(run.parent)]) == 0


def test_a_folder_of_others_is_none_of_ours(tmp_path):
    for number, text in enumerate(('{"model_type": "bert"}', "[]", "{}")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text(text)
    assert kd.experiment.list_runs(tmp_path) == []


def test_what_the_page_reads_is_judged_too(run):
    from keras_kd.serve.content import _made_from

    assert _made_from(run) == {"data": "digits"}
    for content in ("", "[1, 2]", '{"data": 7}', '{"data": {"name": [1]}}'):
        (run / "results.json").write_text(content)
        with pytest.raises(ValueError, match=r"results\.json, which .*Name the test images"):
            _made_from(run)
    (run / "results.json").unlink()
    assert _made_from(run) == {}
    (run / "export.json").write_text('{"data": {"name": 1}}')
    with pytest.raises(ValueError, match=r"export\.json, which is damaged: `data` is"):
        _made_from(run)


@pytest.mark.parametrize(
    ("found", "shape", "reason"),
    [
        (1, int, None),
        (True, int, "which is damaged: it is true"),
        (True, (int, bool), None),
        (None, (str, None), None),
        ([1, "x"], [int], 'which is damaged: it is "x"'),
        ({"a": 1}, {"a": int, "b?": str}, None),
        ({"a": 1, "b": 2}, {"a": int, "b?": str}, "which is damaged: `b` is 2"),
        ({}, {"a": int}, "which is damaged: `a` is missing"),
        ({"x": {"y": []}}, {str: {"y": [int]}}, None),
        ({"a": 1, "x": "b"}, {"a": int, str: str}, None),
        ({"a": 1, "x": 2}, {"a": int, str: str}, "which is damaged: `x` is 2"),
        ({"x": "b"}, {"a": int, str: str}, "which is damaged: `a` is missing"),
        ({"x": {"y": [[]]}}, {str: {"y": [int]}}, "which is damaged: `y` is []"),
        (5, lambda value: value > 5, "which is damaged: it is 5"),
    ],
)
def test_shapes(found, shape, reason):
    assert misfit(found, shape) == reason


def test_reading_json(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(FileNotFoundError):
        parsed(path)
    assert read_json(path, int, what="It", way_out="Go.") is None
    path.write_text("1" * 10_000)
    with pytest.raises(ValueError, match="It must be as it was written. .*x.json, which is dam"):
        read_json(path, int, what="It", way_out="Go.")
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError):
        parsed(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a pipe", "which is no file"),
        ("a folder", "which is no file"),
        ("a link to nothing", "which is a link to nothing"),
        ("a link to itself", "which cannot be read (Too many levels of symbolic links)"),
        (b" \n", "which is empty"),
        (b"\xff\xfe", "which is no text"),
        (b"{", "which is damaged: it is no JSON"),
        (b"[" * 100_000, "which is damaged: it is no JSON"),
    ],
    ids=lambda given: str(given)[:20],
)
def test_json_that_cannot_be_read_is_told_in_a_few_words(content, reason, tmp_path):
    path = tmp_path / "x.json"
    damage(path, content)
    with pytest.raises(ValueError) as caught:
        parsed(path)
    assert str(caught.value) == reason
