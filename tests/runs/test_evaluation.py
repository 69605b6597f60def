"""What models say of a split, whatever they take, and what is kept of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.runs import evaluation
from keras_kd.runs.evaluation import Predictions, describe_models, evaluate, logits_of
from keras_kd.runs.keeper import Trained
from keras_kd.teachers.fitting import TeacherModel

RANDOM = np.random.default_rng(0)
LABELS = np.arange(30) % 3
INPUTS = {
    "table": RANDOM.normal(size=(30, 4)),
    "words": RANDOM.integers(0, 9, (30, 5)),
    "age": RANDOM.normal(size=30),
}
CURVES = {"loss": [2.0, 1.0], "val_accuracy": [0.5, 0.6], "best_epoch": 2, "seconds": 1.5}


def model(name="model", **ends):
    table, words = keras.Input((4,), name="table"), keras.Input((5,), name="words", dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(words))
    logits = layers.Dense(3)(layers.Concatenate()([table, x]))
    inputs = {"table": table, "words": words}
    return keras.Model(inputs, {"kind": logits} if ends else logits, name=name)


@pytest.fixture(scope="module")
def data():
    return kd.data.from_arrays((INPUTS, LABELS), (INPUTS, LABELS))


@pytest.fixture(scope="module")
def trained():
    return {"teacher": model("teacher"), "student": model("student", kind=1)}


def test_a_model_is_asked_for_what_it_takes(data, trained, monkeypatch):
    taken = {name: np.asarray(INPUTS[name]) for name in ("table", "words")}
    teacher = kd.Teacher(trained["teacher"])
    said = np.asarray(trained["teacher"](taken))
    kind = np.asarray(trained["student"](taken)["kind"])
    for count in (1000, 7):  # All at once, and in parts of which the last is smaller.
        monkeypatch.setattr(evaluation, "_BATCH_SIZE", count)
        for each in (trained["teacher"], teacher, TeacherModel(teacher)):
            np.testing.assert_allclose(logits_of(each, data.test), said, atol=1e-6)
        np.testing.assert_allclose(logits_of(trained["student"], data.test), kind, atol=1e-6)


def test_of_a_class_at_every_place_all_places_count_and_some_are_kept(tmp_path, monkeypatch):
    words = keras.Input((5,), dtype="int32")
    models = {name: keras.Model(words, layers.Embedding(9, 3)(words)) for name in ("a", "b")}
    trained = {"teacher": Trained(models["a"], CURVES), "student": Trained(models["b"], CURVES)}
    split = kd.data.Split(INPUTS["words"].astype("int32"), INPUTS["words"] % 3)
    monkeypatch.setattr(evaluation, "_NUM_PLACES", 40)
    logits, figures = evaluate(trained, split, tmp_path)
    flat, labels = np.asarray(models["b"](split.images)).reshape(150, 3), split.labels.ravel()
    assert logits["student"].shape == (30, 5, 3)
    assert figures["student"]["accuracy"] == kd.metrics.accuracy(labels, flat)
    log_probs = flat - np.log(np.exp(flat).sum(-1, keepdims=True))
    said = -log_probs[np.arange(150), labels].mean()
    assert figures["student"]["negative_log_likelihood"] == pytest.approx(said, rel=1e-6)
    kept = Predictions(tmp_path, 3, names=("teacher", "student"))
    assert len(kept.labels) == 40 and not len(kept.shown) and not kept.images.size
    places = [(flat == row).all(-1) & (labels == number) for row, number in
              zip(kept.logits["student"], kept.labels, strict=True)]  # fmt: skip
    assert np.any(places, axis=1).all()  # A label stands beside what is said of its place.


def test_large_images_are_shown_a_few_at_a_time():
    images = np.zeros((5, 2000, 2000, 3), np.uint8)
    traced, shown = [], []

    def model(images):
        traced.append(images.shape)
        tf.py_function(lambda each: shown.append(len(each)), [images], [])
        return tf.zeros([tf.shape(images)[0], 3])

    logits = logits_of(model, kd.data.Split(images, np.zeros(5, int)))
    assert logits.shape == (5, 3) and shown == [1] * 5
    assert [tuple(each) for each in traced] == [(None, 2000, 2000, 3)]


def test_of_what_is_no_image_the_places_are_kept(data, trained, tmp_path):
    models = {name: Trained(each, {}) for name, each in trained.items()}
    logits, figures = evaluate(models, data.test, tmp_path)
    assert figures["teacher"]["agreement_with_teacher"] == 1
    kept = Predictions(tmp_path, 3, names=models)
    differ = logits["teacher"].argmax(-1) != logits["student"].argmax(-1)
    assert sorted(kept.shown) == sorted(np.flatnonzero(differ)[:24]) and len(kept.images) == 0
    np.testing.assert_array_equal(kept.logits["student"], logits["student"])
    with pytest.raises(ValueError, match="whose arrays do not fit"):
        Predictions(tmp_path, 3)  # There is no student alone.


def test_without_a_teacher_nothing_is_said_of_it(data, trained, tmp_path):
    logits, figures = evaluate({"student": Trained(trained["student"], {})}, data.test, tmp_path)
    assert set(logits) == {"student"} and "agreement_with_teacher" not in figures["student"]
    assert len(Predictions(tmp_path, 3, names=["student"]).shown) == 0


def test_of_a_teacher_that_was_not_trained_here_little_is_known(trained, tmp_path):
    trained["teacher"].save(tmp_path / "mine.keras")
    trained["student"].save(tmp_path / "student.keras")
    models = {
        "teacher": Trained(TeacherModel(kd.Teacher(trained["teacher"])), {}),
        "student": Trained(trained["student"], CURVES),
    }
    figures = {"teacher": {"accuracy": 1.0}, "student": {"accuracy": 0.5}}
    described = describe_models(tmp_path, models, figures)
    assert described["teacher"] == {"parameters": 63, "test": {"accuracy": 1.0}}
    assert described["student"] == {
        "epochs": 2,
        "best_epoch": 2,
        "seconds": 1.5,
        "validation_accuracy": 0.6,
        "parameters": 63,
        "bytes": (tmp_path / "student.keras").stat().st_size,
        "test": {"accuracy": 0.5},
    }
    path = tmp_path / "mine.keras"
    described = describe_models(tmp_path, models, figures, {"teacher": path})
    assert described["teacher"]["bytes"] == path.stat().st_size
