"""Whether every operation of a training step is known to have an XLA kernel, and to act as without.

XLA refuses a step with an operation that it has no kernel for (strings, `unique`, lookups, what a
`Lambda` may hold), and lets pass what TensorFlow refuses (an `Embedding`'s index that is out of
range). So `fit` chooses it by itself only where each part of the step is one of those below:
Keras's own or ours, never a subclass, never a function of the user's.
"""

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_kd.distillers.precision import unscaled

# Layers and operations of Keras's own that do the same arithmetic under XLA and raise nothing else.
_LAYERS = {
    *("InputLayer", "Dense", "EinsumDense", "Identity", "Activation", "ReLU", "LeakyReLU", "ELU"),
    *("PReLU", "Softmax", "Flatten", "Reshape", "Permute", "RepeatVector", "Rescaling"),
    *("Normalization", "BatchNormalization", "LayerNormalization", "GroupNormalization"),
    *("RMSNormalization", "UnitNormalization", "SpectralNormalization", "ActivityRegularization"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"),
    *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D"),
    *("GlobalMaxPooling2D", "Divide", "TrueDivide", "Negative", "Relu", "Tanh", "Sigmoid"),
    *("GetItem", "ExpandDims", "Squeeze", "Transpose", "Mean", "Sum", "Square", "Cast"),
}
# Where our own layers are that a student or a discriminator may hold.
_ROOMS = ("keras_kd.quantize.", "keras_kd.adversarial.", "keras_kd.losses.")
# Losses and metrics of Keras's own, however they are written: `MeanSquaredError`, its function.
_MEASURES = {
    *("accuracy", "acc", "binaryaccuracy", "categoricalaccuracy", "sparsecategoricalaccuracy"),
    *("crossentropy", "ce", "categoricalcrossentropy", "sparsecategoricalcrossentropy"),
    *("binarycrossentropy", "categoricalfocalcrossentropy", "binaryfocalcrossentropy"),
    *("meansquarederror", "mse", "meanabsoluteerror", "mae", "rootmeansquarederror", "huber"),
    *("meanabsolutepercentageerror", "meansquaredlogarithmicerror", "logcosh", "poisson"),
    *("kldivergence", "cosinesimilarity", "hinge", "squaredhinge", "categoricalhinge"),
}
_PARTS_OF_LAYERS = (
    "activation",
    *(f"{part}_regularizer" for part in ("activity", "kernel", "bias", "alpha", "beta", "gamma")),
    *(f"{part}_constraint" for part in ("kernel", "bias", "alpha", "beta", "gamma")),
)


def is_known(*, models, losses, others):
    """Return whether XLA is known to compute a training step as TensorFlow does.

    Args:
        models: the `keras.Model`s that run in the step.
        losses: the losses.
        others: whatever else computes: the distiller itself, schedules.
    """
    return (
        all(_is_known_model(model) for model in models)
        and all(_is_known_loss(loss) for loss in losses)
        and all(map(_is_ours_or_keras, others))
    )


def are_known_metrics(metrics):
    """Return whether XLA is known to compute these metrics, as `compile` is given them."""
    return all(_is_known_measure(metric) for metric in keras.tree.flatten(metrics))


def is_known_optimizer(optimizer):
    """Return whether an optimizer, and the schedule of its learning rate, are Keras's or ours."""
    optimizer = unscaled(optimizer)
    if not _is_ours_or_keras(optimizer):
        return False
    if isinstance(optimizer.learning_rate, keras.Variable):  # A number; a schedule's is a tensor.
        return True
    try:
        module = optimizer.get_config()["learning_rate"]["module"]
    except NotImplementedError:  # A schedule of the user's, without a configuration.
        return False
    return module is not None and module.startswith(("keras.", "keras_kd."))


def _is_known_model(model):
    # A model with a `call` of its own may do anything in it.
    if not (_is_keras(model) and getattr(model, "outputs", None)):
        return False
    return all(
        _is_known_model(each) if isinstance(each, keras.Model) else _is_known_layer(each)
        for each in getattr(model, "operations", model.layers)
    )


def _is_known_layer(layer):
    ours = type(layer).__module__.startswith(_ROOMS)
    if not (ours or (_is_keras(layer) and type(layer).__name__ in _LAYERS)):
        return False
    if getattr(layer, "quantization_mode", None) is not None:
        return False
    parts = [getattr(layer, name, None) for name in _PARTS_OF_LAYERS]
    inner = getattr(layer, "layer", None)  # Of a wrapper.
    return all(map(_is_ours_or_keras, parts)) and (inner is None or _is_known_layer(inner))


def _is_known_loss(loss):
    """Return whether a loss is ours, or one of Keras's; so must be what it is made of."""
    parts = vars(loss).values()
    kinds = keras.losses.Loss, keras.distillation.DistillationLoss
    inner = [each for each in parts if isinstance(each, kinds)]
    schedules = [each for each in parts if isinstance(each, LearningRateSchedule)]
    functions = [each for each in parts if callable(each) and each not in [*inner, *schedules]]
    if _is_ours(loss):
        known = all(map(_is_known_measure, functions))
    elif isinstance(loss, keras.losses.Loss):
        known = _is_known_measure(loss)
    else:  # A `keras.distillation` loss, around a loss of Keras's.
        known = _is_keras(loss)
    return known and all(map(_is_known_loss, inner)) and all(map(_is_ours_or_keras, schedules))


def _is_known_measure(measure):
    """Return whether a loss, a metric or its name is one that XLA computes."""
    if measure is None:
        return True
    if not (isinstance(measure, str) or _is_keras(measure)):
        return False
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", None)
    return (name or type(measure).__name__).replace("_", "").lower() in _MEASURES


def _module(thing):
    """Return where a function, or the class of an object, was written."""
    return getattr(thing, "__module__", None) or type(thing).__module__


def _is_keras(thing):
    return _module(thing).startswith("keras.")


def _is_ours(thing):
    return _module(thing).startswith("keras_kd.")


def _is_ours_or_keras(thing):
    is_plain = thing is None or isinstance(thing, (int, float, keras.Variable))
    return is_plain or _is_keras(thing) or _is_ours(thing)
