"""Decoded images in a file: written whole, checked when opened, never half believed."""

import errno
import os

import numpy as np
import pytest
from PIL import Image

import keras_kd as kd


@pytest.fixture
def pictures(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        folder = tmp_path / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def read(pictures):
    return kd.data.read(pictures, memory_limit=1, cache=pictures.parent / "cache")


def test_it_holds_what_would_be_decoded(pictures):
    cached, decoded = read(pictures).train, kd.data.read(pictures).train
    assert isinstance(cached.images, np.memmap) and cached.images.dtype == np.uint8
    np.testing.assert_array_equal(cached.images, decoded.images)


@pytest.mark.parametrize("kind", ["a bit", "cut short"])
def test_damage_is_named_and_the_file_written_again(kind, pictures):
    path = read(pictures).train.images.filename
    whole = os.stat(path).st_size
    if kind == "a bit":
        with open(path, "r+b") as file:
            file.seek(whole - 7)
            byte = file.read(1)[0]
            file.seek(whole - 7)
            file.write(bytes([byte ^ 1]))
    else:
        os.truncate(path, whole // 2)
    with pytest.raises(ValueError) as caught:
        read(pictures)
    assert str(caught.value) == (
        f"A cache must be as it was written. Received: {path}, which is damaged. Remove it: it is "
        "then written again."
    )
    os.remove(path)
    images = kd.data.read(pictures).train.images
    np.testing.assert_array_equal(read(pictures).train.images, images)


def test_one_that_was_killed_before_its_digest_is_written_again(pictures):
    path = pictures.parent / "cache"
    read(pictures)
    for record in path.glob("*.sha256"):
        record.unlink()
    for file in path.glob("*.npy"):
        file.write_bytes(b"anything")
    images = kd.data.read(pictures).train.images
    np.testing.assert_array_equal(read(pictures).train.images, images)


def test_a_disk_without_room_is_told_before_it_is_filled(pictures, monkeypatch):
    from keras_kd.data import cache

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 9}))
    with pytest.raises(OSError, match="`cache` must have room for 0.0 GB of what models take"):
        read(pictures)
    assert list((pictures.parent / "cache").iterdir()) == []


def test_a_disk_that_is_full_meanwhile_is_an_error_and_leaves_nothing(pictures):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            read(pictures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert list((pictures.parent / "cache").iterdir()) == []
    read(pictures)
