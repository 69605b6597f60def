"""Reverse KL and Jensen-Shannon: hand-worked cases, closed forms, and what they tend to."""

import numpy as np
import pytest
import tensorflow as tf
from test_losses import gradient, random_logits, soft_targets64, softmax64

import keras_kd as kd
from keras_kd.losses import JensenShannon, ReverseSoftTargets, SoftTargets

LOGITS = [random_logits(seed).astype("float32") for seed in (0, 1)]


def reverse_gradient(teacher, student, temperature):
    p, q = softmax64(teacher / temperature), softmax64(student / temperature)
    ratio = np.log(q / p)
    return temperature * q * (ratio - (q * ratio).sum(-1, keepdims=True))


def jensen_shannon_gradient(teacher, student, temperature, mixing):
    p, q = softmax64(teacher / temperature), softmax64(student / temperature)
    ratio = np.log(q / (mixing * p + (1 - mixing) * q))
    return temperature * (1 - mixing) * q * (ratio - (q * ratio).sum(-1, keepdims=True))


class TestReverseSoftTargets:
    def test_it_is_soft_targets_with_the_two_exchanged(self):
        teacher, student = LOGITS
        np.testing.assert_array_equal(
            ReverseSoftTargets(3.0).call(teacher, student), SoftTargets(3.0).call(student, teacher)
        )

    @pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
    def test_its_gradient_is_the_closed_form(self, temperature):
        teacher, student = LOGITS
        expected = reverse_gradient(*(each.astype(float) for each in LOGITS), temperature)
        received = gradient(ReverseSoftTargets(temperature), teacher, student)
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("gap", [100.0, 1e4])
    def test_its_gradient_grows_with_the_teacher_s_gap(self, gap):
        """q = (1/2, 1/2) and p = (1, e^-gap): q * (log q / p - KL) is -+ gap / 4."""
        teacher, student = np.array([[gap, 0.0]], "float32"), np.zeros((1, 2), "float32")
        received = gradient(ReverseSoftTargets(1.0), teacher, student)
        np.testing.assert_allclose(received, [[-gap / 4, gap / 4]], rtol=1e-5)

    def test_it_seeks_one_mode_where_soft_targets_cover_both(self):
        """Of a teacher of two equal peaks, a student of one peak is nearer than one of none."""
        teacher = np.log(np.array([[0.48, 0.04, 0.48]], "float32"))
        peak = np.log(np.array([[0.9, 0.05, 0.05]], "float32"))
        flat = np.log(np.array([[0.3, 0.4, 0.3]], "float32"))
        reverse, forward = ReverseSoftTargets(1.0), SoftTargets(1.0)
        assert float(reverse(teacher, peak)) < float(reverse(teacher, flat))
        assert float(forward(teacher, peak)) > float(forward(teacher, flat))


class TestJensenShannon:
    def test_a_case_worked_by_hand(self):
        # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4): half of (ln(2/3) + ln 2) / 2 + ln(4/3).
        teacher, student = np.zeros((1, 2), "float32"), np.array([[200.0, 0.0]], "float32")
        expected = 0.5 * (0.5 * (np.log(2 / 3) + np.log(2)) + np.log(4 / 3))
        assert float(JensenShannon(1.0)(teacher, student)) == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("mixing", [0.001, 0.2, 0.5, 0.999])
    @pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
    def test_its_gradient_is_the_closed_form(self, temperature, mixing):
        teacher, student = LOGITS
        expected = jensen_shannon_gradient(
            *(each.astype(float) for each in LOGITS), temperature, mixing
        )
        received = gradient(JensenShannon(temperature, mixing=mixing), teacher, student)
        np.testing.assert_allclose(
            received, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
        )

    @pytest.mark.parametrize("mixing", [0.1, 0.5, 0.9])
    def test_it_is_zero_at_equal_logits_and_a_constant_changes_nothing(self, mixing):
        teacher, student = LOGITS
        loss = JensenShannon(2.0, mixing=mixing)
        assert float(loss(teacher, teacher)) == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(gradient(loss, teacher, teacher), 0, atol=1e-6)
        expected = float(loss(teacher, student))
        assert float(loss(teacher + 7, student - 3)) == pytest.approx(expected, rel=1e-5)

    def test_its_gradient_is_right_where_the_two_parts_of_the_mixture_are_equal(self):
        """Of logaddexp the gradient there is all on one side."""
        teacher, student = np.zeros((1, 2), "float32"), np.array([[1e-3, 0.0]], "float32")
        expected = jensen_shannon_gradient(0.0 * student, student.astype(float), 1.0, 0.5)
        received = gradient(JensenShannon(1.0), teacher, student)
        np.testing.assert_allclose(received, expected, rtol=1e-3)

    def test_a_small_mixing_is_soft_targets_and_a_large_one_their_reverse(self):
        """To first order in the share: at 0.001 within a per cent."""
        teacher, student = (each / 3 for each in LOGITS)
        forward = JensenShannon(2.0, mixing=0.001).call(teacher, student) / 0.001
        np.testing.assert_allclose(forward, soft_targets64(teacher, student, 2.0), rtol=0.01)
        reverse = JensenShannon(2.0, mixing=0.999).call(teacher, student) / 0.001
        np.testing.assert_allclose(reverse, soft_targets64(student, teacher, 2.0), rtol=0.01)

    def test_exchanging_the_two_exchanges_their_shares(self):
        one = JensenShannon(2.0, mixing=0.3).call(*LOGITS)
        other = JensenShannon(2.0, mixing=0.7).call(*LOGITS[::-1])
        np.testing.assert_allclose(one, other, rtol=1e-5)

    @pytest.mark.parametrize("mixing", [0.2, 0.5, 0.8])
    def test_near_the_teacher_it_is_a_share_of_soft_targets(self, mixing):
        """As the docstring says: mixing * (1 - mixing) of them, in value and in gradient."""
        teacher = random_logits(0, scale=1.0).astype("float32")
        student = teacher + 0.1 * random_logits(1, scale=1.0).astype("float32")
        share = mixing * (1 - mixing)
        losses = JensenShannon(1.0, mixing=mixing), SoftTargets(1.0)
        values = [float(loss(teacher, student)) for loss in losses]
        assert values[0] == pytest.approx(share * values[1], rel=0.05)
        slopes = [gradient(loss, teacher, student) for loss in losses]
        sizes = [np.linalg.norm(each) for each in slopes]
        assert sizes[0] == pytest.approx(share * sizes[1], rel=0.05)

    @pytest.mark.parametrize("gap", [100.0, 1e4, 1e15])
    def test_it_is_bounded_whatever_the_gap(self, gap):
        teacher = np.array([[gap, 0.0]], "float32")
        for student, value in ((teacher[:, ::-1], np.log(2)), (0 * teacher, 0.2157616)):
            received = JensenShannon(1.0)(teacher, student)
            assert float(received) == pytest.approx(value, rel=1e-6)
            slope = gradient(JensenShannon(1.0), teacher, student.copy())
            assert np.isfinite(slope).all() and np.abs(slope).max() < 1
        # A student that knows nothing yet is moved however sure its teacher is.
        np.testing.assert_allclose(slope, [[-0.137327, 0.137327]], rtol=1e-4)

    @pytest.mark.parametrize("mixing", [0, 1, -0.5, "0.5", None, float("nan")])
    def test_a_mixing_that_is_no_share_is_refused(self, mixing):
        with pytest.raises(ValueError, match="`mixing` must be a number from 0.001 to 0.999 or a"):
            JensenShannon(mixing=mixing)

    def test_its_mixing_may_be_a_schedule(self):
        loss = JensenShannon(1.0, mixing=kd.schedules.Linear(0.1, 0.9, steps=4))
        for step, mixing in ((0, 0.1), (2, 0.5), (9, 0.9)):
            loss.step = tf.constant(step)
            expected = float(JensenShannon(1.0, mixing=mixing)(*LOGITS))
            assert float(loss(*LOGITS)) == pytest.approx(expected, rel=1e-5)
