"""What a classifier ends in, proved by its answers, and the same classifier without it."""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd._common.graph import has_graph
from keras_kd._common.structures import by_name, output_names
from keras_kd.teachers.features import layers_of
from keras_kd.teachers.opening import candidates, is_own_class, recorded, said_by
from keras_kd.teachers.probes import NotTriedError, Trial, ask, try_out

_ACTIVATIONS = {"softmax": ops.softmax, "sigmoid": ops.sigmoid}
_PRECISIONS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# What weights are made smaller by, until not all answers are 0 or 1.
_FACTORS = (0.7, 0.3, 0.1, 0.01, 1e-4)


@dataclasses.dataclass(frozen=True)
class Head:
    """What an output of a model ends in.

    Args:
        name: `"logits"`, `"softmax"` or `"sigmoid"`; `None` if it cannot be told.
        logits_model: a model on the same layers and weights that returns logits (for logits, the
            model itself, whatever else it returns); `None` if there is no way to them but `log`,
            or the name is not known.
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
    def is_of_several(self):
        """Whether the model returns other outputs too."""
        return len(keras.tree.flatten(self.trial.outputs)) > 1

    @property
    def within_0_and_1(self):
        """Whether all answers may be probabilities."""
        return _are_within_0_and_1(self.answers)


def head_of(model: keras.Model, **options: Any) -> str | None:
    """Return `"logits"`, `"softmax"` or `"sigmoid"`, or `None` if it cannot be told.

    Args:
        model: as in `read_head`.
        **options: the other arguments of `read_head`.
    """
    return read_head(model, **options).name


def open_head(model: keras.Model, **options: Any) -> tuple[keras.Model, str | None]:
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
    if len(keras.tree.flatten(trial.outputs)) != 1:
        raise _not_tensors(trial, what)
    (name,) = output_names(model, trial.outputs)
    return Answers(model, trial, [name], what=what).head(name)


def read_heads(model, names=None, *, examples=None, image_shape=None, what="model"):
    """Return the `Head`s of a model of any outputs, from one trial, by the names of the outputs.

    Args:
        model: a built `keras.Model`.
        names: of the outputs that are looked at; all if `None`.
        examples: as in `read_head`.
        image_shape: as in `read_head`.
        what: as in `read_head`.

    Raises:
        ValueError: if one of these outputs is no tensor, or its input shape is not known.
        NotTriedError: as in `read_head`.
    """
    trial = try_out(model, examples=examples, image_shape=image_shape, what=what)
    names = output_names(model, trial.outputs) if names is None else names
    answers = Answers(model, trial, names, what=what)
    return {name: answers.head(name) for name in names}


class Answers:
    """What a model answered in a trial, output by output.

    Args:
        model: a built `keras.Model`.
        trial: the `Trial`.
        names: of the outputs that are looked at.
        what: what to call the model in an error.

    Attributes:
        names: of all outputs.
        finite: the finite answers of each output, float32 `[examples, ...]` by name.
        recording: the `Recording` of a model of several outputs, on which heads are opened;
            `None` for a model of one, or without a graph to look into.

    Raises:
        ValueError: if an output is no tensor `[batch, ..., classes or values]`.
        NotTriedError: if none of an output's answers is finite.
    """

    def __init__(self, model, trial, names, *, what="model"):
        self.model = model
        self.trial = trial
        outputs = _by_name(model, trial.outputs)
        self.names = tuple(outputs)
        outputs = {name: outputs[name] for name in names}
        if any(keras.tree.is_nested(each) or each.ndim < 2 for each in outputs.values()):
            wanted = "tensors [batch, ..., classes or values] as outputs"
            raise _not_tensors(trial, what, *[wanted] if len(self.names) > 1 else [])
        self._rows = {name: _finite_rows(each, trial, what) for name, each in outputs.items()}
        self.finite = {name: each[self._rows[name]] for name, each in outputs.items()}
        several = len(self.names) > 1 and has_graph(model)
        self.recording = recorded(model) if several else None

    def head(self, name):
        """Return the `Head` of an output."""
        answers, said, is_own = self.finite[name], *self._said(name)

        def head(found, logits_model):
            return Head(found, logits_model, said, answers, self.trial)

        if is_own and said == "logits":
            return head("logits", self.model)
        if not _are_within_0_and_1(answers):
            # A layer that says otherwise does more than it says.
            return head(None, None) if said in _ACTIVATIONS else head("logits", self.model)
        epsilon = _epsilon(self.model)
        found, logits_model = self._opened(name, epsilon)
        if found is not None:
            return head(found, logits_model)
        if answers.shape[-1] > 1 and np.allclose(answers.sum(-1), 1, atol=max(1e-3, 2 * epsilon)):
            return head("softmax", None)
        if is_own and said == "sigmoid":  # A recurrent layer: no activation of a sum.
            return head("sigmoid", None)
        if self._leaves_0_and_1(name):
            return head("logits", self.model)
        return head(None, None)

    def opened(self, logits_models):
        """Return one model of the logits of these outputs, and of all others as they are.

        Args:
            logits_models: those of their `Head`s, by name.
        """
        if self.recording is None:
            (logits_model,) = logits_models.values()
            return logits_model
        return self.recording.opened(logits_models)

    def _said(self, name):
        said, is_own = said_by(*self._part(name))
        return said, is_own and is_own_class(self.model)

    def _part(self, name):
        """Return a model of this output alone, where one can be had, and the calls it is of."""
        if self.recording is None:
            return self.model, ()
        return self.recording.with_one_output(name), self.recording.calls

    def _answer(self, model, name, values):
        """Return what the model, or a part of this output alone, answers with other weights."""
        outputs = _by_name(model, ask(model, self.trial.inputs, values)[0])
        return outputs[name] if name in outputs else next(iter(outputs.values()))

    def _opened(self, name, epsilon):
        """Return the last activation's name and the model before it; `None`s if unproved."""
        half = epsilon > 1e-4  # Of whose small probabilities few digits are left.
        smallest, tolerance, of_logs = (
            (10 * epsilon, 2 * epsilon, 0.1) if half else (1e-36, 1e-5, 1e-3)
        )
        part, calls = self._part(name)
        answers, rows, values = self.finite[name], self._rows[name], ()

        def telling():  # Many a function ends in zeros and ones.
            return (answers > smallest) & (answers < 1 - tolerance)

        for factor in _FACTORS:
            if not telling().any():
                values = [(weight, factor * weight) for weight in _float_weights(self.model)]
                answers = self._answer(part, name, values)[rows]
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

        for candidate in candidates(part, calls):
            logits = self._answer(candidate, name, values)[rows]
            for activation, function in _ACTIVATIONS.items():
                possible = activation == "sigmoid" or logits.shape[-1] > 1
                if possible and are_equal(np.asarray(function(logits))):
                    return activation, candidate
        return None, None

    def _leaves_0_and_1(self, name):
        """Return whether it leaves 0 to 1 with other weights, as a weighted sum would."""
        generator = np.random.default_rng(0)
        part, _ = self._part(name)
        for _ in range(4):
            values = [
                (weight, _other_values(weight, generator)) for weight in _float_weights(self.model)
            ]
            answers = self._answer(part, name, values)
            if np.isfinite(answers).all() and not _are_within_0_and_1(answers):
                return True
        return False


def _by_name(model, outputs):
    names, flat = output_names(model, outputs), keras.tree.flatten(outputs)
    return {names[0]: flat[0]} if len(flat) == 1 else by_name(outputs, names, what="The outputs")


def _not_tensors(trial, what, wanted="one output [batch, num_classes]"):
    shapes = [output.shape for output in keras.tree.flatten(trial.outputs)]
    return ValueError(
        f"The {what} must have {wanted}. Received: outputs of shapes {shapes} for a batch of "
        f"{len(keras.tree.flatten(trial.inputs)[0])}."
    )


def _finite_rows(output, trial, what):
    rows = np.isfinite(output).all(axis=tuple(range(1, output.ndim)))
    if not rows.any():
        raise NotTriedError(
            f"The {what}'s outputs must be finite. Received: NaN or infinity for every one of "
            f"{'the made-up inputs' if trial.made_up else '`examples`'}. Look at its "
            "normalisation (a division by a variance of 0?), or pass a batch of its real inputs: "
            "`examples=`."
        )
    return rows


def _are_within_0_and_1(answers):
    return bool(answers.min() >= 0 and answers.max() <= 1 + 1e-6)


def _float_weights(model):
    return [each for each in model.weights if keras.backend.is_float_dtype(each.dtype)]


def _epsilon(model):
    """Return the coarsest precision that a layer of the model computes in."""
    layers = [model, *layers_of(model)]
    return max(_PRECISIONS.get(layer.compute_dtype, 2.0**-23) for layer in layers)


def _other_values(weight, generator):
    shape = weight.shape
    if len(shape) == 0:  # It may be the lower of two ends, and stays below the other.
        return 1000 * np.asarray(weight)
    if len(shape) < 2:  # Never below 0: it may be a variance.
        return np.abs(generator.normal(scale=10.0, size=shape))
    return generator.normal(scale=np.prod(shape[:-1]) ** -0.5, size=shape)
