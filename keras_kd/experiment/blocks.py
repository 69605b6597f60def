"""What the report page is built of, as HTML text: sections, figures, tables, matrices, strips."""

import html
import itertools
import re

import numpy as np

from keras_kd._common.looks import LOOKS, OTHER, look_of
from keras_kd._common.pictures import label
from keras_kd.runs.progress import title_of

# Of matplotlib's markers, in a square of 12.
_SHAPES = {
    "s": "M2 2h8v8h-8z",
    "o": "M6 1a5 5 0 1 1 0 10a5 5 0 1 1 0-10z",
    "D": "M6 0l6 6-6 6-6-6z",
    "^": "M6 0l6 11h-12z",
    "v": "M6 12L0 1h12z",
    "P": "M4 0h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
}
# Longer names get a line of their own on a phone.
_SHORT = 14
# Pixels between models of one row.
_LANE = 8


def looks():
    """Return the CSS of all models' looks, a class each."""
    rules = []
    for name, look in {**LOOKS, "other": OTHER}.items():
        rgb = " ".join(str(int(look.colour[start : start + 2], 16)) for start in (1, 3, 5))
        shape = f'path("{_SHAPES[look.marker]}")'
        rules.append(f".{name} {{ --c: {look.colour}; --rgb: {rgb}; --shape: {shape}; }}")
    return "\n".join(rules)


def section(title, *parts):
    """Return a section of the page; parts that are empty are left out."""
    return "\n".join(
        [f"<section><h2>{html.escape(title)}</h2>", *filter(None, parts), "</section>"]
    )


def note(text):
    """Return a sentence below what it is about."""
    return f'<p class="note">{prose(text)}</p>' if text else ""


def prose(text):
    """Return a sentence as HTML, what stands in backticks as code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", html.escape(text))


def panels(svgs, caption, names=()):
    """Return SVGs side by side, below one another on a phone.

    Args:
        svgs: of `plots`.
        caption: what is to be known of all of them.
        names: of models, for a legend.
    """
    caption = f"<figcaption>{html.escape(caption)}</figcaption>"
    return f"<figure>{legend(names)}{side_by_side(svgs)}{caption}</figure>"


def side_by_side(shown):
    """Return HTML texts in columns, in one column on a phone."""
    # Four are two and two rather than three and one.
    return f'<div class="panels{" square" if len(shown) == 4 else ""}">{"".join(shown)}</div>'


def legend(names):
    """Return the line and the marker of models."""
    keys = []
    for name in names:
        look = look_of(name)
        dashes = " ".join(map(str, look.dashes))
        keys.append(
            f'<span><svg viewBox="0 0 34 12" width="34" height="12" aria-hidden="true">'
            f'<path d="M0 6h34" stroke="{look.colour}" stroke-width="2" '
            f'stroke-dasharray="{dashes}"/><path transform="translate(11)" '
            f'd="{_SHAPES[look.marker]}" fill="{look.colour}"/></svg> {title_of(name)}</span>'
        )
    return f'<p class="legend">{"".join(keys)}</p>' if keys else ""


def table(columns, rows, best=None):
    """Return a table, its first column names; `best` is the name of a row.

    Columns without a single figure are left out.
    """
    full = [not number or any(row[number] for row in rows) for number in range(len(columns))]
    columns, *rows = (list(itertools.compress(row, full)) for row in (columns, *rows))
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(
        f"<tr{' class=best' if name == best else ''}>"
        f'<th scope="row">{html.escape(name)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def matrix(title, rows, columns, values, *, form="{:.0f}", limits=(0, 100), look="other", best=()):
    """Return a table of numbers, the darker the larger.

    Args:
        title: what it shows.
        rows: their names.
        columns: their names.
        values: `[num_rows, num_columns]`; what is written as a zero is left out.
        form: of the numbers.
        limits: the values that are lightest and darkest. Below the first a value is shown in the
            colour of the student alone, as dark at as far below.
        look: the name of a model.
        best: the row and the column of what is framed.
    """
    low, high = limits
    head = "".join(
        f'<th scope="col"><span>{html.escape(label(name))}</span></th>' for name in columns
    )
    body = []
    for row, (name, numbers) in enumerate(zip(rows, values, strict=True)):
        cells = []
        for column, value in enumerate(numbers):
            text = "" if value != value else form.format(value)
            text = "" if low == 0 and not text.strip("+-0.") else text
            # Half of the colour at most: the ink is read on it.
            share = 0.5 * min(abs(value - low) / ((high - low) or 1), 1) if text else 0
            less = " student_alone" if value < low else ""
            framed = " best" if (row, column) == best else ""
            classes = f' class="{(less + framed).strip()}"' if less or framed else ""
            cells.append(f'<td{classes} style="--v:{share:.2f}">{text}</td>')
        body.append(f'<tr><th scope="row">{html.escape(label(name))}</th>{"".join(cells)}</tr>')
    shape = (" tall" if max(map(len, columns)) > 3 else "") + (" many" if len(columns) > 12 else "")
    return (
        f'<div class="wide"><table class="matrix {look}{shape}"><caption>{html.escape(title)}'
        f"</caption><tr><td></td>{head}</tr>{''.join(body)}</table></div>"
    )


def strips(rows, alt, *, within=(-np.inf, np.inf), zero=False):
    """Return rows of dots and lines over one axis, and where that begins.

    Args:
        rows: of each, `(name, [(model, low, middle, high)], text)`; one below the other if they
            are several. Without a spread `low` and `high` are `None`.
        alt: what is shown, in words.
        within: what the axis never leaves.
        zero: whether the axis holds 0, with a line there.
    """
    from matplotlib.ticker import MaxNLocator

    found = [value for _, marks, _ in rows for _, *values in marks for value in values]
    found = [value for value in found if value is not None and value == value] + [0] * zero
    margin = 0 if max(found) > min(found) else 1
    ticks = MaxNLocator(5).tick_values(min(found) - margin, max(found) + margin)
    ticks = np.unique(np.clip(ticks, *within))
    first, last = ticks[0], ticks[-1]

    def at(value):
        return f"{100 * (value - first) / (last - first):.2f}%"

    lines = "".join(f'<i class="grid" style="left:{at(tick)}"></i>' for tick in ticks)
    lines += f'<i class="zero" style="left:{at(0)}"></i>' if zero else ""
    body = []
    for name, marks, text in rows:
        drawn = []
        for number, (model, low, middle, high) in enumerate(marks):
            lane = f"--lane:{_LANE * (number - (len(marks) - 1) / 2):g}px"
            if low is not None and low < high:
                width = f"{100 * (high - low) / (last - first):.2f}%"
                style = f"left:{at(low)};width:{width};{lane}"
                drawn.append(f'<i class="line {model}" style="{style}"></i>')
            if middle == middle:  # There is something to be right about.
                drawn.append(f'<i class="dot {model}" style="left:{at(middle)};{lane}"></i>')
        body.append(
            f'<div class="strip"><span>{html.escape(label(name))}</span><span class="track">{lines}'
            f"{''.join(drawn)}</span><span>{html.escape(text)}</span></div>"
        )
    numbers = "".join(f'<i style="left:{at(tick)}">{tick:g}</i>' for tick in ticks)
    longest = max(len(label(name)) for name, *_ in rows)
    width = max(len(text) for *_, text in rows)
    stacked = " stacked" if max(longest, width) > _SHORT else ""
    shown = (
        f'<div class="strips{stacked}" role="img" aria-label="{html.escape(alt)}" '
        f'style="--name:{longest}ch;--text:{width}ch">{"".join(body)}<div class="strip axis">'
        f'<span></span><span class="track">{numbers}</span><span></span></div></div>'
    )
    return shown, first
