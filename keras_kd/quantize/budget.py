"""Which layers have int4 weights, so that a file is small enough and errs least."""

import math

from keras_kd._common.graph import graph_of
from keras_kd.quantize.kernels import INTEGER_KERNELS
from keras_kd.quantize.sensitivity import sensitivity

# What a file holds beside its weights, in bytes. Of each channel: the scale of its weights, the
# bias, the scale of the bias, and two zero points of eight bytes. The others are from measured
# files, of two to a hundred layers, rounded up.
_A_CHANNEL, _A_KERNEL, _A_CALL, _A_FILE = 28, 160, 110, 2000
# Savings are told apart in so many steps.
_STEPS = 4096


def within(budget, student, twins, keep_float, calibration, input_range):
    """Return `{name: "int4"}` for the layers that are to have int4 weights.

    Errors of layers add up as their squares. Of all choices whose file is small enough, this is the
    one whose sum is least: a knapsack, solved over all sums that no other is better than.

        minimise    sum over chosen layers of  error(int4)^2 - error(int8)^2
        so that     sum over chosen layers of  weights / 2  >=  bytes(int8 file) - budget

    Args:
        budget: bytes of the file.
        student: the `keras.Model`.
        twins: of the student, in int8 and in int4.
        keep_float: names of layers that are not to choose from.
        calibration: images that errors are found on.
        input_range: lowest and highest pixel.

    Raises:
        ValueError: if int4 in all layers is too large still.

    References:
        Z. Cai, Z. Yao, Z. Dong, A. Gholami, M. W. Mahoney, K. Keutzer, ZeroQ: A Novel Zero Shot
        Quantization Framework, 2020, section 3.3: additive sensitivities under a budget of bytes.
        G. L. Nemhauser, Z. Ullmann, Discrete Dynamic Programming and Capital Allocation, 1969.
    """
    most, least = map(file_bytes, twins)
    if most <= budget:
        return {}
    if least > budget:
        raise ValueError(
            f"`budget_kb` must be at least {least / 1000:.1f} for {student.name}, with int4 in "
            f"every layer that may have it. Received: budget_kb={budget / 1000:g}. "
            "Take a smaller student, or take channels out of this one by `kd.pruning`."
        )
    found = sensitivity(student, calibration, input_range=input_range)
    items = {
        each.name: (each.num_weights / 2, each.error["int4"] ** 2 - each.error["int8"] ** 2)
        for each in found.layers
        if each.name not in keep_float and "int4" in each.error
    }
    return dict.fromkeys(least_error(items, most - budget), "int4")


def least_error(items, to_save):
    """Return the names that save enough at the least cost.

    Args:
        items: by name, what each saves and what it costs.
        to_save: what all together must save, at most the sum of all.
    """
    step = to_save / _STEPS
    # By the steps that are saved: the least cost, and the names.
    best = {0: (0.0, ())}
    for name, (saved, cost) in items.items():
        for steps, (sum_of_costs, names) in list(best.items()):
            more = min(steps + int(saved / step), _STEPS)
            new = sum_of_costs + max(cost, 0.0), (*names, name)
            if more not in best or new[0] < best[more][0]:
                best[more] = new
    return best[_STEPS][1] if _STEPS in best else tuple(items)


def file_bytes(twin):
    """Return about how many bytes the file of a twin has, rather too many than too few."""
    integers = _integers(twin)
    own = {id(weight) for layer in integers for weight in layer.weights}
    others = sum(math.prod(each.shape) for each in twin.weights if id(each) not in own)
    return (
        sum(_num_weights(layer) * layer.weight_bits / 8 for layer in integers)
        + 4 * others
        + _A_CHANNEL * sum(_num_channels(layer) for layer in integers)
        + _A_KERNEL * len(integers)
        + _A_CALL * len(graph_of(twin).calls)
        + _A_FILE
    )


def _integers(twin):
    return [layer for layer in twin.layers if isinstance(layer, INTEGER_KERNELS)]


def _num_weights(layer):
    return sum(math.prod(each.shape) for each in layer.weights if len(each.shape) > 1)


def _num_channels(layer):
    """Return the number of scales that a layer's weights have."""
    if hasattr(layer, "depth_multiplier"):
        return math.prod(layer.kernel.shape[-2:])
    return getattr(layer, "filters", getattr(layer, "units", 1))
