"""A grid of temperatures, alphas and losses: students trained together on one teacher pass."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_kd import metrics
from keras_kd._common.backend import require_extra
from keras_kd._common.checks import check_integer, check_seed
from keras_kd._common.locks import at_work
from keras_kd._common.typing import PathLike
from keras_kd.experiment import budget as budget_module
from keras_kd.experiment import heat_map, tables
from keras_kd.experiment.grid import cells_of
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.run import describe, load
from keras_kd.experiment.training import Trainer
from keras_kd.runs import events
from keras_kd.runs import folder as folder_module
from keras_kd.runs.evaluation import describe_models, evaluate, figures_of, predict
from keras_kd.runs.progress import Progress


def sweep(
    recipe: Recipe,
    *,
    temperature: Sequence[float] | None = None,
    alpha: Sequence[float] = (0.1, 0.5, 0.9),
    loss: Sequence[str] | Mapping[str, Callable[..., Any]] | None = None,
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
    """Distil a student for each cell of a grid, choose the best on validation, and test that one.

    All students, and the same student alone, train together: one pass over the data, one teacher.
    Cells are compared on the validation split; the test split is read once, for the teacher, the
    student alone and the best cell (by validation accuracy, then likelihood). It is one seed: a
    best cell of a comparison over seeds, see `experiment.compare`, may be another.

    A sweep that was killed goes on where it stopped when it is called again with the same
    arguments.

    Written to the folder: `config.json`, the models with their `_history.csv`, `heat_map.png`,
    `predictions.npz`, `results.json`. See `experiment.write_report` for a page.

    Args:
        recipe: a `Recipe`.
        temperature: numbers above 0; the recipe's `temperatures` if `None`.
        alpha: weights of the distillation loss, from 0 to 1.
        loss: names of losses of `keras_kd.losses` on logits, such as `["SoftTargets", "DIST"]`,
            or a dict by name of functions `(temperature) -> loss`; the recipe's if `None`. One
            that has no temperature takes one row. A sweep of functions is gone on with by calling
            it again: `resume` knows losses by name alone.
        seed: integer, at least 0.
        epochs: the most epochs of each training; the recipe's if `None`.
        quick: a first look: the recipe's `quick_epochs`; too short to judge.
        budget: the time for all of it, in seconds or as a text such as `"90min"`: the recipe's
            best form, with as many epochs as fit, by a short timing on this machine at the start,
            which should then be as busy as it will be. What was chosen stands in the settings, and
            an interrupted run keeps it.
        tensorboard: write events too, for each model in `tensorboard/<name>`; those of an
            interrupted run go on without a gap.
        output: folder to write to; `saved_models/<recipe.name>_sweep` if `None`.
        overwrite: replace a run of other settings that the folder holds, finished or not; what it
            trained in the same way is used again.
        data_dir: as in `data.load`.
        verbose: show the progress and the closing table.

    Returns:
        The contents of `results.json`, as a dict: `cells` (each with `name`, `loss`,
        `temperature`, `alpha`, `epochs`, `best_epoch`, `validation` with `per_class_accuracy`),
        `validation` (the same of `teacher` and `student_alone`), `best` (name of a cell),
        `models` (figures on test of `teacher`, `student_alone` and `student`, the best cell),
        `curves`.

    Raises:
        ValueError: if an argument is out of range, the folder holds another run, or another process
            works in it.
        FileNotFoundError: if the data set is nowhere to be found.
        ImportError: if a package of the extras `report` or `tensorboard` is missing.
    """
    check_seed(seed)
    check_integer("epochs", 1 if epochs is None else epochs, minimum=1)
    require_extra("matplotlib", "report", "A sweep's heat map")
    budget = budget_module.seconds_of(budget)
    recipe = recipe.for_epochs(epochs, quick=quick, best=budget is not None)
    temperature = recipe.temperatures if temperature is None else temperature
    cells = cells_of(recipe, temperature, alpha, loss)
    options = {
        "temperature": list(temperature),
        "alpha": list(alpha),
        "loss": loss and list(loss),
        "seed": seed,
        "epochs": epochs,
        "quick": quick,
        "budget": budget,
        "tensorboard": tensorboard,
        "data_dir": data_dir,
    }
    folder = folder_module.output_for("sweep", recipe.name, output, options, overwrite)
    callbacks = events.callbacks_for(folder, tensorboard)
    progress = Progress(verbose)
    started = time.perf_counter()
    data = load(recipe, seed, data_dir, progress)
    what = {
        "kind": "sweep",
        "recipe": recipe.name,
        "options": options,
        "data": describe(data),
    }
    trainer = Trainer(recipe, data, seed, folder, progress, callbacks)
    with at_work(folder):
        trainer = budget_module.fitted(
            trainer,
            lambda *given: [_students(*given, cells)],
            budget=budget,
            overwrite=overwrite,
            started=started,
        )
        settings = trainer.recipe.settings(data)
        folder_module.begin(
            folder, **what, settings=settings, progress=progress, overwrite=overwrite
        )
        trained = _train(trainer, cells)
        validation = _validate(trained, data.validation)
        best = _best(cells, validation)
        # Every choice is made: from here on the test split may be read.
        test = data.test
        files = {"teacher": "teacher", "student_alone": "student_alone", "student": best.name}
        chosen = {name: trained[file] for name, file in files.items()}
        _, figures = evaluate(chosen, test, folder)
        results = {
            **folder_module.head(what, settings, test),
            "cells": [
                {
                    **cell.settings(),
                    "epochs": len(trained[cell.name].curves["loss"]),
                    "best_epoch": trained[cell.name].curves["best_epoch"],
                    "validation": validation[cell.name],
                }
                for cell in cells
            ],
            "validation": {name: validation[name] for name in ("teacher", "student_alone")},
            "best": best.name,
            "models": describe_models(folder, chosen, figures, files),
            "curves": {name: curves for name, (_, curves) in trained.items()},
            "seconds": time.perf_counter() - started + sum(trainer.earlier),
        }
        folder_module.finish(folder, results)
        heat_map.draw(folder / "heat_map.png", results)
    progress.show(tables.grid(results))
    progress.say(*tables.best_cell(results), f"Written to {folder}")
    return results


def _train(trainer, cells):
    """Return `{name: Trained}` of teacher, student alone and every cell, all written."""
    teacher = trainer.teacher()
    distillers = _students(trainer, teacher.model, cells)
    return {"teacher": teacher, **trainer.students("students", distillers, teacher.model)}


def _students(trainer, teacher, cells):
    """Return what is trained together, by name."""
    distillers = {"student_alone": trainer.alone()}
    for cell in cells:
        temperature = trainer.recipe.temperature if cell.temperature is None else cell.temperature
        distillers[cell.name] = trainer.distilled(
            teacher, temperature=temperature, alpha=cell.alpha, loss=cell.build
        )
    return distillers


def _validate(trained, validation):
    """Return the figures of every model on the validation split, by name."""
    logits = predict(trained, validation)
    return {
        name: figures_of(validation.labels, each, logits["teacher"])
        | {"per_class_accuracy": metrics.per_class_accuracy(validation.labels, each)}
        for name, each in logits.items()
    }


def _best(cells, validation):
    def worth(cell):
        figures = validation[cell.name]
        return figures["accuracy"], -figures["negative_log_likelihood"]

    return max(cells, key=worth)
