"""The recipe of languages: its pages, what is no sentence of a language, its pieces, its models."""

import dataclasses
import gzip
import importlib
import itertools
import json
import sys

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.data import debian

importlib.import_module("keras_kd.recipes.languages")
PARTS = sys.modules["keras_kd.recipes.languages"]
# Seen on pages in many languages: a name, and a sentence that nobody translated.
NAME, LEFT = "Linux", "make hard links to files"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Packages as they are unpacked: 40 pages of each language, of words of its own."""
    monkeypatch.setenv("KERAS_KD_DATA", str(tmp_path))
    monkeypatch.setattr(debian, "_call", None)  # Nothing is fetched.
    for number, (language, (place, names)) in enumerate(PARTS.LANGUAGES.items()):
        generator = np.random.default_rng(number)
        for name in names.split(" "):
            package = f"manpages-{name}".removesuffix("-")
            folder = (
                tmp_path / "languages" / "packages" / package / "usr/share/man" / place / "man1"
            )
            folder.mkdir(parents=True)
        for page in range(40):
            sentences = [_sentence(language, generator) for _ in range(6)]
            if language == "English":
                sentences += [LEFT.replace("hard", each) for each in ("hard", "soft", "new")]
            elif language not in PARTS._OTHER_LETTERS:
                sentences.append(f"{LEFT} once more")
            text = ".SH TEXT\n" + "\n.PP\n".join(sentences) + "\n"
            (folder / f"page{page}.1.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path / "languages"


def _sentence(language, generator):
    if language in PARTS._NO_SPACES:
        first = 0x4E00 if language == "Chinese" else 0x3041
        return "".join(chr(first + each) for each in generator.integers(0, 80, 30)) + "。"
    first = 0x430 if language in PARTS._OTHER_LETTERS else ord("a")
    words = ["".join(chr(first + each) for each in generator.integers(0, 26, 6)) for _ in range(9)]
    return " ".join([*words[:4], NAME, *words[4:]]) + "."


def test_pages_are_split_by_name_and_sentences_are_of_their_language(packages):
    found = PARTS.sentences()
    assert list(found) == list(PARTS.LANGUAGES)
    assert sorted(path.name for path in packages.iterdir()) == ["sentences.json.gz"]
    for language, pages in found.items():
        said = list(itertools.chain(*pages.values()))
        assert len(said) >= 240 and not any(NAME in each for each in said)
        assert any(each.startswith("make") for each in said) == (language == "English")
    splits = [PARTS.split_of(f"page{number}.1") for number in range(40)]
    assert {each: splits.count(each) > 0 for each in splits} == dict.fromkeys(PARTS._MOST, True)
    assert abs(np.mean([PARTS.split_of(str(each)) == "test" for each in range(4000)]) - 0.2) < 0.02


def test_data_are_pieces_that_stand_in_one_split_and_one_language(packages):
    data = PARTS.labelled()
    assert data.reads == "texts" and data.num_classes == 21 and data.input_shape == (64,)
    texts = {name: set(kd.data.decode_texts(getattr(data, name).images)) for name in PARTS._MOST}
    for one, other in itertools.combinations(texts.values(), 2):
        assert not one & other
    # As many of each language as there are, up to the most.
    for name, most in PARTS._MOST.items():
        counts = np.bincount(getattr(data, name).labels, minlength=21)
        assert (counts <= most).all() and counts.min() > 10
        assert sum(counts) == len(texts[name])
    assert PARTS.labelled(1).digest == data.digest  # All seeds have the same pages.


def test_a_piece_has_some_words_or_characters():
    sentence = {"page": ["eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"]}
    pieces = [piece for *_, piece in PARTS._pieces({"German": sentence})]
    assert " ".join(pieces) == sentence["page"][0][: len(" ".join(pieces))]
    assert all(2 <= len(piece.split()) <= 8 for piece in pieces)
    (piece,) = [piece for *_, piece in PARTS._pieces({"Japanese": {"page": ["ファイル"]}})]
    assert piece == "ファイル"


def test_a_piece_of_two_languages_is_of_none():
    both = [("train", "Danish", "og så videre"), ("test", "Norwegian", "og så videre")]
    own = [("test", "Danish", "det samme igen"), ("train", "Danish", "det samme igen")]
    assert list(PARTS._told_apart([*both, *own])) == [own[1]]


def test_its_models_read_bytes_and_the_students_file_has_less_than_60_kb(packages, tmp_path):
    recipe, data = kd.recipes.by_name("languages"), PARTS.labelled()
    teacher, student = (
        build(input_shape=(64,), num_classes=21) for build in (recipe.teacher, recipe.student)
    )
    assert (teacher.count_params(), student.count_params()) == (255_509, 44_885)
    few = dataclasses.replace(recipe, labels=300)
    settings = json.loads(json.dumps(few.settings(few.load(0))))
    assert settings["temperature"] == recipe.temperature
    path = kd.export.litert(
        student, tmp_path / "student.tflite", quantization="int8", calibration=data.train,
        class_names=data.class_names, reads=data.reads,
    )  # fmt: skip
    assert path.stat().st_size < 60_000
    logits = kd.export.run_litert(path, data.test.images[:20]).logits
    assert logits.shape == (20, 21)
