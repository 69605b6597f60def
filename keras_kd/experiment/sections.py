"""The sections of the report page, from what a run left; none knows what kind of run it was."""

import numpy as np

from keras_kd import metrics
from keras_kd._common.json_files import NUMBER, read_json
from keras_kd._common.looks import known, look_of
from keras_kd.experiment import blocks, plots, tables
from keras_kd.experiment.statistics import on_one_seed
from keras_kd.runs.progress import title_of

# More classes than these are a wall: some are chosen, and the page says which.
_MOST_CLASSES = 20
THREE = ("teacher", "student", "student_alone")
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


def comparisons(results, parts):
    """Return the gains of the distilled student over every other model, with their intervals."""
    if "gains" in results:
        gains = {name: each["accuracy"] for name, each in results["gains"].items()}
        over = f"over {len(parts)} seeds"
    else:
        gains, over = (
            _on_images(parts[0].predictions, results.get("quick", False)),
            "over test data",
        )
    if not gains:
        return ""
    rows = []
    for name in sorted(known(gains), key="teacher".__eq__):
        gain = gains[name]
        points, interval = 100 * gain["mean"], gain["interval_95"]
        low, high = (None, None) if interval is None else (100 * end for end in interval)
        text = "no verdict" if interval is None else f"({low:+.2f} to {high:+.2f})"
        rows.append((title_of(name), [(name, low, points, high)], f"{points:+.2f} {text}"))
    said = "; ".join(f"{title} {text}" for title, _, text in rows)
    strips, _ = blocks.strips(
        rows,
        f"Points of accuracy of the distilled student over each other model: {said}.",
        zero=True,
    )
    caption = "Points of accuracy on the test split; right of zero the distilled student is better."
    if any(gain["interval_95"] for gain in gains.values()):
        caption += f" Lines: 95 % intervals {over}."
    title = "The distilled student against each other model"
    return blocks.section(title, strips, blocks.note(caption))


def _on_images(said, quick):
    student = said.logits["student"]
    found = {}
    for name, logits in said.logits.items():
        if name != "student":
            gain, *interval = metrics.paired_gain(said.labels, student, logits)
            found[name] = on_one_seed(gain, interval, quick=quick)
    return found


def models(results):
    """Return the table of all models on the test split."""
    rows = []
    for name, model in results["models"].items():
        test = model["test"]
        if name == "teacher":  # It agrees with itself.
            test = {**test, "agreement_with_teacher": None}
        cells = [tables.figure(test.get(key), form) for key, (_, form) in tables.METRICS.items()]
        parameters, size = model.get("parameters"), model.get("bytes")
        cells += [f"{parameters:,}" if parameters else ""]
        cells += ["" if size is None else tables.kilobytes(size)]
        rows.append([title_of(name), *cells])
    columns = ["", *(name for name, _ in tables.METRICS.values()), "parameters", ".keras file"]
    text = "NLL: negative log-likelihood. ECE: expected calibration error. Agreement: with the "
    text += "teacher. ±: standard deviation over seeds."
    return blocks.section(
        f"The models on {results['data']['test']:,} test examples, read once",
        blocks.table(columns, rows),
        *map(blocks.note, tables.notes(results)),
        blocks.note(text),
    )


def learning(parts):
    """Return the learning curves of all seeds."""
    curves = [part.curves for part in parts if part.curves]
    if not curves:
        return ""
    names = {name for of_seed in curves for name in of_seed}
    caption = "A line for each model and seed; marked: the epoch that was kept."
    if len(known(names)) < len(names):
        caption += " Grey: the other students."
    caption += " The axes begin where the lines do."
    shown = blocks.panels(plots.curves(curves), caption, known(names))
    return blocks.section("Learning curves", shown)


def _accuracies(said):
    """Return accuracies by class in per cent, `{name: [num_seeds, num_classes]}`."""
    return {
        name: 100 * np.array([metrics.per_class_accuracy(s.labels, s.logits[name]) for s in said])
        for name in THREE
        if name in said[0].logits
    }


def by_class(said, class_names):
    """Return the accuracy of teacher, student alone and student distilled on each class."""
    accuracies = _accuracies(said)
    means = {name: values.mean(axis=0) for name, values in accuracies.items()}
    chosen, which = chosen_classes(list(accuracies.values()))
    rows = []
    for number in chosen:
        marks = []
        for name, each in accuracies.items():
            values = each[:, number]
            marks.append((name, values.min(), values.mean(), values.max()))
        rows.append((class_names[number], marks, ""))
    student = means["student"]
    worst, best = np.nanargmin(student), np.nanargmax(student)
    strips, begin = blocks.strips(
        rows,
        f"Accuracy by class; the student distilled knows {class_names[best]} best "
        f"({student[best]:.1f} %) and {class_names[worst]} worst ({student[worst]:.1f} %).",
        within=(0, 100),
    )
    caption = f"Accuracy on the test split, %. {which}" + (
        f" The axis begins at {begin:g} %." if begin > 0 else ""
    )
    caption += " Lines: from the worst seed to the best." if len(said) > 1 else ""
    return blocks.section(
        "By class", blocks.legend(accuracies), strips, blocks.note(caption),
        _classes(means, [class_names[number] for number in chosen], chosen),
    )  # fmt: skip


def _classes(means, class_names, chosen):
    costs = {"compression cost": ("student_alone", "teacher")}
    costs["distillation gave back"] = ("student", "student_alone")
    costs = {title: pair for title, pair in costs.items() if set(pair) <= means.keys()}
    rows = [
        [
            name,
            *(f"{values[number]:.1f}" for values in means.values()),
            *(f"{means[one][number] - means[other][number]:+.1f}" for one, other in costs.values()),
        ]
        for name, number in zip(class_names, chosen, strict=True)
    ]
    return blocks.table(["accuracy, %", *map(title_of, means), *costs], rows)


def chosen_classes(values):
    """Return the numbers of the classes to show, and a sentence if they are not all.

    Args:
        values: `[num_models, num_seeds, num_classes]`, accuracies; of the last model and of the
            one before it the difference is looked at.
    """
    values = np.nan_to_num(np.asarray(values).mean(axis=1), nan=100.0)
    num_classes = values.shape[-1]
    if num_classes <= _MOST_CLASSES:
        return list(range(num_classes)), ""
    worst = np.argsort(values.min(axis=0), kind="stable")
    changed = np.argsort(-np.ptp(values[-2:], axis=0), kind="stable")
    chosen = {*map(int, worst[: _MOST_CLASSES // 2])}
    for number in map(int, changed):
        if len(chosen) < _MOST_CLASSES:
            chosen.add(number)
    text = f"{_MOST_CLASSES} of {num_classes} classes: the hardest, and where models differ most."
    return sorted(chosen), text


def confusions(said, class_names):
    """Return the confusion matrix of each model, and what distillation changed in it."""
    chosen, which = chosen_classes(list(_accuracies(said).values()))
    shares, named = {}, [class_names[number] for number in chosen]
    for name in _accuracies(said):
        rows = 100 * np.mean([each.confusion(name)[chosen] for each in said], axis=0)
        # What is taken for a class that is not shown.
        others = [np.delete(rows, chosen, axis=1).sum(axis=1)] if which else []
        shares[name] = np.column_stack([rows[:, chosen], *others])
    columns = [*named, *(["others"] if which else [])]
    shown = [
        blocks.matrix(title_of(name), named, columns, matrix, look=name)
        for name, matrix in shares.items()
    ]
    if other := next((name for name in ("student_alone", "teacher") if name in shares), None):
        difference = shares["student"] - shares[other]
        reach = max(1.0, np.abs(difference).max())
        shown.append(
            blocks.matrix(
                f"distilled minus {title_of(other)}, points", named, columns, difference,
                form="{:+.0f}", limits=(0, reach), look="student",
            )
        )  # fmt: skip
    caption = f"Rows: the label; columns: what is predicted, in per cent of the row. {which}"
    return blocks.section(
        "What is taken for what", blocks.side_by_side(shown), blocks.note(caption)
    )


def sureness(said):
    """Return the reliability diagrams of all models."""
    pairs = {
        name: tuple(map(np.concatenate, zip(*(s.confidences(name) for s in said), strict=True)))
        for name in known(said[0].logits)
    }
    caption = "Bars: accuracy of what is predicted with that confidence, on the dashed diagonal "
    caption += "where both agree. Line: the share of the test split."
    return blocks.section(
        "Is it as sure as it is right?", blocks.panels(plots.reliability(pairs), caption)
    )


def files(results, folder):
    """Return the sizes of models and exported files beside what they are worth."""
    points, rows = [], []
    for name, model in results["models"].items():
        if model.get("bytes") is not None:
            accuracy = tables.value_of(model["test"]["accuracy"])
            points.append((title_of(name), model["bytes"], accuracy, look_of(name)))
            size = tables.kilobytes(model["bytes"])
            rows.append([f"{title_of(name)}, .keras", size, f"{accuracy:.4f}", "", ""])
    for name, size, accuracy, agreement, microseconds in _exported(results, folder):
        if accuracy is not None:
            points.append((name, size, accuracy, look_of("student")))
        rows.append(
            [
                name, tables.kilobytes(size), "" if accuracy is None else f"{accuracy:.4f}",
                f"{100 * agreement:.2f} %", f"{microseconds:.1f}",
            ]
        )  # fmt: skip
    if not rows:
        return ""
    columns = ["file", "size", "accuracy", "agrees with Keras", "microseconds each, 1 thread"]
    caption = "Small and accurate is up and to the left; the axes begin where the files do."
    figure = blocks.panels([plots.files(points)], caption) if points else ""
    note = blocks.note(tables.no_file(results))
    return blocks.section("The files", note, figure, blocks.table(columns, rows))


def _exported(results, folder):
    """Yield name, bytes, accuracy, agreement and microseconds of each exported file."""
    if litert := results.get("litert"):
        figures = (litert["accuracy"], litert["agreement_with_keras"])
        yield "student.tflite", litert["bytes"], *figures, litert["microseconds_per_image"]
    for path in sorted(folder.rglob("export.json")):
        what, way_out = "What an export says", "Remove it, or export again."
        for file in read_json(path, _EXPORT, what=what, way_out=way_out)["files"]:
            if "failed" not in file:
                figures = (file.get("accuracy"), file["agreement_with_student"])
                microseconds = file["microseconds"]["1 thread"]["p50"]
                yield file["file"], file["bytes"], *figures, microseconds
