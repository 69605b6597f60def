"""Files of any kind: which are drawn, what is read of them, and what is refused."""

import collections
import os

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.data.files import ends, sampled, suffix_of


@pytest.fixture
def folder(tmp_path):
    """Three folders of twenty files each, and what must be passed over."""
    for name in ("one", "two", "three/deep"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(20):
            suffix = ".py" if number % 2 else ".txt"
            (tmp_path / name / f"{number}{suffix}").write_text(f"{name} {number}: some words")
    (tmp_path / "one" / "short.py").write_text("   7 bytes"[:10])
    (tmp_path / "one" / "link.py").symlink_to(tmp_path / "one" / "1.py")
    (tmp_path / "two" / "again.py").write_text("one 1: some words")
    return tmp_path


class TestTheEndsOfAFile:
    def test_white_space_outside_is_left_out_and_what_is_missing_is_256(self):
        found = ends(b" \t\nfirst words", b"last words\r\n \x0b")
        assert bytes(found[:11].tolist()) == b"first words"
        assert bytes(found[-10:].tolist()) == b"last words"
        assert (found[11:-10] == 256).all() and len(found) == 2048

    def test_of_a_long_file_each_end_has_its_own_bytes(self, tmp_path):
        numbers = np.arange(10_000) % 251 + 33
        (tmp_path / "long.bin").write_bytes(bytes((numbers % 200 + 33).tolist()))
        (image,) = kd.data.files(tmp_path, suffixes={}).images
        np.testing.assert_array_equal(image[:1024], (numbers % 200 + 33)[:1024])
        np.testing.assert_array_equal(image[1024:], (numbers % 200 + 33)[-1024:])

    def test_of_fewer_than_eight_bytes_nothing_is_told(self):
        assert ends(b"  1234567", b"  1234567") is None
        assert ends(b"  12345678", b"  12345678") is not None


class TestSampling:
    def test_labels_are_by_suffix_and_repetitions_and_links_are_left_out(self, folder):
        split = kd.data.files(folder, suffixes={".py": 3}, per_folder=20)
        assert split.images.shape == (60, 2048) and split.images.dtype == np.int32
        assert sorted(split.labels.tolist()) == [-1] * 30 + [3] * 30

    def test_each_folder_gives_so_many_of_a_suffix(self, folder):
        found = sampled(folder, per_folder=4, per_suffix=None, seed=0)
        groups = collections.Counter((os.path.dirname(each), suffix_of(each)) for each in found)
        assert len(groups) == 6 and set(groups.values()) == {4}

    def test_a_suffix_has_so_many_in_all(self, folder):
        found = sampled(folder, per_folder=20, per_suffix=5, seed=0)
        assert [suffix_of(path) for path in found].count(".py") == 5 and len(found) == 10

    def test_the_seed_draws(self, folder):
        first, again, other = (
            sampled(folder, per_folder=2, per_suffix=None, seed=seed) for seed in (0, 0, 1)
        )
        assert first == again != other

    def test_a_version_is_no_suffix(self):
        assert suffix_of("/usr/lib/libc.so.6") == ".so" and suffix_of("a/Makefile") == ""

    def test_what_is_wrong_is_said_in_a_sentence(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"folder or a file\. Received: .*missing"):
            kd.data.files(tmp_path / "missing", suffixes={})
        with pytest.raises(ValueError, match="at least 8 bytes"):
            kd.data.files(tmp_path, suffixes={})
        with pytest.raises(ValueError, match="per_folder"):
            kd.data.files(tmp_path, suffixes={}, per_folder=0)
