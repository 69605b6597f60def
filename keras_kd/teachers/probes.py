"""A few inputs to try a model on, and what it answers, without changing the model."""

import dataclasses
import re

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_kd._common.model_files import first_sentence

_COUNT = 7
_UNTRACKED = "a state that Keras does not track"
# For an axis whose size is free: what most models take, and what those of few places do.
_SIZE = 32
_FEW = 4
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What models raise on inputs that are not of their kind.
_REFUSALS = (ValueError, TypeError, LookupError, tf.errors.OpError)


class NotTriedError(ValueError):
    """A model refused the inputs that it was tried on, or answered nothing finite."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a model answered to a few inputs.

    Args:
        inputs: arrays, in the structure that the model takes.
        outputs: arrays, in the structure that it returns.
        changed: paths of the variables that a plain call changes, such as a random generator's;
            the trial has not changed them.
        made_up: whether the inputs are nobody's.
    """

    inputs: object
    outputs: object
    changed: tuple = ()
    made_up: bool = True


def ask(model, inputs, values=()):
    """Return a model's outputs as arrays, and the paths of variables that the call would change.

    Args:
        model: a built `keras.Model`.
        inputs: as it takes them.
        values: pairs of a variable and what it is to be in this call; its own value by default.
    """
    inputs = keras.tree.map_structure(ops.convert_to_tensor, inputs)
    with keras.StatelessScope(state_mapping=values) as scope:
        outputs = model(inputs, training=False)
    given = {id(variable) for variable, _ in values}
    paths = {id(variable): variable.path for variable in model.variables}
    # Keras tracks no state of a recurrent layer.
    changed = [paths.get(key, _UNTRACKED) for key in scope.state_mapping if key not in given]
    return keras.tree.map_structure(_array, outputs), tuple(changed)


def try_out(model, *, examples=None, image_shape=None, what="model"):
    """Return a `Trial` of a model.

    The inputs are the user's, or made up to fit the model: its shapes and dtypes, the batch size
    that it demands, and, where it looks something up, numbers that its smallest table holds.

    Args:
        model: a built `keras.Model`.
        examples: a batch of inputs in the structure that the model takes, or `None`.
        image_shape: shape of one input, `None` where free, for what the model does not know.
        what: what to call the model in an error.

    Raises:
        ValueError: if `examples` are no batch of inputs, or nothing tells the shape of one.
        NotTriedError: if the model refuses the inputs.
    """
    if examples is not None:
        tries = [_few(examples, model)]
    else:
        # Where tables are not found, each holds a 1, and few places.
        tries = [
            _made_up(model, image_shape, what, plain, size)
            for plain, size in ((False, _SIZE), (True, _SIZE), (True, _FEW))
        ]
    for inputs in tries:
        try:
            outputs, changed = ask(model, inputs)
        except _REFUSALS as error:
            refusal = error
        else:
            return Trial(inputs, outputs, changed, made_up=examples is None)
    shapes = [f"{array.shape} ({array.dtype})" for array in keras.tree.flatten(tries[0])]
    told, remedy = "`examples`", "Pass inputs of the shape and kind that it takes."
    if examples is None:
        told, remedy = "made-up inputs", "Pass a batch of its real inputs: `examples=`."
    raise NotTriedError(
        f"The {what} {model.name} must answer {told} of shape {', '.join(shapes)}. Received: "
        f"{_reason(refusal)}. {remedy}"
    ) from refusal


def inputs_of(model):
    """Return a model's symbolic inputs in their structure, `None` if only its calls know.

    Args:
        model: a built `keras.Model`.
    """
    if not getattr(model, "inputs", None):
        return None
    # A Sequential's own `input` is what it was called with.
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def shapes_of_first_call(model):
    """Return the shapes of what a model was built on, `None` for the batch, in their structure.

    Args:
        model: a built `keras.Model`. `None` is returned for one that Keras did not build.
    """
    known = (model.get_build_config() or {}).get("input_shape")
    return known and keras.tree.map_shape_structure(lambda shape: (None, *shape[1:]), known)


def _array(tensor):
    floating = keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))
    return ops.convert_to_numpy(ops.cast(tensor, "float32") if floating else tensor)


def _reason(error):
    """Return what a model said, without the frame that Keras sets around it."""
    lines = [_COLOUR.sub("", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception encountered")]
    return f"{type(error).__name__}: {first_sentence(told[0] if told else error)}"


def _few(examples, model):
    """Return the first of a user's examples, as many as a trial needs."""
    arrays = keras.tree.map_structure(np.asarray, examples)
    shapes = [array.shape for array in keras.tree.flatten(arrays)]
    if not shapes or any(len(shape) == 0 or shape[0] == 0 for shape in shapes):
        raise ValueError(
            "`examples` must be a batch of inputs, arrays in the structure that the model takes. "
            f"Received: {type(examples).__name__} with shapes {shapes}. Take one from the data: "
            "`examples=next(iter(batches))[0]`."
        )
    known = keras.tree.flatten(inputs_of(model))[0]
    count = (None if known is None else known.shape[0]) or _COUNT
    return keras.tree.map_structure(lambda array: array[:count], arrays)


def _made_up(model, image_shape, what, plain, size):
    """Return inputs for the model, free axes of this size; 1 everywhere if `plain`."""
    known = _known_inputs(model, image_shape)
    if known is None:
        raise ValueError(
            f"The {what} {model.name} does not know its input shape. Pass `image_shape`, for "
            "example `image_shape=(28, 28, 1)`, or a batch of its inputs: `examples=`."
        )
    # Whatever embeds calls its table so, at any depth of layers and models.
    tables = [each.shape[0] for each in model.weights if each.path.endswith("embeddings")]
    tables = [size for size in tables if size > 1]  # One row is for no input.
    table = min(tables, default=None)
    made = [
        _made_up_input(tensor, image_shape, table, plain, size, is_mask=_is_mask(path, tensor))
        for path, tensor in keras.tree.flatten_with_path(known)
    ]
    return keras.tree.pack_sequence_as(known, made)


def _known_inputs(model, image_shape):
    """Return what the model, or its first call, or the caller knows of its inputs."""
    known = inputs_of(model)
    if known is not None:
        return known
    if image_shape is not None:
        return keras.KerasTensor((None, *image_shape), dtype="float32")
    shapes = shapes_of_first_call(model)
    return shapes and keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor(shape, dtype="float32"), shapes
    )


def _is_mask(path, tensor):
    names = [tensor.name, *(each for each in path if isinstance(each, str))]
    return any("mask" in name for name in names)


def _made_up_input(tensor, image_shape, table, plain, size, *, is_mask):
    free = image_shape if image_shape and len(image_shape) == len(tensor.shape) - 1 else ()
    free = [*free, *[None] * (len(tensor.shape) - 1 - len(free))]
    count = tensor.shape[0] or _COUNT
    looks_up = table is not None and not plain and len(free) < 3  # Three axes are an image.
    # The table may be that of places.
    size = min(size, table) if looks_up else size
    shape = [own or other or size for own, other in zip(tensor.shape[1:], free, strict=True)]
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string":
        return np.full((count, *shape), "a", dtype=object)
    generator = np.random.default_rng(0)
    if is_mask:  # All of it counts.
        numbers = np.ones((count, *shape))
    elif looks_up:
        # Never 0, which may be padding: a sequence of it alone has no mean.
        numbers = generator.integers(1, table, (count, *shape))
    elif plain or ("int" in dtype and dtype != "uint8") or dtype == "bool":
        numbers = np.ones((count, *shape))
    else:
        # Pixels from 0 to 1, from 0 to 255, black: whichever the model was trained on.
        scales = np.resize([1, 255, 0, 1, 255, 1, 255], count)
        numbers = scales.reshape(-1, *[1] * len(shape)) * generator.uniform(size=(count, *shape))
    return numbers.astype(dtype if dtype != "bfloat16" else "float32")
