"""The recipe of a language model: its windows, its models, and a run whose classes are places."""

import dataclasses
import functools
import gzip
import importlib
import json
import sys

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.recipes.languages import split_of

importlib.import_module("keras_kd.recipes.language_model")
PARTS = sys.modules["keras_kd.recipes.language_model"]


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Sentences as `languages` keeps them: 60 pages of words that are none."""
    monkeypatch.setenv("KERAS_KD_DATA", str(tmp_path))
    drawn = np.random.default_rng(0)
    words = ["".join(drawn.choice(list("abcdefgh"), 5)) for _ in range(40)]
    pages = {
        f"page{page}.1": [" ".join(drawn.choice(words, 9)) + "." for _ in range(12)]
        for page in range(60)
    }
    pages["page0.1"].append("Größe")
    (tmp_path / "languages").mkdir()
    text = json.dumps({"English": pages}).encode()
    (tmp_path / "languages" / "sentences.json.gz").write_bytes(gzip.compress(text))
    return pages


def test_a_window_is_text_of_its_split_and_its_labels_are_what_follows(pages):
    data = PARTS.windows()
    for name in ("train", "validation", "test"):
        split, text = getattr(data, name), PARTS.text_of(pages, name)
        assert len(split) == (len(text) - 1) // PARTS.STEPS > 3
        for here, following in zip(split.images, split.labels, strict=True):
            window = bytes([*here.astype(np.uint8), following[-1]]).decode("ascii")
            assert window in text and window[1:].encode() == bytes(following.astype(np.uint8))
    assert "Größe" not in PARTS.text_of(pages, split_of("page0.1"))
    assert data.num_classes == len(set(data.class_names)) == 128
    assert PARTS.windows(1).digest == data.digest


def test_its_student_has_a_quarter_of_the_weights_and_sees_only_what_was_before():
    shape = {"input_shape": (PARTS.STEPS,), "num_classes": PARTS.NUM_SYMBOLS}
    teacher, student = PARTS.teacher(**shape), PARTS.student(**shape)
    assert (teacher.count_params(), student.count_params()) == (252_676, 62_448)
    drawn = np.random.default_rng(0).integers(0, 128, (2, 1, 128)).astype("int32")
    for model in (teacher, student):
        one, other = drawn.copy()
        other[:, :70] = one[:, :70]
        said, of_other = (np.asarray(model(each)) for each in (one, other))
        np.testing.assert_allclose(said[:, :70], of_other[:, :70], atol=1e-5)
        assert np.abs(said[:, 70] - of_other[:, 70]).max() > 1e-3


def test_a_run_of_places_learns_from_the_largest_logits_and_ends_in_a_page(pages, tmp_path):
    causal = functools.partial(PARTS._causal, width=4, depth=1)
    recipe = dataclasses.replace(
        kd.recipes.by_name("language_model"),
        teacher=functools.partial(causal, "teacher"),
        student=functools.partial(causal, "student"),
        top_k=5,
    )
    result = kd.experiment.run(recipe, epochs=1, output=tmp_path / "run", verbose=False)
    (store,) = (tmp_path / "run").glob("soft_labels_*")
    assert json.loads((store / "store.json").read_text())["top_k"] == 5
    (rows,) = store.glob("rows-*.npy")
    rows = np.load(rows, mmap_mode="r")
    assert rows.dtype["logits"].shape == (PARTS.STEPS, 5)
    assert rows.itemsize / PARTS.STEPS < 60  # Bytes a byte of text.
    data = result.data
    logits = result.student.predict(data.test.images, verbose=0)
    said = result["models"]["student"]["test"]
    assert said["accuracy"] == pytest.approx(kd.metrics.accuracy(data.test.labels, logits))
    nats = kd.metrics.negative_log_likelihood(data.test.labels, logits)
    assert said["negative_log_likelihood"] == pytest.approx(nats, abs=1e-5)
    assert result["litert"]["agreement_with_keras"] > 0.99
    page = kd.experiment.write_report(tmp_path / "run")
    assert "end of line" in page.read_text()
    other = dataclasses.replace(recipe, top_k=6)
    with pytest.raises(ValueError, match="top k: 5 there, 6 here"):
        kd.experiment.run(other, epochs=1, output=tmp_path / "run", verbose=False)


def test_a_file_of_the_student_says_at_every_place_what_the_student_says(pages, tmp_path):
    data = PARTS.windows()
    student = PARTS.student(input_shape=data.input_shape, num_classes=data.num_classes)
    said = student.predict(data.test.images[:20], verbose=0)
    for name, options in {"dynamic": {}, "int8": {"calibration": data.train}}.items():
        path = kd.export.litert(
            student, tmp_path / f"{name}.tflite", quantization=name, input_range=(0, 127), **options
        )
        logits = kd.export.run_litert(path, data.test.images[:20]).logits
        assert logits.shape == said.shape
        assert np.corrcoef(logits.ravel(), said.ravel())[0, 1] > 0.98
