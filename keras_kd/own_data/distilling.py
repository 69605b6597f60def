"""From a teacher and data to a measured student, in one call."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from keras_kd import metrics
from keras_kd._common.backend import describe_machine, require_extra
from keras_kd._common.checks import (
    ALPHAS,
    RATES,
    TEMPERATURES,
    ArgumentError,
    check_budgets,
    check_integer,
    check_number,
    check_seed,
    is_number,
)
from keras_kd._common.files import sha256_of
from keras_kd._common.model_files import load_model_file
from keras_kd._common.typing import PathLike, Tensor
from keras_kd.checking.inspection import check
from keras_kd.data.splits import Data
from keras_kd.own_data import report as report_module
from keras_kd.own_data.automatic import AUTO, choose, choose_without_probe, sentence
from keras_kd.own_data.output import (
    check_output,
    finished,
    is_begun,
    is_finished,
    remembered,
    workplace,
    write,
)
from keras_kd.own_data.proposing import lines, pick, proposed
from keras_kd.own_data.result import Result
from keras_kd.own_data.training import Training
from keras_kd.own_data.unlabelled import with_unlabelled
from keras_kd.runs.evaluation import figures_of, logits_of
from keras_kd.runs.progress import Progress
from keras_kd.runs.students import StudentLike, named
from keras_kd.soft_labels import SoftLabels
from keras_kd.teachers.ensemble import TeacherLike
from keras_kd.teachers.fitting import opened_teacher

FORMATS = ("float32", "dynamic", "int8")
_SHOWN = 12  # Characters of a digest, enough to tell two apart.


def distill(
    teacher: TeacherLike | None,
    data: Data,
    *,
    student: StudentLike = AUTO,
    output: PathLike | None = None,
    temperature: float | str = AUTO,
    alpha: float | str = AUTO,
    unlabelled: Tensor | None = None,
    soft_labels: SoftLabels | PathLike | None = None,
    epochs: int = 100,
    patience: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    scale: str = "0..255",
    head: str | None = None,
    control: bool = True,
    checked: bool = True,
    formats: Sequence[str] = FORMATS,
    max_kb: float | None = None,
    max_drop: float | None = None,
    max_us: float | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> Result:
    """Distil a teacher into a student, train the same student alone, and say what each is worth.

    Before anything is trained, `check` looks for what would waste it. Epochs are chosen on the
    validation images; the test images are read once, at the end.

    Args:
        teacher: a trained `keras.Model` that ends in logits, softmax or sigmoid, or a list of
            several. It may take another size, colours or scale than the images have. `None`
            with `soft_labels`.
        data: a `Data`, see `data.read`, `data.from_arrays` and `data.load`.
        student: a spec (`models.from_spec`), a path of a `.keras` file, a `keras.Model` (a copy
            is trained), or a function `(image_shape=..., num_classes=...) -> keras.Model`.
            `"auto"` proposes three of one family from `max_kb`, trains them together on one
            teacher pass, runs their int8 files, and takes the most accurate within the budgets.
        output: a new or empty folder for `student.keras`, `student_alone.keras`, `report.json`,
            `config.json` and the exported files, or that of the same distillation, which is then
            read back; nothing is written if `None`. While it works, `unfinished/`
            lies there too: called again with the same, a distillation that was interrupted or
            killed goes on after its last whole epoch, and ends with the weights of an
            uninterrupted one, to the bit, on the same machine.
        temperature: of the soft targets, above 0; `"auto"` chooses it from the teacher's logits
            and a short probe on validation images, which the report describes.
        alpha: weight of the distillation loss, 0 to 1; `1 - alpha` weighs the labels; `"auto"`
            as above.
        unlabelled: images without labels, of the shape of the others, for the teacher to speak
            of: an array `[n, height, width, channels]`, or what `data.unlabelled` returned.
        soft_labels: `SoftLabels` of the training images, or their folder, where no teacher is
            at hand.
        epochs: at most, for student and control each.
        patience: epochs without a better validation accuracy that end a training.
        batch_size: examples a step.
        learning_rate: of Adam.
        seed: of first weights and orders of the data.
        scale: what the teacher was trained on, see `check`.
        head: as in `Teacher`, for a model whose last layer does not say what it returns.
        control: whether the same student is trained alone too; without it nobody knows if
            distillation helped.
        checked: whether `check` may refuse to begin.
        formats: of the exported files, see `export.FORMATS`.
        max_kb: budget of a file in kilobytes (1000 bytes).
        max_drop: budget of a file's drop in accuracy from the student's, in points.
        max_us: budget of the median microseconds for one image on one thread.
        overwrite: replace a distillation of other settings that lies in `output`, finished or not.
        verbose: show progress, table and verdict.

    Returns:
        A `Result`: `student`, `report`, `export(folder)`.

    Raises:
        ValueError: if an argument is out of range, teacher, student and data do not fit each
            other, training would be wasted, what is unfinished was begun with something else, or
            another process is at work on it.
        OSError: if the folder is not empty or cannot be written to.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits")
    teacher = kd.models.mlp([64], image_shape=data.image_shape)
    teacher.compile("adam", kd.losses.CrossEntropy())
    teacher.fit(data.train.batches(32, shuffle_seed=0), epochs=5, shuffle=False, verbose=0)
    settings = dict(student="mlp:8", temperature=2.0, alpha=0.9, epochs=2)  # All can be left out.
    result = kd.distill(teacher, data, **settings, verbose=False)
    assert set(result.report["models"]) == {"teacher", "student", "student_alone"}
    ```
    """
    check_integer("epochs", epochs, minimum=1)
    check_integer("patience", patience, minimum=1)
    check_integer("batch_size", batch_size, minimum=1)
    check_seed(seed)
    progress = Progress(verbose)
    budgets = {"max_kb": max_kb, "max_drop": max_drop, "max_us": max_us}
    check_budgets(budgets)
    if soft_labels is not None:
        check_soft_labels(teacher, unlabelled, student)
    specs = None
    if isinstance(student, str) and student == AUTO:
        specs = _proposed(data, max_kb)
    for name, value, bounds in (
        ("temperature", temperature, TEMPERATURES),
        ("alpha", alpha, ALPHAS),
    ):
        if value != AUTO:
            check_number(name, value, bounds, ", or 'auto'")
    check_number("learning_rate", learning_rate, RATES)
    # Of Python's own kinds, for JSON.
    temperature, alpha = (each if each == AUTO else float(each) for each in (temperature, alpha))
    epochs, patience, batch_size, seed = map(int, (epochs, patience, batch_size, seed))
    output = None if output is None else Path(output)
    if output is not None:
        check_output(output, formats)
    train = data.train if unlabelled is None else with_unlabelled(data.train, unlabelled)
    fitted, stored, how_told = teacher, None, {"scale": scale, "head": head}
    if soft_labels is not None:
        stored = _stored(soft_labels)
    elif checked and (overwrite or not _is_there(output)):  # If it is, it was checked then.
        looked_at = specs[0] if specs else student
        found = check(teacher, data, student=looked_at, **how_told, epochs=epochs, verbose=verbose)
        found.refuse()
        fitted = found.teacher
    if stored is None:
        fitted = opened_teacher(fitted, data, **how_told)
    settings = {
        "temperature": temperature,
        "alpha": alpha,
        "unlabelled": len(train) - len(data.train),
        "epochs": epochs,
        "patience": patience,
        "batch_size": batch_size,
        "learning_rate": float(learning_rate),
        "seed": seed,
        "scale": scale,
    }
    asked = {"formats": list(formats), "control": control, "budgets": budgets}
    made_of = {}
    if output is not None:
        made_of = {
            **settings,
            "student": named(student, data, seed),
            "head": head,
            "teacher": fitted and fitted.fingerprint[:_SHOWN],
            # The record holds the digest of every shard.
            "soft_labels": stored and sha256_of(stored.path / "store.json")[:_SHOWN],
            "data": data.digest[:_SHOWN],
            "training images": train.digest[:_SHOWN],
            # What an automatic student depends on.
            "max_kb": specs and max_kb,
            "max_us": specs and max_us,
        }
        report = finished(output, made_of, asked, overwrite)
        if report is not None:
            progress.say(f"{output} is finished:")
            _show(report, progress)
            progress.say(report_module.to_ship(report))
            return Result(
                load_model_file(output / "student.keras", "student"), report, fitted, data
            )
    with workplace(output, made_of, data, progress, overwrite) as folder:
        started = time.perf_counter()
        training = Training(
            data=data,
            student=specs[0] if specs else student,
            epochs=epochs,
            patience=patience,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            folder=folder,
            progress=progress,
        )
        was_chosen = (folder / "chosen.json").is_file()
        temperature, alpha, chosen, *seconds = remembered(
            folder / "chosen.json",
            lambda: _chosen(training, fitted, stored, temperature, alpha),
            _is_choice,
        )
        training.earlier.extend(seconds if was_chosen else [])
        progress.say(*([sentence(temperature, alpha, chosen)] if chosen else []))
        how = {"temperature": temperature, "alpha": alpha, "train": train}
        proposals = []
        if specs is None:
            distilled = training.distil(fitted, **how, soft_labels=stored)
        else:
            student, distilled, proposals = pick(
                training, fitted, specs, **how, max_kb=max_kb, max_us=max_us
            )
            training = dataclasses.replace(training, student=student)
            progress.say(*lines(proposals, student))
        trained = {"student": distilled}
        if control:
            trained["student_alone"] = training.alone()
        report = {
            "settings": {
                "student": student if isinstance(student, str) else type(student).__name__,
                **settings,
                "temperature": temperature,
                "alpha": alpha,
            },
            "chosen": chosen,
            "proposals": proposals,
            "machine": describe_machine(),
            "data": _describe(data),
            **_judged(fitted, trained, data),
            "curves": {name: each.curves for name, each in trained.items()},
            "seconds": time.perf_counter() - started + sum(training.earlier),
        }
        result = Result(distilled.model, report, fitted, data)
        _show(report, progress)
        if output is not None:
            models = {name: each.model for name, each in trained.items()}
            write(result, models, output, asked, budgets, progress)
    return result


def _is_there(output):
    return output is not None and (is_begun(output) or is_finished(output))


def _show(report, progress):
    progress.show(report_module.table(report))
    progress.say(report_module.verdict(report))


def _chosen(training, teacher, soft_labels, temperature, alpha):
    """Return temperature and alpha, how they were chosen, and in how many seconds."""
    began = time.perf_counter()
    if soft_labels is None:
        chosen = choose(training, teacher, temperature, alpha)
    else:
        chosen = choose_without_probe(soft_labels, training.data, temperature, alpha)
    return *chosen, time.perf_counter() - began


def _is_choice(found):
    """Return whether a value is what `_chosen` returns, or what it returned without the time."""
    if not isinstance(found, list) or len(found) not in (3, 4):
        return False
    temperature, alpha, how, *seconds = found
    fits = is_number(temperature, TEMPERATURES) and is_number(alpha, ALPHAS)
    return fits and isinstance(how, dict) and all(isinstance(each, float) for each in seconds)


def _judged(teacher, trained, data):
    """Return what everything is worth on the test images. Every choice has been made."""
    test = data.test
    judged, teacher_logits = {}, None
    if teacher is not None:
        teacher_logits = logits_of(teacher, test)
        judged["teacher"] = {
            "head": teacher.head,
            "parameters": sum(model.count_params() for model in teacher.models),
            "test": figures_of(test.labels, teacher_logits),
        }
    logits = {}
    for name, (model, curves) in trained.items():
        logits[name] = logits_of(model, test)
        best = curves["best_epoch"]
        judged[name] = {
            "parameters": model.count_params(),
            "epochs": len(curves["loss"]),
            "best_epoch": best,
            "seconds": curves["seconds"],
            "validation_accuracy": curves["val_accuracy"][best - 1],
            "test": figures_of(test.labels, logits[name], teacher_logits),
        }
    if "student_alone" not in logits:
        return {"models": judged}
    gain, low, high = metrics.paired_gain(test.labels, logits["student"], logits["student_alone"])
    return {"models": judged, "gain": {"accuracy": gain, "interval_95": [low, high]}}


def _proposed(data, max_kb):
    require_extra("ai_edge_litert", "export", "Choosing a student by its file")
    return proposed(data, max_kb)


def check_soft_labels(teacher, unlabelled, student):
    """Refuse what cannot stand beside soft labels.

    Args:
        teacher: as in `distill`, or its path.
        unlabelled: the same.
        student: as in `distill`.

    Raises:
        ArgumentError: in one sentence.
    """
    if isinstance(student, str) and student == AUTO:
        raise ArgumentError(
            "A student is proposed where there is a teacher. Received: student='auto' and soft "
            "labels. Name a student, such as 'conv:16-32'."
        )
    if teacher is not None or unlabelled is not None:
        raise ArgumentError(
            "Soft labels stand for the teacher, on the training images alone. Received: a teacher "
            "or unlabelled images beside them. Pass one or the other."
        )


def _stored(soft_labels):
    return soft_labels if isinstance(soft_labels, SoftLabels) else SoftLabels(soft_labels)


def _describe(data):
    return {
        "name": data.name,
        "source": data.source,
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test),
        "class_names": list(data.class_names),
        "image_shape": [int(size) for size in data.image_shape],
        "left_out": list(data.left_out),
        "digest": data.digest,
    }
