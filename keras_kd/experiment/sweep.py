"""A grid of temperatures, alphas and losses: students trained together on one teacher pass."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_kd import metrics
from keras_kd._common.backend import require_extra
from keras_kd._common.checks import check_seed
from keras_kd._common.typing import PathLike
from keras_kd.experiment import heat_map, tables
from keras_kd.experiment.frame import carry_out
from keras_kd.experiment.grid import cells_of
from keras_kd.experiment.kind import Judged, Kind, worth
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.result import Result
from keras_kd.experiment.workers import num_pieces_of, shared
from keras_kd.launchers import Launcher
from keras_kd.runs.evaluation import describe_models, evaluate, figures_of, predict


class Sweep(Kind):
    """A student for each cell of a grid, and the student alone, trained together."""

    name = noun = "sweep"
    title_of_page = "a grid of students"
    varied = ("temperature", "alpha")

    def __init__(self, seed, temperature, alpha, loss):
        self.seeds = [seed]
        self.temperature, self.alpha, self.loss = temperature, alpha, loss

    def check(self, recipe):
        check_seed(*self.seeds)
        require_extra("matplotlib", "report", "A sweep's heat map")
        if self.temperature is None:
            self.temperature = recipe.temperatures
        self.cells = cells_of(recipe, self.temperature, self.alpha, self.loss)

    def options(self):
        return {
            "temperature": list(self.temperature),
            "alpha": list(self.alpha),
            "loss": self.loss and list(self.loss),
            "seed": self.seeds[0],
        }

    def trainings(self, trainer, teacher):
        distillers = {"student_alone": trainer.alone()}
        for cell in self.cells:
            changes = {"alpha": cell.alpha, "loss": cell.build}
            if cell.temperature is not None:
                changes["temperature"] = cell.temperature
            distillers[cell.name] = trainer.distilled(teacher, **changes)
        return trainer.together(distillers)

    def title_of_piece(self, piece):
        return "Part {} of {}".format(*piece)

    def train_piece(self, trainer, piece):
        teacher = trainer.teacher()
        return self._train_parts(trainer, teacher and teacher.model, [piece])

    def train(self, trainer):
        """Return what was trained, the validation figures of each, and the best cell."""
        teacher = trainer.teacher()
        count = min(num_pieces_of(trainer.asked.workers), len(self.cells) + 1)
        pieces = [(number, count) for number in range(1, count + 1)]
        trainer = shared(self, trainer, pieces)
        trained = {} if teacher is None else {"teacher": teacher}
        found = self._train_parts(trainer, teacher and teacher.model, pieces)
        # In one order, whoever trained them.
        names = ["student_alone", *(cell.name for cell in self.cells)]
        trained |= {name: found[name] for name in names}
        validation = _validate(trained, trainer.data.validation)
        return trained, validation, max(self.cells, key=lambda cell: worth(validation[cell.name]))

    def _train_parts(self, trainer, teacher, pieces):
        """Return `{name: Trained}` of the students of some parts, each part trained together."""
        trained = {}
        for distillers in self.trainings(trainer, teacher):
            for number, count in pieces:
                part = dict([*distillers.items()][number - 1 :: count])
                name = f"students_{number}_of_{count}" if count > 1 and len(part) > 1 else None
                if part:
                    trained |= trainer.students(part, teacher, name)
        return trained

    def judge(self, trainer, trained, test):
        trained, validation, best = trained
        folder = trainer.folder
        chosen = {name: trained[name] for name in ("teacher", "student_alone") if name in trained}
        chosen["student"] = trained[best.name]
        _, figures = evaluate(chosen, test, folder, reads=trainer.data.reads)
        results = {
            "cells": [
                {
                    **cell.settings(),
                    "epochs": len(trained[cell.name].curves["loss"]),
                    "best_epoch": trained[cell.name].curves["best_epoch"],
                    "validation": validation[cell.name],
                }
                for cell in self.cells
            ],
            "validation": {name: validation[name] for name in chosen if name in validation},
            "best": best.name,
            "models": describe_models(folder, chosen, figures, {"student": best.name}),
            "curves": {name: curves for name, (_, curves) in trained.items() if curves},
        }
        shown = {**results, "recipe": trainer.recipe.name}
        draw = functools.partial(heat_map.draw, folder / "heat_map.png", shown)
        return Judged(results, chosen["student"].model, draw)

    @classmethod
    def call(cls, recipe, **options):
        return sweep(recipe, **options)

    @classmethod
    def files(cls, results):
        return [f"{results['best']}.keras", "predictions.npz", "heat_map.png"]

    @classmethod
    def lines(cls, results):
        return [line.removeprefix("* ") for line in tables.best_cell(results)]

    @classmethod
    def table(cls, results):
        return tables.grid(results)

    @classmethod
    def sentences(cls, results, folder):
        return [*tables.best_cell(results), f"Written to {folder}"]

    @classmethod
    def curves(cls, results):
        # The best cell last, in the student's colour, over the grey ones.
        curves = dict(results["curves"])
        return {**curves, "student": curves.pop(results["best"])}

    @classmethod
    def sections(cls, results):
        yield heat_map.section(results)


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
    workers: int | Launcher = 1,
    verbose: bool = True,
) -> Result:
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
        alpha: weights of the distillation loss, from 0 to 2.
        loss: names of losses of `keras_kd.losses` on logits, such as `["SoftTargets", "DIST"]`,
            or a dict by name of functions `(temperature) -> loss`; the recipe's if `None`. One
            that has no temperature takes one row. A sweep of functions is gone on with by calling
            it again: `resume` knows losses by name alone.
        seed: integer, at least 0.
        epochs: as in `experiment.run`, also below.
        quick: the same.
        budget: the same.
        tensorboard: the same.
        output: the same.
        overwrite: the same.
        data_dir: the same.
        workers: as in `experiment.compare`: each process trains a part of the students together.
            It pays where one process leaves processors idle: each part asks the teacher anew.
        verbose: the same.

    Returns:
        A `Result`: `cells` (each with `name`, `loss`,
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
    options = {"budget": budget, "tensorboard": tensorboard, "data_dir": data_dir}
    return carry_out(
        Sweep(seed, temperature, alpha, loss), recipe, epochs=epochs, quick=quick, output=output,
        overwrite=overwrite, workers=workers, verbose=verbose, **options,
    )  # fmt: skip


def _validate(trained, validation):
    """Return the figures of every model on the validation split, by name."""
    logits = predict(trained, validation)
    return {
        name: figures_of(validation.labels, each, logits.get("teacher"))
        | {"per_class_accuracy": metrics.per_class_accuracy(validation.labels, each)}
        for name, each in logits.items()
    }
