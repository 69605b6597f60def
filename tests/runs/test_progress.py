"""What a training shows: a line that moves, a line now and then, or records in a log."""

import io
import logging
import re
import types

import pytest

from keras_kd._common.console import Console
from keras_kd.runs import progress
from keras_kd.runs.progress import Progress, that_fits

LOGS = {"loss": 0.5, "val_accuracy": 0.9}


def train(shown, epochs=5):
    """Tell a `Progress` of a training, as a fit does."""
    stopping = types.SimpleNamespace(
        restore_best_weights=True, best=0.9123, best_epoch=3, patience=10, wait=0
    )
    checkpoint = types.SimpleNamespace(epoch=0, seconds=61, num_epochs=lambda name: epochs)
    with shown.of("student", epochs, {"student": stopping}, checkpoint) as display:
        callback = display.callback("student")
        for epoch in range(epochs):
            callback.on_epoch_begin(epoch)
            callback.on_epoch_end(epoch, LOGS)


LAST = "student distilled 5 epochs in 1:01, best val_accuracy 0.9123 in epoch 4"


@pytest.mark.parametrize("width", [60, 80])
def test_a_terminal_shows_one_line_that_moves_and_keeps_the_last(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    train(Progress(console=console))
    said = console.file.getvalue()
    assert "\x1b[2K" in said  # The line is drawn over.
    kept = said.split("\x1b[2K")[-1].split()
    assert " ".join(kept).endswith(LAST)
    plain = re.sub("\x1b\\[[?0-9;]*[A-Za-z]", "\n", said).replace("\r", "\n")
    assert all(len(line) <= width for line in plain.split("\n"))


@pytest.mark.parametrize(("seconds", "lines"), [(0, 5), (3600, 0)])
def test_a_file_gets_a_line_now_and_then_and_one_at_the_end(seconds, lines, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds)
    train(Progress())
    said = capsys.readouterr().out.splitlines()
    assert len(said) == lines + 1 and said[-1] == LAST
    assert all(re.match(r"student distilled \d/5 loss 0\.500", line) for line in said[:-1])


def test_a_log_gets_the_same_lines_and_the_terminal_none(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    logger, handler = logging.getLogger("keras_kd"), logging.FileHandler(tmp_path / "log")
    logger.addHandler(handler)
    try:
        train(Progress(console=Console(force_terminal=True)))
    finally:
        logger.removeHandler(handler)
        handler.close()
    said = (tmp_path / "log").read_text()
    assert len(said.splitlines()) == 6 and said.endswith(f"{LAST}\n") and "\x1b" not in said
    assert capsys.readouterr() == ("", "")


def test_a_notebook_draws_over_one_line(monkeypatch):
    display = pytest.importorskip("IPython.display")
    drawn = []
    handle = types.SimpleNamespace(update=lambda data, raw: drawn.append(data["text/plain"]))
    monkeypatch.setattr(display, "display", lambda *_, **__: handle)
    console = Console(force_jupyter=True, file=io.StringIO())
    train(Progress(console=console))
    assert drawn[0].startswith("student distilled 1/5 loss 0.500")
    assert len(drawn) == 6 and drawn[-1] == ""  # What is said of it at the end takes its place.


def test_nothing_is_shown_where_nothing_is_asked_for(capsys):
    train(Progress(verbose=False))
    assert capsys.readouterr() == ("", "")


def test_a_number_is_left_out_before_it_is_cut():
    assert that_fits(["5/9", "loss 0.123", "val_accuracy 0.9876"], 14) == "5/9 loss 0.123"
    assert that_fits(["5/9", "loss 0.123"], 13) == "5/9"
