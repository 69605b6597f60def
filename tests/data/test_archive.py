"""Arrays in `.npz` files, ours and Keras's."""

import numpy as np
import pytest

import keras_kd as kd


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    return images, np.arange(60) % 3


def test_our_names_and_kerass_names_are_read(arrays, tmp_path):
    images, labels = arrays
    ours, theirs = tmp_path / "ours.npz", tmp_path / "mnist.npz"
    parts = [images[:40], labels[:40], images[40:], labels[40:]]
    names = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(ours, **dict(zip(names, parts, strict=True)), class_names=["a", "b", "c"])
    np.savez(theirs, **dict(zip(("x_train", "y_train", "x_test", "y_test"), parts, strict=True)))
    one, other = kd.data.read_npz(ours), kd.data.read(theirs)
    assert one.class_names == ("a", "b", "c") and other.class_names == ("0", "1", "2")
    assert one.name == "ours" and other.name == "mnist"
    assert len(one.train) + len(one.validation) == 40
    np.testing.assert_array_equal(one.test.images, images[40:])
    assert one.digest == other.digest


def test_a_validation_split_of_the_file_is_kept(arrays, tmp_path):
    images, labels = arrays
    keys = {}
    for split, part in (
        ("train", slice(30)),
        ("validation", slice(30, 40)),
        ("test", slice(40, 60)),
    ):
        keys |= {f"{split}_images": images[part], f"{split}_labels": labels[part]}
    np.savez(tmp_path / "data.npz", **keys)
    data = kd.data.read_npz(tmp_path / "data.npz")
    assert [len(each) for each in (data.train, data.validation, data.test)] == [30, 10, 20]
    np.testing.assert_array_equal(data.train.images, images[:30])
    keys["validation_labels"] = labels[30:40] + 3
    np.savez(tmp_path / "data.npz", **keys)
    with pytest.raises(ValueError, match="from 0 to 2, one a class name. Received: a label of 5"):
        kd.data.read_npz(tmp_path / "data.npz")


def test_features_are_read_as_they_are(arrays, tmp_path):
    images, labels = arrays
    table = images.reshape(len(images), -1) / 255
    keys = {"x_train": table[:40], "y_train": labels[:40]}
    np.savez(tmp_path / "data.npz", **keys, x_test=table[40:], y_test=labels[40:])
    data = kd.data.read(tmp_path / "data.npz")
    assert data.input_shape == table.shape[1:] and not data.is_images
    np.testing.assert_array_equal(data.test.images, table[40:])


class _Code:
    def __reduce__(self):
        return print, ("run",)


def test_what_is_no_archive_of_arrays_is_refused_and_never_unpickled(tmp_path, capsys):
    path = tmp_path / "data.npz"
    with pytest.raises(FileNotFoundError, match="no file"):
        kd.data.read_npz(path)
    for content in (b"", b"PK\x03\x04 and no more", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="must be an .npz file of plain arrays"):
            kd.data.read_npz(path)
    np.savez(path, train_images=np.array([_Code()]))
    with pytest.raises(ValueError, match="must be an .npz file of plain arrays"):
        kd.data.read_npz(path)
    np.savez(path, images=np.zeros(3))
    with pytest.raises(ValueError, match="must hold `train_images`.*with images"):
        kd.data.read_npz(path)
    assert capsys.readouterr().out == ""
