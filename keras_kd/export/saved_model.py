"""SavedModel: what TensorFlow Serving and the LiteRT converter read."""

from pathlib import Path

import keras
import tensorflow as tf

from keras_kd._common.files import written_whole
from keras_kd._common.locks import alone
from keras_kd._common.typing import PathLike
from keras_kd.export.ends import (
    check_equal_answers,
    check_model,
    probes,
    serving_function,
    signature_of,
)
from keras_kd.export.runner import SavedModelFolder, answers_of
from keras_kd.teachers.features import layers_of


def saved_model(model: keras.Model, path: PathLike) -> Path:
    """Write a model as a SavedModel, weights stored once.

    Its signatures `serve` and `serving_default` take `image` and return `logits` and
    `probabilities`; several inputs, several outputs and outputs of other axes go by the model's
    own names. The folder is loaded again and compared with the model before it is moved into
    place, every output at every place.

    Args:
        model: a built `keras.Model` whose inputs have known shapes. One that classifies, logits
            `[batch, num_classes]`, must return logits.
        path: the folder to write; an older one is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if the model does not fit, or the written one answers otherwise.
    """
    model = check_model(model)
    # A folder is not replaced in one step: of two processes one waits.
    with alone(path), written_whole(path) as unfinished:
        write_serving(model, unfinished, batch_size=None)
        inputs = probes(model)
        answers = answers_of(SavedModelFolder(unfinished), inputs)
        check_equal_answers(answers, model, inputs, path)
    return path


def uncompiled(model: keras.Model) -> keras.Model:
    """Return a copy of a model without optimizer or loss, for saving.

    A compiled model's `.keras` file carries the optimizer, three times the size for Adam.

    Args:
        model: a `keras.Model` with a `get_config` (any Functional or Sequential one).
    """
    # Not `clone_model`, which compiles the copy as well.
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def in_float32(model):
    """Return a model itself, or its copy that computes in float32 if it is of mixed precision.

    Half-precision arithmetic is no builtin operation of LiteRT; the weights are float32 anyway.
    """
    if not any("mixed" in layer.dtype_policy.name for layer in layers_of(model)):
        return model
    copy = type(model).from_config(_without_mixed_precision(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


def _without_mixed_precision(config):
    """Return a Keras configuration with every `mixed_...` dtype policy replaced by float32."""
    if isinstance(config, dict):
        return {key: _without_mixed_precision(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_without_mixed_precision(value) for value in config)
    return "float32" if config in ("mixed_float16", "mixed_bfloat16") else config


def write_serving(model, folder, *, batch_size, dtype="float32"):
    """Write the SavedModel of the two signatures; return the graph of `serve`.

    Args:
        model: a `keras.Model` that `check_model` returned.
        folder: where to write it.
        batch_size: examples a call; `None` for any number.
        dtype: of `image`, where that is the only input.
    """
    # Keras's `model.export` stores every weight twice (keras#23553); an archive that is told of
    # the function only stores them once.
    archive = keras.export.ExportArchive()
    signature = signature_of(model, batch_size=batch_size, dtype=dtype)
    serve = archive.add_endpoint("serve", serving_function(model), signature)
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # In a notebook it tells of assets, of which there are none.
    try:
        archive.write_out(str(folder), verbose=False)
    finally:
        logger.setLevel(level)
    return serve.get_concrete_function().graph.as_graph_def()
