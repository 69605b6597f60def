"""TensorBoard events: asked for, read back, without gaps or doubles after an interruption."""

import importlib.util

import pytest

import keras_kd as kd
from keras_kd.runs import checkpoint, events

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_pictures")]


def read(folder):
    """Return `{tag: [(step, value)]}` of every event below a folder."""
    pytest.importorskip("tensorboard")
    import tensorflow as tf

    found = {}
    for path in sorted(folder.iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                each = (event.step, float(tf.make_ndarray(value.tensor)))
                found.setdefault(value.tag, []).append(each)
    return found


def test_an_interrupted_run_has_every_epoch_once(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")

    def interrupt(self, write=checkpoint.Checkpoint._write):
        write(self)
        if self.path.name.startswith("student.") and self.epoch == 2:
            raise KeyboardInterrupt  # The checkpoint has this epoch, the events have not.

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "_write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            kd.recipes.digits(epochs=4, output=tmp_path, tensorboard=True, verbose=False)
    results = kd.experiment.resume(tmp_path, kd.recipes.digits, verbose=False)
    folder = tmp_path / "tensorboard"
    assert {path.name for path in folder.iterdir()} == {"teacher", "student", "student_alone"}
    for name, curves in results["curves"].items():
        curves = {key: curve for key, curve in curves.items() if isinstance(curve, list)}
        found = read(folder / name)
        assert found.keys() == curves.keys() and {"loss", "val_accuracy"} <= found.keys()
        for key, curve in curves.items():
            assert [step for step, _ in found[key]] == [1, 2, 3, 4]
            assert [value for _, value in found[key]] == pytest.approx(curve)


def test_each_seed_of_a_comparison_and_each_cell_of_a_sweep_has_its_own(tmp_path):
    pytest.importorskip("tensorboard")
    options = {"epochs": 1, "tensorboard": True, "verbose": False}
    kd.experiment.compare(kd.recipes.digits, seeds=1, output=tmp_path / "compare", **options)
    folder = tmp_path / "compare" / "seed_0" / "tensorboard"
    names = {"teacher", "student", "student_alone", "label_smoothing"}
    assert {path.name for path in folder.iterdir()} == names
    grid = {"temperature": [2], "alpha": [0.5]}
    kd.experiment.sweep(kd.recipes.digits, output=tmp_path / "sweep", **grid, **options)
    assert len(read(tmp_path / "sweep" / "tensorboard" / "SoftTargets_T_2_alpha_0.5")["loss"]) == 1


def test_without_the_extra_it_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name)
    )
    with pytest.raises(ImportError, match=r"pip install \"keras-kd\[tensorboard\]\""):
        kd.recipes.digits(output=tmp_path / "new", tensorboard=True)
    assert not (tmp_path / "new").exists()
    assert events.callbacks_for(tmp_path, False)("teacher", None) == []
