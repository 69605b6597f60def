"""Keeps a student from learning of a teacher whose outputs are not finite."""

import tensorflow as tf
from keras import ops

from keras_kd._common.backend import is_distributed

NOT_FINITE = "NaN or infinity"


class FiniteGuard:
    """Lets a training step update its weights while the teacher's outputs are finite.

    The first step in which they are not updates nothing, nor does any after it, until `fit` ends
    at the end of the batch or of the stack and names it.
    """

    def __init__(self):
        # The step whose teacher outputs were not finite, -1 while there is none.
        self._bad_step = tf.Variable(-1, dtype=tf.int64, trainable=False)

    def reset(self):
        """Forget what was before this training."""
        self._bad_step.assign(-1)

    def allows(self, teacher):
        """Return whether a teacher's outputs are finite and were before; `None` if nobody must ask.

        Args:
            teacher: `TeacherOutputs`, or `None`.
        """
        # Under a strategy an update cannot be conditional; see `ask_teacher`.
        if teacher is None or not teacher.outputs or teacher.finite or is_distributed():
            return None
        good = self._bad_step < 0
        for outputs in teacher.outputs.values():
            good = ops.all(ops.isfinite(outputs)) & good
        return good

    def update(self, apply, teacher, step):
        """Call `apply`, unless the teacher's outputs are not finite or were not before.

        Args:
            apply: moves the weights.
            teacher: `TeacherOutputs`, or `None`.
            step: number of this step.
        """
        good = self.allows(teacher)
        if good is None:
            apply()
            return
        step = tf.cast(step, tf.int64)
        first_bad = tf.where(self._bad_step < 0, step, self._bad_step)

        def applied():
            apply()
            return self._bad_step.read_value()

        tf.cond(good, applied, lambda: self._bad_step.assign(first_bad))

    def raise_if_failed(self, since):
        """Raise if the teacher's outputs were not finite in a training step.

        Args:
            since: the optimizer's step that batches are counted from.

        Raises:
            ValueError: naming the batch.
        """
        bad_step = int(self._bad_step.numpy())
        if bad_step >= 0:
            raise ValueError(
                f"The teacher's logits must be finite. Received: {NOT_FINITE} "
                f"for batch {bad_step - since}, on which nothing was trained. Look at those "
                "images, or at the teacher's normalisation."
            )
