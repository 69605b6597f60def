"""Short names for the hints of public signatures."""

import os
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

Tensor: TypeAlias = tf.Tensor | np.ndarray
# One thing, or a list or dict of some: what Keras's `fit` takes as `x`, its `compile` as `loss`.
Structure: TypeAlias = Any
# With `None` where it is free.
Shape: TypeAlias = tuple[int | None, ...]
# A number, or one that changes by training step.
Schedule: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
PathLike: TypeAlias = str | os.PathLike[str]
# What Keras serialises, and JSON holds.
Config: TypeAlias = dict[str, Any]
