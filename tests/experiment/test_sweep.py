"""A sweep: cells chosen on validation, one of them tested."""

import json

import keras
import pytest
import warm
from dying import Dying, but_for_seconds

import keras_kd as kd
from keras_kd.experiment import heat_map, sweep, tables
from keras_kd.experiment.grid import cells_of
from keras_kd.launchers import processes

GRID = {"temperature": [1.0, 4.0], "alpha": [0.2, 0.9], "loss": ["SoftTargets", "LogitMatching"]}
NAMES = [
    "SoftTargets_T_1_alpha_0.2", "SoftTargets_T_1_alpha_0.9",
    "SoftTargets_T_4_alpha_0.2", "SoftTargets_T_4_alpha_0.9",
    "LogitMatching_alpha_0.2", "LogitMatching_alpha_0.9",
]  # fmt: skip

pytestmark = [pytest.mark.usefixtures("improved_graphs"), pytest.mark.slow]


@pytest.fixture(scope="module")
def events():
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def results(folder, events):
    load, fit = kd.data.load, keras.Model.fit

    class Watched:
        def __init__(self, data):
            self.data = data

        def __getattr__(self, name):
            if name == "test":
                events.append("test split read")
            return getattr(self.data, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kd.data, "load", lambda *a, **o: Watched(load(*a, **o)))
        patch.setattr(
            keras.Model, "fit", lambda self, *a, **o: events.append("fit") or fit(self, *a, **o)
        )
        return sweep(kd.recipes.digits, epochs=3, output=folder, verbose=False, **GRID)


def test_all_cells_train_in_one_fit_and_the_test_split_is_read_once_after_it(results, events):
    assert events == ["fit", "fit", "test split read"]  # The teacher, then all students.


def test_every_cell_of_the_grid_is_there(folder, results):
    assert [cell["name"] for cell in results["cells"]] == NAMES
    assert results["cells"][4]["temperature"] is None  # It has none, and takes one row.
    for name in NAMES:
        assert (folder / f"{name}.keras").is_file()
    assert json.loads((folder / "results.json").read_text()) == results


def test_cells_are_judged_on_validation_and_the_best_is_tested(folder, results, digits):
    for cell in results["cells"]:
        model = keras.models.load_model(folder / f"{cell['name']}.keras")
        logits = model.predict(digits.validation.images, verbose=0)
        labels = digits.validation.labels
        figures = cell["validation"]
        assert figures["accuracy"] == kd.metrics.accuracy(labels, logits)
        assert figures["per_class_accuracy"] == kd.metrics.per_class_accuracy(labels, logits)
        if cell["name"] == results["best"]:
            tested = model.predict(digits.test.images, verbose=0)
            accuracy = kd.metrics.accuracy(digits.test.labels, tested)
            assert results["models"]["student"]["test"]["accuracy"] == accuracy
    best = max(cell["validation"]["accuracy"] for cell in results["cells"])
    chosen = {cell["name"]: cell["validation"]["accuracy"] for cell in results["cells"]}
    assert chosen[results["best"]] == best
    assert "test" not in results["cells"][0]


def test_two_processes_one_of_them_killed_find_what_one_finds(tmp_path, results, monkeypatch):
    monkeypatch.setattr(processes, "_context", warm._context)
    workers = Dying("students", tmp_path / "shared")
    options = {"epochs": 3, "output": workers.folder, "verbose": False, **GRID}
    found = sweep(kd.recipes.digits, workers=workers, **options)
    assert but_for_seconds(dict(found)) == but_for_seconds(dict(results))
    path, epochs = workers.killed()
    assert epochs == [1, 2, 3] and path in [
        f"students_{number}_of_2.checkpoint.npz" for number in (1, 2)
    ]


def test_the_heat_map_shows_every_cell_and_frames_the_best(folder, results):
    from matplotlib.image import imread

    figure = heat_map.figure(results)
    texts = [text for axes in figure.axes for text in axes.texts]
    assert [text.get_text() for text in texts] == [
        f"{100 * cell['validation']['accuracy']:.2f}" for cell in results["cells"]
    ]
    (frame,) = [patch for axes in figure.axes for patch in axes.patches]
    (best,) = [cell for cell in results["cells"] if cell["name"] == results["best"]]
    (framed,) = [
        text for text in frame.axes.texts
        if frame.get_bbox().contains(*text.get_position())
    ]  # fmt: skip
    assert framed.get_text() == f"{100 * best['validation']['accuracy']:.2f}"
    assert imread(folder / "heat_map.png").std() > 0


def test_the_heat_map_of_one_loss_has_room_for_its_title(results):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    one_loss = [cell for cell in results["cells"] if cell["loss"] == "SoftTargets"]
    one_loss = {**results, "cells": one_loss, "best": one_loss[0]["name"]}
    figure = heat_map.figure({**one_loss, "recipe": "adversarial_discriminator_best"})
    FigureCanvasAgg(figure).draw()
    title = figure.texts[0].get_window_extent()
    assert title.x0 >= 0 and title.x1 <= figure.bbox.x1


def test_the_table_fits_a_terminal_and_marks_the_best(results):
    import rich.console

    console = rich.console.Console(width=80, record=True)
    console.print(tables.grid(results))
    said = console.export_text()
    assert "…" not in said and said.count(" * ") == 1
    assert "read once" in tables.best_cell(results)[0]


def test_functions_of_the_temperature_serve_as_losses(digits):
    losses = {"DKD": lambda temperature: kd.losses.DecoupledKD(temperature, non_target_weight=2.0)}
    cells = cells_of(kd.recipes.digits, [2.0], [0.5], losses)
    assert [cell.name for cell in cells] == ["DKD_T_2_alpha_0.5"]
    assert cells[0].build(2.0).non_target_weight == 2.0


def test_without_a_loss_the_recipes_own_is_taken():
    (cell,) = cells_of(kd.recipes.digits, [3.0], [0.5], None)
    assert cell.name == "SoftTargets_T_3_alpha_0.5"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": []}, "`temperature` must be different numbers from 0.01"),
        ({"temperature": [0.0]}, "`temperature` must be different numbers from 0.01"),
        ({"alpha": [0.5, 0.5]}, "`alpha` must be different numbers from 0 to 2"),
        ({"alpha": [2.5]}, "`alpha` must be different numbers from 0 to 2"),
        ({"loss": ["Hints"]}, "`loss` must name losses on logits: .*SoftTargets"),
        ({"loss": ["ValueMatching"]}, "on logits: ((?!Value).)* Received"),
        ({"loss": []}, "`loss` must name different losses"),
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        sweep(kd.recipes.digits, output=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
