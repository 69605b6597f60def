"""What people see of the atlas: its pictures, its page, and the rows that `keras-kd check` reads.

`benchmarks/atlas.py` calls `write` after every run. No figure stands here: all come from
`benchmarks/results/atlas.json`.
Writes: `benchmarks/atlas.md`, its pictures `benchmarks/results/pictures/atlas.png` (every row) and
`atlas_kinds.png` (one row a kind), and `keras_kd/checking/atlas.json`.
"""

import json
import typing
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from regimes.facts import FACTS

from keras_kd._common.pictures import plain_text
from keras_kd.experiment.statistics import BEATS, DOES_NOT_BEAT, judged

ROOT = Path(__file__).parent
_PICTURES = ROOT / "results" / "pictures"
PACKAGED = ROOT.parent / "keras_kd" / "checking" / "atlas.json"


class Kind(typing.NamedTuple):
    """A kind of regime: its look, what a reader who is in it says, and what he should do.

    Args:
        colour: of Okabe and Ito, darkened where a text would be too pale.
        marker: of matplotlib's; kinds of one colour differ in it.
        heading: the reader's case.
        advice: what to do where distillation won.
        control: what the distilled student is compared with.
    """

    colour: str
    marker: str
    heading: str
    advice: str
    control: str = "the same student alone"


_BLUE, _VERMILION, _GREEN, _PURPLE = "#0072b2", "#d55e00", "#00805c", "#b3548f"
_GOLD, _SKY, _GREY = "#a67600", "#2f8fc4", "#5f5f5f"

KINDS = {
    "few labels": Kind(
        _BLUE, "o", "Your student has few labels",
        "Get images without labels, as many as you can, and name their folder: `--unlabelled DIR`. "
        "The teacher speaks of them.",
    ),
    "noisy labels": Kind(
        _VERMILION, "o", "Some of your labels are wrong",
        "Give the teacher more weight than the labels, `--alpha 1` or more.",
    ),
    "long tail": Kind(
        _GREEN, "o", "Some of your classes are rare", "Distil, and read the accuracy by class.",
    ),
    "classes missing": Kind(
        _PURPLE, "o", "Your images lack classes that the teacher knows",
        "Distil: the teacher's second thoughts tell of the missing class.",
    ),
    "integers": Kind(
        _GOLD, "o", "Your student becomes a file of integers",
        "Train it as such, `kd.quantize.prepare(student, weights=\"int4\")`, and read the rows "
        "over the same twin on labels: training for integers gains, and not always the teacher.",
        "plain conversion",
    ),
    "small student": Kind(
        _SKY, "o", "Your student is very small", "Distil, and try a wider student too.",
    ),
    "short training": Kind(
        _BLUE, "s", "You have time for a few epochs alone", "Distil: the same epochs teach more.",
    ),
    "shifted images": Kind(
        _VERMILION, "s", "The images out there differ from those with labels",
        "Collect images where the student will work and name their folder: `--unlabelled DIR`.",
    ),
    "large teacher": Kind(
        _GREEN, "s", "Your teacher is much larger, or of another kind",
        "Distil with the same augmentation for both.",
    ),
    "ensemble": Kind(
        _PURPLE, "s", "You have several teachers", "Name `--teacher` once for each.",
    ),
    "no data": Kind(
        _GOLD, "s", "You have a teacher and no data",
        "Let a generator make the images: `kd.adversarial.DataFreeDistiller`.",
    ),
    "tables and sequences": Kind(
        _SKY, "s", "Your data are tables or sequences",
        "Let trees or several nets speak of rows without labels: `kd.SoftLabels.from_logits`.",
    ),
    "adversarial and mutual": Kind(
        _BLUE, "D", "You think of discriminators, or of students that teach each other",
        "Keep the form that won here, and its control beside it.",
    ),
    "all labels": Kind(
        _GREY, "D", "You have all labels, and time for both students",
        "Distil, with the control beside it.",
    ),
}  # fmt: skip


def write(results):
    """Write page, pictures and the package's rows.

    Args:
        results: what `benchmarks/results/atlas.json` holds.
    """
    rows = summary(results)
    (ROOT / "atlas.md").write_text(document(results))
    draw(_PICTURES / "atlas.png", rows)
    draw(_PICTURES / "atlas_kinds.png", one_a_kind(rows))
    PACKAGED.write_text(packaged(results))


def summary(results):
    """Return a row a regime, in the order of kinds, the largest gain first; those that have run.

    Args:
        results: as in `write`.

    Returns:
        A list of dicts: `name`, `title`, `kind`, `data`, `facts`, `settings`, `frozen`, `command`,
        `seeds` (how many), `seconds` (a seed), `means` (accuracy by arm), `control` (what
        `student_alone` is), and, of `judged`, `gain` over it and `over` (each other arm).
    """
    rows = [_row(name, found) for name, found in results.items() if found["runs"]]
    return sorted(rows, key=lambda row: (list(KINDS).index(row["kind"]), -row["gain"]["mean"]))


def _row(name, found):
    tests = [run["test"] for run in found["runs"]]
    arms = [arm for arm in tests[0] if all(arm in test for test in tests)]
    gains = {
        arm: judged([test["student"] - test[arm] for test in tests])
        for arm in arms
        if arm not in ("student", "teacher")
    }
    kept = ("title", "kind", "data", "settings", "frozen", "command")
    return {
        "name": name,
        **{key: found[key] for key in kept},
        "facts": FACTS.get(name, {}),
        "seeds": len(tests),
        "seconds": float(np.mean([run["seconds"] for run in found["runs"]])),
        "means": {arm: float(np.mean([test[arm] for test in tests])) for arm in arms},
        "control": found.get("control") or KINDS[found["kind"]].control,
        "gain": gains.pop("student_alone"),
        "over": gains,
    }


def one_a_kind(rows):
    """Return the median row of each kind: neither its best nor its worst stands for it."""
    chosen = []
    for kind in KINDS:
        of_kind = sorted(
            (row for row in rows if row["kind"] == kind and row["gain"]["interval_95"]),
            key=lambda row: row["gain"]["mean"],
        )
        chosen += of_kind[(len(of_kind) - 1) // 2 :][:1]
    return chosen


def packaged(results):
    """Return the JSON that `keras-kd check` reads: every row with an interval.

    Args:
        results: as in `write`.
    """
    kept = ("title", "kind", "data", "facts", "settings", "seeds", "control")
    rows = {
        row["name"]: {
            **{key: row[key] for key in kept},
            **_rounded(row["gain"]),
            "over": {arm: _rounded(gain) for arm, gain in row["over"].items()},
        }
        for row in summary(results)
        if row["gain"]["interval_95"]
    }
    return json.dumps(rows, indent=1) + "\n"


def _rounded(gain):
    """Return what is said of a gain; to a thousandth of a point, whatever SciPy there is."""
    interval = gain["interval_95"] and [round(end, 5) for end in gain["interval_95"]]
    return {"gain": round(gain["mean"], 5), "interval_95": interval}


# Inches: for the words at the left, for the axis, for figures at the right, a row, above, below.
_WORDS, _AXIS, _FIGURES, _ROW, _ABOVE, _BELOW = 4.75, 2.9, 1.55, 0.37, 0.5, 0.58
# Of a title: so many have room, longer ones are written smaller, and these are cut.
_CHARACTERS, _MOST_CHARACTERS = 72, 92
_INK, _PALE = "#222222", "#666666"


@plain_text()
def draw(path, rows):
    """Draw gains with their intervals, the largest on top.

    Args:
        path: of the picture.
        rows: of `summary`; one without an interval is left out.
    """
    rows = sorted(
        (row for row in rows if row["gain"]["interval_95"]), key=lambda row: row["gain"]["mean"]
    )
    width, inside = _WORDS + _AXIS + _FIGURES, _ROW * len(rows)
    height = _ABOVE + inside + _BELOW
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(width, height), facecolor="white")
        axes = figure.add_axes(
            (_WORDS / width, _BELOW / height, _AXIS / width, inside / height), facecolor="none"
        )
        limits = _limits(rows)
        axes.set(xlim=limits, ylim=(-0.5, len(rows) - 0.5), yticks=[])
        for place, row in enumerate(rows):
            _mark(axes, place, row)
            _write(axes, place, row)
        _frame(axes)
        title = "What distillation adds, in points of test accuracy"
        figure.text(0.1 / width, 1 - 0.17 / height, title, size=11, weight="bold", va="top")
        figure.savefig(path, dpi=120, metadata={"Software": None}, pil_kwargs={"optimize": True})


def _limits(rows):
    """Return the ends of the axis, in points: where a few rows lie far out, those of the others."""
    ends = 100 * np.array([row["gain"]["interval_95"] for row in rows])
    low, high = (_end_of(sign * ends[:, side]) for side, sign in ((0, -1), (1, 1)))
    margin = 0.05 * (low + high)
    return -low - margin, high + margin


def _end_of(values):
    """Return the largest value that is at most three times that below which six in seven lie."""
    values = np.sort(values)
    usual = max(values[(6 * (len(values) - 1)) // 7], 1.0)
    return float(max(values[values <= 3 * usual].max(initial=0), 0))


def _mark(axes, place, row):
    """Draw the dot and the interval of a row; an arrow where they lie beyond the axis."""
    kind, (low, high) = KINDS[row["kind"]], axes.get_xlim()
    mean, (start, end) = 100 * row["gain"]["mean"], _interval(row["gain"])
    shown = np.clip([start, mean, end], low, high)
    marker = kind.marker if low <= mean <= high else ">" if mean > high else "<"
    is_open = row["gain"]["verdict"] not in (BEATS, DOES_NOT_BEAT)
    axes.axhline(place, color="#eeeeee", linewidth=0.8, zorder=0)
    axes.plot(shown[[0, 2]], [place, place], color=kind.colour, linewidth=2.2, zorder=2)
    axes.plot(
        shown[1], place, marker, color=kind.colour, markersize=7, clip_on=False, zorder=3,
        markerfacecolor="white" if is_open else kind.colour, markeredgewidth=1.5,
    )  # fmt: skip


def _write(axes, place, row):
    """Write the words of a row at the left of the axis, and its figures at the right."""
    kind, (start, end) = KINDS[row["kind"]], _interval(row["gain"])
    across = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
    left, right = -72 * (_WORDS - 0.1), 10
    title = row["title"]
    if len(title) > _MOST_CHARACTERS:
        title = f"{title[: _MOST_CHARACTERS - 1]}…"
    size = 9 * min(1, _CHARACTERS / len(title))
    axes.annotate(title, (0, place), (left, 5), color=_INK, size=size, **across)
    axes.annotate(
        row["kind"], (0, place), (left, -5), color=kind.colour, weight="bold", size=8, **across
    )
    control = row["control"]
    is_said = control == Kind._field_defaults["control"] or " over " in title
    where = row["data"] if is_said else f"{row['data']}; over {control}"
    axes.annotate(where, (0, place), (left + 112, -5), color=_PALE, size=8, **across)
    mean = _signed(100 * row["gain"]["mean"])
    axes.annotate(mean, (1, place), (right + 28, 0), weight="bold", ha="right", **across)
    axes.annotate(f"{_signed(start)} to {_signed(end)}", (1, place), (right + 36, 0), color=_PALE,
                  size=8, **across)  # fmt: skip


def _frame(axes):
    """Draw what the rows are read against."""
    axes.axvline(0, color=_INK, linewidth=1, zorder=1)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    axes.tick_params(axis="x", color="#999999", labelcolor=_PALE)
    axes.set_xlabel(
        "points; line: 95 % interval over seeds; hollow: it holds zero; arrow: beyond the axis",
        color=_PALE, size=8, loc="right",
    )  # fmt: skip


def _interval(gain):
    return tuple(100 * end for end in gain["interval_95"])


def _signed(points, digits=1):
    """Return points with their sign, and no sign of a zero."""
    points = round(points, digits) + 0.0
    sign = "+" if points else ""
    return f"{points:{sign}.{digits}f}".replace("-", "−")


def document(results):
    """Return `atlas.md`: what to expect, by kind, and every row with its controls.

    Args:
        results: as in `write`.
    """
    rows = summary(results)
    machines = dict.fromkeys(_machine(found) for found in results.values() if found["runs"])
    parts = [_HEAD.format(rows=len(rows), kinds=len({row["kind"] for row in rows}))]
    parts += [_picture("the middle row of each kind", "atlas_kinds"), "## What to expect"]
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    by_kind = {kind: of_kind for kind, of_kind in by_kind.items() if of_kind}
    for kind, of_kind in by_kind.items():
        judged_rows = [row for row in of_kind if row["gain"]["interval_95"]]
        if judged_rows:
            parts += [f"### {KINDS[kind].heading}", _expected(kind, judged_rows)]
    parts += ["## Every row", _picture("every row", "atlas"), _TABLES]
    for kind, of_kind in by_kind.items():
        parts += [f"### {kind.capitalize()}", _accuracies(of_kind), _trained(of_kind)]
    if machines:
        parts.append(f"Machine: {'; '.join(machines)}.")
    return "\n\n".join(parts) + "\n"


_HEAD = """# Where distillation pays

Written by `benchmarks/atlas.py`; every run is in `results/atlas.json`. {rows} rows of {kinds}
kinds. Each row trains a student with a teacher, and the same student without it, on the same seeds.
The gain is the difference in test accuracy, in points; its interval is what other seeds might show
(95 %, paired). Settings were chosen on validation with two other seeds, then frozen; the test split
was read once a seed. Losses stand here like wins. Rows whose command is not `atlas.py` were
measured before, with the settings of a paper or a recipe; *frozen* says what trials had read.

Your data are not these. Take a row as a place to begin, and look at the control beside your own."""

_TABLES = """Accuracies are means over seeds, on the test split. *Alone*: what the gain is over.
*Smoothing*: the same student on smoothed labels. *Hard labels*: the same on the teacher's decisions
in place of its probabilities. BEATS: the interval lies above 0. DOES NOT BEAT: it holds nothing
above 0. INCONCLUSIVE: neither."""


def _picture(what, name):
    return f"![Gains with their intervals, {what}](results/pictures/{name}.png)"


def _machine(found):
    said = found["machine"]
    return (
        said if isinstance(said, str) else ", ".join(f"{key} {each}" for key, each in said.items())
    )


def _expected(kind, rows):
    """Return a paragraph on what the rows of a kind let a reader expect, and what he should do."""
    won = [row for row in rows if row["gain"]["verdict"] == BEATS]
    others = [row for row in rows if row not in won]
    controls = {row["control"] for row in rows}
    over = controls.pop() if len(controls) == 1 else "what stands against it"
    if not won:
        said = [f"Expect no clear gain over {over}: {_reach(others)} in {_count(others)}."]
    elif not others:
        said = [f"Expect a gain over {over}: {_reach(won)} in {_count(won)}."]
    else:
        said = [
            f"It depends: in {_count(won)} distillation clearly beat {over}, {_reach(won)}; in "
            f"{_count(others)} it did not, {_reach(others)}."
        ]
    best = max(rows, key=lambda row: row["gain"]["mean"])
    if len(rows) > 1:
        said.append(f"The most: {_told(best['gain'])} with {_named(best)}.")
    return " ".join([*said, *_over_others(rows), *([KINDS[kind].advice] if won else [])])


def _over_others(rows):
    """Yield a sentence on the controls that need no probabilities of a teacher."""
    controls = {"label_smoothing": "smoothed labels", "teacher_labels": "the teacher's hard labels"}
    said = []
    for arm, what in controls.items():
        with_arm = [row for row in rows if arm in row["over"]]
        won = [row for row in with_arm if row["over"][arm]["verdict"] == BEATS]
        if with_arm:
            said.append(f"{what} in {len(won)} of {len(with_arm)}")
    if said:
        yield f"Distillation clearly beat {', '.join(said)}."


def _reach(rows):
    means = sorted(100 * row["gain"]["mean"] for row in rows)
    first, last = _signed(means[0]), _signed(means[-1])
    return f"{first if first == last else f'{first} to {last}'} points"


def _count(rows):
    return "one row" if len(rows) == 1 else f"{len(rows)} rows"


def _told(gain):
    """Return a gain with its interval, in points."""
    said = _signed(100 * gain["mean"], 2)
    if not gain["interval_95"]:
        return said
    start, end = (_signed(end, 2) for end in _interval(gain))
    return f"{said} ({start} to {end})"


def _named(row):
    return f'"{row["title"]}" ({row["data"]})'


_ARMS = {
    "teacher": "teacher", "student": "distilled", "student_alone": "alone",
    "label_smoothing": "smoothing", "teacher_labels": "hard labels",
}  # fmt: skip


def _accuracies(rows):
    """Return the table of a kind: accuracies of every arm, and gains."""
    arms = {arm: title for arm, title in _ARMS.items() if any(arm in row["means"] for row in rows)}
    others = [arm for row in rows for arm in row["over"] if arm not in arms]
    arms |= {arm: arm.replace("_", " ") for arm in others}
    further = [arm for arm in ("label_smoothing", "teacher_labels") if arm in arms]
    heads = ["row", "data", *arms.values(), "gain over alone", "verdict"]
    heads += [f"gain over {_ARMS[arm]}" for arm in further]
    lines = []
    for row in rows:
        figures = [f"{row['means'][arm]:.4f}" if arm in row["means"] else "" for arm in arms]
        cells = [row["title"], row["data"], *figures, _told(row["gain"]), row["gain"]["verdict"]]
        cells += [_told(row["over"][arm]) if arm in row["over"] else "" for arm in further]
        lines.append(cells)
    return _table(heads, lines)


def _trained(rows):
    """Return the table of a kind: how each row is run, and what it costs."""
    heads = ["command", "settings", "frozen", "seeds", "seconds a seed"]
    return _table(
        heads,
        [
            [
                f"`{row['command']}`",
                ", ".join(f"{name} {value}" for name, value in row["settings"].items()),
                row["frozen"],
                row["seeds"],
                f"{row['seconds']:.0f}",
            ]
            for row in rows
        ],
    )


def _table(heads, lines):
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
