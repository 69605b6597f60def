"""Run a recipe: train, choose on validation, read the test split once, export, write it down."""

import time
from typing import TYPE_CHECKING, Any

from keras_kd import export, metrics
from keras_kd._common.backend import describe_machine, on_gpu, require_extra
from keras_kd._common.checks import check_integer, check_seed
from keras_kd._common.files import size_of
from keras_kd._common.locks import at_work
from keras_kd._common.typing import PathLike
from keras_kd.distillers.precision import policy_for
from keras_kd.experiment import budget as budget_module
from keras_kd.experiment import report
from keras_kd.experiment.training import Trainer
from keras_kd.runs import events
from keras_kd.runs import folder as folder_module
from keras_kd.runs.evaluation import describe_models, evaluate
from keras_kd.runs.progress import Progress

if TYPE_CHECKING:
    from keras_kd.experiment.recipe import Recipe


def run(
    recipe: "Recipe",
    *,
    seed: int = 0,
    epochs: int | None = None,
    quick: bool = False,
    budget: float | str | None = None,
    tensorboard: bool = False,
    output: PathLike | None = None,
    overwrite: bool = False,
    data_dir: PathLike | None = None,
    verbose: bool = True,
) -> dict[str, Any]:
    """Train the teacher, distil the student, train the same student alone, and compare them.

    Every choice is made on the validation split; the test split is read once, at the end. A run
    that was killed goes on where it stopped when it is called again with the same arguments, and
    ends with the same weights, to the bit. What the same recipe, seed and data left in the folder
    is used again; a run of other settings is refused by name.

    Written to the folder, each file whole or not at all: `config.json`; `teacher.keras`,
    `student.keras`, `student_alone.keras` (uncompiled), each with a `.json` by which a later run
    knows it and a `_history.csv`; `student_savedmodel/`, `student.tflite` and its `.json`,
    `picture.png`, `predictions.npz` (on the test split, for the report), `results.json`. While a
    model trains, its checkpoint lies there too.

    Args:
        recipe: a `Recipe`.
        seed: integer, at least 0, that splits, first weights and orders of the data depend on.
        epochs: the most epochs of each of the three trainings; the recipe's if `None`.
        quick: a first look: the recipe's `quick_epochs`; too short to judge.
        budget: the time for all of it, in seconds or as a text such as `"90min"`: the recipe's
            best form, with as many epochs as fit, by a short timing on this machine at the start,
            which should then be as busy as it will be. What was chosen stands in the settings, and
            an interrupted run keeps it.
        tensorboard: write events too, for each model in `tensorboard/<name>`; those of an
            interrupted run go on without a gap.
        output: folder to write to; `saved_models/<recipe.name>` if `None`.
        overwrite: replace a run of other settings that the folder holds, finished or not; what it
            trained in the same way is used again.
        data_dir: as in `data.load`.
        verbose: show the progress and the closing table.

    Returns:
        The contents of `results.json`, as a dict. Its `seconds` are those of this process, and of
        the trainings that earlier ones did.

    Raises:
        ValueError: if an argument is out of range, the folder holds another run, or another process
            works in it.
        FileNotFoundError: if the data set is nowhere to be found.
        ImportError: if a package of the extras `export`, `report` or `tensorboard` is missing.
    """
    check_seed(seed)
    check_integer("epochs", 1 if epochs is None else epochs, minimum=1)
    require_extra("ai_edge_litert", "export", "A run's .tflite file")
    require_extra("matplotlib", "report", "A run's picture")
    budget = budget_module.seconds_of(budget)
    recipe = recipe.for_epochs(epochs, quick=quick, best=budget is not None)
    options = {
        "seed": seed,
        "epochs": epochs,
        "quick": quick,
        "budget": budget,
        "tensorboard": tensorboard,
        "data_dir": data_dir,
    }
    folder = folder_module.output_for("run", recipe.name, output, options, overwrite)
    callbacks = events.callbacks_for(folder, tensorboard)
    progress = Progress(verbose)
    started = time.perf_counter()
    data = load(recipe, seed, data_dir, progress)
    what = {
        "kind": "run",
        "recipe": recipe.name,
        "options": options,
        "data": describe(data),
    }
    trainer = Trainer(recipe, data, seed, folder, progress, callbacks)
    with at_work(folder):  # Before minutes of work, if it cannot be.
        trainer = budget_module.fitted(
            trainer, _students, budget=budget, overwrite=overwrite, started=started
        )
        settings = trainer.recipe.settings(data)
        folder_module.begin(
            folder, **what, settings=settings, progress=progress, overwrite=overwrite
        )
        trained = _train_and_export(trainer, folder)
        # Every choice is made: from here on the test split may be read.
        test = data.test
        logits, figures = evaluate(trained, test, folder)
        results = {
            **folder_module.head(what, settings, test),
            "models": describe_models(folder, trained, figures),
            "gain": _gain(test.labels, logits),
            "litert": _run_litert(folder / "student.tflite", test, logits["student"]),
            "curves": {name: curves for name, (_, curves) in trained.items()},
        }
        results["seconds"] = time.perf_counter() - started + sum(trainer.earlier)
        folder_module.finish(folder, results)
        report.draw(
            folder / "picture.png",
            title=recipe.name,
            curves=results["curves"],
            test=test,
            class_names=data.class_names,
            teacher_logits=logits["teacher"],
        )
    progress.show(report.table(results))
    progress.say(*report.sentences(results, folder))
    return results


def load(recipe, seed, data_dir, progress):
    """Return the recipe's data, split by the seed, having said what it is."""
    machine = describe_machine()
    progress.say(f"Device: {machine['device']}")
    if recipe.precision is not None:
        policy, reason = policy_for(recipe.precision, on_gpu=on_gpu())
        progress.say(f"Precision: {policy} ({reason}); weights, losses: float32")
    data = recipe.data(seed, data_dir)
    progress.say(
        f"Data: {data.name} from {data.source}: {len(data.train)} to train, "
        f"{len(data.validation)} to validate"
    )
    return data


def describe(data):
    """Return what a result must say of the data; the test split is left alone."""
    return {
        "name": data.name,
        "train": len(data.train),
        "validation": len(data.validation),
        "class_names": list(data.class_names),
        "digest": data.digest,
    }


def _students(trainer, teacher):
    """Return what is trained beside the teacher, one after the other."""
    return [{"student": trainer.distilled(teacher)}, {"student_alone": trainer.alone()}]


def _train_and_export(trainer, folder):
    """Return `{name: Trained}` of teacher, student and student alone, all written."""
    teacher = trainer.teacher()
    student = trainer.distil(teacher.model)
    alone = trainer.train_alone(teacher.model)
    export.saved_model(student.model, folder / "student_savedmodel")
    export.litert(student.model, folder / "student.tflite")
    return {"teacher": teacher, "student": student, "student_alone": alone}


def _gain(labels, logits):
    gain, low, high = metrics.paired_gain(labels, logits["student"], logits["student_alone"])
    return {"accuracy": gain, "interval_95": [low, high]}


def _run_litert(path, test, keras_logits):
    run = export.run_litert(path, test.images)
    return {
        "accuracy": metrics.accuracy(test.labels, run.logits),
        "agreement_with_keras": metrics.agreement(run.logits, keras_logits),
        "microseconds_per_image": run.microseconds,
        "images": len(test),
        "bytes": size_of(path),
    }
