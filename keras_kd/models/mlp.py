"""Multilayer perceptron."""

from collections.abc import Sequence

import keras

from keras_kd.models.blocks import (
    check_widths,
    logits_model,
    normalized_image,
    standardized_input,
)


def mlp(
    hidden: Sequence[int],
    *,
    image_shape: Sequence[int] = (28, 28, 1),
    input_shape: Sequence[int] | None = None,
    num_classes: int = 10,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    max_norm: float | None = None,
    name: str = "mlp",
) -> keras.Model:
    """Build a perceptron with ReLU hidden layers that returns logits.

    Args:
        hidden: units of each hidden layer, for example `[128, 128]`; empty for a linear model.
        image_shape: shape of one image. The images are raw pixels, 0 to 255.
        input_shape: shape of one example of numbers that are no pixels, instead of
            `image_shape`: they are not scaled to 0..1.
        num_classes: number of logits.
        mean: subtracted from pixels scaled to 0..1 (0.1307 is customary for MNIST), or from other
            numbers as they are; a number, or one for each feature (the last axis).
        std: divides them afterwards (0.3081 is customary for MNIST), in the same way.
        dropout: share of each hidden layer's units dropped in training, from 0 to below 1.
        input_dropout: the same for pixels.
        max_norm: largest Euclidean norm of the weights into a hidden unit; any if `None`.
        name: name of the model.

    Returns:
        A `keras.Model` from `image` (or `inputs`) to `logits` of shape `[batch, num_classes]`.

    Example:

    ```python
    import keras_kd as kd

    student = kd.models.mlp([32])
    assert student.output_shape == (None, 10)
    assert student.count_params() == 784 * 32 + 32 + 32 * 10 + 10

    of_a_table = kd.models.mlp([8], input_shape=(2,), mean=[170.0, 0.5], std=[10.0, 0.1])
    assert of_a_table.input_shape == (None, 2)
    ```
    """
    check_widths("hidden", hidden)
    if input_shape is None:
        image, x = normalized_image(image_shape, mean, std)
    else:
        image, x = standardized_input(input_shape, mean, std)
    x = keras.layers.Flatten(name="flatten")(x)
    if input_dropout:
        x = keras.layers.Dropout(input_dropout, name="input_dropout")(x)
    constraint = keras.constraints.MaxNorm(max_norm) if max_norm else None
    for number, units in enumerate(hidden, start=1):
        x = keras.layers.Dense(
            units, activation="relu", kernel_constraint=constraint, name=f"hidden_{number}"
        )(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"dropout_{number}")(x)
    return logits_model(image, x, num_classes, name)
