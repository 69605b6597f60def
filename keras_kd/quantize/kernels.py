"""The integer layers that stand for a layer with weights, BatchNormalization folded in."""

import keras
import numpy as np
from keras import layers

from keras_kd.quantize.layers import (
    IntegerConv1D,
    IntegerConv2D,
    IntegerConv2DTranspose,
    IntegerDense,
    IntegerDepthwiseConv1D,
    IntegerDepthwiseConv2D,
    IntegerEmbedding,
)
from keras_kd.quantize.made import array, made

# What stands for each kind of layer.
_TWINS = {
    layers.Conv1D: IntegerConv1D,
    layers.Conv2D: IntegerConv2D,
    layers.Conv2DTranspose: IntegerConv2DTranspose,
    layers.Dense: IntegerDense,
    layers.DepthwiseConv1D: IntegerDepthwiseConv1D,
    layers.DepthwiseConv2D: IntegerDepthwiseConv2D,
    layers.Embedding: IntegerEmbedding,
}
INTEGER_KERNELS = tuple(_TWINS.values())
# LiteRT has no four bits for these.
WITHOUT_INT4 = (layers.Conv2DTranspose, layers.Embedding)
# A separable layer is one of each.
_SEPARABLE = {
    layers.SeparableConv1D: (IntegerDepthwiseConv1D, IntegerConv1D),
    layers.SeparableConv2D: (IntegerDepthwiseConv2D, IntegerConv2D),
}
_DEPTHWISE = {layers.Conv1D: IntegerDepthwiseConv1D, layers.Conv2D: IntegerDepthwiseConv2D}
_OF_SEQUENCES = (layers.Conv1D, layers.DepthwiseConv1D, layers.SeparableConv1D)
_ACTIVATIONS = (keras.activations.linear, keras.activations.relu, keras.activations.relu6)


def has_integer_kernel(layer, args):
    """Return whether a layer, called with `args`, has a twin with integer weights."""
    if type(layer) not in (*_TWINS, *_SEPARABLE):
        return False
    shape = args[0].shape
    if type(layer) is layers.Embedding:
        return True
    if type(layer) is layers.Dense:
        return len(shape) in (2, 3, 4) and None not in shape[1:]
    is_known = type(layer) not in _OF_SEQUENCES or None not in shape[1:]
    return is_known and layer.data_format == "channels_last"


def takes_words(layer):
    """Return whether a layer takes numbers of words, on no grid, whatever their dtype."""
    return isinstance(layer, layers.Embedding)


def is_fused(layer):
    """Return whether a file computes a layer's activation, if it has one, together with it."""
    activation = getattr(layer, "activation", keras.activations.linear)
    return activation in _ACTIVATIONS and (
        takes_rectifier(layer) or activation is keras.activations.linear
    )


def takes_rectifier(layer):
    """Return whether a file computes a ReLU behind a layer together with it."""
    return not isinstance(layer, layers.Conv2DTranspose)


def with_activation(layer, x, activation, name):
    """Call a copy of a layer that `has_integer_kernel`, with another activation and its weights."""
    config = {**layer.get_config(), "activation": activation, "name": name}
    for of_training in ("lora_rank", "lora_alpha"):  # What they made is in the kernel.
        config.pop(of_training, None)
    kernels = [layer.kernel]
    if type(layer) in _SEPARABLE:
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    weights = [*kernels, layer.bias] if layer.use_bias else kernels
    copy = type(layer).from_config(config)
    copy.trainable = layer.trainable
    return made(copy, [array(each) for each in weights], x)


def can_fold(call, batch_norm):
    """Return whether an operation is a BatchNormalization of what a layer's filters return.

    Args:
        call: of a layer that `has_integer_kernel`.
        batch_norm: what comes next.
    """
    if type(batch_norm) is not layers.BatchNormalization:
        return False
    is_linear = getattr(call.operation, "activation", None) is keras.activations.linear
    last_axis = batch_norm.axis in (-1, len(call.outputs.shape) - 1)
    return is_linear and last_axis


def integer_kernels(layer, batch_norm, weight_bits, name):
    """Return what stands for a layer: a list of pairs of an integer layer and its weights.

    Args:
        layer: one that `has_integer_kernel`, with an activation that `is_fused`.
        batch_norm: the BatchNormalization after it, to be folded in, or `None`.
        weight_bits: 4 or 8.
        name: of the last integer layer.
    """
    # By name, not by `get_weights`: with LoRA a layer has more, and its kernel is their sum.
    kind = type(layer)
    weight_bits = 8 if isinstance(layer, WITHOUT_INT4) else weight_bits
    if kind is layers.Embedding:
        sizes = layer.input_dim, layer.output_dim
        own = {"name": name, "weight_bits": weight_bits, "trainable": layer.trainable}
        twin = IntegerEmbedding(*sizes, mask_zero=layer.mask_zero, **own)
        return [(twin, [array(layer.embeddings)])]
    kernel = array(layer.pointwise_kernel if kind in _SEPARABLE else layer.kernel)
    bias = array(layer.bias) if layer.use_bias else 0.0
    is_depthwise = _TWINS.get(kind) in _DEPTHWISE.values()
    groups = getattr(layer, "groups", 1)
    is_transposed = kind is layers.Conv2DTranspose
    if (
        not is_transposed and 1 < groups == kernel.shape[-2] * groups
    ):  # Each channel apart: depthwise by another name.
        is_depthwise = True
        kernel = np.reshape(kernel, (*layer.kernel_size, groups, -1))
    if batch_norm is not None and is_transposed:  # Its filters are the axis before the last.
        kernel, bias = _with_batch_norm(np.swapaxes(kernel, 2, 3), bias, batch_norm, False)
        kernel = np.swapaxes(kernel, 2, 3)
    elif batch_norm is not None:
        kernel, bias = _with_batch_norm(kernel, bias, batch_norm, is_depthwise)
    config = {
        "name": name,
        "activation": layer.activation,
        "use_bias": layer.use_bias or batch_norm is not None,
        "weight_bits": weight_bits,
        "trainable": layer.trainable,
    }
    weights = [kernel, bias] if config["use_bias"] else [kernel]
    if kind is layers.Dense:
        return [(IntegerDense(layer.units, **config), weights)]
    if kind in _SEPARABLE:
        own = {"name": f"{name}_depthwise", "activation": None, "use_bias": False}
        depthwise, pointwise = _SEPARABLE[kind]
        depthwise = depthwise(
            **_window(layer), depth_multiplier=layer.depth_multiplier, **{**config, **own}
        )
        pointwise = pointwise(layer.filters, 1, **config)
        return [(depthwise, [array(layer.depthwise_kernel)]), (pointwise, weights)]
    if is_depthwise:
        twin = _DEPTHWISE.get(kind, _TWINS[kind])
        return [(twin(**_window(layer), depth_multiplier=kernel.shape[-1], **config), weights)]
    own = {"output_padding": layer.output_padding} if is_transposed else {"groups": groups}
    return [(_TWINS[kind](layer.filters, **own, **_window(layer), **config), weights)]


def _window(layer):
    return {
        "kernel_size": layer.kernel_size,
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
    }


def _with_batch_norm(kernel, bias, batch_norm, is_depthwise):
    """Return kernel and bias that compute `gamma * (x - mean) / std + beta` as well."""
    mean = batch_norm.moving_mean.numpy()
    factor = 1 / np.sqrt(batch_norm.moving_variance.numpy() + batch_norm.epsilon)
    if batch_norm.scale:
        factor = factor * batch_norm.gamma.numpy()
    shift = batch_norm.beta.numpy() if batch_norm.center else 0.0
    # The channels of a depthwise kernel are its last two axes.
    per_kernel = np.reshape(factor, kernel.shape[-2:]) if is_depthwise else factor
    return kernel * per_kernel, (bias - mean) * factor + shift
