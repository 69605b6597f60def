"""Losses that are not ours answer what ours answer, and keep what they can and cannot do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.distillers.xla import is_known
from keras_kd.losses.foreign import ForeignLoss, as_distillation_loss
from keras_kd.losses.masks import with_mask
from keras_kd.losses.weights import weighed

TEACHER, STUDENT = (
    tf.constant(np.random.default_rng(seed).normal(size=(4, 3)), tf.float32) for seed in (0, 1)
)
# What anybody asks of a loss.
ASKED = [name for name in vars(kd.losses.DistillationLoss) if not name.startswith("_")]


class Plain(keras.distillation.DistillationLoss):
    """The user's own, one value a batch."""

    needs_teacher = False
    heads = ("sigmoid",)

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return tf.reduce_mean(tf.abs(student_outputs - teacher_outputs))


class ByExample(keras.losses.Loss, keras.distillation.DistillationLoss):
    """The user's own, one value an example; it counts the steps."""

    step = None

    def call(self, teacher_outputs, student_outputs):
        return tf.reduce_mean(tf.square(student_outputs - teacher_outputs), -1)


FOREIGN = {
    "LogitsDistillation": keras.distillation.LogitsDistillation,
    "Plain": Plain,
    "by_example": lambda: ByExample(name="by_example"),
    "FeatureDistillation": lambda: keras.distillation.FeatureDistillation("mse", "a", "b"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_one_that_is_not_ours_answers_everything(name):
    loss = as_distillation_loss(FOREIGN[name]())
    assert loss.name == name and isinstance(loss, kd.losses.DistillationLoss)
    for attribute in ASKED:
        assert hasattr(loss, attribute), attribute
    assert loss.projector((None, 3), (None, 3)) is None


def test_what_it_says_of_itself_stands():
    loss = as_distillation_loss(Plain())
    assert not loss.needs_teacher and loss.heads == ("sigmoid",)
    layers = as_distillation_loss(FOREIGN["FeatureDistillation"]())
    assert (layers.teacher_layer_name, layers.student_layer_name) == ("a", "b")
    with pytest.raises(ValueError, match="No such layer: a"):
        layers.validate_model_compatibility(*[kd.models.mlp([4], image_shape=(2, 2, 1))] * 2)


def test_ours_is_returned_as_it_is_and_nothing_is_wrapped_twice():
    ours = kd.losses.SoftTargets()
    assert as_distillation_loss(ours) is ours
    wrapped = as_distillation_loss(Plain())
    assert isinstance(wrapped, ForeignLoss) and as_distillation_loss(wrapped) is wrapped


@pytest.mark.parametrize("other", [keras.losses.MeanSquaredError(), "mse", None])
def test_what_is_none_is_refused(other):
    with pytest.raises(ValueError, match="must be a keras.distillation.DistillationLoss.* Rece"):
        as_distillation_loss(other)


class TestOneValueABatch:
    LOSS = as_distillation_loss(Plain())

    def test_it_is_what_compute_loss_returns(self):
        expected = Plain().compute_loss(TEACHER, STUDENT)
        assert float(self.LOSS(TEACHER, STUDENT)) == float(expected)
        assert float(weighed(self.LOSS, TEACHER, STUDENT, None)) == float(expected)

    @pytest.mark.parametrize("shape", [(4,), (4, 3)])
    def test_weights_are_refused(self, shape):
        with pytest.raises(ValueError, match="Plain returns one value a batch and cannot weigh"):
            weighed(self.LOSS, TEACHER, STUDENT, np.ones(shape, "float32"))

    def test_padding_is_refused(self):
        student = with_mask(STUDENT, tf.constant([True, False, True, True]))
        with pytest.raises(ValueError, match="Received: .*padding"):
            self.LOSS(TEACHER, student)


class TestOneValueAnExample:
    def test_weights_weigh_and_the_step_is_handed_on(self):
        own, weights = ByExample(), np.array([0.0, 1.0, 2.0, 3.0], "float32")
        loss = as_distillation_loss(own)
        loss.step = 7
        received = weighed(loss, TEACHER, STUDENT, weights)
        values = np.mean(np.square(STUDENT - TEACHER), -1)
        assert float(received) == pytest.approx(float(np.mean(weights * values)), rel=1e-6)
        assert own.step == 7


def test_xla_knows_only_what_is_known_of_the_loss_inside():
    inside = {name: as_distillation_loss(make()) for name, make in FOREIGN.items()}
    known = {name: is_known(models=[], losses=[loss], others=[]) for name, loss in inside.items()}
    assert known == {name: name.endswith("Distillation") for name in FOREIGN}


def test_a_distiller_saves_the_loss_inside_and_loads_it(tmp_path):
    inputs = np.random.default_rng(2).normal(size=(8, 4)).astype("float32")
    models = [keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]) for _ in range(2)]
    theirs = keras.distillation.LogitsDistillation(temperature=3.0)
    distiller = kd.Distiller(
        student=models[0], teacher=models[1], distillation_loss=theirs, alpha=1.0
    )
    assert distiller.distillation_loss is theirs
    distiller.compile("sgd").fit(inputs, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert type(loaded.distillation_loss) is type(theirs)
    loaded.attach_teacher(models[1])
    again, first = (
        each.fit(inputs, shuffle=False, verbose=0).history for each in (loaded, distiller)
    )
    assert again == first
