"""Several inputs and outputs go by stacks as images do: the weights are those of the plain path."""

from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.data.minibatches import Minibatches

COUNT = 70  # Four minibatches of 16 and one of 6.
GENERATOR = np.random.default_rng(0)
INPUTS = {
    "ids": GENERATOR.integers(0, 9, (COUNT, 5)),
    "more": GENERATOR.normal(size=(COUNT, 3)),
}
LABELS = {"class": np.arange(COUNT) % 4, "box": GENERATOR.normal(size=(COUNT, 2))}
LOGITS = {"class": GENERATOR.normal(size=(COUNT, 4)), "box": GENERATOR.normal(size=(COUNT, 2))}
WEIGHTS = {"class": GENERATOR.uniform(0, 2, COUNT), "box": GENERATOR.uniform(0, 2, COUNT)}
LOSSES = {
    "class": kd.losses.SoftTargets(2.0),
    "box": kd.losses.ValueMatching(),
}
PLAIN = {"steps_per_execution": 1, "jit_compile": False}


def net(units, seed, inputs=("ids", "more"), outputs=("class", "box")):
    keras.utils.set_random_seed(seed)
    ends = {"ids": keras.Input((5,), name="ids"), "more": keras.Input((3,), name="more")}
    x = layers.Concatenate()([layers.Rescaling(0.1)(ends["ids"]), ends["more"]])
    x = layers.Dense(units, activation="relu")(x)
    found = {"class": layers.Dense(4)(x), "box": layers.Dense(2)(x)}
    return keras.Model(
        {name: ends[name] for name in inputs}, {name: found[name] for name in outputs}
    )


def distiller(teacher=True, **options):
    return kd.Distiller(
        student=net(6, 0),
        teacher=kd.Teacher(net(12, 1), head={"class": "logits", "box": "values"})
        if teacher
        else None,
        distillation_loss=LOSSES,
        **options,
    )


def compiled(model, **options):
    model.compile(
        keras.optimizers.Adam(1e-2),
        loss={"class": kd.losses.CrossEntropy(), "box": "mse"},
        metrics={"class": "accuracy", "box": "mae"},
        **options,
    )
    return model


def heights():
    """Record the heights of the stacks that `fit` goes by."""
    return mock.patch.object(Minibatches, "stacks", autospec=True, side_effect=Minibatches.stacks)


def run(make, data, **options):
    model = compiled(make(), **options)
    with heights() as stacked:
        history = model.fit(data(), epochs=3, verbose=0).history
    assert stacked.called == (not options)
    return model.get_weights(), history


def batches(**options):
    return kd.data.Split(INPUTS, LABELS).batches(16, shuffle_seed=3, **options)


def stored():
    found = batches().minibatches.with_teacher_logits(as_float32(LOGITS))
    return found.with_sample_weight(as_float32(WEIGHTS)).dataset()


def as_float32(structure):
    return {name: each.astype("float32") for name, each in structure.items()}


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda: distiller(alpha={"class": 0.7, "box": 0.3}), batches),
        (lambda: distiller(teacher=False), stored),
        (lambda: distiller(teacher=False, alpha=0.0), batches),
    ],
    ids=["live teacher", "stored and weighed", "student alone"],
)
def test_by_stacks_it_trains_as_one_by_one(make, data):
    (fast, history), (plain, plain_history) = run(make, data), run(make, data, **PLAIN)
    for one, other in zip(fast, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert history.keys() == plain_history.keys() >= {"loss", "class_loss", "box_loss"}
    for key, values in plain_history.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5, err_msg=key)
