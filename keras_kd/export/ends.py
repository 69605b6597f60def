"""What a model to export takes and returns, by the names that its files give them.

One input is called `image` in a file, and logits `[batch, num_classes]` alone are called `logits`,
with their `probabilities` beside them. Several inputs, several outputs, and an output of other
axes keep the names that the model has for them.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.graph import has_graph
from keras_kd._common.inputs import vocabularies
from keras_kd._common.structures import by_name, output_names, part_for
from keras_kd.teachers.heads import head_of
from keras_kd.teachers.probes import NotTriedError, try_out

PROBABILITIES = "probabilities"  # Beside the logits, from them.


def check_model(model):
    """Refuse what is no built model of numbers whose inputs have known shapes.

    Returns:
        The model; or, where ends stand in a list or a dict, the same whose one input or output
        stands alone, and whose several stand in a dict by name.

    Raises:
        ValueError: in one sentence.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"A model to export must be a keras.Model. Received: {type(model).__name__}. "
            "Load a file with `keras.models.load_model(path)`."
        )
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ValueError(
            f"A model to export must know its input. Received: {model.name}, which is not built "
            "or is subclassed. Begin it with a keras.Input, or wrap it: "
            "`keras.Model(image, model(image))`."
        )
    for name, end in inputs_of(model).items():
        what = "take images of one shape" if len(model.inputs) == 1 else f"know the shape of {name}"
        if None in end.shape[1:]:
            raise ValueError(
                f"A model to export must {what}. Received: {tuple(end.shape[1:])}. Wrap it in a "
                "model with a keras.Input of the shape that it will be given."
            )
        if end.dtype == "string":
            raise ValueError(
                f"A model to export must take numbers. Received: {model.name}, which takes "
                "strings. Export the model behind its TextVectorization or StringLookup."
            )
    model = _by_name(model)
    try:
        # What several outputs end in is theirs: a box may end in a sigmoid.
        head = head_of(model) if is_classifier(model) else _tried(model)
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


def _tried(model):
    outputs = by_name(try_out(model).outputs, output_names(model), what="Outputs")
    for name, answers in outputs.items():
        if not np.isfinite(answers).all():
            raise NotTriedError(f"The output {name} must be finite. Received: NaN or infinity.")


def refusal_of(model):
    """Return the sentence that says why a model cannot be exported, `None` if it can."""
    try:
        check_model(model)
    except ValueError as error:
        return str(error)
    return None


def is_classifier(model):
    """Return whether a model returns logits `[batch, num_classes]`, or what may be such, alone."""
    return len(model.outputs) == 1 and len(model.outputs[0].shape) == 2


def inputs_of(model):
    """Return a model's symbolic inputs by the names that its files have for them."""
    if len(model.inputs) == 1:
        return {"image": model.inputs[0]}
    if isinstance(model.input, dict):
        return dict(model.input)
    return {tensor.name: tensor for tensor in model.inputs}


def outputs_of(model):
    """Return the names of a model's outputs in its files, in their order."""
    return ("logits",) if is_classifier(model) else output_names(model)


def _by_name(model):
    """Return a model of ends that stand alone or in dicts by name."""
    # A Sequential has no structure, and an `input` only where another model called it.
    if isinstance(model, keras.Sequential) or all(
        isinstance(end, keras.KerasTensor) for end in (model.input, model.output)
    ):
        return model
    names = output_names(model)
    if has_graph(model):
        taken, outputs = inputs_of(model), model.output
    else:
        taken = {
            name: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name)
            for name, x in inputs_of(model).items()
        }
        outputs = model(_packed(model, taken))
    if not isinstance(outputs, dict):
        outputs = dict(zip(names, keras.tree.flatten(outputs), strict=True))
    return keras.Model(_alone(taken), _alone(outputs), name=model.name)


def _packed(model, taken):
    """Return tensors by the names of `inputs_of` as a model is called with them."""
    if isinstance(model.input, dict):  # Of one, `image` is not its name there.
        return dict(zip(model.input, taken.values(), strict=True))
    return keras.tree.pack_sequence_as(model.input, list(taken.values()))


def _alone(ends):
    return ends if len(ends) > 1 else next(iter(ends.values()))


def call(model, inputs, **options):
    """Return what a model returns, by the names of its files.

    Args:
        model: a `keras.Model` that `check_model` returned.
        inputs: a dict of tensors or arrays by the names of its files.
        **options: of the call.
    """
    outputs = model(inputs if len(model.inputs) > 1 else inputs["image"], **options)
    return by_name(outputs, outputs_of(model), what="Outputs")


def serving_function(model):
    """Return the function that every format holds: of `image`, or of a dict of several inputs."""

    def answers(inputs):
        outputs = {
            name: tf.cast(each, tf.float32) if each.dtype.is_floating else each
            for name, each in call(model, inputs, training=False).items()
        }
        if is_classifier(model):
            outputs[PROBABILITIES] = tf.nn.softmax(outputs["logits"])
        return outputs

    def serve(image):
        return answers({"image": image})

    return serve if len(model.inputs) == 1 else answers


def signature_of(model, *, batch_size, dtype="float32"):
    """Return the `input_signature` of a model's serving function.

    Args:
        model: a `keras.Model` that `check_model` returned.
        batch_size: examples a call; `None` for any number.
        dtype: of a model's one input. Of several each has its own.
    """
    ends = inputs_of(model)
    dtypes = {name: dtype if len(ends) == 1 else _dtype(end) for name, end in ends.items()}
    specs = {
        name: tf.TensorSpec((batch_size, *end.shape[1:]), dtypes[name], name=name)
        for name, end in ends.items()
    }
    return [specs if len(specs) > 1 else specs["image"]]


def _dtype(end):
    """Return float32 or int32, the two that all runtimes take: what Keras casts it from."""
    return "float32" if "float" in end.dtype else "int32"


def probes(model, input_range=(0.0, 255.0), count=4):
    """Return `count` made-up examples that fit a model, arrays by the names of its files.

    Pixels over `input_range`; for a model that takes numbers of words, numbers that it knows.
    """
    if len(model.inputs) > 1:
        made = part_for(model, try_out(model).inputs)
        return {name: np.resize(made[name], (count, *made[name].shape[1:])) for name in made}
    shape = (count, *model.inputs[0].shape[1:])
    rng = np.random.default_rng(0)
    sizes = vocabularies(model)
    if sizes:
        # Not 0, which often stands for no word: a text of none may have no answer.
        numbers = rng.integers(min(1, min(sizes) - 1), min(sizes), shape)
    else:
        numbers = rng.uniform(*input_range, shape)
    return {"image": numbers.astype("float32")}


def check_equal_answers(answers, model, inputs, path, tolerance=1e-3):
    """Refuse a file whose answers are not the model's, at any output and any place.

    Args:
        answers: the file's, arrays `[n, ...]` by name.
        model: the `keras.Model`, as `check_model` returned it.
        inputs: those that were answered, by name.
        path: the file, for the sentence.
        tolerance: root mean square of the difference over that of the model's output (or over 1,
            if it is smaller).

    Raises:
        ValueError: if they differ by more, or are not finite.
    """
    for name, expected in call(model, inputs, training=False).items():
        # float64: a file without weights answers with whatever lies in memory, which may be huge.
        expected = keras.ops.convert_to_numpy(expected).astype("float64")
        squares = np.square(answers[name] - expected)
        # Two runtimes order their sums differently; a lost weight or a wrong scale is far above.
        allowed = tolerance * max(1.0, float(np.sqrt(np.mean(np.square(expected)))))
        error, where = float(np.sqrt(np.mean(squares))), ""
        if squares.ndim > 2:  # Of many places one alone may be wrong, which the mean would hide.
            places = np.sqrt(np.mean(squares, axis=(0, -1)))
            error, where = float(places.max()), f" at {_worst(places)}"
        if not error <= allowed:  # NaN is not, either.
            raise ValueError(
                f"{path} must answer as the model does. Received: {name} that differ by {error:g}"
                f"{where}, where {allowed:g} is rounding. The file was not kept."
            )


def _worst(places):
    place = np.unravel_index(np.argmax(np.nan_to_num(places, nan=np.inf)), places.shape)
    return tuple(map(int, place))
