"""A search over the settings of a distillation, its trials in a study that survives a kill."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from keras_kd._common.backend import require_extra
from keras_kd._common.checks import MOST_WORKERS, check_integer, check_seed
from keras_kd._common.locks import at_work
from keras_kd._common.typing import PathLike
from keras_kd.experiment import search_picture, tables
from keras_kd.experiment import space as space_module
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.run import describe, load
from keras_kd.experiment.training import Trainer
from keras_kd.runs import folder as folder_module
from keras_kd.runs.evaluation import describe_models, evaluate, figures_of, predict
from keras_kd.runs.fingerprints import digest_of
from keras_kd.runs.progress import Progress
from keras_kd.runs.storage import check_storage, with_password, without_password


def search(
    recipe: Recipe,
    *,
    space: Mapping[str, Sequence[Any]] | None = None,
    trials: int = 20,
    workers: int = 1,
    seed: int = 0,
    storage: PathLike | None = None,
    epochs: int | None = None,
    quick: bool = False,
    output: PathLike | None = None,
    overwrite: bool = False,
    data_dir: PathLike | None = None,
    verbose: bool = True,
) -> dict[str, Any]:
    """Search for the settings of a student's distillation on validation, and test the best.

    For more dimensions than a grid (`experiment.sweep`) can hold. The teacher and the student
    alone are trained once. Then each trial distils a student with settings that Optuna draws by
    TPE from what the earlier ones found; one whose validation accuracy stays below the median of
    the others' is pruned. The test split is read once, for the teacher, the student alone and the
    best trial (by validation accuracy, then likelihood). It is one seed, and the best of many.

    A search that was killed goes on when it is called again with the same arguments: finished
    trials count, and those that were training are taken up again after their last whole epoch.
    With more `trials` it goes on as well.

    Several workers are processes on this machine. Other machines join with the same call, the
    same `storage` and an `output` of their own; all end when `trials` are finished by all of them
    together (those that are then under way are finished too), with the same best settings.

    Written to the folder: `config.json`, the models with their `_history.csv`, `study.journal`,
    `search.png`, `predictions.npz`, `results.json`. See `experiment.write_report` for a page.

    Args:
        recipe: a `Recipe`; with several workers, its functions are those of a module.
        space: a dict with any of `temperature` and `learning_rate` (two numbers above 0, drawn
            log-uniformly), `alpha` (two numbers from 0 to 1), `loss` (names of losses of
            `keras_kd.losses` on logits), `batch_size` (integers). `{"temperature": (1, 16),
            "alpha": (0.1, 0.9)}` if `None`. What it leaves out is the recipe's.
        trials: how many are to be finished, pruned ones among them.
        workers: processes; call from a script whose main part is under
            `if __name__ == "__main__"` when there are several.
        seed: integer, at least 0. One worker draws the same settings from the same seed again.
        storage: where the study is: the path of a journal file, which may lie on a shared folder,
            or the URL of a database, such as `"sqlite:///search.db"`, in which the trial of a
            worker that is not heard of for a minute is taken up by another. `study.journal` in
            the folder if `None`. A password in it is written nowhere, `***` stands for it: to go
            on, or in place of the password itself, `KERAS_KD_STORAGE` holds the whole URL.
        epochs: the most epochs of each training; the recipe's if `None`.
        quick: a first look: the recipe's `quick_epochs`; too short to judge.
        output: folder to write to; `saved_models/<recipe.name>_search` if `None`.
        overwrite: replace a run of other settings that the folder holds, finished or not; what it
            trained in the same way is used again.
        data_dir: as in `data.load`.
        verbose: show the progress and the closing table.

    Returns:
        The contents of `results.json`, as a dict: `space`, `trials` (each with `name`,
        `settings`, `state`: `"complete"` or `"pruned"`, `epochs`, `seconds`, `value`: the best
        validation accuracy, `validation`), `validation` (of `teacher` and `student_alone`),
        `best` (name of a trial), `models` (figures on test of `teacher`, `student_alone` and
        `student`, the best trial), `curves`, `seconds` (of all trials, whichever process or
        machine ran them, and of this process and the trainings that earlier ones did).

    Raises:
        ValueError: if an argument is out of range, the folder holds another run, or another process
            works in it.
        FileNotFoundError: if the data set is nowhere to be found.
        ImportError: if a package of the extras `search` or `report` is missing.

    References:
        J. Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011, section 4 (TPE).
        T. Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, 2019.
    """
    check_integer("trials", trials, minimum=1)
    check_integer("workers", workers, minimum=1, maximum=MOST_WORKERS)
    check_seed(seed)
    check_integer("epochs", 1 if epochs is None else epochs, minimum=1)
    require_extra("optuna", "search", "A search")
    require_extra("matplotlib", "report", "A search's picture")
    check_storage(storage)
    storage = with_password(storage)
    # They import Optuna, and may be imported only now.
    from keras_kd.experiment import study as study_module
    from keras_kd.experiment import trial as trial_module
    from keras_kd.experiment import workers as workers_module

    recipe = recipe.for_epochs(epochs, quick=quick)
    space = space_module.Space(recipe, space_module.DEFAULT if space is None else space)
    if workers > 1:
        workers_module.check_can_be_sent(recipe)
    options = {
        "space": space.axes, "trials": trials, "workers": workers, "seed": seed,
        "storage": storage and without_password(str(storage)),
        "epochs": epochs, "quick": quick, "data_dir": data_dir,
    }  # fmt: skip
    folder = folder_module.output_for("search", recipe.name, output, options, overwrite)
    progress = Progress(verbose)
    started = time.perf_counter()
    data = load(recipe, seed, data_dir, progress)
    settings = recipe.settings(data)
    what = {
        "kind": "search",
        "recipe": recipe.name,
        "options": options,
        "data": describe(data),
    }  # fmt: skip
    job = workers_module.Job(
        recipe=recipe,
        axes=space.axes,
        # Of another search the trials would not count.
        study=f"{recipe.name}_{digest_of(settings, what['data'], space.axes, seed)[:12]}",
        storage=str(storage or folder / "study.journal"),
        trials=trials,
        seed=seed,
        folder=folder,
        data_dir=data_dir,
        verbose=verbose,
    )

    def opened():
        return study_module.open_study(job.study, job.storage, create=True, epochs=recipe.epochs)

    # One that cannot be reached leaves no folder.
    study = None if storage is None else opened()
    with at_work(folder):
        folder_module.begin(
            folder, **what, settings=settings, progress=progress, overwrite=overwrite
        )
        if study is None:
            study_module.mend_journal(folder / "study.journal")
            study = opened()
        trainer = Trainer(recipe, data, seed, folder, progress)
        teacher = trainer.teacher()
        alone = trainer.train_alone(teacher.model)
        objective = trial_module.Objective(trainer, space, teacher)
        trying = time.perf_counter()
        workers_module.run_trials(study, job, objective, workers)
        trying = time.perf_counter() - trying
        finished = study_module.finished(study)
        best = study_module.best_of(finished)
        name = best["name"]
        # On a shared study it may have been another machine's: then it is trained here too.
        elsewhere = dataclasses.replace(trainer, earlier=[])  # Its seconds are those of the trial.
        student = trial_module.train(elsewhere, space, name, best["settings"], teacher)
        trained = {"teacher": teacher, "student_alone": alone, "student": student}
        validation = _validate(trained, data.validation)
        # Every choice is made: from here on the test split may be read.
        test = data.test
        _, figures = evaluate(trained, test, folder)
        files = {"teacher": "teacher", "student_alone": "student_alone", "student": name}
        results = {
            **folder_module.head(what, settings, test),
            "space": space.axes,
            "trials": finished,
            "validation": {each: validation[each] for each in ("teacher", "student_alone")},
            "best": name,
            "models": describe_models(folder, trained, figures, files),
            "curves": {each: curves for each, (_, curves) in trained.items()},
            # The trials count once, whoever ran them, and not the waiting for them.
            "seconds": time.perf_counter()
            - started
            - trying
            + sum(trainer.earlier)
            + sum(trial["seconds"] for trial in finished),
        }
        folder_module.finish(folder, results)
        search_picture.draw(folder / "search.png", results)
    progress.show(tables.trials(results))
    progress.say(*tables.best_trial(results), f"Written to {folder}")
    return results


def _validate(trained, validation):
    """Return the figures of every model on the validation split, by name."""
    logits = predict(trained, validation)
    return {
        name: figures_of(validation.labels, each, logits["teacher"])
        for name, each in logits.items()
    }
