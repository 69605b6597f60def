"""A student's graph with layers of several steps as these steps, which have integer twins."""

import dataclasses

import keras
import numpy as np
from keras import layers, ops

from keras_kd._common.graph import Graph, graph_of, model_between, name_of_operation
from keras_kd.quantize import recurring, roles
from keras_kd.quantize.attending import einsum, einsum_dense, multi_head_attention
from keras_kd.quantize.folding import folded, takers_of
from keras_kd.quantize.kernels import has_integer_kernel, is_fused, with_activation
from keras_kd.quantize.layers import InverseRoot
from keras_kd.quantize.made import array, made


def expanded(graph):
    """Return a `Graph` that computes the same with other layers, where a layer is some of others.

    A LayerNormalization becomes means, products and a root, an LSTM its steps, a Conv1D a Conv2D
    of one row. What has no such steps, or is called in a way that they do not know, stays.
    """
    graph = _Expansion(graph, _steps_of).graph()
    # What goes into the weights before it has no steps of its own.
    kernels = {id(call.operation) for call in graph.calls if roles.role_of(call) == roles.KERNEL}
    inside = folded(graph, takers_of(graph), kernels).values()

    def of_batch_norm(call, inputs, _):
        is_apart = type(call.operation) is layers.BatchNormalization and not any(
            call.operation is each for each in inside
        )
        return _batch_normalization(call.operation, *inputs) if is_apart else None

    return _Expansion(graph, of_batch_norm).graph()


class _Expansion:
    """Goes through the calls of a graph once.

    Args:
        graph: of a student.
        steps_of: is given a `Call`, tensors such as it takes, and whether a mask may come with
            them; returns what the call returns, made of other layers, or `None`.
        models: by the id of a layer: itself, which keeps the id its own, its steps as a model or
            `None`, and the shapes that it is called on.
    """

    def __init__(self, graph, steps_of, models=None):
        self.before, self.steps_of = graph, steps_of
        self.models = {} if models is None else models
        self.stands_for = {}  # By the id of a tensor: itself, and the other.
        self.is_masked = any(_makes_a_mask(call.operation) for call in graph.calls)

    def graph(self):
        calls = [new for call in self.before.calls for new in self._calls(call)]
        return Graph(self.before.inputs, self._now(self.before.outputs), calls)

    def _calls(self, call):
        given = {"args": self._now(call.args), "kwargs": self._now(call.kwargs)}
        call = dataclasses.replace(call, **given)
        model = self._model(call)
        if model is None:
            return [call]
        inner = _Expansion(graph_of(model), self.steps_of, self.models).graph()
        # The steps of a layer that is called twice are called twice.
        stands_for = dict(zip(map(id, inner.inputs), call.tensors(), strict=True))

        def given_now(structure):
            return keras.tree.map_structure(lambda x: stands_for.get(id(x), x), structure)

        outputs = zip(keras.tree.flatten(call.outputs), given_now(inner.outputs), strict=True)
        self.stands_for.update({id(old): (old, new) for old, new in outputs})
        return [
            dataclasses.replace(
                each,
                args=given_now(each.args),
                kwargs=given_now(each.kwargs),
                path=(*call.path[:-1], *each.path),
            )
            for each in inner.calls
        ]

    def _model(self, call):
        """Return a layer's steps as a model of the call's tensors; `None` if it has none."""
        key, shapes = id(call.operation), [tuple(each.shape) for each in call.tensors()]
        if key not in self.models:
            self.models[key] = call.operation, self._steps(call), shapes
        _, model, known_shapes = self.models[key]
        return model if shapes == known_shapes else None

    def _steps(self, call):
        tensors = call.tensors()
        ends = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in tensors]
        outputs = self.steps_of(call, ends, self.is_masked)
        return None if outputs is None else model_between(ends, outputs)

    def _now(self, structure):
        return keras.tree.map_structure(lambda x: self.stands_for.get(id(x), (x, x))[1], structure)


def _steps_of(call, inputs, is_masked):
    """Return what a call returns, made of its steps on other inputs; `None` if it has none.

    Args:
        call: a `Call`.
        inputs: tensors such as those it is given.
        is_masked: whether a mask may come with them, which steps would not heed.
    """
    operation = call.operation
    if any("float" not in each.dtype for each in inputs):
        return None
    activation = _activation_of(operation)
    if activation in _ACTIVATIONS:
        return _ACTIVATIONS[activation](operation.name, *inputs)
    if has_integer_kernel(operation, call.args) and not is_fused(operation):
        return _apart(operation, *inputs)
    if any(None in each.shape[1:] for each in inputs):
        return None
    if name_of_operation(operation) == "Flip":
        return _flipped(operation, *inputs)
    if name_of_operation(operation) == "Einsum":
        return einsum(operation.subscripts, *inputs) if len(inputs) == 2 else None
    kind = type(operation)
    if kind in _LAYERS:
        return _LAYERS[kind](operation, *inputs)
    if kind in _HEEDING_MASKS and not is_masked:
        return _HEEDING_MASKS[kind](call, *inputs)
    return None


def _makes_a_mask(operation):
    return isinstance(operation, layers.Masking) or (
        isinstance(operation, layers.Embedding) and operation.mask_zero
    )


def _activation_of(operation):
    if isinstance(operation, layers.Activation):
        return operation.activation
    if type(operation) is layers.ELU:
        return keras.activations.elu if operation.alpha == 1 else None
    return _OPERATIONS.get(name_of_operation(operation))


def _flipped(operation, x):
    """Axes from their end, as a slice.

    NOTE: behind the file's own reversal the converter leaves out a change of steps.
    """
    rank = len(x.shape)
    axes = range(rank) if operation.axis is None else np.ravel(operation.axis) % rank
    if 0 in axes:
        return None
    backwards = {int(axis): slice(None, None, -1) for axis in axes}
    return x[tuple(backwards.get(axis, slice(None)) for axis in range(rank))]


def _apart(layer, x):
    """A layer with weights, and then its activation, which the file computes by itself."""
    x = with_activation(layer, x, None, layer.name)
    return layers.Activation(layer.activation, name=f"{layer.name}_activation")(x)


# Activations ----------------------------------------------------------------------------------


def _silu(name, x):
    """`x * sigmoid(x)`: two operations in the file."""
    sigmoid = layers.Activation("sigmoid", name=f"{name}_sigmoid")(x)
    return layers.Multiply(name=name)([x, sigmoid])


def _hard_sigmoid(name, x):
    """`relu6(x + 3) / 6`."""
    x = layers.Rescaling(1.0, 3.0, name=f"{name}_shift")(x)
    x = layers.ReLU(6.0, name=f"{name}_relu6")(x)
    return layers.Rescaling(1 / 6, name=name)(x)


def _elu(name, x, alpha=1.0, scale=1.0):
    """`scale * (relu(x) + alpha * (exp(-relu(-x)) - 1))`.

    NOTE: the converter mixes up the scales of the file's own choice between two branches.
    """
    above = layers.ReLU(name=f"{name}_above")(x)
    below = layers.Rescaling(-1.0, name=f"{name}_negative")(x)
    below = layers.ReLU(name=f"{name}_below")(below)
    below = layers.Rescaling(-1.0, name=f"{name}_negative_2")(below)
    below = layers.Activation("exponential", name=f"{name}_exp")(below)
    below = layers.Rescaling(scale * alpha, -scale * alpha, name=f"{name}_scaled")(below)
    if scale != 1:
        above = layers.Rescaling(scale, name=f"{name}_above_scaled")(above)
    return layers.Add(name=name)([above, below])


def _selu(name, x):
    # Klambauer et al. 2017, eq. 2.
    return _elu(name, x, alpha=1.6732632423543772, scale=1.0507009873554805)


_ACTIVATIONS = {
    keras.activations.elu: _elu,
    keras.activations.hard_sigmoid: _hard_sigmoid,
    keras.activations.selu: _selu,
    keras.activations.silu: _silu,
}
_OPERATIONS = {
    "HardSigmoid": keras.activations.hard_sigmoid,
    "Selu": keras.activations.selu,
    "Silu": keras.activations.silu,
}


# Normalisation --------------------------------------------------------------------------------


def _batch_normalization(layer, x):
    """A scale and a shift a channel, of the statistics as they are now."""
    if layer.axis not in (-1, len(x.shape) - 1):
        return None
    factor = 1 / np.sqrt(array(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        factor = factor * array(layer.gamma)
    shift = -array(layer.moving_mean) * factor
    if layer.center:
        shift = shift + array(layer.beta)
    return _per_channel(layer, x, factor, shift)


def _layer_normalization(layer, x):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta` over the last axis."""
    if not _is_last(layer.axis, x) or len(x.shape) > 4:
        return None
    name = layer.name
    mean = ops.mean(x, -1, keepdims=True)
    centered = layers.Subtract(name=f"{name}_centered")([x, mean])
    return _divided_by_root(layer, centered)


def _rms_normalization(layer, x):
    """`scale * x / sqrt(mean of squares + epsilon)` over the last axis."""
    if not _is_last(layer.axis, x) or len(x.shape) > 4:
        return None
    return _divided_by_root(layer, x)


def _is_last(axis, x):
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return [each % len(x.shape) for each in axes] == [len(x.shape) - 1]


def _divided_by_root(layer, x):
    name = layer.name
    squares = layers.Multiply(name=f"{name}_squares")([x, x])
    variance = ops.mean(squares, -1, keepdims=True)
    variance = layers.Rescaling(1.0, layer.epsilon, name=f"{name}_variance")(variance)
    root = InverseRoot(name=f"{name}_root")(variance)
    x = layers.Multiply(name=f"{name}_normal")([x, root])
    gamma, beta = getattr(layer, "gamma", None), getattr(layer, "beta", None)
    if isinstance(layer, layers.RMSNormalization):
        gamma = layer.scale
    size = x.shape[-1]
    factor = np.ones(size, "float32") if gamma is None else array(gamma)
    return _per_channel(layer, x, factor, np.zeros(size) if beta is None else array(beta))


def _per_channel(layer, x, factor, shift):
    """Scale and shift channels: a depthwise convolution of one pixel, which has 32-bit shifts.

    NOTE: a product with a constant would round the factors of all channels to one step.
    """
    if len(x.shape) > 4:
        return None
    *places, channels = x.shape[1:]
    pixels = (*(1,) * (2 - len(places)), *places, channels)
    name = layer.name
    if len(x.shape) < 4:
        x = layers.Reshape(pixels, name=f"{name}_pixels")(x)
    kernel = np.reshape(factor, (1, 1, channels, 1))
    own = {"name": name, "trainable": layer.trainable}
    x = made(layers.DepthwiseConv2D(1, **own), [kernel, shift], x)
    if len(places) < 2:
        x = layers.Reshape((*places, channels), name=f"{name}_places")(x)
    return x


# One row of an image --------------------------------------------------------------------------


def _in_a_row(layer, x, build):
    """What `build` makes of a sequence as an image of one row."""
    name = layer.name
    x = layers.Reshape((1, *x.shape[1:]), name=f"{name}_row")(x)
    x = build(x)
    return layers.Reshape(x.shape[2:], name=f"{name}_steps")(x)


def _pooling_1d(layer, x):
    if layer.data_format != "channels_last":
        return None
    kinds = {layers.AveragePooling1D: layers.AveragePooling2D}
    kind = kinds.get(type(layer), layers.MaxPooling2D)
    size, stride = (value if isinstance(value, int) else value[0] for value in _window_1d(layer))
    twin = kind((1, size), (1, stride), layer.padding, name=layer.name)
    return _in_a_row(layer, x, twin)


def _window_1d(layer):
    return layer.pool_size, layer.strides


def _mean_of_steps(call, x):
    layer = call.operation
    if layer.data_format != "channels_last":
        return None
    x = layers.Reshape((1, *x.shape[1:]), name=f"{layer.name}_row")(x)
    x = layers.GlobalAveragePooling2D(name=layer.name)(x)
    if layer.keepdims:
        x = layers.Reshape((1, x.shape[-1]), name=f"{layer.name}_steps")(x)
    return x


_LAYERS = {
    layers.AveragePooling1D: _pooling_1d,
    layers.EinsumDense: einsum_dense,
    layers.LayerNormalization: _layer_normalization,
    layers.MaxPooling1D: _pooling_1d,
    layers.RMSNormalization: _rms_normalization,
}
# What would heed a mask that comes with its inputs: left as it is where there is one.
_HEEDING_MASKS = {
    layers.Bidirectional: recurring.bidirectional,
    layers.GlobalAveragePooling1D: _mean_of_steps,
    layers.GRU: recurring.gru,
    layers.LSTM: recurring.lstm,
    layers.MultiHeadAttention: multi_head_attention,
    layers.SimpleRNN: recurring.simple_rnn,
}
