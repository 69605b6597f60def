"""What models are worth, as a table of numbers or of spreads over seeds, and as a warning."""

import pytest

from keras_kd._common.console import Table
from keras_kd.experiment import tables

FIGURES = {
    "accuracy": 0.9876,
    "negative_log_likelihood": 1.234,
    "expected_calibration_error": 0.045,
    "agreement_with_teacher": 0.9876,
}


def models(figures=FIGURES, names=("teacher", "student", "student_alone", "label_smoothing")):
    return {name: {"parameters": 101_770, "bytes": 409_000, "test": figures} for name in names}


def spread(mean, std=0.00123):
    return {"mean": mean, "std": std}


SPREADS = {metric: spread(value) for metric, value in FIGURES.items()}


def text(table, width=80):
    return [line.plain for line in table.lines(width)]


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("figures", [FIGURES, SPREADS])
def test_every_figure_is_whole_and_every_line_fits(figures, width):
    lines = text(tables.closing("digits: 359 test images, read once", models(figures)), width)
    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    cell = "0.9876 ± 0.0012" if figures is SPREADS else "0.9876"
    assert said.count(cell) == 4


def test_a_row_a_model_on_eighty_columns_and_no_agreement_of_a_teacher_with_itself():
    for figures in (FIGURES, SPREADS):
        lines = text(tables.closing("", models(figures)))
        rows = {line.split()[0]: line for line in lines if line}
        assert {"teacher"} < rows.keys()
        agreement = "0.988 ± 0.001" if figures is SPREADS else "0.988"
        assert agreement not in rows["teacher"]


def test_a_teacher_that_is_the_same_for_every_seed_has_no_spread():
    found = models(SPREADS)
    found["teacher"] = {"test": {metric: spread(0.9876, 1e-17) for metric in FIGURES}}
    (teacher,) = (line for line in text(tables.closing("", found)) if "teacher" in line[:7])
    assert "±" not in teacher and "0.9876" in teacher


def test_a_teacher_without_a_file_or_a_count_has_empty_cells():
    found = models(names=("teacher", "student"))
    found["teacher"] = {"parameters": None, "test": dict(FIGURES)}
    table = tables.closing("", found, files=True)
    assert isinstance(table, Table)
    lines = text(table)
    (teacher,) = (line for line in lines if line.startswith("teacher"))
    assert "KB" not in teacher and "409 KB" in " ".join(lines)


@pytest.mark.parametrize(
    ("distilled", "alone", "said"),
    [(0.08, 0.04, True), (0.0699, 0.04, False), (0.01, 0.2, False), (float("nan"), 0.0, False)],
)
@pytest.mark.parametrize("as_figure", [float, spread])
def test_calibration_is_said_where_it_got_worse_by_three_points(distilled, alone, said, as_figure):
    found = {
        name: {"test": {"expected_calibration_error": as_figure(value)}}
        for name, value in (("student", distilled), ("student_alone", alone))
    }
    note = tables.calibration_note(found)
    assert bool(note) == said
    if said:
        assert "8.0 points" in note and "4.0" in note


def test_without_a_control_calibration_is_held_against_the_teacher():
    models = {"student": {"test": FIGURES}}
    assert tables.calibration_note(models) == ""
    models["teacher"] = {"test": FIGURES | {"expected_calibration_error": -1.0}}
    assert "the teacher -100.0 (ECE)" in tables.calibration_note(models)
