"""The temperature that follows from a teacher's logits."""

import numpy as np
import pytest

from keras_kd.checking.temperature import mean_entropy, temperature_of


def test_the_entropy_of_even_logits_is_that_of_guessing():
    assert mean_entropy(np.zeros((3, 8))) == pytest.approx(np.log(8))


def test_the_entropy_of_two_classes_by_hand():
    logits = np.array([[0.0, np.log(3.0)]])  # Probabilities 1/4 and 3/4.
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert mean_entropy(logits) == pytest.approx(expected)
    assert mean_entropy(2 * logits, temperature=2) == pytest.approx(expected)


def test_a_teacher_twice_as_sure_gets_twice_the_temperature():
    logits = np.random.default_rng(0).normal(size=(200, 10)) * 6
    one, other = temperature_of(logits), temperature_of(2 * logits)
    assert 1 < one < other < 20
    assert other == pytest.approx(2 * one, abs=0.11)
    assert mean_entropy(logits, one) == pytest.approx(0.3 * np.log(10), abs=0.05)


def test_it_stays_within_its_bounds():
    sure, unsure = 1000 * np.eye(4), 0.01 * np.eye(4)
    assert temperature_of(sure) == 20 and temperature_of(unsure) == 1
