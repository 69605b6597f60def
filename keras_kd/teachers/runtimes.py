"""ONNX, LiteRT and SavedModel files: what they take, what they return, and a function to ask them.

Each function returns `{"answer", "inputs", "outputs", "fingerprint"}` as `elsewhere.asked_model`
takes them. Images come as Keras has them, colours last; a file that wants them first gets them so.
"""

import hashlib
import re
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.backend import quiet_native_stderr, require_extra
from keras_kd._common.model_files import first_sentence

_COLOURS = (1, 3)
# Examples that a file which takes any number is asked about in one call.
_MOST_AT_ONCE = 64
# Of a graph that is asked for its answers; these read, write or run something else.
_REFUSED = re.compile(
    r"(Eager)?PyFunc\w*|ReadFile|WriteFile|MatchingFiles|\w*Reader(V2)?|\w*Dataset\w*"
)


def plain_name(name):
    """Return a name that Keras takes for a layer."""
    return re.sub(r"[^\w.-]+", "_", str(name)).strip("_") or "teacher"


def onnx(path):
    """Read an ONNX file for ONNX Runtime.

    Args:
        path: the file.

    Raises:
        ValueError: if the runtime does not read it.
        ImportError: if `onnxruntime` is not installed (extra `onnx`).
    """
    require_extra("onnxruntime", "onnx", "An ONNX teacher")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # Of a dozen classes of its own.
        raise _unreadable(path, "ONNX file", error) from error
    given, said = session.get_inputs(), session.get_outputs()
    dtypes = {each.name: _dtype_of(each.type, path) for each in [*given, *said]}
    shapes = {each.name: _shape_of(each.shape) for each in [*given, *said]}
    first = {each.name: is_colours_first(shapes[each.name]) for each in given}
    turned = any(first.values())
    first |= {each.name: turned and len(shapes[each.name]) == 4 for each in said}
    names = [each.name for each in said]
    batch_size = _batch_size(shapes[each.name] for each in given)

    def run(inputs):
        feed = {
            each.name: _colours_first(array) if first[each.name] else array
            for each, array in zip(given, inputs, strict=True)
        }
        answers = session.run(names, feed)
        return [
            _colours_last(array) if first[name] else array
            for name, array in zip(names, answers, strict=True)
        ]

    def specs(ends):
        return {
            plain_name(each.name): _spec(shapes[each.name], dtypes[each.name], first[each.name])
            for each in ends
        }

    return {
        "answer": _in_batches(run, batch_size),
        "inputs": specs(given),
        "outputs": specs(said),
        "fingerprint": _digest_of_file(path),
    }


def tflite(path, signature=None):
    """Read a `.tflite` file for LiteRT.

    Integers with a scale are read and written as the real numbers that they stand for; an input
    of `uint8` takes pixels as they are.

    Args:
        path: the file.
        signature: which; the only one if `None`.

    Raises:
        ValueError: if the runtime does not read it, or it has another signature.
        ImportError: if `ai-edge-litert` is not installed (extra `export`).
    """
    require_extra("ai_edge_litert", "export", "A .tflite teacher")
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_native_stderr():
            interpreter = Interpreter(str(path))
            interpreter.allocate_tensors()
    except (RuntimeError, TypeError, ValueError) as error:
        raise _unreadable(path, ".tflite file", error) from error
    given, said = _ends_of(interpreter, path, signature)
    batch_size = _batch_size(each["shape_signature"] for each in given.values())

    def run(inputs):
        if batch_size is None:
            for tensor, array in zip(given.values(), inputs, strict=True):
                interpreter.resize_tensor_input(tensor["index"], array.shape)
            interpreter.allocate_tensors()
        for tensor, array in zip(given.values(), inputs, strict=True):
            interpreter.set_tensor(tensor["index"], _as_held(array, tensor))
        interpreter.invoke()
        return [_as_real(interpreter.get_tensor(each["index"]), each) for each in said.values()]

    def spec(tensor, is_input):
        held = np.dtype(tensor["dtype"]).name
        as_is = not tensor["quantization"][0] or (is_input and held == "uint8")
        shape = _shape_of(tensor["shape_signature"])
        return _spec(shape, held if as_is else "float32", first=False)

    return {
        "answer": _in_batches(run, batch_size),
        "inputs": {plain_name(name): spec(each, True) for name, each in given.items()},
        "outputs": {plain_name(name): spec(each, False) for name, each in said.items()},
        "fingerprint": _digest_of_file(path),
    }


def saved_model(path, signature=None):
    """Read a SavedModel, by the loader of TensorFlow 2, else by that of TensorFlow 1.

    Args:
        path: the folder.
        signature: which; `serving_default`, or the only one, if `None`.

    Raises:
        ValueError: if it holds what reads or writes files or runs Python, cannot be loaded, or
            has another signature.
    """
    _check_graph(path)
    digest = hashlib.sha256()
    for file in sorted(each for each in Path(path).rglob("*") if each.is_file()):
        digest.update(f"{file.relative_to(path)} {_digest_of_file(file)}".encode())
    try:
        with quiet_native_stderr():
            loaded = tf.saved_model.load(str(path))
            signatures = dict(loaded.signatures)
    except Exception:  # Whatever version 2 cannot load, version 1 may.
        return _by_version_1(path, signature, digest.hexdigest())
    chosen = _chosen(signature, signatures, path)
    function = signatures[chosen]
    given = function.structured_input_signature[1]
    said = function.structured_outputs

    def answer(inputs):
        feed = dict(zip(given, inputs, strict=True))
        # Not `function`: the variables live as long as what was loaded.
        found = loaded.signatures[chosen](**feed)
        return [found[name] for name in said]

    return {
        "answer": answer,
        "inputs": _specs_of(given),
        "outputs": _specs_of(said),
        "fingerprint": digest.hexdigest(),
        "compiled": True,
    }


def is_colours_first(shape):
    """Return whether images of such a shape have their colours before height and width."""
    return len(shape) == 4 and shape[1] in _COLOURS and shape[3] not in _COLOURS


def _by_version_1(path, signature, fingerprint):
    graph = tf.Graph()
    with graph.as_default(), quiet_native_stderr():
        session = tf.compat.v1.Session(graph=graph)
        try:
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        except Exception as error:
            raise _unreadable(path, "SavedModel", error) from error
    signatures = dict(loaded.signature_def)
    chosen = signatures[_chosen(signature, signatures, path)]
    given, said = (
        {name: graph.get_tensor_by_name(each.name) for name, each in sorted(ends.items())}
        for ends in (chosen.inputs, chosen.outputs)
    )

    def answer(inputs):
        return session.run(list(said.values()), dict(zip(given.values(), inputs, strict=True)))

    return {
        "answer": answer,
        "inputs": _specs_of(given),
        "outputs": _specs_of(said),
        "fingerprint": fingerprint,
    }


def _specs_of(ends):
    return {
        plain_name(name): keras.KerasTensor(tuple(each.shape), each.dtype.name)
        for name, each in ends.items()
    }


def _chosen(signature, signatures, path):
    """Return which signature of a file is meant."""
    names = sorted(name for name in signatures if not name.startswith("__"))
    if signature is None and "serving_default" in names:
        return "serving_default"
    if signature is None and len(names) == 1:
        return names[0]
    if signature in names:
        return signature
    raise ValueError(
        f"{path} must have the signature that is asked. It has: {', '.join(names) or 'none'}. "
        f"Received: signature={signature!r}. Name one: "
        "`kd.load_teacher(path, signature=...)`."
    )


def _check_graph(path):
    """Refuse a SavedModel whose graph does more than compute."""
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        written = saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's own.
        raise _unreadable(path, "SavedModel", error) from error
    held = set()
    for graph in (each.graph_def for each in written.meta_graphs):
        nodes = [graph.node, *(function.node_def for function in graph.library.function)]
        held |= {node.op for part in nodes for node in part}
    refused = sorted(each for each in held if _REFUSED.fullmatch(each))
    if refused:
        raise ValueError(
            f"A SavedModel teacher may compute, and do nothing else. Received: {path}, with the "
            f"operations {', '.join(refused)}. Give its answers by `SoftLabels.from_logits`."
        )


def _ends_of(interpreter, path, signature):
    """Return the inputs and outputs of a `.tflite` file by name."""
    signatures = interpreter.get_signature_list()
    if not signatures and signature is None:
        return tuple(
            {each["name"]: each for each in details}
            for details in (interpreter.get_input_details(), interpreter.get_output_details())
        )
    runner = interpreter.get_signature_runner(_chosen(signature, signatures, path))
    return dict(runner.get_input_details()), dict(runner.get_output_details())


def _as_held(array, tensor):
    scale, zero_point = tensor["quantization"]
    if not scale or array.dtype == np.uint8:
        return array.astype(tensor["dtype"])
    limits = np.iinfo(tensor["dtype"])
    held = np.clip(np.round(array / scale) + zero_point, limits.min, limits.max)
    return held.astype(tensor["dtype"])


def _as_real(array, tensor):
    scale, zero_point = tensor["quantization"]
    return np.float32(scale) * (array.astype("float32") - zero_point) if scale else array


def _in_batches(run, batch_size):
    """Return a function that asks about any number of examples, whatever number the file takes.

    Of any number a few at a time: a runtime may keep a thousand times the size of what it is given.
    """

    def answer(inputs):
        count, parts = len(inputs[0]), []
        if batch_size is None and count <= _MOST_AT_ONCE:
            return run(inputs)
        size = batch_size or _MOST_AT_ONCE
        for start in range(0, count, size):
            some = [array[start : start + size] for array in inputs]
            missing = batch_size - len(some[0]) if batch_size else 0
            if missing:
                some = [np.concatenate([array, array[:1].repeat(missing, 0)]) for array in some]
            parts.append(run(some))
        return [np.concatenate(arrays)[:count] for arrays in zip(*parts, strict=True)]

    return answer


def _batch_size(shapes):
    """Return how many examples a file takes at once, `None` for any number."""
    sizes = {shape[0] for shape in shapes if len(shape)}
    fixed = [int(size) for size in sizes if isinstance(size, (int, np.integer)) and size > 0]
    return fixed[0] if fixed else None


def _shape_of(sizes):
    """Return a shape with `None` where it is free: a name, or below 0."""
    return tuple(
        int(size) if isinstance(size, (int, np.integer)) and size > 0 else None for size in sizes
    )


def _spec(shape, dtype, first):
    if first:
        shape = (shape[0], *shape[2:], shape[1])
    # Whatever number of examples the file takes at once, it is asked as often as is needed.
    return keras.KerasTensor((None, *shape[1:]), dtype)


def _dtype_of(kind, path):
    """Return the dtype of an ONNX type such as `tensor(float)`."""
    inner = kind.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(inner, inner)
    if not kind.startswith("tensor(") or dtype == "string":
        raise ValueError(
            f"An ONNX teacher must take and return tensors of numbers. Received: {path}, with "
            f"{kind}. For an estimator, convert it with `zipmap=False`."
        )
    return dtype


def _colours_first(images):
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


def _colours_last(images):
    return np.moveaxis(images, 1, -1)


def _digest_of_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path, kind, error):
    return ValueError(
        f"The teacher must be a whole {kind} that its runtime reads. Received: {path}: "
        f"{type(error).__name__}: {first_sentence(error)[:200]}. Write it again, or with an older "
        "version of its format."
    )
