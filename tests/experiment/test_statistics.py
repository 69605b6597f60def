"""Verdicts against SciPy's own intervals, and against what the words mean."""

import numpy as np
import pytest
from scipy import stats

from keras_kd.experiment.statistics import judged, on_one_seed, sentence_of, spread


def test_the_interval_is_students_of_paired_differences():
    one, other = np.random.default_rng(0).normal(size=(2, 7))
    found = judged(one - other)
    interval = stats.ttest_rel(one, other).confidence_interval(0.95)
    np.testing.assert_allclose(found["interval_95"], interval)
    assert found["mean"] == pytest.approx((one - other).mean())
    assert found["std"] == pytest.approx((one - other).std(ddof=1))


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.010, 0.012, 0.011], "BEATS"),
        ([-0.010, -0.012, -0.011], "DOES NOT BEAT"),
        ([0.010, -0.012, 0.011], "INCONCLUSIVE"),
        # The mean alone says nothing.
        ([0.10, 0.00, 0.05], "INCONCLUSIVE"),
        ([0.010, 0.012], "NO VERDICT"),
        ([0.5], "NO VERDICT"),
        # Three times the same is no evidence of anything but a broken seed.
        ([0.01, 0.01, 0.01], "NO VERDICT"),
        ([0.9 - 0.8, 0.5 - 0.4, 0.3 - 0.2], "NO VERDICT"),
        ([0.0, 0.0, 0.0, 0.0], "NO VERDICT"),
    ],
)
def test_the_verdict_is_what_the_interval_allows(gains, verdict):
    assert judged(gains)["verdict"] == verdict


@pytest.mark.parametrize(
    ("gains", "quick", "reason"),
    [
        ([0.010], False, "fewer than three seeds cannot tell"),
        ([0.010, 0.012], False, "fewer than three seeds cannot tell"),
        ([0.01, 0.01, 0.01], False, "the seeds do not differ"),
        ([0.010, 0.012, 0.011], True, "`--quick` is too short to judge"),
    ],
)
def test_without_a_verdict_there_is_no_interval_but_a_reason(gains, quick, reason):
    found = judged(gains, quick=quick)
    assert (found["verdict"], found["interval_95"]) == ("NO VERDICT", None)
    assert found["reason"] == reason
    assert found["mean"] == pytest.approx(np.mean(gains))


def test_as_many_seeds_as_it_says_would_settle_it():
    gains = [0.010, -0.006, 0.011, 0.002]
    needed = judged(gains)["seeds_needed"]
    assert needed > len(gains)

    def with_this_mean_and_spread(count):
        values = np.random.default_rng(0).normal(size=count)
        values = (values - values.mean()) / values.std(ddof=1)
        return judged(values * np.std(gains, ddof=1) + np.mean(gains))["verdict"]

    assert with_this_mean_and_spread(needed) == "BEATS"
    assert with_this_mean_and_spread(needed - 1) == "INCONCLUSIVE"


@pytest.mark.parametrize("gains", [[0.01], [0.01, 0.02], [0.01, -0.01, 0.0]])
def test_it_does_not_say_how_many_where_that_cannot_be_told(gains):
    assert judged(gains)["seeds_needed"] is None


def test_one_value_has_no_spread():
    assert spread([3.0]) == {"mean": 3.0, "std": None}
    assert spread([3.0, 5.0]) == {"mean": 4.0, "std": pytest.approx(2**0.5)}


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        (
            [0.010, 0.012, 0.011],
            "is 1.10 points better than the same student alone (0.85 to 1.35, ",
        ),
        ([-0.010, -0.012, -0.011], "is 1.10 points worse than the same student alone (0.85 to 1.3"),
        (
            [0.011, -0.012, 0.010],
            "is open: +0.30 points (-2.93 to +3.53, 3 seeds); about ",
        ),
        ([0.010, -0.010, 0.000], "is open: +0.00 points (-2.48 to +2.48, 3 seeds)."),
        ([0.010, 0.012], "No verdict, since fewer than three seeds cannot tell: +1.10 points of "),
        ([0.010, 0.010, 0.010], "No verdict, since the seeds do not differ: +1.00 points of accu"),
    ],
)
def test_a_verdict_is_one_plain_sentence(gains, said):
    sentence = sentence_of(judged(gains))
    assert said in sentence
    assert sentence.endswith(".") and sentence.count(". ") == 0


def test_the_sentence_names_the_other_model_and_what_is_too_short():
    assert "than its teacher (" in sentence_of(judged([0.010, 0.012, 0.011]), "teacher")
    quick = sentence_of(judged([0.010, 0.012, 0.011], quick=True))
    assert quick.startswith("No verdict, since `--quick` is too short to judge: +1.10 points")


def test_an_interval_over_test_examples_says_that_it_is_of_one_seed():
    sentence = sentence_of(on_one_seed(0.012, (0.004, 0.020)))
    assert "(0.40 to 2.00, over test examples; one seed, and another may turn it)" in sentence
    assert on_one_seed(0.012, (0.004, 0.020))["verdict"] == "NO VERDICT"
    assert on_one_seed(0.012, (0.004, 0.020), quick=True)["interval_95"] is None
