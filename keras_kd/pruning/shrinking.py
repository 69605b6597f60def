"""From a model with channels of zeros to one without them."""

import keras
import numpy as np
from keras import layers

from keras_kd._common.graph import model_between
from keras_kd.pruning.channels import channels_of, graph_to_prune
from keras_kd.quantize.arithmetic import multiply_adds as of_call
from keras_kd.quantize.rewriting import Names, copied

# By the class of a layer: what its configuration calls the number of its channels.
_COUNTS = {
    layers.Conv1D: "filters",
    layers.Conv2D: "filters",
    layers.Conv2DTranspose: "filters",
    layers.Conv3D: "filters",
    layers.Dense: "units",
    layers.SeparableConv1D: "filters",
    layers.SeparableConv2D: "filters",
}


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of a model for one example.

    Counted are products with a matrix of weights (or a filter), and of two tensors. Zeros count
    as any number: only what `shrink` took out is no longer there.

    Args:
        model: a built Functional or Sequential `keras.Model`.

    Raises:
        ValueError: if the model is none of these.
    """
    return sum(map(of_call, graph_to_prune(model).calls))


def shrink(student: keras.Model) -> keras.Model:
    """Return a student without the channels that `Pruning` has set to zero.

    The smaller student answers as the one with zeros does, up to the rounding of float32. It is an
    ordinary Functional model with fewer filters and units, in the file and in memory: train it
    further, prepare it for integers, export it.

    Args:
        student: a built Functional or Sequential `keras.Model`, which is not changed. Models inside
            it become part of the smaller one.

    Returns:
        A `keras.Model` with weights of its own.

    Raises:
        ValueError: if the student is none of these.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    student = kd.models.mlp([64], image_shape=data.image_shape)
    distiller = kd.Distiller(student=student, alpha=0).compile("adam")
    pruning = kd.pruning.Pruning(multiply_adds=0.5, epochs=2)
    batches = data.train.batches(32, shuffle_seed=0)
    distiller.fit(batches, epochs=3, callbacks=[pruning], verbose=0)
    small = kd.pruning.shrink(student)
    assert small.get_layer("hidden_1").units == 32
    ```
    """
    graph = graph_to_prune(student)
    channels = channels_of(graph)
    gone = channels.dead()
    for numbers in channels.groups.values():
        if gone.issuperset(numbers.tolist()):
            gone.discard(int(numbers[0]))  # A layer of no units is none.
    names, now, made = Names(graph), {}, {}
    kept = {
        (id(slot.variable), slot.axis): ~np.isin(slot.channels, list(gone))
        for slot in channels.slots
    }
    for tensor in graph.inputs:
        new = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        now[id(tensor)] = new

    def of_now(structure):
        return keras.tree.map_structure(lambda x: now.get(id(x), x), structure)

    for call in graph.calls:
        operation = call.operation
        is_new = id(operation) not in made
        if is_new:
            made[id(operation)] = _resized(operation, names.of(call), channels, gone)
        args, kwargs = of_now((call.args, call.kwargs))
        outputs = made[id(operation)](*args, **kwargs)
        if is_new and isinstance(operation, keras.Layer):
            made[id(operation)].set_weights([_taken(each, kept) for each in operation.weights])
        new = zip(keras.tree.flatten(call.outputs), keras.tree.flatten(outputs), strict=True)
        now.update({id(old): tensor for old, tensor in new})
    inputs, outputs = map(of_now, (graph.inputs, graph.outputs))
    if not isinstance(student, keras.Sequential):  # Of one input and one output, told of neither.
        inputs = keras.tree.pack_sequence_as(student.input, inputs)
        outputs = keras.tree.pack_sequence_as(student.output, outputs)
    return model_between(inputs, outputs, name=student.name)


def _resized(operation, name, channels, gone):
    """Return a new layer or operation such as one is, with fewer channels."""
    along = channels.makes.get(id(operation))
    key = _COUNTS.get(type(operation))
    if along is not None and (key or type(operation) is layers.Reshape):
        count = int((~np.isin(along, list(gone))).sum())
        config = {**operation.get_config(), "name": name}
        if key:
            return type(operation).from_config({**config, key: count})
        shape = (*operation.target_shape[:-1], count)
        return layers.Reshape(shape, name=name)
    return copied(operation, name)


def _taken(variable, kept):
    """Return the value of a variable without what goes."""
    value = keras.ops.convert_to_numpy(variable)
    for axis in range(value.ndim):
        mask = kept.get((id(variable), axis))
        if mask is not None:
            value = np.compress(mask, value, axis)
    return value
