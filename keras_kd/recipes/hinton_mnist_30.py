"""The experiment of Hinton et al. 2015 with a student of 30 units per layer, where T matters more.

Commands and cost: `hinton_mnist`, whose teacher it has.
"""

import dataclasses
import functools

from keras_kd.models import mlp
from keras_kd.recipes.hinton_mnist import hinton_mnist

hinton_mnist_30 = dataclasses.replace(
    hinton_mnist,
    name="hinton_mnist_30",
    student=functools.partial(mlp, [30, 30], name="student"),
)
