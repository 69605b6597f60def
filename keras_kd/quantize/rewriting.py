"""The walk through a student that calls an integer twin wherever a layer has one."""

import collections

import keras
import numpy as np
from keras import layers

from keras_kd._common.graph import name_of_operation
from keras_kd.quantize import roles
from keras_kd.quantize.folding import folded, takers_of
from keras_kd.quantize.kernels import integer_kernels, takes_rectifier, takes_words
from keras_kd.quantize.layers import ActivationRange, Float32

# By the class names of layers and operations: what to do with what the first has more.
_EXTREMA = {"Maximum": layers.Add, "Minimum": layers.Subtract}


class Rewriting:
    """Goes through a student's calls once, in their order, and calls their twins instead.

    Args:
        graph: of the student.
        names: its `Names`.
        bits: of the weights of each layer, 4 or 8, by its name in the twin; `None` leaves it in
            float32.
        input_range: lowest and highest pixel; `None` for numbers of words.
        learned: whether the ends of ranges are to be learned.
    """

    def __init__(self, graph, names, bits, input_range, learned):
        self.graph, self.names = graph, names
        self.bits, self.input_range, self.learned = bits, input_range, learned
        self.takers = takers_of(graph)
        self.copies = {}  # By the id of an operation: what stands for it, also if it is shared.
        kernels = {id(call.operation) for call in graph.calls if bits.get(names.of(call))}
        self.folded = folded(graph, self.takers, kernels)
        # By the id of a student's tensor: the twin's.
        self.now = {}
        # By the id of a twin's tensor: itself (which keeps the id its own), the same on a grid,
        # and the layer that has the ends of that grid.
        self.known = {}
        self.steps = {}  # By the id of a grid: the distance of two of its values, a tensor.
        self.image_grid = None

    def ends(self):
        """Return the twin's input and its output."""
        (image,), (logits,) = self.graph.inputs, self.graph.outputs
        new = keras.Input(batch_shape=image.shape, dtype=image.dtype, name=image.name)
        self.now[id(image)] = new
        if self.input_range is not None:
            self.image_grid = self._grid("image", *self.input_range)
            self._remember(new, self.image_grid(new), self.image_grid)
        for call in self.graph.calls:
            returned = keras.tree.flatten(self._visit(call))
            self.now.update(zip(map(id, keras.tree.flatten(call.outputs)), returned, strict=True))
        return new, self.on_grid(self.now[id(logits)])

    def _visit(self, call):
        """Call what stands for a layer or an operation; return its outputs."""
        args, kwargs = self._of_twin((call.args, call.kwargs))
        if any(call.operation is each for each in self.folded.values()):  # In what came before.
            return args[0]
        role = roles.role_of(call)
        if role == roles.NOTHING:
            return self._of_twin(call.tensors()[0])
        if self._is_kept(call):
            x = args[0] if takes_words(call.operation) else self.on_grid(args[0])
            outside = self._called((id(call), "float"), (Float32(), None), x)
            return self._copy(call, outside, *args[1:], **kwargs)
        if role == roles.KERNEL:
            x = args[0]
            return self._kernels(call, x if takes_words(call.operation) else self.on_grid(x))
        if role == roles.SCALE_AND_OFFSET:
            return self._scaled(call, self.on_grid(self._of_twin(call.tensors()[0])))
        if role in (roles.SAME_GRID, roles.TRAINING):
            x = self.on_grid(args[0])
            _, _, grid = self.known[id(x)]
            outputs = self._copy(call, x, *args[1:], **kwargs)
            # An average is rounded to the grid; for the others this changes nothing, but without
            # it the converter may lose the grid and compute what follows in floats.
            if role == roles.SAME_GRID:  # One by one: a split returns several.
                outputs = keras.tree.map_structure(lambda x: grid(x, follow=False), outputs)
            return keras.tree.map_structure(lambda x: self._remember(x, x, grid), outputs)
        args, kwargs = keras.tree.map_structure(self._once_more_if_the_image, (args, kwargs))
        if role == roles.CONCATENATION:
            return self._concatenation(call, args[0])
        if role == roles.RECTIFIER:
            # Not on_grid: what comes before may have left its range to this layer.
            return self._on_own_grid(call, self._copy(call, *args, **kwargs))
        if role == roles.NEW_GRID:
            args = keras.tree.map_structure(self._on_grid_if_a_tensor, args)
            if type(call.operation).__name__ in _EXTREMA and len(call.tensors()) > 1:
                return self._extremum(call, keras.tree.flatten(args))
            return self._on_own_grid(call, self._copy(call, *args, **kwargs))
        args, kwargs = keras.tree.map_structure(self._on_grid_if_it_has_one, (args, kwargs))
        return self._copy(call, *args, **kwargs)

    def on_grid(self, tensor):
        """Return a tensor as integers can hold it: itself, if they can."""
        if id(tensor) not in self.known:  # What float layers return has no range yet.
            grid = self._grid("float")
            self._remember(tensor, grid(tensor), grid)
        return self.known[id(tensor)][1]

    def _is_kept(self, call):
        """Return whether a layer that has integer weights was to stay in float32."""
        return self.bits.get(self.names.of(call), False) is None

    def _of_twin(self, structure):
        return keras.tree.map_structure(lambda x: self.now.get(id(x), x), structure)

    def _on_grid_if_a_tensor(self, value):
        return self.on_grid(value) if isinstance(value, keras.KerasTensor) else value

    def _on_grid_if_it_has_one(self, value):
        return self.known[id(value)][1] if id(value) in self.known else value

    def _once_more_if_the_image(self, value):
        """Return the image on its grid once more; anything else as it is.

        NOTE: an image that enters an operation of one grid (a concatenation, a maximum) would be
        given that grid for its own by LiteRT's converter, which then loses the image.
        """
        if id(value) not in self.known or self.known[id(value)][2] is not self.image_grid:
            return value
        again = self.image_grid(self.on_grid(value), follow=False)
        return self._remember(again, again, self.image_grid)

    def _grid(self, name, low=None, high=None):
        name = self.names.new(f"{name}_range")
        return ActivationRange(low, high, learned=self.learned, name=name)

    def _on_own_grid(self, call, outputs):
        """Give what a layer returns a range, unless the only layer that takes it will."""
        takers, ends = self._takers(call), roles.ends_of(call)
        if (
            ends is None
            and len(takers) == 1
            and (
                # The file computes layer and rectifier in one operation, and joins one grid only.
                roles.role_of(takers[0]) == roles.CONCATENATION
                or (
                    roles.role_of(takers[0]) == roles.RECTIFIER
                    and roles.role_of(call) != roles.RECTIFIER
                    and takes_rectifier(call.operation)
                )
            )
        ):
            return outputs
        grid = self._grid(self.names.of(call), *(ends or ()))
        return self._remember(outputs, grid(outputs), grid)

    def _takers(self, call):
        """Return the calls that take what a call returns; one that does nothing is passed."""
        takers = self.takers[id(call.outputs)]
        while len(takers) == 1 and roles.role_of(takers[0]) == roles.NOTHING:
            takers = self.takers[id(takers[0].outputs)]
        return takers

    def _remember(self, tensor, ranged, grid):
        for known in (tensor, ranged):
            self.known[id(known)] = (known, ranged, grid)
        return ranged

    def _concatenation(self, call, inputs):
        """Join tensors on one grid; those that lie on one of their own come over from there."""
        is_stack = name_of_operation(call.operation) == "Stack"
        inputs = self._with_new_axis(call, inputs) if is_stack else inputs
        grids = [self.known[id(x)][2] for x in inputs if id(x) in self.known]
        if len(grids) == len(inputs) and all(each is grids[0] for each in grids):
            grid = grids[0]  # As when a grey image becomes one of three colours.
        else:
            grid = self._grid(self.names.of(call))
        free = [x for x in inputs if id(x) not in self.known]
        # It follows all of them, since it begins with what it is called on first.
        ranged = grid(inputs) if free else inputs
        inputs = [x if id(x) in self.known else y for x, y in zip(inputs, ranged, strict=True)]
        if is_stack:
            joined = layers.Concatenate(call.operation.axis, name=self.names.of(call))
            outputs = self._called(id(call.operation), (joined, None), inputs)
        else:
            outputs = self._copy(call, inputs)
        outputs = grid(outputs, follow=not free and grid not in grids)
        return self._remember(outputs, outputs, grid)

    def _extremum(self, call, tensors):
        """Return `max(x, y)` as `y + relu(x - y)`, or `min(x, y)` as `x - relu(x - y)`.

        NOTE: the file's own maximum compares integers, which on two grids mean two things.
        """
        name = self.names.of(call)
        combine = _EXTREMA[type(call.operation).__name__]
        x, *others = tensors
        for y in others:
            more = layers.Subtract(name=self.names.new(f"{name}_difference"))([x, y])
            more = layers.ReLU(name=self.names.new(f"{name}_more"))(more)
            grid = self._grid(name)
            more = self._remember(more, grid(more), grid)
            base = y if combine is layers.Add else x
            x = combine(name=self.names.new(f"{name}_sum"))([base, more])
            grid = self._grid(name)
            x = self._remember(x, grid(x), grid)
        return x

    def _with_new_axis(self, call, inputs):
        """Return what a stack joins with an axis to join it on: the file stacks as of one grid."""
        shape = list(call.outputs.shape)
        shape[call.operation.axis] = 1
        name, apart = self.names.of(call), []
        for x in map(self.on_grid, inputs):
            _, _, grid = self.known[id(x)]
            outputs = layers.Reshape(shape[1:], name=self.names.new(f"{name}_axis"))(x)
            outputs = grid(outputs, follow=False)
            apart.append(self._remember(outputs, outputs, grid))
        return apart

    def _kernels(self, call, x):
        layer, last, name = call.operation, call, self.names.of(call)
        batch_norm = self.folded.get(id(layer))
        if batch_norm is not None:
            (last,) = self.takers[id(call.outputs)]
        *inner, kernel = integer_kernels(layer, batch_norm, self.bits[name], name)
        for twin, weights in inner:
            grid = self._grid(twin.name)
            x = grid(self._called((id(layer), "depthwise"), (twin, weights), x))
            self._remember(x, x, grid)
        # Words lie on no grid; without a bias nothing asks for its step.
        is_asked = id(x) in self.known and getattr(kernel[0], "use_bias", False)
        step = {"step": self._step(x)} if is_asked else {}
        return self._on_own_grid(last, self._called(id(layer), kernel, x, **step))

    def _step(self, x):
        _, _, grid = self.known[id(x)]
        if id(grid) not in self.steps:
            self.steps[id(grid)] = grid(x, follow=False, only_step=True)
        return self.steps[id(grid)]

    def _scaled(self, call, x):
        """Scale, then shift: two operations in the file, each on a grid of its own."""
        _, _, grid = self.known[id(x)]
        low, high = grid.low, grid.high
        scale, offset = roles.scale_and_offset(call)
        name, steps = self.names.of(call), []
        if offset.any():
            steps.append((name, np.asarray(1.0), offset))
        if (scale != 1).any():
            steps.insert(0, (f"{name}_scale" if steps else name, scale, np.asarray(0.0)))
        for name, scale, offset in steps:
            if low is not None:
                ends = [scale * low + offset, scale * high + offset]
                low, high = float(np.min(ends)), float(np.max(ends))
            rescaling = layers.Rescaling(scale.tolist(), offset.tolist(), name=name)
            rescaled = self._called((id(call.operation), name), (rescaling, None), x)
            if name == steps[-1][0] and low is None:
                return self._on_own_grid(call, rescaled)
            if low is not None:
                low, high = _with_zero(low, high)
            grid = self._grid(name, low, high)
            x = self._remember(rescaled, grid(rescaled), grid)
        return x

    def _copy(self, call, *args, **kwargs):
        operation = call.operation
        weights = operation.get_weights() if isinstance(operation, keras.Layer) else None
        copy = copied(operation, self.names.of(call))
        return self._called(id(operation), (copy, weights), *args, **kwargs)

    def _called(self, key, new, *args, **kwargs):
        """Call what stands under a key, or, the first time, a new operation with its weights."""
        if key in self.copies:
            return self.copies[key](*args, **kwargs)
        operation, weights = new
        self.copies[key] = operation
        outputs = operation(*args, **kwargs)
        if weights:
            operation.set_weights(weights)
        return outputs


def _with_zero(low, high):
    """Return ends, a little further out, between which zero is one of the 256 values.

    NOTE: pixels from -1 to 1 would lie in the middle between two values otherwise, every one, and
    twin and file each round by their own last digits.
    """
    if not low < 0 < high:
        return low, high
    place = min(max(round(255 * -low / (high - low)), 1), 254)
    step = max(-low / place, high / (255 - place))
    return -place * step, (255 - place) * step


def copied(operation, name):
    """Return a new layer or operation such as one is, under a name, without its weights.

    Raises:
        ValueError: if it cannot be made from its configuration.
    """
    try:
        return type(operation).from_config({**operation.get_config(), "name": name})
    except (NotImplementedError, TypeError, ValueError) as error:  # The last of a Lambda.
        raise ValueError(
            "A student to quantise must consist of layers that can be made from their "
            f"`get_config()`. Received: {operation.name}, a {type(operation).__name__} that "
            "cannot. Give its class a `get_config` with all arguments of its `__init__`."
        ) from error


class Names:
    """The names in a twin: the student's own, unless models inside the student share one."""

    def __init__(self, graph):
        self.taken, self.chosen = set(), {}
        operations = {id(call.operation): call for call in graph.calls}
        own = collections.Counter(call.operation.name for call in operations.values())
        for key, call in operations.items():
            is_unique = own[call.operation.name] == 1
            self.chosen[key] = self.new(call.operation.name if is_unique else "_".join(call.path))

    def of(self, call):
        """Return the name of what stands for the operation of a call."""
        return self.chosen[id(call.operation)]

    def new(self, name):
        """Return a name that nothing has had: this one, or with a number behind it."""
        number, free = 1, name
        while free in self.taken:
            number += 1
            free = f"{name}_{number}"
        self.taken.add(free)
        return free
