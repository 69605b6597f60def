"""Metrics against cases worked by hand."""

import numpy as np
import pytest

from keras_kd import metrics

LABELS = np.array([0, 1, 1, 0])
# Probabilities of class 1: 0.2, 0.9, 0.4, 0.7.
PROBABILITIES = np.array([0.2, 0.9, 0.4, 0.7])
LOGITS = np.log(np.stack([1 - PROBABILITIES, PROBABILITIES], axis=1)) + 5


def test_accuracy():
    assert metrics.accuracy(LABELS, LOGITS) == 0.5


def test_softmax():
    np.testing.assert_allclose(metrics.softmax(LOGITS)[:, 1], PROBABILITIES)
    np.testing.assert_array_equal(metrics.softmax([1e4, 0.0]), [1.0, 0.0])


def test_per_class_accuracy():
    # Label 1 twice: 0.9 is right, 0.4 wrong; label 0: 0.2 is right, 0.7 wrong.
    assert metrics.per_class_accuracy(LABELS, LOGITS) == [0.5, 0.5]
    missing = metrics.per_class_accuracy(np.array([0]), np.array([[1.0, 0.0]]))
    assert missing[0] == 1.0 and np.isnan(missing[1])


def test_negative_log_likelihood():
    expected = -np.log([0.8, 0.9, 0.4, 0.3]).mean()
    assert metrics.negative_log_likelihood(LABELS, LOGITS) == pytest.approx(expected)


def test_negative_log_likelihood_is_finite_for_confident_errors():
    assert metrics.negative_log_likelihood(np.array([1]), np.array([[1e4, 0.0]])) == 1e4


def test_expected_calibration_error():
    # Confidences 0.8 (right), 0.9 (right), 0.6 (wrong), 0.7 (wrong), a bin each of ten.
    expected = (0.2 + 0.1 + 0.6 + 0.7) / 4
    assert metrics.expected_calibration_error(LABELS, LOGITS, num_bins=10) == pytest.approx(
        expected
    )


def test_examples_in_one_bin_are_averaged_before_they_are_compared():
    expected = abs(0.5 - (0.8 + 0.9 + 0.6 + 0.7) / 4)
    assert metrics.expected_calibration_error(LABELS, LOGITS, num_bins=1) == pytest.approx(expected)


def test_agreement_is_about_classes_not_logits():
    assert metrics.agreement(LOGITS, 3 * LOGITS) == 1.0
    assert metrics.agreement(LOGITS, -LOGITS) == 0.0


def test_paired_gain_and_its_interval():
    # Right on 3 of 4 against 2 of 4, one image gained.
    better = LOGITS.copy()
    better[2] = [0.0, 1.0]
    gain, low, high = metrics.paired_gain(LABELS, better, LOGITS)
    assert gain == 0.25
    assert high - gain == pytest.approx(1.96 * np.std([0, 0, 1, 0], ddof=1) / 2)
    assert gain - low == pytest.approx(high - gain)


@pytest.mark.parametrize(
    ("labels", "logits", "sentence"),
    [
        (LABELS[:, None], LOGITS, r"must be integers \[n, \.\.\.\].*shape \(4, 1\)"),
        (LABELS[:3], LOGITS, r"one for each row.*shape \(3,\) beside logits of \(4, 2\)"),
        (LABELS, LOGITS[:, None], r"one for each row.*shape \(4,\) beside logits of \(4, 1, 2\)"),
        (LABELS[0], LOGITS[0], r"must be \[n, \.\.\., num_classes\]. Received: shape \(2,\)"),
    ],
)
def test_labels_that_are_not_one_a_row_are_refused(labels, logits, sentence):
    for metric in (
        metrics.accuracy,
        metrics.negative_log_likelihood,
        metrics.expected_calibration_error,
        metrics.per_class_accuracy,
        lambda labels, logits: metrics.paired_gain(labels, logits, logits),
    ):
        with pytest.raises(ValueError, match=sentence):
            metric(labels, logits)


def test_answers_to_other_examples_agree_about_nothing():
    with pytest.raises(ValueError, match="the same examples. Received: logits of 4 and of 3"):
        metrics.agreement(LOGITS, LOGITS[:3])
    with pytest.raises(ValueError, match="must be"):
        metrics.agreement(LOGITS[0], LOGITS[0])


@pytest.mark.parametrize("shape", [(4, 1), (2, 2), (1, 2, 2)])
def test_places_of_examples_count_as_examples_do(shape):
    labels, logits = LABELS.reshape(shape), LOGITS.reshape(*shape, 2)
    for metric in (
        metrics.accuracy,
        metrics.negative_log_likelihood,
        metrics.expected_calibration_error,
        metrics.per_class_accuracy,
    ):
        assert metric(labels, logits) == metric(LABELS, LOGITS)
    other = LOGITS[::-1]
    assert metrics.agreement(logits, other.reshape(*shape, 2)) == metrics.agreement(LOGITS, other)


def test_the_interval_of_a_gain_is_over_examples_not_over_their_places():
    better = LOGITS.copy()
    better[2] = [0.0, 1.0]
    two = np.stack([LABELS] * 3, 1), np.stack([better] * 3, 1), np.stack([LOGITS] * 3, 1)
    assert metrics.paired_gain(*two) == pytest.approx(metrics.paired_gain(LABELS, better, LOGITS))
