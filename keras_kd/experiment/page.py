"""The report of a run, a comparison, a sweep or a search: one HTML file that opens offline."""

import html
import importlib.resources
import json
import re
import string
import typing
from pathlib import Path

from keras_kd._common.backend import require_extra
from keras_kd._common.files import written_whole
from keras_kd._common.locks import at_work
from keras_kd._common.typing import PathLike
from keras_kd.experiment import (
    blocks,
    gallery,
    heat_map,
    report,
    search_picture,
    sections,
    statistics,
    tables,
)
from keras_kd.experiment.listing import check_run
from keras_kd.runs import records
from keras_kd.runs.evaluation import Predictions


def write_report(folder: PathLike) -> Path:
    """Write `report.html` of a finished run, comparison, sweep or search.

    One file, without anything to be fetched, for a screen of any width, light or dark: the verdict
    in a sentence; the distilled student against each other model, with intervals; learning curves
    of all seeds; accuracy by class; confusion matrices and what distillation changed in them;
    reliability diagrams; test examples on which student and teacher differ, with both
    distributions under a temperature slider; the grid of a sweep or the picture of a search; sizes
    and times of models and exported files; the command. It is made from what the run left in its
    folder; the data set is not read again.

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
    with at_work(folder):
        return _written(folder, config, results)


def _written(folder, config, results):
    kind, class_names = config["kind"], results["data"]["class_names"]
    parts = _parts(folder, kind, results)
    lines, verdict = _lines(kind, results)
    template = string.Template(
        importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8")
    )
    page = template.substitute(
        title=html.escape(_title(config, results)),
        looks=blocks.looks(),
        verdict="".join(f"<p>{_with_commands(line)}</p>" for line in lines),
        verdict_class=verdict.lower().replace(" ", "-"),
        sections="\n".join(_sections(kind, results, parts, folder)),
        command=html.escape(config["command"]),
        settings=html.escape(json.dumps({**config, "command": None}, indent=1)),
        # A class may be called "</script>".
        differing=json.dumps(gallery.examples(parts[0].predictions, class_names)).replace(
            "<", "\\u003c"
        ),
    )
    path = folder / "report.html"
    with written_whole(path) as unfinished:
        # The name of a file may hold bytes that are no text.
        unfinished.write_text(page, "utf-8", errors="backslashreplace")
    return path


def _sections(kind, results, parts, folder):
    class_names = results["data"]["class_names"]
    said = [part.predictions for part in parts]
    yield sections.comparisons(results, parts)
    yield sections.models(results)
    yield from _own_sections(kind, results)
    yield sections.learning(parts)
    yield sections.by_class(said, class_names)
    yield sections.confusions(said, class_names)
    yield sections.sureness(said)
    yield gallery.section(said[0])
    yield sections.files(results, folder)


def _with_commands(line):
    """Return a line as HTML, what stands in backticks as code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", html.escape(line))


# What differs by kind.


# Of a teacher there may be soft labels alone, and the control may be left out.
_NAMES = ("student",)


class _Part(typing.NamedTuple):
    curves: dict
    predictions: Predictions


def _title(config, results):
    if config["kind"] == "compare":
        return f"{config['recipe']}: does distillation help? {len(results['seeds'])} seeds"
    kinds = {"sweep": "a grid of students", "search": "a search", "run": "one run"}
    what = kinds[config["kind"]]
    return f"{config['recipe']}: {what}, seed {results['seed']}"


def _lines(kind, results):
    """Return what is to be said first, a list of lines, and the verdict in capitals."""
    if kind == "compare":
        gains = {name: each["accuracy"] for name, each in results["gains"].items()}
        lines = [statistics.sentence_of(gain, other) for other, gain in gains.items()]
        return lines, results["verdict"]
    if kind == "sweep":
        return [line.removeprefix("* ") for line in tables.best_cell(results)], ""
    if kind == "search":
        return [line.removeprefix("* ") for line in tables.best_trial(results)], ""
    return [report.verdict(results["gain"], quick=results.get("quick", False))], ""


def _parts(folder, kind, results):
    num_classes = len(results["data"]["class_names"])
    if kind != "compare":
        curves = dict(results["curves"])
        if kind == "sweep":  # The best cell last, in the student's colour, over the grey ones.
            curves["student"] = curves.pop(results["best"])
        return [_Part(curves, Predictions(folder, num_classes, _NAMES))]
    folders = [folder / f"seed_{seed}" for seed in results["seeds"]]
    return [_Part(_curves(each), Predictions(each, num_classes, _NAMES)) for each in folders]


def _curves(folder):
    """Return the curves of a seed of a comparison."""
    results = records.read_results(folder, "seed")
    if results is None:
        raise FileNotFoundError(
            f"A comparison's folder must hold all of its seeds. Received: {folder} without "
            "results.json. Say the command again: what is trained is used."
        )
    return results["curves"]


def _own_sections(kind, results):
    if kind == "sweep":
        yield heat_map.section(results)
    if kind == "search":
        yield search_picture.section(results)
