"""Folders of images: which classes and splits they make, what is refused, where images lie."""

import importlib.util
import os
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_kd as kd
from keras_kd.data.encoded import EncodedImages


def write_images(folder, count, *, size=(8, 8), start=0, colour=True, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        shape = (*size, 3) if colour else size
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}{suffix}")


@pytest.fixture
def pets(tmp_path):
    """Two classes, 20 images each, no splits."""
    write_images(tmp_path / "pets" / "dog", 20)
    write_images(tmp_path / "pets" / "cat", 20, start=100)
    return tmp_path / "pets"


def test_classes_are_sorted_folders_and_splits_are_carved(pets):
    data = kd.data.image_folder(pets)
    assert data.class_names == ("cat", "dog") and data.name == "pets"
    assert [len(each) for each in (data.train, data.validation, data.test)] == [32, 4, 4]
    assert data.image_shape == (8, 8, 3) and data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    assert np.bincount(data.test.labels).tolist() == [2, 2]


def test_images_keep_their_labels(pets):
    data = kd.data.image_folder(pets)
    first = {
        name: np.asarray(Image.open(file)).tobytes()
        for name in ("cat", "dog")
        for file in sorted((pets / name).iterdir())[:1]
    }
    for split in (data.train, data.validation, data.test):
        for image, label in zip(split.images, split.labels, strict=True):
            for name, pixels in first.items():
                if image.tobytes() == pixels:
                    assert data.class_names[label] == name
                    first = {key: value for key, value in first.items() if key != name}
    assert not first


def test_test_images_are_the_same_for_every_seed(pets):
    one, other = (kd.data.image_folder(pets, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one.test.images, other.test.images)
    assert one.digest == kd.data.image_folder(pets).digest != other.digest


def test_the_teachers_order_of_classes_is_kept(pets):
    data = kd.data.image_folder(pets, class_names=["dog", "cat"])
    assert data.class_names == ("dog", "cat")
    dogs = {np.asarray(Image.open(file)).tobytes() for file in (pets / "dog").iterdir()}
    for image, label in zip(data.train.images, data.train.labels, strict=True):
        assert (image.tobytes() in dogs) == (label == 0)


def test_splits_are_those_of_the_folders(tmp_path):
    for split, count in (("train", 10), ("val", 3), ("test", 4)):
        for number, name in enumerate(("a", "b")):
            write_images(tmp_path / split / name, count, start=100 * number)
    data = kd.data.image_folder(tmp_path)
    assert [len(each) for each in (data.train, data.validation, data.test)] == [20, 6, 8]


def test_sizes_and_colours_are_made_the_same(tmp_path):
    write_images(tmp_path / "a", 10, size=(8, 8), colour=False)
    write_images(tmp_path / "b", 10, size=(12, 9), suffix=".jpg")
    with pytest.raises(ValueError, match=r"`image_size`.*Received: 2 sizes, 8x8 the most frequent"):
        kd.data.image_folder(tmp_path)
    data = kd.data.image_folder(tmp_path, image_size=(10, 10))
    assert data.image_shape == (10, 10, 3)
    assert kd.data.image_folder(tmp_path, image_size=(10, 10), channels=1).image_shape[-1] == 1


def test_images_may_lie_deeper_and_other_files_are_passed_over(pets):
    write_images(pets / "dog" / "more" / "still", 5, start=50)
    (pets / "dog" / "Thumbs.db").write_bytes(b"x")
    (pets / "dog" / ".hidden.png").write_bytes(b"x")
    (pets / ".cache").mkdir()
    (pets / "notes.txt").write_text("x")
    os.symlink(pets, pets / "dog" / "circle")
    data = kd.data.image_folder(pets)
    assert len(data.train) + len(data.validation) + len(data.test) == 45


def test_names_of_any_kind_are_read(pets):
    (pets / "dog" / "000.png").rename(pets / "dog" / "new\nline <b>.png")
    (pets / "dog" / "001.png").rename(pets / "dog" / ("n" * 251 + ".png"))
    os.rename(pets / "dog" / "002.png", os.fsencode(pets / "dog") + b"/\xff.png")
    assert len(kd.data.image_folder(pets).train) == 32


def test_unreadable_images_are_counted_and_named(pets):
    (pets / "dog" / "000.png").write_bytes(b"")
    (pets / "dog" / "001.png").write_bytes((pets / "dog" / "002.png").read_bytes()[:-60])
    os.symlink(pets / "cat" / "circle.png", pets / "cat" / "circle.png")
    (pets / "cat" / "folder.png").mkdir()
    with pytest.raises(ValueError) as caught:
        kd.data.image_folder(pets)
    message = str(caught.value)
    # Headers come first: the truncated one has a good header.
    assert message.startswith("Every image must be readable. Received: 2 that cannot be decoded: ")
    assert "000.png (empty)" in message and "circle.png (Too many levels" in message
    assert 'unreadable="leave_out"' in message and "\n" not in message
    data = kd.data.image_folder(pets, unreadable="leave_out")
    assert len(data.left_out) == 3 and any("001.png" in each for each in data.left_out)
    assert len(data.train) + len(data.validation) + len(data.test) == 38


def test_a_truncated_image_with_a_good_header_is_refused(pets):
    (pets / "dog" / "001.png").write_bytes((pets / "dog" / "002.png").read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"1 that cannot be decoded: .*001.png \("):
        kd.data.image_folder(pets)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"class_names": ["cat", "dog", "cow"]}, "no training images: 'cow'"),
        ({"class_names": ["cat"]}, "a folder that is no class: 'dog'"),
        ({"class_names": ["cat", "cat", "dog"]}, "each class once"),
        ({"class_names": "cat"}, "must be a list of names"),
        ({"image_size": 8}, "must be (height, width)"),
        ({"image_size": (0, 8)}, "must be an integer of at least 1"),
        ({"channels": 4}, "must be 1 or 3"),
        ({"fit": "squeeze"}, "must be one of stretch, crop, pad"),
        ({"background": 300}, "must be from 0 to 255"),
        ({"unreadable": "ignore"}, "'refuse' or 'leave_out'"),
        ({"seed": -1}, "must be an integer of at least 0"),
        ({"memory_limit": -1}, "`memory_limit` must be a number from 0"),
        ({"memory_limit": float("nan")}, "`memory_limit` must be a number from 0"),
        ({"memory_limit": "1GB"}, "`memory_limit` must be a number from 0"),
        ({"test_fraction": 0.0}, "must be above 0 and below 1"),
        ({"validation_fraction": 0.001}, "enough images to carve validation images"),
    ],
)
def test_arguments_are_checked(pets, change, sentence):
    with pytest.raises(ValueError) as caught:
        kd.data.image_folder(pets, **change)
    assert sentence in str(caught.value)


def test_folders_that_hold_no_images_by_class_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        kd.data.image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="where no folder holds any"):
        kd.data.image_folder(tmp_path)
    for folder in ("train/a", "train/b", "tset"):
        write_images(tmp_path / folder, 5)
    with pytest.raises(ValueError, match="nothing but `validation` and `test`. Received: 'tset'"):
        kd.data.image_folder(tmp_path)


def test_a_split_with_a_class_that_was_not_trained_is_refused(tmp_path):
    for folder in ("train/a", "train/b", "test/a", "test/c"):
        write_images(tmp_path / folder, 5)
    with pytest.raises(ValueError, match="a folder that is no class: 'c'"):
        kd.data.image_folder(tmp_path)


def test_beyond_the_memory_limit_images_stay_encoded_or_lie_in_the_cache(pets, tmp_path):
    kept = kd.data.image_folder(pets)
    encoded = kd.data.image_folder(pets, memory_limit=1)
    cached = kd.data.image_folder(pets, memory_limit=1, cache=tmp_path / "cache")
    assert isinstance(encoded.train.images, EncodedImages)
    assert isinstance(cached.train.images, np.memmap)
    orders = [
        [(images.numpy().tobytes(), labels.numpy().tolist()) for images, labels in batches]
        for data in (kept, encoded, cached)
        for batches in [data.train.batches(5, shuffle_seed=3, initial_epoch=2)]
    ]
    assert orders[0] == orders[1] == orders[2]
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    assert len(files) == 6  # Each with its digest.
    kd.data.image_folder(pets, memory_limit=1, cache=tmp_path / "cache")
    assert files == {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    assert encoded.digest == kd.data.image_folder(pets, memory_limit=1).digest


def test_a_student_trains_the_same_from_encoded_images(pets):
    weights = []
    for limit in (1e9, 1):
        data = kd.data.image_folder(pets, memory_limit=limit)
        keras.utils.set_random_seed(0)
        shape = {"image_shape": data.image_shape, "num_classes": 2}
        student, teacher = kd.models.mlp([4], **shape), kd.models.mlp([8], **shape)
        distiller = kd.Distiller(student=student, teacher=teacher).compile()
        distiller.fit(data.train.batches(8, shuffle_seed=0), epochs=2, verbose=0)
        weights.append(np.concatenate([w.ravel() for w in student.get_weights()]))
    np.testing.assert_allclose(*weights, atol=1e-5)  # Stacked or not, as the fast path promises.


def test_encoded_images_are_indexed_like_an_array(pets):
    images = kd.data.image_folder(pets, memory_limit=1).train.images
    array = np.asarray(images)
    assert array.shape == images.shape and array.nbytes == images.nbytes
    positions = np.array([[3, 1], [0, 3]])
    np.testing.assert_array_equal(images[positions], array[positions])
    np.testing.assert_array_equal(images[2], array[2])
    np.testing.assert_array_equal(images[5:9], array[5:9])
    mask = np.arange(len(array)) % 3 == 0
    np.testing.assert_array_equal(images[mask], array[mask])
    np.testing.assert_array_equal(np.asarray(images.take(mask)), array[mask])
    assert images[:0].shape == (0, 8, 8, 3)


def test_large_images_are_decoded_by_threads_to_the_same_pixels(tmp_path):
    for name in ("a", "b"):
        write_images(tmp_path / name, 6, size=(90, 90), start=ord(name))
    images = kd.data.image_folder(
        tmp_path, memory_limit=1, validation_fraction=0.2, test_fraction=0.2
    ).train.images
    one_by_one = np.stack([images[number] for number in range(len(images))])
    np.testing.assert_array_equal(np.asarray(images), one_by_one)


def test_an_image_that_vanishes_is_named(pets):
    images = kd.data.image_folder(pets, memory_limit=1).train.images
    os.remove(images.sources[0][0])
    with pytest.raises(ValueError, match="must stay so. Received: .*No such file"):
        images[0:3]


def test_without_pillow_the_extra_is_named(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "keras-kd\[images\]"'):
        kd.data.image_folder(pets)


def test_gifs_are_read_and_their_first_picture_is_taken(tmp_path):
    for number in range(20):
        folder = tmp_path / ("cat" if number % 2 else "dog")
        folder.mkdir(exist_ok=True)
        frames = [Image.new("RGB", (6, 5), (10 * number, each, 0)) for each in (0, 255)]
        frames[0].save(folder / f"{number}.gif", save_all=True, append_images=frames[1:])
    data = kd.data.image_folder(tmp_path)
    assert data.image_shape == (5, 6, 3) and len(data.train) + len(data.validation) == 18
    assert data.train.images[..., 1].max() == 0


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".heic", ".jp2", ".pcx", ".eps"])
def test_images_of_other_kinds_are_told_not_dropped(tmp_path, suffix):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    for number in range(3):
        (tmp_path / "cat" / f"x{number}{suffix}").write_bytes(b"II*\0" + bytes(30))
    with pytest.raises(ValueError, match=rf"3 that cannot be decoded: .*x0\{suffix}"):
        kd.data.image_folder(tmp_path)
    left = kd.data.image_folder(tmp_path, unreadable="leave_out").left_out
    assert len(left) == 3 and all(suffix in each for each in left)


def test_an_image_beside_the_folders_of_classes_is_told_not_dropped(pets):
    Image.new("RGB", (4, 4)).save(pets / "x.png")
    with pytest.raises(ValueError, match="in the folder of its class. Received: 'x.png' in"):
        kd.data.image_folder(pets)
    for name in ("cat", "dog"):
        (pets / "train").mkdir(exist_ok=True)
        (pets / name).rename(pets / "train" / name)
    (pets / "x.png").rename(pets / "train" / "x.png")
    with pytest.raises(ValueError, match="Received: 'x.png' in .*train itself"):
        kd.data.image_folder(pets)


def test_a_limit_of_memory_that_is_none_is_said_once(pets, monkeypatch):
    monkeypatch.setenv("KERAS_KD_MAX_GB", "much")
    with pytest.raises(ValueError, match="^KERAS_KD_MAX_GB must be a number"):
        kd.data.image_folder(pets)


def test_a_class_without_images_is_told_not_dropped(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(10):
                path = tmp_path / split / name / f"{number}.png"
                Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    (tmp_path / "test" / "cow").mkdir()  # No class at all.
    assert kd.data.image_folder(tmp_path).class_names == ("cat", "dog")
    (tmp_path / "train" / "cow").mkdir()
    (tmp_path / "train" / "cow" / "notes.txt").write_text("none yet")
    with pytest.raises(ValueError, match=r"no training images: 'cow'. Fill, remove or rename"):
        kd.data.image_folder(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "cow" / "0.png")
    with pytest.raises(ValueError, match="none in the test folder of 'cow'. Fill or remove it"):
        kd.data.image_folder(tmp_path)


def test_a_class_of_which_nothing_can_be_read_is_told_not_dropped(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(ValueError, match="none that can be read of 'dog'"):
        kd.data.image_folder(tmp_path, unreadable="leave_out")


def test_a_pipe_among_the_images_is_named_not_waited_for(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "0.png")
    os.mkfifo(tmp_path / "cat" / "x.png")
    with pytest.raises(ValueError, match=r"x.png \(no file\)"):
        kd.data.image_folder(tmp_path)
