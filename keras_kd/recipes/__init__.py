"""One file per known experiment. Each holds one frozen `Recipe`; call it to run it."""

from keras_kd.recipes.digits import digits
from keras_kd.recipes.fashion_mnist_mlp import fashion_mnist_mlp

__all__ = ["digits", "fashion_mnist_mlp"]
