r"""A class, model, recipe or loss called `$\foo$` is drawn as it is called."""

import contextlib
import dataclasses
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import keras_kd as kd
from keras_kd._common.looks import LOOKS
from keras_kd._common.pictures import label
from keras_kd.experiment import heat_map, plots, report, search_picture, tables
from keras_kd.export import report as export_report

NASTY = [
    r"$\foo$",
    r"$x_$ \frac{",
    "$",
    "猫 🐈",
    "a\x1b[31m\n\x00b",
    "long " * 200,
    "",
    "_x",
    "{x}",
]
MODELS = ("teacher", "student", "student_alone")
GENERATOR = np.random.default_rng(0)
CURVES = {
    name: {"accuracy": [0.1, 0.2], "val_accuracy": [0.1, 0.3], "best_epoch": 2} for name in MODELS
}
FIGURES = {
    **dict.fromkeys(tables.METRICS, 0.5),
    "per_class_accuracy": [0.5] * len(NASTY),
}


def swept(name):
    cells = [
        {"name": f"{name}{alpha}", "loss": name, "temperature": 2.0, "alpha": alpha,
         "epochs": 2, "validation": FIGURES}
        for alpha in (0.1, 0.9)
    ]  # fmt: skip
    validation = {"teacher": FIGURES, "student_alone": FIGURES}
    data = {"class_names": NASTY}
    best = {"recipe": name, "best": f"{name}0.1"}
    return {**best, "data": data, "cells": cells, "validation": validation}


def searched(name):
    settings = {"loss": name, "temperature": 2.0, "learning_rate": 1e-5}
    trials = [
        {"name": "a", "state": "complete", "value": 0.5, "settings": settings},
        {"name": "b", "state": "pruned", "value": 0.4,
         "settings": {**settings, "temperature": 900.0, "learning_rate": 0.1}},
    ]  # fmt: skip
    space = {"temperature": [1, 1000], "learning_rate": [1e-6, 1], "loss": [name]}
    validation = {"student_alone": FIGURES}
    return {"recipe": name, "best": "a", "space": space, "trials": trials, "validation": validation}


def made(name, path):
    """Yield every picture of runs, as a function that draws it."""
    yield lambda: plots.curves([CURVES])
    yield lambda: plots.files([(each, 1e3, 0.5, LOOKS["student"]) for each in NASTY])
    yield lambda: heat_map.draw(path, swept(name))
    yield lambda: heat_map.section(swept(name))
    yield lambda: search_picture.draw(path, searched(name))
    yield lambda: search_picture.section(searched(name))
    yield lambda: report.draw(
        path, title=name, curves=CURVES, class_names=NASTY,
        test=kd.data.Split(np.zeros((9, 4, 4, 1), "uint8"), np.arange(9, dtype="int32")),
        teacher_logits=GENERATOR.normal(size=(9, len(NASTY))),
    )  # fmt: skip
    file = {"bytes": 100, "accuracy": 0.5, "format": "float32", "missed": []}
    yield lambda: export_report.draw(
        path, {"model": name, "data": "d", "images": 9, "files": [file]}
    )


@pytest.mark.parametrize("name", NASTY[:2])
def test_every_picture_takes_every_name(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in made(name, tmp_path / "x.png"):
            draw()


@pytest.mark.parametrize(
    "inputs", [np.zeros((9, 4)), {"a": np.zeros((9, 1)), "b": np.zeros((9, 2))}]
)
def test_of_what_is_no_image_the_number_is_drawn(inputs, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    monkeypatch.setattr(report, "written_whole", contextlib.nullcontext)
    test = kd.data.Split(inputs, np.zeros(9, "int32"))
    said = {"title": "x", "curves": CURVES, "test": test, "class_names": ["one", "two"]}
    report.draw(tmp_path / "x.png", **said, teacher_logits=np.eye(2)[np.arange(9) % 2])
    report.draw(tmp_path / "x.png", **said, teacher_logits=None)
    with_teacher, without = ([*texts(each)] for each in drawn)
    assert sum(each.startswith("number ") for each in with_teacher) == 3
    assert any(each.startswith("What the teacher says") for each in with_teacher)
    assert not any(each.startswith(("What the teacher", "number")) for each in without)


def test_a_table_tells_of_budgets_only_where_one_is_missed():
    file = {"format": "int8", "failed": "no memory"}
    results = {"model": "m", "data": "photos", "images": 1000, "files": [file]}
    assert export_report.table(results).title == "m: every file run on 1,000 examples of photos"
    assert "budget" not in export_report.table(results).caption
    file |= {"missed": ["9 KB, 8 allowed"]}
    assert export_report.table(results).caption.startswith("* misses a budget. ")


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def test_names_are_drawn_as_they_are():
    assert r"$\foo$" in plots.files([(r"$\foo$", 1e3, 0.5, LOOKS["student"])])
    assert r"$\foo$" in texts(heat_map.figure(swept(r"$\foo$")))
    assert r"a\x1b[31m\n\x00b" in heat_map.section(swept("x"))
    assert label("long " * 200) == "long long long long long lo…"


def test_ticks_of_a_logarithmic_axis_are_no_formulas():
    svg = search_picture.section(searched("x"))
    assert "mathdefault" not in svg
    assert "1e\N{MINUS SIGN}05" in svg


@pytest.mark.parametrize("kind", ["run", "sweep", "search"])
@pytest.mark.slow
def test_a_picture_that_fails_costs_no_results(kind, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    for module in (report, heat_map, search_picture):
        monkeypatch.setattr(module, "draw", fail)
    options = {"search": {"trials": 1}, "sweep": {"alpha": [0.5], "temperature": [2.0]}}
    # One that is there need not be trained.
    teacher = kd.models.mlp([4], image_shape=(8, 8, 1))
    recipe = dataclasses.replace(kd.recipes.digits, teacher=teacher, checked=False)
    with pytest.raises(ZeroDivisionError):
        getattr(kd.experiment, kind)(
            recipe, epochs=1, output=tmp_path, verbose=False, **options.get(kind, {})
        )
    (found,) = kd.experiment.list_runs(tmp_path)
    assert found["state"] == "finished" and found["figures"].startswith("distilled ")
