"""What pages may write beside plain Markdown: formulas, and names that become links."""

import json
import sys

import markdown
import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import formulas
import names


def with_formulas(text):
    return markdown.markdown(text, extensions=["formulas", "pymdownx.superfences"])


def test_a_formula_in_a_line_is_mathml():
    made = with_formulas("The weight $x_1 * y_2$ of *it*.")
    assert made.startswith('<p>The weight <math alttext="x_1 * y_2" ')
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in made
    assert made.endswith("</math> of <em>it</em>.</p>")


def test_a_formula_on_lines_of_its_own_is_a_block():
    made = with_formulas("Before.\n\n$$\nT^2\n= 4\n$$\n\nAfter.")
    assert made.count('display="block"') == 1
    assert "<msup><mi>T</mi><mn>2</mn></msup>" in made and "<p>After.</p>" in made


@pytest.mark.parametrize(
    "text", ["`$x$`", "```\n$x$\n$$\ny\n$$\n```", "It costs $5 or $6.", r"\$x$"]
)
def test_what_is_no_formula_stays(text):
    assert "<math" not in with_formulas(text)


@pytest.mark.parametrize("formula", [r"\unheard{x}", r"\begin{aligned}a&=b\end{aligned}"])
def test_what_is_not_known_in_a_formula_is_an_error(formula):
    with pytest.raises(ValueError, match="A formula has"):
        formulas.mathml(formula)


def test_a_public_name_leads_to_its_place(tmp_path):
    paths = ["keras_kd.Distiller", "keras_kd.losses.soft_targets", "keras_kd.losses.get"]
    (tmp_path / "names.json").write_text(json.dumps(paths))

    def made(text):
        extension = names.Names(names=str(tmp_path / "names.json"))
        return markdown.markdown(text, extensions=[extension])

    link = '<autoref identifier="{}" optional=""><code>{}</code></autoref>'
    for path, ways in {
        paths[0]: ["Distiller", "kd.Distiller", "keras_kd.Distiller"],
        paths[1]: ["soft_targets", "losses.soft_targets", "kd.losses.soft_targets"],
        paths[2]: ["losses.get", "kd.losses.get"],
    }.items():
        for way in ways:
            assert (
                made(f"See `{way}`, *it*.") == f"<p>See {link.format(path, way)}, <em>it</em>.</p>"
            )
    for left in ("`get`", "# `Distiller`", "[`Distiller`](a.md)", "    Distiller", "Distiller"):
        assert "autoref" not in made(left)


def test_a_name_that_two_modules_have_leads_to_the_first():
    found = names.spellings(["keras_kd.Teacher", "keras_kd.teachers.Teacher"])
    assert found["Teacher"] == "keras_kd.Teacher"
    assert found["teachers.Teacher"] == "keras_kd.teachers.Teacher"
