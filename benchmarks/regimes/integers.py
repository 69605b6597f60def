"""Regimes of integers: the twin of a float student, distilled, and the same without a teacher.

A student is trained on the labels, in float32. Then, for int8 and for int4, it is converted as it
is; and its twin (`kd.quantize.prepare`) is trained a few epochs more, on the labels alone or
distilled from a convolutional net, both in the same steps. Each is written as a `.tflite` file; its
accuracies are those of the file, executed. So a pair of rows has the same runs: what the distilled
twin gains over plain conversion, and what of it is the teacher's.
"""

import functools
import itertools
import typing
from collections.abc import Callable

import keras
from regimes import teachers
from regimes.regime import Regime

import keras_kd as kd
from keras_kd._common.files import written_whole
from keras_kd.experiment.optimizers import cosine
from keras_kd.runs.evaluation import logits_of

NAME = "fashion_mnist"
EPOCHS, TWIN_EPOCHS, BATCH = 10, 4, 128
RATE, TWIN_RATE = cosine(1e-3, weight_decay=0.01), cosine(3e-4)
GRID = {"temperature": [1.0, 2.0], "alpha": [0.5, 0.9]}
PIXELS = teachers.PIXELS[NAME]


class Case(typing.NamedTuple):
    """A student: what it is called, how it is built, how its twins are distilled, since when."""

    title: str
    build: Callable
    # Chosen for int4, taken for int8 too.
    settings: dict
    frozen: str


CASES = {
    "perceptron": Case(
        "perceptron of 128 units",
        functools.partial(kd.models.mlp, [128], **PIXELS),
        {"temperature": 2.0, "alpha": 0.5},
        "2026-11-27 04:13",
    ),
    "narrow_conv_net": Case(
        "conv net of 4 and 8 filters",
        functools.partial(kd.models.conv_net, [4, 8], **PIXELS),
        {},
        "",
    ),
    "conv_net": Case(
        "conv net of 8 and 16 filters",
        functools.partial(kd.models.conv_net, [8, 16], **PIXELS),
        {},
        "",
    ),
}


def float_student(case, data, seed):
    """Return the student that is to become a file, trained on the labels, or read again."""
    path = _folder(case, seed) / "float.keras"
    if not path.exists():
        keras.utils.set_random_seed(seed)
        student = kd.Distiller(student=CASES[case].build(), alpha=0.0)
        _train([student], data, seed, RATE, EPOCHS)
        with written_whole(path) as unfinished:
            kd.export.uncompiled(student.student).save(unfinished)
    return keras.models.load_model(path, compile=False)


def twins(case, data, seed, weights, cells):
    """Return trained integer twins of the float student, one a cell, in the order of the cells.

    Args:
        case: name of one of `CASES`.
        data: a `Data`.
        seed: of the row.
        weights: `"int8"` or `"int4"`.
        cells: settings of soft targets, `{"temperature": ..., "alpha": ...}`; `None` for the
            labels alone.
    """
    student = float_student(case, data, seed)
    path = teachers.path_of(NAME, seed, "all", lambda: data)
    teacher = kd.load_teacher(path) if any(cells) else None
    distillers = []
    for cell in cells:
        twin = kd.quantize.prepare(student, weights=weights, calibration=data.train)
        told = {"alpha": 0.0}
        if cell:
            loss = kd.losses.SoftTargets(cell["temperature"])
            told = {"teacher": teacher, "distillation_loss": loss, "alpha": cell["alpha"]}
        distillers.append(kd.Distiller(student=twin, **told))
    _train(distillers, data, seed, TWIN_RATE, TWIN_EPOCHS)
    return [distiller.student for distiller in distillers]


def files(case, data, seed, weights, settings):
    """Return the `.tflite` files of a case by arm, made if they are not there."""
    told = "_".join(f"{name}_{value:g}" for name, value in settings.items())
    names = {
        "plain_conversion": "plain",
        "twin_on_labels": "on_labels",
        "twin_distilled": f"distilled_{told}",
    }
    folder = _folder(case, seed)
    paths = {arm: folder / f"{weights}_{name}.tflite" for arm, name in names.items()}
    write = functools.partial(kd.export.litert, quantization=weights)
    if not paths["plain_conversion"].exists():
        student = float_student(case, data, seed)
        write(student, paths["plain_conversion"], calibration=data.train)
    trained = ("twin_on_labels", "twin_distilled")
    if not all(paths[arm].exists() for arm in trained):
        models = twins(case, data, seed, weights, [None, settings])
        for arm, model in zip(trained, models, strict=True):
            write(model, paths[arm])
    return paths


def accuracies(case, weights, seed, settings):
    """Return the accuracies of all arms on both splits; the twin distilled is `twin_distilled`."""
    data = kd.data.load(NAME, seed=seed)
    models = {
        "teacher": kd.load_teacher(teachers.path_of(NAME, seed, "all", lambda: data)),
        "float_student": float_student(case, data, seed),
    }
    found = {}
    for part in ("test", "validation"):
        split = getattr(data, part)
        answers = {arm: logits_of(model, split) for arm, model in models.items()}
        for arm, path in files(case, data, seed, weights, settings).items():
            answers[arm] = kd.export.run_litert(path, split.images).logits
        found[part] = {
            arm: kd.metrics.accuracy(split.labels, said) for arm, said in answers.items()
        }
    return found


def _folder(case, seed):
    folder = teachers.FOLDER / "integers" / case / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _train(distillers, data, seed, rate, epochs):
    """Train on the same minibatches; each keeps the weights of its best epoch on validation."""
    for distiller in distillers:
        num_steps = epochs * -(-len(data.train) // BATCH)
        distiller.compile(rate(num_steps), metrics=["accuracy"])
    kd.train_together(
        distillers,
        data.train.batches(BATCH, shuffle_seed=seed),
        epochs=epochs,
        validation_data=data.validation.batches(1000),
        callbacks=lambda _: [kd.callbacks.EarlyStopping(patience=epochs)],
        verbose=0,
    )


def _regime(case, weights, control):
    """Return a row: the distilled twin's file against another of `files`.

    What is trained lies in one folder for both rows of a case, whatever `folder` is.
    """

    def run(seed, settings, folder):
        found = accuracies(case, weights, seed, settings)
        renamed = {"twin_distilled": "student", control: "student_alone"}
        return {
            part: {renamed.get(arm, arm): accuracy for arm, accuracy in arms.items()}
            for part, arms in found.items()
        }

    def tune(seed, grid, folder):
        data = kd.data.load(NAME, seed=seed)
        cells = [
            dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
        ]
        split = data.validation
        return [
            {
                "settings": cell,
                "validation": kd.metrics.accuracy(split.labels, logits_of(twin, split)),
            }
            for cell, twin in zip(cells, twins(case, data, seed, weights, cells), strict=True)
        ]

    said = {
        "plain_conversion": "over plain conversion",
        "twin_on_labels": "over the twin on labels",
    }[control]
    return Regime(
        title=f"{weights}: {CASES[case].title}; its distilled twin {said}",
        kind="integers", data="Fashion-MNIST", run=run, tune=tune, grid=GRID,
        settings=CASES[case].settings, frozen=CASES[case].frozen, control=CONTROLS[control],
    )  # fmt: skip


# What `student_alone` is.
CONTROLS = {
    "plain_conversion": "plain conversion of the same float student",
    "twin_on_labels": "the same twin on the labels alone",
}

REGIMES = {
    f"{weights}_{case}_over_{short}": _regime(case, weights, control)
    for case in CASES
    for weights in ("int4", "int8")
    for short, control in (("conversion", "plain_conversion"), ("labels", "twin_on_labels"))
}
