"""Regimes on Fashion-MNIST and MNIST: labels that are few, wrong or rare, students that are small.

The student is a perceptron of 128 units (unless the row is about its size), on images as they are;
the teacher a convolutional net that was trained on views of the images, with the labels that the
row says. All students of a row take the same number of steps, and the epoch that validation
prefers.
"""

import dataclasses
import functools

import numpy as np
from regimes import teachers
from regimes.regime import of_recipe

import keras_kd as kd
from keras_kd.data import Split
from keras_kd.experiment.optimizers import cosine

NAMES = {"fashion_mnist": "Fashion-MNIST", "mnist": "MNIST"}
EPOCHS, BATCH = 10, 128
GRID = {"temperature": [1.0, 2.0], "alpha": [0.5, 1.0]}
FROZEN = ""


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
        if whose == "all":
            path = teachers.path_of(name, seed, "all", lambda: whole)
        else:
            path = teachers.path_of(name, seed, f"{count}_labels", lambda: data)
        if tuning:
            data = with_(data, validation=whole.validation)
        return recipe(name, data, path, **settings)

    rest = f"{54000 - count:,}"
    saw = "these labels" if whose == "own" else "all labels"
    title = f"{count:,} labels and {rest} images without; the teacher saw {saw}"
    return title, "few labels", recipe_of


def noisy(share, stopped):
    """A share of all labels replaced by another class; a teacher trained on them."""
    name = "fashion_mnist"

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(name, seed=seed)
        data = with_(
            whole,
            train=with_wrong_labels(whole.train, share, seed),
            validation=with_wrong_labels(whole.validation, share, seed),
        )
        epochs = 2 if stopped else 8
        path = teachers.path_of(
            name, seed, f"{share:g}_wrong_{epochs}", lambda: data, epochs=epochs, views=False
        )
        if tuning:
            # What is right about the settings shows on right labels.
            data = with_(data, validation=whole.validation)
        return recipe(name, data, path, **settings)

    how = "was stopped after 2 epochs" if stopped else "trained to the end"
    title = f"{100 * share:.0f} % of the labels wrong; a teacher that {how}"
    return title, "noisy labels", recipe_of


def tail(ratio):
    """Classes of falling size, the first so many times the last; the teacher saw the same."""
    name = "fashion_mnist"

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(name, seed=seed)
        data = with_(
            whole,
            train=with_tail(whole.train, ratio, seed),
            validation=with_tail(whole.validation, ratio, seed),
        )
        path = teachers.path_of(name, seed, f"tail_{ratio}", lambda: data)
        if tuning:
            data = with_(data, validation=whole.validation)
        return recipe(name, data, path, **settings)

    title = f"classes of unequal size, 1 to {ratio}; the teacher saw the same"
    return title, "long tail", recipe_of


def without(classes, title):
    """Images of some classes alone are transferred; the teacher saw all (Hinton et al. 2015)."""
    name = "mnist"

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(name, seed=seed)
        path = teachers.path_of(name, seed, "all", lambda: whole)
        kept = {
            part: getattr(whole, part).take(np.isin(getattr(whole, part).labels, classes))
            for part in ("train", "validation")
        }
        return recipe(name, with_(whole, **kept), path, **settings)

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
        data = with_(
            whole,
            train=whole.train.take(here),
            unlabelled=how(whole.train.images[there], generator),
            # Read once, always the same.
            test=Split(how(whole.test.images, np.random.default_rng(0)), whole.test.labels),
        )
        path = teachers.path_of(name, seed, "wide_views", lambda: data, views=WIDE)
        if tuning:
            judges = Split(how(whole.validation.images, generator), whole.validation.labels)
            data = with_(data, validation=judges)
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


def with_wrong_labels(split, share, seed):
    """Return a split in which a share of the labels is replaced by another class."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(len(split)) < share
    by = generator.integers(1, 10, len(split))
    return Split(split.images, np.where(wrong, (split.labels + by) % 10, split.labels))


def with_tail(split, ratio, seed):
    """Return a split whose class k keeps `ratio ** (-k / 9)` of its images (Cao et al. 2019)."""
    generator = np.random.default_rng(seed)
    kept = [
        generator.permutation(np.flatnonzero(split.labels == label))[
            : max(1, round(np.sum(split.labels == label) * ratio ** (-label / 9)))
        ]
        for label in range(10)
    ]
    return split.take(np.concatenate(kept))


def with_(data, **changes):
    """Return a `Data` with other parts."""
    return dataclasses.replace(data, **changes)


def _regime(row, *, data="Fashion-MNIST", grid=GRID, settings=None):
    title, kind, recipe_of = row
    return of_recipe(
        recipe_of, title=title, kind=kind, data=data, grid=grid, settings=settings or {},
        frozen=FROZEN if settings else "",
    )  # fmt: skip


_AGAINST = {"temperature": [1.0, 2.0], "alpha": [0.5, 1.0, 1.2, 1.5]}
_SOFT = {"temperature": [2.0, 4.0, 8.0], "alpha": [0.5, 1.0]}
_SHARP = {"temperature": [0.5, 1.0, 2.0], "alpha": [0.5, 1.0]}
_UNLABELLED = {"temperature": [1.0, 2.0, 4.0], "alpha": [1.0]}

REGIMES = {
    **{
        f"few_labels_{name}_{count}_{whose}": _regime(
            few(name, count, whose), data=NAMES[name], grid=_UNLABELLED
        )
        for name in NAMES
        for count in (100, 500, 2000)
        for whose in ("own", "all")
    },
    **{
        f"noisy_labels_{100 * share:.0f}_{'stopped' if stopped else 'full'}": _regime(
            noisy(share, stopped), grid=_AGAINST
        )
        for share in (0.2, 0.4)
        for stopped in (True, False)
    },
    **{f"long_tail_{ratio}": _regime(tail(ratio)) for ratio in (10, 100)},
    "missing_threes": _regime(
        without([0, 1, 2, 4, 5, 6, 7, 8, 9], "no image of a 3; the teacher saw all digits"),
        data="MNIST", grid=_SOFT,
    ),
    "missing_all_but_7_8": _regime(
        without([7, 8], "images of 7s and 8s alone; the teacher saw all digits"),
        data="MNIST", grid=_SOFT,
    ),
    "no_augmentation_mnist": _regime(
        plain("mnist", "all labels; the teacher saw views, the student does not", "large teacher"),
        data="MNIST", grid=_SOFT,
    ),
    **{
        f"small_student_{units}": _regime(
            plain(
                "fashion_mnist", f"a student of {units} units, all labels", "small student",
                units=units,
            ),
            grid=_SHARP,
        )
        for units in (4, 8, 16, 30)
    },
    **{
        f"short_training_{epochs}": _regime(
            plain(
                "fashion_mnist",
                f"{epochs} epoch{'s' if epochs > 1 else ''} of training, all labels",
                "short training",
                epochs=epochs,
            )
        )
        for epochs in (1, 3, 10)
    },
    "shifted_askew": _regime(
        shifted(
            "mnist", askew, "images out there are turned and shifted, 27,000 of them unlabelled"
        ),
        data="MNIST", grid=_UNLABELLED,
    ),
    "shifted_light": _regime(
        shifted(
            "fashion_mnist", dim, "images out there are in bad light, 27,000 of them unlabelled"
        ),
        grid=_UNLABELLED,
    ),
}  # fmt: skip
