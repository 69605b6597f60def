"""Short names for the hints of public signatures."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Tensor = tf.Tensor | np.ndarray
# A tensor, or a list or dict of some: whatever Keras's `fit` takes as `x` or `y`.
Structure = Any
# With `None` where it is free.
Shape = tuple[int | None, ...]
# A number, or one that changes by training step.
Schedule = float | keras.optimizers.schedules.LearningRateSchedule
PathLike = str | os.PathLike[str]
# What Keras serialises, and JSON holds.
Config = dict[str, Any]
