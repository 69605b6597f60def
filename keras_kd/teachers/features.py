"""Outputs and inner layers of a model in one forward pass."""

import keras

from keras_kd._common.graph import has_graph


def feature_model(model, layer_names):
    """Return a model on the same layers and weights that returns inner layers' outputs as well.

    Args:
        model: a Functional or Sequential `keras.Model` with one input and one output.
        layer_names: names of layers, nested ones as a path: `backbone/block_3`; with `:input`
            behind it, what enters the layer.

    Returns:
        A `keras.Model` that returns a dict: `"logits"` is the model's own output, the other keys
        are `layer_names`.

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

    image, logits = walk(model, visit)
    missing = [name for name in layer_names if name not in found]
    if missing:
        raise ValueError(
            f"The model {model.name} must have the layers that a loss names. "
            f"Received: {', '.join(missing)}. It has: "
            f"{', '.join(layer.name for layer in model.layers)}."
        )
    return keras.Model(image, {"logits": logits, **found})


def layers_of(model):
    """Return the layers of a model and of the models inside it, in their order.

    Args:
        model: a built `keras.Model`.
    """
    found = []
    for layer in model.layers:
        found += layers_of(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def walk(model, visit):
    """Call `visit` on the model's layers in their order, on a new input; return both ends."""
    if isinstance(model, keras.Sequential):
        image = x = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
        for layer in model.layers:
            x = visit(layer, x)
        return image, x
    # A model of its own around the same graph: cloning a compiled one would compile the clone,
    # with another optimizer.
    clone = keras.models.clone_model(
        keras.Model(model.input, model.outputs[0]),
        clone_function=lambda layer: layer,
        call_function=visit,
    )
    return clone.input, clone.outputs[0]
