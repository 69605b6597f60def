"""A student that is trained as the integer file will compute."""

from keras_kd.quantize.arithmetic import float_layers, float_share
from keras_kd.quantize.layers import (
    ActivationRange,
    IntegerConv2D,
    IntegerDense,
    IntegerDepthwiseConv2D,
)
from keras_kd.quantize.prepare import prepare, weight_bits

__all__ = [
    "ActivationRange",
    "IntegerConv2D",
    "IntegerDense",
    "IntegerDepthwiseConv2D",
    "float_layers",
    "float_share",
    "prepare",
    "weight_bits",
]
