"""The figures of the report page, as SVG text."""

import io

import numpy as np

from keras_kd._common.pictures import labels, plain_text
from keras_kd.runs.progress import title_of

COLOURS = {
    "teacher": "#555555",
    "student": "#0072b2",
    "student_alone": "#d55e00",
    "label_smoothing": "#009e73",
    "soft_targets": "#cc79a7",
}
_NUM_BINS = 15


@plain_text()
def svg(figure):
    """Return a `matplotlib.figure.Figure` as the text of an SVG element."""
    import matplotlib

    text = io.StringIO()
    # Text stays text; nothing in it depends on when it was drawn.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "keras_kd"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


@plain_text()
def curves(curves_of_seeds):
    """Draw validation accuracy by epoch, a line for each model and seed.

    Args:
        curves_of_seeds: a list of `{name: curves}`; a name without a colour is drawn in grey.
    """
    figure = _figure(9, 4.5)
    axes = figure.subplots()
    for curves_ in curves_of_seeds:
        for name, logs in curves_.items():
            colour = COLOURS.get(name, "#cccccc")
            epochs = np.arange(1, len(logs["val_accuracy"]) + 1)
            axes.plot(epochs, logs["val_accuracy"], color=colour, linewidth=1, alpha=0.8)
            best = logs["best_epoch"]
            axes.plot(best, logs["val_accuracy"][best - 1], "o", color=colour, markersize=4)
    for name in _in_order({name for curves_ in curves_of_seeds for name in curves_}):
        axes.plot([], [], color=COLOURS[name], label=title_of(name))
    axes.plot([], [], "o", color="black", markersize=4, label="best epoch, kept")
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy on validation images")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


@plain_text()
def per_class(accuracies, class_names):
    """Draw the accuracy on each class, models side by side, with the spread over seeds.

    Args:
        accuracies: `{name: [num_seeds, num_classes]}`.
        class_names: one string a class.
    """
    figure = _figure(max(7, 0.9 * len(class_names) + 2), 4.2)
    axes = figure.subplots()
    names = _in_order(accuracies)
    width = 0.8 / len(names)
    places = np.arange(len(class_names))
    lowest = min(np.nanmin(values) for values in accuracies.values())
    for number, name in enumerate(names):
        values = np.asarray(accuracies[name])
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
        offset = (number - (len(names) - 1) / 2) * width
        axes.bar(
            places + offset,
            100 * values.mean(axis=0),
            width,
            yerr=None if spread is None else 100 * spread,
            error_kw={"linewidth": 0.8},
            color=COLOURS[name],
            label=title_of(name),
        )
    axes.set_ylim(max(0, 100 * lowest - 10), 101)
    axes.set_xticks(places, labels(class_names), rotation=30, ha="right")
    axes.set_ylabel("accuracy on test images, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return figure


@plain_text()
def confusions(matrices, class_names):
    """Draw the confusion matrix of each model, and what distillation changed in it.

    Args:
        matrices: `{name: [num_classes, num_classes]}`, shares of each label's row.
        class_names: one string a class.
    """
    names = _in_order(matrices)
    size = 2.2 + 0.25 * len(class_names)
    num_rows = -(-(len(names) + 1) // 2)
    figure = _figure(2 * size, num_rows * size)
    grid = figure.subplots(num_rows, 2).ravel()
    for axes, name in zip(grid, names, strict=False):
        _matrix(axes, 100 * matrices[name], class_names, title_of(name), "Blues", (0, 100))
    difference = 100 * (matrices["student"] - matrices["student_alone"])
    reach = max(1.0, np.abs(difference).max())
    title = "distilled - alone, points"
    limits = (-reach, reach)
    _matrix(grid[len(names)], difference, class_names, title, "RdBu", limits, "{:+.1f}")
    return figure


@plain_text()
def reliability(predictions):
    """Draw accuracy by confidence for each model, over all seeds.

    Args:
        predictions: `{name: (confidences, correct)}`, arrays of one length.
    """
    names = _in_order(predictions)
    figure = _figure(3.3 * len(names), 3.4)
    edges = np.linspace(0, 1, _NUM_BINS + 1)
    for axes, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        confidences, correct = predictions[name]
        bins = np.clip(np.ceil(confidences * _NUM_BINS).astype(int) - 1, 0, _NUM_BINS - 1)
        counts = np.bincount(bins, minlength=_NUM_BINS)
        shares = np.bincount(bins, correct, minlength=_NUM_BINS) / np.maximum(counts, 1)
        axes.bar(edges[:-1], shares, 1 / _NUM_BINS, align="edge", color=COLOURS[name], alpha=0.75)
        axes.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
        axes.plot(edges[:-1] + 0.5 / _NUM_BINS, counts / counts.sum(), color="black", linewidth=0.8)
        axes.set_title(title_of(name), fontsize=10)
        axes.set_xlabel("confidence")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    figure.axes[0].set_ylabel("accuracy (line: share of images)")
    return figure


@plain_text()
def cells_per_class(results):
    """Draw the accuracy of every cell of a sweep on each class, beside teacher and alone.

    Args:
        results: of `experiment.sweep`.
    """
    from keras_kd.experiment.tables import cell_title

    rows = {title_of(name): each for name, each in results["validation"].items()}
    rows |= {cell_title(cell): cell["validation"] for cell in results["cells"]}
    values = 100 * np.array([each["per_class_accuracy"] for each in rows.values()])
    class_names = results["data"]["class_names"]
    figure = _figure(4 + 0.75 * len(class_names), 1.6 + 0.3 * len(rows))
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (y, x), value in np.ndenumerate(values):
        colour = "white" if value < middle else "black"
        axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(rows)), labels(rows), fontsize=8)
    _name_classes(axes, class_names)
    figure.colorbar(image, ax=axes, label="accuracy on validation images, %")
    return figure


def _matrix(axes, values, class_names, title, colours, limits, form="{:.0f}"):
    axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1])
    small = len(class_names) <= 12
    reach = max(abs(limit) for limit in limits)
    for (y, x), value in np.ndenumerate(values):
        if small and abs(value) >= 0.5:
            colour = "white" if abs(value) > 0.6 * reach else "black"
            text = form.format(value)
            axes.text(x, y, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    _name_classes(axes, class_names)
    axes.set_yticks(range(len(class_names)), labels(class_names), fontsize=7)


def _name_classes(axes, class_names):
    axes.set_xticks(
        range(len(class_names)),
        labels(class_names),
        rotation=45,
        ha="right",
        fontsize=7,
    )


def _in_order(names):
    return [name for name in COLOURS if name in names]


def _figure(width, height):
    # Not pyplot: it would keep state in, and choose a window for, the caller's program.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
