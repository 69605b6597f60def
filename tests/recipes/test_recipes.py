"""Every recipe and its best form: the models it names, and that each can be built and written."""

import json
import types

import keras
import pytest

import keras_kd as kd

SHAPES = {
    "cifar10": (32, 32, 3),
    "digits": (8, 8, 1),
    "fashion_mnist": (28, 28, 1),
    "mnist": (28, 28, 1),
}
RECIPES = {name: getattr(kd.recipes, name) for name in kd.recipes.__all__}
# No images, or maps: each has a test file of its own.
for name in ("edges", "language_model", "languages", "magika"):
    del RECIPES[name]
RECIPES |= {recipe.best.name: recipe.best for recipe in RECIPES.values() if recipe.best}
# Of teacher and student, from the published layers.
PARAMETERS = {
    "adversarial_discriminator": (31_530, 15_770),
    "adversarial_online": (31_530, 15_770),
    "cifar10_resnet": (2_802_410, 114_410),
    "digits": (42_634, 1_210),
    "fashion_mnist_few_labels": (66_474, 101_770),
    "fashion_mnist_mlp": (134_794, 101_770),
    "hinton_mnist": (2_395_210, 1_276_810),
    "hinton_mnist_30": (2_395_210, 24_790),
    "hinton_mnist_all": (2_395_210, 1_276_810),
    "mnist_mlp": (109_386, 25_450),
}


def data_of(recipe):
    """Return the name of the data set, also of one that is put together anew."""
    return "mnist" if callable(recipe.data) else recipe.data


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
class TestEveryRecipe:
    def test_its_student_has_the_published_size(self, recipe):
        teacher, student = (
            build(image_shape=SHAPES[data_of(recipe)], num_classes=10)
            for build in (recipe.teacher, recipe.student)
        )
        published = recipe.name.removesuffix("_best")
        assert student.count_params() == PARAMETERS[published][1]
        if recipe.name == published:
            assert teacher.count_params() == PARAMETERS[published][0]

    def test_its_settings_can_be_written(self, recipe):
        data = types.SimpleNamespace(
            name=data_of(recipe),
            input_shape=SHAPES[data_of(recipe)],
            is_images=True,
            unlabelled=None,
            num_classes=10,
            train=range(1000),
        )
        settings = json.loads(json.dumps(recipe.settings(data)))
        assert settings.get("dataset", "mnist") == data_of(recipe)
        for who in ("teacher", "student"):
            assert isinstance(recipe.optimizer_of(who, 1000), keras.optimizers.Optimizer)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_its_name(name):
    assert kd.recipes.by_name(name) is RECIPES[name]
