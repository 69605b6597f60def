"""Builders of small classifiers: raw pixels (`image`) or bytes in, logits out (`logits`)."""

from keras_kd._common.surface import only
from keras_kd.models.byte_net import byte_net
from keras_kd.models.conv_net import conv_net
from keras_kd.models.lenet5 import lenet5
from keras_kd.models.mlp import mlp
from keras_kd.models.residual_net import residual_net
from keras_kd.models.resnet import resnet18
from keras_kd.models.spec import from_spec
from keras_kd.models.speed_net import speed_net

__all__ = [
    "byte_net",
    "conv_net",
    "from_spec",
    "lenet5",
    "mlp",
    "residual_net",
    "resnet18",
    "speed_net",
]

__dir__ = only(__all__)
