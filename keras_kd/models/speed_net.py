"""A net that learns small colour images in a few epochs, to teach on a processor."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_kd._common.typing import Config, Tensor
from keras_kd.models.blocks import logits_model, normalized_image

# Of pixels from 0 to 1: fainter parts of a patch are mostly noise, and stay faint.
_FAINT = 5e-4
# Keras's 0.99 has not forgotten the start after a few epochs.
_MOMENTUM = 0.9


def speed_net(
    channels: Sequence[int] = (64, 256, 256),
    *,
    activation: str = "gelu",
    mirrored: bool = False,
    image_shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    mean: float = 0.0,
    std: float = 1.0,
    name: str = "speed_net",
) -> keras.Model:
    """Build a net after those of the speed runs on CIFAR-10.

    Every 2x2 patch of pixels is whitened, then each stage halves the size: a 3x3 convolution,
    max-pooling, another 3x3 convolution. Behind each are a BatchNormalization without scale and
    an activation; at the end the largest value over places, and logits.

    Whitening has no weights: the cosine transform of a patch, over rows, columns and colours, has
    parts that hardly correlate in photographs, and a BatchNormalization makes each equally
    strong. Convolutions begin as the identity where they have as many channels.

    Args:
        channels: of each stage, at least one; an image has at least `2**stages + 1` pixels a side.
        activation: of every convolution, a name that Keras knows.
        mirrored: whether it answers with its mean over an image and its mirror image, where it
            does not train; for photographs, not for letters.
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

    teacher = kd.models.speed_net([64, 256, 256], image_shape=(32, 32, 3))
    assert teacher.output_shape == (None, 10)
    ```

    References:
        K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, sections 3.1 to 3.3.
    """
    if not channels:
        raise ValueError(f"`channels` must name at least one stage. Received: {channels!r}.")
    image, pixels = normalized_image(image_shape, mean, std)
    inside = keras.Input(pixels.shape[1:], name="pixels")
    x = _features(inside, channels, activation, _FAINT / std**2)
    features = keras.Model(inside, x, name="features")
    x = (Mirrored(features, name="mirrored") if mirrored else features)(pixels)
    return logits_model(image, x, num_classes, name)


@keras.saving.register_keras_serializable("keras_kd")
class Mirrored(keras.Model):
    """The mean of what a model says of images and of their mirror images; in training, the first.

    Args:
        model: a `keras.Model` of images.
        name: of this one.
    """

    def __init__(self, model: keras.Model, name: str = "mirrored"):
        super().__init__(name=name)
        self.model = model

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        """Return what the model says."""
        said = self.model(images, training=training)
        if training:
            return said
        return (said + self.model(images[:, :, ::-1], training=False)) / 2

    def get_config(self) -> Config:
        """Return the arguments."""
        return {"model": keras.saving.serialize_keras_object(self.model), "name": self.name}

    @classmethod
    def from_config(cls, config: Config, custom_objects: dict | None = None) -> "Mirrored":
        """Return one of the arguments."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        return cls(model, name=config["name"])


def _features(pixels, channels, activation, faint):
    whitened = keras.layers.Conv2D(
        8 * pixels.shape[-1],
        2,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(_patches(pixels.shape[-1]).tolist()),
        trainable=False,
        name="patches",
    )
    x = _normed(whitened(pixels), "whiten", activation, epsilon=faint)
    for stage, count in enumerate(channels, start=1):
        first, second = f"stage_{stage}_1", f"stage_{stage}_2"
        x = _convolution(x, count, first)
        x = keras.layers.MaxPooling2D(name=f"stage_{stage}_pool")(x)
        x = _normed(x, first, activation)
        x = _normed(_convolution(x, count, second), second, activation)
    return keras.layers.GlobalMaxPooling2D(name="pool")(x)


def _patches(num_colours):
    """Return the kernel of a patch's cosine transform, of either sign: `[2, 2, colours, n]`."""
    places, colours = _cosines(2), _cosines(num_colours)
    kernel = np.einsum("ph,qw,sc->hwcpqs", places, places, colours)
    kernel = kernel.reshape(2, 2, num_colours, -1)
    return np.concatenate([kernel, -kernel], axis=-1)


def _cosines(count):
    """Return the orthonormal cosine transform of so many numbers (DCT-II), a row each."""
    rows = np.cos(np.pi * np.outer(np.arange(count), np.arange(count) + 0.5) / count)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _convolution(x, channels, name):
    layer = keras.layers.Conv2D(
        channels,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer="he_uniform",
        name=f"{name}_conv",
    )
    x = layer(x)
    # The first channels begin as those that come in.
    kernel, same = layer.kernel.numpy(), min(layer.kernel.shape[2:])
    kernel[..., :same] = 0
    kernel[1, 1, :, :same] = np.eye(kernel.shape[2], same)
    layer.kernel.assign(kernel)
    return x


def _normed(x, name, activation, epsilon=1e-3):
    x = keras.layers.BatchNormalization(
        scale=False, momentum=_MOMENTUM, epsilon=epsilon, name=f"{name}_norm"
    )(x)
    return keras.layers.Activation(activation, name=name)(x)
