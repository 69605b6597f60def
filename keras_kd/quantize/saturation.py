"""How much a twin, and its file, cut off at the ends of its grids."""

from collections import defaultdict
from typing import Any

import keras

from keras_kd._common.graph import graph_of, model_between
from keras_kd.quantize.layers import ActivationRange

_BATCH_SIZE = 50


def saturation(twin: keras.Model, images: Any) -> dict[str, float]:
    """Return the share, 0 to 1, of the values that lie beyond each grid's ends, the most first.

    Such a value becomes the end, in the twin and in the file. Shares of a few thousandths are
    usual: the ends follow the batches' lowest and highest values as an average. A share of
    hundredths tells of other images than the ranges were learned from, or of ranges that
    training left behind. Grids with ends that are known, such as those of pixels and of a
    sigmoid, are left out.

    Args:
        twin: what `prepare` returned, trained or calibrated.
        images: an array `[n, ...]` such as the twin takes.

    Returns:
        Shares by the names of the twin's `ActivationRange` layers.

    Raises:
        ValueError: if there are no such layers.
    """
    graph = graph_of(twin)
    calls = [
        call
        for call in graph.calls
        if isinstance(call.operation, ActivationRange)
        and call.operation.low is None
        and call.kwargs.get("follow", True)
        and not call.kwargs.get("only_step")
    ]
    if not calls:
        raise ValueError(
            "`saturation` asks a model of `quantize.prepare`. Received: "
            f"{twin.name}, which has no ranges."
        )
    taken = model_between(graph.inputs, [keras.tree.flatten(call.args[0]) for call in calls])
    cut, counts = defaultdict(int), defaultdict(int)
    for start in range(0, len(images), _BATCH_SIZE):
        values = taken([images[start : start + _BATCH_SIZE]], training=False)
        for call, parts in zip(calls, values, strict=True):
            low, high = (
                float(keras.ops.convert_to_numpy(end))
                for end in (call.operation.lowest, call.operation.highest)
            )
            half_a_step = (high - low) / 510
            for part in map(keras.ops.convert_to_numpy, parts):
                outside = (part < low - half_a_step) | (part > high + half_a_step)
                cut[call.operation.name] += int(outside.sum())
                counts[call.operation.name] += part.size
    shares = {name: cut[name] / counts[name] for name in counts}
    return dict(sorted(shares.items(), key=lambda each: -each[1]))
