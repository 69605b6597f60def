"""One row of the atlas: a case in which distillation may pay, and how it is tried."""

import dataclasses
import statistics
from collections.abc import Callable

from keras_kd import experiment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regime:
    """A case in which distillation may pay.

    Args:
        title: what it is, for people.
        kind: the kind of cases that it belongs to.
        data: the data set, for people.
        run: `(seed, settings, folder) -> {"test": {arm: accuracy}, "validation": {...}}`; arms are
            `teacher`, `student` (distilled), `student_alone` and further controls.
        grid: the values that are tried for each setting.
        tune: `(seed, grid, folder) -> [{"settings": {...}, "validation": accuracy}]`; `None` where
            nothing is chosen.
        settings: of the rows, chosen by `tune` on seeds that no row has; `{}` before.
        frozen: when they were written down, before any row was run.
        control: what `student_alone` is, where it is not what is usual for the kind.
        num_seeds: how many seeds there are at most.
        measured: of runs that were there before: `{"command": ..., "machine": ...}`.
    """

    title: str
    kind: str
    data: str
    run: Callable
    grid: dict
    tune: Callable | None
    settings: dict
    frozen: str
    control: str = ""
    num_seeds: int = 1000
    measured: dict = dataclasses.field(default_factory=dict)


def of_recipe(recipe_of, **words):
    """Return the `Regime` of recipes.

    Args:
        recipe_of: `(seed, tuning, **settings) -> Recipe`; while tuning, the validation split is as
            large as can be.
        **words: what else a `Regime` says.
    """

    def run(seed, settings, folder):
        recipe = recipe_of(seed, False, **settings)
        found = experiment.compare(recipe, seeds=[seed], output=folder, verbose=False)
        return {
            "test": {
                name: model["test"]["accuracy"]["mean"] for name, model in found["models"].items()
            },
            "validation": {
                name: model["validation_accuracy"]["mean"]
                for name, model in found["models"].items()
                if "validation_accuracy" in model
            },
        }

    def tune(seed, grid, folder):
        recipe = recipe_of(seed, True)
        axes = {name: grid[name] for name in ("temperature", "alpha")}
        found = experiment.sweep(recipe, seed=seed, output=folder, verbose=False, **axes)
        return [
            {
                "settings": {name: cell[name] for name in axes},
                "validation": cell["validation"]["accuracy"],
            }
            for cell in found["cells"]
        ]

    return Regime(run=run, tune=tune, **words)


def best_of(tried):
    """Return the settings that are best on validation, mean over seeds, and all means.

    Args:
        tried: one list a seed, as `Regime.tune` returns it.
    """
    means = [
        {
            "settings": cells[0]["settings"],
            "validation": statistics.mean(cell["validation"] for cell in cells),
        }
        for cells in zip(*tried, strict=True)
    ]
    return max(means, key=lambda each: each["validation"])["settings"], means
