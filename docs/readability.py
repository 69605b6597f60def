"""How easily the README and the pages read: `python docs/readability.py`.

Words, the longest paragraph in words, and Flesch's reading ease of each page: 206.835 - 1.015 *
words a sentence - 84.6 * syllables a word. Above 60 is plain English, below 30 a scientific paper.
Code, formulas, tables, headings and pictures are not counted; a list item is a paragraph.
References: R. Flesch, A New Readability Yardstick, 1948.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Reading(NamedTuple):
    """What is measured of a page.

    Args:
        words: in paragraphs and lists.
        longest: words of the longest paragraph.
        ease: Flesch's; the higher, the easier.
    """

    words: int
    longest: int
    ease: float


def measured(text):
    """Return the `Reading` of a page.

    Args:
        text: Markdown.
    """
    found = [paragraph for paragraph in paragraphs(text) if words_of(paragraph)]
    if not found:
        return Reading(0, 0, 100.0)
    words = words_of(" ".join(found))
    # An item of a list is a sentence without a full stop too.
    sentences = sum(max(1, len(re.findall(r"[.!?](?=\s|$)", part))) for part in found)
    syllables = sum(map(syllables_of, words))
    ease = 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)
    return Reading(len(words), max(len(words_of(part)) for part in found), ease)


def paragraphs(text):
    """Return the paragraphs and list items of a page as plain words, without marks."""
    text = without_code(text)
    text = re.sub(r"<!--.*?-->|\$\$.*?\$\$|^---\n.*?^---", "", text, flags=re.DOTALL)
    text = re.sub(r"^(#|\||\s*<|!!!|\?\?\?|===|::: |\[\^).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)(\{[^}]*\})?", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    # A name or a formula in a line is read as one short word.
    text = re.sub(r"`[^`]*`|\$[^$\n]+\$|\{\{[^}]*\}\}|https?://\S+", "it", text)
    text = re.sub(r"^\s*([-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def without_code(text):
    """Return a page without its blocks of code, fenced or indented."""
    text = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
    kept, is_within = [], False
    for part in re.split(r"\n\s*\n", text):
        if not part.startswith("    "):  # What is indented below these is no code.
            is_within = re.match(r"(!!!|\?\?\?|===|[-*]|\d+\.) ", part) is not None
        elif not is_within:
            continue
        kept.append(part)
    return "\n\n".join(kept)


def words_of(paragraph):
    """Return the words of a paragraph; a figure is none."""
    return re.findall(r"[A-Za-z][A-Za-z'’-]*", paragraph)


def syllables_of(word):
    """Return the syllables of an English word: groups of vowels, but for a silent e."""
    word = word.lower().replace("'", "").replace("’", "")
    groups = len(re.findall(r"[aeiouy]+", word))
    silent = re.search(r"[^aeiouyl]e$|[^aeioutd]ed$|[^aeioucsxzhg]es$", word) is not None
    return max(1, groups - silent)


def pages():
    """Return the README, how to contribute, and every page that is written by hand."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return [path for path in found if path.is_file()]


if __name__ == "__main__":
    print(f"{'words':>6} {'longest':>8} {'Flesch':>7}  page")
    for path in pages():
        words, longest, ease = measured(path.read_text())
        print(f"{words:6} {longest:8} {ease:7.0f}  {path.relative_to(ROOT)}")
