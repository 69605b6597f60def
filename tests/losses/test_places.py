"""Losses on outputs, place by place: steps of a sequence and places of a map are as rows are.

To add such a loss is to add its row: `test_every_loss_on_outputs_has_its_row` fails until it is
done.
"""

import numpy as np
import pytest
import references
import tensorflow as tf
from contracts import LOSSES

import keras_kd as kd
from keras_kd.losses.masks import with_mask
from keras_kd.losses.weights import weighed

L = kd.losses
SHAPES = {"sequence": (4, 6, 5), "map": (3, 4, 2, 5)}


def smoothed(t, s, labels):
    y = 0.8 * np.eye(5)[labels] + 0.2 / 5
    return -(y * np.log(references.softmax(s))).sum(-1)


def decoupled(t, s, labels):
    return references.decoupled_kd(t, s, 4.0, labels=labels)


def on_z_scores(reference):
    return lambda t, s, *labels: reference(references.z_score(t), references.z_score(s), *labels)


# The loss, and its reference on the rows that count: of teacher, student and, for those that use
# them, labels.
ROWS = {
    "SoftTargets": (L.SoftTargets(3.0), references.soft_targets),
    "BinarySoftTargets": (L.BinarySoftTargets(3.0), references.binary_soft_targets),
    "ReverseSoftTargets": (L.ReverseSoftTargets(3.0), references.reverse_soft_targets),
    "JensenShannon": (L.JensenShannon(3.0, mixing=0.3), references.jensen_shannon),
    "TeacherLabels": (
        L.TeacherLabels(),
        lambda t, s: -np.log(references.softmax(s)[np.arange(len(s)), t.argmax(-1)]),
    ),
    "LogitMatching": (L.LogitMatching(), lambda t, s: ((s - t) ** 2).mean(-1)),
    "LogitDistance": (L.LogitDistance(), lambda t, s: np.abs(s - t).mean(-1)),
    "ValueMatching": (L.ValueMatching(), lambda t, s: ((s - t) ** 2).mean(-1)),
    "ValueDistance": (L.ValueDistance(), lambda t, s: np.abs(s - t).mean(-1)),
    "HuberMatching": (L.HuberMatching(2.0), references.huber_matching),
    "CosineMatching": (L.CosineMatching(), references.cosine_matching),
    "DIST": (L.DIST(2.0, inter_weight=0.7, intra_weight=1.3), references.dist),
    "DecoupledKD": (L.DecoupledKD(4.0), decoupled),
    "StandardizedLogits": (
        L.StandardizedLogits(L.SoftTargets(3.0)), on_z_scores(references.soft_targets),
    ),
    "StandardizedLogits of DKD": (
        L.StandardizedLogits(L.DecoupledKD(4.0)), on_z_scores(decoupled),
    ),
    "StandardizedLogits of DIST": (
        L.StandardizedLogits(L.DIST(2.0, inter_weight=0.7, intra_weight=1.3)),
        on_z_scores(references.dist),
    ),
    "LabelSmoothing": (L.LabelSmoothing(0.2), smoothed),
}  # fmt: skip


def test_every_loss_on_outputs_has_its_row():
    on_layers = {name for name, make in LOSSES.items() if isinstance(make(), L.FeatureLoss)}
    assert {name.split()[0] for name in ROWS} == set(LOSSES) - on_layers


class Case:
    """Outputs of both, labels of which some are missing, and a mask, of a shape."""

    def __init__(self, shape):
        generator = np.random.default_rng(5)
        self.teacher, self.student = generator.normal(0, 2, (2, *shape)).astype("float32")
        self.labels = generator.integers(-1, 5, shape[:-1])
        self.mask = generator.uniform(size=shape[:-1]) < 0.6
        self.weights = generator.uniform(0, 2, shape[:-1]).astype("float32")

    def counted(self, loss):
        """Return which places count: those of the mask, for label smoothing with a label."""
        return self.mask & (self.labels >= 0) if loss.name == "label_smoothing" else self.mask

    def known(self, loss):
        """Return the class of each place: where there is no label, the teacher's."""
        teacher = self.teacher
        if isinstance(loss, L.StandardizedLogits):
            teacher = references.z_score(teacher)
        return np.where(self.labels < 0, teacher.argmax(-1), self.labels)

    def expected(self, loss, reference, weights):
        counted = self.counted(loss)
        rows = [each[counted].astype(float) for each in (self.teacher, self.student)]
        values = reference(*rows, *([self.known(loss)[counted]] if loss.uses_labels else []))
        return (values * weights[counted]).mean()

    def received(self, loss, weights=None, *, labels=None):
        labels = self.labels if labels is None else labels
        teacher = tf.constant(self.teacher)
        teacher = {"logits": teacher, "labels": labels} if loss.uses_labels else teacher
        student = tf.constant(self.student)
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = weighed(loss, teacher, with_mask(student, tf.constant(self.mask)), weights)
        return float(value), tape.gradient(value, student).numpy()


@pytest.fixture(params=SHAPES)
def case(request):
    return Case(SHAPES[request.param])


@pytest.mark.parametrize("name", ROWS)
def test_the_mean_is_over_what_counts(name, case):
    loss, reference = ROWS[name]
    value, gradient = case.received(loss)
    expected = case.expected(loss, reference, np.ones_like(case.weights))
    assert value == pytest.approx(expected, rel=1e-5)
    counted = case.counted(loss)
    assert not gradient[~counted].any() and gradient[counted].any(-1).all()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("column", [False, True], ids=["places", "column"])
def test_weights_of_places_weigh_what_counts(name, case, column):
    loss, reference = ROWS[name]
    weights = case.weights[..., None] if column else case.weights
    labels = case.labels[..., None] if column else case.labels
    value, gradient = case.received(loss, weights, labels=labels)
    assert value == pytest.approx(case.expected(loss, reference, case.weights), rel=1e-5)
    assert not gradient[~case.counted(loss)].any()


@pytest.mark.parametrize("name", ROWS)
def test_weights_of_examples_weigh_each_of_their_places(name, case):
    loss, reference = ROWS[name]
    weights = np.arange(1.0, 1 + len(case.mask)).astype("float32")
    value, _ = case.received(loss, weights)
    each = np.broadcast_to(weights.reshape(-1, *[1] * (case.mask.ndim - 1)), case.mask.shape)
    assert value == pytest.approx(case.expected(loss, reference, each), rel=1e-5)


@pytest.mark.parametrize("name", ["DecoupledKD", "LabelSmoothing"])
def test_one_hot_labels_are_as_numbers(name, case):
    loss, reference = ROWS[name]
    labels = np.where(case.labels[..., None] < 0, 0, np.eye(5)[case.labels]).astype("float32")
    value, _ = case.received(loss, labels=labels)
    expected = case.expected(loss, reference, np.ones_like(case.weights))
    assert value == pytest.approx(expected, rel=1e-5)
