"""Convolutions over the bytes of a text."""

from collections.abc import Sequence

import keras

from keras_kd._common.checks import check_integer
from keras_kd.models.blocks import check_widths, logits_model

_BYTES = 256
# Numbers that stand for a byte.
_WIDTH = 16
_KERNEL = 5


def byte_net(
    filters: Sequence[int],
    *,
    num_bytes: int = 256,
    num_classes: int = 2,
    name: str = "byte_net",
) -> keras.Model:
    """Build a net that reads the bytes of a text, and looks for short patterns anywhere in it.

    A table of 16 numbers a byte, convolutions over 5 bytes with ReLU, of which each but the first
    halves the places, the greatest answer of each filter over all places, and one dense layer that
    returns logits. There is no vocabulary: texts of any language are read, and a phone needs no
    tokenizer. Integer files compute all of it in integers.

    Args:
        filters: channels of each convolution, for example `[32, 64]`.
        num_bytes: bytes of each text, see `data.encode_texts`.
        num_classes: number of logits.
        name: name of the model.

    Returns:
        A `keras.Model` from int32 `bytes` `[batch, num_bytes]` to `logits` of shape
        `[batch, num_classes]`.

    Example:

    ```python
    import keras_kd as kd

    student = kd.models.byte_net([16, 32], num_bytes=64, num_classes=3)
    assert student(kd.data.encode_texts(["Hello"], num_bytes=64)).shape == (1, 3)
    ```
    """
    check_widths("filters", filters)
    check_integer("num_bytes", num_bytes, minimum=1)
    numbers = keras.Input((num_bytes,), dtype="int32", name="bytes")
    x = keras.layers.Embedding(_BYTES, _WIDTH, name="table")(numbers)
    for number, channels in enumerate(filters, start=1):
        x = keras.layers.Conv1D(
            channels,
            _KERNEL,
            strides=1 if number == 1 else 2,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"conv_{number}",
        )(x)
    x = keras.layers.GlobalMaxPooling1D(name="greatest")(x)
    return logits_model(numbers, x, num_classes, name)
