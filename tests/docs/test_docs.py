"""What the documents show is run, and what they report is what was measured."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from blocks import blocks, commands
from helpers import ROOT

import keras_kd
from keras_kd.arguments import parser

README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


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


def test_the_example_in_the_readme_is_short():
    (block,) = python_blocks(README)
    assert len([line for line in block.splitlines() if line.strip()]) <= 12


def test_the_command_in_the_readme_is_one():
    (block,) = (code for _, code in blocks(README, "console"))
    ((words, shown),) = commands(block)
    told = parser().parse_args(words)
    assert (told.teacher, told.data, told.output) == (["yours.keras"], "few", "out")
    assert len(shown) > 3


def test_the_readme_is_short_and_reads_rightly_elsewhere():
    assert len(README.splitlines()) <= 120
    assert len(README.split()) <= 900
    links = re.findall(r'\]\(([^)]*)\)|(?:src|srcset|href)="([^"]*)"', README)
    assert len(links) > 20
    for link in links:
        assert "".join(link).startswith("https://"), link


def test_what_the_readme_says_of_the_atlas_is_what_it_has():
    atlas = (ROOT / "benchmarks" / "atlas.md").read_text()
    _, few = re.split(r"^### Few labels$", atlas, flags=re.MULTILINE)
    gains = [
        (float(gain), verdict)
        for gain, verdict in re.findall(
            r"\| ([+−][\d.]+) \([^|]*\) \| ([A-Z ]+) \|", few.split("###")[0]
        )
    ]
    won = [gain for gain, verdict in gains if verdict == "BEATS"]
    assert (
        f"gained in {len(won)} of {len(gains)} cases, {min(won):.1f} to {max(won):.1f} points"
        in (" ".join(README.split()))
    )
    _, labelled = re.split(r"^### All labels$", atlas, flags=re.MULTILINE)
    verdicts = re.findall(r"\| [+−][\d.]+ \([^|]*\) \| ([A-Z ]+) \|", labelled.split("###")[0])
    assert "BEATS" not in verdicts
    assert f"gained nothing clear in any of {len(verdicts)} cases" in " ".join(README.split())


def test_what_the_readme_says_of_single_cases_is_what_was_measured():
    """Alone, taught, gain and interval, as the rows of recipes and of the atlas have them."""
    measured = {
        "Which language": ("recipes", "`keras-kd compare languages --seeds 5`"),
        "500 labels": ("atlas", "the teacher saw these labels | Fashion-MNIST"),
        "Hinton's digits": ("recipes", "`keras-kd compare hinton_mnist --seeds 3`"),
        "a label on every image": ("recipes", "`keras-kd compare fashion_mnist_mlp --seeds 5`"),
    }
    rows = re.findall(r"^\| .*% \|.*", README, flags=re.MULTILINE)
    assert len(rows) == len(measured)
    for (told, (page, key)), row in zip(measured.items(), rows, strict=True):
        lines = (ROOT / "benchmarks" / f"{page}.md").read_text().splitlines()
        row_of = next(line for line in lines if key in line and (page != "atlas" or told in line))
        assert told in row
        _, taught, alone = (float(each) for each in re.findall(r"\| (0\.\d{4})", row_of)[:3])
        gain = re.search(r"([+−-][\d.]+) \(([+−-][\d.]+) to ([+−-][\d.]+)\)", row_of)
        gain = [float(each.replace("−", "-")) for each in gain.groups()]
        shown = [float(each.replace("−", "-")) for each in re.findall(r"−?\d+\.\d", row)]
        assert shown == pytest.approx([100 * alone, 100 * taught, *gain], abs=0.051)


def test_the_files_that_quantisation_begins_with_are_those_that_were_measured():
    page = (ROOT / "docs" / "guides" / "quantisation.md").read_text()
    _, measured = (ROOT / "benchmarks" / "files.md").read_text().split("### `mlp`\n", 1)
    rows = re.findall(r"^\| (\w[^|]*) \| ([\d.]+) \| (−?[\d.]+)", page, flags=re.MULTILINE)
    assert len(rows) == 4
    for name, size, lost in rows:
        row = re.search(rf"^\| {name} \| ([\d.]+) .*?\| ([+-][\d.]+) ", measured, re.M)
        assert (float(size), float(lost.replace("−", "-"))) == tuple(map(float, row.groups()))


def test_every_extra_of_a_user_is_told_of_where_one_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {"bench", "browser", "dev", "docs", "notebooks"}
    told = re.findall(r"`(\w+)`", (ROOT / "docs" / "start" / "install.md").read_text())
    assert not set(project["optional-dependencies"]) - ours - set(told)


def test_every_room_of_the_package_is_on_the_map():
    package = Path(keras_kd.__file__).parent
    rooms = {path.stem for path in package.iterdir() if path.name[0] not in "_."} - {"py"}
    for room in rooms:
        assert re.search(rf"^\s+{room}\b", CONTRIBUTING, flags=re.MULTILINE), room


def test_citation_and_changelog_are_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {keras_kd.__version__}\n" in citation
    (date,) = re.findall(r'^date-released: "(.*)"$', citation, flags=re.MULTILINE)
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"\n## {keras_kd.__version__} ({date})\n" in changelog


def test_no_document_names_a_path_of_somebodys_machine():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("notebooks/*.ipynb")]:
        assert not re.search(r"/(root|home|work|tmp)/", path.read_text()), path
