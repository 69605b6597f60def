"""What a model takes: in which shapes, and whether it is numbers of words."""

from keras_kd.graph import graph_of, has_graph, name_of_operation

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


def vocabularies(model):
    """Return the sizes of the tables in which a model with one input looks its input up.

    None for a model that takes no numbers of words; several for one that looks places up as well.
    """
    if not any(_is_table(weight) for weight in model.weights):
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


def _fits(given, shape):
    return len(given) == len(shape) and all(
        size in (None, each) for each, size in zip(given, shape, strict=True)
    )


def _tables(operation):
    weights = getattr(operation, "weights", ())
    return [int(weight.shape[0]) for weight in weights if _is_table(weight)]


def _is_table(weight):
    return weight.name == "embeddings" and len(weight.shape) == 2
