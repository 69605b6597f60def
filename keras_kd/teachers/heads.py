"""What a classifier ends in, proved by its answers, and the same classifier without it."""

import dataclasses
import inspect

import keras
import numpy as np
from keras import ops

from keras_kd.teachers.features import layers_of, walk
from keras_kd.teachers.probes import NotTriedError, Trial, ask, inputs_of, try_out

_ACTIVATIONS = {"softmax": ops.softmax, "sigmoid": ops.sigmoid}
_PRECISIONS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# What weights are made smaller by, until not all answers are 0 or 1.
_FACTORS = (0.7, 0.3, 0.1, 0.01, 1e-4)
# How many operations may follow the activation: a cast, a reshape.
_FOLLOWING = 3


@dataclasses.dataclass(frozen=True)
class Head:
    """What a model ends in.

    Args:
        name: `"logits"`, `"softmax"` or `"sigmoid"`; `None` if it cannot be told.
        logits_model: a model on the same layers and weights that returns logits; `None` if there
            is no way to them but `log`, or the name is not known.
        said: what the last layer says: one of these names, or `None`.
        answers: float32 `[batch, ..., num_classes]`, what the model answered in the trial.
        trial: the `Trial`.
    """

    name: str | None
    logits_model: keras.Model | None
    said: str | None
    answers: np.ndarray
    trial: Trial

    @property
    def within_0_and_1(self):
        """Whether all answers may be probabilities."""
        return _are_within_0_and_1(self.answers)


def head_of(model, **options):
    """Return `"logits"`, `"softmax"` or `"sigmoid"`, or `None` if it cannot be told.

    Args:
        model: as in `read_head`.
        **options: the other arguments of `read_head`.
    """
    return read_head(model, **options).name


def open_head(model, **options):
    """Return a model that ends before the last activation, and what that activation is.

    The layers and weights are the caller's. For a head that cannot be opened: the model itself
    and `None`.

    Args:
        model: as in `read_head`.
        **options: the other arguments of `read_head`.
    """
    head = read_head(model, **options)
    if head.logits_model is None or (head.said is None and head.name == "logits"):
        return model, None
    return head.logits_model, head.name


def read_head(model, *, examples=None, image_shape=None, what="model"):
    """Return the `Head` of a model, as its answers to a few inputs prove it.

    An activation counts as found if it gives the model's own answers when it is applied to what
    comes before it. What the last layer says of itself is believed of Keras's own linear layers
    alone: a subclass may do more after its activation.

    Args:
        model: a built `keras.Model` with one output.
        examples: a batch of inputs in the structure that the model takes; made up if `None`.
        image_shape: shape of one input, for a model that does not know it.
        what: what to call the model in an error.

    Raises:
        ValueError: if the model has several outputs, or its input shape is not known.
        NotTriedError: if the model refuses the inputs, or its answers are not finite.
    """
    trial = try_out(model, examples=examples, image_shape=image_shape, what=what)
    outputs, rows = _one_output(trial, what, examples)
    answers = outputs[rows]
    said, is_own = _said_by(model)
    if is_own and said == "logits":
        return Head("logits", model, said, answers, trial)
    if not _are_within_0_and_1(answers):
        # A layer that says otherwise does more than it says.
        name, logits_model = (None, None) if said in _ACTIVATIONS else ("logits", model)
        return Head(name, logits_model, said, answers, trial)
    epsilon = _epsilon(model)
    name, logits_model = _opened(model, trial, rows, answers, epsilon)
    if name is not None:
        return Head(name, logits_model, said, answers, trial)
    if answers.shape[-1] > 1 and np.allclose(answers.sum(-1), 1, atol=max(1e-3, 2 * epsilon)):
        return Head("softmax", None, said, answers, trial)
    if is_own and said == "sigmoid":  # A recurrent layer: no activation of a sum.
        return Head("sigmoid", None, said, answers, trial)
    if _leave_0_and_1(model, trial):
        return Head("logits", model, said, answers, trial)
    return Head(None, None, said, answers, trial)


def _one_output(trial, what, examples):
    """Return the only output, and which rows of it are finite."""
    outputs = keras.tree.flatten(trial.outputs)
    if len(outputs) != 1 or outputs[0].ndim < 2:
        raise ValueError(
            f"The {what} must have one output [batch, num_classes]. Received: outputs of shapes "
            f"{[output.shape for output in outputs]} for a batch of "
            f"{len(keras.tree.flatten(trial.inputs)[0])}."
        )
    rows = np.isfinite(outputs[0]).all(axis=tuple(range(1, outputs[0].ndim)))
    if not rows.any():
        raise NotTriedError(
            f"The {what}'s outputs must be finite. Received: NaN or infinity for every one of "
            f"{'the made-up inputs' if examples is None else '`examples`'}. Look at its "
            "normalisation (a division by a variance of 0?), or pass a batch of its real inputs: "
            "`examples=`."
        )
    return outputs[0], rows


def _are_within_0_and_1(answers):
    return bool(answers.min() >= 0 and answers.max() <= 1 + 1e-6)


def _opened(model, trial, rows, answers, epsilon):
    """Return the last activation's name and the model before it; `None`s if unproved."""
    half = epsilon > 1e-4  # Of whose small probabilities few digits are left.
    smallest, tolerance, of_logs = (10 * epsilon, 2 * epsilon, 0.1) if half else (1e-36, 1e-5, 1e-3)
    values = ()

    def telling():  # Many a function ends in zeros and ones.
        return (answers > smallest) & (answers < 1 - tolerance)

    for factor in _FACTORS:
        if not telling().any():
            values = [(weight, factor * weight) for weight in _float_weights(model)]
            answers = keras.tree.flatten(ask(model, trial.inputs, values)[0])[0][rows]
    if not telling().any():
        return None, None

    def are_equal(probabilities):
        if probabilities.shape != answers.shape:
            return False
        logs, wanted = (
            np.log(np.maximum(each[telling()], smallest)) for each in (probabilities, answers)
        )
        return np.allclose(probabilities, answers, rtol=0, atol=tolerance) and np.allclose(
            logs, wanted, rtol=1e-5, atol=of_logs
        )

    for candidate in _candidates(model):
        logits = keras.tree.flatten(ask(candidate, trial.inputs, values)[0])[0][rows]
        for name, activation in _ACTIVATIONS.items():
            possible = name == "sigmoid" or logits.shape[-1] > 1
            if possible and are_equal(np.asarray(activation(logits))):
                return name, candidate
    return None, None


def _float_weights(model):
    return [each for each in model.weights if keras.backend.is_float_dtype(each.dtype)]


def _epsilon(model):
    """Return the coarsest precision that a layer of the model computes in."""
    layers = [model, *layers_of(model)]
    return max(_PRECISIONS.get(layer.compute_dtype, 2.0**-23) for layer in layers)


def _leave_0_and_1(model, trial):
    """Return whether the answers leave 0 to 1 with other weights, as a weighted sum's would."""
    generator = np.random.default_rng(0)
    for _ in range(4):
        values = [
            (weight, _other_values(weight.shape, generator)) for weight in _float_weights(model)
        ]
        (answers,) = keras.tree.flatten(ask(model, trial.inputs, values)[0])
        if np.isfinite(answers).all() and not _are_within_0_and_1(answers):
            return True
    return False


def _other_values(shape, generator):
    if len(shape) < 2:  # Never below 0: it may be a variance.
        return np.abs(generator.normal(scale=10.0, size=shape))
    return generator.normal(scale=np.prod(shape[:-1]) ** -0.5, size=shape)


def _said_by(model):
    """Return what the last layer says of itself, and whether it and its model are Keras's own."""
    layer, before = _last_operation(model)
    if isinstance(layer, keras.Model):
        said, is_own = _said_by(layer)
        return said, is_own and _is_own(model)
    while isinstance(layer, keras.layers.Wrapper):
        layer = layer.layer
    said = _activation_name(layer)
    if said == "linear" and isinstance(layer, keras.layers.Activation) and before is not None:
        return _said_by(before)  # Often there to cast a softmax back to float32.
    # log(p) is logits that happen to be normalised.
    said = "logits" if said in ("linear", "log_softmax") else said
    return said, _is_own(layer) and _is_own(model)


def _is_own(layer):
    return type(layer).__module__.startswith("keras.")


def _activation_name(layer):
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    for name in ("linear", "softmax", "sigmoid", "log_softmax"):
        if activation is getattr(keras.activations, name):
            return name
    return None


def _candidates(model, following=_FOLLOWING):
    """Yield models that may be this one before its last activation; trying them tells."""
    operation, before = _last_operation(model)
    if before is None:
        return
    entering = before.outputs[0]
    if isinstance(operation, keras.Model):
        for inner in _candidates(operation, following):
            yield keras.Model(inputs_of(before), inner(entering))
        return
    opened = _without_activation(operation)
    if opened is not None:
        yield keras.Model(inputs_of(before), _Opened(opened)(entering))
    elif entering.shape == operation.output.shape:
        yield before
    if following and _is_plain(operation):
        for each in _candidates(before, following - 1):
            yield keras.Model(inputs_of(each), operation(each.outputs[0]))


def _last_operation(model):
    """Return the last layer or operation and a model of the one tensor that enters it.

    Either is `None` where there is none.
    """
    if len(getattr(model, "outputs", None) or []) != 1:
        return None, None
    if isinstance(model, keras.Sequential):
        # Built twice, its layers remember the tensors of the first time: go through them anew.
        first = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
        *others, last = model.layers
        return last, keras.Sequential([first, *others]) if others else keras.Model(first, first)
    for operation in reversed(model.operations):
        if operation.output is model.outputs[0]:
            several = isinstance(operation.input, list)
            return operation, None if several else keras.Model(model.input, operation.input)
    # It was called before, in another model, and remembers that call.
    calls = []

    def visit(operation, *args, **kwargs):
        outputs = operation(*args, **kwargs)
        calls.append((operation, args, outputs))
        return outputs

    inputs, output = walk(model, visit)
    for operation, args, outputs in reversed(calls):
        if outputs is output:
            return operation, keras.Model(inputs, args[0]) if len(args) == 1 else None
    return None, None  # One of several that a split or a model inside returns.


def _is_plain(operation):
    """Return whether an operation is a function of one tensor, without weights."""
    parameters = inspect.signature(operation.call).parameters.values()
    needed = [each for each in parameters if each.default is each.empty and each.kind < 2]
    return len(needed) == 1 and not getattr(operation, "weights", [])


def _without_activation(layer):
    """Return the layer less its activation, on the same weights; `None` if it has none."""
    inside = vars(layer)
    if isinstance(layer, keras.layers.Wrapper):
        inner = _without_activation(layer.layer)
        return None if inner is None else _with(layer, layer=inner)
    if inside.get("activation") in (None, keras.activations.linear):
        return None
    return _with(layer, activation=keras.activations.linear)


def _with(layer, /, **attributes):
    """Return a layer that is this one, its variables included, but for some attributes."""
    # Not by its config: a quantised layer, or one with LoRA, has other weights than that builds.
    twin = object.__new__(type(layer))
    vars(twin).update(vars(layer), **attributes)
    return twin


class _Opened(keras.layers.Layer):
    """Calls a layer less its activation."""

    def __init__(self, layer):
        super().__init__(name=f"{layer.name}_logits", dtype=layer.compute_dtype)
        self.layer = layer
        self.supports_masking = layer.supports_masking

    def call(self, inputs):
        return self.layer(inputs)
