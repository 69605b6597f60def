"""What the former version saved still loads, and goes on as it would have there."""

import importlib.util
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd import cli

FORMER = Path(__file__).parent / "data" / "former"


def imported(path):
    spec = importlib.util.spec_from_file_location("former", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# How the files were written.
former = imported(FORMER / "write.py")
TOLD = np.load(FORMER / "predictions.npz")
SAVED = [name for name in TOLD.files if name not in ("images", "labels") and " " not in name]
TRAINED = [name for name in SAVED if f"{name} after a step" in TOLD.files]
# The teacher of each distiller whose loss needs one.
TEACHER_OF = {
    "logits": "conv_teacher",
    "layers": "conv_teacher",
    "binary": "sigmoid_teacher",
    "of_keras": "conv_teacher",
    "twin": "conv_teacher",
    "discriminator": "net_teacher",
    "data_free": "conv_teacher",
}


def unpacked(name, folder):
    with zipfile.ZipFile(FORMER / name) as files:
        files.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return unpacked("models.zip", tmp_path_factory.mktemp("models"))


@pytest.fixture
def runs(tmp_path):
    return unpacked("runs.zip", tmp_path)


def load(models, name):
    return keras.models.load_model(models / f"{name}.keras")


def teacher_of(models, name):
    if name == "ensemble":
        return former.ensemble_of({each: load(models, each) for each in SAVED if "teacher" in each})
    return load(models, TEACHER_OF[name])


def check_told(model, name):
    predicted = np.asarray(model(TOLD["images"], training=False))
    np.testing.assert_allclose(predicted, TOLD[name], rtol=1e-5, atol=1e-5)


def test_the_files_hold_every_saved_model(models):
    assert {path.name.removesuffix(".keras") for path in models.glob("*.keras")} == set(SAVED)
    assert {*TEACHER_OF, "ensemble"} < set(TRAINED) < set(SAVED)


# A twin's integer layers get their ranges from the file, after the distiller is made.
@pytest.mark.filterwarnings("ignore:Whether the student returns logits was not tried")
@pytest.mark.parametrize("name", SAVED)
def test_a_saved_model_predicts_and_trains_on_as_it_did(models, name):
    model = load(models, name)
    check_told(model, name)
    if name in TRAINED:
        if name == "ensemble" or name in TEACHER_OF:
            model.attach_teacher(teacher_of(models, name))
        former.train(name, model)
        check_told(model, f"{name} after a step")


@pytest.mark.parametrize("name", ["ensemble", "logits"])
def test_another_teacher_is_refused(models, name):
    with pytest.raises(ValueError, match="the one this distiller was saved with"):
        load(models, name).attach_teacher(load(models, "softmax_teacher"))


def test_weights_alone_are_loaded_into_a_new_distiller(models):
    teachers = {each: load(models, each) for each in SAVED if "teacher" in each}
    distiller = former.distillers(teachers)["layers"]
    distiller.optimizer.build(distiller.trainable_variables)
    distiller.load_weights(models / "layers.weights.h5")
    check_told(distiller, "layers")


def figures(results):
    return {name: each["test"] for name, each in results["models"].items()}


def test_a_finished_run_is_listed_and_reported(runs, capsys):
    states = {Path(run["path"]).name: run["state"] for run in kd.experiment.list_runs(runs)}
    assert states["finished"] == "finished" and states["interrupted"] == "unfinished"
    assert cli.main(["report", str(runs / "finished")]) == 0
    assert "<html" in (runs / "finished" / "report.html").read_text()
    read = kd.experiment.resume(runs / "finished", former.RECIPE, verbose=False)
    assert read == json.loads((runs / "finished" / "results.json").read_text())


def test_an_interrupted_run_goes_on_to_where_the_finished_one_came(runs):
    (checkpoint,) = (runs / "interrupted").glob("*.checkpoint.npz")
    assert checkpoint.name.startswith("student.")
    went_on = kd.experiment.resume(runs / "interrupted", former.RECIPE, verbose=False)
    whole = json.loads((runs / "finished" / "results.json").read_text())
    for name, expected in figures(whole).items():
        assert figures(went_on)[name] == pytest.approx(expected, rel=1e-4), name


def test_a_distillation_is_read_back(runs):
    folder = runs / "distilled"
    there = {path: path.read_bytes() for path in folder.iterdir()}
    result = former.distil(runs / "finished" / "teacher.keras", folder)
    assert result.report == json.loads((folder / "report.json").read_text())
    assert {path: path.read_bytes() for path in folder.iterdir()} == there
    (file,) = folder.glob("*.tflite")
    assert kd.export.embedded(file)["input"]["range"] == [0.0, 255.0]
