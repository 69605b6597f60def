"""A recipe of maps: what it measures, by hand; and a whole run on maps made up."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd import cli
from keras_kd._common.locks import at_work
from keras_kd.experiment import maps
from keras_kd.experiment.maps import MapRecipe, chosen_on, f_measure, figures_of, iou


def line(*, at, length=8):
    """A map of 8 x 8 with an upright line."""
    found = np.zeros((1, 8, 8, 1), bool)
    found[:, :length, at] = True
    return found


class TestMeasures:
    def test_iou_is_what_is_shared_of_all(self):
        both = line(at=2) | line(at=5)
        assert iou(line(at=2), both) == 0.5 and iou(both, both) == 1.0
        assert iou(line(at=2), line(at=3)) == 0.0
        assert iou(line(at=2, length=0), line(at=2, length=0)) == 1.0

    def test_an_edge_a_pixel_beside_is_found_and_one_two_beside_is_not(self):
        assert f_measure(line(at=2), line(at=3)) == 1.0
        assert f_measure(line(at=2), line(at=4)) == 0.0
        assert f_measure(line(at=2), line(at=2, length=0)) == 0.0

    def test_f_measure_is_of_precision_and_recall(self):
        # All that is said is right, and of eight pixels five are reached.
        assert f_measure(line(at=2), line(at=2, length=4)) == pytest.approx(2 * 0.625 / 1.625)
        # Half of what is said is right, and all is reached.
        assert f_measure(line(at=2), line(at=2) | line(at=6)) == pytest.approx(2 * 0.5 / 1.5)

    def test_a_threshold_is_the_best_on_validation_and_stays_on_test(self):
        right, scores = line(at=2), np.full((1, 8, 8, 1), 0.1)
        scores[line(at=2)], scores[line(at=5)] = 0.9, 0.5
        chosen = chosen_on(right, scores)
        assert 0.5 <= chosen["iou"] < 0.9 and 0.5 <= chosen["f_measure"] < 0.9
        # There another would be better.
        found = figures_of(line(at=2) | line(at=5), scores, chosen)
        assert found["iou"] == 0.5 and found["thresholds"] == chosen
        assert found["mean_iou"] == pytest.approx((0.5 + 48 / 56) / 2)


def made_up(seed):
    """Images of a bright square each; the teacher says yes where it is bright, surely or less."""
    drawn = np.random.default_rng(0)
    images = drawn.integers(0, 60, (48, 16, 16, 3)).astype("uint8")
    for image in images:
        top, left = drawn.integers(0, 10, 2)
        image[top : top + 6, left : left + 6] += 150
    logits = (images.mean(axis=-1, keepdims=True, dtype="float32") - 110) / 10
    labels = kd.Targets((logits > 0).astype("uint8"), logits)
    split = kd.data.Split(images, labels)
    parts = {"train": slice(32), "validation": slice(32, 40), "test": slice(40, 48)}
    splits = {name: split.take(part) for name, part in parts.items()}
    return kd.data.Data("squares", class_names=("bright",), source="made up", **splits)


def small():
    images = keras.Input((16, 16, 3), name="images")
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    return keras.Model(images, layers.Conv2D(1, 1, name="logits")(x))


SQUARES = MapRecipe(
    name="squares",
    data=made_up,
    student=small,
    loss=kd.losses.BinarySoftTargets,
    temperature=1.0,
    alpha=1.0,
    epochs=30,
    quick_epochs=1,
    batch_size=8,
    optimizer=kd.experiment.optimizers.one_cycle(0.03),
    rivals={"nothing": lambda images: np.zeros((len(images), 16, 16, 1))},
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "squares"
    return folder, SQUARES(output=folder, verbose=False)


def test_both_students_learn_and_the_file_says_what_its_student_says(finished):
    folder, found = finished
    for name in ("student", "student_alone"):
        assert found["models"][name]["iou"] > 0.8 and found["models"][name]["parameters"] == 117
    assert found["models"]["nothing"]["iou"] == 0
    assert abs(found["int8"]["iou"] - found["models"]["student"]["iou"]) < 0.1
    assert found["int8"]["thresholds"] == found["models"]["student"]["thresholds"]
    assert found["int8"]["bytes"] == (folder / "student_int8.tflite").stat().st_size
    assert json.loads((folder / "maps.json").read_text()) == found
    student, alone = (
        keras.models.load_model(folder / f"{name}.keras").get_weights()
        for name in ("student", "student_alone")
    )
    assert not np.array_equal(student[0], alone[0])


def test_what_is_there_is_not_trained_again(finished, monkeypatch):
    folder, found = finished
    monkeypatch.setattr(MapRecipe, "fit", None)
    with monkeypatch.context() as at_once:
        at_once.setattr(MapRecipe, "_judged", None)
        assert SQUARES(output=folder, verbose=False) == found
    # As after a kill: both students are there, and no figures.
    (folder / "maps.json").write_text(json.dumps({"settings": found["settings"]}))
    assert SQUARES(output=folder, verbose=False)["models"] == found["models"]


def test_another_run_is_not_replaced_unasked(finished):
    folder, _ = finished
    with pytest.raises(ValueError, match=r"seed: 0 there, 1 here.* Choose another folder"):
        SQUARES(seed=1, output=folder, verbose=False)
    loss = dataclasses.replace(SQUARES, temperature=2.0)
    with pytest.raises(ValueError, match="temperature: 1.0 there, 2.0 here"):
        loss(output=folder, verbose=False)


def test_with_nothing_of_the_teacher_it_is_plain_training():
    train = made_up(0).train
    weights = []
    for alpha in (0.0, None):
        distiller = SQUARES.distiller(alpha or 0.0, seed=3)
        if alpha is None:
            distiller = kd.Distiller(student=distiller.student, alpha=0.0)
        SQUARES.fit(distiller, train, epochs=2, seed=3)
        weights.append(distiller.student.get_weights())
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


def test_a_model_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "student.keras").write_bytes(b"of years")
    with pytest.raises(ValueError, match=r"holds models of other settings \(student\.keras\)"):
        SQUARES(output=tmp_path, verbose=False)
    assert (tmp_path / "student.keras").read_bytes() == b"of years"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1"),
        ({"budget": "1h"}, "A recipe of maps knows no `budget`"),
    ],
)
def test_what_it_cannot_be_asked_for_is_refused(asked, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        SQUARES(output=tmp_path / "new", **asked)
    assert not (tmp_path / "new").exists()


def test_quick_takes_a_tenth_and_says_so(tmp_path):
    found = SQUARES(quick=True, output=tmp_path, verbose=False)
    assert found["images"] == {"train": 4, "validation": 1, "test": 1}
    assert found["settings"]["quick"] and found["settings"]["epochs"] == 1
    assert maps.lines_of(found)[0] == "`--quick` is too short to judge."


def test_lines_tell_each_model(finished):
    lines = maps.lines_of(finished[1])
    assert [each.split(":")[0] for each in lines[:3]] == ["distilled", "on hard maps", "nothing"]
    assert lines[3].startswith("int8 file, ") and all(": IoU " in each for each in lines)


@pytest.mark.parametrize("command", ["compare", "sweep", "search", "distill", "check"])
def test_commands_that_judge_classes_name_the_one_that_judges_maps(command, capsys):
    assert cli.main([command, "edges"]) == 2
    assert "Say `keras-kd run edges`, once a seed" in " ".join(capsys.readouterr().err.split())


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    with at_work(tmp_path), pytest.raises(ValueError, match="Another process is at work in"):
        SQUARES(output=tmp_path, verbose=False)


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": 3}'])
def test_a_damaged_record_is_told_with_its_place(content, tmp_path):
    (tmp_path / "maps.json").write_text(content)
    with pytest.raises(ValueError, match=r"must be as it was written. Received: .*maps\.json"):
        SQUARES(output=tmp_path, verbose=False)


def test_a_student_whose_record_is_damaged_is_trained_again(finished, tmp_path):
    folder, found = finished
    shutil.copytree(folder, tmp_path / "squares")
    (tmp_path / "squares" / "maps.json").write_text(json.dumps({"settings": found["settings"]}))
    (tmp_path / "squares" / "student.json").write_text("[]")
    assert SQUARES(output=tmp_path / "squares", verbose=False)["models"] == found["models"]
