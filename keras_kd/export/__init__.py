"""A `keras.Model` as files for other runtimes, each executed before it is called good."""

from keras_kd._common.surface import only
from keras_kd.export.litert import QUANTIZATIONS, LiteRTRun, litert, run_litert
from keras_kd.export.metadata import embedded
from keras_kd.export.onnx import onnx
from keras_kd.export.proof import FORMATS, export
from keras_kd.export.saved_model import saved_model, uncompiled

__all__ = [
    "FORMATS",
    "QUANTIZATIONS",
    "LiteRTRun",
    "embedded",
    "export",
    "litert",
    "onnx",
    "run_litert",
    "saved_model",
    "uncompiled",
]

__dir__ = only(__all__)
