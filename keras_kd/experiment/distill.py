"""From a teacher and data to a measured student and its files."""

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path

from keras_kd import metrics
from keras_kd._common.backend import require_extra
from keras_kd._common.checks import check_budgets
from keras_kd._common.files import written_whole
from keras_kd._common.json_files import parsed
from keras_kd._common.typing import PathLike
from keras_kd.experiment import choosing, proposing, report, statistics, tables
from keras_kd.experiment.compare import Compare, summary
from keras_kd.experiment.frame import carry_out
from keras_kd.experiment.kind import Judged, Kind
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.result import Result, decoded
from keras_kd.export.ends import refusal_of
from keras_kd.export.proof import check_formats, export_held
from keras_kd.runs.evaluation import Predictions
from keras_kd.runs.students import AUTO

FORMATS = ("float32", "dynamic", "int8")
# In integers all columns would have one scale, which leaves nothing of the small ones.
_OF_TABLES = ("float32",)
# What an export leaves in a folder.
_EXPORTED = ("student_*.tflite", "student_*.tflite.json", "student_saved_model*", "student_*.onnx")


class Distill(Compare):
    """Student distilled and alone over seeds; the best on validation is exported."""

    name, noun = "distill", "distillation"
    left_out = ("workers",)

    def __init__(self, seeds, control=True, formats=None, max_drop=None, ships=True):
        super().__init__(seeds)
        self.control, self.formats = control, formats if formats is None else list(formats)
        self.max_drop, self.ships = max_drop, ships

    def check(self, recipe):
        if len(self.seeds) > 1:
            statistics.check_scipy()
        check_budgets(self._budgets(recipe))
        if isinstance(recipe.student, str) and recipe.student == AUTO:
            require_extra("ai_edge_litert", "export", "Choosing a student by its file")
        if self.ships:
            require_extra("ai_edge_litert", "export", "A distillation's .tflite files")
            require_extra("matplotlib", "report", "The picture of an export")
            check_formats(self.formats)

    def options(self):
        return {
            "seeds": self.seeds,
            "control": self.control,
            # As the former version says it where none were named.
            "formats": list(FORMATS) if self.formats is None else self.formats,
            "max_drop": self.max_drop,
        }

    def trainings(self, trainer, teacher):
        if trainer.seed == self.seeds[0]:
            # The one that was picked need not be trained again.
            proposals = trainer.folder.parent / "proposals"
            if (proposals / "student.json").exists():
                _copy_student(proposals, trainer.folder)
                # Its seconds are those of the proposals, which are counted.
                trainer.earlier.append(-_seconds_of(proposals))
        yield {"student": trainer.distilled(teacher)}
        if self.control:
            yield {"student_alone": trainer.alone()}

    def judge(self, trainer, trained, test):
        runs = [self.judge_seed(trainer, seed, trained[seed], test) for seed in self.seeds]
        best = max(runs, key=lambda run: run["models"]["student"]["validation_accuracy"])["seed"]
        num_classes = trainer.data.num_classes
        said = Predictions(trainer.folder / f"seed_{best}", num_classes, trained[best])
        curves = {name: curves for name, (_, curves) in trained[best].items() if curves}
        results = {"runs": runs, "shipped_seed": best, "curves": curves}
        if len(runs) > 1:
            results |= summary(runs, quick=trainer.asked.quick)
        else:
            results |= {"models": runs[0]["models"], **_gain(said)}
        student = trained[best]["student"].model
        if self.ships:
            teacher = trained[best].get("teacher")
            results |= self._shipped(trainer, best, student, teacher and teacher.model)
        draw = functools.partial(
            report.draw,
            trainer.folder / "picture.png",
            title=trainer.recipe.name,
            curves=curves,
            test=test,
            reads=trainer.data.reads,
            class_names=trainer.data.class_names,
            teacher_logits=said.logits.get("teacher"),
        )
        return Judged(results, student, draw if self.ships else lambda: None)

    def _shipped(self, trainer, best, student, teacher):
        """Write the student in every format, and return what each file is worth."""
        folder = trainer.folder
        for path in [path for pattern in _EXPORTED for path in folder.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _copy_student(folder / f"seed_{best}", folder)
        formats = self._formats_of(trainer.data)
        if refusal := refusal_of(student):
            failed = [{"format": form, "failed": refusal} for form in formats]
            return {"export": {"files": failed}, "to_ship": None}
        files = export_held(
            student,
            folder,
            formats=tuple(dict.fromkeys(formats)),
            budgets=self._budgets(trainer.recipe),
            input_range=None,
            overwrite=True,
            verbose=trainer.progress.verbose,
            data=decoded(trainer.data),
            teacher=teacher,
        )
        kept = [file for file in files["files"] if "failed" not in file and not file["missed"]]
        best = max(kept, key=lambda file: (file["accuracy"], -file["bytes"]), default=None)
        return {"export": files, "to_ship": best and best["file"]}

    def _formats_of(self, data):
        """Return the formats that were asked for, or that suit such data."""
        if self.formats is not None:
            return self.formats
        return _OF_TABLES if data.columns is not None else FORMATS

    def _budgets(self, recipe):
        return {"max_kb": recipe.max_kb, "max_drop": self.max_drop, "max_us": recipe.max_us}

    @classmethod
    def call(cls, recipe, **options):
        return distill(recipe, **options)

    @classmethod
    def files(cls, results):
        exported = [file["file"] for file in results["export"]["files"] if "failed" not in file]
        made = ["student.keras", "picture.png", *exported]
        return [*made, *super().files(results)]

    @classmethod
    def title(cls, results):
        count = len(results["seeds"])
        return f"{results['recipe']}: a distillation, {count} seed{'s' if count > 1 else ''}"

    @classmethod
    def lines(cls, results):
        if "gain" in results:
            return [report.verdict(results["gain"], quick=results.get("quick", False))]
        if results.get("gains"):
            return super().lines(results)
        return ["There was no control: whether distillation helped is not known."]

    @classmethod
    def verdict(cls, results):
        return results.get("verdict", "")

    @classmethod
    def table(cls, results):
        if "verdict" in results:
            return tables.comparison(results)
        return tables.closing(
            f"{results['data']['test']:,} test examples, read once", results["models"]
        )

    @classmethod
    def sentences(cls, results, folder):
        *said, written = super().sentences({"gains": {}, **results}, folder)
        return [*said, *([tables.to_ship(results)] if "to_ship" in results else []), written]

    @classmethod
    def sections(cls, results):
        if "chosen" in results:
            yield choosing.section(results["chosen"])
        if "proposals" in results:
            yield proposing.section(results["proposals"])

    @classmethod
    def figures(cls, results):
        return (super() if results.get("verdict") else Kind).figures(results)


def distill(
    recipe: Recipe,
    *,
    seeds: int | Sequence[int] = 1,
    control: bool = True,
    formats: Sequence[str] | None = None,
    max_drop: float | None = None,
    epochs: int | None = None,
    quick: bool = False,
    budget: float | str | None = None,
    tensorboard: bool = False,
    output: PathLike | None = None,
    overwrite: bool = False,
    data_dir: PathLike | None = None,
    verbose: bool = True,
) -> Result:
    """Distil a student, train the same student alone, say what each is worth, and export it.

    What the recipe leaves open (`"auto"`) is chosen first, on the split of the first seed. Epochs
    are chosen on validation; the test split is read once, when every model of every seed is
    trained. One seed ends with an interval over test images, and says that another seed may turn
    it; three or more end in the paired verdict of `experiment.compare`. The student of the seed
    that is best on validation is exported.

    A distillation that was killed goes on where it stopped when it is called again with the same
    arguments, and ends with the same weights, to the bit; with more `seeds` it goes on as well.

    Written to the folder: `config.json`, `results.json`, `student.keras`, the exported files with
    `export.json` and `export.png`, `picture.png`, and one directory a seed.

    Args:
        recipe: a `Recipe`.
        seeds: how many seeds, from 0, or a list of them.
        control: whether the same student is trained alone too; without it nobody knows if
            distillation helped.
        formats: of the exported files, see `export.FORMATS`; float32, dynamic and int8 if `None`,
            of a table float32 alone: in integers all its columns would have one scale.
        max_drop: budget of a file's drop in accuracy from the student's, in points; those of size
            and time are the recipe's.
        epochs: as in `experiment.run`, also below.
        quick: the same.
        budget: the same.
        tensorboard: the same.
        output: the same.
        overwrite: the same.
        data_dir: the same.
        verbose: the same.

    Returns:
        A `Result`: `models`, `gain` (of one seed) or `gains` and `verdict`, `runs` (the figures of
        each seed), `curves` (of the seed that is exported), `chosen` and `proposals` (where the
        recipe left something open), `export` (what `export.json` holds), `to_ship` (name of the
        most accurate file within the budgets, `None` if there is none), `shipped_seed`.

    Raises:
        ValueError: if an argument is out of range, teacher, student and data do not fit each
            other, training would be wasted, the folder holds another run, or another process works
            in it.
        OSError: if the folder cannot be written to.
        ImportError: if a package of an extra is missing.
    """
    options = {"budget": budget, "tensorboard": tensorboard, "data_dir": data_dir}
    return carry_out(
        Distill(seeds, control, formats, max_drop), recipe, epochs=epochs, quick=quick,
        output=output, overwrite=overwrite, verbose=verbose, **options,
    )  # fmt: skip


def _gain(said):
    """Return the gain of one seed's student over the same student alone, over test images."""
    if "student_alone" not in said.logits:
        return {}
    logits = said.logits["student"], said.logits["student_alone"]
    gain, low, high = metrics.paired_gain(said.labels, *logits)
    return {"gain": {"accuracy": gain, "interval_95": [low, high]}}


def _seconds_of(folder):
    """Return how long the student took that lies in a folder."""
    return parsed(folder / "student.json")["curves"]["student"]["seconds"]


def _copy_student(there: Path, here: Path):
    """Copy a student, and the record by which it is known."""
    for name in ("student.keras", "student.json"):
        with written_whole(here / name) as unfinished:
            shutil.copyfile(there / name, unfinished)
