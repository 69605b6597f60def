"""Keras's masks: which steps of a sequence, or examples of a batch, count.

Keras hangs a mask on a tensor, tells it to layers alone, and drops it in every plain operation,
a cast included. So what must read a mask, or hand it on, does it through a layer.
"""

import keras
import tensorflow as tf
from keras import ops


def mask_of(outputs):
    """Return the mask of a tensor, boolean `[batch]` or `[batch, steps]`; `None` if it has none."""
    return _Read()(outputs)


def with_mask(outputs, mask):
    """Return a tensor with this mask; as it is for `None`."""
    return outputs if mask is None else _Write()([outputs, mask])


def without_padding(teacher_features, student_features, mask):
    """Return features of both with zeros in place of padding, for who compares examples whole.

    Args:
        teacher_features: of the student's steps, or one vector an example.
        student_features: `[batch, steps, ...]`.
        mask: the student's, `[batch, steps]`.

    Raises:
        ValueError: if the steps of the two are not the same.
    """
    shapes = tuple(teacher_features.shape), tuple(student_features.shape)
    rank = len(mask.shape)
    vectors = len(shapes[0]) <= rank
    if not vectors and None not in (shapes[0][rank - 1], shapes[1][rank - 1]):
        _check_steps(*shapes, rank)
    teacher_features = ops.convert_to_tensor(teacher_features)
    student_features = _zero_where_padded(student_features, mask)
    return (
        teacher_features if vectors else _zero_where_padded(teacher_features, mask),
        student_features,
    )


def _check_steps(teacher_shape, student_shape, rank):
    if teacher_shape[1:rank] != student_shape[1:rank]:
        raise ValueError(
            "Padded features must have the same steps in teacher and student. Received: teacher "
            f"{teacher_shape} and student {student_shape}. Name layers that return one vector an "
            "example, such as a pooling."
        )


def _zero_where_padded(features, mask):
    missing = len(features.shape) - len(mask.shape)
    mask = ops.reshape(mask, (*ops.shape(mask), *[1] * missing))
    return ops.where(mask, features, ops.zeros_like(features))


class _Read(keras.layers.Layer):
    def __init__(self):
        super().__init__(name="mask_of")
        self.supports_masking = True

    def call(self, outputs, mask=None):
        return mask


class _Write(keras.layers.Layer):
    def __init__(self):
        super().__init__(name="with_mask", autocast=False)
        self.supports_masking = True

    def call(self, inputs):
        return tf.identity(inputs[0])  # A mask is hung on a tensor of its own.

    def compute_mask(self, inputs, previous_mask=None):
        return inputs[1]
