"""A recipe from end to end, on real digits: files, honesty, reuse, repeatability."""

import dataclasses
import importlib
import json

import keras
import matplotlib.colors
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd._common.looks import LOOKS
from keras_kd.experiment import report, training

RUN = importlib.import_module("keras_kd.experiment.run")  # The package has a function so named.

pytestmark = pytest.mark.slow

FILES = {
    "config.json", "results.json", "picture.png", "predictions.npz",
    "student_savedmodel", "student.tflite", "student.tflite.json",
    *(f"{name}{end}" for name in ("teacher", "student", "student_alone")
      for end in (".keras", ".json", "_history.csv")),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def results(folder):
    return kd.recipes.digits(quick=True, output=folder, verbose=False)


def test_every_file_is_there_and_nothing_else(folder, results):
    assert {file.name for file in folder.iterdir()} == FILES
    assert json.loads((folder / "results.json").read_text()) == results


def test_the_reported_figures_are_those_of_the_files(folder, results, digits):
    for name, model in results["models"].items():
        loaded = keras.models.load_model(folder / f"{name}.keras")
        assert not loaded.compiled
        logits = loaded.predict(digits.test.images, verbose=0)
        assert model["test"]["accuracy"] == kd.metrics.accuracy(digits.test.labels, logits)
        assert model["bytes"] == (folder / f"{name}.keras").stat().st_size
        validation = loaded.predict(digits.validation.images, verbose=0)
        assert model["validation_accuracy"] == pytest.approx(
            kd.metrics.accuracy(digits.validation.labels, validation)
        )
    run = kd.export.run_litert(folder / "student.tflite", digits.test.images)
    assert results["litert"]["accuracy"] == kd.metrics.accuracy(digits.test.labels, run.logits)
    assert results["litert"]["agreement_with_keras"] == 1.0
    served = tf.saved_model.load(str(folder / "student_savedmodel")).signatures["serve"]
    images = digits.test.images.astype("float32")
    np.testing.assert_allclose(served(image=tf.constant(images))["logits"], run.logits, atol=1e-3)


def test_teacher_and_students_have_learned(results):
    # Ten classes: chance is 0.1.
    assert results["models"]["teacher"]["test"]["accuracy"] > 0.9
    for name in ("student", "student_alone"):
        assert results["models"][name]["test"]["accuracy"] > 0.6


def test_the_picture_is_a_picture(folder, results):
    from matplotlib.image import imread

    picture = imread(folder / "picture.png")
    assert picture.shape[0] > 500 and picture.shape[1] > 1000
    # The colours of the curves of student and student alone are in it.
    for name in ("student", "student_alone"):
        colour = np.array(matplotlib.colors.to_rgb(LOOKS[name].colour))
        assert (np.abs(picture[..., :3] - colour).max(-1) < 0.01).sum() > 100


def test_a_list_of_runs_gives_a_quick_one_no_interval(folder, results):
    (found,) = kd.experiment.list_runs(folder)
    points = f"{100 * results['gain']['accuracy']:+.2f} points"
    assert found["figures"].endswith(f", {points} (quick)")


def test_run_again_it_is_answered_at_once(folder, results, capsys, monkeypatch):
    monkeypatch.setattr(training.Trainer, "train", None)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = kd.recipes.digits(quick=True, output=folder)
    said = capsys.readouterr().out.replace("\n", "")
    assert f"{folder} is finished:" in said and "student distilled" in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert again == results
    for one, two in zip(again.student.get_weights(), results.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_without_a_file_it_uses_the_teacher_again_and_says_so(folder, results, capsys):
    (folder / "picture.png").unlink()
    before = (folder / "teacher.keras").stat().st_mtime_ns
    again = kd.recipes.digits(quick=True, output=folder)
    said = capsys.readouterr().out
    assert "is of the same settings and data, and is used again" in said.replace("\n", " ")
    assert (folder / "teacher.keras").stat().st_mtime_ns == before
    assert (folder / "picture.png").is_file()
    # The same seed gave the same weights: every figure but the timings is the same.
    assert without_timings(again) == without_timings(results)


def without_timings(value):
    if isinstance(value, dict):
        return {
            key: without_timings(part)
            for key, part in value.items()
            if key not in ("seconds", "microseconds_per_image", "bytes")
        }
    return value


@pytest.mark.parametrize("change", ["seed", "recipe", "file"])
def test_a_teacher_of_other_making_is_not_used(folder, results, monkeypatch, change):
    class TrainedAnew(Exception):
        pass

    def train(*args):
        raise TrainedAnew

    monkeypatch.setattr(training.Trainer, "batches", train)
    picture = (folder / "picture.png").read_bytes()
    (folder / "picture.png").unlink()  # A finished run is only shown.
    record = (folder / "teacher.keras").read_bytes()
    recipe, seed = kd.recipes.digits, 0
    if change == "seed":
        seed = 1
    elif change == "recipe":
        recipe = dataclasses.replace(recipe, learning_rate=1e-2)
    else:
        (folder / "teacher.keras").write_bytes(record + b"\0")
    try:
        with pytest.raises(TrainedAnew):
            recipe(quick=True, seed=seed, output=folder, overwrite=True, verbose=False)
    finally:
        (folder / "teacher.keras").write_bytes(record)
        (folder / "picture.png").write_bytes(picture)


def test_the_test_split_is_read_once_after_every_choice(tmp_path, monkeypatch, digits):
    events = []

    class Watched:
        """The data set, noting when its test split is asked for."""

        def __getattr__(self, name):
            if name == "test":
                events.append("test split read")
            return getattr(digits, name)

    def note(name, function):
        def noted(*args, **options):
            events.append(name)
            return function(*args, **options)

        return noted

    monkeypatch.setattr(kd.data, "load", lambda *args, **options: Watched())
    monkeypatch.setattr(keras.Model, "fit", note("fit", keras.Model.fit))
    monkeypatch.setattr(RUN.export, "litert", note("export", kd.export.litert))
    kd.recipes.digits(epochs=1, output=tmp_path, verbose=False)
    assert events == ["fit", "fit", "fit", "export", "test split read"]


def test_an_interrupted_run_keeps_its_teacher_and_leaves_nothing_half_written(
    tmp_path, monkeypatch
):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Trainer, "distilled", interrupt)
    with pytest.raises(KeyboardInterrupt):
        kd.recipes.digits(epochs=1, output=tmp_path, verbose=False)
    left = {"config.json", "teacher.keras", "teacher.json", "teacher_history.csv"}
    assert {file.name for file in tmp_path.iterdir()} == left
    keras.models.load_model(tmp_path / "teacher.keras")


class TestTheVerdictIsHonest:
    @pytest.mark.parametrize(
        ("gain", "interval", "said"),
        [
            (
                0.012,
                [0.004, 0.020],
                "1.20 points better than the same student alone (0.40 to 2.00, ",
            ),
            (
                -0.012,
                [-0.02, -0.004],
                "1.20 points worse than the same student alone (0.40 to 2.00, ",
            ),
            (0.003, [-0.002, 0.008], "is open: +0.30 points (-0.20 to +0.80, "),
        ],
    )
    def test_it_says_what_the_interval_allows(self, gain, interval, said):
        sentence = report.verdict({"accuracy": gain, "interval_95": interval})
        assert said in sentence and "one seed" in sentence
        quick = report.verdict({"accuracy": gain, "interval_95": interval}, quick=True)
        assert said not in quick and quick.startswith("No verdict, since `--quick` is too short")


def test_an_output_that_is_a_file_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="`output` must be a folder"):
        kd.recipes.digits(output=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("options", [{"seed": -1}, {"epochs": 0}, {"epochs": 1.5}])
def test_arguments_are_checked_before_anything_is_written(tmp_path, options):
    with pytest.raises(ValueError, match="must be an integer of at least"):
        kd.recipes.digits(output=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
