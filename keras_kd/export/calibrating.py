"""How LiteRT's converter makes an integer file from images; also a program of its own.

    python calibrating.py SERVING SIGNATURE QUANTIZATION INPUTS.npz FILE

The converter learns the ranges by running the model, which may end the process that it runs in:
a model with a loop in it does (a recurrent layer that is not unrolled). The program imports
nothing of keras_kd, so that it starts in the time that TensorFlow takes.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

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


def converter_of(serving, signature):
    """Return LiteRT's converter of a SavedModel's signature."""
    return tf.lite.TFLiteConverter.from_saved_model(str(serving), signature_keys=[signature])


def configure(converter, quantization, inputs):
    """Have a converter make integers of everything, with the ranges that it sees.

    Args:
        converter: a `tf.lite.TFLiteConverter`.
        quantization: one of `INTEGER`.
        inputs: arrays `[n, ...]` by name; the file takes integers (numbers of words) as they are.
    """
    operations, image_type, logits_type = INTEGER[quantization]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [operations]
    converter.inference_input_type = image_type
    converter.inference_output_type = logits_type
    count = len(next(iter(inputs.values())))
    converter.representative_dataset = lambda: (
        {name: array[number : number + 1] for name, array in inputs.items()}
        for number in range(count)
    )


def _main(serving, signature, quantization, inputs_path, path):
    converter = converter_of(serving, signature)
    with np.load(inputs_path) as file:
        configure(converter, quantization, dict(file))
    Path(path).write_bytes(converter.convert())


if __name__ == "__main__":
    _main(*sys.argv[1:])
