"""A teacher and data of one's own: checked, distilled, measured, in one call."""

from keras_kd.own_data.checking import check
from keras_kd.own_data.distilling import distill
from keras_kd.own_data.result import Result

__all__ = ["Result", "check", "distill"]
