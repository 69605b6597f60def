"""What a model takes: in which shapes and dtypes, and whether it is numbers of words."""

import keras
import numpy as np

from keras_kd._common.graph import graph_of, has_graph, name_of_operation

# What leaves a number what it is.
_MOVING = ("Cast", "ExpandDims", "GetItem", "Reshape", "Squeeze")


def as_taken(values, shape):
    """Return an array as a model takes it, or `None` if the model does not.

    As Keras does: an axis of 1 at the end may be missing, or be one too many.

    Args:
        values: `[n, ...]`.
        shape: of one example, as the model's input says, with `None` for a size that is free.
    """
    given, shape = tuple(values.shape[1:]), tuple(shape)
    if _fits(given, shape):
        return values
    if given[-1:] == (1,) and _fits(given[:-1], shape):
        return values[..., 0]
    if shape[-1:] == (1,) and _fits(given, shape[:-1]):
        return values[..., None]
    return None


def taken_by(ends, inputs, *, what):
    """Return arrays as something takes them, by name.

    Args:
        ends: what it takes, shapes of one example by name.
        inputs: a dict of arrays by name; the array itself, of one input.
        what: what takes them, for an error.

    Raises:
        ValueError: if one is missing or of another shape, or they are not equally many.
    """
    if len(ends) == 1 and not isinstance(inputs, dict):
        inputs = dict.fromkeys(ends, inputs)
    if not isinstance(inputs, dict) or not set(ends) <= set(inputs):
        given = ", ".join(map(str, inputs)) if isinstance(inputs, dict) else type(inputs).__name__
        raise ValueError(
            f"{what} takes a dict of arrays, one for each input: {', '.join(ends)}. "
            f"Received: {given}."
        )
    taken = {}
    for name, shape in ends.items():
        array = np.asarray(inputs[name])
        taken[name] = as_taken(array, shape)
        if taken[name] is None:
            kind = "images" if len(ends) == 1 else name
            raise ValueError(
                f"{what} takes {kind} of shape {tuple(shape)}. Received: {array.shape[1:]}."
            )
    if len({len(array) for array in taken.values()}) > 1:
        counts = ", ".join(f"{len(array)} of {name}" for name, array in taken.items())
        raise ValueError(f"{what} takes as many of each input. Received: {counts}.")
    return taken


def vocabularies(model):
    """Return the sizes of the tables in which a model with one input looks its input up.

    None for a model that takes no numbers of words; several for one that looks places up as well.
    """
    image = model.inputs[0]
    # More than a sequence of real numbers is pixels or measurements, to which places may be added.
    if not any(map(_is_table, model.weights)) or ("float" in image.dtype and len(image.shape) > 2):
        return []
    if not has_graph(model):
        return _tables(model)
    graph = graph_of(model)
    numbers, sizes = {id(tensor) for tensor in graph.inputs}, []
    for call in graph.calls:
        if any(id(tensor) in numbers for tensor in call.tensors()):
            sizes += _tables(call.operation)
            if name_of_operation(call.operation) in _MOVING:
                numbers.add(id(call.outputs))
    return sizes


def taking(model, dtype):
    """Return a model with one input and one output that takes another dtype, on the same weights.

    Args:
        model: a `keras.Model`.
        dtype: `"int32"` for numbers of words; `"float32"` for pixels, whatever they come in.
    """
    new = keras.Input(batch_shape=model.inputs[0].shape, dtype=dtype, name=model.inputs[0].name)
    if not has_graph(model):
        return keras.Model(new, model(new), name=model.name)
    # A model of its own around the same graph: cloning a compiled one would compile the clone.
    return keras.models.clone_model(
        keras.Model(model.inputs[0], model.outputs[0], name=model.name),
        input_tensors=new,
        clone_function=lambda layer: layer,
    )


def _fits(given, shape):
    return len(given) == len(shape) and all(
        size in (None, each) for each, size in zip(given, shape, strict=True)
    )


def _tables(operation):
    weights = getattr(operation, "weights", ())
    return [int(weight.shape[0]) for weight in weights if _is_table(weight)]


def _is_table(weight):
    return weight.name == "embeddings" and len(weight.shape) == 2
