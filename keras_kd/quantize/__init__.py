"""A student that is trained as the integer file will compute."""

from keras_kd._common.surface import only
from keras_kd.quantize.arithmetic import float_layers, float_share

# Not shown: `prepare` makes them.
from keras_kd.quantize.layers import ActivationRange as ActivationRange
from keras_kd.quantize.layers import Float32 as Float32
from keras_kd.quantize.layers import IntegerConv2D as IntegerConv2D
from keras_kd.quantize.layers import IntegerDense as IntegerDense
from keras_kd.quantize.layers import IntegerDepthwiseConv2D as IntegerDepthwiseConv2D
from keras_kd.quantize.prepare import prepare
from keras_kd.quantize.saturation import saturation
from keras_kd.quantize.sensitivity import LayerSensitivity, Sensitivity, sensitivity
from keras_kd.quantize.students import weight_bits

__all__ = [
    "LayerSensitivity",
    "Sensitivity",
    "float_layers",
    "float_share",
    "prepare",
    "saturation",
    "sensitivity",
    "weight_bits",
]

__dir__ = only(__all__)
