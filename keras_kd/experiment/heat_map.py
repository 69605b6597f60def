"""A sweep to look at: its heat map, and its section of the report page."""

import numpy as np

from keras_kd._common.files import written_whole
from keras_kd._common.pictures import label, plain_text
from keras_kd.experiment import blocks, tables
from keras_kd.experiment.sections import chosen_classes
from keras_kd.runs.progress import title_of


@plain_text()
def draw(path, results):
    """Draw the heat map of a sweep.

    Args:
        path: the PNG to write.
        results: of `experiment.sweep`.
    """
    with written_whole(path) as unfinished:
        figure(results).savefig(unfinished, dpi=110)


@plain_text()
def figure(results):
    """Return the heat map of a sweep as a `matplotlib.figure.Figure`."""
    from matplotlib.figure import Figure

    cells = results["cells"]
    losses = list(dict.fromkeys(cell["loss"] for cell in cells))
    values = [cell["validation"]["accuracy"] for cell in cells]
    low, high = min(values), max(values)
    drawing = Figure(figsize=(1.5 + 4.2 * len(losses), 4.5), layout="constrained")
    alone = results["validation"]["student_alone"]["accuracy"]
    drawing.suptitle(
        f"{label(results['recipe'])}\n"
        f"validation accuracy; alone {100 * alone:.2f} %, the best cell framed",
        fontsize=11,
    )
    grid = drawing.subplots(1, len(losses), squeeze=False)[0]
    for axes, loss in zip(grid, losses, strict=True):
        image = _draw_loss(axes, loss, [cell for cell in cells if cell["loss"] == loss], low, high)
        _frame_best(axes, loss, cells, results["best"])
    drawing.colorbar(image, ax=list(grid), format="%.3f", shrink=0.8)
    return drawing


def _draw_loss(axes, loss, cells, low, high):
    temperatures, alphas = _axis(cells, "temperature"), _axis(cells, "alpha")
    found = {(cell["temperature"], cell["alpha"]): cell["validation"]["accuracy"] for cell in cells}
    rows = [[found[temperature, alpha] for alpha in alphas] for temperature in temperatures]
    image = axes.imshow(rows, vmin=low, vmax=high, cmap="viridis", aspect="auto")
    middle = (low + high) / 2
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            colour = "white" if value < middle else "black"
            axes.text(x, y, f"{100 * value:.2f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
    axes.set_yticks(
        range(len(temperatures)), ["none" if each is None else f"{each:g}" for each in temperatures]
    )
    axes.set_title(label(loss), fontsize=10)
    axes.set_xlabel("alpha, weight of the distillation loss")
    axes.set_ylabel("temperature")
    return image


def _frame_best(axes, loss, cells, name):
    from matplotlib.patches import Rectangle

    (best,) = (cell for cell in cells if cell["name"] == name)
    if best["loss"] == loss:
        of_loss = [cell for cell in cells if cell["loss"] == loss]
        x = _axis(of_loss, "alpha").index(best["alpha"])
        y = _axis(of_loss, "temperature").index(best["temperature"])
        corner = (x - 0.47, y - 0.47)
        axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor="black", linewidth=3))


def _axis(cells, key):
    return list(dict.fromkeys(cell[key] for cell in cells))


def section(results):
    """Return the cells of a sweep: a map of each loss, a table, and each cell by class."""
    maps = []
    values = [100 * cell["validation"]["accuracy"] for cell in results["cells"]]
    (best,) = (cell for cell in results["cells"] if cell["name"] == results["best"])
    for loss in dict.fromkeys(cell["loss"] for cell in results["cells"]):
        cells = {
            (cell["temperature"], cell["alpha"]): 100 * cell["validation"]["accuracy"]
            for cell in results["cells"]
            if cell["loss"] == loss
        }
        temperatures, alphas = (list(dict.fromkeys(axis)) for axis in zip(*cells, strict=True))
        framed = ()
        if best["loss"] == loss:
            framed = (temperatures.index(best["temperature"]), alphas.index(best["alpha"]))
        maps.append(
            blocks.matrix(
                loss,
                ["no T" if each is None else f"T={each:g}" for each in temperatures],
                [f"{alpha:g}" for alpha in alphas],
                [[cells[temperature, alpha] for alpha in alphas] for temperature in temperatures],
                form="{:.2f}",
                limits=(min(values), max(values)),
                look="student",
                best=framed,
            )
        )
    columns = ["on validation", *(name for name, _ in tables.METRICS.values()), "epochs"]
    rows = [
        [
            tables.cell_title(cell),
            *(
                tables.figure(cell["validation"].get(key), form)
                for key, (_, form) in tables.METRICS.items()
            ),
            f"{cell['epochs']}",
        ]
        for cell in results["cells"]
    ]
    return blocks.section(
        "The grid",
        blocks.side_by_side(maps),
        blocks.note(
            "Accuracy on validation, %; rows: temperature, columns: alpha. The best is framed."
        ),
        blocks.table(columns, rows, tables.cell_title(best)),
        _cells_by_class(results),
    )


def _cells_by_class(results):
    rows = {title_of(name): each for name, each in results["validation"].items()}
    rows |= {tables.cell_title(cell): cell["validation"] for cell in results["cells"]}
    values = 100 * np.array([each["per_class_accuracy"] for each in rows.values()])
    chosen, said = chosen_classes(values[:, None, :])
    names = [results["data"]["class_names"][number] for number in chosen]
    limits = (np.nanmin(values), np.nanmax(values))
    title = "each student by class, accuracy on validation, %"
    shown = blocks.matrix(
        title, list(rows), names, values[:, chosen], limits=limits, look="student"
    )
    return shown + blocks.note(said)
