"""A teacher and data of one's own: distilled, measured, in one call."""

from keras_kd.own_data.distilling import distill
from keras_kd.own_data.result import Result

__all__ = ["Result", "distill"]
