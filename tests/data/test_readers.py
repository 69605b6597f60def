"""What arrays may hold: one sentence for each thing that they may not, in memory and in files."""

import zipfile

import numpy as np
import pytest

import keras_kd as kd

IMAGES = np.zeros((24, 4, 4, 3), np.uint8)
LABELS = np.arange(24) % 3


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


BAD_IMAGES = {
    "complex": (IMAGES.astype("complex64"), "must be numbers, best uint8 pixels. .*complex64"),
    "texts": (IMAGES.astype("U1"), "must be numbers, best uint8 pixels"),
    "bytes": (IMAGES.astype("S1"), "must be numbers, best uint8 pixels"),
    "yes_and_no": (IMAGES.astype(bool), "must be numbers, best uint8 pixels. Received: bool"),
    "dates": (IMAGES.astype("M8[s]"), "must be numbers, best uint8 pixels"),
    "long": (IMAGES.astype(np.longdouble), "must be numbers, best uint8 pixels"),
    "records": (np.zeros((24, 4, 4), "u1,u1"), "must be numbers, best uint8 pixels"),
    "nan": (changed(IMAGES.astype("float32"), (3, 1, 1, 0), np.nan), "must be finite"),
    "infinity": (changed(IMAGES.astype("float64"), (23, 0, 0, 0), -np.inf), "must be finite"),
    "too_large": (changed(IMAGES.astype("float64"), (0, 0, 0, 0), 1e300), "must be finite"),
    "no_height": (IMAGES[:, :0], r"none of them 0. Received: shape \(24, 0, 4, 3\)"),
    "no_width": (IMAGES[:, :, :0], "none of them 0"),
    "no_channels": (IMAGES[..., :0], "none of them 0"),
    "none": (IMAGES[:0], "none of them 0"),
    "five_axes": (IMAGES[None], r"must be \[n, height, width|equally many. Received: 1 inputs"),
    "two_axes": (IMAGES[:, 0, 0], r"must be \[n, height, width|must have the same shape"),
    "no_axes": (np.uint8(3), r"must be \[n, "),
    "fewer": (IMAGES[:20], "equally many. Received: 20 images and 24 labels"),
}
BAD_LABELS = {
    "huge": (changed(LABELS.astype("uint64"), 5, 2**60), f"Received: a label of {2**60}"),
    "beyond_32_bits": (changed(LABELS, 5, 2**31), f"Received: a label of {2**31}"),
    "a_million": (changed(LABELS, 5, 1_000_001), "Number the classes anew, or name them all"),
    "negative": (changed(LABELS, 5, -1), "must count from 0. Received: a label of -1"),
    "fractions": (LABELS / 2, r"must be integers \[n\]. Received: float64.*astype"),
    "floats": (LABELS.astype("float32"), r"must be integers \[n\]. Received: float32.*astype"),
    "one_hot": (np.eye(3)[LABELS], r"must be integers \[n\].*`labels.argmax\(-1\)`"),
    "texts": (LABELS.astype("U1"), r"must be integers \[n\]"),
    "yes_and_no": (LABELS > 0, r"must be integers \[n\]. Received: bool"),
    "complex": (LABELS * 1j, r"must be integers \[n\]"),
    "none": (LABELS[:0], "equally many. Received: 24 images and 0 labels"),
    "one": (np.int64(1), r"must be integers \[n\]. Received: int64 of shape \(\)"),
}
BAD_NAMES = {
    "one_text": (np.array("cat"), r"must be texts \[classes\]. Received: <U3 of shape \(\)"),
    "numbers": (np.arange(3), r"must be texts \[classes\]. Received: int64"),
    "a_table": (np.array([["a", "b", "c"]]), r"must be texts \[classes\]"),
    "too_few": (np.array(["a", "b"]), "Labels must be from 0 to 1, one a class name"),
    "none": (np.array([], "U1"), "must be a list of names"),
    "twice": (np.array(["a", "b", "a"]), "must name each class once. Received: 'a' twice"),
    "empty": (np.array(["a", "", "c"]), "must be a list of names"),
    "blank": (np.array(["a", " ", "c"]), "must be a list of names"),
}


def written(path, images=IMAGES, labels=LABELS, **more):
    np.savez(path, train_images=images, train_labels=labels, test_images=IMAGES,
             test_labels=LABELS, **more)  # fmt: skip
    return path


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_images_that_are_none_are_refused(case, tmp_path):
    images, sentence = BAD_IMAGES[case]
    with pytest.raises(ValueError, match=sentence):
        kd.data.from_arrays((images, LABELS), (IMAGES, LABELS))
    with pytest.raises(ValueError, match=sentence):
        kd.data.from_arrays((IMAGES, LABELS), (images, LABELS))
    with pytest.raises(ValueError, match=sentence):
        kd.data.read_npz(written(tmp_path / "data.npz", images=images))


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_are_none_are_refused(case, tmp_path):
    labels, sentence = BAD_LABELS[case]
    with pytest.raises(ValueError, match=sentence):
        kd.data.from_arrays((IMAGES, labels), (IMAGES, LABELS))
    with pytest.raises(ValueError, match=sentence):
        kd.data.read_npz(written(tmp_path / "data.npz", labels=labels))
    with pytest.raises(ValueError, match=r"[Ll]abel"):
        kd.data.read_npz(
            written(tmp_path / "data.npz", validation_images=IMAGES, validation_labels=labels)
        )


@pytest.mark.parametrize("case", BAD_NAMES)
def test_class_names_that_are_none_are_refused(case, tmp_path):
    names, sentence = BAD_NAMES[case]
    with pytest.raises(ValueError, match=sentence):
        kd.data.read_npz(written(tmp_path / "data.npz", class_names=names))


@pytest.mark.parametrize("name", ["class_names", "train_images", "train_labels"])
def test_a_member_that_is_no_array_is_refused(name, tmp_path):
    path = written(tmp_path / "data.npz")
    with zipfile.ZipFile(path) as archive:
        content = {each: archive.read(each) for each in archive.namelist()}
    content.pop(f"{name}.npy", None)
    with zipfile.ZipFile(path, "w") as archive:
        for each, bytes_ in {**content, name: b"no array"}.items():
            archive.writestr(each, bytes_)
    with pytest.raises(ValueError, match=r"must be .*Received: .*\(\)"):
        kd.data.read_npz(path)


@pytest.mark.parametrize("half", [{"validation_labels": LABELS}, {"x_val": IMAGES}])
def test_half_a_split_is_told_not_dropped(half, tmp_path):
    with pytest.raises(ValueError, match=f"must have their labels.*with {next(iter(half))} alone"):
        kd.data.read_npz(written(tmp_path / "data.npz", **half))


def test_class_names_of_an_archive_may_be_bytes_and_more_than_there_are_labels(tmp_path):
    names = np.array([b"cat", b"dog", b"cow", b"hen"])
    data = kd.data.read_npz(written(tmp_path / "data.npz", class_names=names))
    assert data.class_names == ("cat", "dog", "cow", "hen")


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "<i4", "float16", ">f4", "float64"])
def test_numbers_of_every_kind_are_taken(dtype, tmp_path):
    data = kd.data.read_npz(written(tmp_path / "data.npz", images=IMAGES.astype(dtype)))
    images, labels = next(iter(data.train.batches(4)))
    assert images.shape == (4, 4, 4, 3) and labels.dtype == "int32"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (((IMAGES,), (IMAGES, LABELS)), r"`train` must be `\(x, y\)`: .*tuple of 1"),
        ((IMAGES, (IMAGES, LABELS)), r"`train` must be `\(x, y\)`: .*Received: ndarray"),
        (((IMAGES, LABELS), None), r"`test` must be `\(x, y\)`: .*Received: NoneType"),
        ((([[1], [1, 2]], LABELS), (IMAGES, LABELS)), "The train inputs must be one array"),
    ],
)
def test_what_is_no_pair_of_arrays_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.data.from_arrays(*arguments)


@pytest.mark.parametrize("fraction", [0, 1, -1, float("nan"), "0.1", None, True])
def test_a_fraction_is_between_0_and_1(fraction):
    with pytest.raises(ValueError, match="`validation_fraction` must be above 0 and below 1"):
        kd.data.from_arrays((IMAGES, LABELS), (IMAGES, LABELS), validation_fraction=fraction)


def test_class_names_may_be_an_array_and_are_checked_in_memory_too():
    pair = (IMAGES, LABELS)
    names = np.array(["a", "b", "c"])
    assert kd.data.from_arrays(pair, pair, class_names=names).class_names == ("a", "b", "c")
    for wrong in ("abc", [], ["a", "b", "b"], [1, 2, 3]):
        with pytest.raises(ValueError, match="`class_names` must"):
            kd.data.from_arrays(pair, pair, class_names=wrong)
