"""SavedModel: what TensorFlow Serving and the LiteRT converter read."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.files import written_whole
from keras_kd._common.graph import has_graph
from keras_kd._common.inputs import vocabularies
from keras_kd._common.locks import alone
from keras_kd._common.typing import PathLike
from keras_kd.teachers.features import layers_of
from keras_kd.teachers.heads import head_of
from keras_kd.teachers.probes import NotTriedError


def saved_model(model: keras.Model, path: PathLike) -> Path:
    """Write a model that returns logits as a SavedModel, weights stored once.

    Its signatures `serve` and `serving_default` take `image` and return `logits` and
    `probabilities`. The folder is loaded again and compared with the model before it is moved
    into place.

    Args:
        model: a built `keras.Model` with one input and logits `[batch, num_classes]`.
        path: the folder to write; an older one is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if the model has several inputs or outputs, or the written one answers
            otherwise than the model.
    """
    model = check_model(model)
    # A folder is not replaced in one step: of two processes one waits.
    with alone(path), written_whole(path) as unfinished:
        write_serving(model, unfinished, batch_size=None)
        serve = tf.saved_model.load(str(unfinished)).signatures["serve"]
        images = probe_images(model)
        answers = serve(image=tf.constant(images))["logits"].numpy()
        check_equal_answers(answers, model, images, path)
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


def serving_function(model):
    """Return the function from `image` to `logits` and `probabilities` that every format holds."""

    def serve(image):
        logits = tf.cast(model(image, training=False), tf.float32)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    return serve


def write_serving(model, folder, *, batch_size, dtype="float32"):
    """Write the SavedModel of the two signatures; return the graph of `serve`.

    Args:
        model: a `keras.Model` that `check_model` returned.
        folder: where to write it.
        batch_size: of the images; `None` for any.
        dtype: of `image`.
    """
    # Keras's `model.export` stores every weight twice (keras#23553); an archive that is told of
    # the function only stores them once.
    archive = keras.export.ExportArchive()
    shape = (batch_size, *model.inputs[0].shape[1:])
    serve = archive.add_endpoint(
        "serve", serving_function(model), [tf.TensorSpec(shape, dtype, name="image")]
    )
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # In a notebook it tells of assets, of which there are none.
    try:
        archive.write_out(str(folder), verbose=False)
    finally:
        logger.setLevel(level)
    return serve.get_concrete_function().graph.as_graph_def()


def check_model(model):
    """Refuse what is no built classifier with one input of known shape and one output of logits.

    Returns:
        The model; or, where its one input or output stands in a list or a dict, the same without.

    Raises:
        ValueError: in one sentence.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"A model to export must be a keras.Model. Received: {type(model).__name__}. "
            "Load a file with `keras.models.load_model(path)`."
        )
    inputs, outputs = (getattr(model, ends, None) for ends in ("inputs", "outputs"))
    if not inputs or not outputs:
        raise ValueError(
            f"A model to export must know its input. Received: {model.name}, which is not built "
            "or is subclassed. Begin it with a keras.Input, or wrap it: "
            "`keras.Model(image, model(image))`."
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            "A model to export must have one input and one output. "
            f"Received: {len(inputs)} and {len(outputs)}. Keras's own `model.export` writes a "
            "SavedModel of several."
        )
    if None in inputs[0].shape[1:]:
        raise ValueError(
            "A model to export must take images of one shape. "
            f"Received: {tuple(inputs[0].shape[1:])}. Wrap it in a model with a keras.Input of "
            "the shape that it will be given."
        )
    if inputs[0].dtype == "string":
        raise ValueError(
            f"A model to export must take numbers. Received: {model.name}, which takes strings. "
            "Export the model behind its TextVectorization or StringLookup."
        )
    model = _without_structure(model)
    try:
        head = head_of(model)
    except NotTriedError as error:
        raise ValueError(
            "A model to export must answer made-up inputs with finite logits. Received: "
            f"{model.name}, which does not. Look at its weights and its normalisation (a division "
            "by a variance of 0?)."
        ) from error
    if head in ("softmax", "sigmoid"):
        raise ValueError(
            f"A model to export must return logits. Received: {model.name}, which ends in {head}. "
            "Leave its last activation out (`keras_kd.teachers.open_head(model)[0]` does): "
            "the file adds the probabilities itself."
        )
    return model


def refusal_of(model):
    """Return the sentence that says why a model cannot be exported, `None` if it can."""
    try:
        check_model(model)
    except ValueError as error:
        return str(error)
    return None


def _without_structure(model):
    # A Sequential has no structure, and an `input` only where another model called it.
    if isinstance(model, keras.Sequential) or all(
        isinstance(end, keras.KerasTensor) for end in (model.input, model.output)
    ):
        return model
    if has_graph(model):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    (image,) = (keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name) for x in model.inputs)
    (logits,) = keras.tree.flatten(model(keras.tree.pack_sequence_as(model.input, [image])))
    return keras.Model(image, logits, name=model.name)


def probe_images(model, input_range=(0.0, 255.0), count=4):
    """Return `count` made-up images that fit a model's input, with pixels over `input_range`.

    For a model that takes numbers of words these are numbers that it knows.
    """
    shape = (count, *model.inputs[0].shape[1:])
    rng = np.random.default_rng(0)
    sizes = vocabularies(model)
    if sizes:
        # Not 0, which often stands for no word: a text of none may have no answer.
        return rng.integers(min(1, min(sizes) - 1), min(sizes), shape).astype("float32")
    return rng.uniform(*input_range, shape).astype("float32")


def check_equal_answers(answers, model, images, path, tolerance=1e-3):
    """Refuse a file whose logits are not the model's.

    Args:
        answers: the file's logits `[n, num_classes]`.
        model: the `keras.Model`.
        images: those that were answered.
        path: the file, for the sentence.
        tolerance: root mean square of the difference over that of the model's logits (or over 1,
            if they are smaller).

    Raises:
        ValueError: if they differ by more, or are not finite.
    """
    # float64: a file without weights answers with whatever lies in memory, which may be huge.
    expected = keras.ops.convert_to_numpy(model(images, training=False)).astype("float64")
    # Two runtimes order their sums differently; a lost weight or a wrong scale is far above.
    allowed = tolerance * max(1.0, float(np.sqrt(np.mean(np.square(expected)))))
    error = float(np.sqrt(np.mean(np.square(answers - expected))))
    if not error <= allowed:  # NaN is not, either.
        raise ValueError(
            f"{path} must answer as the model does. Received: logits that differ by {error:g}, "
            f"where {allowed:g} is rounding. The file was not kept."
        )
