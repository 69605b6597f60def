"""A search over the settings of a distillation, its trials in a study that survives a kill."""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from keras_kd._common.backend import require_extra
from keras_kd._common.checks import check_integer, check_seed
from keras_kd._common.typing import PathLike
from keras_kd.experiment import search_picture, tables
from keras_kd.experiment import space as space_module
from keras_kd.experiment.frame import carry_out
from keras_kd.experiment.kind import Judged, Kind
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.result import Result
from keras_kd.experiment.workers import shared
from keras_kd.launchers import Launcher
from keras_kd.runs import folder as folder_module
from keras_kd.runs.evaluation import describe_models, evaluate, figures_of, predict
from keras_kd.runs.fingerprints import digest_of
from keras_kd.runs.progress import Progress
from keras_kd.runs.storage import check_storage, with_password, without_password


class Search(Kind):
    """Students with settings drawn from what earlier trials found."""

    name = noun = "search"
    title_of_page = "a search"
    left_out = ("budget", "tensorboard")

    def __init__(self, space, trials, seed, storage):
        self.seeds = [seed]
        self.axes = space_module.DEFAULT if space is None else space
        self.trials, self.storage = trials, storage

    def check(self, recipe):
        check_integer("trials", self.trials, minimum=1)
        check_seed(*self.seeds)
        require_extra("optuna", "search", "A search")
        require_extra("matplotlib", "report", "A search's picture")
        check_storage(self.storage)
        self.storage = with_password(self.storage)
        self.axes = space_module.Space(recipe, self.axes).axes

    @property
    def varied(self):
        return tuple(self.axes)

    def options(self):
        storage = self.storage and without_password(str(self.storage))
        return {
            "space": self.axes, "trials": self.trials, "seed": self.seeds[0], "storage": storage,
        }  # fmt: skip

    def trainings(self, trainer, teacher):
        yield {"student_alone": trainer.alone()}

    def open(self, trainer):
        """Reach a study that other machines share."""
        recipe, data = trainer.recipe, folder_module.describe(trainer.data)
        # Of another search the trials would not count.
        digest = digest_of(trainer.settings(), data, self.axes, trainer.seed)[:12]
        self.study = f"{recipe.name}_{digest}"
        if self.storage is not None:
            self._study(trainer, create=True)

    def train(self, trainer):
        """Return `{name: Trained}`, the finished trials, and the name of the best one."""
        # They import Optuna, and may be imported only now.
        from keras_kd.experiment import study as study_module
        from keras_kd.experiment import trial as trial_module

        if self.storage is None:
            study_module.mend_journal(trainer.folder / "study.journal")
        study = self._study(trainer, create=True)
        # Of what was chosen meanwhile.
        space = space_module.Space(trainer.recipe, self.axes)
        trained = super().train(trainer)
        teacher = trained.get("teacher")
        objective = trial_module.Objective(trainer, space, teacher)
        while (num_left := self.trials - study_module.num_finished(study)) > 0:
            study_module.take_up_again(study, study_module.place_of(trainer.folder))
            if shared(self, trainer, range(num_left)) is trainer:
                began = time.perf_counter()
                self._try(study, objective, range(num_left))
                trainer.earlier.append(began - time.perf_counter())
        finished = study_module.finished(study)
        best = study_module.best_of(finished)
        # On a shared study it may have been another machine's: then it is trained here too.
        elsewhere = dataclasses.replace(trainer, earlier=[])  # Its seconds are those of the trial.
        trained["student"] = trial_module.train(
            elsewhere, space, best["name"], best["settings"], teacher
        )
        # The trials count once, whoever ran them, and not the waiting for them.
        trainer.earlier.append(sum(trial["seconds"] for trial in finished))
        return trained, finished, best["name"]

    def train_piece(self, trainer, piece):
        """Run a trial: the one that a process was killed in while at this piece, or a new one."""
        from keras_kd.experiment import study as study_module
        from keras_kd.experiment.trial import Objective

        study = self._study(trainer, create=False)
        study_module.take_up_again(study, study_module.place_of(trainer.folder), piece)
        space = space_module.Space(trainer.recipe, self.axes)
        # What is found trained is said by the one that trained it.
        teacher = dataclasses.replace(trainer, progress=Progress(verbose=False)).teacher()
        self._try(study, Objective(trainer, space, teacher, piece), [piece], worker=1 + piece)

    def _try(self, study, objective, tickets, worker=0):
        from keras_kd.experiment.study import work

        work(study, objective, tickets, trials=self.trials, seed=self.seeds[0], worker=worker)

    def _study(self, trainer, *, create):
        from keras_kd.experiment.study import open_study

        storage = str(self.storage or trainer.folder / "study.journal")
        return open_study(self.study, storage, create=create, epochs=trainer.recipe.epochs)

    def judge(self, trainer, trained, test):
        trained, finished, best = trained
        validation = _validate(trained, trainer.data.validation)
        _, figures = evaluate(trained, test, trainer.folder, reads=trainer.data.reads)
        results = {
            "space": self.axes,
            "trials": finished,
            "validation": {name: validation[name] for name in trained if name != "student"},
            "best": best,
            "models": describe_models(trainer.folder, trained, figures, {"student": best}),
            "curves": {name: curves for name, (_, curves) in trained.items() if curves},
        }
        shown = {**results, "recipe": trainer.recipe.name}
        draw = functools.partial(search_picture.draw, trainer.folder / "search.png", shown)
        return Judged(results, trained["student"].model, draw)

    @classmethod
    def call(cls, recipe, **options):
        return search(recipe, **options)

    @classmethod
    def files(cls, results):
        return [f"{results['best']}.keras", "predictions.npz", "search.png"]

    @classmethod
    def lines(cls, results):
        return [line.removeprefix("* ") for line in tables.best_trial(results)]

    @classmethod
    def table(cls, results):
        return tables.trials(results)

    @classmethod
    def sentences(cls, results, folder):
        return [*tables.best_trial(results), f"Written to {folder}"]

    @classmethod
    def sections(cls, results):
        yield search_picture.section(results)


def search(
    recipe: Recipe,
    *,
    space: Mapping[str, Sequence[Any]] | None = None,
    trials: int = 20,
    workers: int | Launcher = 1,
    seed: int = 0,
    storage: PathLike | None = None,
    epochs: int | None = None,
    quick: bool = False,
    output: PathLike | None = None,
    overwrite: bool = False,
    data_dir: PathLike | None = None,
    verbose: bool = True,
) -> Result:
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
            log-uniformly), `alpha` (two numbers from 0 to 2), `loss` (names of losses of
            `keras_kd.losses` on logits), `batch_size` (integers). `{"temperature": (1, 16),
            "alpha": (0.1, 0.9)}` if `None`. What it leaves out is the recipe's.
        trials: how many are to be finished, pruned ones among them.
        workers: processes, or a launcher, as in `experiment.compare`. Which settings are drawn
            depends on what is finished by then, so several may try others than one does.
        seed: integer, at least 0. One worker draws the same settings from the same seed again.
        storage: where the study is: the path of a journal file, which may lie on a shared folder,
            or the URL of a database, such as `"sqlite:///search.db"`, in which the trial of a
            worker that is not heard of for a minute is taken up by another. `study.journal` in
            the folder if `None`. A password in it is written nowhere, `***` stands for it: to go
            on, or in place of the password itself, `KERAS_KD_STORAGE` holds the whole URL.
        epochs: as in `experiment.run`, also below.
        quick: the same.
        output: the same.
        overwrite: the same.
        data_dir: the same.
        verbose: the same.

    Returns:
        A `Result`: `space`, `trials` (each with `name`,
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
    return carry_out(
        Search(space, trials, seed, storage), recipe, epochs=epochs, quick=quick, output=output,
        overwrite=overwrite, data_dir=data_dir, workers=workers, verbose=verbose,
    )  # fmt: skip


def _validate(trained, validation):
    """Return the figures of every model on the validation split, by name."""
    logits = predict(trained, validation)
    return {
        name: figures_of(validation.labels, each, logits.get("teacher"))
        for name, each in logits.items()
    }
