"""Runs are listed with their state, and gone on with."""

import dataclasses
import importlib
import json
import re
import signal
import time

import pytest
import warm

import keras_kd as kd
from keras_kd import cli
from keras_kd._common.checks import ArgumentError
from keras_kd.runs import checkpoint, records
from keras_kd.runs import folder as folder_module

RUN = importlib.import_module("keras_kd.experiment.run")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("improved_graphs", "no_pictures")]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that a Ctrl-C ended after the second epoch of its student."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    write = checkpoint.Checkpoint._write

    def write_and_interrupt(self):
        write(self)
        if self.path.name.startswith("student.") and self.epoch == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "_write", write_and_interrupt)
        assert cli.main(["run", "digits", "--epochs", "3", "--output", str(folder)]) == 130
    return folder


def test_an_unfinished_run_is_listed_and_resumed_and_its_seconds_are_those_of_all_processes(
    interrupted, capsys, monkeypatch
):
    (run,) = kd.experiment.list_runs(interrupted.parent)
    assert run["state"] == "unfinished" and run["seeds"] == [0]
    assert run["at"] == "student distilled after epoch 2"
    config = json.loads((interrupted / "config.json").read_text())
    assert config["options"]["epochs"] == 3 and config["settings"]["alpha"] == 0.9
    assert config["machine"]["keras"] and len(config["data"]["digest"]) == 64

    def read_as_slow(path, read=checkpoint.read):
        found = read(path)
        return found and {**found, "seconds": 500.0}

    record = json.loads((interrupted / "teacher.json").read_text())
    record["curves"]["teacher"]["seconds"] = 1000.0
    (interrupted / "teacher.json").write_text(json.dumps(record))
    monkeypatch.setattr(checkpoint, "read", read_as_slow)
    began = time.perf_counter()
    assert cli.main(["resume", str(interrupted)]) == 0
    took = time.perf_counter() - began
    said = capsys.readouterr().out.replace("\n", " ")
    assert "teacher.keras is of the same settings" in said
    assert "student distilled goes on after epoch 2" in said
    assert not list(interrupted.glob("*.checkpoint.npz"))
    assert json.loads((interrupted / "config.json").read_text()) == config
    results = json.loads((interrupted / "results.json").read_text())
    # The teacher's thousand, the five hundred of the student's first epochs, and what came now.
    assert 1500 < results["seconds"] < 1500 + took
    assert 500 < results["models"]["student"]["seconds"] < results["seconds"] - 1000

    assert cli.main(["list", str(interrupted.parent)]) == 0
    assert "finished" in capsys.readouterr().out
    assert cli.main(["resume", str(interrupted)]) == 0  # Shown, not run again.
    assert "is finished" in capsys.readouterr().out


def unstarted(folder, recipe="digits", kind="run"):
    folder.mkdir(parents=True)
    options = {"seed": 0, "epochs": 1, "quick": False, "data_dir": None}
    config = {"kind": kind, "recipe": recipe, "options": options, "command": "keras-kd run"}
    (folder / "config.json").write_text(json.dumps(config))


class TestWhatCannotBeResumed:
    def test_a_folder_without_a_run(self, tmp_path, capsys):
        assert cli.main(["resume", str(tmp_path)]) == 1
        assert "There is no run in" in capsys.readouterr().err

    def test_a_part_of_a_comparison(self, tmp_path, capsys):
        unstarted(tmp_path / "seed_0", kind="seed")
        assert cli.main(["resume", str(tmp_path / "seed_0")]) == 1
        assert f"a part of the comparison in {tmp_path}" in capsys.readouterr().err

    def test_a_recipe_that_is_not_ours(self, tmp_path, capsys):
        unstarted(tmp_path / "run", recipe="mine")
        assert cli.main(["resume", str(tmp_path / "run")]) == 1
        assert "`experiment.resume(folder, recipe)`: it goes on" in capsys.readouterr().err

    def test_another_recipe(self, tmp_path):
        unstarted(tmp_path / "run", recipe="mine")
        with pytest.raises(ValueError, match="is of the recipe mine. Received: digits"):
            kd.experiment.resume(tmp_path / "run", kd.recipes.digits)


def test_a_folder_in_which_a_process_works_is_running_and_refused(tmp_path):
    unstarted(tmp_path / "run")
    code = (
        "import sys, pathlib, time\n"
        "from keras_kd._common.locks import at_work\n"
        "with at_work(pathlib.Path(sys.argv[1])):\n"
        "    print('working', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = warm.start(tmp_path / "run", code=code)
    assert process.stdout.readline() == "working\n"
    try:
        (run,) = kd.experiment.list_runs(tmp_path)
        assert run["state"] == "running"
        with pytest.raises(ValueError, match="Another process is at work in"):
            kd.recipes.digits(output=tmp_path / "run", epochs=1, verbose=False)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    # The lock went with the process.
    assert kd.experiment.list_runs(tmp_path)[0]["state"] == "unfinished"


def begin(folder, kind="run", overwrite=False, settings=(), data=(), **options):
    from keras_kd.runs.progress import Progress

    of_kind = {"compare": {"seeds": [0]}, "search": {"space": {}, "trials": 2, "workers": 1}}
    common = {"epochs": 2, "quick": False, "data_dir": None}
    if kind != "compare":
        common["seed"] = 0
    if kind == "search":
        common["storage"] = None
    return folder_module.begin(
        folder,
        kind=kind,
        recipe="digits",
        options={**common, **of_kind.get(kind, {}), **options},
        settings={"epochs": 2, "loss": {"class_name": "A", "config": {"temperature": 2.0}}}
        | dict(settings),
        data={"digest": "0" * 64, "train": 9} | dict(data),
        progress=Progress(verbose=False),
        overwrite=overwrite,
    )


@pytest.mark.parametrize("state", ["finished", "unfinished"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": 1, "settings": {"epochs": 1}}, "epochs: 2 there, 1 here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"quick": True, "settings": {"share": 0.1}}, "quick: no there, yes here"),
        ({"budget": 60.0}, "budget: none there, 60.0 here"),
        ({"settings": {"loss": {"class_name": "A", "config": {"temperature": 4.0}}}},
         "loss temperature: 2.0 there, 4.0 here"),
        ({"settings": {"student": "f" * 64}}, "another student"),
        ({"settings": {"precision": "mixed"}}, "precision: none there, mixed here"),
        ({"data": {"digest": "1" * 64}}, "another data"),
        ({"kind": "compare", "seeds": [1]}, r"seeds: \[0\] there, \[1\] here"),
        ({"kind": "search", "trials": 1}, "trials: 2 there, 1 here"),
        ({"kind": "search", "storage": "s.db"}, "storage: none there, s.db here"),
        ({"kind": "search", "space": {"alpha": [0, 1]}}, r"space alpha: none there, \[0, 1\] here"),
    ],
)  # fmt: skip
def test_no_run_is_replaced_by_one_of_other_settings(tmp_path, change, sentence, state):
    kind = change.get("kind", "run")
    begin(tmp_path, kind)
    if state == "finished":
        folder_module.finish(tmp_path, {"seed": 0})
    (tmp_path / "report.html").write_text("of it")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=rf"a.? {state} .* of other settings \({sentence}\)"):
        begin(tmp_path, **change)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    config = begin(tmp_path, **change, overwrite=True)
    assert config == records.read_config(tmp_path) != json.loads(before[tmp_path / "config.json"])
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("kind", "change", "stays"),
    [
        ("run", {}, True),
        ("run", {"data_dir": "elsewhere"}, True),
        ("run", {"epochs": None}, True),  # The recipe's own: the settings are the same.
        ("run", {"tensorboard": True}, True),
        ("run", {"budget": None}, True),  # Former versions had none.
        ("search", {"workers": 3}, True),
        ("search", {"trials": 5}, False),
        ("compare", {"seeds": [0, 1, 2]}, False),
    ],
)
def test_the_same_run_goes_on_and_so_does_more_of_it(tmp_path, kind, change, stays):
    begin(tmp_path, kind)
    folder_module.finish(tmp_path, {"seed": 0})
    config = begin(tmp_path, kind, **change)
    assert (tmp_path / "results.json").exists() == stays
    assert config == records.read_config(tmp_path)
    for name, value in change.items():
        assert config["options"].get(name) in (value, None, 2)


@pytest.mark.parametrize("name", ["teacher", "student", "student_alone"])
def test_a_model_that_no_run_left_is_not_replaced(tmp_path, name):
    model = tmp_path / f"{name}.keras"
    model.write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"which holds {name}.keras of something else"):
        begin(tmp_path)
    (tmp_path / f"{name}.json").write_text("{}")  # Of a run whose damaged record was removed.
    begin(tmp_path)
    assert model.read_bytes() == b"mine"


def test_a_run_of_other_settings_is_refused_before_data_is_read(tmp_path):
    recipe = dataclasses.replace(kd.recipes.digits, data="not read")
    begin(tmp_path)
    for call, change in (
        (kd.experiment.run, {"seed": 1}),
        (kd.experiment.run, {"budget": "1h"}),
    ):
        with pytest.raises(ValueError, match="which holds an unfinished run of other settings"):
            call(recipe, output=tmp_path, verbose=False, **change)


@pytest.mark.parametrize("holds", ["seed of digits", "run of digits", "compare of mine", None])
def test_a_folder_that_holds_another_run_is_refused_and_left_as_it_was(tmp_path, holds):
    folder = tmp_path / "held"
    if holds is None:
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "bert"}')
    else:
        kind, recipe = holds.split(" of ")
        unstarted(folder, recipe=recipe, kind=kind)
    (folder / "results.json").write_text("{}")
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    shown = "config.json of something else" if holds is None else holds
    received = f"Received: {folder}, which holds a {shown.replace('compare ', 'comparison ')}."
    # Before minutes of timing, and before the data is read.
    recipe = dataclasses.replace(kd.recipes.digits, data="not read")
    with pytest.raises(ArgumentError, match=re.escape(received)):
        kd.experiment.compare(recipe, seeds=1, output=folder, budget="1h", verbose=False)
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before


def test_a_seed_that_holds_another_run_is_refused(tmp_path):
    unstarted(tmp_path / "seed_0", kind="sweep")
    with pytest.raises(ValueError, match="must be a new folder or hold a seed of digits"):
        kd.experiment.compare(kd.recipes.digits, seeds=1, output=tmp_path, verbose=False)


def test_another_student_is_another_run(digits):
    recipe = kd.recipes.digits
    other = dataclasses.replace(recipe, student=recipe.teacher)
    assert recipe.settings(digits) == recipe.settings(digits)
    assert recipe.settings(digits)["student"] != other.settings(digits)["student"]
    json.dumps(recipe.settings(digits))


def test_a_run_that_goes_on_with_other_versions_says_so(tmp_path, monkeypatch, capsys):
    from keras_kd.runs.progress import Progress

    machine = {"keras": "3.15.1", "numpy": "2.4"}
    monkeypatch.setattr(folder_module, "describe_machine", lambda: machine)
    options = {
        "kind": "seed", "recipe": "digits", "options": {}, "settings": {}, "data": {},
        "progress": Progress(),
    }  # fmt: skip
    folder_module.begin(tmp_path, **options)
    folder_module.begin(tmp_path, **options)
    assert "Begun elsewhere" not in capsys.readouterr().out
    machine = {"keras": "3.16.0", "numpy": "2.4"}
    folder_module.begin(tmp_path, **options)
    assert "Begun elsewhere (keras 3.15.1 is now 3.16.0)" in capsys.readouterr().out


def test_a_folder_without_runs_says_so(tmp_path, capsys):
    # What others call so is none.
    for number, text in enumerate(("{}", "[]", '{"model_type": "bert"}')):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text(text)
    assert cli.main(["list", str(tmp_path)]) == 0
    assert "There is no run in or below" in capsys.readouterr().out.replace("\n", " ")


def test_an_ordinary_end_of_a_batch_job_is_an_interruption(tmp_path):
    code = (
        "import sys\n"
        "from keras_kd import cli\n"
        "sys.stdout.reconfigure(line_buffering=True)\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    process = warm.start("run", "digits", "--output", tmp_path / "run", code=code)
    for line in process.stdout:
        if line.startswith("Data: "):
            break
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "keras-kd: interrupted." in error and "keras-kd resume DIR" in error
    assert not list((tmp_path / "run").glob(".*"))


def test_a_best_form_can_be_run_and_found(monkeypatch, capsys):
    assert cli.main(["run", "digits", "--best"]) == 2
    assert "has no best form" in capsys.readouterr().err
    digits = kd.recipes.digits
    best = dataclasses.replace(digits, name="digits_best", epochs=1)
    monkeypatch.setattr(kd.recipes, "digits", dataclasses.replace(digits, best=best))
    assert kd.recipes.by_name("digits_best") == best
    assert kd.recipes.by_name("digits").best == best
