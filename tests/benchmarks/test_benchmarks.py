"""What keeps the figures of `benchmarks/`, and that its pages say what these are."""

import concurrent.futures
import importlib
import json
import re
import sys

import pytest
from helpers import ROOT

BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = BENCHMARKS / "scripts"


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a script, as another one beside it would."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_rows_that_are_written_at_once_are_all_kept(load, tmp_path):
    results = load("results")

    def write(name):
        for seed in range(5):
            results.update("trial", [name, seed], {"accuracy": seed / 10}, folder=tmp_path)

    with concurrent.futures.ThreadPoolExecutor() as threads:
        list(threads.map(write, ["one", "another"]))
    rows = {str(seed): {"accuracy": seed / 10} for seed in range(5)}
    assert results.read("trial", tmp_path) == {"another": rows, "one": rows}


def test_a_value_takes_the_place_of_the_one_before_and_no_other(load, tmp_path):
    results = load("results")
    assert results.read("trial", tmp_path) == {}
    for key, value in (("b", 1), ("a", 2), ("b", 3)):
        results.update("trial", key, value, folder=tmp_path)
    assert json.loads((tmp_path / "trial.json").read_text()) == {"a": 2, "b": 3}
    assert list(results.read("trial", tmp_path)) == ["a", "b"]


def test_a_section_is_written_and_the_words_around_it_stay(load, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("By hand.\n<!-- speed -->\nold\n<!-- end of speed -->\nBy hand too.\n")
    load("pages").write_section("page.md", "speed", "new\n", folder=tmp_path)
    assert page.read_text() == (
        "By hand.\n<!-- speed -->\nnew\n<!-- end of speed -->\nBy hand too.\n"
    )
    with pytest.raises(ValueError, match=r"page\.md must have a line <!-- memory -->"):
        load("pages").write_section("page.md", "memory", "new\n", folder=tmp_path)


def test_rounds_of_a_piece_stand_behind_those_before(load):
    added = load("speed_pieces").added
    assert added({"ours": [1.0], "Keras": [2.0]}, {"ours": [3.0]}) == {
        "ours": [1.0, 3.0],
        "Keras": [2.0],
    }


def test_two_kinds_of_processor_stand_side_by_side(load):
    torch = {"PyTorch": [3.0, 1.0, 2.0], "PyTorch, channels last": [1.0]}
    found = {
        "A": {"machine": {"flags": "avx2"}, "seconds": {"net": {"keras_kd, oneDNN off": [4.0]}}},
        "B": {"machine": {"flags": "fma"}, "seconds": {"net": {"keras_kd, oneDNN on": [2.0]}}},
    }
    found["B"]["seconds"]["net"] |= torch
    text = load("speed_table")._convolutions(found)
    assert "| net | A |  | 4.000 |  |  |  | 1 |" in text
    assert "| net | B | 2.000 |  |  | 1.000, channels last | 2.00 | 3 |" in text
    assert "A: flags avx2." in text and "B: flags fma." in text


def test_pages_say_what_the_results_say(load):
    read, pictures = load("results").read, load("results").RESULTS / "pictures"
    for page, name, text in (
        ("recipes.md", "recipes", load("recipes").document()),
        ("recipes.md", "main job", load("main_job").document()),
        ("recipes.md", "variants", load("variants").document()),
        ("recipes.md", "magika", load("file_contents").document()),
        ("recipes.md", "edges", load("edges").document()),
        ("recipes.md", "languages", load("which_language").document()),
        ("recipes.md", "language model", load("language_model").document()),
        ("speed.md", "speed", load("speed_table").document()),
        ("speed.md", "memory", load("memory").document()),
        ("speed.md", "gpu", load("gpu").document(read("gpu"))),
        ("files.md", "export", load("export").document()),
        ("files.md", "integers", load("integers").document()),
        ("files.md", "pruning", load("pruning").document()),
        ("files.md", "mixed", load("mixed").document()),
        ("files.md", "soft labels", load("soft_labels").document()),
        ("robust.md", "own data", load("own_data").document()),
        ("robust.md", "machines", load("machines").document()),
        ("robust.md", "students on machines", load("machines").of_students()),
        ("many_images.md", "plan", load("machines_plan").document()),
    ):
        section = f"<!-- {name} -->\n{text}<!-- end of {name} -->\n"
        assert section in (BENCHMARKS / page).read_text(), (page, name)
    written = load("adversarial_table").document(read("adversarial"), pictures)
    assert (BENCHMARKS / "adversarial.md").read_text() == written


def test_every_picture_is_on_a_page():
    pages = "".join(path.read_text() for path in BENCHMARKS.glob("*.md"))
    for path in BENCHMARKS.glob("results/**/*.png"):
        assert f"({path.relative_to(BENCHMARKS)})" in pages, path


def test_what_is_named_of_benchmarks_is_there():
    root = BENCHMARKS.parent
    folders = (root / "keras_kd", root / "tests", root / "notebooks", BENCHMARKS)
    paths = [*root.glob("*.md"), root / "Makefile"]
    paths += [path for folder in folders for path in folder.rglob("*.*")]
    for path in paths:
        if path.suffix in (".md", ".py", ".ipynb", ""):
            for name in re.findall(r"benchmarks/[\w/]+\.(?:py|md|json|png)", path.read_text()):
                assert (root / name).is_file(), f"{path} names {name}"
