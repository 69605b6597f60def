"""Outputs and inner layers of a model in one forward pass."""

from collections.abc import Sequence

import keras

from keras_kd._common.graph import has_graph, model_between, walk


def feature_model(model: keras.Model, layer_names: Sequence[str]) -> keras.Model:
    """Return a model on the same layers and weights that returns inner layers' outputs as well.

    Args:
        model: a Functional or Sequential `keras.Model`, of any inputs and outputs.
        layer_names: names of layers, nested ones as a path: `backbone/block_3`; with `:input`
            behind it, what enters the layer.

    Returns:
        A `keras.Model` that returns a dict: `"logits"` is the model's own output (of several,
        all in their structure), the other keys are `layer_names`. Keras's masks hang on them.

    Raises:
        ValueError: if the model has no graph to look into, or no layer of such a name; the
            names it has are listed.
    """
    if not has_graph(model):
        raise ValueError(
            f"The layers of {model.name} cannot be named from outside: it is neither Functional "
            "nor Sequential, or has a `call` of its own. Wrap the parts that are wanted in a "
            "Functional model."
        )
    found = {}

    def visit(layer, *args, **kwargs):
        if f"{layer.name}:input" in layer_names:
            found[f"{layer.name}:input"] = args[0]
        inner = [name.split("/", 1)[1] for name in layer_names if name.startswith(layer.name + "/")]
        if inner and isinstance(layer, keras.Model):
            outputs = feature_model(layer, inner)(*args, **kwargs)
            found.update({f"{layer.name}/{name}": outputs[name] for name in inner})
            outputs = outputs["logits"]
        else:
            outputs = layer(*args, **kwargs)
        if layer.name in layer_names:
            found[layer.name] = outputs
        return outputs

    inputs, outputs = walk(model, visit)
    missing = [name for name in layer_names if name not in found]
    if missing:
        raise ValueError(
            f"The model {model.name} must have the layers that a loss names. "
            f"Received: {', '.join(missing)}. It has: "
            f"{', '.join(layer.name for layer in model.layers)}."
        )
    flat = keras.tree.flatten(outputs)
    if len(flat) > 1 and "logits" in found:
        raise ValueError(
            f"A layer of {model.name}, which has several outputs, cannot be called `logits` if it "
            "is compared. Received: one. Give it another name."
        )
    outputs = flat[0] if len(flat) == 1 else outputs
    return model_between(inputs, {"logits": outputs, **found})


def layers_of(model):
    """Return the layers of a model and of the models inside it, in their order.

    Args:
        model: a built `keras.Model`.
    """
    found = []
    for layer in model.layers:
        found += layers_of(layer) if isinstance(layer, keras.Model) else [layer]
    return found
