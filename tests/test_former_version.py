"""What the former version saved still loads, and goes on as it would have there."""

import importlib.util
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd import cli

pytestmark = pytest.mark.usefixtures("improved_graphs", "no_pictures")

FORMER = Path(__file__).parent / "saved" / "former"


def imported(name):
    spec = importlib.util.spec_from_file_location(name, FORMER / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# How the files were written.
former, commands = imported("write"), imported("write_commands")
TOLD = np.load(FORMER / "predictions.npz")
# How a sentence tells that another version wrote something.
NAMED = re.compile(r"written by keras_kd 0\.1\.")
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


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_a_distillation_is_refused_by_the_name_of_its_version_and_left_alone(runs):
    folder = runs / "distilled"
    there = content(folder)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=NAMED):
            former.distil(runs / "finished" / "teacher.keras", folder, overwrite=overwrite)
    assert content(folder) == there
    (file,) = folder.glob("*.tflite")
    assert kd.export.embedded(file)["input"]["range"] == [0.0, 255.0]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What each command left, finished and killed, to be read."""
    return unpacked("commands.zip", tmp_path_factory.mktemp("left"))


@pytest.fixture
def place(left, tmp_path, monkeypatch):
    """A function that makes a copy of one of these folders below the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(left / "teacher.keras", tmp_path)
    return lambda name: shutil.copytree(left / name, tmp_path / name)


def refused_or_done(capsys, folder, *command):
    """Return whether a command was carried out; if not, a sentence names the version."""
    there = content(folder)
    code, told = cli.main([*map(str, command)]), capsys.readouterr()
    if code == 0:
        return True
    assert code in (1, 2) and told.err.startswith("keras-kd: error: ")
    assert told.err.count("\n") == 1 and NAMED.search(told.err), told.err
    assert content(folder) == there
    return False


def test_what_each_command_left_is_listed(left):
    runs = {Path(run["path"]).name: run for run in kd.experiment.list_runs(left)}
    for kind in commands.CALLS:
        for name in (f"finished_{kind}", f"digits_{kind}"):
            assert runs[name]["state"] == "finished", runs[name]
            assert runs[name]["kind"] == kind and runs[name]["figures"]
    for name in ("killed_compare", "killed_sweep", "killed_search", "killed_digits"):
        # A killed process left its lock, and nobody holds it.
        assert runs[name]["state"] == "unfinished", runs[name]
    for name, run in runs.items():
        if run["damage"]:
            assert name in ("finished_distill", "killed_distill", "killed_probe", "unfinished")
            assert run["state"] == "of a former version" and NAMED.search(run["damage"]), run


@pytest.mark.parametrize("kind", commands.CALLS)
def test_a_finished_one_of_a_command_is_shown_and_nothing_of_it_is_touched(kind, place, capsys):
    folder = place(f"digits_{kind}")
    there = content(folder)
    assert cli.main(["resume", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "is finished" in said
    student = figures(json.loads((folder / "results.json").read_text()))["student"]["accuracy"]
    mean = student["mean"] if isinstance(student, dict) else student
    assert f"{mean:.4f}" in said or f"{100 * mean:.2f}" in said
    assert content(folder) == there


@pytest.mark.parametrize("kind", commands.CALLS)
def test_a_finished_one_has_a_page(kind, place):
    folder = place(f"finished_{kind}")
    assert cli.main(["report", str(folder)]) == 0
    assert "former" in (folder / "report.html").read_text()


# A run stands above. What is drawn in a search depends on whether an earlier trial was killed.
@pytest.mark.parametrize(
    ("kind", "left_out"), [("compare", ()), ("sweep", ()), ("search", ("student",))]
)
def test_a_killed_one_goes_on_to_where_the_finished_one_came(kind, left_out, place, left):
    folder = place(f"killed_{kind}")
    trained = {path.name: path.read_bytes() for path in folder.rglob("teacher.keras")}
    went_on = kd.experiment.resume(folder, former.RECIPE, verbose=False)
    whole = json.loads((left / f"finished_{kind}" / "results.json").read_text())
    assert went_on["kind"] == kind and went_on["recipe"] == "former"
    for name in figures(whole).keys() - set(left_out):
        for figure, value in figures(whole)[name].items():
            assert figures(went_on)[name][figure] == pytest.approx(value, rel=1e-4), name
    # Whatever trained them on another machine, they are not trained again.
    assert (
        trained.items()
        <= {path.name: path.read_bytes() for path in folder.rglob("teacher.keras")}.items()
    )


def test_a_killed_run_of_a_named_recipe_goes_on_by_the_command(place, capsys):
    folder = place("killed_digits")
    teacher = (folder / "teacher.keras").read_bytes()
    assert cli.main(["resume", str(folder)]) == 0
    assert "student distilled goes on after epoch 1" in capsys.readouterr().out
    assert (folder / "teacher.keras").read_bytes() == teacher
    assert (folder / "results.json").is_file()


@pytest.mark.parametrize("command", ["report", "resume"])
def test_a_distillation_is_read_or_refused_by_the_name_of_its_version(command, place, capsys):
    folder = place("finished_distill")
    refused_or_done(capsys, folder, command, folder)


@pytest.mark.parametrize("name", ["finished_distill", "killed_distill", "killed_probe"])
def test_the_same_command_goes_on_or_names_the_version(name, place, capsys):
    folder = place(name)
    chosen = [] if name == "killed_probe" else commands.CHOSEN
    command = [*commands.DISTILL, *chosen, "--output", folder]
    refused_or_done(capsys, folder, *command)
