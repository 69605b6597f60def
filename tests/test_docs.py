"""What the documents show is run, and what they report is what was measured."""

import ast
import re
from pathlib import Path

import pytest

import keras_kd

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def docstring_examples():
    for path in sorted(Path(keras_kd.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)):
                for number, block in enumerate(python_blocks(ast.get_docstring(node) or "")):
                    name = getattr(node, "name", path.stem)
                    yield pytest.param(block, id=f"{path.stem}-{name}-{number}")


@pytest.mark.parametrize("block", list(docstring_examples()))
def test_examples_in_docstrings_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docstring", "exec"), {})


def test_the_example_in_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    block, *_ = python_blocks(README)
    assert len([line for line in block.splitlines() if line.strip()]) <= 20
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "student.tflite").is_file()
    printed = float(capsys.readouterr().out.split()[-1])
    # Ten classes, a student of 32 units: far above chance.
    assert printed > 0.8


@pytest.mark.parametrize("block", python_blocks(README)[1:])
def test_the_other_examples_in_the_readme_run(block):
    assert len([line for line in block.splitlines() if line.strip()]) <= 20
    exec(compile(block, "README.md", "exec"), {})


def test_the_readme_quotes_the_measured_tables():
    measured = (ROOT / "benchmarks" / "recipes.md").read_text()
    rows = [line for line in README.splitlines() if line.startswith("| ") and "±" in line]
    assert len(rows) >= 3
    for row in rows:
        assert row in measured


def test_every_room_of_the_package_is_on_the_map():
    package = Path(keras_kd.__file__).parent
    rooms = {path.stem for path in package.iterdir() if path.name[0] not in "_."} - {"py"}
    for room in rooms:
        assert re.search(rf"^\s+{room}\b", README, flags=re.MULTILINE), room


def test_no_document_names_a_path_of_somebodys_machine():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("notebooks/*.ipynb")]:
        assert not re.search(r"/(root|home|work|tmp)/", path.read_text()), path
