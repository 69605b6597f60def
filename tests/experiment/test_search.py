"""A search: trials chosen on validation, one of them tested; killed, it goes on."""

import dataclasses
import gc
import importlib
import json
import signal
import time

import keras
import numpy as np
import optuna
import pytest
import warm
from dying import Dying

import keras_kd as kd
from keras_kd import cli
from keras_kd.experiment import search, search_picture, tables
from keras_kd.experiment import space as space_module
from keras_kd.experiment import study as study_module
from keras_kd.experiment.workers import check_can_be_sent
from keras_kd.launchers import processes

SPACE = {"alpha": (0.1, 0.9), "loss": ["SoftTargets", "LogitMatching"], "temperature": (1.0, 8.0)}
RATES = {**SPACE, "learning_rate": (1e-6, 3e-2)}
# The sixth trial, the first that may be pruned, draws the lowest rate by far.
TRIALS, SEED = 6, 70

pytestmark = [pytest.mark.usefixtures("improved_graphs"), pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def not_collected():
    """Let be what Optuna does after each trial: seconds, where hundreds of tests came before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *generation: 0)
        yield


@pytest.fixture(scope="module")
def events():
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def results(folder, events):
    load, fit = kd.data.load, keras.Model.fit

    class Watched:
        def __init__(self, data):
            self.data = data

        def __getattr__(self, name):
            if name == "test":
                events.append("test split read")
            return getattr(self.data, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kd.data, "load", lambda *a, **o: Watched(load(*a, **o)))
        patch.setattr(
            keras.Model, "fit", lambda self, *a, **o: events.append("fit") or fit(self, *a, **o)
        )
        options = {"trials": TRIALS, "seed": SEED, "epochs": 2, "output": folder}
        return search(kd.recipes.digits, space=RATES, **options, verbose=False)


def test_the_teacher_is_trained_once_and_the_test_split_read_once_after_all(results, events):
    # Teacher, student alone, and each trial; the best is not trained again.
    assert events == ["fit"] * (2 + TRIALS) + ["test split read"]


def test_the_best_is_the_best_on_validation_and_is_the_one_tested(folder, results):
    digits = kd.data.load("digits", seed=SEED)
    finished = [trial for trial in results["trials"] if trial["state"] == "complete"]
    accuracies = {}
    for trial in finished:
        model = keras.models.load_model(folder / f"{trial['name']}.keras")
        logits = model.predict(digits.validation.images, verbose=0)
        accuracies[trial["name"]] = kd.metrics.accuracy(digits.validation.labels, logits)
        assert trial["validation"]["accuracy"] == trial["value"] == accuracies[trial["name"]]
        if trial["name"] == results["best"]:
            tested = model.predict(digits.test.images, verbose=0)
            accuracy = kd.metrics.accuracy(digits.test.labels, tested)
            assert results["models"]["student"]["test"]["accuracy"] == accuracy
    assert accuracies[results["best"]] == max(accuracies.values())
    assert json.loads((folder / "results.json").read_text()) == results


def test_settings_are_drawn_from_the_space_and_trained_with(results):
    assert len({json.dumps(trial["settings"]) for trial in results["trials"]}) == TRIALS
    for trial in results["trials"]:
        settings = trial["settings"]
        assert 0.1 <= settings["alpha"] <= 0.9 and 1e-6 <= settings["learning_rate"] <= 3e-2
        if settings["loss"] == "LogitMatching":
            assert settings["temperature"] is None
        else:
            assert 1 <= settings["temperature"] <= 8


def test_trials_below_the_median_are_pruned_and_leave_no_files(folder, results):
    pruned = [trial for trial in results["trials"] if trial["state"] == "pruned"]
    values = [trial["value"] for trial in results["trials"] if trial["state"] == "complete"]
    assert pruned and len(values) >= 5
    for trial in pruned:
        assert trial["value"] < np.median(values)
        assert not list(folder.glob(f"{trial['name']}*"))
    assert not list(folder.glob("*.checkpoint.npz"))


def test_the_picture_shows_every_trial(folder, results):
    figure = search_picture.figure(results)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "finished trials", "alpha", "temperature", "learning rate",
    ]  # fmt: skip
    points = [line for line in figure.axes[1].lines if line.get_linestyle() == "None"]
    assert len(points) == TRIALS + 1  # The best has a ring.
    assert (folder / "search.png").stat().st_size > 10_000


def test_the_table_fits_a_terminal_and_marks_the_best(results):
    import rich.console

    console = rich.console.Console(width=80, record=True)
    console.print(tables.trials(results))
    said = console.export_text()
    assert "…" not in said and said.count(" * ") == 1
    assert "read once" in tables.best_trial(results)[0]


def test_it_goes_on_to_more_trials_and_has_a_page(folder, results, capsys):
    command = ["search", "digits", "--epochs", "2", "--output", str(folder), "--trials"]
    command += [str(TRIALS + 1), "--seed", str(SEED)]
    axes = ["--temperature", "1", "8", "--alpha", "0.1", "0.9", "--learning-rate", "1e-6", "3e-2"]
    assert cli.main([*command, *axes, "--loss", *SPACE["loss"]]) == 0
    said = capsys.readouterr().out
    assert f"trial_{TRIALS:03d}" in said and "Best on validation" in said
    assert said.count("pruned after") + said.count("2 epochs in") == 1
    assert cli.main(["list", str(folder)]) == 0
    assert "search digits" in capsys.readouterr().out
    assert cli.main(["resume", str(folder)]) == 0
    assert "is finished" in capsys.readouterr().out
    assert cli.main(["report", str(folder)]) == 0
    assert "The search" in (folder / "report.html").read_text()
    found = json.loads((folder / "results.json").read_text())
    assert all(trial["seconds"] > 0 for trial in found["trials"])
    # All trials but one, teacher and student alone took theirs in another call.
    trained = sum(found["curves"][name]["seconds"] for name in ("teacher", "student_alone"))
    assert found["seconds"] > trained + sum(trial["seconds"] for trial in found["trials"])


def wait_for(process, condition):
    while process.poll() is None and not condition():
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()


def test_killed_in_a_trial_it_goes_on_with_that_one(tmp_path, capsys):
    folder = tmp_path / "search"
    command = ["search", "digits", "--epochs", "12", "--trials", "3", "--output", str(folder)]
    process = warm.start(*command)
    wait_for(process, (folder / "trial_001.checkpoint.npz").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    teacher = (folder / "teacher.keras").stat().st_mtime_ns
    first = (folder / "trial_000.keras").stat().st_mtime_ns
    (run,) = kd.experiment.list_runs(folder)
    assert run["state"] == "unfinished" and run["at"].startswith("trial_001 after epoch")

    assert cli.main(["resume", str(folder)]) == 0
    assert "trial_001         goes on after epoch" in capsys.readouterr().out
    assert (folder / "teacher.keras").stat().st_mtime_ns == teacher
    assert (folder / "trial_000.keras").stat().st_mtime_ns == first
    results = json.loads((folder / "results.json").read_text())
    # The third is number 3 in the study: the killed one has two numbers there.
    assert [trial["name"] for trial in results["trials"]] == ["trial_000", "trial_001", "trial_003"]
    assert all(trial["epochs"] == 12 for trial in results["trials"])


def test_two_workers_share_a_study_in_a_database(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_context", warm._context)
    storage = f"sqlite:///{tmp_path}/search.db"
    options = {"space": SPACE, "epochs": 1, "storage": storage, "verbose": False}
    # They must find the same images by themselves.
    recipe = dataclasses.replace(kd.recipes.digits, share=0.2)
    # One of them is killed in its trial, which is not lost: another goes on with it.
    workers = Dying("trial_", tmp_path / "two")
    together = search(recipe, trials=2, workers=workers, output=workers.folder, **options)
    assert workers.killed()[1] == [1] and workers.killed()[0].removesuffix(".checkpoint.npz") in [
        trial["name"] for trial in together["trials"]
    ]
    assert len(together["trials"]) == 2
    assert together["seconds"] > sum(trial["seconds"] for trial in together["trials"])
    assert len({json.dumps(trial["settings"]) for trial in together["trials"]}) == 2
    # Another machine that asks for no more than there are has nothing to try, and the same best.
    joined = search(recipe, trials=2, output=tmp_path / "one", **options)
    assert joined["trials"] == together["trials"] and joined["best"] == together["best"]
    assert joined["models"]["student"]["test"] == together["models"]["student"]["test"]
    one, two = (
        json.loads((tmp_path / each / "teacher.json").read_text()) for each in ("one", "two")
    )
    assert one["made_of"] == two["made_of"]


DIES = """
import os, signal, sqlite3, sys, time
from keras_kd.experiment import study
study.HEARTBEAT_SECONDS = 1
def objective(trial):
    trial.set_user_attr("name", "trial_000")
    trial.set_user_attr("place", "elsewhere")
    trial.suggest_float("alpha", 0, 1)
    heard = sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"))
    # Another thread says that it is alive; who was never heard of is not missed.
    while not heard.execute("select count(*) from trial_heartbeats").fetchone()[0]:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)
found = study.open_study("s", sys.argv[1], create=True, epochs=1)
study.work(found, objective, range(1), trials=1, seed=0, worker=0)
"""


def test_a_trial_whose_worker_was_not_heard_of_is_taken_up_by_another(tmp_path, monkeypatch):
    storage = f"sqlite:///{tmp_path}/search.db"
    process = warm.run(storage, code=DIES)
    assert process.returncode == -signal.SIGKILL, process.stderr
    monkeypatch.setattr(study_module, "HEARTBEAT_SECONDS", 1)
    study = study_module.open_study("s", storage, create=False, epochs=1)
    (killed,) = study.get_trials()
    assert killed.state is optuna.trial.TrialState.RUNNING
    time.sleep(4)  # Twice the interval, in whole seconds.
    seen = []

    def objective(trial):
        seen.append((trial.user_attrs["name"], trial.suggest_float("alpha", 0, 1)))
        return 0.5

    study_module.work(study, objective, range(1), trials=1, seed=0, worker=0)
    assert seen == [("trial_000", killed.params["alpha"])]


class TestTakingUpAgain:
    @pytest.fixture
    def study(self, tmp_path):
        return study_module.open_study("s", tmp_path / "a" / "journal", create=True, epochs=1)

    def began(self, study, name, place):
        trial = study.ask()
        trial.set_user_attr("name", name)
        trial.set_user_attr("place", place)
        trial.suggest_float("alpha", 0, 1)
        return trial

    def test_what_ran_here_is_queued_once_and_what_runs_elsewhere_is_left(self, study):
        here = self.began(study, "trial_000", "here")
        self.began(study, "trial_001", "elsewhere")
        study.ask()  # Killed before it had a name: nothing is lost.
        for _ in range(2):
            study_module.take_up_again(study, "here")
        waiting = study.get_trials(states=(optuna.trial.TrialState.WAITING,))
        assert [trial.user_attrs["name"] for trial in waiting] == ["trial_000"]
        assert waiting[0].params == here.params

    def test_of_several_at_work_only_the_piece_of_the_one_that_died_is(self, study):
        for number, piece in enumerate((0, 0, 1)):
            self.began(study, f"trial_00{number}", "here").set_user_attr("piece", piece)
        study.tell(0, state=optuna.trial.TrialState.FAIL)
        # Taken up before, and under way in another piece.
        self.began(study, "trial_000", "here").set_user_attr("piece", 1)
        study_module.take_up_again(study, "here", 0)
        waiting = study.get_trials(states=(optuna.trial.TrialState.WAITING,))
        assert [trial.user_attrs["name"] for trial in waiting] == ["trial_001"]

    def test_what_was_finished_since_is_not(self, study):
        study.tell(self.began(study, "trial_000", "here"), state=optuna.trial.TrialState.FAIL)
        study.tell(self.began(study, "trial_000", "here"), 0.5)
        study_module.take_up_again(study, "here")
        assert not study.get_trials(states=(optuna.trial.TrialState.WAITING,))
        assert study_module.num_finished(study) == 1

    def test_an_interruption_leaves_a_trial_that_is_taken_up(self, study):
        def interrupted(trial):
            trial.set_user_attr("name", "trial_000")
            trial.set_user_attr("place", "here")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            study_module.work(study, interrupted, range(1), trials=1, seed=0, worker=0)
        study_module.take_up_again(study, "here")
        assert len(study.get_trials(states=(optuna.trial.TrialState.WAITING,))) == 1


def test_a_journal_that_a_kill_left_locked_and_half_written_is_read(tmp_path):
    path = tmp_path / "study.journal"
    study = study_module.open_study("s", path, create=True, epochs=1)
    study.tell(study.ask(), 0.5)
    with path.open("a") as file:
        file.write('{"op_code": 4, "wor')
    path.with_name("study.journal.lock").touch()
    study_module.mend_journal(path)
    for _ in range(2):  # What is appended is read again.
        study = study_module.open_study("s", path, create=True, epochs=1)
        study.tell(study.ask(), 0.5)
    assert study_module.num_finished(study) == 3


@pytest.mark.parametrize(
    "content", [b"garbage\n", b"\xff\xfe\n", b'{"a": 1}\n', b"[1]\n", b"null\n", None]
)
def test_a_damaged_journal_is_named(tmp_path, content):
    path = tmp_path / "study.journal"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"must be as it was written.*study\.journal, which is "):
        study_module.open_study("s", path, create=True, epochs=1)


def test_one_seed_draws_the_same_again_and_workers_draw_apart(tmp_path):
    def drawn(name, worker, calls):
        study = study_module.open_study(name, tmp_path / "journal", create=True, epochs=1)
        for trials in calls:  # As if it had been begun again each time.
            study_module.work(
                study, lambda trial: trial.suggest_float("alpha", 0, 1), range(trials),
                trials=99, seed=0, worker=worker,
            )  # fmt: skip
        return [trial.params["alpha"] for trial in study.get_trials()]

    values = drawn("whole", 0, [3])
    assert drawn("in parts", 0, [1, 2]) == values and len(set(values)) == 3
    assert not set(drawn("other", 1, [3])) & set(values)


def test_the_recipe_of_a_trial_has_its_settings():
    space = space_module.Space(kd.recipes.digits, {**RATES, "batch_size": [16, 64]})
    settings = {
        "loss": "LogitMatching", "temperature": None, "alpha": 0.25, "learning_rate": 0.01,
        "batch_size": 64,
    }  # fmt: skip
    recipe = space.recipe_of(settings)
    assert (recipe.alpha, recipe.learning_rate, recipe.batch_size) == (0.25, 0.01, 64)
    assert isinstance(recipe.distillation_loss(), kd.losses.LogitMatching)
    assert recipe.epochs == kd.recipes.digits.epochs
    assert space_module.title(settings) == "LogitMatching alpha=0.25 rate=0.01 batch=64"


def test_a_recipe_of_lambdas_is_for_one_worker():
    recipe = dataclasses.replace(kd.recipes.digits, loss=lambda t: kd.losses.SoftTargets(t))
    with pytest.raises(ValueError, match="With several workers, the functions of a recipe"):
        check_can_be_sent(recipe)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"trials": 0}, "`trials` must be an integer of at least 1"),
        ({"workers": 0}, "`workers` must be an integer of at least 1"),
        ({"space": {}}, "A search is over any of .* Received: none of them"),
        ({"space": {"momentum": (0, 1)}}, "A search is over any of .* Received: momentum"),
        ({"space": {"temperature": (8, 1)}}, "`temperature` must be two numbers from"),
        ({"space": {"learning_rate": (0.0, 1)}}, "`learning_rate` must be two numbers from"),
        ({"space": {"alpha": (0.5, 2.5)}}, "`alpha` must be two numbers from 0 to 2"),
        ({"space": {"loss": ["Hints"]}}, "`loss` must name losses on logits"),
        ({"space": {"batch_size": [0]}}, "`batch_size` must be different integers"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        search(kd.recipes.digits, output=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_rate_is_not_searched_where_the_recipe_has_an_optimizer():
    optimizer = kd.experiment.optimizers.one_cycle(1e-3)
    recipe = dataclasses.replace(kd.recipes.digits, optimizer=optimizer)
    with pytest.raises(ValueError, match="`learning_rate` is that of Adam"):
        space_module.Space(recipe, RATES)


def test_without_optuna_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else find(name, *a)
    )
    with pytest.raises(ImportError, match=r'pip install "keras-kd\[search\]"'):
        search(kd.recipes.digits)


def test_a_database_that_cannot_be_reached_is_one_sentence(tmp_path):
    for storage in (f"sqlite:///{tmp_path}/missing/search.db", "nothing://"):
        with pytest.raises(ValueError, match="`storage` must be the path of a journal file or"):
            study_module.open_study("s", storage, create=True, epochs=1)
