"""Manual pages -> sentences of what somebody wrote, without markup and without names of commands.

A page is roff: lines of text between macros such as `.SH`, with fonts such as `\\fB` inside. It is
not set by a formatter, which would keep every option and every file name.
"""

import gzip
import re
import unicodedata
from pathlib import Path

# A name stood here: bold and italics are for commands, options and files.
_NAME = "§"
_GLYPHS = {
    "aq": "'", "oq": "‘", "cq": "’", "lq": "“", "rq": "”", "Bq": "„", "bq": "‚", "Fo": "«",
    "Fc": "»", "em": "—", "en": "–", "hy": "-", "dq": '"', "ss": "ß",
}  # fmt: skip
# What lies between these is code, a table or a picture.
_SET_AS_IT_STANDS = {
    "nf": "fi", "EX": "EE", "TS": "TE", "PS": "PE", "EQ": "EN", "Vb": "Ve", "ig": ".", "de": ".",
    "de1": ".", "am": ".",
}  # fmt: skip
_BREAKS = frozenset(
    "PP P LP IP TP TQ HP SH SS br sp RS RE in ti ce UR UE MT ME SY YS OP fi EE TE".split()  # noqa: SIM905
)
_FONTS = frozenset(("B", "I", "SB", "BR", "RB", "IR", "RI", "BI", "IB"))
_FONT = r"\\f(?:\(..|\[[^\]]*\]|.)"
_IN_A_FONT = re.compile(r"\\f(?:\(C?[BWIR]+|\[C?[BWIR]+\]|[BI])(.*?)(?=\\f|$)", re.DOTALL)
_ESCAPES = (
    (re.compile(r"\\\*(\(..|\[[^\]]*\]|.)|\\s[-+]?\d+|\\[wvhm]('[^']*'|\(..|\[[^\]]*\])"), ""),
    (re.compile(r"\\[ ~0]"), " "),
    (re.compile(r"\\[&,/:|^%)c]"), ""),
    (re.compile(r"\\([-'`.])"), r"\1"),
)
# Digits and signs, options, code and names written in capitals: not words of a language.
_NO_WORD = re.compile(
    r"[\d/_=<>@\\|#$%{}\[\]*^~+`&§]|--|^-|::|\(\)|\.\w|:\w|[a-z][A-Z]|^\W*[A-Z]{2,}\W*$"
)
_BETWEEN = re.compile(r"\([^)]*\)|（[^）]*）|<[^>]*>")
_ASCII = re.compile(r"[!-~§]+")
# Fewer say too little to be called a sentence.
_FEWEST_WORDS, _FEWEST_CHARACTERS = 4, 8


def pages_of(folder):
    """Yield `(name, text)` of the pages below `man1` to `man9` of a folder, by name.

    A page that stands for another one (a link, or `.so`), one of BSD's other macros, and one that
    is not UTF-8 is left out.
    """
    for path in sorted(Path(folder).glob("man?/*.gz")):
        if path.is_symlink():
            continue
        try:
            text = gzip.decompress(path.read_bytes()).decode()
        except UnicodeDecodeError:
            continue
        if not re.search(r"(?m)^\.(so |Dd)", text):
            yield path.name.removesuffix(".gz"), text


def sentences_of(page, *, latin=True, spaced=True):
    """Return the sentences of a page in roff.

    Left out are comments, titles, code, tables, what stands in bold or italics, the page's own
    name, and words with digits or signs of a computer in them: what is left of a sentence is what
    somebody wrote in a language.

    Args:
        page: its text.
        latin: whether the language is written in Latin letters; in others, words in them are names.
        spaced: whether spaces stand between its words. If not, no sentence has a Latin letter.
    """
    found = []
    for paragraph in _paragraphs(page):
        ends = r"(?<=[.!?])\s+" if spaced else r"(?<=[。！？])"
        for sentence in re.split(ends, _plain(paragraph)):
            cleaned = _words(sentence, latin) if spaced else _characters(sentence)
            if cleaned:
                found.append(cleaned)
    return found


def _paragraphs(page):
    """Yield the text between two breaks, fonts and escapes still in it."""
    lines, closed_by, is_tag, of_name = [], None, False, True

    def paragraph():
        nonlocal lines, of_name
        text, lines = " ".join(lines), []
        if of_name and (said := re.search(r"\s\\?-\s", text)):
            text, of_name = text[said.end() :], False  # "cat \- concatenate files".
        return text

    for line in page.splitlines():
        macro = re.match(r"[.']\s*([A-Za-z.]\S*)?\s*(.*)", line)
        name, rest = (macro[1] or "", macro[2]) if macro else ("", "")
        if closed_by is not None:
            # Some pages never say where their code ends.
            if name == closed_by or (closed_by == "fi" and name in ("PP", "SH", "SS")):
                closed_by = None
            continue
        breaks = name in _BREAKS or name in _SET_AS_IT_STANDS
        if breaks or not line.strip() or (not macro and line[0] in " \t"):
            yield paragraph()
            is_tag, closed_by = name in ("TP", "TQ"), _SET_AS_IT_STANDS.get(name)
        elif macro and name not in _FONTS and name != "SM":
            continue  # Of the formatter, or a comment.
        elif is_tag:
            is_tag = False  # The option that a paragraph speaks of.
        else:
            lines.append(_in_fonts(name, rest) if name in _FONTS else rest if macro else line)
    yield paragraph()


def _in_fonts(name, rest):
    """Return the text of a macro such as `.BR`, whose words are in its fonts in turn."""
    if len(name) == 1 or name == "SB":
        return _NAME
    words = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', rest)]
    return "".join(word if name[place % 2] == "R" else _NAME for place, word in enumerate(words))


def _plain(text):
    text = re.sub(_FONT, "", _IN_A_FONT.sub(f" {_NAME} ", text))
    text = re.sub(r"\\\[u([0-9A-F]{4,5})\]", lambda found: chr(int(found[1], 16)), text)
    text = re.sub(
        r"\\\((..)|\\\[([^\]]*)\]", lambda found: _GLYPHS.get(found[1] or found[2], ""), text
    )
    for escape, stands_for in _ESCAPES:
        text = escape.sub(stands_for, text)
    return unicodedata.normalize("NFC", text)


def _words(sentence, latin):
    words = [
        word
        for word in sentence.split()
        if re.search(r"\w", word)
        and not _NO_WORD.search(word)
        and (latin or not re.search("[A-Za-z]", word))
    ]
    return " ".join(words) if len(words) >= _FEWEST_WORDS else ""


def _characters(sentence):
    text = re.sub(r"\s+", "", _ASCII.sub("", _BETWEEN.sub("", sentence)))
    return text if len(re.findall(r"\w", text)) >= _FEWEST_CHARACTERS else ""
