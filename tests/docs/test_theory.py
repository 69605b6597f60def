"""Each loss has its place and its picture, and pictures are drawn by scripts that run."""

import importlib
import inspect
import re
import sys

import keras
import numpy as np
import pytest
from helpers import ROOT

import keras_kd as kd
from keras_kd._common.reprs import in_small_letters

DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
LOSSES = (DOCS / "losses.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", LOSSES, flags=re.M | re.S))
EXPORTED = {name: getattr(kd.losses, name) for name in kd.losses.__all__}
# What others are written over; they have no value of their own.
BASES = {"DistillationLoss", "FeatureLoss", "ValueLoss"}
CONCRETE = [
    name
    for name, each in EXPORTED.items()
    if inspect.isclass(each) and issubclass(each, keras.losses.Loss) and name not in BASES
]
TERM = kd.adversarial.GeneratorTerm
TERMS = [
    name
    for name, each in vars(kd.adversarial).items()
    if inspect.isclass(each) and issubclass(each, TERM) and each is not TERM
]


@pytest.fixture
def scripts(monkeypatch):
    """Imports a script of `docs` or `docs/pictures`."""
    monkeypatch.setattr(sys, "path", [str(PICTURES), str(DOCS), *sys.path])
    return importlib.import_module


@pytest.mark.parametrize("name", [*CONCRETE, *TERMS, "adversarial_loss"])
def test_every_loss_has_its_section_and_its_picture(name):
    section = SECTIONS[name]
    assert re.search(r"^\$\$.+\$\$$", section, flags=re.M)
    (alt, picture) = re.search(r"!\[([^\]]+)\]\(([^)]+)\)", section).groups()
    assert len(alt) > 20 and picture == f"pictures/loss_{in_small_letters(name)}.svg"
    for part in ("Use it", "From", "Measured"):
        assert f"**{part}**" in section, part


def test_no_section_is_of_a_loss_that_is_gone():
    assert set(SECTIONS) == {*CONCRETE, *TERMS, "adversarial_loss"}


def test_every_exported_name_is_on_the_page():
    for name in EXPORTED:
        assert f"(reference/losses.md#keras_kd.losses.{name})" in LOSSES, name


@pytest.mark.slow
def test_the_pictures_of_losses_are_drawn_by_their_script(scripts, tmp_path):
    scripts("draw_losses").draw_all(tmp_path, quick=True)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in PICTURES.glob("loss_*")}
    assert all("<svg" in path.read_text() for path in tmp_path.iterdir())


@pytest.mark.slow
def test_the_pictures_of_the_theory_are_drawn_by_their_script(scripts, tmp_path):
    scripts("draw_theory").draw_all(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in PICTURES.glob("theory_*")}


def test_pictures_are_light():
    for pattern in ("loss_*", "theory_*"):
        for path in PICTURES.glob(pattern):
            assert path.stat().st_size <= 40_000, path


def test_the_boot_on_the_page_is_the_boot_in_the_picture():
    page = (DOCS / "theory" / "soft_targets.md").read_text()
    found = np.load(PICTURES / "facts.npz")
    for side in ("teacher", "student"):
        (words,) = re.findall(rf"^{side}_logits = np\.array\(\s*\[(.+?)\]", page, flags=re.M | re.S)
        shown = [float(word) for word in words.split(",") if word.strip()]
        np.testing.assert_allclose(shown, found[f"{side}_logits"][0], atol=0.05001)


def test_a_figure_of_a_loss_comes_from_its_table(scripts):
    documents = scripts("documents")
    assert re.fullmatch(
        r"over −\d\.\d points \(−\d\.\d to −\d\.\d\)",
        documents.with_variants("over {{variant DKD}}", "page.md"),
    )
    with pytest.raises(ValueError, match="page.md: `{{variant alone}}` must name a row"):
        documents.with_variants("over {{variant alone}}", "page.md")
