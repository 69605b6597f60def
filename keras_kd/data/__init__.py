"""Data sets: a name or arrays in, train / validation / test out, as raw pixels."""

from keras_kd.data.augmentation import RandomShift
from keras_kd.data.datasets import NAMES, load
from keras_kd.data.idx import read_idx
from keras_kd.data.splits import Data, Split, from_arrays

__all__ = ["NAMES", "Data", "RandomShift", "Split", "from_arrays", "load", "read_idx"]
