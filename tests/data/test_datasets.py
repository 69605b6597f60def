"""Named data sets: where they are looked for, and that they are the known ones."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.data import datasets


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine that has no data set and cannot download one."""
    monkeypatch.setenv("KERAS_KD_DATA", str(tmp_path / "of-the-environment"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras-home"))

    def no_network(name):
        raise OSError("no network")

    monkeypatch.setattr(datasets, "_download", no_network)
    monkeypatch.setattr(
        datasets,
        "_places",
        lambda data_dir, places=datasets._places: _without_system(places(data_dir)),
    )
    return tmp_path


def _without_system(places):
    return [place for place in places if place != Path("/usr/share/datasets")]


def write_idx_files(folder, count=100):
    folder.mkdir(parents=True)
    images = np.zeros((count, 28, 28), np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    for image_file, label_file in datasets._IDX_FILES:
        for file, array in ((image_file, images), (label_file, labels)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{file}.gz").write_bytes(gzip.compress(header + array.tobytes()))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="one of cifar10, digits, fashion_mnist, mnist"):
        kd.data.load("imagenet")


def test_the_error_lists_every_place_tried_and_the_remedies(nowhere):
    with pytest.raises(FileNotFoundError) as caught:
        kd.data.load("fashion_mnist", data_dir=nowhere / "mine")
    message = str(caught.value)
    for part in ("mine", "of-the-environment", "keras-home", "Keras's download", "no network"):
        assert part in message
    assert "apt-get install dataset-fashion-mnist" in message
    assert "KERAS_KD_DATA" in message


@pytest.mark.parametrize(
    "folder",
    ["mine", "mine/fashion-mnist", "of-the-environment/fashion_mnist",
     "keras-home/datasets/fashion-mnist"],
)  # fmt: skip
def test_files_are_found_in_each_place(nowhere, monkeypatch, folder):
    monkeypatch.setattr(datasets, "_DIGESTS", {})
    write_idx_files(nowhere / folder)
    data = kd.data.load("fashion_mnist", data_dir=nowhere / "mine")
    assert data.source == str(nowhere / folder)


def test_the_environment_may_name_several_folders(nowhere, monkeypatch):
    monkeypatch.setattr(datasets, "_DIGESTS", {})
    write_idx_files(nowhere / "second" / "mnist")
    places = [str(nowhere / "first"), str(nowhere / "second")]
    monkeypatch.setenv("KERAS_KD_DATA", os.pathsep.join(places))
    assert kd.data.load("mnist").source == str(nowhere / "second" / "mnist")


def test_files_that_are_not_the_known_ones_are_refused(nowhere):
    write_idx_files(nowhere / "mine")
    with pytest.raises(ValueError, match=r"are not mnist: expected SHA-256 .*Fetch them again"):
        kd.data.load("mnist", data_dir=nowhere / "mine")


def test_digits_are_real_pixels(digits):
    assert digits.image_shape == (8, 8, 1) and digits.num_classes == 10
    assert digits.train.images.dtype == np.uint8 and digits.train.images.max() == 255
    assert len(digits.train) + len(digits.validation) + len(digits.test) == 1797


def test_the_test_split_of_digits_is_the_same_for_every_seed(digits):
    other = kd.data.load("digits", seed=1)
    np.testing.assert_array_equal(digits.test.images, other.test.images)
    assert not np.array_equal(digits.validation.images, other.validation.images)


def test_fashion_mnist_is_the_real_one(fashion_mnist):
    assert len(fashion_mnist.train) == 54_000
    assert len(fashion_mnist.validation) == 6_000
    assert np.bincount(fashion_mnist.validation.labels).tolist() == [600] * 10
    assert np.bincount(fashion_mnist.test.labels).tolist() == [1000] * 10
    assert fashion_mnist.class_names[fashion_mnist.test.labels[0]] == "Ankle boot"


def test_mnist_is_the_real_one():
    try:
        mnist = kd.data.load("mnist")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    # The mean pixel that everybody normalises with.
    everything = np.concatenate([mnist.train.images, mnist.validation.images])
    assert everything.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
