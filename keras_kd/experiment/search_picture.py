"""The picture of a search: how it got better, and where the good settings lie."""

from keras_kd._common.files import written_whole
from keras_kd._common.pictures import label, plain_text

_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")


@plain_text()
def draw(path, results):
    """Draw a search.

    Args:
        path: the PNG to write.
        results: of `experiment.search`.
    """
    with written_whole(path) as unfinished:
        figure(results).savefig(unfinished, dpi=110)


@plain_text()
def figure(results):
    """Return the picture of a search as a `matplotlib.figure.Figure`."""
    from matplotlib.figure import Figure

    axes_of_space = [name for name in results["space"] if name != "loss"]
    num_panels = 1 + len(axes_of_space)
    drawing = Figure(figsize=(1.0 + 3.9 * num_panels, 4.5), layout="constrained")
    panels = drawing.subplots(1, num_panels, sharey=True, squeeze=False)[0]
    drawing.suptitle(
        f"{label(results['recipe'])}: best validation accuracy of {len(results['trials'])} trials",
        fontsize=11,
    )
    _draw_progress(panels[0], results)
    for panel, name in zip(panels[1:], axes_of_space, strict=True):
        _scatter(panel, results, name)
    for panel in panels:
        alone = results["validation"]["student_alone"]["accuracy"]
        panel.axhline(alone, color="#d55e00", linestyle="--", linewidth=1, label="student alone")
        panel.grid(alpha=0.3)
    handles = {
        text: handle
        for panel in panels
        for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    drawing.legend(
        handles.values(), handles, loc="outside lower center", ncols=len(handles), fontsize=8
    )
    return drawing


def _draw_progress(panel, results):
    values = [trial["value"] for trial in results["trials"]]
    numbers = range(1, len(values) + 1)
    best = [max(values[:number]) for number in numbers]
    panel.step(numbers, best, where="post", color="#555555", label="best so far")
    _points(panel, results, dict(zip(_names(results), numbers, strict=True)))
    panel.set_xlabel("finished trials")
    panel.set_ylabel("accuracy on validation images")


def _scatter(panel, results, name):
    from matplotlib.ticker import LogFormatter

    settings = {trial["name"]: trial["settings"].get(name) for trial in results["trials"]}
    _points(panel, results, settings)
    if name in ("temperature", "learning_rate"):
        panel.set_xscale("log")
        # Those that come by themselves write formulas.
        panel.xaxis.set_major_formatter(LogFormatter())
        panel.xaxis.set_minor_formatter(LogFormatter())
    panel.set_xlabel(name.replace("_", " "))


def _points(panel, results, places):
    """Draw each trial at its place: a colour a loss, hollow if pruned, the best with a ring."""
    losses = list(dict.fromkeys(trial["settings"]["loss"] for trial in results["trials"]))
    colours = dict(zip(losses, _COLOURS * len(losses), strict=False))
    for trial in results["trials"]:
        place, value = places[trial["name"]], trial["value"]
        if place is None:  # A loss without a temperature.
            continue
        colour = colours[trial["settings"]["loss"]]
        pruned = trial["state"] == "pruned"
        label = f"{trial['settings']['loss']}{', pruned' if pruned else ''}"
        panel.plot(
            place, value, "o", color=colour, fillstyle="none" if pruned else "full", label=label,
            linestyle="none",
        )  # fmt: skip
        if trial["name"] == results["best"]:
            panel.plot(
                place, value, "o", color="#d55e00", fillstyle="none", markersize=13,
                linestyle="none", label="best, chosen",
            )  # fmt: skip


def _names(results):
    return [trial["name"] for trial in results["trials"]]
