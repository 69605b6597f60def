"""Experiments with one's own teacher on what is no image: a table, several inputs, `tf.data`."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.data.joining import taught, with_unlabelled

pytestmark = pytest.mark.usefixtures("no_pictures")

RANDOM = np.random.default_rng(0)
COUNT = 200
TABLE = RANDOM.normal(size=(COUNT, 5)) * [1, 100, 0.01, 1, 1]
WORDS = RANDOM.integers(0, 9, (COUNT, 6))
LABELS = (TABLE[:, 0] > 0).astype(int) + (TABLE[:, 1] > 0)
SEVERAL = {"table": TABLE, "words": WORDS}
TRAIN, TEST = slice(140), slice(140, None)
SETTINGS = {"temperature": 2.0, "alpha": 0.9, "batch_size": 30, "epochs": 1}
QUIET = {"verbose": False}


def part(inputs, chosen):
    return tf.nest.map_structure(lambda each: each[chosen], inputs), LABELS[chosen]


def table(seed=0):
    return kd.data.from_arrays(
        part(TABLE, TRAIN), part(TABLE, TEST), seed=seed, name="table", validation_fraction=0.25
    )


def several(seed=0):
    return kd.data.from_arrays(
        part(SEVERAL, TRAIN), part(SEVERAL, TEST), seed=seed, validation_fraction=0.25
    )


def two_inputs(input_shape, num_classes, units=4):
    table = keras.Input(input_shape["table"], name="table")
    words = keras.Input(input_shape["words"], name="words", dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(words))
    x = layers.Concatenate()([layers.Rescaling([1, 0.01, 100, 1, 1])(table), x])
    logits = layers.Dense(num_classes)(layers.Dense(units, activation="relu")(x))
    return keras.Model({"table": table, "words": words}, logits)


def knowing(model):
    """Return a model whose last two layers say the labels: a step each of the first features."""
    hidden, logits = model.layers[-2:]
    kernel, bias = map(np.zeros_like, hidden.get_weights())
    kernel[0, :2] = kernel[1, 2:4] = 10
    signs = np.zeros((len(bias), 1))
    signs[:4, 0] = [1, -1, 1, -1]
    bias[:4] = signs[:4, 0] / 2
    hidden.set_weights([kernel, bias])
    logits.set_weights([signs * [-4, 0, 4], np.array([2, 0, -6])])
    return model


@pytest.fixture(scope="module")
def teacher_of_table():
    scale = {"mean": [0.0] * 5, "std": [1, 100, 0.01, 1, 1]}
    return knowing(kd.models.mlp([4], input_shape=(5,), num_classes=3, **scale))


@pytest.fixture(scope="module")
def teacher_of_several():
    return knowing(two_inputs(several().input_shape, 3))


def test_arrangements_are_compared_on_a_table(teacher_of_table, tmp_path):
    recipe = kd.experiment.Recipe(data=table, teacher=teacher_of_table, student="mlp:4", **SETTINGS)
    found = kd.experiment.compare(recipe, seeds=2, output=tmp_path, **QUIET)
    # Each seed has a split of its own, and with it a student of its own scale.
    assert table(0).digest != table(1).digest and found["data"]["digest"] == table(0).digest
    for seed, run in enumerate(found["runs"]):
        student = keras.models.load_model(tmp_path / f"seed_{seed}" / "student.keras")
        scale = student.get_layer("normalize").scale
        np.testing.assert_allclose(1 / np.array(scale), table(seed).train.images.std(0))
        logits = np.asarray(student(TABLE[TEST]))
        accuracy = kd.metrics.accuracy(LABELS[TEST], logits)
        assert accuracy == run["models"]["student"]["test"]["accuracy"]


def test_a_run_trains_its_teacher_on_a_table_and_runs_the_file(tmp_path):
    recipe = kd.experiment.Recipe(
        data=table, teacher=lambda **shape: kd.models.mlp([8], **shape), student="mlp:4", **SETTINGS
    )
    found = kd.experiment.run(recipe, output=tmp_path, **QUIET)
    assert found["litert"]["agreement_with_keras"] == 1
    said = json.loads((tmp_path / "student.tflite.json").read_text())
    numbers = table().train.images
    assert said["input"]["range"] == pytest.approx([numbers.min(), numbers.max()])


def test_a_grid_is_swept_over_several_inputs(teacher_of_several, tmp_path):
    recipe = kd.experiment.Recipe(
        data=several(), teacher=teacher_of_several, student=two_inputs, **SETTINGS
    )
    options = {"temperature": [1.0, 4.0], "alpha": [0.5], "output": tmp_path, **QUIET}
    assert len(kd.experiment.sweep(recipe, **options)["cells"]) == 2


def test_several_inputs_are_distilled_and_exported_by_their_names(teacher_of_several, tmp_path):
    settings = {
        "student": two_inputs,
        **SETTINGS,
        "formats": ["float32"],
        "output": tmp_path,
        "unlabelled": several().test.images,
    }
    result = kd.distill(teacher_of_several, several(), **settings, **QUIET)
    inputs = {"table": TABLE[TEST], "words": WORDS[TEST]}
    logits = np.asarray(result.student(inputs))
    accuracy = result["models"]["student"]["test"]["accuracy"]
    assert kd.metrics.accuracy(LABELS[TEST], logits) == accuracy
    run = kd.export.run_litert(tmp_path / result["to_ship"], inputs)
    np.testing.assert_allclose(run.logits, logits, rtol=1e-4, atol=1e-4)


def test_a_student_without_a_file_says_why(teacher_of_several, tmp_path, capsys):
    settings = {"student": two_inputs, **SETTINGS, "formats": ["dynamic"], "output": tmp_path}
    assert kd.distill(teacher_of_several, several(), **settings)["to_ship"] is None
    sentence = "NO FILE was written. A file of dynamic must hold int8 weights."
    assert sentence in " ".join(capsys.readouterr().out.split())
    kd.experiment.write_report(tmp_path)
    assert sentence in (tmp_path / "report.html").read_text()


def test_a_known_data_set_is_meant_though_a_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()  # As `keras-kd run digits --output digits` leaves one.
    recipe = dataclasses.replace(kd.recipes.digits, name="of_digits")
    assert recipe.load(seed=0).image_shape == (8, 8, 1)
    assert recipe.words() is None or recipe.words()["data"] == "digits"
    with pytest.raises((ValueError, OSError), match="digits"):
        dataclasses.replace(recipe, data="./digits").load(seed=0)


def test_unlabelled_inputs_go_together_with_the_others():
    train = several().train
    both = with_unlabelled(train, part(SEVERAL, TEST)[0])
    assert len(both) == len(train) + 60 and (both.labels[-60:] == -1).all()
    np.testing.assert_array_equal(both.images["words"][-60:], WORDS[TEST])
    with pytest.raises(ValueError, match="shape of the others. Received: .*'words'"):
        with_unlabelled(train, {"words": WORDS})
    with pytest.raises(ValueError, match="equally many. Received: 60 and 200"):
        with_unlabelled(train, {"table": TABLE[TEST], "words": WORDS})


@pytest.mark.parametrize("kind", ["run", "sweep", "search"])
def test_every_kind_learns_from_soft_labels_alone_and_from_what_has_no_label(kind, tmp_path):
    data = dataclasses.replace(table(), unlabelled=TABLE[TEST])
    both = taught(data)
    logits = np.eye(3)[(both.images[:, 0] > 0).astype(int) + (both.images[:, 1] > 0)]
    stored = kd.SoftLabels.from_logits(tmp_path / "said", 5 * logits, both)
    recipe = kd.experiment.Recipe(
        data=data, teacher=None, soft_labels=stored, student="mlp:4", **SETTINGS
    )
    options = {
        "run": {},
        "sweep": {"temperature": [1.0, 2.0], "alpha": [1.0]},
        "search": {"trials": 2, "space": {"alpha": (0.5, 1.0)}},
    }
    found = getattr(kd.experiment, kind)(recipe, output=tmp_path / kind, **options[kind], **QUIET)
    assert "teacher" not in found["models"]
    assert "agreement_with_teacher" not in found["models"]["student"]["test"]
    assert kd.experiment.write_report(tmp_path / kind).is_file()


def test_seeds_learn_from_soft_labels_of_the_one_split_that_these_are_of(tmp_path):
    train = table(seed=0).train
    stored = kd.SoftLabels.from_logits(tmp_path / "said", 5 * np.eye(3)[train.labels], train)
    recipe = kd.experiment.Recipe(data=table, soft_labels=stored, student="mlp:4", **SETTINGS)
    found = kd.experiment.compare(recipe, seeds=2, output=tmp_path / "out", **QUIET)
    assert [run["seed"] for run in found["runs"]] == [0, 1]
