"""What the README and the pages show is run: every block of Python, every command."""

import math
import re
import shutil

import pytest
from blocks import blocks, commands
from helpers import ROOT
from own_files import make

from keras_kd import cli
from keras_kd.arguments import parser

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
pytestmark = pytest.mark.usefixtures("no_pictures")
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
    """A teacher `yours.keras` and a folder `photos/`, as the pages' reader has.

    And the photos again, a third of them with a label in `few/` and the rest without in `more/`.
    """
    folder = tmp_path_factory.mktemp("own")
    make(folder, number=30, size=24)
    for number, photo in enumerate(sorted(folder.glob("photos/*/*.png"))):
        copy = folder / "few" / photo.parent.name if number % 3 == 0 else folder / "more"
        copy.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, copy / f"{number}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python", "console"))
def test_what_a_page_shows_runs(page, own_files, tmp_path, monkeypatch, capsys):
    if "import keras_hub" in page.read_text():
        pytest.importorskip("keras_hub", reason="KerasHub is not installed: `make test` does it.")
    shutil.copytree(own_files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    shown = blocks(page.read_text(), "python", "console", "output")
    says = any(language == "output" for language, _ in shown)
    for language, code in shown:
        if language == "python":
            capsys.readouterr()
            exec(compile(code if says else of_few_epochs(code), page.name, "exec"), names)
            continue
        if language == "output":
            assert_says(capsys.readouterr().out, code)
            continue
        for words, shown in commands(code):
            if words[:1] and words[0] not in NOT_RUN:
                assert_runs(words, "\n".join(shown), capsys)


def of_few_epochs(code):
    """Return Python that trains a fifth of its epochs, two at least: what it says is not shown."""

    def few(found):
        return f"epochs={min(int(found[1]), max(2, math.ceil(int(found[1]) / 5)))}"

    return re.sub(r"\bepochs=(\d+)", few, code)


def test_only_the_number_of_epochs_is_another():
    code = "fit(x, epochs=20)\nfit(x, epochs=8)\nfit(x, epochs=1, num_epochs=9)\nepochs = 30\n"
    assert of_few_epochs(code) == code.replace("epochs=20", "epochs=4").replace("=8", "=2")


def assert_says(said, shown):
    """Compare what a block printed with what the page shows: another processor, other figures."""
    number = r"-?\d[\d,]*(?:\.\d*)?"
    assert re.sub(number, "0", said).split() == re.sub(number, "0", shown).split()
    figures = [
        [float(each.replace(",", "")) for each in re.findall(number, text)]
        for text in (said, shown)
    ]
    assert figures[0] == pytest.approx(figures[1], rel=0.25, abs=0.1)


@pytest.mark.parametrize("said", ["loss 0.41 of 3", "gain 0.82 of 3", "gain 0.41 of", "gain"])
def test_what_a_page_shows_is_what_was_said(said):
    assert_says("gain 0.40 of 3\n", "gain 0.41 of 3")
    with pytest.raises(AssertionError):
        assert_says(said, "gain 0.41 of 3")


def assert_runs(words, shown, capsys):
    """Run a command; it fails where the page shows an error, and with that sentence."""
    capsys.readouterr()
    code = cli.main(in_short(words))
    said = capsys.readouterr()
    errors = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert (code != 0) == bool(errors), f"keras-kd {' '.join(words)}: {said.err}"
    assert all(error in said.err for error in errors)
    # Figures and verdict are those of the writer's own files; what is told of is the same.
    assert not told_of(shown) - told_of(said.out + said.err)


def in_short(words):
    """Return a command as it is shown, but of two epochs where it leaves their number open."""
    asked = parser().parse_args(words)
    trains_long = getattr(asked, "epochs", 0) is None and not asked.quick
    return [*words, "--epochs", "2"] if trains_long else words


def test_only_a_command_that_leaves_its_epochs_open_is_shortened():
    for words in ("run digits --quick", "run digits --epochs 5", "report out", "list"):
        assert in_short(words.split()) == words.split()
    assert in_short(["run", "digits"]) == ["run", "digits", "--epochs", "2"]


def told_of(text):
    """Return what stands before a colon: `Data`, `Chosen`, `To ship`."""
    return set(re.findall(r"^([A-Z]\w*(?: \w+){0,2}):", text, flags=re.MULTILINE))


@pytest.mark.parametrize("page", pages_with("sh"))
def test_commands_that_take_long_have_arguments_that_are_known(page):
    for _, code in blocks(page.read_text(), "sh"):
        for words, _ in commands(code):
            parser().parse_args(words)
