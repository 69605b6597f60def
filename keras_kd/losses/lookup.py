"""Losses by name, and as what a file holds, as in `keras.losses`."""

import functools
import inspect
from typing import Any

import keras

from keras_kd._common.reprs import in_small_letters
from keras_kd._common.typing import Config
from keras_kd.losses.contrastive import Contrastive
from keras_kd.losses.divergence import JensenShannon, ReverseSoftTargets
from keras_kd.losses.feature import (
    AttentionTransfer,
    Hints,
    RelationalAngle,
    RelationalDistance,
    SimilarityPreserving,
)
from keras_kd.losses.hard import BinaryCrossEntropy, CrossEntropy
from keras_kd.losses.relation import DIST
from keras_kd.losses.response import (
    BinarySoftTargets,
    DecoupledKD,
    LabelSmoothing,
    LogitDistance,
    LogitMatching,
    SoftTargets,
    StandardizedLogits,
    TeacherLabels,
)
from keras_kd.losses.values import CosineMatching, HuberMatching, ValueDistance, ValueMatching

_CLASSES = (
    SoftTargets,
    BinarySoftTargets,
    ReverseSoftTargets,
    JensenShannon,
    TeacherLabels,
    LogitMatching,
    LogitDistance,
    ValueMatching,
    ValueDistance,
    HuberMatching,
    CosineMatching,
    DecoupledKD,
    StandardizedLogits,
    DIST,
    LabelSmoothing,
    Hints,
    AttentionTransfer,
    SimilarityPreserving,
    RelationalDistance,
    RelationalAngle,
    Contrastive,
    CrossEntropy,
    BinaryCrossEntropy,
)


_BY_NAME = {in_small_letters(each.__name__): each for each in _CLASSES}


def class_of(name):
    """Return the class of a loss, `None` if there is none of that name.

    Args:
        name: of the class, `"SoftTargets"`, or of the loss, `"soft_targets"`.
    """
    return _BY_NAME.get(in_small_letters(name)) if isinstance(name, str) else None


def get(identifier: Any) -> Any:
    """Return a loss, as `keras.losses.get` does.

    Args:
        identifier: a name, `"soft_targets"` or `"SoftTargets"`, for the loss with its defaults;
            a class, likewise; a configuration (see `serialize`); or a loss, which is returned as
            it is.

    Raises:
        ValueError: if there is no such loss, or it has no defaults.

    Example:

    ```python
    import keras_kd as kd

    assert kd.losses.get("soft_targets").temperature == 2.0
    ```
    """
    if isinstance(identifier, dict):
        return deserialize(identifier)
    found = class_of(identifier) if isinstance(identifier, str) else identifier
    if found is None and identifier is not None:
        raise ValueError(
            f"There is no loss of that name. Received: {identifier!r}. "
            f"There are: {', '.join(_BY_NAME)}."
        )
    if not inspect.isclass(found):
        return found
    needed = [
        name
        for name, parameter in inspect.signature(found).parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in _COLLECTING
    ]
    if needed:
        raise ValueError(
            f"{found.__name__} has no default for {', '.join(needed)}. Received: {identifier!r}. "
            f"Pass keras_kd.losses.{found.__name__}(...)."
        )
    return found()


_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def builder_of(name):
    """Return what builds a loss at a temperature, `(temperature) -> loss`, and whether it has one.

    Args:
        name: as in `class_of`.

    Raises:
        ValueError: as in `get`.
    """
    found = class_of(name) or type(get(name))
    if "temperature" in inspect.signature(found).parameters:
        return found, True
    return functools.partial(_without_temperature, found), False


def _without_temperature(kind, temperature):
    return get(kind)


def get_each(identifiers):
    """Return `get` of one, or of each in a list or in a dict by name, and in those inside.

    Args:
        identifiers: as in `get`, or several.
    """
    if isinstance(identifiers, (list, tuple)):
        return [get_each(each) for each in identifiers]
    if isinstance(identifiers, dict) and "class_name" not in identifiers:
        return {name: get_each(each) for name, each in identifiers.items()}
    return get(identifiers)


def serialize(loss: Any) -> Config:
    """Return the configuration of a loss, as `keras.losses.serialize` does.

    Args:
        loss: one of ours.
    """
    return keras.saving.serialize_keras_object(loss)


def deserialize(config: Config, custom_objects: Config | None = None) -> Any:
    """Return the loss of a configuration or a name, as `keras.losses.deserialize` does.

    Args:
        config: what `serialize` returned, or a name.
        custom_objects: classes of your own by name.

    Raises:
        ValueError: if it is the configuration of something else.
    """
    if isinstance(config, str):
        return get(config)
    loss = keras.saving.deserialize_keras_object(config, custom_objects)
    if not isinstance(loss, (keras.losses.Loss, keras.distillation.DistillationLoss)):
        raise ValueError(f"The configuration must be that of a loss. Received: {config!r}.")
    return loss
