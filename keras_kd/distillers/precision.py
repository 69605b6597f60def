"""Which numbers a training step computes in; weights and losses stay float32."""

import contextlib
import os

import keras

from keras_kd._common.backend import processor_flags
from keras_kd._common.graph import graph_of, has_graph
from keras_kd.teachers.features import layers_of

_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
# What a processor that computes in bfloat16 says of itself.
BFLOAT16 = {"amx_bf16", "avx512_bf16"}


def policy_for(precision, *, on_gpu, float16=True):
    """Return the name of the policy that a training step computes in, and why.

    Args:
        precision: `"mixed"` for what the device is fast in, or a policy's name.
        on_gpu: whether the step runs on a GPU.
        float16: whether every loss of the training is scaled, as float16 needs.

    Returns:
        `(policy, reason)`.

    Raises:
        ValueError: if it is none of these, or float16 cannot serve.
    """
    if precision == "mixed":
        if on_gpu:
            return ("mixed_float16" if float16 else "mixed_bfloat16"), "this GPU's fast numbers"
        if processor_flags() & BFLOAT16 and onednn_may_use_it():
            return "mixed_bfloat16", "this processor computes in bfloat16"
        return "float32", "this processor has no faster numbers"
    if precision not in _POLICIES:
        raise ValueError(
            f"`precision` must be 'mixed' or one of {', '.join(map(repr, _POLICIES))}. "
            f"Received: precision={precision!r}."
        )
    if precision == "mixed_float16" and not float16:
        raise ValueError(
            "Several optimizers, of which one scales its loss, cannot train in float16. "
            "Received: precision='mixed_float16'. Use 'mixed_bfloat16', which needs no scaling."
        )
    return precision, "as asked"


@contextlib.contextmanager
def computing_in(policy, models):
    """Let the layers of models compute by another policy inside the block.

    A step is traced, or run eagerly, inside; outside, the models are what they were: a student is
    evaluated, saved and exported in its own precision, and the teacher is the caller's. Weights
    stay float32; so do the layers that make each model's outputs, and layers that are not Keras's
    own, which may hold constants of their own.

    Args:
        policy: name of a dtype policy, or `None` to change nothing.
        models: `keras.Model`s.
    """
    layers = {id(each): each for model in models for each in _inner_layers(model)} if policy else {}
    before = [(layer, layer.dtype_policy) for layer in layers.values()]
    try:
        for layer in layers.values():
            layer.dtype_policy = keras.dtype_policies.get(policy)
        yield
    finally:
        for layer, own in before:
            layer.dtype_policy = own


def onednn_may_use_it():
    """Return whether oneDNN may use what the processor has for bfloat16.

    TensorFlow asks the processor alone, and ends with an error where oneDNN is held back.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    return any(word in limit for word in ("ALL", "DEFAULT", "BF16", "FP16", "AMX", "AVX10"))


def scaled(optimizer):
    """Return an optimizer, or the one of that name, as one that scales its loss for float16."""
    optimizer = keras.optimizers.get(optimizer)
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer if scales else keras.optimizers.LossScaleOptimizer(optimizer)


def unscaled(optimizer):
    """Return the optimizer inside one that scales its loss, any other as it is."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _inner_layers(model):
    """Return the layers of Keras's own that a model computes with, but for those of its outputs."""
    layers = [layer for layer in layers_of(model) if type(layer).__module__.startswith("keras.")]
    several = len(getattr(model, "outputs", None) or ()) > 1 and has_graph(model)
    last = _last_layers(model) if several else {id(each) for each in layers[-1:]}
    return [layer for layer in layers if id(layer) not in last]


def _last_layers(model):
    graph = graph_of(model)
    outputs = {id(tensor) for tensor in graph.outputs}
    return {
        id(call.operation)
        for call in graph.calls
        if any(id(tensor) in outputs for tensor in keras.tree.flatten(call.outputs))
    }
