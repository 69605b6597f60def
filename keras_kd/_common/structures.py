"""Keras's structures (a tensor, a list or a dict of some) by the names of a model's ends."""

import itertools

import keras


def output_names(model, outputs=None):
    """Return the names of a model's outputs, in their order.

    The keys of a model that returns a dict; Keras's own names of one that returns a list or one
    tensor, with numbers where one layer makes several; `"output"`, `"output_1"`, ... where nothing
    tells them.

    Args:
        model: a built `keras.Model`.
        outputs: what it returned, for a model whose calls alone know.
    """
    if getattr(model, "outputs", None):
        if isinstance(model, keras.Sequential):
            return (model.layers[-1].name,)
        if isinstance(model.output, dict):
            return tuple(model.output)
        return _different(model.output_names)
    if isinstance(outputs, dict):
        return tuple(outputs)
    count = len(outputs) if isinstance(outputs, (list, tuple)) else 1
    return ("output", *(f"output_{number}" for number in range(1, count)))


def _different(names):
    """Return names with numbers where one layer makes several outputs: `last`, `last_1`."""
    found = []
    for name in names:
        numbers = itertools.count(1)
        each = name
        while each in found:
            each = f"{name}_{next(numbers)}"
        found.append(each)
    return tuple(found)


def by_name(structure, names, *, what):
    """Return a structure of one entry for each output, or for some, as a dict by name.

    Args:
        structure: a dict by name; a list or tuple in the order of the names; or one entry, which
            stands for the only output.
        names: of the outputs.
        what: what the structure is, for an error.

    Raises:
        ValueError: if it does not have the outputs' structure.
    """
    if isinstance(structure, dict):
        unknown = [name for name in structure if name not in names]
        if unknown:
            raise ValueError(
                f"{what} must be by the names of the outputs, {', '.join(names)}. "
                f"Received: {', '.join(map(str, unknown))}."
            )
        return dict(structure)
    if isinstance(structure, (list, tuple)):
        if len(structure) != len(names):
            raise ValueError(
                f"{what} must be one for each output, {', '.join(names)}. "
                f"Received: {len(structure)}."
            )
        return dict(zip(names, structure, strict=True))
    if len(names) != 1:
        raise ValueError(
            f"{what} must be one for each output, {', '.join(names)}, in a dict or a list. "
            f"Received: one alone ({type(structure).__name__})."
        )
    return {names[0]: structure}


def part_for(model, inputs):
    """Return what a model takes of a dict of inputs, by the names of its own; else all of them.

    Args:
        model: a `keras.Model`.
        inputs: any structure that Keras's `fit` takes as `x`.

    Raises:
        ValueError: naming an input that is missing.
    """
    if not isinstance(inputs, dict) or not getattr(model, "inputs", None):
        return inputs
    structure = None if isinstance(model, keras.Sequential) else model.input
    by_key = isinstance(structure, dict)
    names = list(structure) if by_key else [tensor.name for tensor in model.inputs]
    missing = [name for name in names if name not in inputs]
    if missing:
        raise ValueError(
            f"The model {model.name} needs the input {missing[0]}. "
            f"Received: {', '.join(map(str, inputs))}. Name it so, or map the inputs: "
            "`Teacher(model, preprocess=function)`."
        )
    if by_key:
        return {name: inputs[name] for name in names}
    taken = [inputs[name] for name in names]
    return taken if len(taken) > 1 or isinstance(structure, (list, tuple)) else taken[0]
