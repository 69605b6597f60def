"""Rows of the atlas on tables: what their teachers and made rows are, on toy data."""

import sys

import numpy as np
import pytest
from helpers import ROOT

import keras_kd as kd

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from regimes import tables

        yield tables
    for name in ("regimes", "regimes.regime", "regimes.tables", "regimes.teachers"):
        sys.modules.pop(name, None)


def two_clouds():
    """60 points of two classes, far from each other; the last 20 are tests."""
    labels = np.arange(60, dtype="int32") % 2
    points = np.random.default_rng(0).normal(size=(60, 2)) + 8 * labels[:, None]
    return points.astype("float32"), labels, slice(40, None)


def test_a_missing_table_is_asked_for_in_one_sentence_with_the_package(tables, monkeypatch):
    monkeypatch.setenv("KERAS_KD_DATA", "")
    with pytest.raises(FileNotFoundError, match="apt-get download r-cran-nowhere"):
        tables.find_table("nowhere", "Letters")


def test_classes_that_a_model_never_saw_are_unlikely_and_the_others_keep_their_place(tables):
    logits = tables.as_logits(np.array([[0.25, 0.75], [0.0, 1.0]]), np.array([2, 0]), 3)
    floor = np.log(tables.FLOOR)
    expected = [[np.log(0.75), floor, np.log(0.25)], [0.0, floor, floor]]
    np.testing.assert_allclose(logits, expected, rtol=1e-6)


def test_votes_that_are_flatter_than_their_knowledge_are_sharpened(tables):
    always_right = np.log([[0.6, 0.4]] * 10)
    assert tables.likeliest_scale(always_right, np.zeros(10, int)) == 4.0
    as_they_say = tables.likeliest_scale(always_right, np.array([0] * 6 + [1] * 4))
    assert as_they_say == 1.0


def test_a_seed_draws_labels_and_rows_without_but_never_from_the_tests(tables):
    draw = tables.drawn(two_clouds, num_labels=10, validation=5, others=20)
    one, other = draw(0), draw(1)
    points, _, tests = two_clouds()
    np.testing.assert_array_equal(one.test.images, points[tests])
    assert (len(one.train), len(one.validation), len(one.unlabelled)) == (10, 5, 20)
    seen = np.concatenate([one.train.images, one.validation.images, one.unlabelled])
    assert len(np.unique(seen, axis=0)) == 35
    assert not (seen[:, None] == points[tests]).all(axis=-1).any()
    assert one.digest != other.digest


def test_wrong_labels_leave_the_tests_alone(tables):
    right, wrong = (tables.drawn(two_clouds, validation=10, wrong=share)(0) for share in (0.0, 1.0))
    np.testing.assert_array_equal(wrong.train.labels, 1 - right.train.labels)
    np.testing.assert_array_equal(wrong.test.labels, right.test.labels)


def test_made_rows_lie_between_a_row_and_its_nearest(tables):
    made = tables.between(tables.drawn(two_clouds, validation=5), 3)(0)
    assert made.unlabelled.shape == (3 * len(made.train), 2)
    # None between the clouds.
    middle = np.abs(made.unlabelled.mean(axis=1) - 4)
    assert middle.min() > 1


@pytest.mark.usefixtures("no_pictures")
def test_a_row_is_tuned_on_validation_and_run_with_its_controls(tables, tmp_path, monkeypatch):
    case = tables.Case(
        data_of=tables.drawn(two_clouds, num_labels=10, validation=5),
        teacher_of=tables.trees(tables.random_forest),
        student=tables.mlp(4),
        steps=2,
    )
    monkeypatch.setattr(tables.teachers, "FOLDER", tmp_path)
    words = {"title": "", "kind": "", "data": "", "settings": {}, "frozen": ""}
    grid = {"temperature": [1.0, 2.0], "alpha": [0.5]}
    case = case.regime("clouds", **words, grid=grid)
    cells = case.tune(100, grid, tmp_path / "tuning")
    assert [cell["settings"] for cell in cells] == [
        {"temperature": 1.0, "alpha": 0.5},
        {"temperature": 2.0, "alpha": 0.5},
    ]
    found = case.run(0, cells[0]["settings"], tmp_path / "row")
    arms = {"teacher", "student", "student_alone", "label_smoothing", "teacher_labels"}
    assert set(found["test"]) == set(found["validation"]) == arms
    assert found["test"]["teacher"] > 0.9


def test_a_forest_answers_of_its_own_rows_out_of_bag(tables):
    # Labels of noise: in the bag they are known by heart, out of it they are not.
    generator = np.random.default_rng(0)
    points, labels = generator.normal(size=(80, 2)), generator.integers(0, 2, 80)
    data = kd.data.from_arrays((points, labels), (points, labels), seed=0)
    answers = tables.trees(tables.random_forest)(data, 0)
    assert kd.metrics.accuracy(data.train.labels, answers.train) < 0.75
    assert kd.metrics.accuracy(data.train.labels, answers.ask(data.train.images)) > 0.95
