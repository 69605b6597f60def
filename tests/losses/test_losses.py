"""Losses against hand-worked cases, float64 references written from the papers, and properties."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd

TEACHER = np.array([[10.0, -3.0, 1.0]], np.float32)
STUDENT = np.array([[-3.0, 10.0, 1.0]], np.float32)


def random_logits(seed, shape=(6, 10), scale=5.0):
    return np.random.default_rng(seed).normal(0, scale, shape)


def softmax64(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def soft_targets64(teacher, student, temperature):
    """Hinton et al. 2015, section 2: cross-entropy with soft targets, less their entropy, T^2."""
    p, q = softmax64(teacher / temperature), softmax64(student / temperature)
    cross_entropy, entropy = -(p * np.log(q)).sum(-1), -(p * np.log(p)).sum(-1)
    return temperature**2 * (cross_entropy - entropy)


def gradient(loss, teacher, student):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = ops.sum(loss.call(tf.constant(teacher), student))
    return tape.gradient(value, student).numpy()


class TestSoftTargets:
    def test_a_case_worked_by_hand(self):
        # p = (1/2, 1/2), q = (3/4, 1/4): KL = ln(2/3)/2 + ln(2)/2 = ln(4/3)/2; T = 1.
        teacher, student = np.array([[0.0, 0.0]]), np.array([[np.log(3.0), 0.0]])
        loss = kd.losses.SoftTargets(temperature=1.0)(teacher, student)
        assert float(loss) == pytest.approx(np.log(4 / 3) / 2, rel=1e-6)

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0, 20.0])
    def test_it_agrees_with_the_paper_in_float64(self, temperature):
        teacher, student = random_logits(0), random_logits(1)
        values = kd.losses.soft_targets(
            teacher_logits=teacher, student_logits=student, temperature=temperature
        )
        assert values.dtype == "float32" and values.shape == (6,)
        # float32 sums of ten terms.
        np.testing.assert_allclose(values, soft_targets64(teacher, student, temperature), rtol=1e-5)

    @pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
    def test_its_gradient_is_the_closed_form(self, temperature):
        teacher, student = random_logits(0), random_logits(1)
        expected = temperature * (
            softmax64(student / temperature) - softmax64(teacher / temperature)
        )
        received = gradient(
            kd.losses.SoftTargets(temperature), teacher.astype("float32"), student.astype("float32")
        )
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-6)

    def test_loss_is_zero_when_logits_are_equal(self):
        logits = random_logits(0).astype("float32")
        assert float(kd.losses.SoftTargets(3.0)(logits, logits)) == 0.0
        np.testing.assert_allclose(
            gradient(kd.losses.SoftTargets(3.0), logits, logits), 0, atol=1e-6
        )

    def test_a_constant_added_to_the_logits_changes_nothing(self):
        teacher, student = random_logits(0), random_logits(1)
        loss = kd.losses.SoftTargets(2.0)
        assert float(loss(teacher + 7, student - 3)) == pytest.approx(
            float(loss(teacher, student)), rel=1e-5
        )

    @pytest.mark.parametrize("gap", [100.0, 1e4])
    def test_loss_and_gradient_are_finite_and_not_zero_at_large_gaps(self, gap):
        teacher = np.array([[gap, 0.0]], np.float32)
        student = np.array([[0.0, gap]], np.float32)
        assert float(kd.losses.SoftTargets(1.0)(teacher, student)) == pytest.approx(gap, rel=1e-6)
        np.testing.assert_allclose(
            gradient(kd.losses.SoftTargets(1.0), teacher, student), [[-1, 1]]
        )

    def test_a_high_temperature_is_logit_matching(self):
        """Hinton et al. 2015, equation 4: gradient (z - v) / N for zero-mean logits."""
        teacher, student = random_logits(0), random_logits(1)
        teacher -= teacher.mean(-1, keepdims=True)
        student -= student.mean(-1, keepdims=True)
        temperature = 1e4
        received = gradient(
            kd.losses.SoftTargets(temperature), teacher.astype("float32"), student.astype("float32")
        )
        # The equation's gradient is by the logits of a loss without T^2: ours is T^2 times it.
        np.testing.assert_allclose(received, (student - teacher) / 10, rtol=2e-2, atol=2e-2)

    def test_half_precision_logits_are_computed_in_float32(self):
        teacher, student = random_logits(0), random_logits(1)
        half = [ops.cast(logits, "bfloat16") for logits in (teacher, student)]
        received = kd.losses.SoftTargets(2.0)(*half)
        expected = soft_targets64(*(np.asarray(ops.cast(h, "float32"), float) for h in half), 2.0)
        assert received.dtype == "float32"
        assert float(received) == pytest.approx(expected.mean(), rel=1e-5)

    def test_sample_weights_weigh_examples_as_in_keras(self):
        teacher, student = random_logits(0), random_logits(1)
        weights = np.array([0.0, 1.0, 2.0, 0.0, 0.5, 3.0])
        expected = (weights * soft_targets64(teacher, student, 2.0)).sum() / 6
        received = kd.losses.SoftTargets(2.0)(teacher, student, sample_weight=weights)
        assert float(received) == pytest.approx(expected, rel=1e-5)

    def test_other_classes_are_refused(self):
        with pytest.raises(ValueError, match="same classes. Received: 3 and 2"):
            kd.losses.SoftTargets()(TEACHER, STUDENT[:, :2])

    def test_one_logit_is_refused(self):
        with pytest.raises(ValueError, match="at least 2 logits.*BinarySoftTargets"):
            kd.losses.SoftTargets()(TEACHER[:, :1], STUDENT[:, :1])

    @pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf"), True, "2", None])
    def test_a_temperature_that_is_no_positive_number_is_refused(self, temperature):
        with pytest.raises(
            ValueError, match="`temperature` must be a number from 0.01 to 10000 or a schedule. Re"
        ):
            kd.losses.SoftTargets(temperature)


class TestPublishedPitfalls:
    """FIELD section 2, on Keras 3.15's own example."""

    def test_keras_default_is_not_distillation_and_ours_is(self):
        expected = [[-2.785, 2.785, 0.0]]
        keras_default = keras.distillation.LogitsDistillation(temperature=3.0)
        student = tf.constant(STUDENT)
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = keras_default.compute_loss(tf.constant(TEACHER), student)
        assert np.abs(tape.gradient(value, student).numpy() - expected).max() > 2
        np.testing.assert_allclose(
            gradient(kd.losses.SoftTargets(3.0), TEACHER, STUDENT), expected, atol=1e-3
        )

    def test_the_gradient_keeps_its_size_over_temperatures(self):
        """Without T^2 it would shrink four hundred times from T = 1 to T = 20."""
        teacher, student = (random_logits(seed, scale=1.0).astype("float32") for seed in (0, 1))
        sizes = [
            np.abs(gradient(kd.losses.SoftTargets(t), teacher, student)).mean() for t in (1.0, 20.0)
        ]
        assert 0.3 < sizes[1] / sizes[0] < 3

    def test_probabilities_are_not_clipped(self):
        """KL on probabilities clipped at 1e-7 loses what a confident teacher says."""
        teacher = np.array([[40.0, 0.0, -10.0]], np.float32)
        student = np.array([[0.0, 40.0, 10.0]], np.float32)
        expected = soft_targets64(teacher.astype(float), student.astype(float), 1.0)
        assert float(kd.losses.SoftTargets(1.0)(teacher, student)) == pytest.approx(
            expected[0], rel=1e-5
        )


class TestCrossEntropy:
    LABELS = np.array([3, 0, 9, 1, 1, 5])

    def reference(self, logits):
        return -np.log(softmax64(logits)[np.arange(6), self.LABELS])

    @pytest.mark.parametrize(
        "labels",
        [LABELS, LABELS[:, None], LABELS.astype("float32"), np.eye(10)[LABELS]],
        ids=["integers", "column", "floats", "one-hot"],
    )
    def test_it_takes_every_kind_of_hard_label(self, labels):
        logits = random_logits(0)
        received = kd.losses.cross_entropy(
            labels=ops.convert_to_tensor(labels), student_logits=logits
        )
        np.testing.assert_allclose(received, self.reference(logits), rtol=1e-5)

    def test_it_takes_soft_labels(self):
        labels, logits = softmax64(random_logits(2)), random_logits(0)
        expected = -(labels * np.log(softmax64(logits))).sum(-1).mean()
        assert float(kd.losses.CrossEntropy()(labels, logits)) == pytest.approx(expected, rel=1e-5)
