"""Text from files, made harmless for a terminal."""

import textwrap
import unicodedata

# Control characters (escape sequences begin with one), what reverses the order of letters, and
# halves of characters, which no encoding takes.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Joiners belong to the letters of some scripts.
_KEPT = "\u200c\u200d"


def printable(text, kept=""):
    """Return a text with what a terminal would obey, not show, as Python escapes: `\\x1b`.

    Args:
        text: of a file's name, a class or model, an error, ...
        kept: characters to leave, such as a newline.
    """
    return "".join(
        each
        if each in kept or each in _KEPT or unicodedata.category(each) not in _UNSEEN
        else each.encode("unicode_escape").decode()
        for each in str(text)
    )


def wrapped(text, width):
    """Return the lines of a text, printable, broken between words; `None` for one line.

    A word that is longer than a line, such as a path, stays whole.
    """
    text = printable(text)
    if width is None or len(text) <= width:
        return [text]
    options = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, width, **options) or [""]
