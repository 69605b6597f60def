"""Plain convolutional net."""

from collections.abc import Sequence

import keras

from keras_kd.models.blocks import (
    check_widths,
    logits_model,
    normalized_image,
    normed_convolution,
)


def conv_net(
    filters: Sequence[int],
    *,
    strides: int = 2,
    batch_norm: bool = False,
    image_shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    mean: float = 0.0,
    std: float = 1.0,
    name: str = "conv_net",
) -> keras.Model:
    """Build a net of 3x3 convolutions with ReLU and one dense layer that returns logits.

    `conv_net([16])` and `conv_net([8])` are teacher and student of the published adversarial
    examples: convolution of stride 2, ReLU, fully connected.

    Args:
        filters: channels of each convolution, for example `[16, 32]`.
        strides: stride of every convolution.
        batch_norm: whether each convolution has BatchNormalization instead of a bias.
        image_shape: shape of one image. The images are raw pixels, 0 to 255.
        num_classes: number of logits.
        mean: subtracted from pixels scaled to 0..1.
        std: divides them afterwards.
        name: name of the model.

    Returns:
        A `keras.Model` from `image` to `logits` of shape `[batch, num_classes]`.

    Example:

    ```python
    import keras_kd as kd

    student = kd.models.conv_net([8])
    assert student.output_shape == (None, 10)
    ```
    """
    check_widths("filters", filters)
    image, x = normalized_image(image_shape, mean, std)
    for number, channels in enumerate(filters, start=1):
        if batch_norm:
            x = normed_convolution(x, channels, 3, strides, f"block_{number}")
            continue
        x = keras.layers.Conv2D(
            channels, 3, strides=strides, padding="same", activation="relu", name=f"conv_{number}"
        )(x)
    x = keras.layers.Flatten(name="flatten")(x)
    return logits_model(image, x, num_classes, name)
