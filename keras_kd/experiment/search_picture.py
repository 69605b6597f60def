"""The picture of a search: how it got better, and where the good settings lie."""

import functools

from keras_kd._common.files import written_whole
from keras_kd._common.looks import LOOKS, OTHER
from keras_kd._common.pictures import label, plain_text
from keras_kd.experiment import blocks, plots

# A loss a marker, filled in the student's colour: what is tried is always the student.
_MARKERS = dict(zip("oDs^vPX*", "●◆■▲▼✚✖★", strict=True))
_TITLE = "accuracy on validation"


@plain_text()
def draw(path, results):
    """Draw a search.

    Args:
        path: the PNG to write.
        results: of `experiment.search`.
    """
    with written_whole(path) as unfinished:
        figure(results).savefig(unfinished, dpi=110, bbox_inches="tight")


@plain_text()
def figure(results):
    """Return the picture of a search, all panels side by side, as a `matplotlib` figure."""
    from matplotlib.figure import Figure

    painted = _panels(results)
    drawing = Figure(figsize=(1.0 + 3.9 * len(painted), 4.5), layout="constrained")
    panels = drawing.subplots(1, len(painted), sharey=True, squeeze=False)[0]
    drawing.suptitle(
        f"{label(results['recipe'])}: best validation accuracy of {len(results['trials'])} trials",
        fontsize=11,
    )
    for panel, (name, paint) in zip(panels, painted.items(), strict=True):
        paint(panel)
        panel.grid(alpha=0.3)
        panel.set_xlabel(name)
    panels[0].set_ylabel(_TITLE)
    drawing.text(0.5, -0.04, explained(results), ha="center", fontsize=9)
    return drawing


@plots.for_the_page()
def section(results):
    """Return a search's section of the report page: an SVG for each panel."""
    best = next(trial for trial in results["trials"] if trial["name"] == results["best"])
    svgs = []
    for name, paint in _panels(results).items():
        figure = plots.new_figure()
        axes = figure.subplots()
        paint(axes)
        axes.set(xlabel=name, title=_TITLE)
        alt = f"Accuracy of {len(results['trials'])} trials on validation by {name}; the best has "
        svgs.append(plots.svg(figure, f"{alt}{100 * best['value']:.2f} %."))
    return blocks.section("The search", blocks.panels(svgs, explained(results)))


def explained(results):
    """Return one line on what the marks of a search's picture mean."""
    losses = [f"{_MARKERS[mark]} {label(loss)}" for loss, mark in _marks(results).items()]
    marks = [*losses, "hollow: pruned", "ring: the best, chosen", "dashed: the student alone"]
    return "; ".join(marks)


def _panels(results):
    """Return functions that draw into axes, by the name of what is on the horizontal axis."""
    names = [trial["name"] for trial in results["trials"]]
    panels = {"finished trials": functools.partial(_draw_progress, results, names)}
    for name in results["space"]:
        if name != "loss":
            panels[name.replace("_", " ")] = functools.partial(_scatter, results, name)
    return panels


def _draw_progress(results, names, axes):
    values = [trial["value"] for trial in results["trials"]]
    numbers = range(1, len(values) + 1)
    best = [max(values[:number]) for number in numbers]
    axes.step(numbers, best, where="post", color=OTHER.colour, linewidth=1)
    _points(axes, results, dict(zip(names, numbers, strict=True)))
    axes.xaxis.get_major_locator().set_params(integer=True)


def _scatter(results, name, axes):
    settings = {trial["name"]: trial["settings"].get(name) for trial in results["trials"]}
    _points(axes, results, settings)
    if name in ("temperature", "learning_rate"):
        plots.by_logarithm(axes)


def _marks(results):
    losses = list(dict.fromkeys(trial["settings"]["loss"] for trial in results["trials"]))
    return dict(zip(losses, [*_MARKERS] * len(losses), strict=False))


def _points(axes, results, places):
    """Draw each trial at its place, and the student alone."""
    marks = _marks(results)
    if alone := results["validation"].get("student_alone"):
        look = LOOKS["student_alone"]
        axes.axhline(alone["accuracy"], color=look.colour, linestyle=look.line, linewidth=1)
    for trial in results["trials"]:
        place, value = places[trial["name"]], trial["value"]
        if place is None:  # A loss without a temperature.
            continue
        style = {"color": LOOKS["student"].colour, "linestyle": "none"}
        fill = "none" if trial["state"] == "pruned" else "full"
        axes.plot(place, value, marks[trial["settings"]["loss"]], fillstyle=fill, **style)
        if trial["name"] == results["best"]:
            axes.plot(place, value, "o", fillstyle="none", markersize=13, **style)
