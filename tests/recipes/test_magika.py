"""The recipe of file contents: its teacher, its bytes, its student, and folders of one's own."""

import importlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.data.files import ends_of

pytest.importorskip("magika", reason="The package magika is not installed (extra `magika`).")
pytest.importorskip("onnx", reason="The package onnx is not installed (extra `magika`).")
importlib.import_module("keras_kd.recipes.magika")
PARTS = sys.modules["keras_kd.recipes.magika"]
STANDARD_LIBRARY = importlib.util.find_spec("json").submodule_search_locations[0]


@pytest.fixture(scope="module")
def split():
    """Files of Python itself, which are on every machine."""
    return kd.data.files(STANDARD_LIBRARY, suffixes=PARTS.suffixes(), per_folder=6)


def test_the_bytes_are_those_that_the_package_reads():
    import magika
    from magika.types.seekable import Seekable

    extracted = vars(magika.Magika)["_extract_features_from_seekable"].__func__
    for path in (PARTS.model_path(), __file__, importlib.util.find_spec("json").origin):
        with open(path, "rb") as file:
            own = extracted(Seekable(file), 1024, 0, 1024, 256, 4096, False)
        assert ends_of(path).tolist() == own.beg + own.end


def test_a_suffix_tells_a_kind_where_the_package_knows_one_alone():
    names, suffixes = PARTS.class_names(), PARTS.suffixes()
    assert len(names) == 214 and names[suffixes[".py"]] == "python"
    assert not {".m", ".ts", ".pl", ".pp", ".txt"} & set(suffixes)


def test_the_teacher_is_the_same_in_keras_as_in_its_own_runtime(split):
    images = split.images[:4]
    logits = PARTS.teacher().predict_on_batch(images)
    asked = kd.load_teacher(PARTS.model_path(), head="softmax")(images)
    shares = [keras.ops.convert_to_numpy(keras.ops.softmax(each)) for each in (logits, asked)]
    # Of float32 sums in another order; the package itself was seen to differ by as much.
    np.testing.assert_allclose(*shares, atol=2e-3)
    names = [PARTS.class_names()[each] for each in shares[1].argmax(-1)]
    assert set(names) <= {"python", "pythonbytecode"}


def test_the_student_is_a_tenth_and_reads_bytes_by_a_table_of_its_teacher():
    student, other = (kd.recipes.magika.student((2048,), 214) for _ in range(2))
    assert student.count_params() < PARTS.model_path().stat().st_size / 10
    table, same = (each.get_layer("table") for each in (student, other))
    assert not table.trainable
    read = table.get_weights()[0]
    np.testing.assert_array_equal(read, same.get_weights()[0])
    # Directions in which what the teacher reads of bytes differs: none says what another says.
    np.testing.assert_allclose(np.corrcoef(read.T), np.eye(8), atol=1e-4)


def test_no_package_is_for_both():
    assert not set(PARTS.TRAIN) & set(PARTS.TEST)


def test_folders_of_ones_own_are_run_and_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_KD_DATA", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", None)  # Nothing is fetched.
    for name in ("train", "test"):
        folder = tmp_path / "magika" / name
        folder.mkdir(parents=True)
        for number in range(24):
            (folder / f"{number}.py").write_text(f"import {name}_{number}\nprint('{number}')\n")
            (folder / f"{number}.json").write_text(f'{{"{name}": [{number}, 1, 2, 3]}}\n')
    data = kd.recipes.magika.load(0)
    assert len(data.test) == 32 and data.test.labels.max() < 214
    assert len(data.train) + len(data.validation) == 32
    store = kd.SoftLabels(PARTS.Place("answers", "train"))
    assert store.num_examples == len(data.train)
    # All of it is there: nobody is asked again.
    monkeypatch.setattr(PARTS, "load_teacher", None)
    assert kd.recipes.magika.load(1).digest == data.digest
    kept = sorted(path.name for path in (tmp_path / "magika").iterdir())
    assert kept == ["answers", "files.npz", "test", "train"]
