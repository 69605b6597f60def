"""The figures of the report page that need axes, as SVG text; each is wide as a phone."""

import contextlib
import html
import io

import numpy as np

from keras_kd._common.looks import known, look_of
from keras_kd._common.pictures import label_points, plain_text
from keras_kd.runs.progress import title_of

_NUM_BINS = 15
# Inches, of 96 CSS pixels: as wide as a phone leaves, with text of 9 points, 12 pixels.
_SIZE = (3.7, 2.9)
# Times as large: then sizes are drawn by their logarithm.
_MANY = 5
# No colour of ours: the page puts that of its text in its place.
_INK = "#010203"


@contextlib.contextmanager
def for_the_page():
    """Draw without a background, in the ink of the page, text as text. For decorators too."""
    import matplotlib

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    settings = {
        **dict.fromkeys(inked, _INK),
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _INK,
        "grid.alpha": 0.15,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",
        # Nothing in it depends on when it was drawn.
        "svg.hashsalt": "keras_kd",
    }
    with plain_text(), matplotlib.rc_context(settings):
        yield


@for_the_page()
def svg(figure, alt):
    """Return a `matplotlib.figure.Figure` as the text of an SVG element.

    Args:
        figure: drawn in `for_the_page`.
        alt: what it shows, in words.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    found = text.getvalue()[text.getvalue().index("<svg") :].replace(_INK, "currentColor")
    return found.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)


@for_the_page()
def curves(curves_of_seeds):
    """Return SVGs of accuracy by epoch, a line for each model and seed.

    On validation, its last half again, closer, and on what was trained on.

    Args:
        curves_of_seeds: a list of `{name: curves}`; a name without a look is drawn in grey.
    """
    every = [logs for of_seed in curves_of_seeds for logs in of_seed.values()]
    half = max(len(logs["val_accuracy"]) for logs in every) // 2
    last = [value for logs in every for value in logs["val_accuracy"][half:]]
    panels = [("val_accuracy", "on validation", None)]
    if half > 1 and max(last) > min(last):
        margin = 0.05 * (max(last) - min(last))
        limits = (min(last) - margin, max(last) + margin)
        panels.append(("val_accuracy", "on validation, closer", limits))
    if all(logs.get("accuracy") for logs in every):
        panels.append(("accuracy", "in training", None))
    svgs = []
    for key, title, limits in panels:
        figure = new_figure()
        axes = figure.subplots()
        for of_seed in curves_of_seeds:
            for name, logs in of_seed.items():
                look = look_of(name)
                epochs, kept = np.arange(1, len(logs[key]) + 1), [logs["best_epoch"] - 1]
                axes.plot(
                    epochs, logs[key], color=look.colour, linestyle=look.line, linewidth=1.2,
                    marker=look.marker, markevery=kept, markersize=5,
                )  # fmt: skip
        if limits:
            axes.set(ylim=limits, xlim=(half + 0.9, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(title=f"accuracy {title}", xlabel="epoch")
        svgs.append(svg(figure, f"Accuracy {title} by epoch. {_at_best(curves_of_seeds, key)}"))
    return svgs


def _at_best(curves_of_seeds, key):
    """Return in words what models had in the epochs that were kept."""
    said = []
    for name in known({name for of_seed in curves_of_seeds for name in of_seed}):
        found = [of_seed[name] for of_seed in curves_of_seeds if name in of_seed]
        values = [100 * logs[key][logs["best_epoch"] - 1] for logs in found]
        said.append(f"{title_of(name)} {np.mean(values):.2f} %")
    return f"In the epochs kept: {', '.join(said)}."


@for_the_page()
def reliability(predictions):
    """Return an SVG of accuracy by confidence for each model, over all seeds.

    Args:
        predictions: `{name: (confidences, correct)}`, arrays of one length.
    """
    edges = np.linspace(0, 1, _NUM_BINS + 1)
    svgs = []
    for name, (confidences, correct) in predictions.items():
        figure = new_figure()
        axes = figure.subplots()
        bins = np.clip(np.ceil(confidences * _NUM_BINS).astype(int) - 1, 0, _NUM_BINS - 1)
        counts = np.bincount(bins, minlength=_NUM_BINS)
        shares = np.bincount(bins, correct, minlength=_NUM_BINS) / np.maximum(counts, 1)
        colour = look_of(name).colour
        axes.bar(edges[:-1], shares, 1 / _NUM_BINS, align="edge", color=colour, alpha=0.7)
        axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=1)
        axes.plot(edges[:-1] + 0.5 / _NUM_BINS, counts / counts.sum(), color=_INK, linewidth=0.8)
        axes.set(xlim=(0, 1), ylim=(0, 1), title=title_of(name))
        axes.set(xlabel="confidence", ylabel="accuracy")
        alt = f"{title_of(name)}: accuracy by confidence; on average {100 * confidences.mean():.1f}"
        svgs.append(svg(figure, f"{alt} % sure and {100 * correct.mean():.1f} % right."))
    return svgs


@for_the_page()
def files(points):
    """Return an SVG of files, accuracy over size.

    Args:
        points: of each, `(title, bytes, accuracy, look)`.
    """
    figure = new_figure()
    axes = figure.subplots()
    for _, size, accuracy, look in points:
        axes.plot(size / 1000, 100 * accuracy, look.marker, color=look.colour, markersize=5)
    sizes = [size for _, size, *_ in points]
    if max(sizes) > _MANY * min(sizes):
        by_logarithm(axes)
    axes.margins(0.15, 0.2)
    axes.set(title="accuracy on the test split, %", xlabel="size in KB")
    named = [(size / 1000, 100 * accuracy, title, _INK) for title, size, accuracy, _ in points]
    label_points(figure, axes, named, size=9)
    said = [f"{title} {size / 1000:,.0f} KB {100 * each:.2f} %" for title, size, each, _ in points]
    return svg(figure, f"Accuracy over size: {'; '.join(said)}.")


def by_logarithm(axes):
    """Scale the horizontal axis by logarithms; the formatters it comes with write formulas."""
    from matplotlib.ticker import LogFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))


def new_figure():
    """Return an empty figure of the page."""
    # Not pyplot: it would keep state in, and choose a window for, the caller's program.
    from matplotlib.figure import Figure

    return Figure(figsize=_SIZE, layout="constrained")
