"""What is shown on a terminal: plain text of any width, whoever reads it and whoever wrote it."""

import html
import logging
import os

import rich.cells
import rich.console
import rich.text

from keras_kd._common.terminal import printable, wrapped

LOGGER = logging.getLogger("keras_kd")
if LOGGER.level == logging.NOTSET:
    LOGGER.setLevel(logging.INFO)  # Whoever hands it a handler wants to read what happens.

_INDENT = "  "
# A column of words is broken between them down to so many characters, if its words allow.
_LEAST = 16
# A notebook scrolls sideways beyond; `rich` takes its cells for wider than most are.
_NOTEBOOK = 90


class Console(rich.console.Console):
    """A `rich` console for which no string is markup, and none holds an escape sequence.

    Names of classes, models, files and runs come from files of others: `"[/red]"` would be taken
    for markup, and `"\\x1b]0;"` sets a terminal's title. What works goes on when nobody reads any
    more.

    Where the program gave the logger `keras_kd` a handler, every line is a record there, and
    nothing is printed.

    Args:
        quiet: show nothing.
        width: in characters; that of the terminal if `None`.
        **options: of `rich.console.Console`.
    """

    def __init__(self, *, quiet=False, width=None, **options):
        self.is_logged = bool(LOGGER.handlers) and not quiet
        plain = {"highlight": False, "markup": False, "emoji": False}
        super().__init__(quiet=quiet or self.is_logged, width=width, **plain, **options)
        self._bounded = width is not None or self.is_terminal

    def render_str(self, text, **options):
        return super().render_str(printable(text, kept="\n\t"), **options)

    def on_broken_pipe(self):
        """Fall silent: `| head -1` has what it wanted."""
        self.quiet = True

    @property
    def is_live(self):
        """Whether a line can be drawn over."""
        return self.is_terminal and not self.quiet

    @property
    def sentence_width(self):
        """How long a line of a sentence may be; `None`: a file or a pipe takes any."""
        if self.is_jupyter:
            return min(self.width, _NOTEBOOK)
        return self.width if self._bounded else None

    @property
    def table_width(self):
        """The same of a table, for which `COLUMNS` counts in a pipe too."""
        return self.sentence_width or (self.width if "COLUMNS" in os.environ else None)

    def say(self, *lines):
        """Show sentences, on a terminal broken between words."""
        self._log(lines)
        for line in lines:
            for part in wrapped(line, self.sentence_width):
                self.print(rich.text.Text(part), soft_wrap=True)

    def show(self, table):
        """Show a `Table`; no line of it is cut."""
        self._log([line.plain for line in table.lines(None)])
        # At once, since a notebook makes a block of each.
        self.print(rich.text.Text("\n").join(table.lines(self.table_width)), soft_wrap=True)

    def _log(self, lines):
        if self.is_logged:
            for line in filter(None, lines):
                LOGGER.info("%s", printable(line))


class Table:
    """A table of texts. Where it is too wide for a terminal, each row is shown line by line.

    Args:
        title: a sentence above it; none if empty.
        columns: what they are called. The first holds names.
        caption: a sentence below it.
        left: numbers of the columns that begin at the left; the others hold numbers.
        broken: numbers of those that hold sentences, which may be broken between words.
        padding: blanks between two columns.
    """

    def __init__(self, title, columns, *, caption="", left=(0,), broken=(), padding=2):
        self.title, self.columns, self.caption = (
            title,
            [printable(each) for each in columns],
            caption,
        )
        self.left, self.broken, self.padding = left, broken, padding
        self._rows = []

    def add_row(self, *cells, bold=False, colour=""):
        """Add a row; cells that are left out are empty.

        Args:
            *cells: texts.
            bold: whether it is the one to see.
            colour: of its name on a terminal, such as `"#0072b2"`.
        """
        empty = [""] * (len(self.columns) - len(cells))
        cells = [printable(cell) for cell in (*cells, *empty)]
        self._rows.append((cells, "bold" if bold else "", colour))

    def add_section(self):
        """Draw a line below the rows that there are."""
        self._rows.append((None, "", ""))

    def lines(self, width):
        """Return the table as `rich` texts, a line each.

        Args:
            width: of the terminal in characters; `None` where a line may have any.
        """
        widths = self._widths(width)
        body = self._narrow(width) if widths is None else self._wide(widths)
        head = [_line(part, "italic") for part in wrapped(self.title, width) if part]
        foot = [_line(part, "dim italic") for part in wrapped(self.caption, width) if part]
        return [*head, *body, *foot]

    def __rich_console__(self, console, options):
        yield from self.lines(options.max_width)

    def as_html(self):
        """Return the table as HTML, for a notebook."""
        sides = ["left" if number in self.left else "right" for number in range(len(self.columns))]
        styles = [f"text-align: {side}; padding: 0.1em 0.7em" for side in sides]
        rows = [_html_row("th", self.columns, styles)]
        for cells, style, colour in self._rows:
            weight = "; font-weight: bold" if style else ""
            own = [f"{each}{weight}" for each in styles]
            own[0] += f"; color: {colour}" if colour else ""
            rows += [_html_row("td", cells, own)] if cells else []
        body = "".join(rows)
        title, caption = (html.escape(printable(text)) for text in (self.title, self.caption))
        return f"<p>{title}</p><table>{body}</table><p><small>{caption}</small></p>"

    def _widths(self, width):
        """Return how wide each column is, `None` if they do not fit."""
        texts = [[name] for name in self.columns]
        for cells, _, _ in self._rows:
            for number, cell in enumerate(cells or ()):
                texts[number].append(cell)
        widths = [max(map(rich.cells.cell_len, column)) for column in texts]
        if width is None:
            return widths
        over = sum(widths) + self.padding * (len(widths) - 1) - width
        for number in self.broken:
            words = [word for text in texts[number] for word in text.split()]
            least = max([min(_LEAST, widths[number]), *map(rich.cells.cell_len, words)])
            taken = max(min(over, widths[number] - least), 0)
            widths[number] -= taken
            over -= taken
        return None if over > 0 else widths

    def _wide(self, widths):
        rule = "─" * (sum(widths) + self.padding * (len(widths) - 1))
        yield from self._row(self.columns, widths, "bold")
        yield _line(rule, "")
        for cells, style, colour in self._rows:
            if cells is None:
                yield _line(rule, "")
            else:
                yield from self._row(cells, widths, style, colour)
        yield _line("", "")

    def _row(self, cells, widths, style, colour=""):
        """Return the lines of a row: more than one where a sentence is broken."""
        parts = [
            wrapped(cell, width) if number in self.broken else [cell]
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        for index in range(max(map(len, parts))):
            texts = [part[index] if index < len(part) else "" for part in parts]
            blanks = [
                " " * (width - rich.cells.cell_len(text))
                for text, width in zip(texts, widths, strict=True)
            ]
            padded = [
                text + blank if number in self.left else blank + text
                for number, (text, blank) in enumerate(zip(texts, blanks, strict=True))
            ]
            line = _line((" " * self.padding).join(padded).rstrip(), style)
            line.stylize(colour, 0, len(texts[0]))
            yield line

    def _narrow(self, width):
        longest = max(map(len, self.columns))
        for cells, style, colour in self._rows:
            if cells is None:
                continue
            yield from (
                _line(part, f"{style} {colour}".strip()) for part in wrapped(cells[0], width)
            )
            for column, cell in zip(self.columns[1:], cells[1:], strict=True):
                if cell:
                    head = f"{_INDENT}{column:<{longest}} "
                    first, *others = wrapped(cell, max(width - len(head), 1))
                    yield _line(head + first, style)
                    yield from (_line(" " * len(head) + other, style) for other in others)


def _line(text, style):
    return rich.text.Text(text, style=style, no_wrap=True, overflow="ignore")


def _html_row(kind, cells, styles):
    cells = [
        f'<{kind} style="{style}">{html.escape(cell)}</{kind}>'
        for cell, style in zip(cells, styles, strict=True)
    ]
    return f"<tr>{''.join(cells)}</tr>"
