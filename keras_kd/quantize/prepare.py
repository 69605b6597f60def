"""From a student to its integer twin."""

from collections.abc import Collection, Mapping
from typing import Any

import keras

from keras_kd._common.checks import check_budgets, check_choice
from keras_kd.quantize.budget import within
from keras_kd.quantize.calibration import calibration_images
from keras_kd.quantize.kernels import WITHOUT_INT4
from keras_kd.quantize.layers import ActivationRange
from keras_kd.quantize.rewriting import Names, Rewriting
from keras_kd.quantize.students import graph_to_quantise, kernel_names

_WEIGHT_BITS = {"int8": 8, "int4": 4}
_RANGES = ("moving", "learned")


def prepare(
    student: keras.Model,
    *,
    weights: str | Mapping[str, str] = "int8",
    keep_float: Collection[str] = (),
    activations: str = "int8",
    ranges: str = "moving",
    calibration: Any = None,
    input_range: tuple[float, float] = (0.0, 255.0),
    budget_kb: float | None = None,
) -> keras.Model:
    """Return a trainable twin of a student that computes what its integer file will compute.

    Weights are rounded to integers with one scale a channel, activations to 256 values between
    two ends that follow the batches or are learned; gradients pass straight on (Jacob et al. 2018).
    BatchNormalization is folded into the layer before it, with its statistics as they are now.
    Distil the twin from the float teacher with the ordinary `Distiller`, at a tenth of the
    learning rate that trained the student; a few epochs will do. `export.litert` then writes the
    file from the twin's own ranges.

    The student's graph is walked call by call: through operations (`h + 3.0`, `ops.relu(h)`,
    slices), shared layers, branches, and models inside, such as a backbone.

    Twins: dense layers, convolutions in one and two dimensions (depthwise, separable, grouped,
    transposed), `Embedding`, pooling, resizing, sums, products, `Concatenate`, `Rescaling`,
    `Normalization`, what only moves values (`Flatten`, slices, `ops.transpose`), matrix products
    of two tensors (`ops.matmul`, `ops.einsum`), softmax, and ReLU, leaky ReLU, ELU, SELU, GELU,
    SiLU, hard SiLU, sigmoid, hard sigmoid, tanh, with the ends that the file's own kernels have.
    Others are taken apart first: `BatchNormalization` that follows no weights (a scale and a
    shift a channel), `LayerNormalization`, `RMSNormalization`, `MultiHeadAttention` without a
    mask, and LSTM, GRU and SimpleRNN, step by step, where no mask can come. Any other layer
    computes in float32: `float_layers` names them, `float_share` says how much of the arithmetic
    that is. An `Embedding` and a transposed convolution have int8 weights in an int4 file too.

    Args:
        student: a built Functional or Sequential `keras.Model` in float32. It is not changed; a
            layer of the twin has the name of the layer it stands for, with the names of the
            models around it in front where two would be equal.
        weights: `"int8"` or `"int4"`, or a dict of these by the names of layers; the others have
            int8. `sensitivity` tells which layers bear int4.
        keep_float: names of layers that are to compute in float32.
        activations: `"int8"`.
        ranges: where activations are cut off: `"moving"`, at a moving average of the batches'
            lowest and highest values (Jacob et al. 2018), or `"learned"`, where the optimizer
            takes the two ends, as weights (Esser et al. 2020).
        calibration: images such as the student was trained on, that set the first ranges, as in
            `export.litert`. If `None`, the first batch of the training sets them; learned ones
            need it.
        input_range: lowest and highest pixel.
        budget_kb: what the file may have, in kilobytes of 1000 bytes. If int8 is too large, the
            layers that bear it best have int4 weights: those whose errors on `calibration`, as
            `sensitivity` finds them, have the least sum of squares of all choices that are small
            enough. Without `weights`. `weight_bits` tells which format the file is to have.

    Returns:
        A `keras.Model` with weights of its own, which can be saved as `.keras`.

    Raises:
        ValueError: if an argument does not fit, no layer of the student has a twin, int4 is
            asked of a layer that has none, or in all layers is larger than the budget.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    student = kd.models.mlp([16], image_shape=data.image_shape)  # Trained, in earnest.
    twin = kd.quantize.prepare(student, weights="int4", calibration=data.train)
    distiller = kd.Distiller(student=twin, teacher=student)
    distiller.compile(optimizer="adam")
    distiller.fit(data.train.batches(32, shuffle_seed=0), epochs=1, verbose=0)
    kd.export.litert(twin, "student.tflite", quantization="int4")
    ```

    References:
        B. Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, 2018.
        S. K. Esser et al., Learned Step Size Quantization, 2020.
    """
    for each in weights.values() if isinstance(weights, Mapping) else [weights]:
        check_choice("weights", each, _WEIGHT_BITS)
    if not isinstance(keep_float, Collection):
        raise ValueError(
            f"`keep_float` must be names of layers. Received: keep_float={keep_float!r}."
        )
    check_choice("activations", activations, ("int8",))
    check_choice("ranges", ranges, _RANGES)
    if ranges == "learned" and calibration is None:
        raise ValueError(
            "`ranges='learned'` needs `calibration`, images that the ranges begin with. "
            "Received: calibration=None."
        )
    if budget_kb is not None:
        _check_budget(budget_kb, weights, calibration)
        twins = [
            prepare(student, weights=each, keep_float=keep_float, input_range=input_range)
            for each in _WEIGHT_BITS
        ]
        chosen = within(1000 * budget_kb, student, twins, keep_float, calibration, input_range)
        weights = chosen or "int8"
    graph, tables = graph_to_quantise(student)
    pixels = None if tables else input_range
    names = Names(graph)
    bits = _bits(kernel_names(graph, names), weights, keep_float)
    _check_int4(graph, names, weights)
    image, logits = Rewriting(graph, names, bits, pixels, ranges == "learned").ends()
    suffix = weights if isinstance(weights, str) else "mixed"
    twin = keras.Model(image, logits, name=f"{student.name}_{suffix}")
    if calibration is not None:
        _observe(twin, calibration_images(calibration, image.shape[1:], input_range, tables))
    return twin


def _check_budget(budget_kb, weights, calibration):
    check_budgets({"budget_kb": budget_kb})
    if weights != "int8" or calibration is None:
        raise ValueError(
            "`budget_kb` chooses `weights` itself, by what they do to answers on `calibration`. "
            f"Received: weights={weights!r} and "
            f"calibration={'none' if calibration is None else 'images'}."
        )


def _bits(names, weights, keep_float):
    """Return the bits of each layer's weights by its name, `None` for float32."""
    given = weights if isinstance(weights, Mapping) else {}
    if isinstance(keep_float, str):
        keep_float = [keep_float]
    for argument, named in (("weights", given), ("keep_float", keep_float)):
        for name in named:
            check_choice(argument, name, names)
    both = set(given) & set(keep_float)
    if both:
        raise ValueError(
            "A layer has integer weights or stays in float32. Received: "
            f"{', '.join(sorted(both))} in both `weights` and `keep_float`."
        )
    if set(names) <= set(keep_float):
        raise ValueError(
            "`keep_float` must leave a layer to integers. Received: all of them, "
            f"{', '.join(names)}. Export the student itself."
        )
    usual = weights if isinstance(weights, str) else "int8"
    bits = {name: _WEIGHT_BITS[given.get(name, usual)] for name in names}
    return bits | dict.fromkeys(keep_float)


def _check_int4(graph, names, weights):
    """Refuse int4 that was asked by name of layers that have it in no file."""
    given = weights if isinstance(weights, Mapping) else {}
    for call in graph.calls:
        name = names.of(call)
        if given.get(name) == "int4" and isinstance(call.operation, WITHOUT_INT4):
            raise ValueError(
                "LiteRT has int4 weights of dense layers and convolutions alone. Received: "
                f"weights={{{name!r}: 'int4'}} of a layer {type(call.operation).__name__}. Leave "
                "it at int8."
            )


def _observe(twin, images):
    """Set the ranges of a twin from images, weights and statistics as they are."""
    ranges = [layer for layer in twin.layers if isinstance(layer, ActivationRange)]
    for layer in ranges:
        layer.observing = True
    twin(images, training=False)
    for layer in ranges:
        layer.observing = False
