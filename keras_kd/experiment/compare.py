"""Does distillation help? Four arrangements, paired over seeds, with a verdict."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from keras_kd._common.backend import require_extra
from keras_kd._common.checks import MOST_SEEDS, check_integer, check_seed
from keras_kd._common.files import remove_leftovers
from keras_kd._common.locks import at_work
from keras_kd._common.typing import PathLike
from keras_kd.experiment import budget as budget_module
from keras_kd.experiment import statistics, tables
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.run import describe, load
from keras_kd.experiment.training import Trainer
from keras_kd.runs import events
from keras_kd.runs import folder as folder_module
from keras_kd.runs.evaluation import describe_models, evaluate
from keras_kd.runs.progress import Progress

_SMOOTHING = 0.1
# What is better when it is smaller counts the other way round as a gain.
_SIGNS = {"accuracy": 1, "negative_log_likelihood": -1, "agreement_with_teacher": 1}


def compare(
    recipe: Recipe,
    *,
    seeds: int | Sequence[int] = 5,
    epochs: int | None = None,
    quick: bool = False,
    budget: float | str | None = None,
    tensorboard: bool = False,
    output: PathLike | None = None,
    overwrite: bool = False,
    data_dir: PathLike | None = None,
    verbose: bool = True,
) -> dict[str, Any]:
    """Compare the distilled student with the same student alone, paired over seeds.

    Each seed draws its own validation split, first weights and orders; it trains a teacher, then,
    together on the same minibatches and with the same budget, the student alone, the student on
    smoothed labels (0.1) and the student distilled; where the recipe has a distiller of its own,
    also the student of a plain one. Epochs are chosen on validation; the test split is read once,
    when every model of every seed is trained.

    A comparison that was killed goes on where it stopped when it is called again with the same
    arguments; what lies in the folder of the same making is used again. With more `seeds` it goes
    on as well.

    Written to the folder: `config.json`, `results.json`, and one directory a seed with what
    `experiment.run` leaves of its trainings. See `experiment.write_report` for a page.

    Args:
        recipe: a `Recipe`.
        seeds: how many seeds, from 0, or a list of them.
        epochs: the most epochs of each training; the recipe's if `None`.
        quick: a first look: the recipe's `quick_epochs`; too short to judge.
        budget: the time for all of it, in seconds or as a text such as `"90min"`: the recipe's
            best form, with as many epochs as fit, by a short timing on this machine at the start,
            which should then be as busy as it will be. What was chosen stands in the settings, and
            an interrupted run keeps it.
        tensorboard: write events too, for each model in `tensorboard/<name>`; those of an
            interrupted run go on without a gap.
        output: folder to write to; `saved_models/<recipe.name>_compare` if `None`.
        overwrite: replace a run of other settings that the folder holds, finished or not; what it
            trained in the same way is used again.
        data_dir: as in `data.load`.
        verbose: show the progress and the closing table.

    Returns:
        The contents of `results.json`, as a dict: `models` (mean and spread by name), `gains`
        (over `student_alone`, `label_smoothing`, `teacher` and, if it is there, `soft_targets`, by
        metric: `values`, `mean`, `std`, `interval_95`, `verdict`, `reason`, `seeds_needed`; above
        0 is better), `verdict` (on accuracy, over the student alone; none under three seeds, see
        `statistics.judged`), `runs` (the figures of each seed).

    Raises:
        ValueError: if an argument is out of range, the folder holds another run, or another process
            works in it.
        FileNotFoundError: if the data set is nowhere to be found.
        ImportError: if a package of the extras `report` or `tensorboard` is missing.
    """
    seeds = check_seeds(seeds)
    check_integer("epochs", 1 if epochs is None else epochs, minimum=1)
    statistics.check_scipy()
    require_extra("matplotlib", "report", "A comparison's report")
    budget = budget_module.seconds_of(budget)
    recipe = recipe.for_epochs(epochs, quick=quick, best=budget is not None)
    options = {
        "seeds": seeds,
        "epochs": epochs,
        "quick": quick,
        "budget": budget,
        "tensorboard": tensorboard,
        "data_dir": data_dir,
    }
    folder = folder_module.output_for("compare", recipe.name, output, options, overwrite)
    events.callbacks_for(folder, tensorboard)  # Refused now, if it cannot be.
    progress = Progress(verbose)
    started = time.perf_counter()
    data = load(recipe, seeds[0], data_dir, progress)
    what = {
        "kind": "compare",
        "recipe": recipe.name,
        "options": options,
        "data": describe(data),
    }
    trainer = Trainer(recipe, data, seeds[0], folder, progress)
    with at_work(folder):
        trainer = budget_module.fitted(
            trainer,
            lambda *given: [_students(*given)],
            budget=budget,
            overwrite=overwrite,
            started=started,
            num_runs=len(seeds),
        )
        settings = trainer.recipe.settings(data)
        folder_module.begin(
            folder, **what, settings=settings, progress=progress, overwrite=overwrite
        )
        trained = {seed: _train(trainer, seed, data_dir, tensorboard, overwrite) for seed in seeds}
        # Every choice is made. No seed has another test split.
        test = data.test
        runs = [
            _evaluate(recipe, seed, folder / f"seed_{seed}", trained[seed], test) for seed in seeds
        ]
        results = {
            **folder_module.head(what, settings, test),
            **summary(runs, quick=quick),
            "runs": runs,
            "seconds": time.perf_counter() - started + sum(trainer.earlier),
        }
        folder_module.finish(folder, results)
    progress.show(tables.comparison(results))
    progress.say(*tables.verdicts(results), f"Written to {folder}")
    return results


def check_seeds(seeds):
    """Return seeds as a list; a number means so many of them, from 0.

    Raises:
        ValueError: if they are no different integers of at least 0.
    """
    if not isinstance(seeds, (list, tuple, range)):
        check_integer("seeds", seeds, minimum=1, maximum=MOST_SEEDS)
        return list(range(seeds))
    if len(seeds) > MOST_SEEDS:
        raise ValueError(f"`seeds` must be at most {MOST_SEEDS}. Received: {len(seeds)} of them.")
    for seed in seeds:
        check_seed(seed, "seeds")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"`seeds` must be different, and at least one. Received: {list(seeds)}.")
    return list(seeds)


def summary(runs, *, quick=False):
    """Return what the figures of seeds say together.

    Args:
        runs: `[{"seed": ..., "models": {name: {..., "test": {metric: number}}}}]`.
        quick: whether they are of a first look, which is too short to judge.

    Returns:
        A dict with `models`, `gains` and `verdict`, see `compare`.
    """
    names = list(runs[0]["models"])
    models = {name: _spreads([run["models"][name] for run in runs]) for name in names}
    gains = {
        other: {
            metric: statistics.judged(
                [
                    sign * (_test(run, "student", metric) - _test(run, other, metric))
                    for run in runs
                ],
                quick=quick,
            )
            for metric, sign in _SIGNS.items()
            if (other, metric) != ("teacher", "agreement_with_teacher")
        }
        # The teacher last: it is larger, and no other way to train the student.
        for other in sorted(names, key="teacher".__eq__)
        if other != "student"
    }
    verdict = gains["student_alone"]["accuracy"]["verdict"]
    return {"models": models, "gains": gains, "verdict": verdict}


def _train(trainer, seed, data_dir, tensorboard, overwrite):
    """Return `{name: Trained}` of one seed, all written."""
    recipe, progress = trainer.recipe, trainer.progress
    progress.say(f"Seed {seed}")
    data = trainer.data
    if seed != trainer.seed:
        data = load(recipe, seed, data_dir, Progress(verbose=False))
    folder = trainer.folder / f"seed_{seed}"
    folder.mkdir(exist_ok=True)
    remove_leftovers(folder)
    folder_module.begin(
        folder,
        kind="seed",
        recipe=recipe.name,
        options={"seed": seed, "data_dir": data_dir},
        settings=recipe.settings(data),
        data=describe(data),
        progress=progress,
        overwrite=overwrite,
    )
    callbacks = events.callbacks_for(folder, tensorboard)
    trainer = dataclasses.replace(trainer, data=data, seed=seed, folder=folder, callbacks=callbacks)
    teacher = trainer.teacher()
    distillers = _students(trainer, teacher.model)
    return {"teacher": teacher, **trainer.students("students", distillers, teacher.model)}


def _students(trainer, teacher):
    """Return what is trained together, by name."""
    distillers = {
        "student_alone": trainer.alone(),
        "label_smoothing": trainer.smoothed(_SMOOTHING, teacher),
        "student": trainer.distilled(teacher),
    }
    if trainer.recipe.distiller is not None and trainer.recipe.alpha != 0:
        distillers["soft_targets"] = trainer.distilled(teacher, distiller=None)
    return distillers


def _evaluate(recipe, seed, folder, trained, test):
    _, figures = evaluate(trained, test, folder)
    models = describe_models(folder, trained, figures)
    curves = {name: curves for name, (_, curves) in trained.items()}
    results = {"recipe": recipe.name, "seed": seed, "models": models, "curves": curves}
    folder_module.finish(folder, results)
    return {"seed": seed, "models": models}


def _test(run, name, metric):
    return run["models"][name]["test"][metric]


def _spreads(models):
    keys = ("epochs", "best_epoch", "seconds", "validation_accuracy")
    return {
        "parameters": models[0]["parameters"],
        "bytes": models[0]["bytes"],
        **{key: statistics.spread([model[key] for model in models]) for key in keys},
        "test": {
            metric: statistics.spread([model["test"][metric] for model in models])
            for metric in models[0]["test"]
        },
    }
