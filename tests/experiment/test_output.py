"""The folder of a distillation: what was interrupted goes on to the same weights, to the bit."""

import dataclasses
import json
import shutil
import time

import keras
import numpy as np
import pytest
from PIL import Image

import keras_kd as kd
from keras_kd._common.locks import at_work
from keras_kd.experiment import recipe as recipe_module
from keras_kd.experiment.distill import Distill
from keras_kd.runs import checkpoint
from keras_kd.runs import folder as folder_module
from keras_kd.runs.checkpoint import Checkpoint
from keras_kd.runs.keeper import Keeper

pytestmark = pytest.mark.usefixtures("no_pictures")

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 200, (300, 6, 6, 1), dtype=np.uint8)
LABELS = np.arange(300) % 3
# Learnable: a class is a corner's brightness.
IMAGES[:, 0, 0, 0] = LABELS * 100 + GENERATOR.integers(0, 50, 300)

FAST = {
    "student": "mlp:6",
    "temperature": 2.0,
    "alpha": 0.6,
    "epochs": 4,
    "control": False,
    "checked": False,
    "formats": ("float32",),
    "verbose": False,
}


@pytest.fixture(scope="module")
def data():
    return kd.data.from_arrays((IMAGES[:250], LABELS[:250]), (IMAGES[250:], LABELS[250:]))


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """The same images as files that are decoded in every epoch."""
    folder = tmp_path_factory.mktemp("images")
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / str(label) / f"{number}.png")
    return kd.data.read(folder, memory_limit=1)


@pytest.fixture(scope="module")
def teacher(data):
    keras.utils.set_random_seed(3)
    model = kd.models.mlp([16], image_shape=(6, 6, 1), num_classes=3)
    model.compile(keras.optimizers.Adam(1e-2), kd.losses.CrossEntropy())
    model.fit(data.train.images, data.train.labels, epochs=20, verbose=0)
    return model


def interrupt(monkeypatch, name, epoch):
    """Have a Ctrl-C come right after the checkpoint of an epoch of a training."""
    write = Checkpoint._write

    def write_and_interrupt(self):
        write(self)
        if self.epoch == epoch and self.path.name.startswith(f"{name}."):
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "_write", write_and_interrupt)


def interrupted(monkeypatch, name, epoch, teacher, data, output, **changes):
    with monkeypatch.context() as patch:
        interrupt(patch, name, epoch)
        with pytest.raises(KeyboardInterrupt):
            kd.distill(teacher, data, output=output, **(FAST | changes))


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def assert_same(output, expected):
    assert files_of(output) == files_of(expected)
    for name in [name for name in files_of(expected) if name.endswith(".keras")]:
        ours, theirs = (
            keras.models.load_model(folder / name).get_weights() for folder in (output, expected)
        )
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    ours, theirs = (results_of(folder) for folder in (output, expected))
    for part in ("settings", "chosen", "gain", "data"):
        assert ours.get(part) == theirs.get(part)
    ours, theirs = (results_of(folder / "seed_0")["curves"] for folder in (output, expected))
    for curves in (*ours.values(), *theirs.values()):
        curves.pop("seconds")
    assert ours == theirs


@pytest.mark.parametrize(
    ("kind", "changes", "moment"),
    [
        (
            "arrays",
            {"student": lambda **shape: kd.models.mlp([6], dropout=0.3, **shape)},
            ("student_alone", 1),
        ),
        ("encoded", {"temperature": "auto"}, ("student", 2)),
        pytest.param(
            "arrays", {"student": "auto", "max_kb": 12}, ("students", 2), marks=pytest.mark.slow
        ),
    ],
    ids=["a function", "encoded images, chosen temperature", "auto"],
)
def test_what_was_interrupted_goes_on_to_the_bit(
    kind, changes, moment, data, encoded, teacher, tmp_path, monkeypatch
):
    data = encoded if kind == "encoded" else data
    changes = changes | {"control": True, "checked": kind == "arrays"}
    kd.distill(teacher, data, output=tmp_path / "whole", **(FAST | changes))
    output = tmp_path / "cut"
    interrupted(monkeypatch, *moment, teacher, data, output, **changes)
    assert folder_module.state_of(output) == "unfinished"
    monkeypatch.setattr(recipe_module, "check", None)  # It was checked when it was begun.
    kd.distill(teacher, data, output=output, **(FAST | changes))
    assert_same(output, tmp_path / "whole")


@pytest.fixture(scope="module")
def begun(data, teacher, tmp_path_factory):
    """A distillation that was interrupted after the second epoch of the student."""
    output = tmp_path_factory.mktemp("begun") / "out"
    with pytest.MonkeyPatch.context() as patch:
        interrupted(patch, "student", 2, teacher, data, output)
    return output


@pytest.fixture
def copied(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"student": "mlp:7"}, "student: mlp:6 there, mlp:7 here)"),
        ({"alpha": 0.5}, "alpha: 0.6 there, 0.5 here)"),
        ({"epochs": 9}, "epochs: 4 there, 9 here)"),
        ({"seed": 1}, "seeds: [0] there, [1] here)"),
        ({"formats": ("float16",)}, 'formats: ["float32"] there, ["float16"] here)'),
        ({"scale": "0..1"}, "another teacher; scale: 0..255 there, 0..1 here)"),
        ({"unlabelled": IMAGES[:9]}, "another training images)"),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else None,
)
def test_other_settings_are_refused_by_name(change, sentence, copied, data, teacher):
    before = files_of(copied)
    with pytest.raises(ValueError) as caught:
        kd.distill(teacher, data, output=copied, **(FAST | change))
    assert str(caught.value).startswith(
        "A folder must be new, or hold what the same settings made. Received: "
        f"{copied}, which holds an unfinished distillation of other settings ({sentence}"
    )
    assert files_of(copied) == before


def test_another_teacher_and_other_images_are_refused(copied, data, teacher):
    other = kd.models.mlp([16], image_shape=(6, 6, 1), num_classes=3)
    with pytest.raises(ValueError, match="settings .another teacher"):
        kd.distill(other, data, output=copied, **FAST)
    few = kd.data.from_arrays((IMAGES[:240], LABELS[:240]), (IMAGES[250:], LABELS[250:]))
    with pytest.raises(ValueError, match="settings .data train: 226 there, .*another data"):
        kd.distill(teacher, few, output=copied, **FAST)
    with pytest.raises(ValueError, match="hold a distillation of others. Received: .* of arrays"):
        kd.distill(teacher, dataclasses.replace(data, name="others"), output=copied, **FAST)


def test_the_same_images_found_elsewhere_go_on(copied, data, teacher, uninterrupted):
    moved = dataclasses.replace(data, name="moved", source="elsewhere")
    kd.distill(teacher, moved, name="arrays", output=copied, **FAST)
    ours, theirs = (
        keras.models.load_model(folder / "student.keras").get_weights()
        for folder in (copied, uninterrupted)
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_files_may_be_asked_for_and_what_a_killed_process_left_is_removed(
    copied, data, teacher, capsys
):
    for name in (".student.keras.abcdefgh/student.keras", ".export.abcdefgh/export/int8/x"):
        for folder in (copied, copied / "seed_0"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text("half")
    change = {"formats": ("float16",), "overwrite": True, "verbose": True}
    kd.distill(teacher, data, output=copied, **(FAST | change))
    assert "student distilled goes on after epoch 2" in " ".join(capsys.readouterr().out.split())
    assert not any(name.split("/")[-1].startswith(".") for name in files_of(copied))
    assert {"student.keras", "student_float16.tflite", "results.json"} <= files_of(copied)


def test_two_processes_do_not_work_on_one(copied, data, teacher):
    with (
        at_work(copied),
        pytest.raises(ValueError, match=r"Another process is at work in .* \(process \d+ on "),
    ):
        kd.distill(teacher, data, output=copied, **FAST)


@pytest.fixture(scope="module")
def uninterrupted(data, teacher, tmp_path_factory):
    output = tmp_path_factory.mktemp("uninterrupted") / "out"
    kd.distill(teacher, data, output=output, **FAST)
    return output


def contents_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_finished_is_answered_at_once(uninterrupted, data, teacher, monkeypatch):
    before = contents_of(uninterrupted)
    monkeypatch.setattr(Distill, "train", None)
    monkeypatch.setattr(recipe_module, "check", None)
    result = kd.distill(teacher, data, output=uninterrupted, **FAST)
    assert contents_of(uninterrupted) == before
    assert result.report == results_of(uninterrupted)
    expected = keras.models.load_model(uninterrupted / "student.keras").get_weights()
    for one, other in zip(result.student.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": 3}, "epochs: 4 there, 3 here"),
        ({"formats": ("float16",)}, r'formats: \["float32"\] there, \["float16"\] here'),
        ({"control": True}, "control: no there, yes here"),
        ({"max_drop": 5}, "max drop: none there, 5 here"),
    ],
)
def test_what_is_finished_is_not_replaced_by_others(change, sentence, uninterrupted, data, teacher):
    before = contents_of(uninterrupted)
    with pytest.raises(ValueError, match=rf"a finished distillation of .*{sentence}.*overwrite"):
        kd.distill(teacher, data, output=uninterrupted, **(FAST | change))
    assert contents_of(uninterrupted) == before


def test_what_a_former_version_finished_is_refused_by_name(uninterrupted, data, teacher, tmp_path):
    output = shutil.copytree(uninterrupted, tmp_path / "out")
    config = json.loads((output / "config.json").read_text())
    config["options"] = {"formats": ["float32"], "control": False, "budgets": {}}
    (output / "config.json").write_text(json.dumps(config))
    before = contents_of(output)
    with pytest.raises(ValueError, match="of this version. Received: .* written by keras_kd 0.1."):
        kd.distill(teacher, data, output=output, **FAST)
    assert contents_of(output) == before


@pytest.mark.parametrize("state", ["finished", "unfinished"])
def test_it_is_replaced_where_that_is_meant(state, copied, uninterrupted, data, teacher, tmp_path):
    output = copied
    if state == "finished":
        output = shutil.copytree(uninterrupted, tmp_path / "finished")
    change = {"epochs": 1, "formats": ("float16",), "overwrite": True}
    kd.distill(teacher, data, output=output, **(FAST | change))
    trained = {"config.json", "results.json", "predictions.npz", "student.keras", "student.json",
               "student_history.csv"}  # fmt: skip
    assert files_of(output) == {
        "config.json", "export.json", "export.png", "results.json", "picture.png", "student.keras",
        "student.json", "student_float16.tflite", "student_float16.tflite.json", "seed_0",
        *(f"seed_0/{name}" for name in trained),
    }  # fmt: skip
    assert results_of(output)["settings"]["epochs"] == 1
    expected = keras.models.load_model(output / "seed_0" / "student.keras").get_weights()
    for one, other in zip(
        keras.models.load_model(output / "student.keras").get_weights(), expected, strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_seconds_are_those_of_all_processes(data, teacher, tmp_path, monkeypatch):
    auto = {"temperature": "auto"}
    interrupted(monkeypatch, "student", 1, teacher, data, tmp_path, **auto)
    path = tmp_path / "chosen.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 1000.0}))

    def read_as_slow(path, read=checkpoint.read):
        found = read(path)
        return found and {**found, "seconds": 500.0}

    monkeypatch.setattr(checkpoint, "read", read_as_slow)
    began = time.perf_counter()
    results = kd.distill(teacher, data, output=tmp_path, **(FAST | auto))
    assert 1500 < results["seconds"] < 1500 + time.perf_counter() - began


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[1, 2]", '{"models": 7}', '{"data": "[/x]"}']
)
def test_damaged_results_are_named(content, uninterrupted, data, teacher, tmp_path):
    output = shutil.copytree(uninterrupted, tmp_path / "out")
    (output / "results.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"must be as it was written\. Received: .*results\.json, "
    ):
        kd.distill(teacher, data, output=output, **FAST)


@pytest.mark.parametrize("name", ["student_float32.tflite", "picture.png", "student.keras"])
def test_a_file_that_is_gone_is_made_again_and_nothing_trained(
    name, uninterrupted, data, teacher, tmp_path, monkeypatch
):
    output = shutil.copytree(uninterrupted, tmp_path / "out")
    (output / name).unlink()
    monkeypatch.setattr(Keeper, "keep", None)
    kd.distill(teacher, data, output=output, **FAST)
    assert_same(output, uninterrupted)


def damage(path):
    """Turn one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_its_training_begun_anew(
    copied, data, teacher, uninterrupted
):
    path = copied / "seed_0" / "student.checkpoint.npz"
    damage(path)
    with pytest.raises(ValueError) as caught:
        kd.distill(teacher, data, output=copied, **FAST)
    assert str(caught.value) == (
        f"A checkpoint must be as it was written. Received: {path}, which is damaged. Remove it: "
        "this training then begins anew, and what is finished is kept."
    )
    path.unlink()
    kd.distill(teacher, data, output=copied, **FAST)
    assert_same(copied, uninterrupted)


@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_a_damaged_record_is_named(state, copied, uninterrupted, data, teacher, tmp_path):
    if state == "finished":
        copied = shutil.copytree(uninterrupted, tmp_path / "finished")
    # That of a seed is looked at where there is something to do.
    places = [copied] if state == "finished" else [copied / "seed_0", copied]
    for path in (place / "config.json" for place in places):
        path.write_text("{")
        with pytest.raises(ValueError) as caught:
            kd.distill(teacher, data, output=copied, **FAST)
        assert str(caught.value) == (
            f"The record of a run must be as it was written. Received: {path}, which is damaged: "
            "it is no JSON. Remove it: the command that began the run then goes on with what is "
            "trained."
        )
        path.unlink()
    kd.distill(teacher, data, output=copied, **FAST)
    assert_same(copied, uninterrupted)


@pytest.mark.parametrize("name", ["student.keras", "seed_0/student.keras"])
def test_a_damaged_student_is_written_again(name, data, teacher, uninterrupted, tmp_path):
    output = shutil.copytree(uninterrupted, tmp_path / "out")
    damage(output / name)
    (output / "picture.png").unlink()
    kd.distill(teacher, data, output=output, **FAST)
    assert_same(output, uninterrupted)


def test_damaged_soft_labels_are_named_and_asked_again(encoded, teacher, tmp_path, monkeypatch):
    output = tmp_path / "out"
    interrupted(monkeypatch, "student", 1, teacher, encoded, output)
    (shard,) = output.glob("seed_0/soft_labels_*/*.npy")
    labels = shard.parent
    damage(shard)
    with pytest.raises(ValueError) as caught:
        kd.distill(teacher, encoded, output=output, **FAST)
    assert str(caught.value) == (
        f"The soft labels must be as they were written. Received: {shard.name} in {labels}, which "
        "is damaged. Delete the folder and create them again."
    )
    shutil.rmtree(labels)
    kd.distill(teacher, encoded, output=output, **FAST)
    kd.distill(teacher, encoded, output=tmp_path / "whole", **FAST)
    assert_same(output, tmp_path / "whole")


def test_a_file_remembers_what_was_computed(tmp_path):
    path = tmp_path / "x.json"
    remembered, shape = folder_module.remembered, {"a": int}
    assert remembered(path, "x", lambda: {"a": 1}, shape) == {"a": 1, "made_of": "x"}
    assert remembered(path, "x", lambda: 1 / 0, shape) == {"a": 1, "made_of": "x"}
    assert remembered(path, "y", lambda: {"a": 2}, shape) == {"a": 2, "made_of": "y"}
    path.write_text("half of i")
    assert remembered(path, "y", lambda: {"a": 3}, shape)["a"] == 3
    assert remembered(path, "y", lambda: {"b": 4}, {"b": int})["b"] == 4
