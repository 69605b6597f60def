"""Builders of small classifiers: raw pixels in (`image`), logits out (`logits`)."""

from keras_kd.models.conv_net import conv_net
from keras_kd.models.lenet5 import lenet5
from keras_kd.models.mlp import mlp

__all__ = ["conv_net", "lenet5", "mlp"]
