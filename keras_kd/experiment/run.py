"""Run a recipe: train, choose on validation, read the test split once, export, write it down."""

import functools
from typing import TYPE_CHECKING

from keras_kd import export, metrics
from keras_kd._common.backend import require_extra
from keras_kd._common.checks import check_seed
from keras_kd._common.files import size_of
from keras_kd._common.typing import PathLike
from keras_kd.experiment import report
from keras_kd.experiment.frame import carry_out
from keras_kd.experiment.kind import Judged, Kind
from keras_kd.experiment.result import Result
from keras_kd.export.ends import refusal_of
from keras_kd.export.measuring import range_of, taken_of
from keras_kd.runs.evaluation import describe_models, evaluate

if TYPE_CHECKING:
    from keras_kd.experiment.recipe import Recipe


class Run(Kind):
    """Teacher, student and student alone, of one seed."""

    name = noun = "run"
    title_of_page = "one run"
    left_out = ("workers",)

    def __init__(self, seed):
        self.seeds = [seed]

    def check(self, recipe):
        check_seed(*self.seeds)
        require_extra("ai_edge_litert", "export", "A run's .tflite file")
        require_extra("matplotlib", "report", "A run's picture")

    def options(self):
        return {"seed": self.seeds[0]}

    def trainings(self, trainer, teacher):
        yield {"student": trainer.distilled(teacher)}
        yield {"student_alone": trainer.alone()}

    def train(self, trainer):
        trained = super().train(trainer)
        student, data = trained["student"].model, trainer.data
        if refusal_of(student) is None:
            export.saved_model(student, trainer.folder / "student_savedmodel")
            path, numbers = trainer.folder / "student.tflite", range_of(student, data)
            export.litert(student, path, input_range=numbers, reads=data.reads)
        return trained

    def judge(self, trainer, trained, test):
        folder, data = trainer.folder, trainer.data
        logits, figures = evaluate(trained, test, folder, reads=trainer.data.reads)
        gain, low, high = metrics.paired_gain(
            test.labels, logits["student"], logits["student_alone"]
        )
        results = {
            "models": describe_models(folder, trained, figures),
            "gain": {"accuracy": gain, "interval_95": [low, high]},
            "curves": {name: curves for name, (_, curves) in trained.items() if curves},
        }
        student = trained["student"].model
        refusal = refusal_of(student)
        if refusal is None:
            taken = taken_of(student, test)
            results["litert"] = _run_litert(folder / "student.tflite", taken, test.labels, logits)
        else:
            results["not_exported"] = refusal
        draw = functools.partial(
            report.draw,
            folder / "picture.png",
            title=trainer.recipe.name,
            curves=results["curves"],
            test=test,
            reads=trainer.data.reads,
            class_names=data.class_names,
            teacher_logits=logits.get("teacher"),
        )
        return Judged(results, student, draw)

    @classmethod
    def call(cls, recipe, **options):
        return run(recipe, **options)

    @classmethod
    def files(cls, results):
        made = ["student_alone.keras", "student_savedmodel", "student.tflite", "picture.png"]
        return [*super().files(results), *made]

    @classmethod
    def sentences(cls, results, folder):
        return report.sentences(results, folder)


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
) -> Result:
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
        output: folder to write to; `saved_models/<recipe.name>` if `None`, with the other functions
            `<recipe.name>_compare` and so on.
        overwrite: replace a run of other settings that the folder holds, finished or not; what it
            trained in the same way is used again.
        data_dir: as in `data.load`.
        verbose: show the progress and the closing table.

    Returns:
        A `Result`: the contents of `results.json`. Its `seconds` are those of this process, and
        of the trainings that earlier ones did.

    Raises:
        ValueError: if an argument is out of range, the folder holds another run, or another process
            works in it.
        FileNotFoundError: if the data set is nowhere to be found.
        ImportError: if a package of the extras `export`, `report` or `tensorboard` is missing.
    """
    options = {"budget": budget, "tensorboard": tensorboard, "data_dir": data_dir}
    return carry_out(
        Run(seed), recipe, epochs=epochs, quick=quick, output=output, overwrite=overwrite,
        verbose=verbose, **options,
    )  # fmt: skip


def _run_litert(path, inputs, labels, logits):
    run = export.run_litert(path, inputs)
    return {
        "accuracy": metrics.accuracy(labels, run.logits),
        "agreement_with_keras": metrics.agreement(run.logits, logits["student"]),
        "microseconds_per_image": run.microseconds,
        "images": len(labels),
        "bytes": size_of(path),
    }
