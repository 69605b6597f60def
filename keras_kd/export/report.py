"""An export for people: a line a file, the table, and the picture."""

from keras_kd._common.console import Table
from keras_kd._common.files import written_whole
from keras_kd._common.looks import LOOKS
from keras_kd._common.pictures import label, label_points, plain_text

# What misses a budget is hollow.
_FILL = {"missed": "none", "student": "left"}


def line(file):
    """Return one line on one file of `export.json`."""
    if "failed" in file:
        return f"{file['format']:<17} FAILED: {file['failed']}"
    text = (
        f"{file['format']:<17} {file['bytes'] / 1000:,.0f} KB, agrees with the student on "
        f"{100 * file['agreement_with_student']:.2f} %"
    )
    if file["missed"]:
        text += f"; MISSED: {'; '.join(file['missed'])}; kept as {file['file']}"
    return text


def table(results):
    """Return the table of all files, a `Table`."""
    name, number = results["data"], f"{results['images']:,}"
    source = f"{number} examples of {name}" if name else f"{number} made-up examples"
    star = "* misses a budget. " if any(file.get("missed") for file in results["files"]) else ""
    closing = Table(
        f"{results['model']}: every file run on {source}",
        ["", "KB", "acc. %", "drop", "student", "teacher", "1 thread", "2 threads", "MB"],
        caption=f"{star}Accuracy; its drop in points from the Keras student's; "
        "agreement with student and teacher in %. Microseconds for one: p50, p90, p99. "
        f"MB: memory that runtime and file add to a process.{_floats(results)}",
        padding=1,
    )
    for name in ("teacher", "student"):
        if name in results:
            reference = results[name]
            closing.add_row(
                f"Keras {name}",
                f"{reference['bytes'] / 1000:,.0f}",
                _percent(reference["accuracy"]),
            )
    for file in results["files"]:
        closing.add_row(*_cells(file))
    return closing


def _floats(results):
    """Return a sentence on what of an integer twin stays in float32, if anything does."""
    names = results.get("float_layers")
    if not names:
        return ""
    return (
        f" In float32 stay {100 * results['float_share']:.1f} % of the multiply-adds: "
        f"{', '.join(names)}."
    )


def _cells(file):
    if "failed" in file:
        return file["format"], "failed"
    return (
        file["format"] + ("*" if file["missed"] else ""),
        f"{file['bytes'] / 1000:,.0f}",
        _percent(file["accuracy"]),
        "" if file["drop_points"] is None else f"{file['drop_points']:+.2f}",
        _percent(file["agreement_with_student"]),
        _percent(file["agreement_with_teacher"]),
        *(
            " ".join(f"{time:.1f}" if time < 10 else f"{time:.0f}" for time in times.values())
            for times in file["microseconds"].values()
        ),
        "" if file["added_bytes"] is None else f"{file['added_bytes'] / 1e6:.0f}",
    )


def _percent(share):
    return "" if share is None else f"{100 * share:.2f}"


@plain_text()
def draw(path, results):
    """Draw accuracy (or agreement with the student, without labels) over size.

    Args:
        path: the PNG to write.
        results: what `export.json` holds.
    """
    # Not pyplot: it would keep state in, and choose a window for, the caller's program.
    from matplotlib.figure import Figure

    key = "accuracy" if results["data"] else "agreement_with_student"
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    points = [
        (file["bytes"], file[key], file["format"], "missed" if file["missed"] else "kept")
        for file in results["files"]
        if "failed" not in file
    ]
    for name in ("teacher", "student"):
        if results.get(name, {}).get("accuracy") is not None:
            reference = results[name]
            points.append((reference["bytes"], reference["accuracy"], f"Keras {name}", name))
            look = LOOKS[name]
            axes.axhline(reference["accuracy"], color=look.colour, linewidth=0.8, alpha=0.5)
    named = []
    for size, height, name, kind in points:
        look = LOOKS["teacher" if kind == "teacher" else "student"]
        fill = _FILL.get(kind, "full")
        axes.plot(size / 1000, height, look.marker, color=look.colour, fillstyle=fill)
        named.append((size / 1000, height, name, look.colour))
    axes.set_xscale("log")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks("{x:g}")
    axes.margins(0.18, 0.12)
    label_points(figure, axes, named)
    axes.set_xlabel("size in KB (for Keras models: of their float32 weights)")
    axes.set_ylabel(f"{key.replace('_', ' ')} on {results['images']:,} images")
    axes.set_title(f"{label(results['model'])}: what each file is worth")
    axes.grid(alpha=0.3)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=110)
