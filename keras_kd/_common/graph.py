"""A model as the calls that it makes: operations, shared layers and models inside models alike."""

import contextlib
import dataclasses
import functools
import inspect
import warnings
from typing import Any

import keras


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One layer or operation, applied once.

    Args:
        operation: a `keras.Layer` or another `keras.Operation`.
        args, kwargs: what it is given, with `KerasTensor`s in them.
        outputs: what it returns.
        path: the names of the models around it, from outside, and its own.
    """

    operation: keras.Operation
    args: tuple
    kwargs: dict
    outputs: Any
    path: tuple

    def tensors(self):
        """Return the tensors that it is given."""
        return [x for x in keras.tree.flatten((self.args, self.kwargs)) if _is_tensor(x)]


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A model from its inputs to its outputs, both flat lists, by `calls` in their order."""

    inputs: list
    outputs: list
    calls: list


def has_graph(operation):
    """Return whether an operation is a model of which its layers tell all that it computes."""
    if not isinstance(operation, keras.Model) or not getattr(operation, "inputs", None):
        return False
    is_sequential = isinstance(operation, keras.Sequential)
    plain = keras.Sequential.call if is_sequential else _functional_call()
    return type(operation).call is plain


def graph_of(model):
    """Return the `Graph` of a model that `has_graph`, less what leads to none of its outputs.

    A model inside counts as its layers, as often as it is called.
    """
    graph = _recorded(model, ())
    needed, calls = {id(tensor) for tensor in graph.outputs}, []
    for call in reversed(graph.calls):
        if any(id(tensor) in needed for tensor in keras.tree.flatten(call.outputs)):
            calls.append(call)
            needed |= {id(tensor) for tensor in call.tensors()}
    return Graph(graph.inputs, graph.outputs, calls[::-1])


def walk(model, visit):
    """Call `visit` for each layer and operation of a model in their order, on new inputs.

    Args:
        model: a model that `has_graph`.
        visit: is given a layer or operation and the arguments of its call, and returns what the
            call returns.

    Returns:
        The new inputs and the outputs, in the model's structure.
    """
    if isinstance(model, keras.Sequential):
        inputs = x = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
        for layer in model.layers:
            x = visit(layer, x)
        return inputs, x
    # A model of its own around the same graph: cloning a compiled one would compile the clone,
    # with another optimizer.
    with _silence_about_names():
        clone = keras.models.clone_model(
            keras.Model(model.input, model.output),
            clone_function=lambda layer: layer,
            call_function=visit,
        )
    return clone.input, clone.output


def model_between(inputs, outputs, name=None):
    """Return a `keras.Model` from symbolic inputs to outputs, both in any structure.

    Args:
        inputs: of a model that is there already: of keys that are no names its owner was told.
        outputs: tensors that are made of them.
        name: of the model.
    """
    with _silence_about_names():
        return keras.Model(inputs, outputs, name=name)


@contextlib.contextmanager
def _silence_about_names():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="When providing `inputs` as a dict")
        yield


def name_of_operation(operation):
    """Return the class name of an operation of `keras.ops`, `None` for layers and others' own."""
    if isinstance(operation, keras.Layer) or not type(operation).__module__.startswith("keras."):
        return None
    return type(operation).__name__


def _recorded(model, path):
    calls = []
    stands_for = {}  # By the id of a tensor: itself, which keeps the id its own, and the other.

    def resolved(structure):
        return keras.tree.map_structure(lambda x: stands_for.get(id(x), (x, x))[1], structure)

    def visit(operation, *args, **kwargs):
        args, kwargs = _positional(operation, args, kwargs)
        outputs = operation(*args, **kwargs)
        own_path = (*path, operation.name)
        given_args, given_kwargs = resolved((args, kwargs))
        given = _given_to_graph(operation, given_args, given_kwargs)
        if given is None:
            calls.append(Call(operation, given_args, given_kwargs, outputs, own_path))
            return outputs
        inner = _recorded(operation, own_path)
        stands_for.update({id(x): (x, y) for x, y in zip(inner.inputs, given, strict=True)})
        for call in inner.calls:
            kwargs = {**_training_of(call.operation, given_kwargs), **resolved(call.kwargs)}
            calls.append(dataclasses.replace(call, args=resolved(call.args), kwargs=kwargs))
        returned = zip(keras.tree.flatten(outputs), resolved(inner.outputs), strict=True)
        stands_for.update({id(x): (x, y) for x, y in returned})
        return outputs

    inputs, outputs = map(keras.tree.flatten, walk(model, visit))
    return Graph(inputs, resolved(outputs), calls)


def _positional(operation, args, kwargs):
    """Return the arguments of a call with the first of them, its inputs, in its place."""
    if args:
        return args, kwargs
    first = next(iter(inspect.signature(operation.call).parameters))
    return (kwargs[first],), {name: kwargs[name] for name in kwargs if name != first}


def _given_to_graph(operation, args, kwargs):
    """Return what the inputs of a model inside are given; `None` if it counts as one layer."""
    said = [value for name, value in kwargs.items() if name != "training"]
    is_plain = len(args) == 1 and all(each is None for each in keras.tree.flatten(said))
    if not has_graph(operation) or not is_plain:
        return None
    inputs, given = operation.input, args[0]
    if isinstance(given, dict):
        names = inputs if isinstance(inputs, dict) else [each.name for each in operation.inputs]
        given = {name: given[name] for name in names}
        given = given if isinstance(inputs, dict) else list(given.values())
    given = keras.tree.flatten(given)
    wanted = [(len(each.shape), each.dtype) for each in operation.inputs]
    # A model also takes images without their last axis of 1, and other dtypes, which it converts.
    return given if wanted == [(len(each.shape), each.dtype) for each in given] else None


def _training_of(operation, kwargs):
    """Return the `training` that a model around a layer was called with, as the layer takes it."""
    takes_it = "training" in inspect.signature(operation.call).parameters
    return {"training": kwargs["training"]} if takes_it and "training" in kwargs else {}


def _is_tensor(value):
    return isinstance(value, keras.KerasTensor)


@functools.cache
def _functional_call():
    image = keras.Input((1,))
    return type(keras.Model(image, image)).call
