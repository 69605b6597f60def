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
        return len(args[0].shape) in (2, 3, 4) and None not in args[0].shape[1:]
    return (
        type(layer) in (*_TWINS, layers.SeparableConv2D)
        and layer.data_format == "channels_last"
        and getattr(layer, "groups", 1) in (1, args[0].shape[-1])
    )


def is_fused(activation):
    """Return whether a file computes an activation together with the layer that has it."""
    return activation in _ACTIVATIONS


def can_fold(call, batch_norm):
    """Return whether an operation is a BatchNormalization of what a layer's filters return.

    Args:
        call: of a layer that `has_integer_kernel`.
        batch_norm: what comes next.
    """
    if type(batch_norm) is not layers.BatchNormalization:
        return False
    last_axis = batch_norm.axis in (-1, len(call.outputs.shape) - 1)
    return call.operation.activation is keras.activations.linear and last_axis


def integer_kernels(layer, batch_norm, weight_bits, name):
    """Return what stands for a layer: a list of pairs of an integer layer and its weights.

    Args:
        layer: one that `has_integer_kernel`; an activation that is not `is_fused` is left out.
        batch_norm: the BatchNormalization after it, to be folded in, or `None`.
        weight_bits: 4 or 8.
        name: of the last integer layer.
    """
    # By name, not by `get_weights`: with LoRA a layer has more, and its kernel is their sum.
    is_separable = type(layer) is layers.SeparableConv2D
    kernel = _array(layer.pointwise_kernel if is_separable else layer.kernel)
    bias = _array(layer.bias) if layer.use_bias else 0.0
    is_depthwise = type(layer) is layers.DepthwiseConv2D
    if getattr(layer, "groups", 1) > 1:  # As many as channels: a depthwise one by another name.
        is_depthwise = True
        kernel = np.reshape(kernel, (*layer.kernel_size, layer.groups, -1))
    if batch_norm is not None:
        kernel, bias = _folded(kernel, bias, batch_norm, is_depthwise)
    config = {
        "name": name,
        "activation": layer.activation if is_fused(layer.activation) else None,
        "use_bias": layer.use_bias or batch_norm is not None,
        "weight_bits": weight_bits,
        "trainable": layer.trainable,
    }
    weights = [kernel, bias] if config["use_bias"] else [kernel]
    if is_separable:
        own = {"name": f"{name}_depthwise", "activation": None, "use_bias": False}
        depthwise = IntegerDepthwiseConv2D(
            **_window(layer), depth_multiplier=layer.depth_multiplier, **{**config, **own}
        )
        pointwise = IntegerConv2D(layer.filters, 1, **config)
        return [(depthwise, [_array(layer.depthwise_kernel)]), (pointwise, weights)]
    if type(layer) is layers.Dense:
        return [(IntegerDense(layer.units, **config), weights)]
    if is_depthwise:
        depthwise = IntegerDepthwiseConv2D(
            **_window(layer), depth_multiplier=kernel.shape[-1], **config
        )
        return [(depthwise, weights)]
    return [(IntegerConv2D(layer.filters, **_window(layer), **config), weights)]


def _array(weight):
    return keras.ops.convert_to_numpy(weight)


def _window(layer):
    return {
        "kernel_size": layer.kernel_size,
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
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
