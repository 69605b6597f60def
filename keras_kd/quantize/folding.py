"""Which BatchNormalization goes into the weights of the layer before it."""

import collections

import keras

from keras_kd.quantize.kernels import can_fold


def takers_of(graph):
    """Return, by the id of what a call returns, the calls that take it, once for each time."""
    made_by, takers = {}, {id(call.outputs): [] for call in graph.calls}
    for call in graph.calls:
        for tensor in call.tensors():
            if id(tensor) in made_by:
                takers[made_by[id(tensor)]].append(call)
        made_by.update(
            (id(tensor), id(call.outputs)) for tensor in keras.tree.flatten(call.outputs)
        )
    return takers


def folded(graph, takers, kernels):
    """Return, by the id of a layer, the BatchNormalization that goes into its weights.

    Args:
        graph: of the student.
        takers: as `takers_of` returns them.
        kernels: the ids of the layers that get integer weights.
    """
    calls = collections.defaultdict(list)
    for call in graph.calls:
        calls[id(call.operation)].append(call)
    found = {}
    for key, own in calls.items():
        followers = [takers[id(call.outputs)] for call in own]
        if key not in kernels or any(len(each) != 1 for each in followers):
            continue
        batch_norms = [follower.operation for (follower,) in followers]
        batch_norm = batch_norms[0]
        # A shared layer has one kernel: what follows must be the same each time and its alone.
        is_its_own = all(each is batch_norm for each in batch_norms)
        if is_its_own and len(calls[id(batch_norm)]) == len(own) and can_fold(own[0], batch_norm):
            found[key] = batch_norm
    return found
