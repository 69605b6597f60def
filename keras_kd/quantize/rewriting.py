"""The walk through a student that calls an integer twin wherever a layer has one."""

import keras
import numpy as np
from keras import layers

from keras_kd.features import walk
from keras_kd.quantize.kernels import INTEGER_KERNELS, can_fold, has_integer_kernel, integer_kernels
from keras_kd.quantize.layers import ActivationRange

# These choose, move or average the values they are given, within their range.
_ON_THE_SAME_GRID = (
    layers.AveragePooling2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalMaxPooling2D,
    layers.MaxPooling2D,
    layers.Reshape,
    layers.ZeroPadding2D,
)
# These make new values of their own range.
_ON_A_NEW_GRID = (layers.Add, layers.GlobalAveragePooling2D)
_OTHER_INTEGER = (layers.Concatenate, layers.InputLayer, layers.Rescaling)


class Rewriting:
    """Goes through a student's layers once, in their order, and calls their twins instead."""

    def __init__(self, student, num_bits, input_range, learned):
        self.num_bits, self.input_range, self.learned = num_bits, input_range, learned
        self.consumers = _consumers(student)
        self.copies, self.folded = {}, set()
        # By the id of a tensor: itself (which keeps the id its own), the same on a grid, and the
        # layer that has the ends of that grid.
        self.known = {}
        self.num_ranges = {}

    def visit(self, layer, *args, **kwargs):
        """Call what stands for a layer; return its outputs."""
        kind = type(layer)
        if not self.known:
            self.on_grid(args[0])  # The image.
        if layer.name in self.folded or _is_linear_activation(layer):
            return args[0]
        if has_integer_kernel(layer, args):
            return self._kernels(layer, self.on_grid(args[0]))
        if kind is layers.Rescaling:
            return self._rescaling(layer, self.on_grid(args[0]))
        if kind is layers.Concatenate:
            return self._concatenation(layer, args[0])
        if _is_rectifier(layer):
            # Not on_grid: what comes before may have left its range to this layer.
            return self._on_own_grid(layer, self._copy(layer, *args))
        if kind in _ON_A_NEW_GRID:
            inputs = keras.tree.map_structure(self.on_grid, args[0])
            return self._on_own_grid(layer, self._copy(layer, inputs))
        if kind in _ON_THE_SAME_GRID:
            inputs = self.on_grid(args[0])
            _, _, grid = self.known[id(inputs)]
            outputs = self._copy(layer, inputs)
            # An average is rounded to the grid; for the others this changes nothing, but without
            # it the converter may lose the grid and compute what follows in floats.
            if kind is not layers.Dropout:
                outputs = grid(outputs, follow=False)
            return self._remember(outputs, outputs, grid)
        args, kwargs = keras.tree.map_structure(self._on_grid_if_it_has_one, (args, kwargs))
        return self._copy(layer, *args, **kwargs)

    def on_grid(self, tensor):
        """Return a tensor as integers can hold it: itself, if they can."""
        if id(tensor) not in self.known:
            # Only the image, which comes first, and what float layers return have no range yet.
            grid = self._grid("float") if self.known else self._grid("image", *self.input_range)
            self._remember(tensor, grid(tensor), grid)
        return self.known[id(tensor)][1]

    def _on_grid_if_it_has_one(self, value):
        return self.known[id(value)][1] if id(value) in self.known else value

    def _grid(self, name, low=None, high=None):
        number = self.num_ranges[name] = self.num_ranges.get(name, 0) + 1
        name = f"{name}_range" if number == 1 else f"{name}_range_{number}"
        return ActivationRange(low, high, learned=self.learned, name=name)

    def _on_own_grid(self, layer, outputs):
        """Give what a layer returns a range, unless the only layer that takes it will."""
        followers = self.consumers[layer.name]
        if len(followers) == 1 and (
            # The file computes layer and rectifier in one operation, and joins one grid only.
            isinstance(followers[0], layers.Concatenate)
            or (_is_rectifier(followers[0]) and not _is_rectifier(layer))
        ):
            return outputs
        grid = self._grid(layer.name)
        return self._remember(outputs, grid(outputs), grid)

    def _remember(self, tensor, ranged, grid):
        for known in (tensor, ranged):
            self.known[id(known)] = (known, ranged, grid)
        return ranged

    def _concatenation(self, layer, inputs):
        """Join tensors on one grid; those that lie on one of their own come over from there."""
        grid = self._grid(layer.name)
        free = [tensor for tensor in inputs if id(tensor) not in self.known]
        ranged = iter(grid(free) if free else ())
        inputs = [tensor if id(tensor) in self.known else next(ranged) for tensor in inputs]
        outputs = grid(self._copy(layer, inputs))
        return self._remember(outputs, outputs, grid)

    def _kernels(self, layer, x):
        last = layer
        follower = (self.consumers[layer.name] + [None])[0]
        batch_norm = None
        if len(self.consumers[layer.name]) == 1 and can_fold(layer, follower):
            last = batch_norm = follower
            self.folded.add(batch_norm.name)
        *inner, (twin, weights) = integer_kernels(layer, batch_norm, self.num_bits)
        for depthwise, kernel in inner:
            grid = self._grid(depthwise.name)
            x = grid(self._once(depthwise, kernel, x))
        return self._on_own_grid(last, self._once(twin, weights, x))

    def _rescaling(self, layer, x):
        """Scale, then shift: two operations in the file, each on a grid of its own."""
        _, _, grid = self.known[id(x)]
        low, high = grid.low, grid.high
        scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
        shifted = bool(offset.any())
        steps = [(f"{layer.name}_scale" if shifted else layer.name, scale, np.asarray(0.0))]
        if shifted:
            steps.append((layer.name, np.asarray(1.0), offset))
        for name, scale, offset in steps:
            if low is not None:
                ends = [scale * low + offset, scale * high + offset]
                low, high = float(np.min(ends)), float(np.max(ends))
            grid = self._grid(name, low, high)
            rescaled = layers.Rescaling(scale.tolist(), offset.tolist(), name=name)(x)
            x = self._remember(rescaled, grid(rescaled), grid)
        return x

    def _copy(self, layer, *args, **kwargs):
        copy = type(layer).from_config(layer.get_config())
        return self._once(copy, layer.get_weights(), *args, **kwargs)

    def _once(self, layer, weights, *args, **kwargs):
        """Call a layer, or the one of its name that was called before, if it is shared."""
        is_new = layer.name not in self.copies
        layer = self.copies.setdefault(layer.name, layer)
        outputs = layer(*args, **kwargs)
        if is_new:
            layer.set_weights(weights)
        return outputs


def _consumers(student):
    """Return, by a layer's name, the layers that take its outputs, once for each time."""
    made_by, consumers = {}, {layer.name: [] for layer in student.layers}

    def visit(layer, *args, **kwargs):
        for tensor in keras.tree.flatten((args, kwargs)):
            if id(tensor) in made_by:
                consumers[made_by[id(tensor)][1]].append(layer)
        outputs = layer(*args, **kwargs)
        for tensor in keras.tree.flatten(outputs):
            made_by[id(tensor)] = (tensor, layer.name)
        return outputs

    walk(student, visit)
    return consumers


def _is_rectifier(layer):
    if isinstance(layer, layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return plain and layer.max_value in (None, 6)
    rectifiers = (keras.activations.relu, keras.activations.relu6)
    return isinstance(layer, layers.Activation) and layer.activation in rectifiers


def _is_linear_activation(layer):
    return isinstance(layer, layers.Activation) and layer.activation is keras.activations.linear


def float_layers(twin):
    """Return the names of the twin's layers that the file will compute in float32."""
    integer = (
        ActivationRange,
        *INTEGER_KERNELS,
        *_ON_THE_SAME_GRID,
        *_ON_A_NEW_GRID,
        *_OTHER_INTEGER,
    )
    return [
        layer.name
        for layer in twin.layers
        if not isinstance(layer, integer) and not _is_rectifier(layer)
    ]
