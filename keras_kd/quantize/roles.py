"""What stands in an integer file for a layer or an operation."""

import keras
import numpy as np
from keras import layers

from keras_kd._common.graph import name_of_operation
from keras_kd.quantize.kernels import INTEGER_KERNELS, has_integer_kernel
from keras_kd.quantize.layers import ActivationRange, Float32, InverseRoot

# The roles. All but the last compute in integers.
KERNEL = "integer weights"
SCALE_AND_OFFSET = "a scale, an offset, or both"
CONCATENATION = "tensors joined on one grid"
RECTIFIER = "what the layer before may do as well"
NEW_GRID = "new values with a range of their own"
SAME_GRID = "values chosen, moved or averaged within their range"
TRAINING = "nothing, but in training"
NOTHING = "nothing"
FLOAT = "float32"

_LAYERS = {
    **dict.fromkeys(
        (
            layers.Add,
            InverseRoot,
            layers.GlobalAveragePooling2D,
            layers.LeakyReLU,
            layers.Maximum,
            layers.Minimum,
            layers.Multiply,
            layers.Softmax,
            layers.Subtract,
        ),
        NEW_GRID,
    ),
    **dict.fromkeys(
        (
            layers.AveragePooling2D,
            layers.Cropping1D,
            layers.Cropping2D,
            layers.Flatten,
            layers.GlobalMaxPooling1D,
            layers.GlobalMaxPooling2D,
            layers.MaxPooling2D,
            layers.Permute,
            layers.RepeatVector,
            layers.Reshape,
            layers.UpSampling1D,
            layers.ZeroPadding1D,
            layers.ZeroPadding2D,
        ),
        SAME_GRID,
    ),
    **dict.fromkeys(
        (
            layers.ActivityRegularization,
            layers.AlphaDropout,
            layers.Dropout,
            layers.GaussianDropout,
            layers.GaussianNoise,
            layers.RandomBrightness,
            layers.RandomContrast,
            layers.RandomFlip,
            layers.RandomRotation,
            layers.RandomTranslation,
            layers.RandomZoom,
            layers.SpatialDropout1D,
            layers.SpatialDropout2D,
            layers.SpatialDropout3D,
        ),
        TRAINING,
    ),
    Float32: NOTHING,
    layers.Concatenate: CONCATENATION,
    layers.Identity: NOTHING,
}
# Keras's operations have no public classes: by the name that `keras.ops` makes of each.
_OPERATIONS = {
    **dict.fromkeys(
        (
            "Absolute",
            "Add",
            "Clip",
            "Exp",
            "Gelu",
            "HardSilu",
            "LeakyRelu",
            "Matmul",
            "Maximum",
            "Mean",
            "Minimum",
            "Multiply",
            "Rsqrt",
            "Sigmoid",
            "Silu",
            "Softmax",
            "Subtract",
            "Sum",
            "Tanh",
        ),
        NEW_GRID,
    ),
    **dict.fromkeys(
        (
            "AveragePool",
            "ExpandDims",
            "Flip",
            "GetItem",
            "Max",
            "MaxPool",
            "Pad",
            "Repeat",
            "Reshape",
            "Resize",
            "Split",
            "Squeeze",
            "Tile",
            "Transpose",
        ),
        SAME_GRID,
    ),
    **dict.fromkeys(("Concatenate", "Stack"), CONCATENATION),
    **dict.fromkeys(("Relu", "Relu6"), RECTIFIER),
}
# With a kernel of their own in the file.
INTEGER_ACTIVATIONS = (
    keras.activations.exponential,
    keras.activations.gelu,
    keras.activations.hard_silu,
    keras.activations.leaky_relu,
    keras.activations.sigmoid,
    keras.activations.silu,
    keras.activations.softmax,
    keras.activations.tanh,
)
# Where the file's kernels end their range, whatever the values: in steps of 1/256 and of 1/128.
_ENDS = {
    "sigmoid": (0.0, 255 / 256),
    "softmax": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
}
_RECTIFIERS = (keras.activations.relu, keras.activations.relu6)


def role_of(call):
    """Return what stands for a `Call`: one of the roles above."""
    operation, kind = call.operation, type(call.operation)
    if isinstance(operation, (ActivationRange, *INTEGER_KERNELS)):
        return KERNEL
    if kind is layers.Embedding:
        return KERNEL
    if any("float" not in tensor.dtype for tensor in call.tensors()):
        return FLOAT  # Numbers of words, say, which lie on no grid.
    scaled = scale_and_offset(call)
    if scaled is not None:
        scale, offset = scaled
        return SCALE_AND_OFFSET if (scale != 1).any() or offset.any() else NOTHING
    name = name_of_operation(operation)
    if (kind in (layers.Flatten, layers.Reshape) or name == "Reshape") and _is_the_same(call):
        return NOTHING
    if name == "Cast" and "float" in call.outputs.dtype:
        return NOTHING
    if name is not None:
        return _OPERATIONS.get(name, FLOAT) if _has_integer_form(name, call) else FLOAT
    if has_integer_kernel(operation, call.args):
        return KERNEL
    if is_rectifier(operation):
        return RECTIFIER
    if kind is layers.Activation:
        if operation.activation is keras.activations.linear:
            return NOTHING
        return NEW_GRID if operation.activation in INTEGER_ACTIVATIONS else FLOAT
    if kind in (layers.Resizing, layers.UpSampling2D):
        return SAME_GRID if _is_resized_in_integers(operation) else FLOAT
    return _LAYERS.get(kind, FLOAT)


def ends_of(call):
    """Return lowest and highest value that a call returns in a file; `None` if they are learned."""
    operation, name = call.operation, name_of_operation(call.operation)
    if isinstance(operation, layers.Softmax):
        name = "softmax"
    elif isinstance(operation, layers.Activation):
        name = operation.activation.__name__
    return _ENDS.get((name or "").lower())


def is_rectifier(operation):
    """Return whether an operation is a ReLU, or one that ends at 6."""
    if isinstance(operation, layers.ReLU):
        plain = not operation.negative_slope and not operation.threshold
        return plain and operation.max_value in (None, 6)
    if isinstance(operation, layers.Activation):
        return operation.activation in _RECTIFIERS
    return name_of_operation(operation) in ("Relu", "Relu6")


def scale_and_offset(call):
    """Return two arrays if a call computes `scale * x + offset` for its one tensor, else `None`."""
    kind, name = type(call.operation), name_of_operation(call.operation)
    if kind is layers.Rescaling:
        return np.asarray(call.operation.scale), np.asarray(call.operation.offset)
    if kind is layers.Normalization and not call.operation.invert:
        mean, variance = (
            np.asarray(keras.ops.convert_to_numpy(value))
            for value in (call.operation.mean, call.operation.variance)
        )
        deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
        return 1 / deviation, -mean / deviation
    if name == "Negative":
        return np.asarray(-1.0), np.asarray(0.0)
    if name in ("Add", "Subtract", "Multiply", "Divide", "TrueDivide"):
        return _with_a_constant(name, call)
    return None


def _with_a_constant(name, call):
    x, y = call.args
    if len(call.tensors()) != 1 or tuple(call.tensors()[0].shape) != tuple(call.outputs.shape):
        return None
    constant_first = isinstance(y, keras.KerasTensor)
    constant = np.asarray(keras.ops.convert_to_numpy(x if constant_first else y), "float32")
    one, zero = np.asarray(1.0), np.asarray(0.0)
    if name == "Multiply":
        return constant, zero
    if name == "Add":
        return one, constant
    if name == "Subtract":
        return (-one, constant) if constant_first else (one, -constant)
    return None if constant_first or not constant.all() else (1 / constant, zero)


def _has_integer_form(name, call):
    """Return whether an operation is called in the way that its role means."""
    if name in ("Add", "Multiply", "Subtract"):  # Of two tensors; or a constant makes it larger.
        return len(call.tensors()) == 2
    if name == "GetItem":
        key = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
        return all(each is None or isinstance(each, (int, slice, type(...))) for each in key)
    if name in ("AveragePool", "MaxPool"):
        return call.operation.data_format != "channels_first" and len(call.outputs.shape) == 4
    if name == "Stack":
        shape = call.outputs.shape
        return call.operation.axis % len(shape) != 0 and None not in shape[1:]
    if name == "Pad":
        return call.operation.mode == "constant" and not any(
            (*call.args[1:], *call.kwargs.values())
        )
    if name == "Resize":
        return _is_resized_in_integers(call.operation)
    if name in ("Mean", "Sum"):
        rank, axes = len(call.args[0].shape), call.operation.axis
        axes = range(rank) if axes is None else [axes] if isinstance(axes, int) else axes
        return rank <= 4 and all(axis % rank for axis in axes)  # Not over the examples.
    return True


def _is_the_same(call):
    (x,) = call.tensors()
    shape = tuple(call.outputs.shape)
    return shape == tuple(x.shape) and None not in shape[1:]


def _is_resized_in_integers(operation):
    kept = ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias")
    return (
        operation.interpolation in ("bilinear", "nearest")
        and operation.data_format != "channels_first"
        and not any(getattr(operation, name, False) for name in kept)
    )
