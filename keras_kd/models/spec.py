"""A student in one word: `conv:16-32`, `resnet18:0.25`, `mobilenet_v3_small:0.5@96`."""

import difflib
import re
from collections.abc import Sequence

import keras

from keras_kd._common.checks import MOST_SIDE
from keras_kd.models.byte_net import byte_net
from keras_kd.models.conv_net import conv_net
from keras_kd.models.lenet5 import lenet5
from keras_kd.models.mlp import mlp
from keras_kd.models.resnet import resnet18

_LAYERS = {"mlp": mlp, "conv": conv_net}
_WIDTH = {"lenet5": lenet5, "resnet18": resnet18}
# Name in keras.applications, and what its pixels must be: those of V3 and EfficientNetV2 scale
# theirs inside.
_APPLICATIONS = {
    "mobilenet_v2": ("MobileNetV2", {}, True),
    "mobilenet_v3_small": ("MobileNetV3Small", {"include_preprocessing": True}, False),
    "mobilenet_v3_large": ("MobileNetV3Large", {"include_preprocessing": True}, False),
}
# Of texts.
_BYTES = "bytes"
FAMILIES = (*_LAYERS, *_WIDTH, *_APPLICATIONS, _BYTES)

# More is a slip of the finger: no such layer fits into memory.
_MOST_UNITS, _MOST_WIDTH = 10_000_000, 16

_SPEC = re.compile(r"(?P<family>[a-z0-9_]+)(:(?P<sizes>[0-9.\-]+))?(@(?P<side>[0-9]+))?")


def from_spec(
    spec: str,
    *,
    image_shape: Sequence[int] | None = None,
    input_shape: Sequence[int] | None = None,
    num_bytes: int | None = None,
    num_classes: int,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> keras.Model:
    """Build a student from a short text; raw pixels or bytes in, logits out, random weights.

    | spec | student |
    | --- | --- |
    | `mlp:128-64` | `mlp([128, 64])` |
    | `conv:16-32` | `conv_net([16, 32])` |
    | `lenet5`, `lenet5:0.5` | `lenet5(0.5)` |
    | `resnet18`, `resnet18:0.25` | `resnet18(0.25)` |
    | `mobilenet_v3_small:0.5` (`..._large`, `mobilenet_v2`) | of `keras.applications`, alpha 0.5 |
    | `bytes:16-32` | `byte_net([16, 32])`, of texts alone |

    With `@96` at its end the student first resizes its images to 96x96; grey images become
    coloured where a family of `keras.applications` wants colours.

    Args:
        spec: the text.
        image_shape: shape of one image. The images are raw pixels, 0 to 255.
        input_shape: shape of one example of other numbers, instead; of an `mlp` alone.
        num_bytes: how many bytes of a text, instead; of `bytes` alone.
        num_classes: number of logits.
        mean: subtracted from those other numbers, as in `mlp`.
        std: divides them afterwards.

    Returns:
        A `keras.Model` from `image` (or `inputs`, or `bytes`) to logits `[batch, num_classes]`.

    Raises:
        ValueError: if the text names no student, or one that cannot take such examples.

    Example:

    ```python
    import keras_kd as kd

    student = kd.models.from_spec("conv:16-32@32", image_shape=(64, 64, 3), num_classes=5)
    assert student.output_shape == (None, 5)
    ```
    """
    family, sizes, side = check_spec(spec)
    given = {"image_shape": image_shape, "input_shape": input_shape, "num_bytes": num_bytes}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            "A student takes images, texts or other numbers: `image_shape`, `num_bytes` or "
            f"`input_shape`. Received: {' and '.join(given) or 'none of them'}. Pass one of them."
        )
    if input_shape is not None:
        return _of_numbers(spec, family, sizes, side, input_shape, num_classes, mean, std)
    if (num_bytes is None) == (family == _BYTES) or (num_bytes is not None and side):
        what = "texts" if family == _BYTES else "images"
        received = f"images of {tuple(image_shape)}" if num_bytes is None else "texts"
        remedy = "conv:16-32" if num_bytes is None else "bytes:16-32"
        raise ValueError(
            f"The student {spec!r} takes {what}. Received: {received}. Name one such as "
            f"{remedy!r}, or give a keras.Model."
        )
    if num_bytes is not None:
        filters = [int(size) for size in sizes]
        return byte_net(filters, num_bytes=num_bytes, num_classes=num_classes)
    shape = (side, side, image_shape[2]) if side else tuple(image_shape)
    if family in _APPLICATIONS:
        return _application(spec, family, sizes or [1.0], image_shape, shape, num_classes)
    if family in _LAYERS:
        student = _LAYERS[family](
            [int(size) for size in sizes], image_shape=shape, num_classes=num_classes
        )
    else:
        student = _WIDTH[family](*sizes, image_shape=shape, num_classes=num_classes)
    if shape == tuple(image_shape):
        return student
    image = keras.Input(tuple(image_shape), name="image")
    return keras.Model(image, student(_resized(image, side)), name=student.name)


def _of_numbers(spec, family, sizes, side, input_shape, num_classes, mean, std):
    if family != "mlp" or side:
        raise ValueError(
            f"The student {spec!r} takes {'texts' if family == _BYTES else 'images'}. Received: "
            f"examples of shape "
            f"{tuple(input_shape)}. Name one such as 'mlp:64-32', or give a keras.Model."
        )
    return mlp(
        [int(size) for size in sizes],
        input_shape=input_shape,
        num_classes=num_classes,
        mean=mean,
        std=std,
    )


def check_spec(spec):
    """Return family, sizes and side of a spec.

    Raises:
        ValueError: if it names no student.
    """
    match = _SPEC.fullmatch(spec) if isinstance(spec, str) else None
    family = match["family"] if match else str(spec).partition(":")[0].partition("@")[0]
    if family not in FAMILIES:
        close = difflib.get_close_matches(family, FAMILIES, 1)
        raise ValueError(
            f"A student must be one of {', '.join(FAMILIES)}, or a .keras file. "
            f"Received: {spec!r}." + (f" Did you mean {close[0]!r}?" if close else "")
        )
    sizes = _numbers(match["sizes"]) if match else None
    whole = all(size.is_integer() for size in sizes or ())
    of_layers = family in (*_LAYERS, _BYTES)
    wanted = "layers, such as 16-32" if of_layers else "at most one width, such as 0.5"
    if sizes is None or (not (sizes and whole) if of_layers else len(sizes) > 1):
        raise ValueError(f"A student {family!r} takes {wanted}. Received: {spec!r}.")
    side = int(match["side"]) if match["side"] else None
    most = _MOST_UNITS if of_layers else _MOST_WIDTH
    if side == 0 or 0 in sizes:
        raise ValueError(f"The sizes of a student must be above 0. Received: {spec!r}.")
    if (side or 0) > MOST_SIDE or max(sizes, default=0) > most:
        raise ValueError(
            f"The sizes of a student {family!r} must be at most {most}, the side of its images at "
            f"most {MOST_SIDE}. Received: {spec!r}."
        )
    return family, sizes, side


def _numbers(text):
    """Return the numbers of `16-32`; `None` if one is none."""
    try:
        return [float(part) for part in text.split("-")] if text else []
    except ValueError:
        return None


def _application(spec, family, sizes, image_shape, shape, num_classes):
    builder, options, rescaled = _APPLICATIONS[family]
    image = keras.Input(tuple(image_shape), name="image")
    x = image if shape == tuple(image_shape) else _resized(image, shape[0])
    if image_shape[2] == 1:
        x = keras.layers.Concatenate(name="coloured")([x, x, x])
    if rescaled:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="normalize")(x)
    try:
        backbone = getattr(keras.applications, builder)(
            input_shape=(*shape[:2], 3),
            alpha=sizes[0],
            weights=None,
            classes=num_classes,
            classifier_activation=None,
            name=family,
            **options,
        )
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"The student {spec!r} must fit images of {shape[0]}x{shape[1]}. "
            f"Received: {reason}. Name another size, such as {family}@96."
        ) from error
    return keras.Model(image, backbone(x), name=family)


def _resized(image, side):
    return keras.layers.Resizing(side, side, name="resized")(image)
