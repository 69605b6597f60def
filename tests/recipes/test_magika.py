"""The recipe of file contents: its teacher, its bytes, its student, and folders of one's own."""

import importlib
import sys

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.data import debian
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


def test_the_teacher_by_places_finds_what_it_finds_in_all(split):
    images = split.images[:2]
    said = PARTS.by_places().predict_on_batch(images)
    assert said["patterns"].shape == (2, 128, 512)
    teacher = PARTS.teacher()
    np.testing.assert_allclose(said["logits"], teacher.predict_on_batch(images), atol=1e-4)
    most = keras.Model(teacher.input, teacher.get_layer("most").output)
    np.testing.assert_allclose(
        said["patterns"].max(axis=1), np.maximum(most.predict_on_batch(images), 0), atol=1e-4
    )


def test_the_student_has_a_tenth_of_the_bytes_and_a_twentieth_of_the_multiplications():
    student, teacher = kd.recipes.magika.student((2048,), 214), PARTS.teacher()
    # A byte a weight, as integers.
    assert student.count_params() < PARTS.model_path().stat().st_size / 10

    def multiplications(model):
        return sum(
            layer.kernel.shape.num_elements() * np.prod(layer.output.shape[1:-1], dtype=int)
            for layer in model.layers
            if isinstance(layer, (keras.layers.Conv1D, keras.layers.Dense))
        )

    assert multiplications(student) < multiplications(teacher) / 20


def test_the_student_has_the_teachers_ends():
    student, teacher = kd.recipes.magika.student((2048,), 214), PARTS.teacher()
    for name in ("over_patterns", "logits"):
        for own, given in zip(
            student.get_layer(name).get_weights(),
            teacher.get_layer(name).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(own, given)
    table = student.get_layer("table")
    assert not table.trainable
    # Directions in which what the teacher reads of bytes differs: none says what another says.
    np.testing.assert_allclose(np.corrcoef(table.get_weights()[0].T), np.eye(32), atol=1e-4)


def test_the_student_finds_at_a_place_what_lies_there():
    """A byte is seen at those places alone at which the teacher's patterns reach it."""
    student = kd.recipes.magika.student((2048,), 214)
    patterns = keras.Model(student.input, student.get_layer("patterns").output)
    images = np.random.default_rng(0).integers(0, 256, (1, 2048)).astype("int32")
    other = images.copy()
    other[0, 1024] += 1  # In the 256th patch of four bytes.
    differ = (patterns(images) != patterns(other)).numpy().any(axis=(0, 2))
    assert set(np.flatnonzero(differ)) <= {63, 64}


def test_no_package_is_in_two_lists():
    lists = PARTS.TRAIN, PARTS.VALIDATION, PARTS.TEST
    assert len(set().union(*lists)) == sum(map(len, lists))


def test_folders_of_ones_own_are_run_and_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_KD_DATA", str(tmp_path))
    monkeypatch.setattr(debian, "_call", None)  # Nothing is fetched.
    for name in ("train", "validation", "test"):
        for number in range(16):
            folder = tmp_path / "magika" / name / str(number // 4)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.py").write_text(f"import {name}_{number}\nprint('{number}')\n")
            (folder / f"{number}.json").write_text(f'{{"{name}": [{number}, 1, 2, 3]}}\n')
    recipe = kd.recipes.magika
    data = recipe.load(0)
    assert len(data.train) == len(data.validation) == len(data.test) == 32
    assert data.reads == "files"  # By which the page takes a dropped file.
    store = kd.SoftLabels(PARTS.Place("answers", "train"))
    assert store.num_examples == 32 and store.output_names == ("logits", "patterns")
    # What the teacher says by its own runtime is what is stored by its Keras model.
    labels = np.concatenate(
        [
            targets.teacher_logits["logits"].numpy().argmax(-1)
            for _, targets in store.join(data.train, 8)
        ]
    )
    assert sorted(labels) == sorted(PARTS._answers("train", data.train.images))
    assert recipe.settings(data)["loss"][1]["class_name"] == "Hints"
    # All of it is there: nobody is asked again.
    for name in ("load_teacher", "by_places"):
        monkeypatch.setattr(PARTS, name, None)
    assert recipe.load(1).digest == data.digest
    kept = sorted(path.name for path in (tmp_path / "magika").iterdir())
    assert kept == ["answers", PARTS.gathered().name, "test", "train", "validation"]


def test_who_was_killed_is_asked_about_the_rest_alone(split, tmp_path, monkeypatch):
    monkeypatch.setattr(PARTS, "_PIECE", 2)
    images, asked = split.images[:4], PARTS.by_places
    whole = {
        name: each.copy() for name, each in PARTS._asked_by_place(images, tmp_path / "a").items()
    }

    class Counted:
        def __init__(self):
            self.model, self.count = asked(), 0
            self.output = self.model.output

        def predict(self, images, **options):
            self.count += 1
            if self.count == 2:
                raise KeyboardInterrupt
            return self.model.predict(images, **options)

    counted = Counted()
    monkeypatch.setattr(PARTS, "by_places", lambda: counted)
    with pytest.raises(KeyboardInterrupt):
        PARTS._asked_by_place(images, tmp_path / "b")
    found = PARTS._asked_by_place(images, tmp_path / "b")
    assert counted.count == 3
    for name, each in whole.items():
        np.testing.assert_array_equal(found[name], each)
