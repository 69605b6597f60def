"""Formulas in pages: `$...$` in a line, `$$...$$` on lines of their own, as MathML.

A browser draws MathML itself: no script, no font, no network. An extension of Python-Markdown,
named in `zensical.toml`.
"""

import html
import re

import latex2mathml.converter
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor

_BLOCK = re.compile(r"^\$\$(.+?)\$\$[ \t]*$", flags=re.MULTILINE | re.DOTALL)
_INLINE = r"(?<![\\$])\$(?![\s$])([^$\n]*?[^\s\\$])\$(?![\w$])"


def mathml(formula, display="inline"):
    """Return a formula as MathML; what was written stands in it, for who copies or cannot see.

    Args:
        formula: TeX.
        display: `"inline"` or `"block"`.

    Raises:
        ValueError: if something in it is not known.
    """
    formula = " ".join(formula.split())
    made = latex2mathml.converter.convert(formula, display=display)
    unknown = re.search(r"\\[A-Za-z]+|<mi>&</mi>", made)
    if unknown:
        raise ValueError(f"A formula has a command that is not known: {unknown[0]} in ${formula}$.")
    return made.replace("<math", f'<math alttext="{html.escape(formula)}"', 1)


class _Blocks(Preprocessor):
    def run(self, lines):
        def stored(match):
            return self.md.htmlStash.store(f"<div>{mathml(match[1], 'block')}</div>")

        return _BLOCK.sub(stored, "\n".join(lines)).split("\n")


class _Inlines(InlineProcessor):
    def handleMatch(self, m, data):
        return self.md.htmlStash.store(mathml(m[1])), m.start(0), m.end(0)


class Formulas(Extension):
    """Formulas, after code was set aside and before anything else is read."""

    def extendMarkdown(self, md):
        # Fenced code is at 25, code in a line at 190, the backslash at 180.
        md.preprocessors.register(_Blocks(md), "formula_blocks", 24)
        md.inlinePatterns.register(_Inlines(_INLINE, md), "formulas", 185)


def makeExtension(**kwargs):
    return Formulas(**kwargs)
