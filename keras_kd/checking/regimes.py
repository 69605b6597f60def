"""Which rows of the atlas a case resembles, what distillation gained there, and what to do.

The atlas is what was measured over seeds with and without a teacher (`benchmarks/atlas.md`); its
rows lie in `atlas.json` beside this file, written by `benchmarks/atlas.py`. A row says what was
measured there. Nothing here makes it more.
"""

import dataclasses
import functools
import importlib.resources
import json
import math

_PLAIN, _OTHER_DATA = "all labels", "tables and sequences"
_MOST_NAMED = 2
# Up to so many labels a class the atlas has rows of few labels: 10 to 200, and twice that.
_FEW_A_CLASS = 400
# Shares and ratios from which on a case is of a kind at all.
_CONTRADICTING, _NOISE, _IMBALANCE, _SMALL, _SURPRISED = 0.01, 0.05, 5, 0.2, 1.5
_SHORT = 10
# A teacher this much better on the training examples has learned them, and few others.
_LEARNED = 0.05
# Of wrong labels only some contradict others: there are more than show.
_LEAST_NOISE = 0.1
# Distances, a unit is a factor of e: of a row that does not say what it was made of, of another
# word, and from where on nothing resembles.
_UNSAID, _OTHER, _FAR = 2.0, 1.0, 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is known of a distillation before it begins.

    Args:
        labels: how many labelled examples there are to train on.
        classes: how many classes.
        classes_missing: how many of them have no labelled example.
        imbalance: examples of the most frequent class over those of the rarest that has any.
        contradicting: share of the labelled examples that are there under another class too.
        unlabelled: how many examples without labels.
        surprise: the teacher's mean entropy on those, over that on validation examples; `None` if
            it was not asked, also below.
        is_images: whether examples are images.
        teachers: how many.
        train_accuracy: the teacher's, on labelled examples.
        validation_accuracy: the same on those for validation.
        student_share: the student's parameters over those of all teachers.
        epochs: at most.
    """

    labels: int
    classes: int
    classes_missing: int = 0
    imbalance: float = 1.0
    contradicting: float = 0.0
    unlabelled: int = 0
    surprise: float | None = None
    is_images: bool = True
    teachers: int = 1
    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    student_share: float | None = None
    epochs: int | None = None

    @property
    def labels_per_class(self):
        """How many labels a class has in the mean."""
        return self.labels / self.classes

    @property
    def overfit(self):
        """How much better the teacher is on the training examples."""
        if self.train_accuracy is None:
            return 0.0
        return self.train_accuracy - self.validation_accuracy

    @property
    def teacher_saw(self):
        """`"these"` labels, if it is much better on them; `"all"`, for all that one can tell."""
        if self.train_accuracy is None:
            return None
        return "these" if self.overfit >= _LEARNED else "all"

    @property
    def noise(self):
        """Share of wrong labels as far as it shows, 0 if it does not.

        It shows in examples that contradict each other, and in a teacher that agrees with the
        validation labels more than with those for training.
        """
        shows = self.contradicting >= _CONTRADICTING or -self.overfit >= _NOISE
        return max(self.contradicting, -self.overfit, _LEAST_NOISE) if shows else 0.0

    @property
    def others(self):
        """`"many"` if there are at least as many examples without labels as with, or `"none"`."""
        return "many" if self.unlabelled >= self.labels else "none"

    @property
    def has_few_labels(self):
        """Whether there are as few as in those rows of the atlas where this was the point."""
        return self.labels_per_class <= _FEW_A_CLASS


# What makes a case of images one of some kinds; what decides most comes first. Rows of integers, of
# no data, and of adversarial and mutual forms resemble no case that a check sees: it is not told of
# these.
_RULES = {
    ("classes missing",): lambda case: case.classes_missing > 0,
    ("few labels", _PLAIN): lambda case: case.has_few_labels,
    ("shifted images",): lambda case: case.surprise is not None and case.surprise >= _SURPRISED,
    ("noisy labels",): lambda case: case.noise > 0,
    ("long tail",): lambda case: case.imbalance >= _IMBALANCE,
    ("ensemble",): lambda case: case.teachers > 1,
    ("short training",): lambda case: case.epochs is not None and case.epochs <= _SHORT,
    ("small student", "large teacher"): lambda case: (
        case.student_share is not None and case.student_share <= _SMALL
    ),
}


@functools.cache
def atlas():
    """Return the rows of the atlas, `{name: row}`."""
    return json.loads(
        importlib.resources.files(__package__).joinpath("atlas.json").read_text("utf-8")
    )


def resembling(case, rows):
    """Return the names of at most two rows that a case resembles, the nearest first.

    By each rule that fits, it is the row with the nearest facts; of several as near, the one that
    gained least. What is no image resembles no row of images.

    Args:
        case: a `Case`.
        rows: of `atlas`.
    """
    fitting = [(_OTHER_DATA,)]
    if case.is_images:
        fitting = [kinds for kinds, fits in _RULES.items() if fits(case)]
    found = [nearest(case, rows, kinds) for kinds in fitting]
    return [name for name in found if name is not None][:_MOST_NAMED]


def nearest(case, rows, kinds, far=_FAR):
    """Return the name of the row that is nearest to a case, `None` if none is near.

    Args:
        case: a `Case`.
        rows: of `atlas`.
        kinds: of the rows that are looked at.
        far: the distance from which on a row is not near.
    """
    near = {
        name: (_distance(case, row["facts"]), row["gain"])
        for name, row in rows.items()
        if row["kind"] in kinds and row["facts"] is not None
    }
    near = {name: distance for name, distance in near.items() if distance[0] < far}
    return min(near, key=near.get, default=None)


def _distance(case, facts):
    """Return how far a case is from the facts of a row, by the properties of a `Case`."""
    if facts.get("others", case.others) != case.others:
        return _FAR
    distance = 0.0 if facts else _UNSAID
    for name, fact in facts.items():
        own = getattr(case, name)
        if own is None:
            continue
        if isinstance(fact, str):
            distance += _OTHER * (own != fact)
        else:  # Nothing is far from something, such as no noise from much.
            distance += abs(math.log(own / fact)) if own else _FAR
    return distance


def sentences(case, rows):
    """Return what to tell somebody with this case: what it resembles, and what to do.

    Args:
        case: a `Case`.
        rows: of `atlas`.

    Returns:
        A list of plain sentences, empty if the atlas has nothing to say.
    """
    names = resembling(case, rows)
    said = []
    if names:
        first, *others = (rows[name] for name in names)
        said.append(f"Your case resembles {_there(first)}; yours may differ.{_hard_labels(first)}")
        said += [f"It also resembles {_there(row)}." for row in others]
    elif not case.is_images and rows:
        said.append(
            "The atlas has no case like yours: its tables and sequences come with many examples "
            "without labels, all others are images."
        )
    elif plain := nearest(case, rows, (_PLAIN,), far=math.inf):
        said.append(
            "Nothing sets your case apart. It resembles the plain one of the atlas, "
            f"{_there(rows[plain])}; yours may differ."
        )
    return [*said, *_to_do(case, rows, names)]


def _there(row):
    return f'"{row["title"]}" ({row["data"]}): there {_gained(row)}'


def _is_won(gain):
    """Return whether a gain of the atlas has an interval, and that lies above zero."""
    return gain["interval_95"] is not None and gain["interval_95"][0] > 0


def _gained(row):
    """Return what distillation gained in a row, with its interval, as a clause."""
    mean, low, high = (
        f"{round(100 * share, 2) + 0.0:.2f}" for share in (row["gain"], *row["interval_95"])
    )
    if _is_won(row):
        return (
            f"distillation gained {mean} points ({low} to {high}, {row['seeds']} seeds) over "
            f"{row['control']}"
        )
    if row["interval_95"][1] <= 0:
        return (
            f"distillation did not beat {row['control']}: {mean} points ({low} to {high}, "
            f"{row['seeds']} seeds)"
        )
    return (
        f"distillation gained nothing over {row['control']} that {row['seeds']} seeds could tell: "
        f"{mean} points ({low} to {high})"
    )


def _hard_labels(row):
    """Return a sentence if the teacher's decisions did what its probabilities did."""
    over = row["over"].get("teacher_labels")
    if over is None or _is_won(over) or not _is_won(row):
        return ""
    return " The teacher's hard labels did as much there, as far as the seeds could tell."


def _to_do(case, rows, named):
    """Yield what to do to come where distillation gained, if it did."""
    if case.has_few_labels and case.others == "none":
        more = dataclasses.replace(case, unlabelled=case.labels)
        kind, what, where = "few labels", "images", "DIR"
        if not case.is_images:
            kind, what, where = _OTHER_DATA, "examples", "PATH"
        name = nearest(more, rows, (kind,))
        if name and name not in named and _is_won(rows[name]):
            yield (
                f"You have only {case.labels_per_class:.0f} labels a class: {what} without labels "
                f"(`--unlabelled {where}`) are what may pay. With {_there(rows[name])}."
            )
    for name in named:
        alpha = rows[name]["settings"].get("alpha", 0)
        if rows[name]["kind"] == "noisy labels" and alpha > 1 and _is_won(rows[name]):
            yield f"The teacher weighed more than 1 there: try `--alpha {alpha:g}`."
