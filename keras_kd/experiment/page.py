"""The report of an experiment of any kind: one HTML file that opens offline."""

import html
import importlib.resources
import json
import string
from pathlib import Path

from keras_kd._common.backend import require_extra
from keras_kd._common.files import written_whole
from keras_kd._common.locks import at_work
from keras_kd._common.typing import PathLike
from keras_kd.experiment import blocks, gallery, sections
from keras_kd.experiment.kinds import KINDS
from keras_kd.experiment.listing import check_run
from keras_kd.experiment.statistics import BEATS, DOES_NOT_BEAT
from keras_kd.runs import records
from keras_kd.runs.progress import clock

# The model in whose colour the verdict is shown.
_BETTER = {BEATS: "student", DOES_NOT_BEAT: "student_alone"}


def write_report(folder: PathLike) -> Path:
    """Write `report.html` of a finished run, comparison, sweep, search or distillation.

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
    kind, class_names = KINDS[config["kind"]], results["data"]["class_names"]
    parts = kind.parts(folder, results)
    template = string.Template(
        importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8")
    )
    page = template.substitute(
        title=html.escape(kind.title(results)),
        looks=blocks.looks(),
        facts=blocks.note(_facts(config, results)),
        verdict="".join(f"<p>{blocks.prose(line)}</p>" for line in kind.lines(results)),
        better=_BETTER.get(kind.verdict(results), ""),
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


def _facts(config, results):
    """Return one line on the data, the time and the machine; former versions did not say all."""
    data, uses = results["data"], {"train": "train", "validation": "validate", "test": "test"}
    counts = [f"{data[part]:,} to {use}" for part, use in uses.items() if part in data]
    device = config.get("machine", {}).get("device")
    took = f"{clock(results['seconds'])} minutes" + (f" on {device}" if device else "")
    return f"Data: {data['name']}, {', '.join(counts)}. It took {took}."


def _sections(kind, results, parts, folder):
    class_names = results["data"]["class_names"]
    said = [part.predictions for part in parts]
    yield sections.comparisons(results, parts)
    yield sections.models(results)
    yield from kind.sections(results)
    yield sections.learning(parts)
    yield sections.by_class(said, class_names)
    yield sections.confusions(said, class_names)
    yield sections.sureness(said)
    yield gallery.section(said[0])
    yield sections.files(results, folder)
