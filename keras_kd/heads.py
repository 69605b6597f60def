"""What a classifier ends in, and the same classifier without its last activation."""

import keras


def head_of(model):
    """Return `"logits"`, `"softmax"` or `"sigmoid"`, as the last layer says, or `None`."""
    return open_head(model)[1]


def open_head(model):
    """Return a model that ends before the last activation, and what that activation is.

    The layers and weights are the caller's. For a head that cannot be opened: the model itself
    and `None`.
    """
    layer, before = _last_layer(model)
    if layer is None:
        return model, None
    activation = _activation_name(layer)
    if isinstance(layer, keras.Model):
        inner, head = open_head(layer)
        if head in ("softmax", "sigmoid"):
            return keras.Model(_inputs(before), inner(before.outputs[0])), head
        return model, head
    if isinstance(layer, keras.layers.Softmax) and layer.axis in (-1, len(layer.output.shape) - 1):
        return before, "softmax"
    if isinstance(layer, keras.layers.Activation):
        if activation in ("softmax", "sigmoid"):
            return before, activation
        if activation == "linear":  # Often there to cast a softmax back to float32.
            opened, head = open_head(before)
            return (opened if head in ("softmax", "sigmoid") else model), head
    elif activation in ("softmax", "sigmoid"):
        logits = _WithoutActivation(layer)(before.outputs[0])
        return keras.Model(_inputs(before), logits), activation
    # log(p) is logits that happen to be normalised.
    return model, "logits" if activation in ("linear", "log_softmax") else None


def _last_layer(model):
    """Return the last layer and a model of what comes before it; `None`s if no graph tells."""
    if not getattr(model, "outputs", None):
        return None, None
    if isinstance(model, keras.Sequential):
        # Built twice, its layers remember the tensors of the first time: go through them anew.
        first = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
        *others, last = model.layers
        return last, keras.Sequential([first, *others]) if others else keras.Model(first, first)
    for layer in reversed(model.layers):
        try:
            if layer.output is model.outputs[0]:
                return layer, keras.Model(_inputs(model), layer.input)
        except (AttributeError, ValueError):  # Never called on a symbolic tensor.
            continue
    return None, None


def _inputs(model):
    # A list of one would make Keras expect a list of one.
    return model.inputs if len(model.inputs) > 1 else model.inputs[0]


def _activation_name(layer):
    activation = getattr(layer, "activation", None)
    for name in ("linear", "softmax", "sigmoid", "log_softmax"):
        if activation is getattr(keras.activations, name):
            return name
    return None


class _WithoutActivation(keras.layers.Layer):
    """The caller's layer less its activation, on the caller's own weights."""

    def __init__(self, layer):
        super().__init__(name=f"{layer.name}_logits", dtype=layer.dtype_policy)
        self.layer = layer
        twin = type(layer).from_config({**layer.get_config(), "activation": "linear"})
        twin.trainable = True
        self._build_twin = twin.build
        # Bound methods, not the layer: the twin's own weights are never used nor tracked.
        self._call_twin = twin.stateless_call

    def build(self, input_shape):
        self._build_twin(input_shape)

    def call(self, inputs):
        outputs, _ = self._call_twin([w.value for w in self.layer.weights], [], inputs)
        return outputs
