"""Rows of the atlas that were measured before: what they say is what their files and pages say."""

import sys

import pytest
from helpers import ROOT

from keras_kd.experiment.statistics import judged

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def regimes():
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    from regimes.recorded import REGIMES

    yield REGIMES
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("regimes", "scripts"):
            del sys.modules[name]


def runs_of(regime):
    return [regime.run(seed, regime.settings, None) for seed in range(regime.num_seeds)]


def points_over(regime, arm):
    gain = judged([run["test"]["student"] - run["test"][arm] for run in runs_of(regime)])
    return [round(100 * each, 2) for each in (gain["mean"], *gain["interval_95"])]


def test_every_row_has_a_student_and_its_control_on_three_seeds_or_more(regimes):
    for name, regime in regimes.items():
        runs = runs_of(regime)
        assert len(runs) >= 3, name
        for run in runs:
            assert {"student", "student_alone"} <= run["test"].keys(), name
            assert all(0.1 < accuracy < 1 for accuracy in run["test"].values()), name
        assert regime.measured["command"] and regime.measured["machine"], name


@pytest.mark.parametrize(
    ("name", "arm", "said"),
    [
        ("kdgan_100_labels", "mutual", [0.39, 0.07, 0.71]),
        ("kdgan_1000_labels", "mutual", [0.48, 0.36, 0.61]),
        ("mutual_perceptrons", "soft_targets", [0.45, 0.09, 0.81]),
        ("born_again_perceptron", "student_alone", [-0.33, -0.53, -0.14]),
        ("adversarial_online", "student_alone", [0.21, 0.08, 0.35]),
    ],
)
def test_gains_are_those_of_the_pages_that_were_written_from_the_same_runs(
    regimes, name, arm, said
):
    assert points_over(regimes[name], arm) == said


def test_a_twins_file_stands_against_plain_conversion(regimes):
    students, converted = (
        [run["test"][arm] for run in runs_of(regimes["int4_main_job"])]
        for arm in ("student", "student_alone")
    )
    # As `export.md` says: 88.49 and 85.05 %.
    assert sum(students) / 3 == pytest.approx(0.8849, abs=5e-5)
    assert sum(converted) / 3 == pytest.approx(0.8505, abs=5e-5)
