"""CIFAR-10's two official layouts, on small batches written here."""

import hashlib
import os
import pickle

import numpy as np
import pytest
from PIL import Image

import keras_kd as kd
from keras_kd.data import cifar, datasets
from keras_kd.data.cifar import read_cifar10

NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def batch(seed, count=20):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 3072), np.uint8), np.arange(count) % 10


def write_binary(folder):
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        planes, labels = batch(seed)
        records = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def write_pickle(folder):
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        planes, labels = batch(seed)
        content = {b"data": planes, b"labels": labels.tolist(), b"batch_label": b"x"}
        # Named as the published files, older than NumPy 2, name it.
        pickled = pickle.dumps(content, protocol=3)
        assert b"numpy._core.multiarray" in pickled or b"numpy.core.multiarray" in pickled
        (folder / name).write_bytes(pickled.replace(b"numpy._core", b"numpy.core"))
    return folder


@pytest.mark.parametrize("write", [write_binary, write_pickle])
def test_planes_become_pixels(tmp_path, write):
    (images, labels), (test_images, test_labels) = read_cifar10(write(tmp_path / "cifar"))
    assert images.shape == (100, 32, 32, 3) and images.dtype == np.uint8
    planes, _ = batch(0)
    assert images[3, 5, 7].tolist() == [planes[3, c * 1024 + 5 * 32 + 7] for c in range(3)]
    np.testing.assert_array_equal(labels, np.tile(np.arange(20) % 10, 5))
    assert test_images.shape == (20, 32, 32, 3) and test_labels.shape == (20,)


def test_load_reads_the_binary_layout_from_data_dir(tmp_path):
    write_binary(tmp_path / "cifar-10-batches-bin")
    data = kd.data.load("cifar10", data_dir=tmp_path)
    assert data.image_shape == (32, 32, 3)
    assert data.class_names[0] == "airplane"
    assert len(data.train) + len(data.validation) == 100


def test_load_refuses_pickles_that_are_not_the_published_ones(tmp_path):
    write_pickle(tmp_path / "cifar-10-batches-py")
    with pytest.raises(ValueError, match="not the published ones"):
        kd.data.load("cifar10", data_dir=tmp_path)


def test_load_reads_published_pickles(tmp_path, monkeypatch):
    folder = write_pickle(tmp_path / "cifar-10-batches-py")
    published = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in NAMES}
    monkeypatch.setattr(cifar, "_PICKLE_MD5", published)
    assert len(kd.data.load("cifar10", data_dir=tmp_path).test) == 20


def write_images(folder, suffix=".jpg"):
    for split, count in (("train", 10), ("test", 2)):
        for label, name in enumerate(datasets._CLASS_NAMES["cifar10"]):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (32, 32), (20 * label, 10 * number, 0))
                image.save(folder / split / name / f"{number:04d}{suffix}")
    return folder


@pytest.mark.parametrize("inside", [".", "cifar10-jpeg"])
def test_load_reads_image_files_by_class(tmp_path, inside):
    folder = write_images(tmp_path / "mine" / inside, ".png")
    data = kd.data.load("cifar10", data_dir=tmp_path / "mine")
    assert data.name == "cifar10" and data.source == str(folder)
    assert data.image_shape == (32, 32, 3) and data.class_names[-1] == "truck"
    assert [len(each) for each in (data.train, data.validation, data.test)] == [90, 10, 20]
    assert (data.train.images[:, 0, 0, 0] == 20 * data.train.labels).all()
    other = kd.data.load("cifar10", data_dir=tmp_path / "mine", seed=1)
    assert other.digest != data.digest and other.test.digest == data.test.digest


def test_image_files_of_other_classes_are_not_cifar10(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "stl10")
    (folder / "test" / "frog").rename(folder / "test" / "monkey")
    monkeypatch.setattr(datasets, "_places", lambda data_dir: [folder])
    monkeypatch.setattr(datasets, "_download", lambda name: 1 / 0)
    with pytest.raises(FileNotFoundError, match="cifar10-jpeg/train/airplane"):
        kd.data.load("cifar10")


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path):
    folder = write_pickle(tmp_path / "cifar")
    target = tmp_path / "made-by-the-pickle"
    (folder / "data_batch_2").write_bytes(pickle.dumps({b"data": Attack(str(target))}))
    with pytest.raises(ValueError, match=r"data_batch_2 is not a CIFAR-10 batch \(it names"):
        read_cifar10(folder)
    assert not target.exists()


@pytest.mark.parametrize("change", [{b"data": np.zeros((20, 3072))}, {b"labels": [0] * 19}])
def test_a_pickle_of_other_arrays_is_refused(tmp_path, change):
    folder = write_pickle(tmp_path / "cifar")
    planes, labels = batch(0)
    content = {b"data": planes, b"labels": labels.tolist(), **change}
    (folder / "data_batch_4").write_bytes(pickle.dumps(content, protocol=3))
    with pytest.raises(ValueError, match="data_batch_4 must hold uint8 rows of 3072, one a label"):
        read_cifar10(folder)


def test_a_truncated_binary_batch_is_refused(tmp_path):
    folder = write_binary(tmp_path / "cifar")
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="data_batch_3.bin must be a whole number of 3073-byte"):
        read_cifar10(folder)


def test_labels_out_of_range_are_refused(tmp_path):
    folder = write_binary(tmp_path / "cifar")
    path = folder / "test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    with pytest.raises(ValueError, match=r"labels from 0 to 9\. Received: 0 to 10"):
        read_cifar10(folder)
