"""One path, three kinds of data; class names as the teacher knows them."""

import json

import pytest

import keras_kd as kd
from keras_kd.data.reading import class_names_beside, class_names_in


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="which is not there"):
        kd.data.read(tmp_path / "nowhere")
    (tmp_path / "data.doc").write_text("1,2")
    with pytest.raises(ValueError, match=r"Received: .*data.doc, something else"):
        kd.data.read(tmp_path / "data.doc")
    with pytest.raises(ValueError, match="Arrays keep their shape. Received: image_size"):
        kd.data.read(tmp_path / "data.npz", image_size=(8, 8))


def test_class_names_lie_beside_the_teacher(tmp_path):
    teacher, names = tmp_path / "teacher.keras", tmp_path / "class_names.json"
    assert class_names_beside(teacher) is None
    names.write_text(json.dumps(["dog", "cat"]))
    assert class_names_beside(teacher) == ("dog", "cat")
    names.write_text(json.dumps({"cat": 1, "dog": 0}))
    assert class_names_in(names) == ("dog", "cat")


@pytest.mark.parametrize(
    "text", ["{", "3", '{"cat": 1, "dog": 2}', '"cat"', "", pytest.param("[" * 100_000, id="deep")]
)
def test_class_names_of_another_kind_are_refused(tmp_path, text):
    (tmp_path / "class_names.json").write_text(text)
    with pytest.raises(ValueError, match="must hold the class names as a list"):
        class_names_beside(tmp_path / "teacher.keras")
