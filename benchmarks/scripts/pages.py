"""The part of a page that a script writes; the words around it are written by hand."""

from pathlib import Path

from keras_kd._common.files import written_whole

PAGES = Path(__file__).parent.parent


def write_section(page, name, text, folder=PAGES):
    """Write what lies between `<!-- name -->` and `<!-- end of name -->` on a page anew."""
    path = Path(folder) / page
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    page = path.read_text()
    before, began, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not began or not ended:
        raise ValueError(
            f"{path} must have a line {begin.strip()} and, below it, {end.strip()}. Add them where "
            "the section belongs."
        )
    with written_whole(path) as unfinished:
        unfinished.write_text(before + begin + text + end + after)
