"""The page of the atlas says what its results hold, and the package reads the same rows."""

import importlib
import json
import sys

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from keras_kd.checking.regimes import Case
from keras_kd.experiment.statistics import BEATS, DOES_NOT_BEAT, INCONCLUSIVE


@pytest.fixture(scope="module")
def page():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("atlas_page")
    for name in ("atlas_page", "regimes", "regimes.facts"):
        sys.modules.pop(name, None)


def regime(kind, gains, *, hard=None, **changes):
    """What `atlas.json` holds of a regime whose students gained so many points."""
    runs = []
    for seed, gain in enumerate(gains):
        test = {"teacher": 0.9, "student_alone": 0.7, "student": 0.7 + gain / 100}
        test |= {} if hard is None else {"teacher_labels": test["student"] - hard[seed] / 100}
        runs.append({"seed": seed, "seconds": 10.0 + seed, "test": test, "validation": test})
    return {
        "title": f"a title of {kind}",
        "kind": kind,
        "data": "MNIST",
        "command": "python benchmarks/atlas.py name",
        "settings": {"temperature": 2.0},
        "frozen": "2026-11-27 04:40",
        "machine": {"device": "a CPU"},
        "runs": runs,
        "tuning": [],
        **changes,
    }


@pytest.fixture
def results():
    return {
        "plain": regime("all labels", [-0.5, -0.4, -0.6]),
        "few": regime("few labels", [3.0, 3.2, 3.4], hard=[0.1, -0.1, 0.0]),
        "fewer": regime("few labels", [4.0, 4.2, 4.4], hard=[1.0, 1.1, 1.2]),
        "open": regime("long tail", [-1.0, 1.0, 0.3]),
        "begun": regime("long tail", [5.0]),
        "not run": regime("integers", []),
    }


def test_rows_stand_by_kind_and_the_largest_gain_first(page, results):
    rows = page.summary(results)
    assert [row["name"] for row in rows] == ["fewer", "few", "begun", "open", "plain"]
    few = rows[1]
    assert few["gain"]["mean"] == pytest.approx(0.032) and few["gain"]["verdict"] == BEATS
    assert few["over"]["teacher_labels"]["verdict"] == INCONCLUSIVE
    assert few["means"]["student"] == pytest.approx(0.732)
    assert few["seeds"] == 3 and few["seconds"] == 11.0
    assert rows[-1]["gain"]["verdict"] == DOES_NOT_BEAT


def test_the_page_says_of_each_kind_what_its_rows_found(page, results):
    text = page.document(results)
    first, tables = text.split("## Every row")
    assert "Expect a gain over the same student alone: +3.2 to +4.2 points in 2 rows." in first
    assert "the teacher's hard labels in 1 of 2." in first and "--unlabelled DIR" in first
    assert "Expect no clear gain over the same student alone: −0.5 points in one row." in first
    # What is to be done is said where it won alone.
    assert page.KINDS["all labels"].advice not in text
    assert "| a title of few labels | MNIST | 0.9000 | 0.7320 | 0.7000 | 0.7320 |" in tables
    assert "+3.20 (+2.70 to +3.70) | BEATS" in tables
    assert "temperature 2.0 | 2026-11-27 04:40 | 3 | 11" in tables
    assert "integers" not in text.lower()  # Nothing ran.


def test_the_page_does_not_praise_a_kind_that_lost(page, results):
    turned = json.loads(json.dumps(results))
    for found in turned.values():
        for run in found["runs"]:
            test = run["test"]
            test["student"], test["student_alone"] = test["student_alone"], test["student"]
    assert "Expect a gain over the same student alone: +3.2" not in page.document(turned)


def test_of_a_row_without_an_interval_nothing_is_said(page, results):
    first, tables = page.document(results).split("## Every row")
    assert "+5.0" not in first and "+5.00 | NO VERDICT" in tables
    del results["open"]
    assert page.KINDS["long tail"].heading not in page.document(results)


def test_some_won_and_some_did_not(page, results):
    results["lost"] = regime("few labels", [-1.0, -1.1, -1.2])
    text = page.document(results)
    assert (
        "It depends: in 2 rows distillation clearly beat the same student alone, +3.2 to +4.2 "
        "points; in one row it did not, −1.1 points."
    ) in text


def test_a_kind_is_stood_for_by_its_median_row(page, results):
    results["most"] = regime("few labels", [9.0, 9.2, 9.4])
    names = [row["name"] for row in page.one_a_kind(page.summary(results))]
    assert names == ["fewer", "open", "plain"]


def test_the_package_gets_every_row_with_an_interval(page, results):
    rows = json.loads(page.packaged(results))
    assert set(rows) == {"plain", "few", "fewer", "open"}
    assert rows["few"]["gain"] == 0.032 and rows["few"]["interval_95"] == [0.02703, 0.03697]
    assert rows["few"]["seeds"] == 3 and rows["few"]["control"] == "the same student alone"
    assert rows["few"]["over"]["teacher_labels"]["gain"] == 0


def test_the_picture_has_each_row_in_the_colour_of_its_kind(page, results, tmp_path):
    results["far"] = regime("no data", [60.0, 61.0, 62.0])
    page.draw(tmp_path / "atlas.png", page.summary(results))
    pixels = np.asarray(Image.open(tmp_path / "atlas.png").convert("RGB")).reshape(-1, 3)
    colours = {tuple(map(int, each)) for each in np.unique(pixels, axis=0)}
    for kind in ("few labels", "long tail", "all labels", "no data"):
        colour = page.KINDS[kind].colour
        assert tuple(bytes.fromhex(colour[1:])) in colours, kind
    assert tuple(bytes.fromhex(page.KINDS["ensemble"].colour[1:])) not in colours


def test_the_axis_ends_where_most_rows_do(page):
    rows = page.summary({
        str(number): regime("few labels", [gain - 0.1, gain, gain + 0.1])
        for number, gain in enumerate([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 60])
    })  # fmt: skip
    low, high = page._limits(rows)
    assert 3.5 < high < 5 and -1 < low <= 0


def test_no_two_kinds_look_the_same(page):
    looks = [(kind.colour, kind.marker) for kind in page.KINDS.values()]
    assert len(set(looks)) == len(looks)


def test_facts_of_rows_are_such_as_a_check_knows(page):
    case = Case(labels=540, classes=10)
    for name, facts in page.FACTS.items():
        assert all(hasattr(case, fact) for fact in facts or ()), name


def test_page_and_package_hold_what_the_results_hold(page):
    path = ROOT / "benchmarks" / "results" / "atlas.json"
    if not path.exists():
        pytest.skip("The atlas has no results yet.")
    results = json.loads(path.read_text())
    assert page.PACKAGED.read_text() == page.packaged(results)
    assert (ROOT / "benchmarks" / "atlas.md").read_text() == page.document(results)
