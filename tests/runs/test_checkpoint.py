"""A checkpoint is the whole state, or it is not there."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.runs import checkpoint

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1), dtype=np.uint8)
SPLIT = kd.data.Split(IMAGES, np.arange(64) % 3)


def distiller(dtype="float32"):
    student = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="relu", dtype=dtype),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    each = kd.Distiller(student=student, alpha=0.0)
    return each.compile(keras.optimizers.Adam(1e-2), metrics=["accuracy"])


def trained(folder, made_of="this", epochs=3, dtype="float32"):
    """Return a distiller, its stopping and its checkpoint, after some epochs."""
    each, stopping = distiller(dtype), kd.callbacks.EarlyStopping(patience=9)
    kept = checkpoint.Checkpoint(folder, "part", made_of, {"one": each}, {"one": stopping})
    each.fit(
        SPLIT.batches(16, shuffle_seed=0, initial_epoch=kept.epoch),
        validation_data=SPLIT.batches(64),
        epochs=epochs,
        initial_epoch=kept.epoch,
        verbose=0,
        callbacks=[stopping, kept.callback("one")],
    )
    return each, stopping, kept


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16),
        pytest.param("bfloat16", marks=pytest.mark.bfloat16),
    ],
)
def test_it_holds_everything_that_training_depends_on(tmp_path, dtype):
    first, stopping, kept = trained(tmp_path, dtype=dtype)
    second, other, taken_up = trained(
        tmp_path, dtype=dtype
    )  # No epoch is left: it is restored, no more.
    assert taken_up.epoch == kept.epoch == 3
    assert taken_up.logs("one") == kept.logs("one")
    for attribute in ("best", "best_epoch", "wait", "stopped_epoch"):
        assert getattr(other, attribute) == getattr(stopping, attribute)
    state = [*first.variables, *first.optimizer.variables]
    assert any("seed_generator" in variable.path for variable in state)
    for one, two in zip(state, [*second.variables, *second.optimizer.variables], strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_speed_net_under_its_muon_goes_on_to_the_bit(tmp_path):
    def trained(folder, epochs):
        keras.utils.set_random_seed(0)
        student = kd.models.speed_net([4], mirrored=True, image_shape=(4, 4, 1), num_classes=3)
        rate = kd.experiment.optimizers.one_cycle(
            0.1, optimizer=kd.experiment.optimizers.ConvMuon, adam_ratio=0.2
        )
        each = kd.Distiller(student=student, alpha=0.0).compile(rate(16), metrics=["accuracy"])
        stopping = kd.callbacks.EarlyStopping(patience=9)
        kept = checkpoint.Checkpoint(folder, "part", "this", {"one": each}, {"one": stopping})
        each.fit(
            SPLIT.batches(16, shuffle_seed=0, initial_epoch=kept.epoch),
            validation_data=SPLIT.batches(64),
            epochs=epochs,
            initial_epoch=kept.epoch,
            verbose=0,
            callbacks=[stopping, kept.callback("one")],
        )
        return [*student.get_weights(), *map(np.asarray, each.optimizer.variables)]

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    start = trained(tmp_path / "parts", 2)
    parts, whole = trained(tmp_path / "parts", 4), trained(tmp_path / "whole", 4)
    assert any(np.any(one != two) for one, two in zip(start, parts, strict=True))
    for one, two in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(one, two)


def test_of_something_else_it_is_not_taken_up(tmp_path):
    trained(tmp_path, made_of="that")
    each, stopping = distiller(), kd.callbacks.EarlyStopping()
    kept = checkpoint.Checkpoint(tmp_path, "part", "this", {"one": each}, {"one": stopping})
    assert kept.epoch == 0 and not kept.all_stopped
    assert not (tmp_path / "one_history.csv").exists()


def test_a_write_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    trained(tmp_path, epochs=2)

    def half(path, **arrays):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, epochs=4)
    assert checkpoint.read(tmp_path / "part.checkpoint.npz")["epoch"] == 2


def test_lines_of_the_history_past_the_checkpoint_are_forgotten(tmp_path):
    trained(tmp_path, epochs=2)
    history = tmp_path / "one_history.csv"
    whole = history.read_text()
    history.write_text(whole + "3,0.5,0.")  # Killed while it wrote.
    trained(tmp_path, epochs=2)
    assert history.read_text() == whole and whole.count("\n") == 3


def test_there_is_nothing_to_read_where_there_is_none(tmp_path):
    assert checkpoint.read(tmp_path / "none.npz") is None


def test_a_history_that_an_earlier_version_began_keeps_its_columns(tmp_path):
    _, _, kept = trained(tmp_path, epochs=1)
    for row in kept._states["one"]["logs"]:
        row.pop("val_loss")  # It was not reported once.
    kept._write()
    trained(tmp_path, epochs=2)
    header, *rows = (tmp_path / "one_history.csv").read_text().splitlines()
    assert "val_hard_loss" in header and "val_loss" not in header
    assert [len(row.split(",")) for row in rows] == [len(header.split(","))] * 2
