"""Regimes on data that are no images: trees into small nets, nets into smaller ones, sequences.

The tables are inside Debian's R packages mlbench and kernlab, and are read by rdata (the extra
`bench`): `apt-get download r-cran-mlbench r-cran-kernlab`, `dpkg -x` each into a folder, and name
its `usr/lib/R/site-library` in KERAS_KD_DATA. Digits and breast cancer are inside scikit-learn.

All students of a row take the same number of steps (Adam, 3e-3 falling to 0 on half a cosine,
batches of 128), and the last is kept. The test rows are the same for each seed, and no choice was
made on them; a seed draws the rows to validate on, the labels, and trains its own teacher.
"""

import dataclasses
import functools
import os
import typing
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from regimes import teachers
from regimes.regime import of_recipe
from scipy.special import log_softmax

import keras_kd as kd
from keras_kd.data import Data, Split
from keras_kd.data.joining import taught
from keras_kd.experiment.optimizers import cosine

KIND = "tables and sequences"
BATCH, STEPS = 128, 1000
RATE = cosine(3e-3, optimizer=keras.optimizers.Adam)
# The least that a tree's share of 0 becomes before its logarithm is taken.
FLOOR = 1e-3
# Trees answer in probabilities: at T = 1 the student learns these as they are.
GRID = {"temperature": [1.0, 2.0], "alpha": [0.5, 0.9, 1.0]}
SHORT_GRID = {"temperature": [1.0], "alpha": [0.5, 0.9, 1.0]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What a row is about.

    Args:
        data_of: `(seed) -> Data`, with what has no labels in `unlabelled`.
        teacher_of: `(data, seed) -> Answers`.
        student: `(data) -> keras.Model`.
        steps: training steps of each student.
    """

    data_of: Callable
    teacher_of: Callable
    student: Callable
    steps: int = STEPS

    def regime(self, name, **words):
        """Return the `Regime` of the case; what else one says are `words`."""

        @functools.cache  # Trained once a seed.
        def taught_by(seed):
            data = self.data_of(seed)
            return data, self.teacher_of(data, seed)

        def recipe_of(seed, tuning, temperature=1.0, alpha=1.0):
            data, answers = taught_by(seed)
            examples = taught(data)
            folder = teachers.FOLDER / "tables" / name / str(seed)
            epochs = max(1, round(self.steps / -(-len(examples) // BATCH)))
            return kd.experiment.Recipe(
                data=data,
                teacher=None,
                soft_labels=kd.SoftLabels.from_logits(
                    folder, answers.train, examples, overwrite=True
                ),
                student=lambda input_shape, num_classes: self.student(data),
                epochs=epochs,
                student_patience=None,
                batch_size=BATCH,
                optimizer=RATE,
                temperature=temperature,
                alpha=alpha,
            )

        row = of_recipe(recipe_of, **words)

        def run(seed, settings, folder):
            found, (data, answers) = row.run(seed, settings, folder), taught_by(seed)
            for part, arms in found.items():
                arms["teacher"] = accuracy(answers.ask, getattr(data, part))
            return found

        return dataclasses.replace(row, run=run)


class Answers(typing.NamedTuple):
    """What a teacher says: its logits of the training examples, unlabelled last, and of any `x`."""

    train: np.ndarray
    ask: Callable


def accuracy(ask, split):
    """Return the accuracy on a split of who is asked, `(x) -> logits`."""
    return kd.metrics.accuracy(split.labels, keras.ops.convert_to_numpy(ask(split.images)))


# Data


def find_table(package, name):
    """Return the path of a table inside an R package.

    Raises:
        FileNotFoundError: if it is not there, with how to get it.
    """
    folders = [*filter(None, os.environ.get("KERAS_KD_DATA", "").split(os.pathsep)), "data"]
    for folder in [*folders, "/usr/lib/R/site-library"]:
        path = Path(folder) / package / "data" / f"{name}.rda"
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"The table {name} must be in a folder of KERAS_KD_DATA. Received: no {package}/data/"
        f"{name}.rda. On Debian: `apt-get download r-cran-{package} && dpkg -x r-cran-{package}_*"
        ".deb r`, then add r/usr/lib/R/site-library to KERAS_KD_DATA."
    )


@functools.cache
def table(package, name, label):
    """Return `(x, y)` of a table inside an R package, `y` numbered by the label's levels."""
    import rdata

    frame = rdata.read_rda(find_table(package, name), default_encoding="ascii")[name]
    labels = frame.pop(label).cat.codes.to_numpy().astype("int32")
    return frame.to_numpy().astype("float32"), labels


def letters():
    """20,000 printed letters as 16 features of their shapes; the last 4,000 are customary tests."""
    return *table("mlbench", "LetterRecognition", "lettr"), slice(16_000, None)


def satellite():
    """6,435 places seen from a satellite, 36 numbers each; the last 2,000 are their tests."""
    return *table("mlbench", "Satellite", "classes"), slice(4435, None)


def shuttle():
    """58,000 readings of nine sensors; the last 14,500 are their tests."""
    return *table("mlbench", "Shuttle", "Class"), slice(43_500, None)


def spam():
    """4,601 letters as 57 counts of words and signs; tests are drawn, since they lie by class."""
    return with_drawn_tests(*table("kernlab", "spam", "type"), 1000)


def dna():
    """3,186 stretches of 60 nucleotides around a splice or none, `[60, 3]`; tests are the last."""
    x, y = table("mlbench", "DNA", "Class")
    return x.reshape(-1, 60, 3), y, slice(2000, None)


def digits():
    """1,797 digits of 8x8 pixels, taken as tables."""
    from sklearn.datasets import load_digits

    return with_drawn_tests(*load_digits(return_X_y=True), 500)


def breast_cancer():
    """569 biopsies, 30 measures each."""
    from sklearn.datasets import load_breast_cancer

    return with_drawn_tests(*load_breast_cancer(return_X_y=True), 169)


def with_drawn_tests(x, y, count):
    order = np.random.default_rng(0).permutation(len(x))
    return x[order].astype("float32"), y[order].astype("int32"), slice(-count, None)


def drawn(read, *, num_labels=None, validation=1000, others=None, wrong=0.0):
    """Return `(seed) -> Data`: some rows to validate on, some with labels, the others without.

    Args:
        read: `() -> (x, y, slice of the test rows)`.
        num_labels: how many keep their label; all if `None`.
        validation: how many rows to validate on.
        others: how many of the rest are there without label; all if `None`.
        wrong: share of labels, those of validation too, that become another class.
    """

    def data_of(seed):
        x, y, tests = read()
        generator = np.random.default_rng(seed)
        order = generator.permutation(np.delete(np.arange(len(x)), np.arange(len(x))[tests]))
        labels_end = validation + num_labels if num_labels else len(order)
        judges, labelled, rest = np.split(order, [validation, labels_end])
        rest = rest[:others]
        classes = tuple(map(str, range(y.max() + 1)))
        given = y
        if wrong:
            by = generator.integers(1, len(classes), len(y))
            given = np.where(generator.random(len(y)) < wrong, (y + by) % len(classes), y)
        return Data(
            name=read.__name__,
            train=Split(x[labelled], given[labelled]),
            validation=Split(x[judges], given[judges]),
            test=Split(x[tests], y[tests]),
            class_names=classes,
            source=read.__doc__,
            reads="numbers",
            unlabelled=x[rest] if len(rest) else None,
        )

    return data_of


def between(data_of, copies):
    """Return `data_of` with made rows as unlabelled ones, so many for each row that is there.

    MUNGE (Bucila et al. 2006, Model Compression, section 3.3): a row and its nearest neighbour
    exchange half of their features, each drawn around the other's value.
    """
    from sklearn.neighbors import NearestNeighbors

    def with_made(seed):
        data = data_of(seed)
        x = data.train.images
        scale = x.std(axis=0) + 1e-6
        found = NearestNeighbors(n_neighbors=2).fit(x / scale).kneighbors(x / scale)[1]
        # Of two equal rows either may come first.
        nearest = np.where(found[:, 0] == np.arange(len(x)), found[:, 1], found[:, 0])
        generator = np.random.default_rng(seed)
        own, other = np.tile(x, (copies, 1)), np.tile(x[nearest], (copies, 1))
        around = generator.normal(other, np.abs(own - other) / 2)
        made = np.where(generator.random(own.shape) < 0.5, around, own).astype("float32")
        return dataclasses.replace(data, unlabelled=made)

    return with_made


# Teachers


def trees(build):
    """Return a teacher of scikit-learn, `build(seed)`, as `(data, seed) -> Answers`.

    A forest knows the rows that it learned from by heart: of these it is asked out of bag. The
    votes of its trees are flatter than its knowledge: the scale of their logarithms is the one
    under which the labels are likeliest, out of bag.
    """

    def teacher_of(data, seed):
        model = build(seed).fit(flat(data.train.images), data.train.labels)

        def ask(x):
            return as_logits(model.predict_proba(flat(x)), model.classes_, data.num_classes)

        if hasattr(model, "oob_decision_function_"):
            own = as_logits(model.oob_decision_function_, model.classes_, data.num_classes)
            scale = likeliest_scale(own, data.train.labels)
        else:
            own, scale = ask(data.train.images), 1.0
        rest = [] if data.unlabelled is None else [ask(data.unlabelled)]
        return Answers(scale * np.concatenate([own, *rest]), ask)

    return teacher_of


def as_logits(probabilities, classes, num_classes):
    """Return `predict_proba`'s columns as logits; classes that the model never saw are unlikely."""
    logits = np.full((len(probabilities), num_classes), np.log(FLOOR), "float32")
    logits[:, classes] = np.log(np.maximum(probabilities, FLOOR))
    return logits


def likeliest_scale(logits, labels):
    """Return by what logits are multiplied for the labels to be likeliest."""
    scales = [0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0]
    rows = np.arange(len(labels))
    return min(scales, key=lambda each: -log_softmax(each * logits, axis=1)[rows, labels].mean())


def flat(x):
    return x.reshape(len(x), -1)


def extra_trees(seed):
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(100, bootstrap=True, oob_score=True, random_state=seed)


def random_forest(seed):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, oob_score=True, random_state=seed)


def boosting(seed):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=100, random_state=seed)


def nets(build, count=5, steps=STEPS):
    """Return an ensemble of nets as `(data, seed) -> Answers`; they saw the labels."""

    def teacher_of(data, seed):
        members = []
        for number in range(count):
            keras.utils.set_random_seed(seed + 1000 * (number + 1))  # Of no student.
            members.append(kd.Distiller(student=build(data), alpha=0.0))
        steps_an_epoch = -(-len(data.train) // BATCH)
        epochs = max(1, round(steps / steps_an_epoch))
        for each in members:
            each.compile(RATE(epochs * steps_an_epoch))
        batches = data.train.batches(BATCH, shuffle_seed=seed)
        kd.train_together(members, batches, epochs=epochs, verbose=0)
        ensemble = kd.Ensemble([each.student for each in members])

        def ask(x):
            return keras.ops.convert_to_numpy(ensemble(x))

        return Answers(ask(taught(data).images), ask)

    return teacher_of


# Students


def mlp(*units, dropout=0.0):
    """Return a builder of perceptrons that standardise each feature by the training rows."""

    def build(data):
        x = taught(data).images
        return kd.models.mlp(
            units,
            input_shape=data.input_shape,
            num_classes=data.num_classes,
            mean=x.mean(axis=0),
            std=x.std(axis=0) + 1e-6,
            dropout=dropout,
        )

    return build


def conv(*filters, width=9, dropout=0.0):
    """Return a builder of convolutional nets over a sequence; where something is matters."""

    def build(data):
        x = steps = keras.Input(data.input_shape)
        for number in filters:
            x = keras.layers.Conv1D(number, width, padding="same", activation="relu")(x)
            x = keras.layers.MaxPooling1D(2)(x)
        x = keras.layers.Dropout(dropout)(keras.layers.Flatten()(x))
        return keras.Model(steps, keras.layers.Dense(data.num_classes)(x))

    return build


_LETTERS, _PLACES, _SPLICES = "LetterRecognition", "Satellite", "DNA splices"


def _row(title, data, case, *, grid=GRID):
    return case, {"title": title, "kind": KIND, "data": data, "grid": grid}


ROWS = {
    "letters_trees_few_labels": _row(
        "a table, 500 labels and 13,500 rows without; extra trees that saw these labels",
        _LETTERS,
        Case(
            data_of=drawn(letters, num_labels=500, validation=2000),
            teacher_of=trees(extra_trees),
            student=mlp(64),
            steps=1500,
        ),
    ),
    "letters_trees_all_labels": _row(
        "a table, all labels; extra trees, asked out of bag",
        _LETTERS,
        Case(
            data_of=drawn(letters, validation=2000),
            teacher_of=trees(extra_trees),
            student=mlp(64),
            steps=3000,
        ),
    ),
    "letters_trees_made_rows": _row(
        "a table, 2,000 labels and 12,000 made rows between theirs (MUNGE); extra trees",
        _LETTERS,
        Case(
            data_of=between(drawn(letters, num_labels=2000, validation=2000, others=0), 6),
            teacher_of=trees(extra_trees),
            student=mlp(64),
        ),
    ),
    "letters_trees_wrong_labels": _row(
        "a table, 30 % of the labels wrong; a random forest, asked out of bag",
        _LETTERS,
        Case(
            data_of=drawn(letters, validation=2000, wrong=0.3),
            teacher_of=trees(random_forest),
            student=mlp(64),
        ),
        grid={"temperature": [1.0], "alpha": [0.5, 1.0, 1.3]},
    ),
    "letters_ensemble_few_labels": _row(
        "a table, 1,000 labels and 13,000 rows without; five nets of 128 units into one of 64",
        _LETTERS,
        Case(
            data_of=drawn(letters, num_labels=1000, validation=2000),
            teacher_of=nets(mlp(128)),
            student=mlp(64),
        ),
    ),
    "letters_ensemble_all_labels": _row(
        "a table, all labels; five nets of 256 units into one of 32",
        _LETTERS,
        Case(
            data_of=drawn(letters, validation=2000),
            teacher_of=nets(mlp(256), steps=3000),
            student=mlp(32),
            steps=3000,
        ),
    ),
    "satellite_trees_few_labels": _row(
        "a table, 100 labels and 3,335 rows without; extra trees that saw these labels",
        _PLACES,
        Case(
            data_of=drawn(satellite, num_labels=100),
            teacher_of=trees(extra_trees),
            student=mlp(32),
        ),
    ),
    "satellite_trees_all_labels": _row(
        "a table, all labels; extra trees, asked out of bag",
        _PLACES,
        Case(data_of=drawn(satellite), teacher_of=trees(extra_trees), student=mlp(32)),
    ),
    "shuttle_trees_few_labels": _row(
        "a table, 200 labels and 19,800 rows without; a random forest that saw these labels",
        "Shuttle",
        Case(
            data_of=drawn(shuttle, num_labels=200, validation=2000, others=19_800),
            teacher_of=trees(random_forest),
            student=mlp(16),
        ),
        grid=SHORT_GRID,
    ),
    "spam_trees_few_labels": _row(
        "a table, 200 labels and 2,401 rows without; extra trees that saw these labels",
        "spam",
        Case(data_of=drawn(spam, num_labels=200), teacher_of=trees(extra_trees), student=mlp(32)),
        grid=SHORT_GRID,
    ),
    "dna_boosting_few_labels": _row(
        "sequences, 200 labels and 1,300 without; boosted trees into a small convolutional net",
        _SPLICES,
        Case(
            data_of=drawn(dna, num_labels=200, validation=500),
            teacher_of=trees(boosting),
            student=conv(8),
            steps=400,
        ),
    ),
    "dna_ensemble_few_labels": _row(
        "sequences, 200 labels and 1,300 without; five nets of 32 filters into one of 4",
        _SPLICES,
        Case(
            data_of=drawn(dna, num_labels=200, validation=500),
            teacher_of=nets(conv(32, dropout=0.5), steps=400),
            student=conv(4),
            steps=400,
        ),
    ),
    "dna_ensemble_all_labels": _row(
        "sequences, all labels; five nets of 32 filters into one of 4",
        _SPLICES,
        Case(
            data_of=drawn(dna, validation=500),
            teacher_of=nets(conv(32, dropout=0.5), steps=400),
            student=conv(4),
            steps=400,
        ),
    ),
    "digits_trees_few_labels": _row(
        "a table, 100 labels and 897 rows without; extra trees that saw these labels",
        "digits",
        Case(
            data_of=drawn(digits, num_labels=100, validation=300),
            teacher_of=trees(extra_trees),
            student=mlp(32),
        ),
    ),
    "breast_cancer_trees_made_rows": _row(
        "a small table, 300 labels and 1,500 made rows between theirs (MUNGE); extra trees",
        "breast cancer",
        Case(
            data_of=between(drawn(breast_cancer, validation=100), 5),
            teacher_of=trees(extra_trees),
            student=mlp(16),
            steps=1000,
        ),
    ),
}

# When the settings of a row were written down, and what they are; before seeds 0 to 4 ran.
FROZEN = {
    "dna_ensemble_few_labels": ("2026-11-27 04:46", {"temperature": 1.0, "alpha": 1.0}),
    "spam_trees_few_labels": ("2026-11-27 04:40", {"temperature": 1.0, "alpha": 0.9}),
    "shuttle_trees_few_labels": ("2026-11-27 04:38", {"temperature": 1.0, "alpha": 1.0}),
    "dna_boosting_few_labels": ("2026-11-27 04:28", {"temperature": 1.0, "alpha": 1.0}),
    "satellite_trees_few_labels": ("2026-11-27 04:22", {"temperature": 1.0, "alpha": 0.5}),
}


def _regimes():
    for name, (case, words) in ROWS.items():
        frozen, settings = FROZEN.get(name, ("", {}))
        yield name, case.regime(name, **words, frozen=frozen, settings=settings)


REGIMES = dict(_regimes())
