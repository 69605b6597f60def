"""A model before its last activation, on the same layers and weights."""

import dataclasses
import inspect

import keras

from keras_kd._common.graph import model_between, walk
from keras_kd._common.structures import by_name, output_names
from keras_kd.teachers.probes import inputs_of

# How many operations may follow the activation: a cast, a reshape.
_FOLLOWING = 3


@dataclasses.dataclass(frozen=True)
class Recording:
    """A model gone through anew: the same layers and weights, and what made each of its tensors.

    Args:
        model: a `keras.Model` on new symbolic tensors.
        calls: an operation, its positional arguments and what it returned, in their order.
    """

    model: keras.Model
    calls: tuple

    @property
    def outputs(self):
        """The outputs by name."""
        return by_name(self.model.output, output_names(self.model), what="The outputs")

    def with_one_output(self, name):
        """Return a model of one of the outputs, on the same tensors."""
        return model_between(self.model.input, self.outputs[name])

    def opened(self, logits_models):
        """Return a model of a dict of all outputs, logits for some, in one pass.

        Args:
            logits_models: of some outputs, by name, what `candidates` found for them.
        """
        logits = {name: each.outputs[0] for name, each in logits_models.items()}
        return model_between(self.model.input, {**self.outputs, **logits})


def recorded(model):
    """Return the `Recording` of a model.

    Args:
        model: one that `has_graph`.
    """
    calls = []

    def visit(operation, *args, **kwargs):
        outputs = operation(*args, **kwargs)
        calls.append((operation, args, outputs))
        return outputs

    inputs, outputs = walk(model, visit)
    if isinstance(model.output, dict):  # Keras sorts its keys.
        outputs = {name: outputs[name] for name in model.output}
    return Recording(model_between(inputs, outputs), tuple(calls))


def said_by(model, calls=()):
    """Return what the last layer says of itself, and whether it and its model are Keras's own.

    Args:
        model: of one output.
        calls: of the `Recording` that the model is of, if it is of one.
    """
    layer, before = _last_operation(model, calls)
    if isinstance(layer, keras.Model):
        said, is_own = said_by(layer)
        return said, is_own and is_own_class(model)
    while isinstance(layer, keras.layers.Wrapper):
        layer = layer.layer
    said = _activation_name(layer)
    if said == "linear" and isinstance(layer, keras.layers.Activation) and before is not None:
        return said_by(before, calls)  # Often there to cast a softmax back to float32.
    # log(p) is logits that happen to be normalised.
    said = "logits" if said in ("linear", "log_softmax") else said
    return said, is_own_class(layer) and is_own_class(model)


def is_own_class(layer):
    """Return whether a layer or model is of a class of Keras's own."""
    return type(layer).__module__.startswith("keras.")


def _activation_name(layer):
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    for name in ("linear", "softmax", "sigmoid", "log_softmax"):
        if activation is getattr(keras.activations, name):
            return name
    return None


def candidates(model, calls=(), following=_FOLLOWING):
    """Yield models that may be this one before its last activation; trying them tells.

    Args:
        model: of one output.
        calls: as in `said_by`; the models are on the same inputs then.
        following: how many operations may follow the activation.
    """
    operation, before = _last_operation(model, calls)
    if before is None:
        return
    if isinstance(operation, keras.Model):
        for inner in candidates(operation, following=following):
            yield model_between(inputs_of(before), inner(symbolic_output(before)))
        return
    if len(before.outputs) > 1:
        return
    entering = before.outputs[0]
    opened = _without_activation(operation)
    if opened is not None:
        # One layer may end several outputs, and names are unique in a model.
        name = None if calls else f"{operation.name}_logits"
        yield model_between(inputs_of(before), _Opened(opened, name)(entering))
    elif entering.shape == model.outputs[0].shape:
        yield before
    if following and _is_plain(operation):
        for each in candidates(before, calls, following - 1):
            yield model_between(inputs_of(each), operation(each.outputs[0]))


def symbolic_output(model):
    """Return what a model returns on its symbolic inputs, in its structure.

    Args:
        model: a built `keras.Model` that knows its inputs.
    """
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output


def _last_operation(model, calls):
    """Return the last layer or operation and a model of what enters it.

    Either is `None` where there is none.
    """
    if len(getattr(model, "outputs", None) or []) != 1:
        return None, None
    if calls:
        return _found(model, calls)
    if isinstance(model, keras.Sequential):
        # Built twice, its layers remember the tensors of the first time: go through them anew.
        first = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
        *others, last = model.layers
        return last, keras.Sequential([first, *others]) if others else keras.Model(first, first)
    for operation in reversed(model.operations):
        if operation.output is model.outputs[0]:
            entering = operation.input  # Nothing enters an input.
            return operation, model_between(model.input, entering) if not isinstance(
                entering, list
            ) or entering else None
    # It was called before, in another model, and remembers that call.
    recording = recorded(model)
    return _found(recording.model, recording.calls)


def _found(model, calls):
    """Return what made the output of a recorded model, as `_last_operation` does."""
    for operation, args, outputs in reversed(calls):
        if outputs is model.outputs[0]:
            return operation, model_between(model.input, args[0]) if len(args) == 1 else None
    return None, None  # One of several that a split or a model inside returns.


def _is_plain(operation):
    """Return whether an operation is a function of one tensor, without weights."""
    parameters = inspect.signature(operation.call).parameters.values()
    needed = [each for each in parameters if each.default is each.empty and each.kind < 2]
    return len(needed) == 1 and not getattr(operation, "weights", [])


def _without_activation(layer):
    """Return the layer less its activation, on the same weights; `None` if it has none."""
    inside = vars(layer)
    if isinstance(layer, keras.layers.Wrapper):
        inner = _without_activation(layer.layer)
        return None if inner is None else _with(layer, layer=inner)
    if inside.get("activation") in (None, keras.activations.linear):
        return None
    return _with(layer, activation=keras.activations.linear)


def _with(layer, /, **attributes):
    """Return a layer that is this one, its variables included, but for some attributes."""
    # Not by its config: a quantised layer, or one with LoRA, has other weights than that builds.
    twin = object.__new__(type(layer))
    vars(twin).update(vars(layer), **attributes)
    return twin


class _Opened(keras.layers.Layer):
    """Calls a layer less its activation."""

    def __init__(self, layer, name):
        super().__init__(name=name, dtype=layer.compute_dtype)
        self.layer = layer
        self.supports_masking = layer.supports_masking

    def call(self, inputs):
        return self.layer(inputs)
