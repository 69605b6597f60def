"""Regimes on Fashion-MNIST and MNIST: labels that are few, wrong or rare, students that are small.

The student is a perceptron of 128 units (unless the row is about its size), on images as they are;
the teacher a convolutional net that was trained on views of the images, with the labels that the
row says. All students of a row take the same number of steps, and the epoch that validation
prefers.
"""

import dataclasses
import functools
import itertools

import numpy as np
from regimes import teachers
from regimes.regime import of_recipe

import keras_kd as kd
from keras_kd.data import Split
from keras_kd.experiment.optimizers import cosine

FASHION, MNIST = "Fashion-MNIST", "MNIST"
NAMES = {"fashion_mnist": FASHION, "mnist": MNIST}
EPOCHS, BATCH = 10, 128
GRID = {"temperature": [1.0, 2.0], "alpha": [0.5, 1.0]}
# When the settings of rows were written down, and what they are: those that were best on
# validation, mean of seeds 100 and 101. A row that was not tried by itself takes a sibling's; few
# labels were tried with teachers of a shorter training on the same images.
_COUNTS = (100, 500, 2000)
_AT_3, _AT_4, _AT_6 = "2026-11-27 03:56", "2026-11-27 04:08", "2026-11-27 05:59"
_AGAIN = "2026-11-27 05:02, after runs with other settings"
_FEW = (_AT_3, {"temperature": 1.0, "alpha": 1.0})
_SHORT = (_AT_4, {"temperature": 1.0, "alpha": 0.5})
FROZEN = {
    **{f"few_labels_{name}_{count}_own": _FEW for name in NAMES for count in _COUNTS},
    **{
        f"few_labels_fashion_mnist_{count}_all": (_AT_4, {"temperature": 1.0, "alpha": 1.0})
        for count in _COUNTS
    },
    **{
        f"few_labels_mnist_{count}_all": (_AT_4, {"temperature": 2.0, "alpha": 1.0})
        for count in _COUNTS
    },
    # What was tried before: `benchmarks/tried.md`.
    "missing_threes": (_AGAIN, {"temperature": 20.0, "alpha": 1.0}),
    "missing_all_but_7_8": (_AGAIN, {"temperature": 20.0, "alpha": 1.0}),
    "no_augmentation_mnist": ("2026-11-27 04:46", {"temperature": 4.0, "alpha": 0.5}),
    "noisy_labels_40_full": ("2026-11-27 04:46", {"temperature": 1.0, "alpha": 1.0}),
    "shifted_askew": ("2026-11-27 06:05", {"temperature": 2.0, "alpha": 1.0}),
    "shifted_light": (_AT_6, {"temperature": 4.0, "alpha": 1.0}),
    "noisy_labels_20_full": (_AT_6, {"temperature": 1.0, "alpha": 0.5}),
    "noisy_labels_40_stopped": ("2026-11-27 04:58", {"temperature": 1.0, "alpha": 0.5}),
    **{f"long_tail_{ratio}": _SHORT for ratio in (10, 100)},
    **{f"short_training_{epochs}": _SHORT for epochs in (1, 3, 10)},
    **{f"small_student_{units}": (_AT_4, {"temperature": 0.5, "alpha": 1.0}) for units in (4, 8)},
    **{f"small_student_{units}": (_AT_4, {"temperature": 0.5, "alpha": 0.5}) for units in (16, 30)},
}


def recipe(name, data, teacher, *, units=128, epochs=EPOCHS, temperature=2.0, alpha=0.9):
    """Return the `Recipe` of a row: students of a perceptron from a teacher that is there.

    Args:
        name: of the data set.
        data: a `Data`.
        teacher: path of the teacher's file.
        units: of the student.
        epochs: of all students.
        temperature: of the soft targets.
        alpha: weight of the distillation loss.
    """
    return kd.experiment.Recipe(
        data=data,
        teacher=teacher,
        student=functools.partial(kd.models.mlp, [units], **teachers.PIXELS[name]),
        temperature=temperature,
        alpha=alpha,
        epochs=epochs,
        student_patience=epochs,
        batch_size=BATCH,
        optimizer=cosine(1e-3, weight_decay=0.01),
        checked=False,
    )


def few(name, count, whose):
    """A few labels, all other images without; the teacher saw these labels, or all."""

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(name, seed=seed)
        data = whole.keep_labels(count, seed=seed)
        if tuning:
            data = dataclasses.replace(data, validation=whole.validation)
        shape = {"batch_norm": True, **teachers.PIXELS[name]}
        found = dataclasses.replace(
            kd.recipes.fashion_mnist_few_labels,
            name="few_labels",
            data=data,
            labels=None,
            teacher=functools.partial(kd.models.conv_net, [32, 64, 64], **shape),
            student=functools.partial(kd.models.mlp, [128], **teachers.PIXELS[name]),
            teacher_augmentation=teachers.VIEWS[name],
            **settings,
        )
        if whose == "own":
            return found
        path = teachers.path_of(name, seed, "all", lambda: whole)
        return dataclasses.replace(found, teacher=path, checked=False)

    rest = f"{54000 - count:,}"
    saw = "these labels" if whose == "own" else "all labels"
    title = f"{count:,} labels and {rest} images without; the teacher saw {saw}"
    return title, "few labels", recipe_of


def changed(name, change, saw, *, epochs=None, views=None):
    """Return the recipes of a data set whose labelled images, those of validation too, change.

    The teacher learned from them. Settings are tuned on validation images as they were.

    Args:
        name: of the data set.
        change: `(split, seed) -> Split`.
        saw: as in `teachers.path_of`, like `epochs` and `views`.
        epochs: the same.
        views: the same.
    """

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(name, seed=seed)
        train, judges = (change(split, seed) for split in (whole.train, whole.validation))
        data = dataclasses.replace(whole, train=train, validation=judges)
        path = teachers.path_of(name, seed, saw, lambda: data, epochs=epochs, views=views)
        if tuning:
            data = dataclasses.replace(data, validation=whole.validation)
        return recipe(name, data, path, **settings)

    return recipe_of


def noisy(share, stopped):
    """A share of all labels replaced by another class; a teacher trained on them."""
    change = functools.partial(with_wrong_labels, share=share)
    epochs = 2 if stopped else 8
    how = "was stopped after 2 epochs" if stopped else "trained to the end"
    title = f"{100 * share:.0f} % of the labels wrong; a teacher that {how}"
    saw = f"{share:g}_wrong_{epochs}"
    recipes = changed("fashion_mnist", change, saw, epochs=epochs, views=False)
    return title, "noisy labels", recipes


def tail(ratio):
    """Classes of falling size, the first so many times the last; the teacher saw the same."""
    title = f"classes of unequal size, 1 to {ratio}; the teacher saw the same"
    change = functools.partial(with_tail, ratio=ratio)
    return title, "long tail", changed("fashion_mnist", change, f"tail_{ratio}")


def without(classes, title):
    """Images of some classes alone are transferred; the teacher saw all (Hinton et al. 2015)."""
    name = "mnist"

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(name, seed=seed)
        path = teachers.path_of(name, seed, "all", lambda: whole)
        kept = {
            part: getattr(whole, part).take(np.isin(getattr(whole, part).labels, classes))
            for part in (("train",) if tuning else ("train", "validation"))
        }
        # Such validation images are all told apart after an epoch: they can choose none.
        found = recipe(name, dataclasses.replace(whole, **kept), path, **settings)
        return dataclasses.replace(found, student_patience=None)

    return title, "classes missing", recipe_of


def plain(name, title, kind, **changes):
    """All labels, a teacher that saw them and views of the images; a student as `changes` say."""

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(name, seed=seed)
        path = teachers.path_of(name, seed, "all", lambda: whole)
        return recipe(name, whole, path, **changes, **settings)

    return title, kind, recipe_of


def shifted(name, how, title):
    """Labels are of images as they were collected, the student works on images that differ.

    Images from there are at hand without labels. The teacher was trained on labels and views.
    """

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(name, seed=seed)
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(whole.train))
        here, there = order[: len(order) // 2], order[len(order) // 2 :]
        data = dataclasses.replace(
            whole,
            train=whole.train.take(here),
            unlabelled=how(whole.train.images[there], generator),
            # Read once, always the same.
            test=Split(how(whole.test.images, np.random.default_rng(0)), whole.test.labels),
        )
        path = teachers.path_of(name, seed, "wide_views", lambda: data, views=WIDE)
        if tuning:
            judges = Split(how(whole.validation.images, generator), whole.validation.labels)
            data = dataclasses.replace(data, validation=judges)
        return recipe(name, data, path, **settings)

    return title, "shifted images", recipe_of


# As a camera that is held askew sees them.
WIDE = kd.data.RandomAffine(degrees=30, zoom=0.2, pixels=4)


def askew(images, generator):
    """Return images turned by up to 30 degrees, zoomed and shifted."""
    seeds = generator.integers(0, 2**31 - 1, (len(images), 2))
    return np.concatenate(
        [
            np.asarray(WIDE(images[start : start + 5000], seeds[start : start + 5000]))
            for start in range(0, len(images), 5000)
        ]
    ).astype(images.dtype)


def dim(images, generator):
    """Return images in bad light: of little contrast, brighter or darker, with noise."""
    contrast = generator.uniform(0.3, 0.7, (len(images), 1, 1, 1))
    light = generator.uniform(0, 255 * (1 - contrast))
    noise = generator.normal(0, 15, images.shape)
    return np.clip(images * contrast + light + noise, 0, 255).astype(images.dtype)


def with_wrong_labels(split, seed, share):
    """Return a split in which a share of the labels is replaced by another class."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(len(split)) < share
    by = generator.integers(1, 10, len(split))
    return Split(split.images, np.where(wrong, (split.labels + by) % 10, split.labels))


def with_tail(split, seed, ratio):
    """Return a split whose class k keeps `ratio ** (-k / 9)` of its images (Cao et al. 2019)."""
    generator = np.random.default_rng(seed)
    kept = [
        generator.permutation(np.flatnonzero(split.labels == label))[
            : max(1, round(np.sum(split.labels == label) * ratio ** (-label / 9)))
        ]
        for label in range(10)
    ]
    return split.take(np.concatenate(kept))


def _regime(name, row, *, data=FASHION, grid=GRID):
    title, kind, recipe_of = row
    frozen, settings = FROZEN.get(name, ("", {}))
    return of_recipe(
        recipe_of, title=title, kind=kind, data=data, grid=grid, settings=settings, frozen=frozen
    )


_AGAINST = {"temperature": [1.0, 2.0], "alpha": [0.5, 1.0, 1.2, 1.5]}
_SOFT = {"temperature": [2.0, 4.0, 8.0], "alpha": [0.5, 1.0]}
_TRANSFER = {"temperature": [4.0, 10.0, 20.0], "alpha": [0.9, 1.0]}
_SHARP = {"temperature": [0.5, 1.0, 2.0], "alpha": [0.5, 1.0]}
_UNLABELLED = {"temperature": [1.0, 2.0, 4.0], "alpha": [1.0]}


def _rows():
    """Yield name, row, data set and grid of each regime."""
    for name, title in NAMES.items():
        for count, whose in itertools.product((100, 500, 2000), ("own", "all")):
            row = few(name, count, whose)
            yield f"few_labels_{name}_{count}_{whose}", row, title, _UNLABELLED
    for share, stopped in itertools.product((0.2, 0.4), (True, False)):
        how = "stopped" if stopped else "full"
        yield f"noisy_labels_{100 * share:.0f}_{how}", noisy(share, stopped), FASHION, _AGAINST
    for ratio in (10, 100):
        yield f"long_tail_{ratio}", tail(ratio), FASHION, GRID
    others = [digit for digit in range(10) if digit != 3]
    row = without(others, "no image of a 3; the teacher saw all digits")
    yield "missing_threes", row, MNIST, _TRANSFER
    row = without([7, 8], "images of 7s and 8s alone; the teacher saw all digits")
    yield "missing_all_but_7_8", row, MNIST, _TRANSFER
    title = "all labels; the teacher saw views, the student does not"
    yield "no_augmentation_mnist", plain("mnist", title, "large teacher"), MNIST, _SOFT
    for units in (4, 8, 16, 30):
        title = f"a student of {units} units, all labels"
        row = plain("fashion_mnist", title, "small student", units=units)
        yield f"small_student_{units}", row, FASHION, _SHARP
    for epochs in (1, 3, 10):
        title = f"{epochs} epoch{'s' if epochs > 1 else ''} of training, all labels"
        row = plain("fashion_mnist", title, "short training", epochs=epochs)
        yield f"short_training_{epochs}", row, FASHION, GRID
    title = "images out there are {}, 27,000 of them unlabelled"
    row = shifted("mnist", askew, title.format("turned and shifted"))
    yield "shifted_askew", row, MNIST, _UNLABELLED
    row = shifted("fashion_mnist", dim, title.format("in bad light"))
    yield "shifted_light", row, FASHION, _UNLABELLED


REGIMES = {name: _regime(name, row, data=data, grid=grid) for name, row, data, grid in _rows()}
