"""Layers that compute in float32 what an integer file computes, and pass gradients straight on."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# A channel of zeros would have steps of size zero.
_SMALLEST_RANGE = 1e-6
_SMALLEST_UNIT = 1e-12


def symmetric(kernel, num_bits):
    """Return a kernel on the grid that its integers make: one scale a channel, zero point 0.

        scale = max |kernel| / (2^(num_bits - 1) - 1)
        symmetric(kernel) = scale * round(kernel / scale)

    The gradient passes as if nothing had been rounded (straight-through).

    Args:
        kernel: float32 `[..., channels]`.
        num_bits: 4 or 8.

    References:
        B. Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, 2018, section 3.
    """
    highest = _highest(kernel, axis=list(range(len(kernel.shape) - 1)))
    # TensorFlow's own operation, since LiteRT's converter makes integers of nothing else.
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -highest, highest, num_bits=num_bits, narrow_range=True
    )


def symmetric_depthwise(kernel, num_bits):
    """Return `symmetric` of a kernel whose channels are its last two axes."""
    return ops.reshape(symmetric(_flat_channels(kernel), num_bits), kernel.shape)


def symmetric_whole(kernel):
    """Return a kernel on the grid of its integers of 8 bits: one scale for all of it."""
    highest = _highest(kernel, axis=None)
    return tf.quantization.fake_quant_with_min_max_vars(
        kernel, -highest, highest, num_bits=8, narrow_range=True
    )


def _flat_channels(kernel):
    *window, channels, multiplier = kernel.shape
    return ops.reshape(kernel, (*window, channels * multiplier))


def _highest(kernel, axis):
    return ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), axis=axis), _SMALLEST_RANGE))


def rounded_bias(bias, step, highest, num_bits):
    """Return a bias as the file's 32-bit integers have it: a multiple of what a product steps by.

        unit = step * highest / (2^(num_bits - 1) - 1)
        rounded_bias(bias) = unit * round(bias / unit)

    It matters where few products make a sum, and with 4 bits. The gradient passes straight on.

    Args:
        bias: float32 `[channels]`.
        step: between two values of what the kernel is multiplied with, a scalar.
        highest: of the kernel's weights, of each channel or of all.
        num_bits: of the kernel, 4 or 8.

    References:
        B. Jacob et al., 2018, section 2.4, eq. 11.
    """
    # A step of 0, of a range that is not known yet, leaves the bias as it is.
    unit = ops.maximum(step * highest / (2 ** (num_bits - 1) - 1), _SMALLEST_UNIT)
    return bias + ops.stop_gradient(unit * ops.round(bias / unit) - bias)


def _row(inputs, layer):
    """Return a sequence as an image of one row, with what `layer` pads of the past before it."""
    row = ops.reshape(inputs, (-1, 1, *inputs.shape[1:]))
    if layer.padding != "causal":
        return row
    past = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
    return ops.pad(row, ((0, 0), (0, 0), (past, 0), (0, 0)))


def _padding(layer):
    return "valid" if layer.padding == "causal" else layer.padding


@tf.custom_gradient
def on_learned_grid(inputs, low, high):
    """Return values on the grid of 256 values from `low` to `high`, both of which get a gradient.

        step = (high - low) / 255
        y = step * clip(round(x / step), low / step, high / step)

        dy/dx    = 1 inside, 0 outside
        dy/dstep = round(x / step) - x / step inside, so that
        dy/dhigh = dy/dstep / 255 inside, 1 above, 0 below
        dy/dlow  = -dy/dstep / 255 inside, 0 above, 1 below

    An end thus weighs what it cuts off against how coarse it makes the rest.

    NOTE: without the factor `1 / sqrt(N Q)` of the paper's section 2.2, which an optimizer that
    divides by the gradient's size, such as Adam, divides away.

    Args:
        inputs: float32, of any shape.
        low: at most 0, a scalar.
        high: above 0, a scalar.

    References:
        S. K. Esser et al., Learned Step Size Quantization, 2020, section 2.1.
        Y. Bhalgat et al., LSQ+: Improving low-bit quantization through learnable offsets and better
        initialization, 2020, section 3.1 (grids that are not symmetric).
    """
    outputs = tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)

    def gradient(upstream):
        step = (high - low) / 255
        # Where the grid ends, once it is moved to hold zero.
        lowest = -step * ops.clip(ops.round(-low / step), 0, 255)
        above, below = inputs > lowest + 255 * step, inputs < lowest
        inside = ops.logical_not(ops.logical_or(above, below))
        by_step = ops.where(inside, (outputs - inputs) / step, 0.0) / 255
        return (
            ops.where(inside, upstream, 0.0),
            ops.sum(upstream * (ops.cast(below, "float32") - by_step)),
            ops.sum(upstream * (ops.cast(above, "float32") + by_step)),
        )

    return outputs, gradient


@keras.saving.register_keras_serializable(package="keras_kd")
class ActivationRange(keras.layers.Layer):
    """Puts activations on the grid of 256 values between two ends; zero is one of the values.

    The ends follow the batches in training, as a moving average of their lowest and highest
    value; the first batch sets them. Or they are trained, as weights, from where calibration set
    them (`on_learned_grid`). Outside of them activations are cut off, and their gradient is zero.

    Args:
        low, high: fixed ends, for what is known in advance (pixels); by default they move.
        momentum: share of the old ends that a batch leaves, from 0 to below 1.
        learned: whether ends that are not fixed are trained instead.
        **kwargs: as in `keras.layers.Layer`.

    Raises:
        ValueError: if it is asked for a prediction before it has seen data.

    References:
        B. Jacob et al., 2018, section 3.1.
    """

    def __init__(self, low=None, high=None, momentum=0.99, learned=False, **kwargs):
        super().__init__(**kwargs)
        self.low, self.high, self.momentum, self.learned = low, high, momentum, learned
        self.observing = False
        self.supports_masking = True

    def build(self, input_shape):
        low, high = self._given_ends()
        self.lowest = self._end("lowest", low, lambda end: ops.minimum(end, 0.0))
        self.highest = self._end("highest", high, lambda end: ops.maximum(end, _SMALLEST_RANGE))

    def call(self, inputs, training=None, follow=True, only_step=False):
        """Return the nearest values on the grid.

        Args:
            inputs: float32, one tensor or a list of them, which then share the grid.
            training: as in Keras.
            follow: whether `inputs` are what the ends follow in training; `False` where the layer
                is called again, on what must lie on the same grid.
            only_step: whether to return the distance of two values of the grid instead, a scalar.
        """
        if only_step:
            is_given = self.low is not None
            low, high = self._given_ends() if is_given else (self.lowest, self.highest)
            return ops.convert_to_tensor((high - low) / 255)
        if self.low is not None:  # What is known is no weight's to say, whatever sets it.
            return self._on_grid(inputs, *self._given_ends())
        low, high = ops.convert_to_tensor(self.lowest), ops.convert_to_tensor(self.highest)
        follows = self.observing or (training and not self.learned)
        if follow and follows:
            low, high = self._follow(keras.tree.flatten(inputs), low, high)
        elif not self._is_known():
            raise ValueError(
                f"{self.name} knows no range before it has seen data. Train the model first, or "
                "pass `calibration` to `quantize.prepare`."
            )
        if self.learned and training:
            # A custom gradient takes values, not variables.
            low, high = tf.convert_to_tensor(low), tf.convert_to_tensor(high)
            return keras.tree.map_structure(lambda x: on_learned_grid(x, low, high), inputs)
        return self._on_grid(inputs, low, high)

    def compute_output_spec(self, inputs, training=None, follow=True, only_step=False):
        if only_step:
            return keras.KerasTensor((), "float32")
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), inputs)

    def get_config(self):
        own = ("low", "high", "momentum", "learned")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}

    def _given_ends(self):
        # Zero is always on the grid: it is what padding writes.
        if self.low is None:
            return 0.0, 0.0
        low = min(self.low, 0.0)
        return low, max(self.high, low + _SMALLEST_RANGE, 0.0)

    def _on_grid(self, inputs, low, high):
        return keras.tree.map_structure(
            lambda x: tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=8), inputs
        )

    def _is_trained(self):
        return self.learned and self.low is None

    def _follow(self, tensors, low, high):
        momentum = ops.where(high > low, self.momentum, 0.0)
        # What is infinite (a root of 0) lies on the end that the others give.
        tensors = [ops.where(ops.isfinite(each), each, 0.0) for each in tensors]
        batch_low = ops.min(ops.stack([ops.min(tensor) for tensor in tensors]))
        batch_high = ops.max(ops.stack([ops.max(tensor) for tensor in tensors]))
        low = momentum * low + (1 - momentum) * ops.minimum(ops.stop_gradient(batch_low), 0.0)
        # Above 0 even where all units are dead: a range of size 0 is one that is not known.
        batch_high = ops.maximum(ops.stop_gradient(batch_high), _SMALLEST_RANGE)
        high = momentum * high + (1 - momentum) * batch_high
        self.lowest.assign(low)
        self.highest.assign(high)
        return low, high

    def _is_known(self):
        with tf.init_scope():  # While a graph is traced, the values are those of now.
            return self.highest.numpy() > self.lowest.numpy()

    def _end(self, name, value, constraint):
        return self.add_weight(
            name=name,
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=self._is_trained(),
            constraint=constraint,  # A step of the optimizer may not carry it past zero.
        )


@keras.saving.register_keras_serializable(package="keras_kd")
class Float32(keras.layers.Layer):
    """Passes values on as they are, to a layer that is to compute in float32 in the file too.

    NOTE: by way of float64. LiteRT's converter makes integers of any layer that has them before
    and behind it, unless an operation without integers stands between; the export takes the two
    casts out again.
    """

    def call(self, inputs):
        return ops.cast(ops.cast(inputs, "float64"), inputs.dtype)


@keras.saving.register_keras_serializable(package="keras_kd")
class InverseRoot(keras.layers.Layer):
    """Returns `1 / sqrt(x)`: of a variance, which on a grid may be 0.

    There it is infinite, which the range behind it cuts off, and has no gradient.
    """

    def call(self, inputs, training=None):
        if not training:
            return ops.rsqrt(inputs)
        # Without the inner choice the gradient of what is not chosen would be no number.
        known = ops.where(inputs > 0, inputs, 1.0)
        return ops.where(inputs > 0, ops.rsqrt(known), np.inf)


class _WithIntegerKernel:
    """What the layers below share: the width of their weights, in their configuration."""

    def __init__(self, *args, weight_bits=8, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight_bits = weight_bits

    def get_config(self):
        return {**super().get_config(), "weight_bits": self.weight_bits}

    def _finish(self, outputs, step):
        """Add the bias, as the file has it if the step of the inputs is known, and activate."""
        if self.use_bias:
            bias = self.bias
            if step is not None:
                bias = rounded_bias(bias, step, self._highest(), self.weight_bits)
            outputs = outputs + bias
        return self.activation(outputs)

    def _highest(self):
        """Return the highest weight of each channel, or of all where they share one scale."""
        return _highest(self.kernel, axis=list(range(len(self.kernel.shape) - 1)))


@keras.saving.register_keras_serializable(package="keras_kd")
class IntegerDense(_WithIntegerKernel, keras.layers.Dense):
    """`keras.layers.Dense` on up to two axes of places, with integer weights, one scale a unit.

    NOTE: computed, and written, as a convolution of one pixel: LiteRT's converter takes weights
    with one scale a unit in a convolution only.

    Args:
        *args, **kwargs: as in `keras.layers.Dense`.
        weight_bits: 4 or 8.
    """

    def call(self, inputs, step=None, training=None):
        num_features, units = self.kernel.shape
        kernel = ops.reshape(self.kernel, (1, 1, num_features, units))
        places = tuple(inputs.shape[1:-1])
        height_and_width = (1,) * (2 - len(places)) + places
        pixels = ops.reshape(inputs, (-1, *height_and_width, num_features))
        outputs = ops.conv(pixels, symmetric(kernel, self.weight_bits))
        return self._finish(ops.reshape(outputs, (-1, *places, units)), step)


@keras.saving.register_keras_serializable(package="keras_kd")
class IntegerConv2D(_WithIntegerKernel, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with integer weights, one scale a filter.

    Args:
        *args, **kwargs: as in `keras.layers.Conv2D`.
        weight_bits: 4 or 8.
    """

    def call(self, inputs, step=None):
        outputs = ops.conv(
            inputs,
            symmetric(self.kernel, self.weight_bits),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        return self._finish(outputs, step)


@keras.saving.register_keras_serializable(package="keras_kd")
class IntegerConv1D(_WithIntegerKernel, keras.layers.Conv1D):
    """`keras.layers.Conv1D` with integer weights, one scale a filter: an image of one row.

    Args:
        *args, **kwargs: as in `keras.layers.Conv1D`.
        weight_bits: 4 or 8.
    """

    def call(self, inputs, step=None):
        # The height is 1, so that its stride and its dilation are free; they must be alike.
        outputs = ops.conv(
            _row(inputs, self),
            symmetric(self.kernel[None], self.weight_bits),
            strides=self.strides * 2,
            padding=_padding(self),
            dilation_rate=self.dilation_rate * 2,
        )
        return self._finish(ops.reshape(outputs, (-1, *outputs.shape[2:])), step)


@keras.saving.register_keras_serializable(package="keras_kd")
class IntegerDepthwiseConv1D(_WithIntegerKernel, keras.layers.DepthwiseConv1D):
    """`keras.layers.DepthwiseConv1D` with integer weights, one scale an output channel.

    Args:
        *args, **kwargs: as in `keras.layers.DepthwiseConv1D`.
        weight_bits: 4 or 8.
    """

    def call(self, inputs, step=None):
        outputs = ops.depthwise_conv(
            _row(inputs, self),
            symmetric_depthwise(self.kernel[None], self.weight_bits),
            strides=self.strides * 2,
            padding=_padding(self),
            dilation_rate=self.dilation_rate * 2,
        )
        return self._finish(ops.reshape(outputs, (-1, *outputs.shape[2:])), step)

    def _highest(self):
        return _highest(_flat_channels(self.kernel), axis=list(range(len(self.kernel.shape) - 2)))


@keras.saving.register_keras_serializable(package="keras_kd")
class IntegerDepthwiseConv2D(_WithIntegerKernel, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with integer weights, one scale an output channel.

    Args:
        *args, **kwargs: as in `keras.layers.DepthwiseConv2D`.
        weight_bits: 4 or 8.
    """

    def call(self, inputs, step=None):
        outputs = ops.depthwise_conv(
            inputs,
            symmetric_depthwise(self.kernel, self.weight_bits),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        return self._finish(outputs, step)

    def _highest(self):
        return _highest(_flat_channels(self.kernel), axis=list(range(len(self.kernel.shape) - 2)))


@keras.saving.register_keras_serializable(package="keras_kd")
class IntegerConv2DTranspose(_WithIntegerKernel, keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` with int8 weights, one scale for all.

    NOTE: the filters are not the kernel's last axis, and LiteRT's converter takes scales of no
    other; and it packs no four bits here.

    Args:
        *args, **kwargs: as in `keras.layers.Conv2DTranspose`.
        weight_bits: 8.
    """

    def call(self, inputs, step=None):
        outputs = ops.conv_transpose(
            inputs,
            symmetric_whole(self.kernel),
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
        )
        return self._finish(outputs, step)

    def _highest(self):
        return _highest(self.kernel, axis=None)


@keras.saving.register_keras_serializable(package="keras_kd")
class IntegerEmbedding(_WithIntegerKernel, keras.layers.Embedding):
    """`keras.layers.Embedding` with an int8 table, one scale for all.

    Args:
        *args, **kwargs: as in `keras.layers.Embedding`.
        weight_bits: 8.
    """

    def call(self, inputs):
        # Not `ops.take`, which looks for negative numbers first.
        return tf.gather(symmetric_whole(self.embeddings), ops.cast(inputs, "int32"))
