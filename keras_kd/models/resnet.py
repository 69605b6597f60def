"""ResNet-18, at any width."""

from collections.abc import Sequence

import keras

from keras_kd.models.blocks import logits_model, normalized_image, normed_convolution

# Up to this many pixels a side the first layers keep the size, as is usual for CIFAR.
_SMALL = 64


def resnet18(
    width: float = 1.0,
    *,
    image_shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    mean: float = 0.0,
    std: float = 1.0,
    name: str = "resnet18",
) -> keras.Model:
    """Build ResNet-18, its channels times `width`.

    Four stages of two basic blocks with 64, 128, 256 and 512 channels, the mean over places,
    logits. Images of up to 64 pixels a side enter by one 3x3 convolution of stride 1 (the usual
    stem for CIFAR: 11,173,962 parameters to train at width 1); larger ones by the 7x7
    convolution and pooling of the paper, an eighth of the work.

    Args:
        width: above 0; each layer keeps at least one channel.
        image_shape: shape of one image. The images are raw pixels, 0 to 255.
        num_classes: number of logits.
        mean: subtracted from pixels scaled to 0..1.
        std: divides them afterwards.
        name: name of the model.

    Returns:
        A `keras.Model` from `image` to `logits` of shape `[batch, num_classes]`.

    Raises:
        ValueError: if `width` is not above 0.

    Example:

    ```python
    import keras_kd as kd

    student = kd.models.resnet18(0.25)
    assert student.output_shape == (None, 10)
    ```

    References:
        K. He et al., Deep Residual Learning for Image Recognition, 2016, table 1 and figure 5;
        section 4.2 for the stem of small images; projections of type B.
    """
    if not 0 < width < float("inf"):
        raise ValueError(f"`width` must be above 0. Received: width={width!r}.")
    stages = [max(1, round(width * channels)) for channels in (64, 128, 256, 512)]
    image, x = normalized_image(image_shape, mean, std)
    if max(image_shape[:2]) <= _SMALL:
        x = normed_convolution(x, stages[0], 3, 1, "stem")
    else:
        x = normed_convolution(x, stages[0], 7, 2, "stem")
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, channels in enumerate(stages, start=1):
        for block in (1, 2):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _basic_block(x, channels, strides, f"stage_{stage}_block_{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return logits_model(image, x, num_classes, name)


def _basic_block(x, channels, strides, name):
    shortcut = x
    if strides > 1 or x.shape[-1] != channels:
        shortcut = normed_convolution(x, channels, 1, strides, f"{name}_shortcut", activation=None)
    x = normed_convolution(x, channels, 3, strides, f"{name}_1")
    x = normed_convolution(x, channels, 3, 1, f"{name}_2", activation=None)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=name)(x)
