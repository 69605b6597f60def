"""One compiled step through several minibatches, for one distiller or several."""

import keras
import tensorflow as tf
from keras import ops

from keras_kd.ensemble import Ensemble
from keras_kd.fast_path import dense

NOT_FINITE = "NaN or infinity"


def train_on_stack(distillers, stack):
    """Train distillers on the minibatches of a stack, one after the other, and return their logs.

    They share each minibatch and what each teacher says of it.

    Args:
        distillers: a list of compiled `Distiller`s.
        stack: a `Stack`.

    Returns:
        A list of dicts, one a distiller.
    """
    # Dense teachers answer for the whole stack at once, in fewer and larger products; what
    # convolutions hold inside would be too large.
    at_once = dense([model for each in distillers for model in each.models_in_step()])
    known = _ask_teachers_of_stack(distillers, stack) if at_once else None
    names = [set() for _ in distillers]

    def train(number):
        minibatch = tuple(part[number] for part in stack.parts)
        if known is None:
            teachers = _ask_teachers(distillers, minibatch)
        else:
            teachers = keras.tree.map_structure(lambda outputs: outputs[number], known)
        for distiller, seen in zip(distillers, names, strict=True):
            outputs = teachers.get(_key(distiller.teacher)) if distiller.asks_teacher() else None
            seen.update(distiller.train_on_minibatch(minibatch, outputs))
        return number + 1

    tf.while_loop(lambda number: number < stack.count, train, [0])
    results = [distiller.get_metrics_result() for distiller in distillers]
    return [
        {name: value for name, value in result.items() if name in seen}
        for result, seen in zip(results, names, strict=True)
    ]


def _ask_teachers_of_stack(distillers, stack):
    """Return what each teacher says of a stack, `{key: {name: [height, batch_size, ...]}}`."""
    images, *others = stack.parts
    sizes = ops.shape(images)[:2]
    flat = (ops.reshape(images, (-1, *images.shape[2:])), *others)
    return keras.tree.map_structure(
        lambda output: ops.reshape(output, (*sizes, *output.shape[1:])),
        _ask_teachers(distillers, flat),
    )


def _ask_teachers(distillers, minibatch):
    """Return what each teacher says of a minibatch, each asked once, `{key: {name: tensor}}`."""
    if len(minibatch) > 2:  # Soft labels.
        return {}
    layers, teachers = {}, {}
    for distiller in distillers:
        if distiller.asks_teacher():
            key = _key(distiller.teacher)
            teachers[key] = distiller.teacher
            layers.setdefault(key, {}).update(dict.fromkeys(distiller.teacher_layers()))
    return {
        key: ask_teacher(teacher, minibatch[0], tuple(layers[key]))
        for key, teacher in teachers.items()
    }


def ask_teacher(teacher, images, layers):
    """Return a teacher's logits and layers by name, from one pass.

    Args:
        teacher: a `Teacher`.
        images: a batch.
        layers: names of layers, none for the logits alone.
    """
    outputs = teacher.with_features(images, layers) if layers else {"logits": teacher(images)}
    if num_replicas() > 1:
        # There an update cannot be conditional, as in `_apply`.
        outputs["logits"] = tf.debugging.check_numerics(outputs["logits"], NOT_FINITE)
    return outputs


def _key(teacher):
    """Return what is equal for equal teachers, whatever wraps them."""
    if isinstance(teacher, Ensemble):
        return teacher.average, *teacher.weights, *map(_key, teacher.teachers)
    return id(teacher.model), teacher.head, str(teacher.class_map), id(teacher.preprocess)


def num_replicas():
    """Return how many replicas of the model train at once."""
    return tf.distribute.get_strategy().num_replicas_in_sync
