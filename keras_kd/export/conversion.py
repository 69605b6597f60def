"""From a Keras model to the bytes of a `.tflite` file."""

import contextlib
import tempfile
import warnings
from pathlib import Path

import tensorflow as tf

from keras_kd._backend import quiet_native_stderr
from keras_kd.export.runner import SIGNATURE
from keras_kd.export.saved_model import write_serving
from keras_kd.quantize import weight_bits

_Ops = tf.lite.OpsSet
# What the file may consist of, and what it takes and returns.
INTEGER = {
    "int8": (_Ops.TFLITE_BUILTINS_INT8, tf.int8, tf.int8),
    "int8_uint8_input": (_Ops.TFLITE_BUILTINS_INT8, tf.uint8, tf.int8),
    "16x8": (
        _Ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        tf.int16,
        tf.int16,
    ),
}


def convert(model, quantization, images, batch_size):
    """Return the bytes of a `.tflite` file.

    Args:
        model: a `keras.Model` in float32, or a model of `quantize.prepare`.
        quantization: as in `litert`.
        images: float32 `[n, ...]`, from which an integer file learns its ranges.
        batch_size: images a call, or `None` for any number.

    Raises:
        ValueError: if LiteRT has no builtin operation for a part of the model.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        quiet_native_stderr(),
        _converter_warnings_ignored(),
    ):
        serving = Path(folder) / "serving"
        write_serving(model, serving, batch_size=batch_size)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(serving), signature_keys=[SIGNATURE]
        )
        if weight_bits(model):
            _configure_twin(converter, quantization)
        else:
            _configure(converter, quantization, images)
        failure = None
        try:
            content = converter.convert()
        except Exception as error:  # The converter's own class is private.
            failure = error
    if failure is not None:  # Out here, where what the converter said besides is held back.
        raise ValueError(
            f"The model {model.name} must consist of LiteRT's builtin operations"
            f"{f' for {quantization}' if quantization in INTEGER else ''}. "
            f"Received: {str(failure).strip().splitlines()[0]}"
        ) from failure
    if quantization == "int4" and not weight_bits(model):
        content = _with_int4_weights(content)
    return _without_notes(content)


def _configure(converter, quantization, images):
    # Without this line TensorFlow operations pass that a phone's runtime may not have.
    converter.target_spec.supported_ops = [_Ops.TFLITE_BUILTINS]
    if quantization in (None, "int4"):  # int4 is made of the float32 file.
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantization in INTEGER:
        operations, image_type, logits_type = INTEGER[quantization]
        converter.target_spec.supported_ops = [operations]
        converter.inference_input_type = image_type
        converter.inference_output_type = logits_type
        converter.representative_dataset = lambda: ({"image": image[None]} for image in images)


def _configure_twin(converter, quantization):
    """The ranges stand in the model; so do its float layers, which need float operations."""
    converter.target_spec.supported_ops = [_Ops.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    _, image_type, logits_type = INTEGER.get(quantization, INTEGER["int8"])
    converter.inference_input_type = image_type
    converter.inference_output_type = logits_type


def _with_int4_weights(float32_file):
    from ai_edge_quantizer import quantizer, recipe

    worker = quantizer.Quantizer(float32_file, recipe.dynamic_wi4_afp32())
    return bytes(worker.quantize(enable_progress_report=False).quantized_model)


def _without_notes(content):
    """Return a file less what no runtime reads: names of inner tensors, how it was converted.

    In a small model they weigh: 0.7 KB, beside 20 KB of int8 weights. The names of the
    signature and of its ends stay.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    model.description = None
    for subgraph in model.subgraphs:
        subgraph.name = None
        for tensor in subgraph.tensors:
            tensor.name = None
    notes = model.metadata or []
    model.metadata = [note for note in notes if note.name != b"CONVERSION_METADATA"]
    _leave_out_unused_buffers(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


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
