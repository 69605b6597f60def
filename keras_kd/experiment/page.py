"""The report of a run, a comparison, a sweep or a search: one HTML file that opens offline."""

import base64
import html
import importlib.resources
import io
import json
import re
import string
import typing
from pathlib import Path

import numpy as np

from keras_kd import metrics
from keras_kd._common.backend import require_extra
from keras_kd._common.files import written_whole
from keras_kd._common.json_files import NUMBER, read_json
from keras_kd._common.locks import at_work
from keras_kd._common.typing import PathLike
from keras_kd.experiment import heat_map, plots, report, search_picture, tables
from keras_kd.experiment.listing import check_run
from keras_kd.runs import records
from keras_kd.runs.evaluation import Predictions
from keras_kd.runs.progress import title_of

_EXPORT = {
    "files": [
        (
            {"format": str, "failed": str},
            {
                "file": str,
                "bytes": int,
                "accuracy?": (*NUMBER, None),
                "agreement_with_student": NUMBER,
                "microseconds": {"1 thread": {"p50": NUMBER}},
            },
        )
    ]
}


def write_report(folder: PathLike) -> Path:
    """Write `report.html` of a finished run, comparison, sweep or search.

    One file, without anything to be fetched: the verdict first; learning curves of all seeds;
    accuracy by class of teacher, student distilled and student alone; confusion matrices and
    what distillation changed in them; reliability diagrams; test images on which student and
    teacher differ, with both distributions under a temperature slider; the heat map of a sweep or
    the picture of a search; sizes and times where files were exported; the command. It is made
    from what the run left in its folder; the data set is not read again.

    Args:
        folder: the directory of the run.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: if there is no run in the folder.
        ValueError: if it is not finished, a part of another, or damaged, or if another process
            works in the folder.
        ImportError: if matplotlib is missing.
    """
    require_extra("matplotlib", "report", "A report")
    folder = Path(folder)
    config = check_run(folder)
    results = records.read_results(folder, config["kind"])
    if results is None:
        raise ValueError(
            f"The run in {folder} is not finished. Go on with it: `keras-kd resume {folder}`."
        )
    class_names = results["data"]["class_names"]
    with at_work(folder):
        return _written(folder, config, results, class_names)


def _written(folder, config, results, class_names):
    seeds = _seeds(folder, config["kind"], results)
    lines, verdict = _verdict(config["kind"], results)
    template = string.Template(
        importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8")
    )
    page = template.substitute(
        title=html.escape(_title(config, results)),
        verdict="".join(f"<p>{_with_commands(line)}</p>" for line in lines),
        verdict_class=verdict.lower().replace(" ", "-"),
        sections="\n".join(_sections(config["kind"], results, seeds, class_names, folder)),
        command=html.escape(config["command"]),
        settings=html.escape(json.dumps({**config, "command": None}, indent=1)),
        # A class may be called "</script>".
        differing=json.dumps(_differing(seeds[0].predictions, class_names)).replace("<", "\\u003c"),
    )
    path = folder / "report.html"
    with written_whole(path) as unfinished:
        # The name of a file may hold bytes that are no text.
        unfinished.write_text(page, "utf-8", errors="backslashreplace")
    return path


def _title(config, results):
    if config["kind"] == "compare":
        return f"{config['recipe']}: does distillation help? {len(results['seeds'])} seeds"
    kinds = {"sweep": "a grid of students", "search": "a search", "run": "one run"}
    what = kinds[config["kind"]]
    return f"{config['recipe']}: {what}, seed {results['seed']}"


class _Seed(typing.NamedTuple):
    curves: dict
    predictions: Predictions


def _seeds(folder, kind, results):
    num_classes = len(results["data"]["class_names"])
    if kind != "compare":
        curves = dict(results["curves"])
        if kind == "sweep":  # The best cell last, in the student's colour, over the grey ones.
            curves["student"] = curves.pop(results["best"])
        return [_Seed(curves, Predictions(folder, num_classes))]
    folders = [folder / f"seed_{seed}" for seed in results["seeds"]]
    return [_Seed(_curves(each), Predictions(each, num_classes)) for each in folders]


def _curves(folder):
    """Return the curves of a seed of a comparison."""
    results = records.read_results(folder, "seed")
    if results is None:
        raise FileNotFoundError(
            f"A comparison's folder must hold all of its seeds. Received: {folder} without "
            "results.json. Say the command again: what is trained is used."
        )
    return results["curves"]


def _verdict(kind, results):
    """Return what is to be said first, a list of lines, and the verdict in capitals."""
    if kind == "compare":
        first, *others = tables.verdicts(results)
        return [f"{results['verdict']}. {first}", *others], results["verdict"]
    if kind == "sweep":
        return [line.removeprefix("* ") for line in tables.best_cell(results)], ""
    if kind == "search":
        return [line.removeprefix("* ") for line in tables.best_trial(results)], ""
    return [report.verdict(results["gain"], quick=results.get("quick", False))], ""


def _with_commands(line):
    """Return a line as HTML, what stands in backticks as code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", html.escape(line))


def _sections(kind, results, seeds, class_names, folder):
    yield _section("The models on the test images, read once", _models(results))
    if kind == "sweep":
        yield _section(
            "The grid", _plot(heat_map.figure(results), "Accuracy on validation images."),
            _cells(results),
            _plot(plots.cells_per_class(results), "Each cell by class, on validation images."),
        )  # fmt: skip
    if kind == "search":
        caption = "Hollow: pruned trials, at the best accuracy they had."
        yield _section("The search", _plot(search_picture.figure(results), caption))
    caption = "A line for each model and seed. Dots: the epoch that was kept."
    if kind == "sweep":
        caption += " Grey: the other cells."
    yield _section("Learning curves", _plot(plots.curves([s.curves for s in seeds]), caption))
    said = [seed.predictions for seed in seeds]
    names = ("teacher", "student", "student_alone")
    accuracies = {
        name: [metrics.per_class_accuracy(each.labels, each.logits[name]) for each in said]
        for name in names
    }
    yield _section(
        "By class",
        _plot(plots.per_class(accuracies, class_names), "Whiskers: the spread over seeds."),
        _per_class(accuracies, class_names),
    )
    confusions = {name: np.mean([s.confusion(name) for s in said], axis=0) for name in names}
    yield _section(
        "What is taken for what",
        _plot(
            plots.confusions(confusions, class_names),
            "Per cent of each label's test images. Blue in the last: distillation made it more.",
        ),
    )
    reliability = {name: _confidences(said, name) for name in names}
    yield _section(
        "Is it as sure as it is right?",
        _plot(plots.reliability(reliability), "On the diagonal confidence and accuracy agree."),
    )
    yield _gallery(said[0])
    if sizes := _sizes(results, folder):
        yield _section("The files", sizes)


def _section(title, *parts):
    return "\n".join([f"<section><h2>{html.escape(title)}</h2>", *parts, "</section>"])


def _plot(figure, caption):
    caption = html.escape(caption)
    return (
        f'<figure class="plot wide" aria-label="{caption}">{plots.svg(figure)}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(columns, rows, best=None):
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr{' class=best' if row[0] == best else ''}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _models(results):
    rows = []
    for name, model in results["models"].items():
        test = {
            metric: value if isinstance(value, dict) else {"mean": value, "std": None}
            for metric, value in model["test"].items()
        }
        cells = [tables.mean_and_std(test[key], form) for key, (_, form) in tables.METRICS.items()]
        size = f"{model['bytes'] / 1000:,.0f} KB"
        rows.append([title_of(name), *cells, f"{model['parameters']:,}", size])
    columns = ["", *(name for name, _ in tables.METRICS.values()), "parameters", ".keras file"]
    note = "NLL: negative log-likelihood. ECE: expected calibration error. Agreement: with the "
    note += "teacher. ±: standard deviation over seeds."
    return f'{_table(columns, rows)}<p class="note">{note}</p>'


def _cells(results):
    rows = [
        [
            tables.cell_title(cell),
            *(form.format(cell["validation"][key]) for key, (_, form) in tables.METRICS.items()),
            str(cell["epochs"]),
        ]
        for cell in results["cells"]
    ]
    (best,) = (cell for cell in results["cells"] if cell["name"] == results["best"])
    columns = ["on validation", *(name for name, _ in tables.METRICS.values()), "epochs"]
    return _table(columns, rows, tables.cell_title(best))


def _per_class(accuracies, class_names):
    teacher, student, alone = (
        100 * np.mean(accuracies[name], axis=0) for name in ("teacher", "student", "student_alone")
    )
    rows = [
        [name, f"{t:.1f}", f"{a:.1f}", f"{s:.1f}", f"{a - t:+.1f}", f"{s - a:+.1f}"]
        for name, t, s, a in zip(class_names, teacher, student, alone, strict=True)
    ]
    columns = [
        "accuracy, %", "teacher", "alone", "distilled",
        "compression cost", "distillation gave back",
    ]  # fmt: skip
    return _table(columns, rows)


def _confidences(said, name):
    pairs = [each.confidences(name) for each in said]
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))


def _gallery(said):
    title = "Where student and teacher differ"
    if not len(said.shown):
        return _section(title, "<p>They predict the same class for every test image.</p>")
    return _section(
        title,
        '<p class="note">Test images, the widest apart first. Left bar: teacher; right bar: '
        "student distilled; bold: the label.</p>"
        '<div class="control"><label>temperature <input type="range" id="temperature" min="0" '
        'max="100" value="0"></label> T = <output id="shown-temperature">1.0</output></div>'
        '<div class="cards" id="cards"></div><noscript>The bars need JavaScript.</noscript>',
    )


def _differing(said, class_names):
    examples = [
        {
            "index": int(index),
            "image": _png(image),
            "label": int(said.labels[index]),
            **{
                name: [round(float(logit), 4) for logit in said.logits[name][index]]
                for name in ("teacher", "student")
            },
        }
        for index, image in zip(said.shown, said.images, strict=True)
    ]
    return {"class_names": class_names, "examples": examples}


def _png(image):
    from matplotlib.image import imsave

    file = io.BytesIO()
    image = np.asarray(image)
    imsave(file, image if image.shape[-1] == 3 else image[..., 0], cmap="gray_r", format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _sizes(results, folder):
    """Return a table of exported files that were run, or nothing if there are none."""
    rows = []
    if "litert" in results:
        litert = results["litert"]
        rows.append(
            [
                "student.tflite",
                f"{litert['bytes'] / 1000:,.0f} KB",
                f"{litert['accuracy']:.4f}",
                f"{100 * litert['agreement_with_keras']:.2f} %",
                f"{litert['microseconds_per_image']:.1f}",
            ]
        )
    for path in sorted(folder.rglob("export.json")):
        what, way_out = "What an export says", "Remove it, or export again."
        for file in read_json(path, _EXPORT, what=what, way_out=way_out)["files"]:
            rows.append(_exported(file))
    columns = ["file", "size", "accuracy", "agrees with Keras", "microseconds an image, 1 thread"]
    return _table(columns, rows) if rows else ""


def _exported(file):
    """Return the row of a file of `export.json`."""
    if "failed" in file:
        return [file["format"], "failed", "", "", ""]
    accuracy = file.get("accuracy")
    return [
        file["file"],
        f"{file['bytes'] / 1000:,.0f} KB",
        "" if accuracy is None else f"{accuracy:.4f}",
        f"{100 * file['agreement_with_student']:.2f} %",
        f"{file['microseconds']['1 thread']['p50']:.1f}",
    ]
