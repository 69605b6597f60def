"""The README and the pages are short, and easy to read; so is how that is measured."""

import sys

import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import readability

README = ROOT / "README.md"
PAGES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in readability.pages()]


@pytest.mark.parametrize("path", PAGES)
def test_no_paragraph_is_a_wall(path):
    for paragraph in readability.paragraphs(path.read_text()):
        assert len(readability.words_of(paragraph)) <= 80, paragraph


@pytest.mark.parametrize(
    "path", [README, *sorted(ROOT.glob("docs/start/*.md"))], ids=lambda path: path.name
)
def test_what_is_read_first_is_easy(path):
    assert readability.measured(path.read_text()).ease > 55


def test_plain_english_is_told_from_a_paper():
    plain = "The cat sat on the mat. It was fat."
    paper = (
        "Regularisation methodologies necessitate considerable computational expenditure "
        "notwithstanding theoretical simplifications."
    )
    assert readability.measured(plain).ease > 100
    assert readability.measured(paper).ease < 0


@pytest.mark.parametrize(
    ("word", "syllables"),
    [("cat", 1), ("distilled", 2), ("table", 2), ("trained", 1), ("labels", 2), ("teacher", 2),
     ("temperature", 4), ("classes", 2), ("be", 1), ("needed", 2), ("files", 1)],
)  # fmt: skip
def test_syllables_are_counted_as_they_are_said(word, syllables):
    assert readability.syllables_of(word) == syllables


def test_only_prose_is_counted():
    text = """# A title

Two words.

```python
code = "of many words"
```

    more = "code"

| a | table |
| --- | --- |

- One item, [a link](https://example.org/of/words) and `a name`.

![a picture](x.png)

$$
x + y
$$
"""
    assert readability.paragraphs(text) == ["Two words.", "One item, a link and it."]
