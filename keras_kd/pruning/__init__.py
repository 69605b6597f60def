"""A student that loses whole channels while it is trained, and is smaller in the end."""

from keras_kd._common.surface import only
from keras_kd.pruning.callback import Pruning
from keras_kd.pruning.shrinking import multiply_adds, shrink

__all__ = ["Pruning", "multiply_adds", "shrink"]

__dir__ = only(__all__)
