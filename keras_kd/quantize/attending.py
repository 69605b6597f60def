"""Attention, and products over several axes, as matrix products."""

import math

import keras
from keras import layers, ops

from keras_kd.quantize.made import array, made

_PROJECTIONS = ("query", "key", "value", "attention_output")


def multi_head_attention(call, *tensors):
    """Return `softmax(q k^T / sqrt(key_dim)) v` of all heads, projected; `None` with a mask.

    The root goes into the weights of the queries. What the layer drops in training stays dropped.

    Args:
        call: of a `MultiHeadAttention`.
        tensors: query, value and, if it is given, key, `[batch, places, features]`.

    References:
        A. Vaswani et al., Attention Is All You Need, 2017, section 3.2.
    """
    layer, name = call.operation, call.operation.name
    said = [value for key, value in call.kwargs.items() if key not in ("training", "key", "value")]
    is_plain = not any(said) and all(len(each.shape) == 3 for each in tensors)
    weights = _weights_of(layer)
    if not is_plain or weights is None or len(tensors) not in (2, 3):
        return None
    query, value, *key = tensors
    if key and not isinstance(call.kwargs.get("key"), keras.KerasTensor) and len(call.args) < 3:
        return None
    (key,) = key or (value,)
    heads = layer.num_heads

    def projected(part, x, factor=1.0):
        kernel, *bias = (factor * each for each in weights[part])
        size = math.prod(kernel.shape[1:])
        dense = layers.Dense(
            size, use_bias=bool(bias), name=f"{name}_{part}", trainable=layer.trainable
        )
        x = made(dense, [kernel.reshape(kernel.shape[0], size), *(b.reshape(-1) for b in bias)], x)
        return layers.Reshape((x.shape[1], heads, size // heads))(x)

    # A head is a matrix: places by features, of the keys the other way round.
    queries = ops.transpose(projected("query", query, layer.key_dim**-0.5), (0, 2, 1, 3))
    keys = ops.transpose(projected("key", key), (0, 2, 3, 1))
    values = ops.transpose(projected("value", value), (0, 2, 1, 3))
    shares = layers.Softmax(name=f"{name}_softmax")(ops.matmul(queries, keys))
    if layer.dropout:
        shares = layers.Dropout(layer.dropout, name=f"{name}_dropout")(shares)
    heads_together = ops.transpose(ops.matmul(shares, values), (0, 2, 1, 3))
    x = layers.Reshape((query.shape[1], heads * layer.value_dim))(heads_together)
    kernel, *bias = weights["attention_output"]
    own = {"use_bias": bool(bias), "name": name, "trainable": layer.trainable}
    return made(
        layers.Dense(kernel.shape[-1], **own), [kernel.reshape(-1, kernel.shape[-1]), *bias], x
    )


def _weights_of(layer):
    """Return kernel and bias by projection; `None` if the layer has others than these."""
    found = {part: [] for part in _PROJECTIONS}
    for weight in layer.weights:
        part = weight.path.split("/")[-2]
        if part not in found or weight.name not in ("kernel", "bias"):
            return None
        found[part].append(array(weight))
    if any(not 1 <= len(each) <= 2 for each in found.values()):
        return None
    return found if len(found["attention_output"][0].shape) == 3 else None


def einsum_dense(layer, x):
    """Return a product with one matrix, of the last axes of `x`; `None` for any other equation.

    `abc,cd->abd` and `abc,cde->abde` are such, and `abcd,cde->abe`.
    """
    taken, made_of, returned = layer.equation.replace("->", ",").split(",")
    summed = [letter for letter in taken if letter not in returned]
    places = taken[: len(taken) - len(summed)]
    features = returned[len(places) :]
    is_plain = taken == places + "".join(summed) and returned == places + features
    if not is_plain or not summed or made_of != "".join(summed) + features or "." in taken:
        return None
    kernel = array(layer.kernel)
    num_inputs = math.prod(kernel.shape[: len(summed)])
    kernel = kernel.reshape(num_inputs, -1)
    units, sizes = kernel.shape[1], x.shape[1 : len(places)]
    if len(places) > 3:
        return None
    bias = []
    if layer.bias is not None:
        shape = (1,) * (len(features) - layer.bias.ndim) + tuple(layer.bias.shape)
        wanted = layer.kernel.shape[len(summed) :]
        if math.prod(shape) != units or tuple(shape) != tuple(wanted):
            return None  # One that differs from place to place.
        bias = [array(layer.bias).reshape(units)]
    if len(summed) > 1:
        x = layers.Reshape((*sizes, num_inputs), name=f"{layer.name}_features")(x)
    own = {"use_bias": bool(bias), "activation": layer.activation, "trainable": layer.trainable}
    x = made(layers.Dense(units, name=layer.name, **own), [kernel, *bias], x)
    shape = layer.kernel.shape[len(summed) :]
    return layers.Reshape((*sizes, *shape))(x) if len(shape) > 1 else x


def einsum(subscripts, x, y):
    """Return a sum of products of two tensors as products of matrices; `None` where it is another.

    `bqhd,bkhd->bhqk` and `bhqk,bkhd->bqhd`, the two of attention, are such: what both have is
    summed over, or stays in the result, as the examples must.
    """
    taken, _, returned = subscripts.replace(" ", "").partition("->")
    letters = taken.split(",")
    if not returned or "." in taken or len(letters) != 2:
        return None
    left, right = letters
    sizes = {**dict(zip(left, x.shape, strict=True)), **dict(zip(right, y.shape, strict=True))}
    kept = [each for each in left if each in right and each in returned]
    summed = [each for each in left if each in right and each not in returned]
    rows, columns = ([each for each in own if each not in kept + summed] for own in letters)
    is_known = (
        all(len(set(each)) == len(each) for each in (left, right, returned))
        and summed
        and left[0] == right[0] == returned[0]
        and set(kept + rows + columns) == set(returned)
    )
    if not is_known:
        return None

    def as_matrices(tensor, own, *axes):
        order = [own.index(each) for each in kept + axes[0] + axes[1]]
        shape = [math.prod(sizes[each] for each in group) for group in (kept[1:], *axes)]
        return layers.Reshape(shape)(ops.transpose(tensor, order))

    products = ops.matmul(
        as_matrices(x, left, rows, summed), as_matrices(y, right, summed, columns)
    )
    found = kept + rows + columns
    products = layers.Reshape([sizes[each] for each in found[1:]])(products)
    return ops.transpose(products, [found.index(each) for each in returned])
