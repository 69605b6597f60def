"""Folders of texts by class, and texts in files of rows."""

import json

import numpy as np
import pytest

import keras_kd as kd

WORDS = {"de": "Guten Tag, hier ist Nummer", "en": "Good day, this is number"}


@pytest.fixture
def letters(tmp_path):
    """A folder of forty texts of two classes."""
    root = tmp_path / "letters"
    for number in range(40):
        name = "de" if number % 2 else "en"
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / f"{number}.txt").write_text(f"{WORDS[name]} {number}.\n", encoding="utf-8")
    return root


def rows(count=40):
    names = list(WORDS)
    return [
        {"text": f"{WORDS[names[n % 2]]} {n}", "label": names[n % 2], "n": n} for n in range(count)
    ]


def written(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def jsonl(tmp_path):
    return written(tmp_path / "letters.jsonl", map(json.dumps, rows()))


def test_each_text_is_in_one_split_under_its_class(letters):
    data = kd.data.read(letters, num_bytes=64)
    assert data.reads == "texts" and data.class_names == ("de", "en")
    splits = data.train, data.validation, data.test
    texts = [kd.data.decode_texts(each.images) for each in splits]
    assert [len(each) for each in texts] == [32, 4, 4]
    assert len({text for each in texts for text in each}) == 40
    for split, each in zip(splits, texts, strict=True):
        for label, text in zip(split.labels, each, strict=True):
            assert text.startswith(WORDS[data.class_names[label]])


def test_the_test_split_is_that_of_every_seed_and_the_validation_split_is_not(letters):
    first, second = (kd.data.text_folder(letters, seed=seed) for seed in (0, 1))
    assert first.test.digest == second.test.digest
    assert first.validation.digest != second.validation.digest
    assert first.digest == kd.data.text_folder(letters).digest


def test_folders_of_splits_are_taken_as_they_are(letters, tmp_path):
    root = tmp_path / "split"
    for split in ("train", "val", "test"):
        for name, words in WORDS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                text = f"{words} {number} of {split}"
                (root / split / name / f"{number}.txt").write_text(text, encoding="utf-8")
    data = kd.data.read(root)
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        word = "val" if name == "validation" else name
        assert all(each.endswith(word) for each in kd.data.decode_texts(split.images))
        assert split.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_the_order_of_a_teacher_is_kept(letters):
    data = kd.data.text_folder(letters, class_names=["en", "de"])
    assert kd.data.decode_texts(data.test.images[:1])[0].startswith(WORDS["en"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"caf\xe9 au lait", "no UTF-8: byte 0xe9 at place 3"),
        ("Hallo".encode("utf-16"), "no UTF-8: byte 0xff at place 0"),
        (b"\x7fELF\0\0", "a NUL in it"),
        (b" \n", "nothing in it"),
    ],
)
def test_a_file_that_holds_no_text_is_refused_or_left_out(letters, content, reason):
    (letters / "en" / "odd.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"1 that hold none: .*odd.txt \\({reason}\\)"):
        kd.data.read(letters)
    data = kd.data.read(letters, unreadable="leave_out")
    assert len(data.left_out) == 1 and "odd.txt" in data.left_out[0]
    assert len(data.train) + len(data.validation) + len(data.test) == 40


def test_the_mark_of_a_windows_editor_is_no_part_of_a_text(letters):
    (letters / "en" / "0.txt").write_text("Good day", encoding="utf-8-sig")
    texts = [
        text for part in ("train", "validation", "test")
        for text in kd.data.decode_texts(getattr(kd.data.read(letters), part).images)
    ]  # fmt: skip
    assert "Good day" in texts


def test_a_file_is_encoded_as_its_text_is(letters):
    text = " \nGood day," + 60 * " " + "é" * 50
    (letters / "en" / "0.txt").write_text(text, encoding="utf-8")
    train = kd.data.read(letters, num_bytes=40).train.images.tolist()
    assert kd.data.encode_texts([text], 40)[0].tolist() in train


def test_of_a_long_file_the_beginning_is_read(letters):
    (letters / "en" / "0.txt").write_text("é" * 700_000, encoding="utf-8")
    assert kd.data.read(letters).train.images.max() == "é".encode()[0]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("fr", "no training texts: 'fr'"),
        ("stray.txt", "Each text must lie in the folder of its class. Received: 'stray.txt'"),
    ],
)
def test_a_folder_that_is_not_one_a_class_is_refused(letters, path, sentence):
    if path.endswith(".txt"):
        (letters / path).write_text("Hello")
    else:
        (letters / path).mkdir()
    with pytest.raises(ValueError, match=sentence):
        kd.data.read(letters)


def test_texts_in_columns_are_those_in_folders(jsonl, tmp_path):
    data = kd.data.read(jsonl, num_bytes=64)
    lines = [
        "id;Body;Kind",
        *(f'{n};"{row["text"]}";{row["label"]}' for n, row in enumerate(rows())),
    ]
    table = written(tmp_path / "other.csv", lines)
    same = kd.data.read(table, text="Body", label="Kind", num_bytes=64)
    assert data.reads == "texts" and data.digest == same.digest and same.class_names == ("de", "en")


def test_a_folder_of_files_is_read_by_their_names(tmp_path):
    for name in ("train", "test"):
        lines = [json.dumps({**row, "text": f"{row['text']} {name}"}) for row in rows(20)]
        written(tmp_path / f"{name}.jsonl", lines)
    data = kd.data.read(tmp_path)
    assert len(data.test) == 20 and len(data.train) + len(data.validation) == 20
    assert all(each.endswith("test") for each in kd.data.decode_texts(data.test.images))


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (['{"text": "a", "label": "x"}', '{"text": "b",'], "line 2, which is broken"),
        (['["a", "x"]'], "list in line 1"),
        (['{"text": ["a"], "label": "x"}'], "list as 'text' in line 1"),
        (['{"text": "a", "kind": "x"}'] * 2, "a column 'label' of labels. Received: .* 'kind'"),
        (['{"text": "a", "label": "x"}'] * 2 + ['{"text": "b"}'], "none as 'label' in .*, line 3"),
        (['{"text": "a", "label": "x"}', '{"text": "", "label": "y"}'] * 2, "nothing in it"),
        (['{"text": "a", "label": "x"}'] * 9 + ['{"text": "b", "label": "y"}'], "'y' once as"),
        ([""], "which has none"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path, lines, sentence):
    path = written(tmp_path / "texts.jsonl", lines)
    with pytest.raises(ValueError, match=sentence):
        kd.data.text_file(path)


def test_examples_without_labels_are_read_like_those_with(letters, jsonl, tmp_path):
    data = kd.data.read(letters, num_bytes=64)
    others = tmp_path / "others"
    (others / "deep").mkdir(parents=True)
    (others / "deep" / "a.txt").write_text("Guten Abend")
    assert kd.data.decode_texts(kd.data.unlabelled(others, data)) == ["Guten Abend"]
    assert kd.data.unlabelled(jsonl, data).shape == (40, 64)
    (others / "deep" / "b.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="1 that hold none"):
        kd.data.unlabelled(others, data)
    assert len(kd.data.unlabelled(others, data, unreadable="leave_out")) == 1
    (others / "none").mkdir()
    with pytest.raises(ValueError, match="which holds none"):
        kd.data.unlabelled(others / "none", data)


def test_what_is_said_of_images_is_refused_of_texts(letters):
    with pytest.raises(ValueError, match="Texts are read without `image_size`"):
        kd.data.read(letters, image_size=(8, 8))
    with pytest.raises(ValueError, match="moves images .* Of other data an augmentation"):
        kd.data.read(letters).train.batches(4, augmentation=kd.data.RandomShift(1))
    # The size that a teacher takes is that of bytes.
    assert kd.data.read(letters, default_size=(32,)).input_shape == (32,)
    assert kd.data.read(letters, default_size=(8, 8)).input_shape == (256,)


def test_a_text_in_two_splits_is_found(letters):
    for name in WORDS:
        (letters / "train").mkdir(exist_ok=True)
        (letters / name).rename(letters / "train" / name)
        (letters / "test" / name).mkdir(parents=True)
        (letters / "test" / name / "new.txt").write_text(f"{WORDS[name]} 99.")
    (letters / "test" / "en" / "known.txt").write_text(f"  {WORDS['en']} 0.")
    (found,) = (
        each for each in kd.check(None, kd.data.read(letters), verbose=False).findings
        if each.name == "duplicates_in_test"
    )  # fmt: skip
    assert "1 of 3 texts are among the training texts too" in found.what


def test_a_cache_holds_what_would_be_in_memory(letters, tmp_path):
    def read():
        how = {"memory_limit": 1, "cache": tmp_path / "cache", "num_bytes": 64}
        return kd.data.read(letters, **how)

    plain, cached, again = kd.data.read(letters, num_bytes=64), read(), read()
    assert isinstance(cached.train.images, np.memmap) and cached.reads == "texts"
    assert cached.digest == plain.digest and cached.test.digest == plain.test.digest
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3
    assert again.train.images.filename == cached.train.images.filename
    batches = [next(iter(each.train.batches(8, shuffle_seed=0)))[0] for each in (plain, cached)]
    np.testing.assert_array_equal(*batches)
