"""Few labels and many examples without: who sees what, for how many steps."""

import contextlib
import dataclasses
import functools
import io

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.experiment import budget, compare
from keras_kd.experiment.training import Trainer
from keras_kd.runs import checkpoint, keeper, records
from keras_kd.runs.progress import Progress

pytestmark = pytest.mark.usefixtures("no_pictures")

ARRANGEMENTS = {"student_alone", "label_smoothing", "student", "teacher_labels"}
QUIET = {"verbose": False}


@pytest.fixture(scope="module")
def recipe():
    return kd.experiment.Recipe(
        name="few",
        data="digits",
        labels=100,
        teacher=functools.partial(kd.models.mlp, [32]),
        student=functools.partial(kd.models.mlp, [8]),
        temperature=2.0,
        alpha=1.0,
        epochs=2,
        teacher_epochs=1,
        batch_size=25,
        learning_rate=1e-2,
    )


class TestKeepLabels:
    def test_some_keep_their_labels_and_all_others_are_there_without(self, digits):
        data = digits.keep_labels(100, seed=3)
        assert len(data.train) == 100 and len(data.validation) == 100
        assert np.bincount(data.train.labels).min() >= 8
        both = np.concatenate([data.train.images, data.unlabelled])
        order = [np.lexsort(each.reshape(len(each), -1).T) for each in (both, digits.train.images)]
        np.testing.assert_array_equal(both[order[0]], digits.train.images[order[1]])
        assert data.test is digits.test

    def test_the_seed_chooses(self, digits):
        once, again, other = (digits.keep_labels(50, seed=seed).digest for seed in (0, 0, 1))
        assert once == again != other

    def test_a_few_examples_to_validate_are_kept_as_they_are(self, digits):
        assert len(digits.keep_labels(500, seed=0).validation) == len(digits.validation)

    @pytest.mark.parametrize("count", [9, 1290, 12.5])
    def test_there_must_be_so_many(self, digits, count):
        with pytest.raises(ValueError, match="`count` must be"):
            digits.keep_labels(count, seed=0)

    def test_a_quick_look_has_its_share_of_them(self, digits):
        data = digits.keep_labels(100, seed=0)
        assert len(data.share(0.1).unlabelled) == round(0.1 * len(data.unlabelled))


def test_who_learns_from_labels_alone_takes_as_many_steps(recipe, tmp_path, monkeypatch):
    steps, fit = {}, keeper._fit

    def noting(distillers, data, *others):
        steps.update(dict.fromkeys(distillers, len(data)))
        fit(distillers, data, *others)

    monkeypatch.setattr(keeper, "_fit", noting)
    found = compare(recipe, seeds=1, output=tmp_path, **QUIET)
    assert set(found["models"]) == {"teacher", *ARRANGEMENTS} == set(steps)
    data = recipe.load(0)
    every = -(-(len(data.train) + len(data.unlabelled)) // 25)
    assert steps["student"] == steps["teacher_labels"] == every
    assert abs(steps["student_alone"] - every) <= 2 and steps["teacher"] == steps["student_alone"]
    assert "training images" in found["settings"]
    # Said again, it is finished; the page knows every arrangement.
    steps.clear()
    compare(recipe, seeds=1, output=tmp_path, **QUIET)
    assert not steps
    assert "teacher&#x27;s labels" in kd.experiment.write_report(tmp_path).read_text()


@pytest.fixture(scope="module")
def last(recipe):
    # So large a step that validation goes up and down.
    changes = {"teacher_patience": None, "student_patience": None, "learning_rate": 0.1}
    return dataclasses.replace(recipe, epochs=5, teacher_epochs=5, **changes)


def test_labels_and_unlabelled_examples_contradict_each_other(recipe, digits):
    with pytest.raises(ValueError, match="With `labels` all other .* Received: `unlabelled`"):
        dataclasses.replace(recipe, unlabelled=digits.test.images)


def test_a_budget_counts_the_steps_on_what_has_no_label(recipe, tmp_path, monkeypatch):
    """An epoch on 100 labels takes as many steps as one on all images."""
    steps, train = [], budget.train_together

    def noting(distillers, data, **options):
        steps.append(len(data))
        train(distillers, data, **options)

    monkeypatch.setattr(budget, "train_together", noting)
    trainer = Trainer(recipe, recipe.load(0), 0, tmp_path, Progress(verbose=False))
    budget.measured(trainer, lambda one, teacher: [{"student_alone": one.alone()}])
    every = -(-(len(trainer.data.train) + len(trainer.data.unlabelled)) // 25)
    assert len(steps) == 2 and all(abs(each - every) <= 2 for each in steps)


@pytest.fixture(scope="module")
def whole(last, tmp_path_factory):
    """Where it was carried out, and what it said."""
    folder, said = tmp_path_factory.mktemp("few") / "whole", io.StringIO()
    with contextlib.redirect_stdout(said):
        compare(last, seeds=1, output=folder)
    return folder, said.getvalue()


class TestWithoutPatience:
    def test_the_last_epoch_is_kept(self, whole):
        folder, said = whole
        found = records.read_results(folder, "compare")
        assert said.count(", last val_accuracy") == 5 and ", best val_accuracy" not in said
        curves = records.read_results(folder / "seed_0", "seed")["curves"]
        for name in ("teacher", *ARRANGEMENTS):
            model = found["models"][name]
            assert model["epochs"]["mean"] == model["best_epoch"]["mean"] == 5
            said = curves[name]["val_accuracy"]
            assert model["validation_accuracy"]["mean"] == pytest.approx(said[-1])
        best = [max(curves[name]["val_accuracy"]) for name in ARRANGEMENTS]
        kept = [curves[name]["val_accuracy"][-1] for name in ARRANGEMENTS]
        assert best != kept

    def test_what_was_killed_ends_with_the_same_weights(self, last, whole, tmp_path, monkeypatch):
        write = checkpoint.Checkpoint._write

        def killed(self):
            write(self)
            if "student" in self.distillers and self.epoch == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.Checkpoint, "_write", killed)
            with pytest.raises(KeyboardInterrupt):
                compare(last, seeds=1, output=tmp_path, **QUIET)
        compare(last, seeds=1, output=tmp_path, **QUIET)
        for name in ("teacher", *ARRANGEMENTS):
            one, other = (
                kd.load_teacher(folder / "seed_0" / f"{name}.keras").fingerprint
                for folder in (whole[0], tmp_path)
            )
            assert one == other
