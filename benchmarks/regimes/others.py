"""Regimes of other teachers on Fashion-MNIST: ensembles, and a convolutional net for a perceptron.

The student is the perceptron of 128 units of `images.py`, under the same schedule. An ensemble is
five such perceptrons, alike but for their first weights.
"""

import dataclasses
import functools

import keras
from regimes import images, teachers
from regimes.regime import of_recipe

import keras_kd as kd
from keras_kd._common.files import written_whole
from keras_kd.experiment.optimizers import cosine

NAME = "fashion_mnist"
NUM_MEMBERS = 5
# Of a member that learns from few labels: as many images as in so many epochs of all.
FEWEST = 4
GRID = {"temperature": [1.0, 2.0], "alpha": [0.5, 1.0]}
perceptron = functools.partial(kd.models.mlp, [128], **teachers.PIXELS[NAME])


def ensemble(labels=None):
    """Five perceptrons teach one like them; all learned from the same labels, all or a few."""

    def recipe_of(seed, tuning, **settings):
        whole = kd.data.load(NAME, seed=seed)
        data = whole if labels is None else whole.keep_labels(labels, seed=seed)
        paths = members(data, seed, "all" if labels is None else f"{labels}_labels")
        if tuning:
            data = dataclasses.replace(data, validation=whole.validation)
        return images.recipe(NAME, data, paths, **settings)

    return recipe_of


def from_convolutions(count=None, epochs=20):
    """A convolutional net that saw views of all images teaches a perceptron that sees none.

    Args:
        count: images that the student has, with their labels and no others; all if `None`.
        epochs: of the students, where they have all images; as many steps where they have fewer.
    """

    def recipe_of(seed, tuning, **settings):
        whole = data = kd.data.load(NAME, seed=seed)
        path = teachers.path_of(NAME, seed, "all", lambda: whole)
        if count is not None:
            data = dataclasses.replace(whole.keep_labels(count, seed=seed), unlabelled=None)
        steps_of = epochs * len(whole.train)
        return images.recipe(NAME, data, path, epochs=steps_of // len(data.train), **settings)

    return recipe_of


def members(data, seed, saw):
    """Return the files of five perceptrons that learned from the labels of `data`.

    Args:
        data: a `Data`.
        seed: of the row.
        saw: what they learned from, in a word, for the files' names.
    """
    folder = teachers.FOLDER / "teachers"
    paths = [folder / f"member_{number}_{saw}_{seed}.keras" for number in range(NUM_MEMBERS)]
    if all(path.exists() for path in paths):
        return paths
    whole = len(data.train) + len([] if data.unlabelled is None else data.unlabelled)
    # Few labels are learned by heart in fewer steps than the student takes on all images.
    epochs = max(images.EPOCHS, FEWEST * whole // len(data.train))
    rate = cosine(1e-3, weight_decay=0.01)
    distillers = []
    for number in range(NUM_MEMBERS):
        keras.utils.set_random_seed(1000 * (number + 1) + seed)  # First weights of no student.
        member = kd.Distiller(student=perceptron(), alpha=0.0)
        num_steps = epochs * -(-len(data.train) // images.BATCH)
        distillers.append(member.compile(rate(num_steps), metrics=["accuracy"]))
    batches = data.train.batches(images.BATCH, shuffle_seed=seed)
    kd.train_together(distillers, batches, epochs=epochs, verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    for path, member in zip(paths, distillers, strict=True):
        with written_whole(path) as unfinished:
            kd.export.uncompiled(member.student).save(unfinished)
    return paths


def _regime(recipe_of, title, kind, grid, settings, frozen=""):
    return of_recipe(
        recipe_of, title=title, kind=kind, data="Fashion-MNIST", grid=grid, settings=settings,
        frozen=frozen,
    )  # fmt: skip


REGIMES = {
    "ensemble_all_labels": _regime(
        ensemble(),
        "five small nets into one like them, all labels",
        "ensemble",
        GRID,
        {},
    ),
    "ensemble_2000_labels": _regime(
        ensemble(2000),
        "five small nets into one like them; 2,000 labels and 52,000 images without",
        "ensemble",
        {"temperature": [1.0, 2.0], "alpha": [1.0]},
        {"temperature": 1.0, "alpha": 1.0},
        "2026-11-27 04:16",
    ),
    "convolutions_into_perceptron": _regime(
        from_convolutions(),
        "a convolutional net, trained on views, into a perceptron; all labels",
        "large teacher",
        GRID,
        {},
    ),
    "convolutions_into_perceptron_10000": _regime(
        from_convolutions(10_000),
        "a convolutional net into a perceptron; 10,000 labels, no other images",
        "large teacher",
        GRID,
        {"temperature": 2.0, "alpha": 0.5},
        "2026-11-27 04:27",
    ),
}
