"""Every loss against float64 NumPy written from its paper, value and gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from references import (
    LABELS,
    LOGITS,
    REFERENCES,
    VECTORS,
    L,
    decoupled_kd,
    dist,
    divergence,
    relational_distance,
    similarity_preserving,
    soft_targets,
    softmax,
    z_score,
)


def test_every_loss_has_its_reference():
    from contracts import LOSSES

    assert set(REFERENCES) == set(LOSSES)


@pytest.fixture(params=REFERENCES)
def case(request):
    loss, reference, (teacher, student), wrap = REFERENCES[request.param]
    outputs = tf.constant(teacher, tf.float32)
    if wrap:
        outputs = {
            key: tf.constant(value, tf.float32 if key == "logits" else tf.int32)
            for key, value in wrap(teacher).items()
        }
    return loss, reference, teacher, student, outputs


def test_values_agree_to_1e_5(case):
    loss, reference, teacher, student, outputs = case
    values = loss.call(outputs, tf.constant(student, tf.float32))
    np.testing.assert_allclose(values, reference(teacher, student), rtol=1e-5, atol=1e-6)


def test_gradients_agree_to_1e_4(case):
    loss, reference, teacher, student, outputs = case
    variable = tf.constant(student, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = tf.reduce_sum(loss.call(outputs, variable))
    expected = numeric_gradient(lambda s: reference(teacher, s).sum(), student)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        tape.gradient(value, variable), expected, rtol=1e-4, atol=1e-4 * scale
    )


def numeric_gradient(function, at, step=1e-5):
    """Central differences in float64: exact to about 1e-9."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[index] += step
        behind[index] -= step
        gradient[index] = (function(ahead) - function(behind)) / (2 * step)
    return gradient


class TestRelationsBetweenLosses:
    def test_decoupled_kd_with_the_paper_s_weights_is_soft_targets(self):
        """Zhao et al. 2022, equation 7: KD = TCKD + (1 - p_target) NCKD."""
        teacher, student = LOGITS
        p_target = softmax(teacher / 3.0)[np.arange(6), LABELS]
        values = L.decoupled_kd(
            teacher_logits=teacher, student_logits=student, target=np.eye(5)[LABELS],
            temperature=3.0, target_weight=1.0, non_target_weight=(1 - p_target).astype("float32"),
        )  # fmt: skip
        np.testing.assert_allclose(values, soft_targets(teacher, student, 3.0), rtol=1e-5)

    def test_decoupled_kd_masks_the_target_at_any_gap(self):
        """The authors' mask of 1000 lets the target back in at gaps above 1000."""
        teacher = np.array([[5000.0, 1.0, 0.0, -1.0]])
        student = np.array([[5000.0, -1.0, 0.0, 1.0]])
        value = L.decoupled_kd(
            teacher_logits=teacher, student_logits=student, target=np.eye(4)[[0]],
            temperature=1.0, target_weight=1.0, non_target_weight=1.0,
        )  # fmt: skip
        rest = divergence(softmax(teacher[:, 1:]), softmax(student[:, 1:]))
        np.testing.assert_allclose(value, rest, rtol=1e-5)

    def test_decoupled_kd_refuses_two_classes(self):
        with pytest.raises(ValueError, match=r"at least 3 logits.* Received: 2\. Use losses.SoftT"):
            L.DecoupledKD()(LOGITS[0][:, :2], LOGITS[1][:, :2])

    def test_decoupled_kd_takes_the_teacher_s_prediction_without_a_label(self):
        teacher, student = LOGITS
        predicted = decoupled_kd(teacher, student, labels=teacher.argmax(-1)).mean()
        assert float(L.DecoupledKD(4.0)(teacher, student)) == pytest.approx(predicted, rel=1e-5)
        nobody = {"logits": teacher, "labels": np.full(6, -1)}
        assert float(L.DecoupledKD(4.0)(nobody, student)) == pytest.approx(predicted, rel=1e-5)

    def test_a_binary_case_is_the_two_class_case(self):
        """sigmoid(z) is softmax([z, 0])."""
        teacher, student = (logits[:, :1] for logits in LOGITS)
        two = [np.concatenate([z, 0 * z], -1) for z in (teacher, student)]
        values = L.binary_soft_targets(
            teacher_logits=teacher, student_logits=student, temperature=2.0
        )
        np.testing.assert_allclose(values, soft_targets(*two, 2.0), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("name", ["StandardizedLogits", "DIST"])
    def test_the_size_of_the_logits_does_not_matter(self, name):
        """Equal up to a positive scale: a z-score sees no difference, a divergence does."""
        loss = REFERENCES["StandardizedLogits"][0] if name == "StandardizedLogits" else None
        teacher = LOGITS[0].astype("float32")
        if loss:
            assert float(loss(teacher, 5 * teacher)) == pytest.approx(0, abs=1e-5)
        else:
            probs = softmax(LOGITS[0])
            scaled = 0.5 * probs + 0.1  # Still probabilities of five classes.
            value = float(L.DIST(1.0)(np.log(probs), np.log(scaled)))
            assert value == pytest.approx(0, abs=1e-5)

    def test_standardisation_divides_by_the_sample_deviation(self):
        """ddof = 1, as torch has it: with ddof = 0 every value is off by 5.4 % at 10 classes."""
        logits = np.random.default_rng(0).normal(size=(3, 10))
        np.testing.assert_allclose(L.standardized(logits), z_score(logits), rtol=1e-5)

    @pytest.mark.parametrize("name", ["RelationalDistance", "RelationalAngle"])
    def test_relations_do_not_see_turns_and_shifts(self, name):
        loss, _, (teacher, _), _ = REFERENCES[name]
        turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 7)))
        moved = (3.0 * teacher @ turn + 1.0).astype("float32")
        assert float(loss(teacher.astype("float32"), moved)) == pytest.approx(0, abs=1e-6)

    def test_similarity_does_not_see_turns(self):
        teacher = VECTORS[0]
        turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 7)))
        value = L.SimilarityPreserving()(teacher, teacher @ turn)
        assert float(value) == pytest.approx(0, abs=1e-8)


class TestWhereFormulasAreEasilyMissed:
    def test_duplicates_count_in_the_mean_distance(self):
        """Park et al. 2019, equation 6 is over all pairs; without the duplicates it is 13 % off."""
        generator = np.random.default_rng(0)
        teacher, student = generator.normal(size=(6, 8)), generator.normal(size=(6, 5))
        teacher[1], student[1] = teacher[0], student[0]
        expected = relational_distance(teacher, student).mean()
        assert expected == pytest.approx(0.090602, abs=1e-6)
        assert float(L.RelationalDistance()(teacher, student)) == pytest.approx(expected, rel=1e-5)

    def test_features_that_are_all_the_same_are_equally_far_from_each_other(self):
        """The authors' clamp puts them all 1e-6 apart: 1 in units of their mean."""
        teacher = np.random.default_rng(0).normal(size=(6, 8))
        expected = relational_distance(teacher, 0 * teacher).mean()
        for student in (0 * teacher, 0 * teacher + 7):
            value = float(L.RelationalDistance()(teacher, student))
            assert value == pytest.approx(expected, rel=1e-5) and value < 0.1

    @pytest.mark.parametrize("offset", [0, 1e4])
    def test_distances_are_not_lost_beside_what_all_examples_share(self, offset):
        teacher, student = VECTORS
        value = float(L.RelationalDistance()(teacher, student + offset))
        # float32 holds 10,001.234 to three digits.
        assert value == pytest.approx(relational_distance(teacher, student).mean(), rel=5e-3)

    @pytest.mark.parametrize("scale", [1e-15, 1e-9, 1e-5, 1e9, 1e15])
    @pytest.mark.parametrize(
        "name",
        ["AttentionTransfer", "SimilarityPreserving", "RelationalDistance", "RelationalAngle"],
    )
    def test_the_size_of_features_does_not_matter(self, name, scale):
        """Features of 1e-5 had vanished: their squares were below a guard."""
        loss, reference, (teacher, student), _ = REFERENCES[name]
        expected = reference(teacher, student).mean()
        assert float(loss(teacher, scale * student)) == pytest.approx(expected, rel=1e-4)
        assert float(loss(scale * teacher, student)) == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("scale", [1e-9, 1e-6])
    def test_a_tiny_example_is_like_others_whatever_its_size(self, scale):
        teacher, student = (each.copy() for each in VECTORS)
        student[0] *= scale
        value = float(L.SimilarityPreserving()(teacher, student))
        assert value == pytest.approx(similarity_preserving(teacher, student).mean(), rel=1e-4)

    @pytest.mark.parametrize("spread", [1e-6, 1e-3, 1e3])
    def test_the_spread_of_logits_does_not_matter(self, spread):
        teacher, student = LOGITS
        expected = soft_targets(z_score(teacher), z_score(student), 2.0).mean()
        assert float(L.StandardizedLogits()(teacher, spread * student)) == pytest.approx(
            expected, rel=1e-4
        )

    @pytest.mark.parametrize("shape", [(4, 3, 3, 5), (4, 9, 5)], ids=["maps", "sequences"])
    def test_dist_takes_every_place_for_an_example(self, shape):
        """As the authors' code does with the logits of a segmentation."""
        teacher, student = (np.random.default_rng(s).normal(size=shape) for s in (0, 1))
        rows = [each.reshape(-1, 5) for each in (teacher, student)]
        values = L.DIST(2.0, inter_weight=0.7, intra_weight=1.3).call(
            *(tf.constant(each, tf.float32) for each in (teacher, student))
        )
        assert values.shape == shape[:-1]
        np.testing.assert_allclose(np.ravel(values), dist(*rows), rtol=1e-5)

    @pytest.mark.parametrize("num_labels", [1, 2, 200])
    def test_binary_soft_targets_and_their_hard_loss_weigh_alike(self, num_labels):
        """At T = 1 the gradients of both are (q - p) / num_labels, so alpha means the same."""
        teacher, student = (
            tf.constant(np.random.default_rng(s).normal(size=(3, num_labels)), tf.float32)
            for s in (0, 1)
        )
        hard_loss = keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(student)
            soft = L.BinarySoftTargets(1.0)(teacher, student)
            hard = hard_loss(tf.sigmoid(teacher), student)
        soft, hard = (tape.gradient(value, student) for value in (soft, hard))
        np.testing.assert_allclose(soft, hard, rtol=1e-4, atol=1e-7)


class TestBadInput:
    @pytest.mark.parametrize(
        ("build", "sentence"),
        [
            (lambda: L.DecoupledKD(target_weight=-1), "`target_weight` must be a number from 0 "),
            (lambda: L.DecoupledKD(non_target_weight=np.nan), "`non_target_weight` must be"),
            (lambda: L.DecoupledKD(warm_up_steps=-1), "`warm_up_steps` must be an integer"),
            (lambda: L.DIST(temperature="1"), "`temperature` must be a number from"),
            (lambda: L.LabelSmoothing(1.0), "`smoothing` must be above 0 and below 1"),
            (lambda: L.LabelSmoothing(0.0), "`smoothing` must be a number from"),
            (lambda: L.StandardizedLogits("kd"), "no loss of that name"),
            (lambda: L.StandardizedLogits(7), "`loss` must be a loss of keras_kd.losses"),
        ],
    )
    def test_settings_out_of_range_are_refused(self, build, sentence):
        with pytest.raises(ValueError, match=sentence):
            build()

    def test_hints_of_other_shapes_name_both(self):
        with pytest.raises(ValueError, match=r"teacher \(6, 7\) and student \(6, 4\)"):
            L.Hints()(*VECTORS)

    def test_attention_of_vectors_names_both(self):
        with pytest.raises(ValueError, match=r"\[batch, height, width, channels\].*\(6, 7\)"):
            L.AttentionTransfer()(*VECTORS)
