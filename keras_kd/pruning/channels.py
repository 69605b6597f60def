"""Which parts of a model's weights belong to one channel, and go together or not at all.

Each channel of each tensor has a number. A layer with weights gives its outputs new ones; what
treats each channel by itself passes them on; a sum makes one of two. In the end all slices of
weights with one number are one channel: of a residual net, the filters of every convolution of a
stage, with their BatchNormalization, and the weights of whatever reads them.

References:
    G. Fang et al., DepGraph: Towards Any Structural Pruning, 2023, section 3.
"""

import dataclasses
import math

import keras
import numpy as np
from keras import layers

from keras_kd._common.graph import graph_of, has_graph, name_of_operation
from keras_kd.quantize.arithmetic import multiply_adds
from keras_kd.quantize.rewriting import Names
from keras_kd.quantize.students import weight_bits

# How weights hold a channel: they make it, read it, change it by itself, or are its statistics.
MAKES, READS, CHANGES, FOLLOWS = "makes", "reads", "changes", "follows"

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_POOLING = tuple(
    getattr(layers, f"{kind}Pooling{rank}D")
    for kind in ("Average", "Max", "GlobalAverage", "GlobalMax")
    for rank in (1, 2, 3)
)
# What treats each channel by itself, whatever the others are.
_EACH_ALONE = (
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LeakyReLU,
    layers.ReLU,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    *_POOLING,
)
_MERGES = (
    layers.Add,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
)
_ACTIVATIONS = {
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu"),
    *("hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu"),
    *("sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus", "squareplus"),
    *("tanh", "tanh_shrink", "threshold"),
}
_OPERATIONS_EACH_ALONE = {
    *("Absolute", "AveragePool", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSilu", "HardSwish"),
    *("LeakyRelu", "MaxPool", "Negative", "Relu", "Relu6", "Sigmoid", "Silu", "Softplus"),
    *("Square", "Tanh"),
}
_OPERATIONS_MERGE = {"Add", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide"}


@dataclasses.dataclass(frozen=True, eq=False)
class Slot:
    """One axis of one variable, along which channels lie.

    Args:
        name: of the layer, in the model without models inside.
        variable: the `keras.Variable`.
        axis: of the variable.
        role: `MAKES`, `READS`, `CHANGES` or `FOLLOWS`.
        channels: the number of the channel at each place of the axis.
    """

    name: str
    variable: keras.Variable
    axis: int
    role: str
    channels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a model.

    Args:
        slots: of all of its weights that have any, a list of `Slot`.
        groups: by the names of the layers that make them: the numbers of channels of which some
            may go.
        makes: by the id of an operation that was called: the channels along the last axis of what
            it returns, where they lie along that axis alone.
        costs: pairs of multiply-adds and the variable whose size they grow with, `None` for what
            is the same whatever goes.
    """

    slots: list
    groups: dict
    makes: dict
    costs: list

    def cost(self, gone=()):
        """Return the multiply-adds of the model without some channels.

        Args:
            gone: their numbers.
        """
        shares = {}
        for slot in self.slots:
            share = 1 - np.isin(slot.channels, list(gone)).mean() if gone else 1.0
            shares[id(slot.variable)] = shares.get(id(slot.variable), 1.0) * share
        return round(sum(cost * shares.get(id(variable), 1.0) for cost, variable in self.costs))

    def dead(self):
        """Return the channels of `groups` whose makers and readers hold zeros alone, as a set."""
        alive = set()
        for slot in self.slots:
            if slot.role in (MAKES, READS):
                value = np.abs(keras.ops.convert_to_numpy(slot.variable))
                others = tuple(each for each in range(value.ndim) if each != slot.axis)
                alive |= set(slot.channels[value.max(others) > 0].tolist())
        return {number for group in self.groups.values() for number in group.tolist()} - alive


def graph_to_prune(student):
    """Return the `Graph` of a student.

    Raises:
        ValueError: if it is no graph of layers, or an integer twin.
    """
    if not has_graph(student) or not student.built:
        raise ValueError(
            "A student to prune must be a built Functional or Sequential keras.Model. Received: "
            f"{getattr(student, 'name', type(student).__name__)}, a {type(student).__name__}."
        )
    if weight_bits(student):
        raise ValueError(
            "Channels go before a student is prepared for integers. Received: "
            f"{student.name}, a twin. Prune the student itself, then `quantize.prepare` it."
        )
    return graph_of(student)


def channels_of(graph):
    """Return the `Channels` of a student.

    Args:
        graph: what `graph_to_prune` returned.
    """
    return _Walk(graph).channels()


class _Walk:
    """Goes through a model's calls once, in their order, and numbers channels."""

    def __init__(self, graph):
        self.graph, self.names = graph, Names(graph)
        self.same = []  # By the number of a channel: one that it is the same as, at last itself.
        self.fixed, self.unknown = set(), set()
        # By the id of a tensor: itself, and the number at each of its places, less the batch.
        self.known = {}
        self.slots, self.costs = {}, []

    def channels(self):
        for tensor in self.graph.inputs:
            self._know(tensor, self._fixed_like(tensor))
        for call in self.graph.calls:
            self._visit(call)
        for tensor in self.graph.outputs:
            self._fix(self._of(tensor))
        for call in self.graph.calls:  # A shared layer that is called in an unknown way as well.
            if id(call.operation) in self.unknown and isinstance(call.operation, keras.Layer):
                own = {id(variable) for variable in call.operation.weights}
                for slot in self.slots.values():
                    if id(slot.variable) in own:
                        self._fix(slot.channels)
        roots = np.asarray([self._root(number) for number in range(len(self.same))])
        fixed = {int(roots[number]) for number in self.fixed}
        slots = [
            dataclasses.replace(slot, channels=roots[slot.channels]) for slot in self.slots.values()
        ]
        makes = {
            id(call.operation): roots[along]
            for call in self.graph.calls
            if (along := self._along(keras.tree.flatten(call.outputs)[0])) is not None
        }
        return Channels(slots, _groups(slots, fixed), makes, self.costs)

    def _visit(self, call):
        rule = self._rule(call.operation)
        found = rule(call) if rule is not None else None
        if found is None:
            self.unknown.add(id(call.operation))
            for tensor in call.tensors():
                self._fix(self._of(tensor))
            for tensor in keras.tree.flatten(call.outputs):
                self._know(tensor, self._fixed_like(tensor))
        else:
            self._know(call.outputs, found)
        self._count(call, is_known=found is not None)

    def _rule(self, operation):
        """Return what numbers the channels of an operation's outputs; `None` if nobody knows."""
        if getattr(operation, "data_format", None) == "channels_first":
            return None
        kind, name = type(operation), name_of_operation(operation)
        if getattr(operation, "lora_enabled", False):
            return None
        if kind in (*_CONVOLUTIONS, layers.Dense):
            return self._kernel if getattr(operation, "groups", 1) == 1 else None
        if kind is layers.Conv2DTranspose:
            return self._transposed
        if kind in _DEPTHWISE:
            return self._depthwise
        if kind in _SEPARABLE:
            return self._separable
        if kind is layers.BatchNormalization:
            return self._batch_norm
        if kind in _EACH_ALONE or name in _OPERATIONS_EACH_ALONE:
            return self._each_alone
        if kind is layers.Activation:
            return self._each_alone if _is_elementwise(operation.activation) else None
        if kind is layers.Rescaling:
            numbers = np.size(operation.scale), np.size(operation.offset)
            return self._each_alone if numbers == (1, 1) else None
        if kind in _MERGES or name in _OPERATIONS_MERGE:
            return self._merge
        if name == "Mean":
            return self._mean
        if kind is layers.Concatenate or name == "Concatenate":
            return self._concatenate
        return self._reshape if kind in (layers.Flatten, layers.Reshape) else None

    # --- what operations do -----------------------------------------------------------------------

    def _kernel(self, call):
        layer = call.operation
        return self._made(call, layer.kernel, -2, -1, layer.bias if layer.use_bias else None)

    def _transposed(self, call):
        layer = call.operation
        return self._made(call, layer.kernel, -1, -2, layer.bias if layer.use_bias else None)

    def _made(self, call, kernel, reads, makes, bias, read=None):
        if not _is_elementwise(call.operation.activation):
            return None
        read = self._along(call.args[0]) if read is None else read
        if read is None:
            return None
        self._slot(call, kernel, reads, READS, read)
        made = self._slot(call, kernel, makes, MAKES, self._new(kernel.shape[makes]))
        if bias is not None:
            self._slot(call, bias, 0, CHANGES, made)
        return _spread(made, call.outputs)

    def _depthwise(self, call):
        layer = call.operation
        read = self._along(call.args[0])
        if read is None or not _is_elementwise(layer.activation):
            return None
        self._slot(call, layer.kernel, -2, CHANGES, read)
        made = np.repeat(read, layer.kernel.shape[-1])
        if layer.use_bias:
            self._slot(call, layer.bias, 0, CHANGES, made)
        return _spread(made, call.outputs)

    def _separable(self, call):
        layer = call.operation
        read = self._along(call.args[0])
        if read is None:
            return None
        self._slot(call, layer.depthwise_kernel, -2, CHANGES, read)
        between = np.repeat(read, layer.depthwise_kernel.shape[-1])
        bias = layer.bias if layer.use_bias else None
        return self._made(call, layer.pointwise_kernel, -2, -1, bias, between)

    def _batch_norm(self, call):
        layer, along = call.operation, self._along(call.args[0])
        if along is None or layer.axis not in (-1, len(call.outputs.shape) - 1):
            return None
        statistics = layer.moving_mean, layer.moving_variance
        for variable in layer.weights:
            is_statistic = any(variable is each for each in statistics)
            self._slot(call, variable, 0, FOLLOWS if is_statistic else CHANGES, along)
        return _spread(along, call.outputs)

    def _each_alone(self, call):
        numbers, shape = self._of(call.tensors()[0]), _shape(call.outputs)
        if numbers.shape == shape:
            return numbers
        along = self._along(call.tensors()[0])
        return None if along is None else _spread(along, call.outputs)

    def _mean(self, call):
        rank, axis = len(call.tensors()[0].shape), call.operation.axis
        axes = [] if axis is None else [each % rank for each in np.atleast_1d(axis)]
        return self._each_alone(call) if axes and not {0, rank - 1} & set(axes) else None

    def _merge(self, call):
        tensors = call.tensors()
        parts = keras.tree.flatten(call.args)
        constants = [each for each in parts if not isinstance(each, keras.KerasTensor)]
        if any(np.size(each) > 1 for each in constants):
            return None
        shape, wide = _shape(call.outputs), []
        for tensor in tensors:
            if len(shape) and _shape(tensor)[-1:] != shape[-1:]:
                self._fix(self._of(tensor))  # One channel that all are added to, say.
            else:
                wide.append(self._of(tensor))
        one, *others = wide
        for other in others:
            self._join(one, other)
        return np.broadcast_to(one, shape)

    def _concatenate(self, call):
        parts = [self._of(each) for each in call.tensors()]
        axis = call.operation.axis
        return np.concatenate(parts, axis - 1 if axis > 0 else axis) if axis else None

    def _reshape(self, call):
        numbers, shape = self._of(call.args[0]), _shape(call.outputs)
        if math.prod(shape) != numbers.size:  # A length that is not known.
            return None
        moved = np.reshape(numbers, shape)
        return moved if len(shape) == 1 or _along_last(moved) is not None else None

    # --- numbers ----------------------------------------------------------------------------------

    def _of(self, tensor):
        return self.known[id(tensor)][1]

    def _along(self, tensor):
        """Return the channels along a tensor's last axis, `None` if they lie along others too."""
        return _along_last(self._of(tensor)) if id(tensor) in self.known else None

    def _know(self, tensor, numbers):
        self.known[id(tensor)] = tensor, numbers

    def _new(self, count):
        first = len(self.same)
        self.same.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _fixed_like(self, tensor):
        new = self._new(tensor.shape[-1] or 1) if len(tensor.shape) > 1 else self._new(1)
        self._fix(new)
        return _spread(new, tensor)

    def _fix(self, numbers):
        along = _along_last(numbers)
        self.fixed.update(np.unique(numbers if along is None else along).tolist())

    def _join(self, one, other):
        """Have the channels of two tensors be the same, place by place."""
        along = _along_last(one), _along_last(other)
        if all(each is not None for each in along):
            one, other = along
        one, other = (each.ravel().tolist() for each in np.broadcast_arrays(one, other))
        for pair in set(zip(one, other, strict=True)):
            first, second = map(self._root, pair)
            self.same[max(first, second)] = min(first, second)

    def _root(self, number):
        while self.same[number] != number:
            self.same[number] = self.same[self.same[number]]
            number = self.same[number]
        return number

    def _slot(self, call, variable, axis, role, channels):
        """Remember the channels along an axis; of a layer that is shared, they are the same."""
        axis %= len(variable.shape)
        key = id(variable), axis
        if key in self.slots:
            self._join(self.slots[key].channels, channels)
        else:
            self.slots[key] = Slot(self.names.of(call), variable, axis, role, channels)
        return self.slots[key].channels

    def _count(self, call, *, is_known):
        """Remember what a call costs, by the variables whose sizes the cost grows with."""
        cost = multiply_adds(call)
        weights = call.operation.weights if isinstance(call.operation, keras.Layer) else []
        sizes = {id(each): (each, math.prod(each.shape)) for each in weights if len(each.shape) > 1}
        total = sum(size for _, size in sizes.values())
        if not is_known or not total:
            self.costs.append((cost, None))
        else:
            self.costs += [(cost * size / total, variable) for variable, size in sizes.values()]


def _groups(slots, fixed):
    """Return the channels of which some may go, by the names of the layers that make them."""
    makers, groups = {}, {}
    for slot in slots:
        if slot.role == MAKES:
            for number in dict.fromkeys(slot.channels.tolist()):
                makers.setdefault(number, []).append(slot.name)
    for number, names in makers.items():
        if number not in fixed:
            groups.setdefault(", ".join(names), []).append(number)
    return {names: np.asarray(numbers) for names, numbers in groups.items()}


def _is_elementwise(activation):
    name = getattr(activation, "__name__", None)
    return name in _ACTIVATIONS and getattr(keras.activations, name) is activation


def _shape(tensor):
    return tuple(size or 1 for size in tensor.shape[1:])


def _spread(along, tensor):
    """Return numbers of channels at each place of a tensor, in no more memory."""
    return np.broadcast_to(along, (*_shape(tensor)[:-1], len(along)))


def _along_last(numbers):
    """Return the numbers along the last axis if they are the same everywhere else."""
    if numbers.ndim == 0:
        return None
    first = numbers[(0,) * (numbers.ndim - 1)]
    is_view = all(step == 0 for step in numbers.strides[:-1])
    return first if is_view or (numbers == first).all() else None
