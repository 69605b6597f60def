"""What a student is given as: a spec, a file, a model or a function; built, and told apart."""

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np

from keras_kd._common.model_files import first_sentence, load_model_file
from keras_kd._common.typing import PathLike
from keras_kd.data.splits import is_shape
from keras_kd.export import uncompiled
from keras_kd.models import from_spec
from keras_kd.runs.fingerprints import architecture, digest_of

# A student, a temperature or a weight that is chosen.
AUTO = "auto"
# What `build_student` takes.
StudentLike: TypeAlias = PathLike | keras.Model | Callable[..., keras.Model]


def build_student(student, data, seed):
    """Return a new student for a `Data`, the same at each call.

    Args:
        student: as in `Training`. A model or a file is copied with its weights. A spec on numbers
            that are no images standardises each feature by the training examples.
        data: a `Data`.
        seed: of the first weights.

    Raises:
        ValueError: if it cannot be built for such data.
    """
    keras.utils.set_random_seed(seed)
    if isinstance(student, keras.Model):
        return _copied(student)
    if callable(student):
        return built_for(student, data)
    if str(student).endswith(".keras"):
        return load_model_file(student, "student")
    return from_spec(student, **shape_of_spec(student, data))


def _copied(student):
    try:
        return uncompiled(student)
    except TypeError as error:  # Keras's, in paragraphs.
        raise ValueError(
            f"A student must be a model that Keras can copy. Received: {student.name}: "
            f"{first_sentence(error)}. Give a function that builds it."
        ) from error


def built_for(builder, data):
    """Return the model that a function builds for a `Data`.

    It is given `num_classes`, and of `image_shape` and `input_shape` the one that it has: of both
    the first for images, the second for other data.

    Args:
        builder: the function.
        data: a `Data`.

    Raises:
        ValueError: if it takes neither, or images where the data has several inputs.
    """
    parameters = inspect.signature(builder).parameters
    names = ("image_shape", "input_shape")
    wanted = names if data.is_images else names[::-1]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    taken = [name for name in wanted if name in parameters] or list(wanted[:1] * takes_any)
    if not taken:
        raise ValueError(
            f"A function that builds a model must take `{wanted[0]}` and `num_classes`. "
            f"Received: {_name_of(builder)}({', '.join(parameters)})."
        )
    if taken[0] == "image_shape" and not data.is_images and not is_shape(data.input_shape):
        raise ValueError(
            "A function that builds a model for several inputs must take `input_shape`. "
            f"Received: {_name_of(builder)}({', '.join(parameters)}), and inputs of "
            f"{data.input_shape}."
        )
    return builder(**{taken[0]: data.input_shape}, num_classes=data.num_classes)


def shape_of_spec(spec, data):
    """Return what `from_spec` must know of a `Data`, as keyword arguments.

    Args:
        spec: the text, for the sentence.
        data: a `Data`.

    Raises:
        ValueError: if there are several inputs.
    """
    shape = data.input_shape
    if data.is_images:
        return {"image_shape": shape, "num_classes": data.num_classes}
    if data.reads == "texts":
        return {"num_bytes": shape[0], "num_classes": data.num_classes}
    if not is_shape(shape):
        raise ValueError(
            f"A student in a word takes one input. Received: {spec!r}, and inputs of {shape}. Give "
            "a keras.Model, or a function of `input_shape` and `num_classes`."
        )
    numbers = data.train.images
    # Each feature by itself, whatever it is measured in; one that never changes says nothing.
    axes = tuple(range(numbers.ndim - 1))
    mean, std = (of(numbers, axes, dtype="float64") for of in (np.mean, np.std))
    spread = {"mean": mean.tolist(), "std": np.where(std > 0, std, 1.0).tolist()}
    return {"input_shape": shape, "num_classes": data.num_classes, **spread}


def _name_of(builder):
    return getattr(builder, "__name__", type(builder).__name__)


def named(student, data, seed):
    """Return what tells a student from others: its spec, or a digest of its layers and weights.

    Args:
        student: as in `Training`.
        data: a `Data`.
        seed: of the first weights.
    """
    is_text = isinstance(student, (str, Path))
    if is_text and not str(student).endswith(".keras"):
        return str(student)
    built = build_student(student, data, seed)
    weights = [hashlib.sha256(weight.tobytes()).hexdigest() for weight in built.get_weights()]
    kind = Path(student).name if is_text else type(student).__name__
    return f"{kind} {digest_of(architecture(built), weights)[:12]}"
