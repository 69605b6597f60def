"""Recipes: what the published ones say, and CIFAR-10's from image files to a table."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_kd as kd
from keras_kd import cli

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Image files in CIFAR-10's classes, a few: stripes of a colour and a direction a class."""
    folder = tmp_path_factory.mktemp("data") / "cifar10-jpeg"
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 100, (32, 32, 3))
                pixels[:: 2 + label // 5, :, label % 3] += 155
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / split / name / f"{number:04d}.jpg")
    return folder.parent


@pytest.fixture
def narrow(monkeypatch):
    """The recipe with a narrow teacher and student and two temperatures, its best form too."""
    models = {
        "teacher": functools.partial(kd.models.conv_net, [4], batch_norm=True),
        "student": functools.partial(kd.models.conv_net, [2], batch_norm=True),
        "temperatures": (2, 8),
        "batch_size": 32,
        "quick_share": 0.5,
    }
    recipe = kd.recipes.cifar10_resnet
    best = dataclasses.replace(recipe.best, **models)
    recipe = dataclasses.replace(recipe, **models, best=best)
    monkeypatch.setattr(kd.recipes, "cifar10_resnet", recipe)
    return recipe


def test_a_budget_takes_the_best_form():
    recipe = kd.recipes.cifar10_resnet
    best = recipe.for_epochs(3, best=True)
    assert best.name == "cifar10_resnet_best" and best.epochs == best.views == 3
    assert recipe.for_epochs(3).name == "cifar10_resnet"
    assert kd.recipes.digits.for_epochs(best=True) is kd.recipes.digits


def test_the_published_settings_of_cifar10():
    recipe = kd.recipes.cifar10_resnet
    assert recipe.temperatures == (1, 2, 4, 8, 16) and recipe.epochs_of("teacher") == 200
    teacher = recipe.teacher(image_shape=(32, 32, 3), num_classes=10)
    # ResNet-18 with every channel count halved: a quarter of 11.2 million.
    trained = sum(np.prod(weight.shape) for weight in teacher.trainable_variables)
    assert trained == 2_797_610
    optimizer = recipe.optimizer_of("teacher", 45_000)
    schedule = keras.optimizers.schedules.deserialize(optimizer.get_config()["learning_rate"])
    steps = -(-45_000 // 128)
    rates = [float(schedule(epoch * steps)) for epoch in (0, 99, 101, 149, 151, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.slow
def test_a_quick_sweep_over_image_files_has_every_cell(images, narrow, tmp_path, capsys):
    command = ["sweep", "cifar10_resnet", "--quick", "--best", "--data-dir", str(images)]
    assert cli.main([*command, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Data: cifar10 from" in said and "90 to train, 10 to validate" in said
    assert "Precision: " in said
    results = json.loads((tmp_path / "results.json").read_text())
    cells = {(cell["temperature"], cell["alpha"]) for cell in results["cells"]}
    assert cells == {(t, alpha) for t in (2, 8) for alpha in (0.1, 0.5, 0.9)}
    for cell in results["cells"]:
        assert len(cell["validation"]["per_class_accuracy"]) == 10
    assert results["recipe"] == "cifar10_resnet_best" and results["data"]["test"] == 50
    assert results["settings"]["precision"] == "mixed"
