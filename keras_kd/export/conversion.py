"""From a Keras model to the bytes of a `.tflite` file."""

import contextlib
import copy
import gc
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_kd._common.backend import quiet_native_stderr
from keras_kd._common.inputs import taking, vocabularies
from keras_kd.export import calibrating
from keras_kd.export.calibrating import INTEGER
from keras_kd.export.runner import SIGNATURE
from keras_kd.export.saved_model import write_serving
from keras_kd.quantize import weight_bits

_LOOPS = ("While", "StatelessWhile")
_SPLITS = ("Split", "SplitV")
_FULLY_CONNECTED = 9  # In LiteRT's schema.


def convert(model, quantization, images, batch_size, input_range):
    """Return the bytes of a `.tflite` file.

    Args:
        model: a `keras.Model` in float32, or a model of `quantize.prepare`.
        quantization: as in `litert`.
        images: float32 `[n, ...]`, from which an integer file learns its ranges.
        batch_size: images a call, or `None` for any number.
        input_range: lowest and highest number that the model expects.

    Raises:
        ValueError: if LiteRT has no builtin operation for a part of the model, or its converter
            cannot calibrate it.
    """
    is_twin = weight_bits(model) is not None
    dtype = "float32"
    if is_twin or quantization in INTEGER:
        # Numbers of words as they are: a scale of 256 values would make other words of most.
        dtype = "int32" if vocabularies(model) else "float32"
        images = images.astype(dtype)
        if model.inputs[0].dtype != dtype:
            model = taking(model, dtype)
    with (
        tempfile.TemporaryDirectory() as folder,
        quiet_native_stderr(),
        _converter_warnings_ignored(),
    ):
        serving = Path(folder) / "serving"
        graph = write_serving(model, serving, batch_size=batch_size, dtype=dtype)
        if quantization in INTEGER and not is_twin and _has(_LOOPS, graph):
            content, failure = _converted_apart(serving, quantization, images)
        else:
            converter = calibrating.converter_of(serving, SIGNATURE)
            if is_twin:
                _configure_twin(converter, quantization)
            else:
                _configure(converter, quantization, images)
                # NOTE: by chance, the newer of two quantisers leaves a split, such as a GRU has in
                # every step, in float32.
                if quantization in INTEGER and _has(_SPLITS, graph):
                    converter.experimental_new_quantizer = False
            content = failure = None
            try:
                with _old_objects_at_rest():
                    content = converter.convert()
            except Exception as error:  # The converter's own class is private.
                failure = error
    if failure is not None:  # Out here, where what the converter said besides is held back.
        raise ValueError(
            f"The model {model.name} must consist of LiteRT's builtin operations"
            f"{f' for {quantization}' if quantization in INTEGER else ''}. "
            f"Received: {str(failure).strip().splitlines()[0]}"
        ) from failure
    if quantization == "int4" and not is_twin:
        content = _with_int4_weights(content)
    is_bytes = quantization == "int8_uint8_input" and not vocabularies(model)
    return _as_written(content, input_range if is_bytes else None)


@contextlib.contextmanager
def _old_objects_at_rest():
    """Keep the converter's own collection from what was there before, which takes as long as it."""
    if gc.get_freeze_count():  # Somebody else's, who wants them to stay so.
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _has(operations, graph):
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    return any(node.op in operations for nodes in bodies for node in nodes)


def _converted_apart(serving, quantization, images):
    """Calibrate and convert in a process of its own; return the bytes, or why there are none."""
    images_file, path = serving.with_name("images.npy"), serving.with_name("file.tflite")
    np.save(images_file, images)
    # -P: the folder of calibrating.py, which has an `onnx.py`, is no place to import from.
    command = [sys.executable, "-P", calibrating.__file__, serving, SIGNATURE, quantization]
    run = subprocess.run([*command, images_file, path], capture_output=True, text=True)
    if run.returncode == 0:
        return path.read_bytes(), None
    said = (run.stderr.strip().splitlines() or ["nothing"])[-1]
    ended = f"signal {-run.returncode}" if run.returncode < 0 else said
    return None, RuntimeError(
        f"a loop, on which its converter ended with {ended}. A recurrent layer (LSTM, GRU, "
        "SimpleRNN) has none if it is built with `unroll=True`, and takes the same weights"
    )


def _configure(converter, quantization, images):
    # Without this line TensorFlow operations pass that a phone's runtime may not have.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantization in (None, "int4"):  # int4 is made of the float32 file.
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantization in INTEGER:
        calibrating.configure(converter, quantization, images)


def _configure_twin(converter, quantization):
    """The ranges stand in the model; so do its float layers, which need float operations."""
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    _, image_type, logits_type = INTEGER.get(quantization, INTEGER["int8"])
    converter.inference_input_type = image_type
    converter.inference_output_type = logits_type


def _with_int4_weights(float32_file):
    from ai_edge_quantizer import quantizer, recipe

    worker = quantizer.Quantizer(float32_file, recipe.dynamic_wi4_afp32())
    return bytes(worker.quantize(enable_progress_report=False).quantized_model)


def _as_written(content, byte_range):
    """Return the converter's file with right biases, and without notes.

    Args:
        content: the file.
        byte_range: what the bytes 0 and 255 stand for, if the file takes a camera's bytes.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for subgraph in model.subgraphs:
        _give_biases_of_their_own(model, subgraph)
        if byte_range is not None:
            _take_bytes_as_they_are(subgraph, byte_range)
    _leave_out_notes(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _take_bytes_as_they_are(subgraph, byte_range):
    """Have an image's bytes mean the same pixels, however bright the calibration images were.

    The first operation of the file brings them to the steps that it computes in.
    """
    image = subgraph.tensors[subgraph.inputs[0]]
    low, high = byte_range
    scale = (high - low) / 255
    if not np.allclose(_scale(image), scale, rtol=1e-3, atol=0):
        image.quantization = copy.copy(image.quantization)
        image.quantization.scale = np.asarray([scale], "float32")
        image.quantization.zeroPoint = np.asarray([round(-low / scale)], "int64")
        image.quantization.min = image.quantization.max = None


def _give_biases_of_their_own(model, subgraph):
    """Give each matrix product the bias in steps of its own, `scale of inputs * scale of weights`.

    One bias of several products (a GRU has one in each of its unrolled steps) comes out of the
    older of the converter's two quantisers in the steps of the first.
    """
    for operator in subgraph.operators:
        kind = model.operatorCodes[operator.opcodeIndex]
        if max(kind.builtinCode, kind.deprecatedBuiltinCode) != _FULLY_CONNECTED:
            continue
        inputs, weights, bias = (subgraph.tensors[each] for each in operator.inputs[:3])
        if operator.inputs[2] == -1 or not _scale(bias).size:
            continue
        scale = (_scale(inputs) * _scale(weights)).astype("float32")
        if np.allclose(scale, _scale(bias), rtol=1e-3, atol=0):
            continue
        dtype = {2: "int32", 4: "int64"}[bias.type]
        old = np.frombuffer(bytes(model.buffers[bias.buffer].data), dtype)
        new, buffer = copy.copy(bias), copy.copy(model.buffers[bias.buffer])
        new.quantization = copy.copy(bias.quantization)
        new.quantization.scale = scale
        buffer.data = np.round(old * (_scale(bias) / scale)).astype(dtype).view("uint8")
        new.buffer = len(model.buffers)
        model.buffers.append(buffer)
        operator.inputs = np.asarray(operator.inputs).copy()
        operator.inputs[2] = len(subgraph.tensors)
        subgraph.tensors.append(new)


def _scale(tensor):
    scale = tensor.quantization and tensor.quantization.scale
    return np.asarray([] if scale is None else scale, "float64")


def _leave_out_notes(model):
    """Leave out what no runtime reads: names of inner tensors, how the file was converted.

    In a small model they weigh: 0.7 KB, beside 20 KB of int8 weights. The names of the
    signature and of its ends stay.
    """
    model.description = None
    for subgraph in model.subgraphs:
        subgraph.name = None
        for tensor in subgraph.tensors:
            tensor.name = None
    notes = model.metadata or []
    model.metadata = [note for note in notes if note.name != b"CONVERSION_METADATA"]
    _leave_out_unused_buffers(model)


def _leave_out_unused_buffers(model):
    """Have everything without data share the first buffer, which is there to be empty."""
    buffers, places = [model.buffers[0]], {}
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    for owner in (*tensors, *model.metadata):
        buffer = model.buffers[owner.buffer]
        if buffer.data is None and not buffer.offset:
            owner.buffer = 0
            continue
        if owner.buffer not in places:
            places[owner.buffer] = len(buffers)
            buffers.append(buffer)
        owner.buffer = places[owner.buffer]
    model.buffers = buffers


@contextlib.contextmanager
def _converter_warnings_ignored():
    with warnings.catch_warnings():
        # The converter calibrates with an interpreter that TensorFlow itself calls deprecated.
        warnings.filterwarnings("ignore", message=r"[\s\S]*tf\.lite\.Interpreter is deprecated")
        yield
