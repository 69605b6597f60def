"""Memory-mapped arrays go to other processes by the place of their file."""

import pickle

import numpy as np

import keras_kd as kd


def test_what_lies_in_a_file_is_sent_by_its_place(tmp_path):
    images = np.arange(4000, dtype="uint8").reshape(1000, 2, 2)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    changed = np.load(tmp_path / "images.npy", mmap_mode="c")
    changed[0] = 7
    for given, most in {
        "all": (mapped, 400), "some": (mapped[5:900][1:], 400), "one in two": (mapped[::2], 3000),
        "turned": (mapped.T, 5000), "chosen": (mapped[[3, 1]], 400), "none": (mapped[:0], 400),
        "changed": (changed, 5000),
    }.values():  # fmt: skip
        sent = pickle.dumps(kd.data.Split({"input": given}, [np.arange(2), None]))
        found = pickle.loads(sent)
        np.testing.assert_array_equal(found.images["input"], given)
        assert found.images["input"].dtype == np.uint8 and found.labels[1] is None
        assert len(sent) < most + 500
