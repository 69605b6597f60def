"""A pair of rows of the atlas on integers: one distilled file, against two others."""

import functools
import importlib
import sys

import pytest
from helpers import ROOT

import keras_kd as kd

BENCHMARKS = ROOT / "benchmarks"
SETTINGS = {"temperature": 2.0, "alpha": 0.5}


@pytest.fixture
def integers(monkeypatch, tmp_path):
    """The module of these rows, on 8x8 digits."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("regimes.integers")
    data = kd.data.load("digits", seed=0)
    small = functools.partial(kd.models.mlp, [8], image_shape=data.image_shape)
    path = tmp_path / "teacher.keras"
    small().save(path)
    monkeypatch.setattr(module.kd.data, "load", lambda name, seed: data)
    monkeypatch.setattr(module.teachers, "FOLDER", tmp_path)
    monkeypatch.setattr(module.teachers, "path_of", lambda *args: path)
    monkeypatch.setitem(module.CASES, "tiny", module.Case("tiny", small, SETTINGS, "today"))
    monkeypatch.setattr(module, "EPOCHS", 3)
    yield module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "regimes":
            del sys.modules[name]


@pytest.mark.usefixtures("no_pictures")
def test_both_rows_of_a_case_tell_of_the_same_files(integers, tmp_path):
    over_conversion, over_labels = (
        integers._regime("tiny", "int4", control)
        for control in ("plain_conversion", "twin_on_labels")
    )
    first = over_conversion.run(0, SETTINGS, tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.tflite")}
    second = over_labels.run(0, SETTINGS, tmp_path)
    assert len(files) == 3 and all(path.read_bytes() == files[path] for path in files)
    for part in ("test", "validation"):
        assert first[part]["student"] == second[part]["student"]
        assert first[part]["student_alone"] == second[part]["plain_conversion"]
        assert first[part]["twin_on_labels"] == second[part]["student_alone"]
    assert over_conversion.control != over_labels.control
    # The twins are two: one heard a teacher, the other the labels alone.
    images = integers.kd.data.load("digits", 0).test.images
    answers = {path.stem: kd.export.run_litert(path, images).logits for path in files}
    (distilled,) = (said for name, said in answers.items() if "distilled" in name)
    assert abs(answers["int4_on_labels"] - distilled).max() > 0.01
