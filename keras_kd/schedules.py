"""Temperatures and weights that change while training, as functions of the training step.

They are Keras learning-rate schedules, so any of `keras.optimizers.schedules` serves as well. The
step is the optimizer's, which is saved with it: a resumed run goes on where the schedule was, and
nothing is traced again.
"""

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import check_integer
from keras_kd._common.reprs import call_of_configured
from keras_kd._common.surface import only
from keras_kd._common.typing import Config

__all__ = ["Cosine", "Linear"]

__dir__ = only(__all__)


@keras.saving.register_keras_serializable(package="keras_kd")
class Linear(keras.optimizers.schedules.LearningRateSchedule):
    """From `start` to `end` on a straight line over `steps`, then `end`.

    `Linear(0.0, 8.0, steps=20 * steps_per_epoch)` is a warm-up of 20 epochs.

    Args:
        start: value at step 0.
        end: value from step `steps` on.
        steps: training steps from one to the other, at least 1.

    Example:

    ```python
    import keras_kd as kd

    alpha = kd.schedules.Linear(1.0, 0.5, steps=100)
    assert float(alpha(50)) == 0.75 and float(alpha(1000)) == 0.5
    ```
    """

    def __init__(self, start: float, end: float, *, steps: int):
        check_integer("steps", steps, minimum=1)
        self.start, self.end, self.steps = float(start), float(end), steps

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        return self.start + (self.end - self.start) * self._shape(self._share_done(step))

    def get_config(self) -> Config:
        return {"start": self.start, "end": self.end, "steps": self.steps}

    def __repr__(self):
        return call_of_configured(self)

    def _share_done(self, step):
        return ops.clip(ops.cast(step, "float32") / self.steps, 0.0, 1.0)

    def _shape(self, share):
        return share


@keras.saving.register_keras_serializable(package="keras_kd")
class Cosine(Linear):
    """From `start` to `end` on half a cosine over `steps`, then `end`: gently at both ends.

    Args:
        start: value at step 0.
        end: value from step `steps` on.
        steps: training steps from one to the other, at least 1.
    """

    def _shape(self, share):
        return (1.0 - ops.cos(share * 3.141592653589793)) / 2.0
