"""One file per known experiment. Each holds a frozen `Recipe`, of maps a `MapRecipe`; call it.

The data-free form is not among them: a recipe's student learns from the training images in epochs
of them and is chosen by the validation images, of which that form has none. See
`benchmarks/scripts/adversarial.py`.
"""

from keras_kd._common.surface import only
from keras_kd.recipes.adversarial_discriminator import adversarial_discriminator
from keras_kd.recipes.adversarial_online import adversarial_online
from keras_kd.recipes.cifar10_resnet import cifar10_resnet
from keras_kd.recipes.digits import digits
from keras_kd.recipes.edges import edges
from keras_kd.recipes.fashion_mnist_few_labels import fashion_mnist_few_labels
from keras_kd.recipes.fashion_mnist_mlp import fashion_mnist_mlp
from keras_kd.recipes.hinton_mnist import hinton_mnist
from keras_kd.recipes.hinton_mnist_30 import hinton_mnist_30
from keras_kd.recipes.hinton_mnist_all import hinton_mnist_all
from keras_kd.recipes.language_model import language_model
from keras_kd.recipes.languages import languages
from keras_kd.recipes.magika import magika
from keras_kd.recipes.mnist_mlp import mnist_mlp

__all__ = [
    "adversarial_discriminator",
    "adversarial_online",
    "cifar10_resnet",
    "digits",
    "edges",
    "fashion_mnist_few_labels",
    "fashion_mnist_mlp",
    "hinton_mnist",
    "hinton_mnist_30",
    "hinton_mnist_all",
    "language_model",
    "languages",
    "magika",
    "mnist_mlp",
]

__dir__ = only(__all__)


def by_name(name):
    """Return the recipe, or the best form of one, that goes by a name; `None` if there is none."""
    known = [globals()[each] for each in __all__]
    known += [recipe.best for recipe in known if recipe.best is not None]
    return next((recipe for recipe in known if recipe.name == name), None)
