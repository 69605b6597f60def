"""The first call on every worker, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd

DIGITS = (8, 8, 1)


def distiller(strategy):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        return kd.Distiller(
            student=kd.models.mlp([2], image_shape=DIGITS),
            teacher=kd.models.mlp([3], image_shape=DIGITS),
        ).compile("sgd", metrics=["accuracy"])


@pytest.fixture(scope="module")
def alone():
    """What a process without `TF_CONFIG` trains."""
    return distiller(kd.connect_workers())


@pytest.fixture(scope="module")
def batches():
    images = np.random.default_rng(0).integers(0, 256, (20, *DIGITS), dtype="uint8")
    return lambda size=8: kd.data.Split(images, np.arange(20) % 10).batches(size, shuffle_seed=0)


def test_one_process_trains_as_fit_does(alone, batches, tmp_path):
    one = distiller(tf.distribute.get_strategy())
    validation = np.zeros((5, *DIGITS)), np.arange(5)
    options = {"validation_data": validation, "verbose": 0, "epochs": 2}
    history = kd.fit_distributed(alone, batches(), folder=tmp_path, **options).history
    for name, values in one.fit(batches(), **options).history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    for weight, other in zip(alone.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-6)
    # What is done is not done again, and what stands in the folder is this training's alone.
    again = kd.fit_distributed(alone, batches(), folder=tmp_path, **options).history
    assert again == history
    with pytest.raises(ValueError, match="checkpoint of this training alone"):
        kd.fit_distributed(alone, batches(4), folder=tmp_path, **options)
    (tmp_path / "checkpoint.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="which is damaged"):
        kd.fit_distributed(alone, batches(), folder=tmp_path, **options)


def test_what_cannot_be_shared_is_refused(alone, batches):
    outside = distiller(tf.distribute.get_strategy())
    cases = [
        (outside, batches(), "must be built in the scope"),
        (alone.student, batches(), "trains a Distiller. Received: Functional"),
        (alone, np.zeros((4, *DIGITS)), "minibatches of a tf.data.Dataset. Received: ndarray"),
        (alone, batches().take(0), "Received: an empty tf.data.Dataset"),
    ]
    for model, data, words in cases:
        with pytest.raises(ValueError, match=words):
            kd.fit_distributed(model, data)
    alone.soft_labels = "not there"
    with pytest.raises(ValueError, match="not there, which is not"):
        kd.fit_distributed(alone, batches())
    alone.soft_labels = None
    for method in (alone.fit, alone.evaluate):
        with pytest.raises(ValueError, match=r"Train by `kd.fit_distributed`"):
            method(batches())
    alone.compile("sgd", jit_compile=True)
    with pytest.raises(ValueError, match="Received: `run_eagerly` or `jit_compile`"):
        kd.fit_distributed(alone, batches())


def test_a_worker_that_was_told_to_take_an_older_keras_is_refused(monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    with pytest.raises(RuntimeError, match="in front of the first import"):
        kd.connect_workers()
