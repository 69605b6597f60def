"""A `keras.Model` as files for other runtimes, each executed before it is called good."""

from keras_kd.export.litert import LiteRTRun, litert, run_litert
from keras_kd.export.saved_model import saved_model, uncompiled

__all__ = ["LiteRTRun", "litert", "run_litert", "saved_model", "uncompiled"]
