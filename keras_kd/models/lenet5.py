"""LeNet-5, at any width."""

from collections.abc import Sequence

import keras

from keras_kd.models.blocks import logits_model, normalized_image


def lenet5(
    width: float = 1.0,
    *,
    image_shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    mean: float = 0.0,
    std: float = 1.0,
    name: str = "lenet5",
) -> keras.Model:
    """Build LeNet-5 with ReLU and max-pooling, its channels and units times `width`.

    5x5 convolutions of 6, 16 and 120 channels with pooling between, a dense layer of 84 units,
    logits: 61,706 parameters on one channel. `lenet5(0.5)`, 15,738 parameters, is the student of
    the published data-free experiments on MNIST.

    Args:
        width: above 0; each layer keeps at least one channel or unit.
        image_shape: shape of one image, of 28x28 or 32x32 pixels. The images are raw pixels, 0
            to 255.
        num_classes: number of logits.
        mean: subtracted from pixels scaled to 0..1 (0.1307 is customary for MNIST).
        std: divides them afterwards (0.3081 is customary for MNIST).
        name: name of the model.

    Returns:
        A `keras.Model` from `image` to `logits` of shape `[batch, num_classes]`.

    Raises:
        ValueError: if the images are of another size.

    Example:

    ```python
    import keras_kd as kd

    assert kd.models.lenet5().count_params() == 61_706
    assert kd.models.lenet5(0.5).count_params() == 15_738
    ```

    References:
        Y. LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, section
        II.B; with the ReLU and max-pooling of H. Chen et al., Data-Free Learning of Student
        Networks, 2019, section 4.1.
    """
    if tuple(image_shape[:2]) not in ((28, 28), (32, 32)):
        raise ValueError(
            "LeNet-5 must have images of 28x28 or 32x32 pixels. "
            f"Received: image_shape={tuple(image_shape)}. Resize them, or use `conv_net`."
        )
    maps, more_maps, vector, units = (max(1, round(width * n)) for n in (6, 16, 120, 84))
    # 28x28 images are padded to the 32x32 that the first convolution is meant for.
    padding = "same" if image_shape[0] == 28 else "valid"
    relu = {"activation": "relu"}
    image, x = normalized_image(image_shape, mean, std)
    x = keras.layers.Conv2D(maps, 5, padding=padding, name="conv_1", **relu)(x)
    x = keras.layers.MaxPooling2D(name="pool_1")(x)
    x = keras.layers.Conv2D(more_maps, 5, name="conv_2", **relu)(x)
    x = keras.layers.MaxPooling2D(name="pool_2")(x)
    x = keras.layers.Conv2D(vector, 5, name="conv_3", **relu)(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(units, name="hidden", **relu)(x)
    return logits_model(image, x, num_classes, name)
