"""A comparison over seeds: paired, honest about the test split, resumed after an interruption."""

import dataclasses
import functools
import json
import shutil
import sys

import keras
import numpy as np
import pytest
import warm
from dying import Dying, but_for_seconds
from scipy import stats

import keras_kd as kd
from keras_kd.experiment import compare, statistics, tables
from keras_kd.experiment.compare import summary
from keras_kd.launchers import processes
from keras_kd.runs import checkpoint

ARRANGEMENTS = ["teacher", "student_alone", "label_smoothing", "student"]
OPTIONS = {"seeds": 2, "epochs": 2, "verbose": False}

pytestmark = [pytest.mark.usefixtures("improved_graphs"), pytest.mark.slow]


class Watched:
    """A data set that notes when its test split is asked for."""

    def __init__(self, data, events):
        self.data, self.events = data, events

    def __getattr__(self, name):
        if name == "test":
            self.events.append("test split read")
        return getattr(self.data, name)


@pytest.fixture(scope="module")
def events():
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def results(folder, events):
    with pytest.MonkeyPatch.context() as patch:
        load, fit = kd.data.load, keras.Model.fit
        patch.setattr(kd.data, "load", lambda *a, **o: Watched(load(*a, **o), events))
        patch.setattr(
            keras.Model, "fit", lambda self, *a, **o: events.append("fit") or fit(self, *a, **o)
        )
        return compare(kd.recipes.digits, output=folder, **OPTIONS)


def test_the_test_split_is_read_once_after_every_training_of_every_seed(results, events):
    # A teacher and a group of students, for each of two seeds.
    assert events == ["fit", "fit", "fit", "fit", "test split read"]


def test_every_arrangement_stands_beside_the_others(folder, results):
    assert list(results["models"]) == ARRANGEMENTS
    assert json.loads((folder / "results.json").read_text()) == results
    for seed in (0, 1):
        for name in ARRANGEMENTS:
            assert (folder / f"seed_{seed}" / f"{name}.keras").is_file()
            assert (folder / f"seed_{seed}" / f"{name}_history.csv").is_file()


def test_the_figures_are_those_of_the_files(folder, results, digits):
    for run in results["runs"]:
        for name, model in run["models"].items():
            path = folder / f"seed_{run['seed']}" / f"{name}.keras"
            logits = keras.models.load_model(path).predict(digits.test.images, verbose=0)
            assert model["test"]["accuracy"] == kd.metrics.accuracy(digits.test.labels, logits)


def test_students_of_a_seed_differ_and_so_do_seeds(results):
    tests = [model["test"] for run in results["runs"] for model in run["models"].values()]
    likelihoods = [test["negative_log_likelihood"] for test in tests]
    assert len(set(likelihoods)) == len(likelihoods) == 8


@pytest.mark.parametrize("other", ["student_alone", "label_smoothing"])
@pytest.mark.parametrize(
    ("metric", "sign"),
    [("accuracy", 1), ("negative_log_likelihood", -1), ("agreement_with_teacher", 1)],
)
def test_gains_are_paired_over_seeds(results, other, metric, sign):
    def values(name):
        return np.array([run["models"][name]["test"][metric] for run in results["runs"]])

    gain = results["gains"][other][metric]
    np.testing.assert_allclose(gain["values"], sign * (values("student") - values(other)))
    assert gain == statistics.judged(gain["values"])
    assert results["verdict"] == results["gains"]["student_alone"]["accuracy"]["verdict"]


def test_a_distiller_of_its_own_stands_beside_plain_soft_targets(tmp_path):
    judged = functools.partial(kd.adversarial.DiscriminatorDistiller, beta=0.1)
    recipe = dataclasses.replace(kd.recipes.digits, distiller=judged)
    results = compare(recipe, output=tmp_path, seeds=1, epochs=1, verbose=False)
    assert list(results["models"]) == [*ARRANGEMENTS, "soft_targets"]
    assert "soft_targets" in results["gains"]
    logs = json.loads((tmp_path / "seed_0" / "students.json").read_text())["curves"]
    playing = [name for name, curves in logs.items() if "adversarial_loss" in curves]
    assert playing == ["student"]
    assert (kd.experiment.write_report(tmp_path)).is_file()


def test_called_again_it_trains_nothing(folder, results, monkeypatch):
    def fit(*args, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(keras.Model, "fit", fit)
    again = compare(kd.recipes.digits, output=folder, **OPTIONS)
    assert {**again, "seconds": 0} == {**results, "seconds": 0}


def test_interrupted_in_its_second_seed_it_goes_on_to_the_same_figures(
    tmp_path, folder, results, monkeypatch
):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "seed_1")
    write = checkpoint.Checkpoint._write

    def write_and_interrupt(self):
        write(self)
        if self.path.parent.name == "seed_1" and "students" in self.path.name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "_write", write_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            compare(kd.recipes.digits, output=tmp_path, **OPTIONS)
    (tmp_path / "results.json").unlink()
    (unfinished,) = kd.experiment.list_runs(tmp_path)
    assert unfinished["state"] == "unfinished"
    assert unfinished["at"] == "seed_1, students after epoch 1"
    resumed = kd.experiment.resume(tmp_path, kd.recipes.digits, verbose=False)

    def figures(results):
        return [
            {name: model["test"] for name, model in run["models"].items()}
            for run in results["runs"]
        ]

    assert figures(resumed) == figures(results)


def test_two_processes_one_of_them_killed_find_what_one_finds(
    tmp_path, results, monkeypatch, capsys
):
    monkeypatch.setattr(processes, "_context", warm._context)
    workers = Dying("students", tmp_path / "shared")
    options = {**OPTIONS, "verbose": True}
    found = compare(kd.recipes.digits, output=workers.folder, workers=workers, **options)
    assert but_for_seconds(dict(found)) == but_for_seconds(dict(results))
    # It went on after the epoch that was done.
    path, epochs = workers.killed()
    assert epochs == [1, 2] and path.endswith("/students.checkpoint.npz")
    assert not [*workers.folder.rglob("*.checkpoint.npz"), *workers.folder.rglob(".*")]
    said = capsys.readouterr().out
    assert said.count(" is trained: ") == 2 and "is trained: 2 of 2" in said
    # All trainings count, whoever did them.
    trainings = [run["models"][name] for run in found["runs"] for name in ("teacher", "student")]
    assert found["seconds"] > sum(each["seconds"] for each in trainings)


def test_models_of_several_machines_are_said_to_be(folder, results, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    record = tmp_path / "seed_1" / "students.json"
    trained = json.loads(record.read_text())
    trained["machine"]["device"] = "CPU (another)"
    record.write_text(json.dumps(trained))
    (tmp_path / "results.json").unlink()
    again = compare(kd.recipes.digits, output=tmp_path, **OPTIONS)
    assert "machines" not in results
    assert again["machines"] == [results["machine"], trained["machine"]]
    (sentence,) = (line for line in tables.notes(again) if "kinds of machines" in line)
    assert "CPU (another). Where processors differ" in sentence and "Linux" not in sentence


def test_the_table_fits_a_terminal_and_says_the_verdict(results, capsys):
    import rich.console

    console = rich.console.Console(width=80, record=True)
    console.print(tables.comparison(results))
    said = console.export_text()
    assert "…" not in said and "label smoothing" in said
    lines = tables.verdicts(results)
    assert len(lines) == 6
    assert lines[0].startswith("accuracy: ") and results["verdict"] in lines[0]
    assert lines[0].endswith("NO VERDICT, fewer than three seeds cannot tell")


def gains_of(values, quick=False):
    """What a comparison of as many seeds keeps, with these gains in accuracy."""
    models = ("teacher", "student", "student_alone")

    def test(accuracy):
        return {
            "accuracy": accuracy, "negative_log_likelihood": 1 - accuracy,
            "agreement_with_teacher": accuracy,
        }  # fmt: skip

    rest = dict.fromkeys(("epochs", "best_epoch", "seconds", "validation_accuracy"), 1)
    runs = [
        {"seed": seed, "models": {
            name: {**rest, "parameters": 1, "bytes": 1,
                   "test": test(0.5 + (value if name == "student" else 0))}
            for name in models
        }}
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return summary(runs, quick=quick)


def test_the_teacher_is_the_last_of_the_gains_and_has_none_in_agreement_with_itself():
    gains = gains_of([0.010, 0.012, 0.011])["gains"]
    assert list(gains)[-1] == "teacher"
    assert set(gains["teacher"]) == {"accuracy", "negative_log_likelihood"}
    assert gains["teacher"]["accuracy"]["mean"] == pytest.approx(0.011)


def test_three_seeds_with_spread_are_judged_and_a_first_look_is_not():
    found = gains_of([0.010, 0.012, 0.011])
    assert found["verdict"] == "BEATS"
    gain = found["gains"]["student_alone"]["accuracy"]
    interval = stats.ttest_1samp(gain["values"], 0).confidence_interval(0.95)
    np.testing.assert_allclose(gain["interval_95"], interval)
    assert "over 3 seeds" in tables.verdicts(found)[0]
    quick = gains_of([0.010, 0.012, 0.011], quick=True)
    assert quick["verdict"] == "NO VERDICT"
    assert tables.verdicts(quick)[0] == (
        "accuracy: distilled over student alone +1.10 points: NO VERDICT, `--quick` is too short "
        "to judge"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seeds": 0}, "`seeds` must be an integer of at least 1"),
        ({"seeds": [1, 1]}, "`seeds` must be different"),
        ({"seeds": [0, -1]}, "`seeds` must be an integer of at least 0"),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(kd.recipes.digits, output=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_without_scipy_it_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r'pip install "keras-kd\[report\]"'):
        compare(kd.recipes.digits, output=tmp_path / "new")
    assert not (tmp_path / "new").exists()
