"""Comparisons, sweeps and searches for people: their tables and sentences on a terminal."""

from keras_kd._common.console import Table
from keras_kd._common.looks import LOOKS
from keras_kd.experiment.space import title as title_of_settings
from keras_kd.experiment.statistics import INCONCLUSIVE, NO_VERDICT, TOO_SHORT
from keras_kd.runs.progress import title_of

# What columns are called, and numbers of a width that fits a terminal of 80 columns.
METRICS = {
    "accuracy": ("accuracy", "{:.4f}"),
    "negative_log_likelihood": ("NLL", "{:.3f}"),
    "expected_calibration_error": ("ECE", "{:.3f}"),
    "agreement_with_teacher": ("agreement", "{:.3f}"),
}
# Of the expected calibration error, over the same student alone: three points are said.
_MISCALIBRATED = 0.03
# Of a search, on a terminal; all are in its results.
_NUM_TRIALS = 10
_CAPTION = (
    "NLL: negative log-likelihood. ECE: expected calibration error. Agreement: with the teacher."
)


def closing(title, models, *, files=False):
    """Return what models are worth on the test images, a `Table`.

    Args:
        title: of the table.
        models: of each, by name, `test`: its figures by metric, each a number, or `mean` and `std`
            over seeds. A teacher's agreement with itself is left out. With numbers, `parameters`
            too (`None` if nobody counted them).
        files: whether `bytes`, the size of each file, is shown.
    """
    spread = any(
        isinstance(each, dict) for model in models.values() for each in model["test"].values()
    )
    columns = [name for name, _ in METRICS.values()]
    columns += [] if spread else ["parameters", *(["file"] if files else [])]
    table = new_table(title, columns)
    for name, model in models.items():
        test = dict(model["test"])
        if name == "teacher":
            test.pop("agreement_with_teacher", None)
            # One that was there before the run is the same for every seed.
            test = {key: value_of(value) if _same(value) else value for key, value in test.items()}
        cells = [figure(test.get(metric), form) for metric, (_, form) in METRICS.items()]
        if not spread:
            cells.append(f"{model['parameters']:,}" if model["parameters"] else "")
        if files and not spread:
            cells.append(kilobytes(model["bytes"]) if model.get("bytes") else "")
        title = title_of(name)
        # Four spreads in a line of 80 leave room for a word.
        title = title.removeprefix("student ") if spread else title
        table.add_row(title, *cells, colour=_colour(name))
    return table


def comparison(results):
    """Return the table of a comparison: mean ± standard deviation over seeds."""
    return closing(
        f"{results['recipe']}, {len(results['seeds'])} seeds: "
        f"{results['data']['test']:,} test examples, read once",
        results["models"],
    )


def notes(results):
    """Return what else is to be known of the models of a result, a sentence each."""
    unlabelled = results["data"].get("unlabelled")
    found = []
    if unlabelled:
        found.append(
            f"The teacher spoke of {unlabelled:,} examples more than there are labels for; who "
            "learns from labels alone saw the labelled ones more often, for as many steps."
        )
    if "machines" in results:
        found.append(
            f"Trained on several kinds of machines: {'; '.join(_kinds(results['machines']))}. "
            "Where processors differ, so may the last digits."
        )
    return [*found, *filter(None, [calibration_note(results["models"])])]


def _kinds(machines):
    """Return what differs between machines, a few words each."""
    differ = [key for key in machines[0] if len({each.get(key) for each in machines}) > 1]
    return [
        ", ".join(f"{each.get(key)}" if key in ("device", "system") else f"{key} {each.get(key)}"
                  for key in differ)
        for each in machines
    ]  # fmt: skip


def calibration_note(models):
    """Return one sentence if distillation made the student surer than it should be, `""` if not.

    Args:
        models: as in `closing`. Without a `student_alone` the student is held against its teacher.
    """
    others = {"student_alone": "the same student alone", "teacher": "the teacher"}
    other = next((name for name in others if name in models), "student")
    distilled, before = (
        value_of(models[name]["test"]["expected_calibration_error"]) for name in ("student", other)
    )
    if not distilled - before > _MISCALIBRATED:
        return ""
    return (
        f"Calibration got WORSE: what the distilled student says of its own certainty is "
        f"{100 * distilled:.1f} points off on average, {others[other]} {100 * before:.1f} "
        "(ECE). Do not take its probabilities at their word."
    )


def verdicts(results):
    """Return what a comparison's gains allow to be said, a line each."""
    lines = []
    for other, gains in results["gains"].items():
        if other != "teacher":  # It is larger, and no other way to train the student.
            lines.extend(verdict(gain, other, metric) for metric, gain in gains.items())
    return lines


def verdict(gain, other, metric):
    """Return one sentence on the gain of the distilled student over another, in one metric."""
    name = METRICS[metric][0]
    factor, unit = (1, "nats") if metric == "negative_log_likelihood" else (100, "points")
    figure = f"{factor * gain['mean']:+.{4 if factor == 1 else 2}f} {unit}"
    if gain["interval_95"] is None:
        # Former versions judged one seed, and gave no reason.
        reason = gain.get("reason") or "fewer than three seeds cannot tell"
        return f"{name}: distilled over {title_of(other)} {figure}: {NO_VERDICT}, {reason}"
    low, high = (f"{factor * end:+.{4 if factor == 1 else 2}f}" for end in gain["interval_95"])
    sentence = (
        f"{name}: distilled {gain['verdict']} {title_of(other)}, {figure}, 95 % interval over "
        f"{len(gain['values'])} seeds {low} to {high}"
    )
    if gain["verdict"] != INCONCLUSIVE:
        return sentence
    sentence = sentence.replace(f"distilled {INCONCLUSIVE}", f"{INCONCLUSIVE}, distilled over")
    needed = gain["seeds_needed"]
    return f"{sentence}; " + (
        f"about {needed} seeds would settle it if this gain and spread are right"
        if needed
        else "no reasonable number of seeds would settle a gain this small"
    )


def grid(results):
    """Return the table of a sweep: every cell on validation, beside teacher and student alone."""
    table = new_table(
        f"{results['recipe']}, seed {results['seed']}: "
        f"{results['data']['validation']:,} validation examples, 'worst' of the classes",
        [*(name for name, _ in METRICS.values()), "worst", "epochs"],
    )
    best = results["best"]
    for name, figures in results["validation"].items():
        model = results["models"][name]
        epochs = f"{model.get('epochs', '')}"
        table.add_row(title_of(name), *_cells(figures), epochs, colour=_colour(name))
    table.add_section()
    for cell in results["cells"]:
        title = f"{cell_title(cell)}{' *' if cell['name'] == best else ''}"
        table.add_row(
            title, *_cells(cell["validation"]), f"{cell['epochs']}", bold=cell["name"] == best
        )
    return table


def best_cell(results):
    """Return what the best cell is worth on the test images, a line each."""
    (best,) = (cell for cell in results["cells"] if cell["name"] == results["best"])
    return _best_on_test(results, cell_title(best), len(results["cells"]))


def _best_on_test(results, title, count):
    test = {name: model["test"]["accuracy"] for name, model in results["models"].items()}
    others = {"student_alone": "the same student alone", "teacher": "the teacher"}
    beside = [f"{other} {100 * test[name]:.2f} %" for name, other in others.items() if name in test]
    if results.get("quick"):
        warning = f"{NO_VERDICT}: {TOO_SHORT}, and the settings found are those of a few epochs"
    else:
        warning = (
            "This is one seed, and the best of many is flattered by its validation figure: "
            "`keras-kd compare` tells over seeds"
        )
    sentence = (
        f"* Best on validation of {count}: {title}; on {results['data']['test']:,} test examples, "
        f"read once, it has {100 * test['student']:.2f} % accuracy"
    )
    return [", ".join([sentence, *beside]) + ".", warning]


def trials(results):
    """Return the table of a search: its best trials, beside teacher and student alone."""
    finished = [trial for trial in results["trials"] if trial["state"] == "complete"]
    finished.sort(key=lambda trial: trial["validation"]["negative_log_likelihood"])
    finished.sort(key=lambda trial: trial["value"], reverse=True)  # Sorting is stable.
    shown = ("accuracy", "negative_log_likelihood", "agreement_with_teacher")
    table = Table(
        f"{results['recipe']}, seed {results['seed']}: {len(results['trials'])} trials, "
        f"{len(results['trials']) - len(finished)} of them pruned; "
        f"{results['data']['validation']:,} validation examples",
        ["", "settings", *(METRICS[metric][0] for metric in shown), "epochs"],
        caption="NLL: negative log-likelihood. Agreement: with the teacher.",
        left=(0, 1),
        broken=(1,),
    )

    def cells(figures, epochs):
        # Nobody agrees with a teacher that soft labels stand for.
        return [*(figure(figures.get(key), METRICS[key][1]) for key in shown), f"{epochs}"]

    for name, figures in results["validation"].items():
        epochs = results["models"][name].get("epochs", "")
        table.add_row(title_of(name), "", *cells(figures, epochs), colour=_colour(name))
    table.add_section()
    for trial in finished[:_NUM_TRIALS]:
        is_best = trial["name"] == results["best"]
        table.add_row(
            f"{trial['name']}{' *' if is_best else ''}",
            title_of_settings(trial["settings"]),
            *cells(trial["validation"], trial["epochs"]),
            bold=is_best,
        )
    return table


def best_trial(results):
    """Return what the best trial of a search is worth on the test images, a line each."""
    (best,) = (trial for trial in results["trials"] if trial["name"] == results["best"])
    return _best_on_test(results, title_of_settings(best["settings"]), len(results["trials"]))


def cell_title(cell):
    """Return what people call a cell of a sweep."""
    temperature = "" if cell["temperature"] is None else f" T={cell['temperature']:g}"
    return f"{cell['loss']}{temperature} alpha={cell['alpha']:g}"


def _same(value):
    # What is left of rounding when the mean is taken is no spread.
    return isinstance(value, dict) and value["std"] is not None and value["std"] < 1e-9


def _colour(name):
    return LOOKS[name].colour if name in LOOKS else ""


def _cells(figures):
    worst = min(figures["per_class_accuracy"])
    said = (figure(figures.get(key), form) for key, (_, form) in METRICS.items())
    return [*said, f"{worst:.3f}"]


def new_table(title, columns):
    """Return an empty table in the style of all of ours, its first column for names."""
    return Table(title, ["", *columns], caption=_CAPTION)


def figure(value, form="{:.4f}"):
    """Return a figure as text: a number, or `mean ± std` of a spread over seeds; `""` for none."""
    if value is None:
        return ""
    return mean_and_std(value, form) if isinstance(value, dict) else form.format(value)


def mean_and_std(spread, form="{:.4f}"):
    """Return `mean ± std`, or the mean alone where there is one value."""
    mean = form.format(spread["mean"])
    return mean if spread["std"] is None else f"{mean} ± {form.format(spread['std'])}"


def kilobytes(size):
    """Return what people call a size in bytes, nothing of one that is not known."""
    return "" if size is None else f"{size / 1000:,.0f} KB"


def no_file(results):
    """Return the sentence that says why no file was exported, empty if one was."""
    reason = results.get("not_exported")
    files = results.get("export", {}).get("files", [])
    if files and all("failed" in each for each in files):
        reason = files[0]["failed"]
    return f"NO FILE was written. {reason}" if reason else ""


def to_ship(results):
    """Return one sentence on which exported file to take."""
    name = results["to_ship"]
    if refusal := no_file(results):
        return refusal
    if name is None:
        return "NO FILE is within its budgets; name a smaller student, or allow more."
    (file,) = (each for each in results["export"]["files"] if each.get("file") == name)
    which = (
        "the most accurate within the budgets" if results["export"].get("budgets") else "the best"
    )
    return (
        f"To ship: {name}, {file['bytes'] / 1000:,.0f} KB, accuracy "
        f"{100 * file['accuracy']:.2f} % on test examples: {which}."
    )


def value_of(figure):
    """Return a figure, or the mean of those of seeds."""
    return figure["mean"] if isinstance(figure, dict) else figure
