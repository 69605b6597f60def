"""Every format in one call: what is measured is what lies in the folder."""

import ast
import hashlib
import importlib
import json
import re
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd import cli
from keras_kd.export import runner

PROOF = importlib.import_module("keras_kd.export.proof")
FORMATS = ("saved_model", "float32", "float32_any_batch", "int8")


@pytest.fixture(scope="module")
def proved(tmp_path_factory, digits, digits_teacher):
    """The folder and the figures of an export whose SavedModel is over budget."""
    folder = tmp_path_factory.mktemp("export")
    results = kd.export.export(
        digits_teacher,
        folder,
        formats=FORMATS,
        data=digits,
        teacher=digits_teacher,
        max_kb=60,
        verbose=False,
    )
    return folder, results


@pytest.mark.slow
class TestExport:
    def test_every_file_is_there_and_nothing_else(self, proved):
        folder, results = proved
        assert {file.name for file in folder.iterdir()} == {
            "export.json", "export.png", "student_saved_model.missed_budget",
            *(f"student_{form}.tflite{end}" for form in FORMATS[1:] for end in ("", ".json")),
        }  # fmt: skip
        assert json.loads((folder / "export.json").read_text()) == results
        for file in folder.glob("*.tflite"):
            sidecar = json.loads((folder / f"{file.name}.json").read_text())
            assert sidecar["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
            assert sidecar["class_names"] == list("0123456789")

    def test_a_file_over_budget_is_kept_aside_and_said(self, proved):
        _, results = proved
        missed = {file["format"]: file for file in results["files"] if file["missed"]}
        assert list(missed) == ["saved_model"] and results["ok"] is False
        (sentence,) = missed["saved_model"]["missed"]
        assert sentence.startswith("max_kb is 60; the file takes ")
        assert missed["saved_model"]["bytes"] > 60_000

    def test_the_figures_are_those_of_the_files(self, proved, digits, digits_teacher):
        folder, results = proved
        expected = digits_teacher.predict(digits.test.images, verbose=0)
        accuracy = kd.metrics.accuracy(digits.test.labels, expected)
        assert results["student"]["accuracy"] == results["teacher"]["accuracy"] == accuracy
        for file in results["files"][1:]:
            path = folder / file["file"]
            logits = runner.answers_of(runner.open_file(path), {"image": digits.test.images})[
                "logits"
            ]
            assert file["bytes"] == path.stat().st_size
            assert file["accuracy"] == kd.metrics.accuracy(digits.test.labels, logits)
            assert file["drop_points"] == pytest.approx(100 * (accuracy - file["accuracy"]))
            agreement = kd.metrics.agreement(logits, expected)
            assert file["agreement_with_student"] == file["agreement_with_teacher"] == agreement
            error = np.abs(logits - expected).max()
            assert file["largest_logit_error"] == pytest.approx(error, rel=1e-3, abs=1e-4)

    def test_time_and_memory_are_measured_on_one_and_two_threads(self, proved):
        for file in proved[1]["files"]:
            for threads in ("1 thread", "2 threads"):
                times = file["microseconds"][threads]
                assert 0 < times["p50"] <= times["p90"] <= times["p99"]
            if file["peak_bytes"] is not None:  # Where /proc tells.
                assert 0 < file["added_bytes"] < file["peak_bytes"]

    def test_the_saved_model_was_loaded_without_keras_kd(self, proved, digits):
        saved = next(file for file in proved[1]["files"] if file["format"] == "saved_model")
        assert saved["agreement_with_student"] == 1.0
        assert not imported_by(runner) & {"keras", "keras_kd"}

    def test_the_next_export_leaves_nothing_of_the_last(self, proved, digits, digits_teacher):
        folder, _ = proved
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        asked = {"formats": ["int8"], "data": digits, "max_kb": 1, "verbose": False}
        with pytest.raises(ValueError, match="holds an export of other settings .formats: "):
            kd.export.export(digits_teacher, folder, **asked)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        left = folder / ".export.a1b2c3d4" / "export" / "int8"
        left.mkdir(parents=True)  # By a process that was killed.
        results = kd.export.export(digits_teacher, folder, **asked, overwrite=True)
        assert {path.name for path in folder.iterdir()} == {
            "export.json", "export.png", "student_int8.missed_budget.tflite",
            "student_int8.missed_budget.tflite.json",
        }  # fmt: skip
        assert results["files"][0]["file"] == "student_int8.missed_budget.tflite"
        assert not (folder / "student_int8.tflite").exists()
        assert not (folder / "student_int8.tflite.json").exists()


@pytest.mark.parametrize("by_name", [False, True])
def test_a_student_of_features_is_exported_by_their_own_range(by_name, tmp_path):
    random = np.random.default_rng(0)
    table, labels = random.normal(-50, 20, (60, 5)), np.arange(60) % 3
    inputs = {"table": table, "not_taken": labels} if by_name else table
    data = kd.data.from_arrays((inputs, labels), (inputs, labels))
    student = kd.models.mlp([4], input_shape=(5,), num_classes=3, mean=-50.0, std=20.0)
    if by_name:
        taken = keras.Input((5,), name="table")
        student = keras.Model({"table": taken}, student(taken))
    formats = ["int8", "float32"] if by_name else ["int8"]
    results = kd.export.export(
        student, tmp_path, formats=formats, data=data, teacher=student, verbose=False
    )
    given = data.train.images["table"] if by_name else data.train.images
    assert results["made_of"]["input_range"] == [given.min(), given.max()] and results["ok"]
    int8, *float32 = results["files"]
    assert int8["agreement_with_teacher"] > 0.8
    assert [file["drop_points"] for file in float32] == ([0] if by_name else [])


def test_a_student_of_several_inputs_is_exported_by_its_own_names(tmp_path):
    random = np.random.default_rng(0)
    inputs = {"table": random.normal(size=(60, 5)), "word": np.arange(60).reshape(60, 1) % 7}
    data = kd.data.from_arrays((inputs, np.arange(60) % 3), (inputs, np.arange(60) % 3))
    table, word = keras.Input((5,), name="table"), keras.Input((1,), dtype="int32", name="word")
    known = layers.Flatten()(layers.Embedding(7, 8)(word))
    logits = layers.Dense(3)(layers.Concatenate()([layers.Dense(300)(table), known]))
    student = keras.Model([word, table], logits)
    results = kd.export.export(
        student, tmp_path, formats=["float32", "int8"], data=data, verbose=False
    )
    assert results["ok"]
    assert all(file["agreement_with_student"] > 0.9 for file in results["files"])
    assert results["files"][0]["largest_logit_error"] < 1e-4


def imported_by(module):
    tree = ast.parse(Path(module.__file__).read_text())
    names = [node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


class TestFailures:
    def test_failing_formats_stop_no_other(self, digits, digits_teacher, tmp_path, monkeypatch):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        errors = {
            "saved_model": OSError(5, "Input/output error"),
            "onnx": tf.errors.InternalError(None, None, "Input/output error\nin a.cc"),
        }
        for form, error in errors.items():
            monkeypatch.setattr(PROOF, form, mock.Mock(side_effect=error))
        results = kd.export.export(
            digits_teacher,
            tmp_path / "new",
            formats=[*errors, "float32"],
            data=digits,
            verbose=False,
        )
        *failed, written = results["files"]
        assert [file["format"] for file in failed] == [*errors]
        assert all(file["failed"].endswith("Input/output error") for file in failed)
        assert written["file"] == "student_float32.tflite" and results["ok"] is False
        assert not list((tmp_path / "new").glob(".export*"))

    def test_a_converter_that_crashes_stops_no_other(self, digits, tmp_path):
        """LiteRT's, on a recurrent layer, ended this process, and the other formats with it."""
        image = keras.Input((8, 8, 1))
        x = layers.GRU(8)(layers.Reshape((8, 8))(image))
        results = kd.export.export(
            keras.Model(image, layers.Dense(10)(x)),
            tmp_path,
            formats=["int8", "float32"],
            data=digits,
            verbose=False,
        )
        crashed, written = results["files"]
        assert crashed["format"] == "int8" and "`unroll=True`" in crashed["failed"]
        assert written["file"] == "student_float32.tflite"

    def test_a_full_disk_stops_all_and_leaves_nothing(self, digits_teacher, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(PROOF, "saved_model", full)
        with pytest.raises(OSError, match="No space left"):
            kd.export.export(
                digits_teacher, tmp_path, formats=["saved_model", "float32"], verbose=False
            )
        assert not list(tmp_path.iterdir())

    def test_without_data_integer_formats_say_what_they_need(self, digits_teacher, tmp_path):
        results = kd.export.export(
            digits_teacher, tmp_path, formats=["int8", "float32"], verbose=False
        )
        assert "needs `calibration`" in results["files"][0]["failed"]
        assert results["files"][1]["agreement_with_student"] == 1.0
        assert results["files"][1]["accuracy"] is None

    def test_a_file_that_answers_like_chance_is_not_kept(
        self, digits, digits_teacher, tmp_path, monkeypatch
    ):
        """As one does that was calibrated on pixels from 0 to 1, had they come so far."""
        litert = importlib.import_module("keras_kd.export.litert")
        scaled = digits.train.images[:300] / 255
        monkeypatch.setattr(litert, "calibration_images", lambda *_: scaled.astype("float32"))
        results = kd.export.export(
            digits_teacher, tmp_path, formats=["int8"], data=digits, verbose=False
        )
        assert "must answer as the student does" in results["files"][0]["failed"]
        assert {file.name for file in tmp_path.iterdir()} == {"export.json", "export.png"}

    @pytest.mark.parametrize("name", ["", "..", ".", "../mine", "mine", 7])
    def test_no_file_is_removed_that_no_export_wrote(self, name, digits_teacher, tmp_path):
        folder = tmp_path / "out"
        folder.mkdir()
        for mine in (tmp_path / "mine", folder / "mine"):
            mine.write_text("mine")
        (folder / "export.json").write_text(json.dumps({"files": [{"file": name}]}))
        with pytest.raises(ValueError, match=r"export\.json, which is damaged: `file` is"):
            kd.export.export(digits_teacher, folder, overwrite=True, verbose=False)
        assert (tmp_path / "mine").is_file() and (folder / "mine").is_file()

    def test_a_folder_that_cannot_be_written_is_one_sentence(self, digits_teacher, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="one that can be written to. Received: .*file"):
            kd.export.export(digits_teacher, tmp_path / "file", verbose=False)

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"formats": ["int9"]}, "must be some of saved_model.*Received: int9"),
            ({"formats": []}, "Received: none"),
            ({"max_kb": -1}, "`max_kb` must be a number from 0 to 1e.15. Received: max_kb=-1"),
            ({"max_drop": 1}, "`max_drop` needs `data`"),
        ],
    )
    def test_bad_arguments_are_one_sentence(self, arguments, sentence, digits_teacher, tmp_path):
        with pytest.raises(ValueError, match=sentence):
            kd.export.export(digits_teacher, tmp_path / "new", **arguments)
        assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def student(digits_teacher, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "student.keras"
    kd.export.uncompiled(digits_teacher).save(path)
    return str(path)


class TestCommand:
    def test_it_shows_each_file_and_the_table(self, student, tmp_path, capsys):
        arguments = ["export", student, "--to", str(tmp_path), "--data", "digits"]
        formats = ["--formats", "float32", "int8", "--teacher", student]
        assert cli.main([*arguments, *formats, "--max-drop", "2"]) == 0
        printed = capsys.readouterr().out
        for words in ("float32 ", "int8 ", "agrees with the student on", "Keras teacher", "359"):
            assert words in printed

    def test_a_missed_budget_is_exit_code_1(self, student, tmp_path, capsys):
        arguments = ["export", student, "--to", str(tmp_path), "--formats", "float32"]
        assert cli.main([*arguments, "--max-us", "0"]) == 1
        assert "kept as student_float32.missed_budget.tflite" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("build", "sentence"),
        [
            (lambda: None, "must be a .keras file. Received: .*, no file"),
            (lambda: with_lambda(), "without code of its own such as a Lambda layer"),
            (lambda: two_outputs(), "must return logits .* alone. Received: .*, .*2"),
        ],
    )
    def test_a_model_that_cannot_be_exported_is_one_sentence(
        self, build, sentence, tmp_path, capsys
    ):
        model = build()
        if model is not None:
            model.save(tmp_path / "model.keras")
        arguments = ["export", str(tmp_path / "model.keras"), "--to", str(tmp_path / "new")]
        assert cli.main(arguments) == (2 if model is None else 1)
        error = capsys.readouterr().err
        assert error.startswith("keras-kd: error: ") and error.count("\n") == 1
        assert re.search(sentence, error)

    @pytest.mark.parametrize("formats", [["int8"], ["float32", "16x8"]])
    def test_a_format_that_nothing_calibrates_ends_the_command_with_2(
        self, formats, student, tmp_path, capsys
    ):
        new = tmp_path / "new"
        assert cli.main(["export", student, "--to", str(new), "--formats", *formats]) == 2
        assert f"The format {formats[-1]} needs `data` (--data)" in capsys.readouterr().err
        assert not new.exists()
        assert not (tmp_path / "new").exists()


def with_lambda():
    image = keras.Input((4,))
    return keras.Model(image, layers.Lambda(lambda x: 2 * x)(image))


def two_outputs():
    image = keras.Input((4,))
    return keras.Model(image, [layers.Dense(2)(image), layers.Dense(2)(image)])
