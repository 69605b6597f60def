"""The integer layers that stand for a layer with weights, BatchNormalization folded in."""

import keras
import numpy as np
from keras import layers

from keras_kd.quantize.layers import IntegerConv2D, IntegerDense, IntegerDepthwiseConv2D

INTEGER_KERNELS = (IntegerConv2D, IntegerDense, IntegerDepthwiseConv2D)
_TWINS = {
    layers.Conv2D: IntegerConv2D,
    layers.Dense: IntegerDense,
    layers.DepthwiseConv2D: IntegerDepthwiseConv2D,
}
_ACTIVATIONS = (keras.activations.linear, keras.activations.relu, keras.activations.relu6)


def has_integer_kernel(layer, args):
    """Return whether a layer, called with `args`, has a twin with integer weights."""
    if type(layer) is layers.Dense:
        return layer.activation in _ACTIVATIONS and len(args[0].shape) == 2
    return (
        type(layer) in (*_TWINS, layers.SeparableConv2D)
        and layer.activation in _ACTIVATIONS
        and layer.data_format == "channels_last"
        and getattr(layer, "groups", 1) == 1
    )


def can_fold(layer, follower):
    """Return whether the next layer is a BatchNormalization of what a layer's filters return."""
    if type(follower) is not layers.BatchNormalization:
        return False
    last_axis = follower.axis in (-1, len(layer.output.shape) - 1)
    return layer.activation is keras.activations.linear and last_axis


def integer_kernels(layer, batch_norm, weight_bits):
    """Return what stands for a layer: a list of pairs of an integer layer and its weights.

    Args:
        layer: one that `has_integer_kernel`.
        batch_norm: the BatchNormalization after it, to be folded in, or `None`.
        weight_bits: 4 or 8.
    """
    weights = layer.get_weights()
    kernel, bias = weights[-2:] if layer.use_bias else (weights[-1], 0.0)
    if batch_norm is not None:
        kernel, bias = _folded(kernel, bias, batch_norm, type(layer) is layers.DepthwiseConv2D)
    config = {
        "name": layer.name,
        "activation": layer.activation,
        "use_bias": layer.use_bias or batch_norm is not None,
        "weight_bits": weight_bits,
        "trainable": layer.trainable,
    }
    weights = [kernel, bias] if config["use_bias"] else [kernel]
    if type(layer) is layers.SeparableConv2D:
        name = f"{layer.name}_depthwise"
        depthwise = IntegerDepthwiseConv2D(
            **_window(layer), **{**config, "name": name, "activation": None, "use_bias": False}
        )
        pointwise = IntegerConv2D(layer.filters, 1, **config)
        return [(depthwise, layer.get_weights()[:1]), (pointwise, weights)]
    if type(layer) is layers.Dense:
        return [(IntegerDense(layer.units, **config), weights)]
    if type(layer) is layers.DepthwiseConv2D:
        return [(IntegerDepthwiseConv2D(**_window(layer), **config), weights)]
    window = _window(layer)
    del window["depth_multiplier"]
    return [(IntegerConv2D(layer.filters, **window, **config), weights)]


def _window(layer):
    return {
        "kernel_size": layer.kernel_size,
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
        "depth_multiplier": getattr(layer, "depth_multiplier", None),
    }


def _folded(kernel, bias, batch_norm, is_depthwise):
    """Return kernel and bias that compute `gamma * (x - mean) / std + beta` as well."""
    mean = batch_norm.moving_mean.numpy()
    factor = 1 / np.sqrt(batch_norm.moving_variance.numpy() + batch_norm.epsilon)
    if batch_norm.scale:
        factor = factor * batch_norm.gamma.numpy()
    shift = batch_norm.beta.numpy() if batch_norm.center else 0.0
    # The channels of a depthwise kernel are its last two axes.
    per_kernel = np.reshape(factor, kernel.shape[-2:]) if is_depthwise else factor
    return kernel * per_kernel, (bias - mean) * factor + shift
