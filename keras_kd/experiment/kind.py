"""What a kind of experiment says for itself; `frame.carry_out` does the rest."""

import typing
from collections.abc import Callable

import keras

from keras_kd.experiment import report, tables
from keras_kd.runs.evaluation import Predictions


class Judged(typing.NamedTuple):
    """What is known when the test split was read.

    Args:
        results: what `results.json` says beside its head, for JSON.
        student: the `keras.Model` that a user takes along.
        draw: draws the pictures of the folder, once the results are written.
    """

    results: dict
    student: keras.Model
    draw: Callable[[], None] = lambda: None


class Part(typing.NamedTuple):
    """What one seed left, for the page.

    Args:
        curves: `{name: curves}`.
        predictions: a `Predictions`.
    """

    curves: dict
    predictions: Predictions


class Kind:
    """A kind of experiment: an object is one that is asked for, the class reads its results.

    Attributes:
        name: in `config.json` and in the names of folders.
        noun: what people call it.
        title_of_page: what the page says that it is.
        varied: settings of a recipe that it varies by itself, and that need not be chosen.
        left_out: what it cannot be asked for, by name.
        seeds: of the trainings; the first one's split is what everything is chosen on.
    """

    name = noun = title_of_page = ""
    varied: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    seeds: list[int]

    def check(self, recipe):
        """Refuse what could not be carried out, before anything is read or written.

        Raises:
            ValueError: if an argument is out of range.
            ImportError: if a package of an extra is missing.
        """
        raise NotImplementedError

    def options(self):
        """Return what else was asked for, by the names of the public function's arguments."""
        raise NotImplementedError

    def trainings(self, trainer, teacher):
        """Yield `{name: Distiller}` for each training of students, one after the other.

        Args:
            trainer: a `Trainer`.
            teacher: the teacher as a `keras.Model`, `None` where soft labels stand for it.
        """
        raise NotImplementedError

    def open(self, trainer):
        """Reach what lies outside of the folder, before the folder is made."""

    def train(self, trainer):
        """Return whatever `judge` asks for: all is trained and chosen, the test split unread."""
        return trainer.train_all(self.trainings)

    def train_piece(self, trainer, piece):
        """Train a piece of what `train` trains, where several processes share it.

        Args:
            trainer: a `Trainer` in another process, of the same folder.
            piece: one of those that `workers.shared` was given.
        """
        raise NotImplementedError

    def title_of_piece(self, piece):
        """Return what people call a piece; empty where what is said of it tells."""
        return ""

    def judge(self, trainer, trained, test):
        """Return a `Judged`.

        Args:
            trainer: a `Trainer`.
            trained: of `train`.
            test: the test `Split`, read here and never before.
        """
        raise NotImplementedError

    @classmethod
    def call(cls, recipe, **options):
        """Call the public function of the kind, as `resume` does."""
        raise NotImplementedError

    @classmethod
    def files(cls, results):
        """Return names of files that a finished one left, the student's that it recommends first.

        With all of them there it is answered at once; with one missing, it is made again.
        """
        return ["student.keras", "predictions.npz"]

    @classmethod
    def title(cls, results):
        """Return the title of the page."""
        return f"{results['recipe']}: {cls.title_of_page}, seed {results['seed']}"

    @classmethod
    def lines(cls, results):
        """Return what is to be said first: plain sentences, the verdict before all."""
        return [report.verdict(results["gain"], quick=results.get("quick", False))]

    @classmethod
    def verdict(cls, results):
        """Return the verdict in capitals, empty if there is none."""
        return ""

    @classmethod
    def table(cls, results):
        """Return the closing table, a `Table`."""
        return report.table(results)

    @classmethod
    def sentences(cls, results, folder):
        """Return what the table means and where everything is, a line each."""
        return [*cls.lines(results), f"Written to {folder}"]

    @classmethod
    def parts(cls, folder, results):
        """Return the `Part` of each seed."""
        num_classes = len(results["data"]["class_names"])
        return [Part(cls.curves(results), Predictions(folder, num_classes, results["models"]))]

    @classmethod
    def curves(cls, results):
        """Return `{name: curves}`, the student's last."""
        return dict(results["curves"])

    @classmethod
    def sections(cls, results):
        """Yield the page's sections that no other kind has, as HTML."""
        yield from ()

    @classmethod
    def figures(cls, results):
        """Return what a list of runs says of a finished one."""
        names = {"student": "distilled", "student_alone": "alone"}
        said = [
            f"{title} {tables.value_of(results['models'][name]['test']['accuracy']):.4f}"
            for name, title in names.items()
            if name in results["models"]
        ]
        if "gain" in results:
            low, high = (100 * end for end in results["gain"]["interval_95"])
            points = f"{100 * results['gain']['accuracy']:+.2f} points"
            quick = results.get("quick", False)
            said.append(f"{points} ({'quick' if quick else f'{low:+.2f} to {high:+.2f}'})")
        return ", ".join(said)


def worth(figures):
    """Return what models are ordered by on validation: accuracy, then likelihood."""
    return figures["accuracy"], -figures["negative_log_likelihood"]
