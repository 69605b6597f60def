"""Early stopping as a distiller needs it."""

import numpy as np
import pytest

import keras_kd as kd


def compiled(digits, teacher):
    student = kd.models.mlp([8], image_shape=digits.image_shape)
    distiller = kd.Distiller(student=student, teacher=teacher)
    return distiller.compile(optimizer="adam", metrics=["accuracy"])


def fit(distiller, digits, **options):
    batches = digits.train.batches(64, shuffle_seed=0)
    return distiller.fit(batches, shuffle=False, verbose=0, **options).history


def test_the_best_weights_are_kept_even_when_it_does_not_stop(digits, digits_teacher):
    distiller = compiled(digits, digits_teacher)
    validation = digits.validation.batches(200)
    stopping = kd.callbacks.EarlyStopping(patience=100)
    history = fit(distiller, digits, epochs=6, validation_data=validation, callbacks=[stopping])
    accuracy = distiller.evaluate(validation, verbose=0, return_dict=True)["accuracy"]
    assert accuracy == max(history["val_accuracy"])


def test_it_stops_after_its_patience(digits, digits_teacher):
    distiller = compiled(digits, digits_teacher)
    distiller.optimizer.learning_rate = 0.0
    stopping = kd.callbacks.EarlyStopping(patience=3)
    validation = digits.validation.batches(200)
    history = fit(distiller, digits, epochs=20, validation_data=validation, callbacks=[stopping])
    assert len(history["loss"]) == 4


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val_accuracy", "max"), ("val_hard_loss", "min"), ("val_loss", "min")],
)
def test_the_direction_follows_from_the_name(monitor, mode):
    assert kd.callbacks.EarlyStopping(monitor).mode == mode


def test_the_hard_loss_can_be_watched(digits, digits_teacher):
    distiller = compiled(digits, digits_teacher)
    stopping = kd.callbacks.EarlyStopping("val_hard_loss", patience=2)
    validation = digits.validation.batches(200)
    history = fit(distiller, digits, epochs=3, validation_data=validation, callbacks=[stopping])
    assert stopping.best == min(history["val_hard_loss"])


def test_a_key_that_is_not_there_stops_the_training_with_a_sentence(digits, digits_teacher):
    distiller = compiled(digits, digits_teacher)
    with pytest.raises(ValueError, match=r"watches `val_accuracy`, .* Received: .*hard_loss"):
        fit(distiller, digits, epochs=1, callbacks=[kd.callbacks.EarlyStopping()])
    assert np.isfinite(distiller.get_weights()[0]).all()
