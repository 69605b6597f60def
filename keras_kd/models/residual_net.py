"""A small residual net, to teach on a processor."""

from collections.abc import Sequence

import keras

from keras_kd.models.blocks import logits_model, normalized_image, normed_convolution


def residual_net(
    channels: Sequence[int] = (16, 32, 64),
    *,
    dropout: float = 0.3,
    image_shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    mean: float = 0.0,
    std: float = 1.0,
    name: str = "residual_net",
) -> keras.Model:
    """Build a residual net of one convolution and a block for each further stage.

    Every stage after the first halves the size by a 3x3 convolution of stride 2 and adds another
    3x3 convolution to its own input; each has BatchNormalization and ReLU. Then dropout and
    logits. A fifth of the work of `resnet18(0.25)`.

    Args:
        channels: of each stage, at least one.
        dropout: share of the features that is dropped in training, from 0 to below 1.
        image_shape: shape of one image. The images are raw pixels, 0 to 255.
        num_classes: number of logits.
        mean: subtracted from pixels scaled to 0..1.
        std: divides them afterwards.
        name: name of the model.

    Returns:
        A `keras.Model` from `image` to `logits` of shape `[batch, num_classes]`.

    Raises:
        ValueError: if there is no stage.

    Example:

    ```python
    import keras_kd as kd

    teacher = kd.models.residual_net([16, 32, 64])
    assert teacher.output_shape == (None, 10)
    ```
    """
    if not channels:
        raise ValueError(f"`channels` must name at least one stage. Received: {channels!r}.")
    image, x = normalized_image(image_shape, mean, std)
    x = normed_convolution(x, channels[0], 3, 1, "stage_1")
    for stage, count in enumerate(channels[1:], start=2):
        x = normed_convolution(x, count, 3, 2, f"stage_{stage}")
        more = normed_convolution(x, count, 3, 1, f"stage_{stage}_block")
        x = keras.layers.Add(name=f"stage_{stage}_add")([x, more])
    x = keras.layers.Dropout(dropout, name="dropout")(keras.layers.Flatten(name="flatten")(x))
    return logits_model(image, x, num_classes, name)
