"""What files hold reaches the terminal as text."""

import io

import pytest
import rich.table

from keras_kd._common.console import Console
from keras_kd._common.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("Müller-猫", "Müller-猫"),
        ("[red]", "[red]"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\nc\x07", "a\\rb\\nc\\x07"),
        ("abc\u202edef", "abc\\u202edef"),
        ("\udce9", "\\udce9"),
        ("👩\u200d🔬", "👩\u200d🔬"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown):
    assert printable(text) == shown


def test_a_console_takes_no_string_for_markup_nor_for_a_command():
    out = io.StringIO()
    console = Console(file=out, width=100)
    name = "[/red]\x1b]0;title\x07"
    table = rich.table.Table(title=name, caption=name)
    table.add_column(name)
    table.add_row(name)
    console.print(name)
    console.print(table)
    said = out.getvalue()
    assert said.count("[/red]\\x1b]0;title\\x07") == 5 and "\x1b" not in said


def test_lines_of_a_run_pass_through_it(capsys):
    from keras_kd.runs.progress import Progress

    Progress().say("class [/b] \x1b[2J")
    assert capsys.readouterr().out == "class [/b] \\x1b[2J\n"
