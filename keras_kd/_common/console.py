"""What is shown on a terminal: plain text of any width, whoever reads it and whoever wrote it."""

import rich.box
import rich.cells
import rich.console
import rich.measure
import rich.table
import rich.text

from keras_kd._common.terminal import printable, wrapped

_INDENT = "  "
_BOUNDLESS = 100_000


class Console(rich.console.Console):
    """A `rich` console for which no string is markup, and none holds an escape sequence.

    Names of classes, models, files and runs come from files of others: `"[/red]"` would be taken
    for markup, and `"\\x1b]0;"` sets a terminal's title. What works goes on when nobody reads any
    more.
    """

    def __init__(self, **options):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text, **options):
        return super().render_str(printable(text, kept="\n\t"), **options)

    def on_broken_pipe(self):
        """Fall silent: `| head -1` has what it wanted."""
        self.quiet = True

    def say(self, *lines):
        """Show sentences, on a terminal broken between words."""
        for line in lines:
            for part in wrapped(line, self.width if self.is_terminal else None):
                self.print(rich.text.Text(part), soft_wrap=True)

    def show(self, table):
        """Show a `Table`; no line of it is cut."""
        self.print(table, crop=False)


class Table:
    """A table of texts. Where it is too wide for a terminal, each row is shown line by line.

    Args:
        title: a sentence above it; none if empty.
        columns: what they are called. The first holds names.
        caption: a sentence below it.
        left: numbers of the columns that hold words, which may be broken between them but for the
            first; the others hold numbers.
        padding: blanks between two columns.
    """

    def __init__(self, title, columns, *, caption="", left=(0,), padding=1):
        self.title, self.columns, self.caption = title, list(columns), caption
        self.left, self.padding = left, padding
        self._rows = []

    def add_row(self, *cells, bold=False):
        """Add a row; cells that are left out are empty."""
        empty = [""] * (len(self.columns) - len(cells))
        self._rows.append(([printable(cell) for cell in (*cells, *empty)], bold))

    def add_section(self):
        """Draw a line below the rows that there are."""
        self._rows.append((None, False))

    def __rich_console__(self, console, options):
        wide = self._wide()
        yield from _lines(self.title, options.max_width, "italic")
        boundless = options.update(max_width=_BOUNDLESS)
        if rich.measure.Measurement.get(console, boundless, wide).minimum <= options.max_width:
            yield wide
        else:
            yield from self._narrow(options.max_width)
        yield from _lines(self.caption, options.max_width, "dim italic")

    def _wide(self):
        wide = rich.table.Table(
            box=rich.box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
            padding=(0, self.padding),
        )
        for number, column in enumerate(self.columns):
            texts = [printable(column), *(cells[number] for cells, _ in self._rows if cells)]
            broken = number > 0 and number in self.left  # Between words.
            parts = [part for text in texts for part in (text.split() if broken else [text])]
            wide.add_column(
                rich.text.Text(texts[0]),
                justify="left" if number in self.left else "right",
                no_wrap=not broken,
                min_width=max(map(rich.cells.cell_len, parts), default=0),
            )
        for cells, bold in self._rows:
            if cells is None:
                wide.add_section()
            else:
                style = "bold" if bold else None
                wide.add_row(*map(rich.text.Text, cells), style=style)
        return wide

    def _narrow(self, width):
        longest = max(map(len, self.columns))
        for cells, bold in self._rows:
            if cells is None:
                continue
            style = "bold" if bold else ""
            yield from _lines(cells[0], width, style)
            for column, cell in zip(self.columns[1:], cells[1:], strict=True):
                if cell:
                    head = f"{_INDENT}{printable(column):<{longest}} "
                    first, *others = wrapped(cell, max(width - len(head), 1))
                    yield _line(head + first, style)
                    yield from (_line(" " * len(head) + other, style) for other in others)


def _lines(text, width, style):
    if text:
        yield from (_line(part, style) for part in wrapped(text, width))


def _line(text, style):
    return rich.text.Text(text, style=style, no_wrap=True, overflow="ignore")
