"""ONNX: what ONNX Runtime and the tools around it read."""

import contextlib
import logging
from pathlib import Path

import keras
import tensorflow as tf

from keras_kd._common.backend import quiet_native_stderr, require_extra
from keras_kd._common.files import written_whole
from keras_kd._common.typing import PathLike
from keras_kd.export.ends import (
    check_equal_answers,
    check_model,
    probes,
    serving_function,
    signature_of,
)
from keras_kd.export.runner import ONNXFile, answers_of
from keras_kd.export.saved_model import in_float32

# Of 2021: old enough for every runtime in use.
_OPSET = 15


def onnx(
    model: keras.Model, path: PathLike, *, input_range: tuple[float, float] = (0.0, 255.0)
) -> Path:
    """Write a model as a float32 `.onnx` file for batches of any size.

    The file takes `image` (raw pixels as float32) and returns `logits` and `probabilities`; the
    ends of other models go by their own names, as in `litert`. It is run by ONNX Runtime and
    compared with the model, every output at every place, before it is moved into place. The same
    model gives the same bytes, unless it has a loop in it (a recurrent layer).

    Args:
        model: as in `litert`.
        path: the file to write; an older one is replaced.
        input_range: lowest and highest pixel that the model expects.

    Returns:
        The path.

    Raises:
        ValueError: if the model does not fit, or the file answers otherwise than the model.
        ImportError: if `tf2onnx` or `onnxruntime` is not installed (extra `onnx`).
    """
    require_extra("tf2onnx", "onnx", "An ONNX file")
    require_extra("onnxruntime", "onnx", "An ONNX file")
    model = in_float32(check_model(model))
    with written_whole(path) as unfinished:
        unfinished.write_bytes(_convert(model))
        inputs = probes(model, input_range)
        try:
            answers = answers_of(ONNXFile(unfinished), inputs)
        except Exception as error:  # ONNX Runtime has classes of its own.
            raise ValueError(
                f"The model {model.name} must consist of operations that ONNX Runtime has. "
                f"Received: {str(error).strip().splitlines()[0]}"
            ) from error
        check_equal_answers(answers, model, inputs, path)
    return path


def _convert(model):
    import tf2onnx

    signature = signature_of(model, batch_size=None)
    serve = tf.function(serving_function(model), input_signature=signature)
    with quiet_native_stderr(), _sentences_alone("tf2onnx"):
        written, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=_OPSET)
    _keep_constants(written.graph, serve.get_concrete_function())
    _write_erfc_as_erf(written.graph)
    _name_by_order(written.graph)
    return written.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _sentences_alone(name):
    """Hold back what a logger says, of which the error that follows says the same."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _keep_constants(graph, function):
    """Put into a graph the constants from outside the function, which it has as inputs.

    Such are the mean and the variance of a `Normalization`.
    """
    import onnx

    values = function.captured_inputs
    ends = function.inputs[len(function.inputs) - len(values) :]
    held = {end.name: value for end, value in zip(ends, values, strict=True)}
    for end in [end for end in graph.input if end.name in held]:
        graph.input.remove(end)
        value = onnx.numpy_helper.from_array(held[end.name].numpy(), end.name)
        graph.initializer.append(value)


def _write_erfc_as_erf(graph):
    """Write `erfc`, which ONNX lacks and TensorFlow computes a GELU by, as `1 - erf`."""
    import onnx

    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "Erfc":
            (complement,) = node.output
            node.op_type, node.output[0] = "Erf", f"{complement}/erf"
            one = f"{complement}/one"
            graph.initializer.append(onnx.helper.make_tensor(one, 1, [], [1.0]))
            nodes.append(onnx.helper.make_node("Sub", [one, node.output[0]], [complement]))
    if len(nodes) > len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)


def _name_by_order(graph):
    """Name everything inside a graph by where it is first used, so that equal models are equal.

    The converter numbers names through the life of the process, and orders constants by chance.
    """
    _rename(graph, {end.name: end.name for end in (*graph.input, *graph.output)})
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"


def _rename(graph, names):
    """Give the values of a graph, and of the loops in it, which know those around, new names."""
    for end in (*graph.input, *graph.output):
        end.name = names.setdefault(end.name, f"value_{len(names)}")
        for axis in end.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = names.setdefault(axis.dim_param, f"value_{len(names)}")
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
        for values in (node.input, node.output):
            new = [names.setdefault(name, f"value_{len(names)}") if name else "" for name in values]
            values[:] = new
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                inner.name = node.name
                _rename(inner, names)
    for constant in list(graph.initializer):
        if constant.name in names:
            constant.name = names[constant.name]
        else:  # Folded into another.
            graph.initializer.remove(constant)
    order = {name: place for place, name in enumerate(names.values())}
    graph.initializer.sort(key=lambda constant: order[constant.name])
    graph.doc_string = ""  # It holds another number.
    del graph.value_info[:]  # Shapes inside, which a runtime finds out by itself.
