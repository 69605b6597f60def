"""What numbers arguments may be: the same bounds for the command, a loss, a grid and a search."""

import dataclasses

import numpy as np
import pytest

import keras_kd as kd
from keras_kd._common import checks
from keras_kd.distillers.terms import DistillationTerms
from keras_kd.experiment import budget
from keras_kd.experiment.grid import cells_of
from keras_kd.experiment.space import Space

NO_TEMPERATURES = [1e308, 1e-300, float("inf"), float("nan"), 0, -1, "4", True, None, 10**400]
DIGITS = kd.recipes.digits


@pytest.mark.parametrize("temperature", NO_TEMPERATURES, ids=str)
@pytest.mark.parametrize(
    "taker",
    [
        kd.losses.SoftTargets,
        kd.losses.BinarySoftTargets,
        kd.losses.DIST,
        lambda temperature: kd.losses.DecoupledKD(temperature=temperature),
        lambda temperature: cells_of(DIGITS, [temperature], [0.5], None),
        lambda temperature: Space(DIGITS, {"temperature": (temperature, temperature)}),
        lambda temperature: kd.distill(None, None, student="mlp:4", temperature=temperature),
    ],
    ids=["soft", "binary", "dist", "decoupled", "grid", "search", "distill"],
)
def test_a_temperature_that_float32_cannot_square_is_refused(taker, temperature):
    with pytest.raises(ValueError, match=r"`temperature` must be .*from 0\.01 to 10000"):
        taker(temperature)


@pytest.mark.parametrize("temperature", checks.TEMPERATURES)
def test_at_both_ends_of_the_temperatures_a_loss_and_its_gradient_are_finite(temperature):
    import tensorflow as tf

    teacher, student = (
        tf.Variable(np.random.default_rng(n).normal(0, 30, (8, 5)).astype("float32"))
        for n in range(2)
    )
    with tf.GradientTape() as tape:
        loss = kd.losses.SoftTargets(temperature)(teacher, student)
    gradient = tape.gradient(loss, student).numpy()
    assert np.isfinite(loss) and np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 1e308}, {"alpha": float("nan")}, {"learning_rate": 0}, {"epochs": 0},
        {"batch_size": 2**40}, {"student_patience": -1}, {"teacher_epochs": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_recipe_is_checked_where_it_is_made(change):
    with pytest.raises(ValueError, match=f"`{next(iter(change))}` must be"):
        dataclasses.replace(DIGITS, **change)


def test_a_port_is_checked_before_anything_is_read(tmp_path):
    for port in (-1, 65536, 99999, "80", 1.5):
        with pytest.raises(ValueError, match="`port` must be"):
            kd.serve.serve(tmp_path / "none", port=port)


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        (99_999_999_999, "`seeds` must be at most 1000"),
        (range(99_999_999_999), "`seeds` must be at most 1000"),
        (0, "`seeds` must be an integer of at least 1"),
        (True, "`seeds` must be an integer of at least 1"),
        ([], "`seeds` must be different, and at least one"),
        ([1, 1], "`seeds` must be different"),
        ([2**32], "`seeds` must be at most 4294967295"),
    ],
)
def test_seeds_that_nobody_could_train_are_refused_at_once(seeds, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.experiment.compare(DIGITS, seeds=seeds)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**20, 0.5, "0", None, True, float("nan")])
def test_a_seed_is_what_numpy_and_keras_take(seed, tmp_path):
    images, labels = np.zeros((20, 3, 3), np.uint8), np.arange(20) % 2
    for call in (
        lambda: kd.data.from_arrays((images, labels), (images, labels), seed=seed),
        lambda: kd.distill(None, None, student="mlp:4", seed=seed),
        lambda: DIGITS(seed=seed, output=tmp_path / "new"),
        lambda: kd.experiment.sweep(DIGITS, seed=seed, output=tmp_path / "new"),
        lambda: kd.experiment.search(DIGITS, seed=seed, output=tmp_path / "new"),
    ):
        with pytest.raises(ValueError, match="`seed` must be"):
            call()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("weight", [1e-300, 1e308, float("inf"), 0])
def test_the_weight_of_a_loss_in_a_sum_is_one_that_float32_holds(weight):
    with pytest.raises(ValueError, match=r"must be a number from 1e-06 to 1e\+06"):
        DistillationTerms([kd.losses.SoftTargets(), kd.losses.DIST()], [1.0, weight], ("logits",))


@pytest.mark.parametrize("output", ["", " "])
def test_an_output_of_nothing_is_not_the_folder_that_one_is_in(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (DIGITS, lambda **options: kd.experiment.sweep(DIGITS, **options)):
        with pytest.raises(ValueError, match="`output` must not be empty"):
            call(output=output, verbose=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", ["/dev/null/new", "n" * 300])
def test_an_output_that_cannot_be_written_is_refused_before_data_is_read(output, monkeypatch):
    monkeypatch.setattr(kd.data, "load", None)
    with pytest.raises(ValueError, match="`output` must be a folder that can be written to"):
        DIGITS(output=output, verbose=False)


def test_an_axis_is_a_list():
    with pytest.raises(ValueError, match="`temperature` must be different numbers"):
        cells_of(DIGITS, 4.0, [0.5], None)
    with pytest.raises(ValueError, match="`alpha` must be a list"):
        Space(DIGITS, {"alpha": 0.5})


@pytest.mark.parametrize("text", ["1e3s", "9" * 400 + "h", "3651d", float("inf")])
def test_a_budget_is_a_duration_that_somebody_could_wait_for(text):
    with pytest.raises(ValueError, match="`budget` must be a duration above 0.*at most 3650d"):
        budget.seconds_of(text)
