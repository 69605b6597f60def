"""A student that is trained as the integer file will compute."""

from keras_kd.quantize.layers import (
    ActivationRange,
    IntegerConv2D,
    IntegerDense,
    IntegerDepthwiseConv2D,
)
from keras_kd.quantize.prepare import prepare, weight_bits
from keras_kd.quantize.rewriting import float_layers

__all__ = [
    "ActivationRange",
    "IntegerConv2D",
    "IntegerDense",
    "IntegerDepthwiseConv2D",
    "float_layers",
    "prepare",
    "weight_bits",
]
