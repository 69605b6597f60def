"""One compiled step through several minibatches, for one distiller or several."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_kd._common.backend import num_replicas
from keras_kd.distillers.batch import batch_of
from keras_kd.distillers.fast_path import sees_minibatches
from keras_kd.soft_labels import logits_of_all
from keras_kd.teachers.outputs import TeacherOutputs

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
        minibatch, index = stack.minibatch(number), stack.plan.positions[number]
        batch, stored = batch_of(minibatch)
        asked = _ask_teachers(distillers, batch.inputs) if stored is None else {}
        for distiller, seen in zip(distillers, names, strict=True):
            if stack.plan.kept:
                said = distiller.teacher and _kept(distiller.teacher, stored)
                teacher = distiller.said(said, index=index)
            elif stored is not None:
                teacher = distiller.stored(stored, finite=True, index=index)
            else:
                asks = distiller.asks_teacher()
                teacher = distiller.said(
                    asked[distiller.teacher.identity] if asks else None, index=index
                )
            seen.update(distiller.learn(batch, teacher))
        return [number + 1]

    tf.while_loop(lambda number: number < stack.plan.count, train, [0])
    results = [distiller.get_metrics_result() for distiller in distillers]
    return [
        {name: value for name, value in result.items() if name in seen}
        for result, seen in zip(results, names, strict=True)
    ]


def _kept(teacher, logits):
    """Return the logits of a teacher's only output, asked before, as what it said."""
    return TeacherOutputs(
        {teacher.output_names[0]: logits}, class_maps=teacher.class_maps, finite=True
    )


def _ask_teachers(distillers, inputs):
    """Return what each teacher says of the inputs, each asked once, by its identity."""
    layers, teachers = {}, {}
    for distiller in distillers:
        if distiller.asks_teacher():
            key = distiller.teacher.identity
            teachers[key] = distiller.teacher
            layers.setdefault(key, {}).update(dict.fromkeys(distiller.teacher_layers()))
    return {
        key: ask_teacher(teacher, inputs, tuple(layers[key])) for key, teacher in teachers.items()
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
    teachers = {each.teacher.identity: each.teacher for each in asking}
    on_layers = any(each.teacher_layers() for each in asking)
    # One without a teacher must not be given another's.
    some_lack_one = any(each.lacks_teacher() for each in distillers)
    if len(teachers) != 1 or on_layers or some_lack_one:
        return minibatches
    (teacher,) = teachers.values()
    if teacher.minds_its_batch or len(teacher.output_names) > 1:
        return minibatches
    if _bytes_of_logits(teacher, minibatches.split.images) > _KEPT_BYTES:
        return minibatches
    if not _answers_alike(teacher, minibatches.split.images[:_NUM_TRIED]):
        return minibatches
    logits = logits_of_all(teacher, minibatches.split.images, verbose)
    return dataclasses.replace(minibatches.with_teacher_logits(logits), kept=True)


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


def ask_teacher(teacher, inputs, layers):
    """Return what a teacher says, `TeacherOutputs`, from one pass.

    Args:
        teacher: a `Teacher` or an `Ensemble`.
        inputs: of a batch.
        layers: names of layers, none for the outputs alone.
    """
    said = teacher.ask(inputs, layers)
    if num_replicas() == 1:
        return said
    # There an update cannot be conditional, as in `Distiller.learn`.
    outputs = {
        name: tf.debugging.check_numerics(each, NOT_FINITE) for name, each in said.outputs.items()
    }
    return dataclasses.replace(said, outputs=outputs)
