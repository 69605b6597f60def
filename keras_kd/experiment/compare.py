"""Does distillation help? Four arrangements, paired over seeds, with a verdict."""

import dataclasses
from collections.abc import Sequence

from keras_kd._common.backend import require_extra
from keras_kd._common.checks import MOST_SEEDS, check_integer, check_seed
from keras_kd._common.files import remove_leftovers
from keras_kd._common.typing import PathLike
from keras_kd.experiment import statistics, tables
from keras_kd.experiment.frame import carry_out
from keras_kd.experiment.kind import Judged, Kind, Part
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.result import Result
from keras_kd.experiment.workers import shared
from keras_kd.launchers import Launcher
from keras_kd.runs import events, records
from keras_kd.runs import folder as folder_module
from keras_kd.runs.evaluation import Predictions, describe_models, evaluate

_SMOOTHING = 0.1
# What is better when it is smaller counts the other way round as a gain.
_SIGNS = {"accuracy": 1, "negative_log_likelihood": -1, "agreement_with_teacher": 1}


class Compare(Kind):
    """Student distilled and alone over seeds, each in a folder of its own."""

    name, noun = "compare", "comparison"

    def __init__(self, seeds):
        self.seeds = check_seeds(seeds)

    def check(self, recipe):
        statistics.check_scipy()
        require_extra("matplotlib", "report", "A comparison's report")

    def options(self):
        return {"seeds": self.seeds}

    def trainings(self, trainer, teacher):
        distillers = {
            "student_alone": trainer.alone(),
            "label_smoothing": trainer.smoothed(_SMOOTHING, teacher),
            "student": trainer.distilled(teacher),
        }
        if trainer.recipe.distiller is not None and trainer.recipe.alpha != 0:
            distillers["soft_targets"] = trainer.distilled(teacher, distiller=None)
        if trainer.data.unlabelled is not None:
            # What the teacher says of further images, without how sure it is.
            labels = {"loss": "teacher_labels", "distiller": None}
            distillers["teacher_labels"] = trainer.distilled(teacher, **labels)
        return trainer.together(distillers)

    def train(self, trainer):
        """Return `{seed: {name: Trained}}`."""
        trainer = shared(self, trainer, self.seeds)
        trained = {}
        for seed in self.seeds:
            trainer.progress.say(self.title_of_piece(seed))
            trained[seed] = self.train_piece(trainer, seed)
        return trained

    def title_of_piece(self, seed):
        return f"Seed {seed}"

    def train_piece(self, trainer, seed):
        """Return `{name: Trained}` of one seed, all written into a folder of its own."""
        recipe, progress = trainer.recipe, trainer.progress
        of_seed = self.of_seed(trainer, seed)
        of_seed.folder.mkdir(exist_ok=True)
        remove_leftovers(of_seed.folder)
        folder_module.begin(
            of_seed.folder,
            kind="seed",
            recipe=recipe.name,
            options={"seed": seed, "data_dir": trainer.asked.data_dir},
            settings=of_seed.settings(),
            data=folder_module.describe(of_seed.data),
            progress=progress,
            overwrite=trainer.asked.overwrite,
        )
        return of_seed.train_all(self.trainings)

    def of_seed(self, trainer, seed):
        """Return the `Trainer` of a seed."""
        data = trainer.data
        # Soft labels are of one training split: that of the first seed serves all.
        if seed != trainer.seed and trainer.recipe.soft_labels is None:
            data = trainer.recipe.load(seed, trainer.asked.data_dir)
        folder = trainer.folder / f"seed_{seed}"
        callbacks = events.callbacks_for(folder, trainer.asked.tensorboard)
        return dataclasses.replace(
            trainer, data=data, seed=seed, folder=folder, callbacks=callbacks
        )

    def judge(self, trainer, trained, test):
        # No seed has another test split.
        runs = [self.judge_seed(trainer, seed, trained[seed], test) for seed in self.seeds]
        results = {**summary(runs, quick=trainer.asked.quick), "runs": runs}
        return Judged(results, trained[self.seeds[0]]["student"].model)

    def judge_seed(self, trainer, seed, trained, test):
        """Return the figures of a seed, written into its folder."""
        folder = trainer.folder / f"seed_{seed}"
        _, figures = evaluate(trained, test, folder, reads=trainer.data.reads)
        models = describe_models(folder, trained, figures)
        curves = {name: curves for name, (_, curves) in trained.items() if curves}
        results = {"recipe": trainer.recipe.name, "seed": seed, "models": models, "curves": curves}
        folder_module.finish(folder, results)
        return {"seed": seed, "models": models}

    @classmethod
    def call(cls, recipe, **options):
        return compare(recipe, **options)

    @classmethod
    def files(cls, results):
        names = super().files(results)
        return [f"seed_{seed}/{name}" for seed in results["seeds"] for name in names]

    @classmethod
    def title(cls, results):
        return f"{results['recipe']}: does distillation help? {len(results['seeds'])} seeds"

    @classmethod
    def lines(cls, results):
        lines = [
            statistics.sentence_of(gains["accuracy"], other)
            for other, gains in results["gains"].items()
        ]
        if "seeds_vary" in results:
            *first, last = results["seeds_vary"]
            lines.append(
                f"The teacher was there before and is the same for every seed; seeds vary "
                f"{', '.join(first)} and {last}."
            )
        return lines

    @classmethod
    def verdict(cls, results):
        return results["verdict"]

    @classmethod
    def table(cls, results):
        return tables.comparison(results)

    @classmethod
    def sentences(cls, results, folder):
        alone = results["gains"].get("student_alone", {})
        others = [
            tables.verdict(gain, "student_alone", metric)
            for metric, gain in alone.items()
            if metric != "accuracy"
        ]
        return [*cls.lines(results), *others, f"Written to {folder}"]

    @classmethod
    def parts(cls, folder, results):
        num_classes = len(results["data"]["class_names"])
        folders = [folder / f"seed_{seed}" for seed in results["seeds"]]
        models = results["models"]
        return [Part(_curves(each), Predictions(each, num_classes, models)) for each in folders]

    @classmethod
    def figures(cls, results):
        gain = results["gains"]["student_alone"]["accuracy"]
        return f"{results['verdict']}, {100 * gain['mean']:+.2f} points"


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
    workers: int | Launcher = 1,
    verbose: bool = True,
) -> Result:
    """Compare the distilled student with the same student alone, paired over seeds.

    Each seed draws its own validation split, first weights and orders; it trains a teacher, then,
    together on the same minibatches and with the same budget, the student alone, the student on
    smoothed labels (0.1) and the student distilled; where the recipe has a distiller of its own,
    also the student of a plain one; where there are unlabelled images, also the student of the
    teacher's decisions alone. Epochs are chosen on validation; the test split is read once, when
    every model of every seed is trained.

    A comparison that was killed goes on where it stopped when it is called again with the same
    arguments; what lies in the folder of the same making is used again. With more `seeds` it goes
    on as well.

    Written to the folder: `config.json`, `results.json`, and one directory a seed with what
    `experiment.run` leaves of its trainings. See `experiment.write_report` for a page.

    Args:
        recipe: a `Recipe`.
        seeds: how many seeds, from 0, or a list of them.
        epochs: as in `experiment.run`, also below.
        quick: the same.
        budget: the same.
        tensorboard: the same.
        output: the same.
        overwrite: the same.
        data_dir: the same.
        workers: processes on this machine that share the seeds, or a launcher, see `launchers`.
            The results are those of one process, to the bit where the processors are alike. One
            that is killed is replaced, and its seed goes on from its checkpoint. Call it from a
            script whose main part is under `if __name__ == "__main__"`. A budget is still that
            of one process, and several are done before it ends.
        verbose: the same.

    Returns:
        A `Result`: `models` (mean and spread by name), `gains`
        (over `student_alone`, `label_smoothing`, `teacher` and, if they are there, `soft_targets`
        and `teacher_labels`, by metric: `values`, `mean`, `std`, `interval_95`, `verdict`,
        `reason`, `seeds_needed`; above 0 is better), `verdict` (on accuracy, over the student
        alone; none under three seeds, see `statistics.judged`), `runs` (the figures of each seed).

    Raises:
        ValueError: if an argument is out of range, the folder holds another run, or another process
            works in it.
        FileNotFoundError: if the data set is nowhere to be found.
        ImportError: if a package of the extras `report` or `tensorboard` is missing.
    """
    options = {"budget": budget, "tensorboard": tensorboard, "data_dir": data_dir}
    return carry_out(
        Compare(seeds), recipe, epochs=epochs, quick=quick, output=output, overwrite=overwrite,
        workers=workers, verbose=verbose, **options,
    )  # fmt: skip


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
            if metric in runs[0]["models"][other]["test"]
            and (other, metric) != ("teacher", "agreement_with_teacher")
        }
        # The teacher last: it is larger, and no other way to train the student.
        for other in sorted(names, key="teacher".__eq__)
        if other != "student"
    }
    alone = gains.get("student_alone")  # The control may be left out.
    verdict = alone and alone["accuracy"]["verdict"]
    return {"models": models, "gains": gains, "verdict": verdict}


def _curves(folder):
    """Return the curves of a seed of a comparison."""
    results = records.read_results(folder, "seed")
    if results is None:
        raise FileNotFoundError(
            f"A comparison's folder must hold all of its seeds. Received: {folder} without "
            "results.json. Say the command again: what is trained is used."
        )
    return results["curves"]


def _test(run, name, metric):
    return run["models"][name]["test"][metric]


def _spreads(models):
    keys = ("epochs", "best_epoch", "seconds", "validation_accuracy")
    keys = [key for key in keys if key in models[0]]  # A fixed teacher has none.
    return {
        **{key: models[0][key] for key in ("parameters", "bytes") if key in models[0]},
        **{key: statistics.spread([model[key] for model in models]) for key in keys},
        "test": {
            metric: statistics.spread([model["test"][metric] for model in models])
            for metric in models[0]["test"]
        },
    }
