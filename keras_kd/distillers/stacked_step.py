"""One compiled step through several minibatches, for one distiller or several."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_kd._common.backend import num_replicas
from keras_kd.data.targets import Targets
from keras_kd.distillers.fast_path import sees_minibatches
from keras_kd.soft_labels import logits_of_all
from keras_kd.teachers.ensemble import Ensemble

# Above this, the teacher is asked in each step.
_KEPT_BYTES = 128 * 2**20
# Images that a teacher is asked about twice, before its logits are kept.
_NUM_TRIED = 6
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

    def train(stack):
        return _train(distillers, stack)

    return tf.function(train, jit_compile=True)(stack) if stack.plan.xla else train(stack)


def _train(distillers, stack):
    names = [set() for _ in distillers]

    def train(number):
        minibatch = stack.minibatch(number)
        stored = isinstance(minibatch[1], Targets)
        kept = minibatch[1].teacher_logits if stack.plan.kept else None
        if stack.plan.kept:
            images, (labels, _), *weights = minibatch
            minibatch = images, labels, *weights
        teachers = {} if stored else _ask_teachers(distillers, minibatch[0])
        for distiller, seen in zip(distillers, names, strict=True):
            said = None
            if stack.plan.kept and distiller.alpha != 0:
                said = named(distiller.teacher, {"logits": kept})
            elif not stored and distiller.asks_teacher():
                said = teachers[_key(distiller.teacher)]
            logs = distiller.train_on_minibatch(
                minibatch, said, finite=stored, index=stack.plan.positions[number]
            )
            seen.update(logs)
        return [number + 1]

    tf.while_loop(lambda number: number < stack.plan.count, train, [0])
    results = [distiller.get_metrics_result() for distiller in distillers]
    return [
        {name: value for name, value in result.items() if name in seen}
        for result, seen in zip(results, names, strict=True)
    ]


def _ask_teachers(distillers, images):
    """Return what each teacher says of the images, each asked once, `{key: {name: tensor}}`."""
    layers, teachers = {}, {}
    for distiller in distillers:
        if distiller.asks_teacher():
            key = _key(distiller.teacher)
            teachers[key] = distiller.teacher
            layers.setdefault(key, {}).update(dict.fromkeys(distiller.teacher_layers()))
    return {
        key: ask_teacher(teacher, images, tuple(layers[key])) for key, teacher in teachers.items()
    }


def with_teacher_logits(minibatches, distillers, verbose, callbacks=()):
    """Return minibatches with the logits of the teacher, asked once for every image, if they can.

    Examples that lie in memory are the same in every epoch, and so are the logits of one teacher
    for them. Losses on layers, several teachers, data that is read or changed as it is needed,
    and a teacher that minds its batch, or says something else each time, are left to the training
    step; so are logits of more than `_KEPT_BYTES`, those of many classes or places, which would
    cost more memory than they save time.

    Args:
        minibatches: `Minibatches`.
        distillers: those that train on them.
        verbose: show a progress bar.
        callbacks: of `fit`. One that sees every minibatch may change the teacher at each.

    Raises:
        ValueError: if a logit is not finite.
    """
    if minibatches.has_teacher_logits or minibatches.resident is None:
        return minibatches
    if any(map(sees_minibatches, callbacks)):
        return minibatches
    asking = [each for each in distillers if each.asks_teacher()]
    teachers = {_key(each.teacher): each.teacher for each in asking}
    on_layers = any(each.teacher_layers() for each in asking)
    # One without a teacher must not be given another's.
    some_lack_one = any(each.alpha != 0 and each.teacher is None for each in distillers)
    if len(teachers) != 1 or on_layers or some_lack_one:
        return minibatches
    (teacher,) = teachers.values()
    if any(_minds_its_batch(each) for each in getattr(teacher, "teachers", [teacher])):
        return minibatches
    if _bytes_of_logits(teacher, minibatches.split.images) > _KEPT_BYTES:
        return minibatches
    if not _answers_alike(teacher, minibatches.split.images[:_NUM_TRIED]):
        return minibatches
    logits = logits_of_all(teacher, minibatches.split.images, verbose)
    return dataclasses.replace(minibatches.with_teacher_logits(logits), kept=True)


def _minds_its_batch(teacher):
    """Return whether a teacher's answer depends on a state, or needs a batch of one size."""
    inputs = getattr(teacher.model, "inputs", None)
    return bool(teacher.changes or (inputs and inputs[0].shape[0] is not None))


def _answers_alike(teacher, images):
    """Return whether a teacher says the same of images again, in smaller batches."""
    parts = images, images[: len(images) // 2 or 1], images[len(images) // 2 :]
    with keras.StatelessScope():  # What it draws is not drawn from its generators.
        answers = [teacher(ops.convert_to_tensor(part)) for part in parts]
    whole, *halves = (np.nan_to_num(ops.convert_to_numpy(each)) for each in answers)
    again = np.concatenate(halves)[-len(whole) :]
    return np.allclose(whole, again, rtol=1e-3, atol=1e-3 * np.abs(whole).max())


def _bytes_of_logits(teacher, images):
    """Return how much memory the float32 logits of all images take, without asking the teacher."""
    shapes = [tuple(output.shape) for output in getattr(teacher.model, "outputs", None) or ()]
    if len(shapes) != 1 or None in shapes[0][1:]:
        one = tf.TensorSpec([1, *images.shape[1:]], images.dtype)
        shapes = [tf.function(teacher).get_concrete_function(one).output_shapes]
    return 4 * len(images) * math.prod(shapes[0][1:])


def ask_teacher(teacher, images, layers):
    """Return a teacher's logits and layers by name, from one pass; see `named`.

    Args:
        teacher: a `Teacher`.
        images: a batch.
        layers: names of layers, none for the logits alone.
    """
    outputs = teacher.with_features(images, layers) if layers else {"logits": teacher(images)}
    if num_replicas() > 1:
        # There an update cannot be conditional, as in `_apply`.
        outputs["logits"] = tf.debugging.check_numerics(outputs["logits"], NOT_FINITE)
    return named(teacher, outputs)


def named(teacher, outputs):
    """Return a teacher's outputs with its `class_map`, if it has one, in whose order they are."""
    mapped = {} if teacher.class_map is None else {"class_map": teacher.class_map}
    return {**outputs, **mapped}


def _key(teacher):
    """Return what is equal for equal teachers, whatever wraps them."""
    if isinstance(teacher, Ensemble):
        return teacher.average, *teacher.weights, *map(_key, teacher.teachers)
    return id(teacher.model), teacher.head, str(teacher.class_map), id(teacher.preprocess)
