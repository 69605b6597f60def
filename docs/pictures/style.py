"""One look for all pictures of the site: white, so that they read on light and dark pages alike."""

import argparse
import contextlib
import io
import re
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from keras_kd._common.looks import LOOKS

HERE = Path(__file__).parent
INK, PALE, FAINT = "#222222", "#666666", "#e4e4e4"
TEACHER, STUDENT = LOOKS["teacher"].colour, LOOKS["student"].colour
# What a step of training does; and what it is compared with.
PULL, OTHER = LOOKS["student_alone"].colour, LOOKS["label_smoothing"].colour

_SETTINGS = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "axes.edgecolor"), PALE),
    **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), INK),
    # Measured in the widest of them, shown in what the reader has.
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    # Text as text: a fifth of the bytes.
    "svg.fonttype": "none",
    # Nothing in it depends on when it was drawn.
    "svg.hashsalt": "keras_kd",
}


@contextlib.contextmanager
def styled():
    """Draw as all pictures are drawn. For decorators too."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def panels(widths, height=2.6, width=7.6, **options):
    """Return a figure and its axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(widths), width_ratios=widths, **options)
    return figure, np.atleast_1d(axes)


def save(figure, path):
    """Write a picture as SVG, the same bytes each time, in hundredths of a point."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    path.write_text(re.sub(r'"[^"]*"', _rounded, text.getvalue()))


def _rounded(attribute):
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", attribute[0])


def facts():
    """Return what `facts.py` found."""
    return np.load(HERE / "facts.npz")


def series(number):
    """Return the colours of several settings of one thing; the middle one is that of the pull."""
    others = [STUDENT, OTHER, LOOKS["soft_targets"].colour]
    return [*others[: number // 2], PULL, *others[number // 2 : number - 1]]


def softmax(logits):
    powers = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def without_axes(axes, title):
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title)
    for spine in axes.spines.values():
        spine.set_visible(False)


def image(axes, pixels, title=""):
    axes.imshow(np.squeeze(pixels), cmap="gray_r")
    without_axes(axes, title)


def draw_by_command(draw_all, doc, *, names):
    """Draw what the command line names.

    Args:
        draw_all: from a folder and names, draws these.
        doc: docstring of the script.
        names: what a name is of, for the help.
    """
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=names)
    parser.add_argument("--to", type=Path, default=HERE, help="folder of the pictures")
    arguments = parser.parse_args()
    draw_all(arguments.to, arguments.names)
