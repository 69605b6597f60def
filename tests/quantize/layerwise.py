"""A twin and its file, compared at every grid inside: at each layer, not at the last alone."""

import warnings

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_kd._common.graph import graph_of, model_between
from keras_kd.export.runner import SIGNATURE, quantized
from keras_kd.quantize.layers import ActivationRange


def steps_apart(twin, path, images):
    """Return how far file and twin are apart at each grid of the twin, by name, in its steps.

    The file keeps no names of inner tensors. What stands for a grid is the tensor of its size,
    scale and zero point that is nearest; a grid that the file has nowhere is infinitely far.

    Args:
        twin: what `quantize.prepare` made.
        path: its file.
        images: float32 `[n, ...]`, or int32 for numbers of words.

    Returns:
        By the name of a range and the number of its call: the mean of the distance, and the
        largest.
    """
    graph = graph_of(twin)
    calls = [
        each
        for each in graph.calls
        if isinstance(each.operation, ActivationRange) and not each.kwargs.get("only_step")
    ]
    taken = {id(x) for each in graph.calls for x in each.tensors()} | set(map(id, graph.outputs))
    # What a grid returns of tensors that it only follows, nothing takes.
    ends = [[x for x in keras.tree.flatten(call.outputs) if id(x) in taken] for call in calls]
    answers = model_between(graph.inputs, ends).predict(images, verbose=0)
    held = _held(path, images)
    found, counts = {}, {}
    for call, answer in zip(calls, answers, strict=True):
        grid = call.operation
        number = counts[grid.name] = counts.get(grid.name, 0) + 1
        scale, zero_point = _grid(grid)
        for part in keras.tree.flatten(answer):
            expected = np.round(part.reshape(len(images), -1) / scale) + zero_point
            apart = [
                np.abs(values - expected)
                for values, own_scale, own_zero_point in held
                if values.shape == expected.shape
                and np.isclose(
                    own_scale, scale, rtol=2e-3
                )  # Of one range two, where tensors are joined.
                and own_zero_point == zero_point
            ]
            nearest = min(apart, key=np.mean, default=np.asarray(np.inf))
            found[f"{grid.name}:{number}"] = float(nearest.mean()), float(nearest.max())
    return found


def dtypes_in(path):
    """Return the names of the dtypes that a file holds."""
    details = _interpreter(path, preserve=False).get_tensor_details()
    return {np.dtype(each["dtype"]).name for each in details}


def _grid(grid):
    """Return scale and zero point as the file has them: a range that is moved to hold zero."""
    low, high = (float(keras.ops.convert_to_numpy(end)) for end in (grid.lowest, grid.highest))
    scale = (high - low) / 255
    return scale, int(np.clip(np.round(-low / scale), 0, 255)) - 128


def _held(path, images):
    """Return values, scale and zero point of every int8 tensor that an operation makes."""
    interpreter = _interpreter(path)
    signature = interpreter.get_signature_runner(SIGNATURE)
    (image,) = signature.get_input_details().values()
    del signature
    interpreter.allocate_tensors()
    numbers = {int(end) for each in interpreter._get_ops_details() for end in each["outputs"]}
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    kept = [
        details[each]
        for each in sorted(numbers | {image["index"]})
        if each in details and details[each]["dtype"] is np.int8
    ]
    values = {each["index"]: [] for each in kept}
    for example in images:
        interpreter.set_tensor(image["index"], quantized(example[None], image))
        interpreter.invoke()
        for each in kept:
            values[each["index"]].append(_value(interpreter, each["index"]))
    return [
        (np.stack(values[each["index"]]).astype("float32"), *each["quantization"])
        for each in kept
        if all(value is not None for value in values[each["index"]])
    ]


def _value(interpreter, index):
    try:
        return interpreter.get_tensor(index).reshape(-1)
    except ValueError:  # Inside of what XNNPACK computes as one operation.
        return None


def _interpreter(path, preserve=True):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        return Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=preserve)
