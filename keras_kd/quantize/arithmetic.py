"""What of a twin its file computes in float32, and how much of the arithmetic that is."""

import math

import keras
from keras import layers

from keras_kd._common.graph import graph_of, name_of_operation
from keras_kd.quantize import roles
from keras_kd.quantize.kernels import has_integer_kernel

# Layers that put their weights to each place of what they return; the others, of what they take.
_PLACES_OF_OUTPUTS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)


def float_layers(twin: keras.Model) -> list[str]:
    """Return the names of the twin's layers and operations that compute in float32.

    So they do in the file, unless LiteRT's converter finds integers for one by itself.

    Args:
        twin: what `prepare` returned.
    """
    names = [call.operation.name for call in graph_of(twin).calls if _is_float(call)]
    return list(dict.fromkeys(names))


def float_share(twin: keras.Model) -> float:
    """Return the share, 0 to 1, of a twin's multiply-adds that `float_layers` make.

    Counted are products of activations with a matrix of weights (or a filter), and of two tensors
    (`ops.matmul`, `ops.einsum`, attention): what takes the time. BatchNormalization, activations
    and sums count as none.

    Args:
        twin: what `prepare` returned.
    """
    counts = [(multiply_adds(call), _is_float(call)) for call in graph_of(twin).calls]
    total = sum(count for count, _ in counts)
    return sum(count for count, is_float in counts if is_float) / total if total else 0.0


def multiply_adds(call):
    """Return the multiply-adds of a `Call` for one example; a length that is not known counts 1.

    NOTE: what a layer of one's own does inside is not known: it counts as its matrices, at each
    place of what it takes.
    """
    operation, name = call.operation, name_of_operation(call.operation)
    shapes = [tensor.shape for tensor in call.tensors()]
    if name in ("Matmul", "Dot"):
        return _size(call.outputs.shape) * _size(call.args[0].shape[-1:])
    if name == "Einsum":
        return _of_einsum(operation.subscripts, [operand.shape for operand in call.args])
    if not isinstance(operation, keras.Layer) or isinstance(operation, layers.Embedding):
        return 0
    # A GRU has two biases, in one weight of rank 2.
    matrices = [each for each in operation.weights if len(each.shape) > 1 and each.name != "bias"]
    if isinstance(operation, layers.EinsumDense):
        return _of_einsum(operation.equation, [shapes[0], operation.kernel.shape])
    if isinstance(operation, layers.MultiHeadAttention):
        return _of_attention(operation, matrices, *shapes[:2])
    outputs = keras.tree.flatten(call.outputs)[0].shape
    places = outputs if isinstance(operation, _PLACES_OF_OUTPUTS) else shapes[0]
    return sum(_size(weight.shape) for weight in matrices) * _size(places[1:-1])


def _is_float(call):
    # In a twin a layer that could have integer weights and has none was to stay in float32.
    was_kept = has_integer_kernel(call.operation, call.args)
    return was_kept or roles.role_of(call) == roles.FLOAT


def _size(shape):
    return math.prod(size or 1 for size in shape)


def _of_einsum(equation, shapes):
    """Return the product of the sizes of all letters, each counted once."""
    sizes = {}
    for letters, shape in zip(equation.split("->")[0].split(","), shapes, strict=True):
        before, dots, after = letters.replace(" ", "").partition("...")
        sizes.update(zip(before, shape, strict=not dots))
        sizes.update(zip(after[::-1], shape[::-1], strict=False))
        if dots:
            middle = shape[len(before) : len(shape) - len(after)]
            sizes.update({(place, "..."): size for place, size in enumerate(middle)})
    return _size(sizes.values())


def _of_attention(layer, matrices, queries, values):
    """Return projections, scores and their products with the values."""
    num_queries, num_values = _size(queries[1:-1]), _size(values[1:-1])
    heads = layer.num_heads * (layer.key_dim + layer.value_dim)
    taken_of_values = ("/key/", "/value/")
    return num_queries * num_values * heads + sum(
        _size(weight.shape)
        * (num_values if any(part in weight.path for part in taken_of_values) else num_queries)
        for weight in matrices
    )
