"""What is shown: plain, whole at any width, and no reason to end for who writes it."""

import io
import logging
import os
import re

import pytest

from keras_kd._common.console import Console, Table
from keras_kd._common.terminal import printable, wrapped

NASTY = "[/red][bold]\x1b[31mx\x1b]0;title\x07 \x9b2J\u202e\u2066y\r\nz\u2028\udc80"


def shown(table, width):
    console = Console(width=width, file=io.StringIO())
    console.show(table)
    return console.file.getvalue()


def of_run():
    columns = ["", "accuracy", "NLL", "agreement", "parameters", "file"]
    table = Table(
        "digits, seed 0: 1,234 test images, read once", columns, caption="NLL: likelihood."
    )
    table.add_row("teacher", "0.9612", "0.1234", "", "134,794", "1,234 KB")
    table.add_row("student distilled", "0.9343", "0.2345", "0.9321", "12,345", "56 KB", bold=True)
    return table


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 200])
def test_no_number_is_cut_at_any_width(width):
    text = shown(of_run(), width)
    assert "…" not in text and "..." not in text
    words = text.split()
    for number in ("0.9612", "0.1234", "134,794", "1,234", "0.9343", "0.9321", "12,345", "56"):
        assert number in words
    longest = max(map(len, ("agreement", "parameters"))) + len("  134,794 ")
    assert max(map(len, text.splitlines())) <= max(width, longest)


def test_a_wide_terminal_has_a_row_a_line_and_a_narrow_one_a_line_a_cell():
    wide, narrow = shown(of_run(), 80).splitlines(), shown(of_run(), 40).splitlines()
    assert any(
        re.fullmatch(r" *teacher +0\.9612 +0\.1234 +134,794 +1,234 KB *", line) for line in wide
    )
    assert "student distilled" in narrow and "  parameters 12,345" in narrow


def test_a_path_is_never_broken_and_a_sentence_only_between_words():
    path = "/a/very/long/path/of/a/run/that/no-terminal-of-forty/columns-holds"
    lines = wrapped(f"The folder must be new. Received: {path}, which holds a run.", 40)
    assert [line for line in lines if path in line] == [f"{path},"]
    assert " ".join(lines) == f"The folder must be new. Received: {path}, which holds a run."
    assert all(len(line) <= 40 for line in lines if path not in line)
    table = Table("", ["run", "state"], left=(0, 1))
    table.add_row(path, "finished")
    assert path in shown(table, 40).splitlines()


def test_what_comes_from_outside_is_shown_and_never_obeyed():
    table = Table(NASTY, ["", NASTY], caption=NASTY)
    table.add_row(NASTY, NASTY)
    console = Console(width=400, file=io.StringIO())
    console.show(table)
    console.say(NASTY)
    text = console.file.getvalue()
    assert "[/red][bold]" in text and r"\x1b[31mx" in text and r"\u202e" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e\u2066\ud800-\udfff]", text)
    assert text.count("\n") == len(text.splitlines())
    text.encode()


@pytest.mark.parametrize("text", ["½ é 猫 🐈 ±", "a\u200db", "नमस्ते"])
def test_every_script_stays_as_it_is(text):
    assert printable(text) == text


def test_nobody_who_reads_is_no_reason_to_end():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        console = Console(file=file)
        for _ in range(3):
            console.say("on and on")
            console.show(of_run())
        assert console.quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def test_words_are_broken_before_a_row_is():
    table = Table("", ["", "settings", "accuracy"], left=(0, 1), broken=(1,))
    table.add_row("trial_007 *", "SoftTargets T=3.64 alpha=0.849 rate=3.42e-06", "0.1259")
    lines = [line for line in shown(table, 50).splitlines() if line.strip()]
    assert any(re.search("trial_007 \\* .*SoftTargets .* 0.1259", line) for line in lines)
    assert all(len(line) <= 50 for line in lines)
    assert "rate=3.42e-06" in " ".join(lines).split()
    assert "  accuracy 0.1259" in shown(table, 30).splitlines()


def test_no_width_hides_a_cell_or_breaks_a_name():
    path = "/tmp/some/where/run_with_a_long_name"
    table = Table("", ["run", "recipe", "seeds", "state", "at"], left=range(5), broken=(2, 4))
    table.add_row(path, "search digits", "0, 1, 2", "finished", "distilled 0.4903, alone 0.4123")
    for width in range(30, 120):
        text = shown(table, width)
        assert max(map(len, text.splitlines())) <= max(width, len(path))
        assert path in text and "search digits" in text and "finished" in text
        assert text.split().count("0.4903,") == text.split().count("0.4123") == 1


def test_a_pipe_takes_a_row_a_line_however_wide(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert max(map(len, shown(wide(), None).splitlines())) > 200
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, shown(wide(), None).splitlines())) <= 60


def wide():
    table = Table("", ["", *(f"column {number}" for number in range(20))])
    table.add_row("name", *(f"{number}" for number in range(20)))
    return table


@pytest.fixture
def log():
    """The lines of the program's own log."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("keras_kd")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_a_log_of_the_program_gets_every_line_and_nothing_is_printed(log, capsys):
    console = Console(force_terminal=True, width=40)
    sentence = "A sentence that is longer than a terminal of forty columns, \x1b[2Jand plain."
    console.say(sentence, "")
    console.show(of_run())
    with console.status("working"):
        pass
    assert not console.is_live and capsys.readouterr() == ("", "")
    assert log[0] == printable(sentence)
    assert [line.split()[0] for line in log[1:]] == [
        "digits,", "accuracy", log[3].split()[0], "teacher", "student", "NLL:",
    ]  # fmt: skip
    assert not any("\x1b" in line or "\n" in line for line in log)
    Console(quiet=True).say("not this")
    assert len(log) == 7


def test_without_a_handler_of_its_own_the_root_log_is_left_alone(caplog, capsys):
    with caplog.at_level(logging.DEBUG):
        Console().say("on the terminal")
    assert capsys.readouterr().out == "on the terminal\n" and not caplog.records


def test_a_row_has_its_colour_on_a_terminal_and_nowhere_else():
    table = Table("", ["", "accuracy"])
    table.add_row("student", "0.9", colour="#0072b2")
    terminal = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=80)
    terminal.show(table)
    assert "\x1b[38;2;0;114;178mstudent\x1b[0m" in terminal.file.getvalue()
    assert "\x1b" not in shown(table, 80)
