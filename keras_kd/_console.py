"""The console of everything that is shown: text is text, whatever a file holds."""

import rich.console

from keras_kd._terminal import printable


class Console(rich.console.Console):
    """A `rich` console for which no string is markup, and none holds an escape sequence.

    Names of classes, models, files and runs come from files of others: `"[/red]"` would be taken
    for markup, and `"\\x1b]0;"` sets a terminal's title.
    """

    def __init__(self, **options):
        super().__init__(highlight=False, markup=False, **options)

    def render_str(self, text, **options):
        return super().render_str(printable(text, kept="\n\t"), **options)
