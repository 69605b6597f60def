"""How much each channel of a model matters, by its weights or by what the loss says of them."""

import keras
import numpy as np
import tensorflow as tf

from keras_kd.losses import CrossEntropy
from keras_kd.pruning.channels import MAKES


def l1(channels):
    """Return the L1 norm of what makes each channel, by the channel's number.

        score(c) = sum over layers that make c of  sum |filter c| / mean over their filters

    Args:
        channels: the `Channels` of a student.

    References:
        H. Li, A. Kadav, I. Durdanovic, H. Samet, H. P. Graf, Pruning Filters for Efficient
        ConvNets, 2017, section 3.1.
    """
    slots = [slot for slot in channels.slots if slot.role == MAKES]
    return _summed(slots, [np.abs(_array(slot.variable)) for slot in slots])


def taylor(channels, student, batches):
    """Return by how much the loss would rise without each channel, to first order.

        score(c) = sum over weights w of c of (dL/dw * w)^2, divided as in `l1`

    Args:
        channels: the `Channels` of a student.
        student: the `keras.Model`, which returns logits.
        batches: pairs of images and labels; the squares are summed over the batches.

    References:
        P. Molchanov, A. Mallya, S. Tyree, I. Frosio, J. Kautz, Importance Estimation for Neural
        Network Pruning, 2019, equation 8.
    """
    slots = [slot for slot in channels.slots if slot.role == MAKES]
    variables = [slot.variable.value for slot in slots]
    loss, sums = CrossEntropy(), [0.0] * len(slots)
    for images, labels, *_ in batches:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            value = loss(labels, student(images, training=False))
        gradients = tape.gradient(value, variables)
        for number, (slot, gradient) in enumerate(zip(slots, gradients, strict=True)):
            sums[number] = sums[number] + (_array(gradient) * _array(slot.variable)) ** 2
    return _summed(slots, sums)


def _summed(slots, values):
    """Return the sums of values by channel, each layer's with a mean of 1."""
    scores = {}
    for slot, value in zip(slots, values, strict=True):
        others = tuple(each for each in range(value.ndim) if each != slot.axis)
        own = value.sum(others)
        alive = own[own > 0]
        own = own / alive.mean() if alive.size else own
        for number, score in zip(slot.channels.tolist(), own.tolist(), strict=True):
            scores[number] = scores.get(number, 0.0) + score
    return scores


def _array(value):
    return np.asarray(keras.ops.convert_to_numpy(value), "float64")
