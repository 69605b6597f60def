"""What our models share: normalisation inside, logits out, convolutions with BatchNorm."""

import keras
import numpy as np

from keras_kd._common.checks import ArgumentError, check_integer


def normalized_image(image_shape, mean, std):
    """Return the input named `image` and its pixels as `(image / 255 - mean) / std`."""
    image = keras.Input(tuple(image_shape), name="image")
    scale = 1 / (255 * std)
    return image, keras.layers.Rescaling(scale, offset=-mean / std, name="normalize")(image)


def standardized_input(input_shape, mean, std):
    """Return the input named `inputs` and its numbers as `(inputs - mean) / std`.

    Args:
        input_shape: shape of one example.
        mean: a number, or one a feature (the last axis).
        std: the same.
    """
    inputs = keras.Input(tuple(input_shape), name="inputs")
    mean, std = np.asarray(mean, "float64"), np.asarray(std, "float64")
    # Lists, which a configuration in JSON holds to the last bit.
    scale, offset = (1 / std).tolist(), (-mean / std).tolist()
    return inputs, keras.layers.Rescaling(scale, offset=offset, name="normalize")(inputs)


def check_widths(name, widths):
    """Refuse what is no list of channels or units.

    Raises:
        ArgumentError: in one sentence.
    """
    if not isinstance(widths, (list, tuple, np.ndarray)):
        raise ArgumentError(f"`{name}` must be a list, such as [16, 32]. Received: {widths!r}.")
    for width in widths:
        check_integer(name, width, minimum=1)


def logits_model(image, features, num_classes, name):
    """Return the model from `image` to a dense layer named `logits` on `features`."""
    # float32 under any dtype policy: a softmax over half-precision logits loses what it weighs.
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(features)
    return keras.Model(image, logits, name=name)


def normed_convolution(x, channels, size, strides, name, activation="relu"):
    """Return a convolution of `x` with BatchNormalization and, if any, an activation."""
    x = keras.layers.Conv2D(
        channels,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
    return x if activation is None else keras.layers.Activation(activation, name=name)(x)
