"""A budget: durations are read, paces measured, epochs chosen once and kept."""

import dataclasses
import functools
import json
import time

import numpy as np
import pytest

import keras_kd as kd
from keras_kd import cli
from keras_kd.experiment import budget
from keras_kd.experiment.kinds import Run
from keras_kd.experiment.training import Asked, Trainer
from keras_kd.runs import checkpoint
from keras_kd.runs.progress import Progress

pytestmark = pytest.mark.usefixtures("no_pictures")

RECIPE = dataclasses.replace(
    kd.recipes.digits, epochs=100, augmentation=kd.data.RandomShift(1), views=10
)
# Of digits, an epoch of which takes no time.
PACE = budget.Pace(teacher=10.0, view=2.0, students=3.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90min", 5400), ("1h30min", 5400), ("1.5h", 5400), ("2 h", 7200), ("45s", 45),
        ("1d 1h 1min 1s", 90061), (30, 30), (0.5, 0.5),
    ],
)  # fmt: skip
def test_durations(text, seconds):
    assert budget.seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "90", "min", "30min1h", "-5min", "0min", "1e3s", 0, -1, float("nan"), True]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="`budget` must be a duration above 0, such as '90min'"):
        budget.seconds_of(text)


def cost(recipe, pace):
    teacher = recipe.epochs_of("teacher") * pace.teacher
    return teacher + recipe.views * pace.view + recipe.epochs * pace.students


class TestWhatIsChosen:
    def test_half_is_the_teachers_and_each_epoch_has_a_view(self):
        recipe = budget.chosen(RECIPE, 100.0, PACE)
        assert recipe.epochs_of("teacher") == 5  # 50 s.
        assert recipe.epochs == recipe.views == 10  # 10 * (2 + 3) s.

    def test_later_epochs_see_the_views_again(self):
        recipe = budget.chosen(RECIPE, 400.0, PACE)
        assert recipe.epochs_of("teacher") == 20
        assert recipe.views == 10 and recipe.epochs == 60  # (200 - 10 * 2) / 3.

    def test_no_more_than_the_recipe_has(self):
        recipe = budget.chosen(RECIPE, 1e6, PACE)
        assert (recipe.epochs_of("teacher"), recipe.epochs, recipe.views) == (100, 100, 10)

    @pytest.mark.parametrize("slow", ["teacher", "view", "students"])
    @pytest.mark.parametrize("factor", [1.0, 1.5, 7.0, 40.0])
    def test_it_fits_whatever_is_slow(self, slow, factor):
        pace = dataclasses.replace(PACE, **{slow: 100.0})
        recipe = budget.chosen(RECIPE, factor * pace.least, pace)
        assert cost(recipe, pace) <= factor * pace.least
        assert min(recipe.epochs_of("teacher"), recipe.epochs, recipe.views) >= 1

    def test_a_recipe_without_views_keeps_none(self):
        recipe = dataclasses.replace(RECIPE, views=None)
        assert budget.chosen(recipe, 100.0, PACE).views is None


@pytest.mark.slow
class TestARun:
    """Of digits, said to be so slow that the seconds of the test itself do not count."""

    @pytest.fixture
    def measured(self, monkeypatch):
        calls = []
        pace = budget.Pace(teacher=6000.0, view=1000.0, students=2000.0)
        monkeypatch.setattr(budget, "measured", lambda *given: calls.append(given) or pace)
        return calls

    def test_what_was_chosen_is_trained_written_and_kept(
        self, tmp_path, measured, monkeypatch, capsys
    ):
        def interrupt(self, write=checkpoint.Checkpoint._write):
            write(self)
            if self.path.name.startswith("student.") and self.epoch == 1:
                raise KeyboardInterrupt

        recipe = dataclasses.replace(kd.recipes.digits, best=RECIPE)
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.Checkpoint, "_write", interrupt)
            with pytest.raises(KeyboardInterrupt):
                recipe(output=tmp_path, budget="11h15min")
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["options"]["budget"] == 40500.0
        # 36450 s are given out, half to the teacher; the best form, which has views, is taken.
        chosen = {name: config["settings"][name] for name in ("teacher_epochs", "epochs", "views")}
        assert chosen == {"teacher_epochs": 3, "epochs": 6, "views": 6}
        words = "Budget: 3 epochs of the teacher, 6 of students on 6 stored views"
        assert words in capsys.readouterr().out
        results = kd.experiment.resume(tmp_path, RECIPE)
        assert f"{words}, as the run was begun with" in capsys.readouterr().out.replace("\n", " ")
        assert json.loads((tmp_path / "config.json").read_text()) == config
        assert len(measured) == 1
        assert len(results["curves"]["teacher"]["loss"]) == 3
        assert len(results["curves"]["student_alone"]["loss"]) == 6
        with pytest.raises(ValueError, match="budget: 40500.0 there, 7200.0 here"):
            recipe(output=tmp_path, budget="2h", verbose=False)
        assert len(measured) == 1
        with pytest.raises(ValueError, match="must hold one epoch of each training"):
            recipe(output=tmp_path, budget="2h", overwrite=True, verbose=False)
        assert len(measured) == 2

    def test_what_compiling_takes_is_left_for_it(self, tmp_path, digits, monkeypatch):
        pace = budget.Pace(teacher=10.0, view=2.0, students=3.0, compiling=800.0)
        monkeypatch.setattr(budget, "measured", lambda *given: pace)
        asked = Asked(budget=1000.0)
        trainer = Trainer(RECIPE, digits, 0, tmp_path, Progress(verbose=False), asked=asked)
        recipe = budget.fitted(trainer, Run(0), time.perf_counter()).recipe
        assert cost(recipe, pace) <= 0.9 * 1000.0 - pace.compiling
        trainer = dataclasses.replace(trainer, asked=Asked(budget=850.0))
        # (800 + 10 + 2 + 3) / 0.9 s.
        with pytest.raises(ValueError, match="needs 15:0[56]"):
            budget.fitted(trainer, Run(0), time.perf_counter())

    def test_a_budget_too_small_is_one_sentence(self, tmp_path, measured, capsys):
        assert cli.main(["run", "digits", "--budget", "1h", "--output", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert "`budget` must hold one epoch of each training. Received: 60:00 minutes" in error
        assert error.count("\n") == 1
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.bfloat16
@pytest.mark.parametrize("kind", ["dense", "convolutions"])
def test_measuring_keeps_nothing_and_changes_nothing(kind, digits, tmp_path):
    conv = functools.partial(kd.models.conv_net, [4], batch_norm=True)
    models = {"teacher": conv, "student": conv} if kind == "convolutions" else {}
    recipe = dataclasses.replace(RECIPE, epochs=1, precision="mixed_bfloat16", **models)
    trainer = Trainer(recipe, digits, 0, tmp_path / "run", Progress(verbose=False))
    other = dataclasses.replace(trainer, folder=tmp_path / "not measured")
    for each in (trainer, other):
        each.folder.mkdir()
    expected = other.teacher().model.get_weights()
    pace = budget.measured(trainer, Run(0).trainings)
    assert min(pace.teacher, pace.view, pace.students) > 0
    assert not list(trainer.folder.iterdir())
    for one, two in zip(trainer.teacher().model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("gpu", "expected"), [(False, 16), (True, 256)])
def test_a_gpu_is_timed_on_more_than_an_epochs_own_cost(
    gpu, expected, digits, tmp_path, monkeypatch
):
    lengths = []

    def pretend(distillers, data, *, callbacks, **options):
        lengths.append(len(data))
        callbacks(distillers[0])[0].seconds += [9.0, 2.0, 2.0, 2.0]

    monkeypatch.setattr(budget, "train_together", pretend)
    monkeypatch.setattr(budget, "on_gpu", lambda: gpu)
    teacher = functools.partial(kd.models.conv_net, [2])
    recipe = dataclasses.replace(RECIPE, teacher=teacher, batch_size=4)
    trainer = Trainer(recipe, digits, 0, tmp_path, Progress(verbose=False))
    distillers = {"teacher": trainer.untrained_teacher()}
    seconds, compiling = budget._seconds_of_epoch(trainer, distillers, trainer.teacher_training)
    assert lengths[0] == pytest.approx(expected, abs=3) and compiling == 7.0
    # The whole epoch in proportion.
    assert seconds == pytest.approx(2.0 * len(digits.train) / 4 / lengths[0], rel=0.02)
