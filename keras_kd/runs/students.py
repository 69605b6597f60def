"""What a student is given as: a spec, a file, a model or a function; built, and told apart."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import keras

from keras_kd._common.model_files import load_model_file
from keras_kd._common.typing import PathLike
from keras_kd.export import uncompiled
from keras_kd.models import from_spec
from keras_kd.runs.fingerprints import architecture, digest_of

# What `build_student` takes.
StudentLike: TypeAlias = PathLike | keras.Model | Callable[..., keras.Model]


def build_student(student, data, seed):
    """Return a new student for a `Data`, the same at each call.

    Args:
        student: as in `Training`. A model or a file is copied with its weights.
        data: a `Data`.
        seed: of the first weights.
    """
    keras.utils.set_random_seed(seed)
    shape = {"image_shape": data.image_shape, "num_classes": data.num_classes}
    if isinstance(student, keras.Model):
        return uncompiled(student)
    if callable(student):
        return student(**shape)
    if str(student).endswith(".keras"):
        return load_model_file(student, "student")
    return from_spec(student, **shape)


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
