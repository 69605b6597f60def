"""What a teacher's arguments must be, and what its outputs are, as proved or as declared."""

import warnings

import keras
import numpy as np

from keras_kd._common.structures import by_name

HEADS = ("logits", "softmax", "sigmoid", "values")


def check_model(model):
    """Refuse what is no built `keras.Model` with finite weights.

    Args:
        model: of a teacher.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"The teacher must be a keras.Model. Received: {type(model).__name__}. "
            "Load a file with `keras_kd.load_teacher(path)`."
        )
    if not model.built:
        raise ValueError(
            f"The teacher {model.name} must be built. Received: a model without weights. "
            "Call it on one batch, or begin it with a keras.Input."
        )
    for weight in model.weights:
        value = weight.numpy().astype("float32")
        if not np.isfinite(value).all():
            raise ValueError(
                f"The teacher's weights must be finite. Received: NaN or infinity in "
                f"{weight.path}. Train it again with a smaller learning rate."
            )


def checked_outputs(outputs, names):
    """Return the names of the outputs that are wanted, in the model's order.

    Args:
        outputs: names, or `None` for all.
        names: of all.
    """
    wanted = names if outputs is None else tuple(outputs)
    if isinstance(outputs, str) or not set(wanted) <= set(names):
        raise ValueError(
            f"`outputs` must be names of the teacher's outputs, {', '.join(names)}. "
            f"Received: outputs={outputs!r}."
        )
    return tuple(name for name in names if name in wanted)


def the_only(names, attribute):
    """Return the name of the only output.

    Args:
        names: of the outputs.
        attribute: what tells of several.
    """
    if len(names) != 1:
        raise ValueError(
            "The teacher has several outputs, or none is wanted. Received: "
            f"{', '.join(names) or 'none'}. Look at its `{attribute}` by their names."
        )
    return names[0]


def checked_declared(head, names):
    """Return what is declared of each output by its name, `None` for what is to be found out.

    Args:
        head: of all outputs, or a dict of some.
        names: of all outputs.
    """
    declared = {}
    if isinstance(head, dict):
        declared = by_name(head, names, what="`head`")
    elif head is not None:
        declared = dict.fromkeys(names, head)
    for each in declared.values():
        if each is not None and each not in HEADS:
            raise ValueError(f"`head` must be one of {', '.join(HEADS)}. Received: head={each!r}.")
    return {name: declared.get(name) for name in names}


def checked_class_maps(class_map, names, num_classes, heads):
    """Return the class maps as tuples by the name of the output.

    Args:
        class_map: of the only output, or a dict of some.
        names: of the outputs.
        num_classes: of each.
        heads: of each.
    """
    if class_map is None:
        return {}
    given = class_map if isinstance(class_map, dict) or len(names) > 1 else {names[0]: class_map}
    if not isinstance(given, dict) or not set(given) <= set(names):
        raise ValueError(
            f"`class_map` must be a dict by the names of the outputs, {', '.join(names)}. "
            f"Received: {class_map}."
        )
    return {
        name: _checked_class_map(each, num_classes[name], heads[name])
        for name, each in given.items()
        if each is not None
    }


def _checked_class_map(class_map, num_classes, head):
    class_map = tuple(class_map)
    if head == "values":
        raise ValueError(
            f"`class_map` is for outputs of classes. Received: {list(class_map)} for values."
        )
    whole = all(
        isinstance(each, (int, np.integer)) and not isinstance(each, bool) and each >= 0
        for each in class_map
    )
    if len(class_map) != num_classes or not whole or len(set(class_map)) != num_classes:
        raise ValueError(
            f"`class_map` must name a different class of the student for each of the teacher's "
            f"{num_classes}. Received: {list(class_map)}."
        )
    return class_map


def checked_head(model, found, head, *, output=None):
    """Return what an output is: as its answers prove it, else as its owner says.

    Args:
        model: the `keras.Model`.
        found: a `Head`.
        head: what the owner says, or `None`.
        output: the name of the output, if there are several.
    """

    def way(head):
        return f"head={head!r}" if output is None else f"head={{{output!r}: {head!r}}}"

    teacher = f"teacher {model.name}"
    subject = teacher if output is None else f"output {output} of the {teacher}"
    if head is not None:
        _check_declared(found, head, way)
        return head
    if found.name is None and found.within_0_and_1:
        values = "" if output is None else f", or `{way('values')}` if they are no classes"
        raise ValueError(
            f"It cannot be told whether the {subject} returns logits or independent "
            f"probabilities. Say which: `Teacher(model, {way('logits')})` or "
            f"`{way('sigmoid')}`{values}."
        )
    if found.name is None:
        raise ValueError(
            f"The {subject} must end in logits, softmax or sigmoid. Received: a last "
            f"layer with a {found.said} whose answers go from {found.answers.min():.3g} to "
            f"{found.answers.max():.3g}. Leave out what comes after it, or pass "
            f"`{way('logits')}` if these are logits."
        )
    told = None
    if found.logits_model is None:
        form = "log(p)" if found.name == "softmax" else "log(p / (1 - p))"
        told = f"cannot be taken off; its outputs are probabilities, read through {form}"
    elif found.name == "logits" and found.said is None:
        told = "does not say what it returns; its outputs are logits"
    if told is not None:
        warnings.warn(
            f"The last layer of the {subject} {told}. Say so to silence this: "
            f"`Teacher(model, {way(found.name)})`.",
            stacklevel=4,
        )
    return found.name


def _check_declared(found, head, way):
    """Refuse a declared head that the answers contradict."""
    is_proved = found.name in HEADS[1:3] or found.said == "logits" or not found.within_0_and_1
    if found.name not in (None, head) and found.logits_model is not None and is_proved:
        raise ValueError(
            f"`head` must be what the teacher ends in. Received: {way(head)} for a model "
            f"that ends in {found.name}."
        )
    if head != "logits" and not found.within_0_and_1:
        raise ValueError(
            f"A teacher that ends in {head} must answer with probabilities. Received: answers "
            f"from {found.answers.min():.3g} to {found.answers.max():.3g}. Pass "
            f"`{way('logits')}` if they are logits, or leave the last layer out."
        )
