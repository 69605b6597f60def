"""From a Keras model to the bytes of a `.tflite` file."""

import contextlib
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
from keras_kd.export.mending import mended
from keras_kd.export.runner import SIGNATURE
from keras_kd.export.saved_model import write_serving
from keras_kd.quantize import weight_bits

_LOOPS = ("While", "StatelessWhile")
# On what they return of 0 the converter ends its process.
_MAYBE_INFINITE = ("Log", "Log1p", "Pow", "Reciprocal")
_SPLITS = ("Split", "SplitV")
_WHAT_ENDS_IT = {
    _LOOPS: "a loop, on which its converter ended with {ended}. A recurrent layer (LSTM, GRU, "
    "SimpleRNN) has none if it is built with `unroll=True`, and takes the same weights",
    _MAYBE_INFINITE: "a logarithm, a power or a reciprocal, which may be infinite, on which its "
    "converter ended with {ended}. Keep what it takes from 0, as in `log(x + 1e-3)`, or distil "
    "the model as integers (`quantize.prepare`)",
}


def convert(model, quantization, inputs, batch_size, input_range):
    """Return the bytes of a `.tflite` file.

    Args:
        model: a `keras.Model` in float32, or a model of `quantize.prepare`.
        quantization: as in `litert`.
        inputs: arrays `[n, ...]` by name, from which an integer file learns its ranges.
        batch_size: examples a call, or `None` for any number.
        input_range: lowest and highest number that the model expects.

    Raises:
        ValueError: if LiteRT has no builtin operation for a part of the model, or its converter
            cannot calibrate it.
    """
    is_twin = weight_bits(model) is not None
    dtype = "float32"
    if len(inputs) == 1 and (is_twin or quantization in INTEGER):
        # Numbers of words as they are: a scale of 256 values would make other words of most.
        dtype = "int32" if vocabularies(model) else "float32"
        inputs = {"image": inputs["image"].astype(dtype)}
        if model.inputs[0].dtype != dtype:
            model = taking(model, dtype)
    with (
        tempfile.TemporaryDirectory() as folder,
        quiet_native_stderr(),
        _converter_warnings_ignored(),
    ):
        serving = Path(folder) / "serving"
        graph = write_serving(model, serving, batch_size=batch_size, dtype=dtype)
        dangers = [each for each in (_LOOPS, _MAYBE_INFINITE) if _has(each, graph)]
        if quantization in INTEGER and not is_twin and dangers:
            content, failure = _converted_apart(serving, quantization, inputs, dangers[0])
        else:
            converter = calibrating.converter_of(serving, SIGNATURE)
            if is_twin:
                _configure_twin(converter, quantization)
            else:
                _configure(converter, quantization, inputs)
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
    return mended(content, input_range if is_bytes else None)


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


def _converted_apart(serving, quantization, inputs, danger):
    """Calibrate and convert in a process of its own; return the bytes, or why there are none."""
    inputs_file, path = serving.with_name("inputs.npz"), serving.with_name("file.tflite")
    np.savez(inputs_file, **inputs)
    # -P: the folder of calibrating.py, which has an `onnx.py`, is no place to import from.
    command = [sys.executable, "-P", calibrating.__file__, serving, SIGNATURE, quantization]
    run = subprocess.run([*command, inputs_file, path], capture_output=True, text=True)
    if run.returncode == 0:
        return path.read_bytes(), None
    said = (run.stderr.strip().splitlines() or ["nothing"])[-1]
    ended = f"signal {-run.returncode}" if run.returncode < 0 else said
    return None, RuntimeError(_WHAT_ENDS_IT[danger].format(ended=ended))


def _configure(converter, quantization, inputs):
    # Without this line TensorFlow operations pass that a phone's runtime may not have.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantization in (None, "int4"):  # int4 is made of the float32 file.
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantization in INTEGER:
        calibrating.configure(converter, quantization, inputs)


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


@contextlib.contextmanager
def _converter_warnings_ignored():
    with warnings.catch_warnings():
        # The converter calibrates with an interpreter that TensorFlow itself calls deprecated.
        warnings.filterwarnings("ignore", message=r"[\s\S]*tf\.lite\.Interpreter is deprecated")
        yield
