"""What the README and the pages show is run: every block of Python, every command."""

import shutil
from pathlib import Path

import pytest
from blocks import blocks, commands
from own_files import make

from keras_kd import cli
from keras_kd.arguments import parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
# It waits for a browser.
NOT_RUN = {"serve"}


def pages_with(*languages):
    return [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in PAGES
        if page.is_file() and blocks(page.read_text(), *languages)
    ]


@pytest.fixture(scope="module")
def own_files(tmp_path_factory):
    """A teacher `yours.keras` and a folder `photos/`, as the pages' reader has."""
    folder = tmp_path_factory.mktemp("own")
    make(folder, number=30, size=24)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python", "console"))
def test_what_a_page_shows_runs(page, own_files, tmp_path, monkeypatch, capsys):
    shutil.copytree(own_files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for language, code in blocks(page.read_text(), "python", "console"):
        if language == "python":
            exec(compile(code, page.name, "exec"), names)
            continue
        for words, shown in commands(code):
            if words[:1] and words[0] not in NOT_RUN:
                assert_runs(words, "\n".join(shown), capsys)


def assert_runs(words, shown, capsys):
    """Run a command; it fails where the page shows an error, and with that sentence."""
    capsys.readouterr()
    code = cli.main(words)
    said = capsys.readouterr()
    errors = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert (code != 0) == bool(errors), f"keras-kd {' '.join(words)}: {said.err}"
    assert all(error in said.err for error in errors)


@pytest.mark.parametrize("page", pages_with("sh"))
def test_commands_that_take_long_have_arguments_that_are_known(page):
    for _, code in blocks(page.read_text(), "sh"):
        for words, _ in commands(code):
            parser().parse_args(words)
