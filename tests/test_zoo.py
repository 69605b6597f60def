"""The students that come with the package: what their cards say is what their files do."""

import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_kd as kd

ROOT = Path(__file__).parent.parent
ZOO = ROOT / "saved_models" / "zoo"
SCRIPTS = ROOT / "benchmarks" / "scripts"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("zoo")
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@functools.cache
def loaded(name):
    try:
        return kd.data.load(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", kd.zoo.names())
def test_a_file_is_as_accurate_as_its_card_says(name):
    (said,) = re.findall(r"^\| \*\*this file\*\* \| (\S+) ", kd.zoo.card(name), re.MULTILINE)
    test = loaded(name.split("/")[0]).test
    student = kd.zoo.load(name)
    if isinstance(student, keras.Model):
        logits = student.predict(test.images, batch_size=1000, verbose=0)
    else:
        pytest.importorskip("ai_edge_litert")
        logits = kd.export.run_litert(student, test.images).logits
    assert f"{kd.metrics.accuracy(test.labels, logits):.4f}" == said


def test_all_of_it_is_at_most_a_megabyte_and_every_file_has_a_card():
    files = [path for path in ZOO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 1_000_000
    models = {path.with_suffix("") for path in files if path.suffix != ".md"}
    assert models == {path.with_suffix("") for path in files if path.suffix == ".md"}
    assert models == {ZOO / name for name in kd.zoo.names()}


def test_cards_and_tables_say_what_was_measured(script):
    found = script.read("zoo")
    assert set(found) == set(kd.zoo.names()) == set(script.STUDENTS)
    for name, figures in found.items():
        path = kd.zoo.path(name)
        assert kd.zoo.card(name) == script.card(name, figures)
        assert script.sha256_of(path) == figures["sha256"]
        assert path.stat().st_size == figures["bytes"]
    for page, cards in (("saved_models/README.md", "zoo/"), ("docs/guides/zoo.md", None)):
        section = f"<!-- zoo -->\n{script.table(found, cards)}<!-- end of zoo -->\n"
        assert section in (ROOT / page).read_text(), page


def test_commands_of_the_cards_are_commands(script):
    from keras_kd.arguments import parser

    for student in script.STUDENTS.values():
        for command in student.commands:
            program, *arguments = command.split()
            if program == "keras-kd":
                parser().parse_args(arguments)


def test_another_name_is_answered_by_the_names():
    with pytest.raises(ValueError, match=r"one of 'digits/mlp', .*Received: name='digits/lenet'"):
        kd.zoo.load("digits/lenet")


def test_a_package_without_its_students_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(kd.zoo, "_PLACES", (tmp_path,))
    with pytest.raises(FileNotFoundError, match="must lie in .*Received: none. Install keras_kd"):
        kd.zoo.names()


def test_the_page_shows_the_files_of_a_folder_together():
    from keras_kd.serve.content import content_of

    pytest.importorskip("ai_edge_litert")
    content = content_of(ZOO / "fashion_mnist")
    names = {name for name in content if name.startswith("models/")}
    assert names == {f"models/{file.name}" for file in (ZOO / "fashion_mnist").glob("*.tflite")}


def test_no_run_is_found_in_the_zoo():
    assert kd.experiment.list_runs(ZOO) == []


def test_git_keeps_the_zoo_and_no_run():
    paths = ["saved_models/zoo/digits/mlp.keras", "saved_models/digits/student.keras"]
    asked = ["git", "check-ignore", "--no-index", *paths]
    said = subprocess.run(asked, cwd=ROOT, text=True, capture_output=True)
    if said.returncode > 1:
        pytest.skip("This is no checkout of git.")
    assert said.stdout.split() == paths[1:]
