"""A local page that runs exported `.tflite` files in the browser, beside their teacher."""

from keras_kd._common.surface import only
from keras_kd.serve.server import serve

__all__ = ["serve"]

__dir__ = only(__all__)
