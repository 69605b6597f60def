"""Training by stacks: several minibatches in one compiled step.

A small model's step takes less time than the framework around it. So several minibatches go
into one compiled step, which trains on one after the other: the same updates in the same order.

It may change the time and nothing else. What a Keras user may rely on:

- **Errors.** Labels in memory are checked once, before anything is trained or the teacher asked
  (`fitting.check_labels`). Of data that is read as it is needed, the errors are TensorFlow's.
- **Callbacks.** One that overrides a batch hook sees every minibatch, with its logs: then stacks
  hold one. One that does not sees the epochs; `params["steps"]` and the progress bar count
  minibatches either way.
- **Memory.** A stack of gathered minibatches and a teacher's kept outputs are bounded in bytes;
  above the bound, stacks are lower, and the teacher is asked in each step.
- **The teacher.** What it said is kept while its weights stay as they are: where a callback sees
  every minibatch it is asked in each step, and where another changes it between epochs `fit` stops.
- **Operations.** XLA is chosen only where each part of the step is known to compute under it what
  it computes without (`xla`), and for training alone: `evaluate` and `predict` are Keras's.
- **What a user said.** `steps_per_execution`, `jit_compile`, `run_eagerly`, a `train_step`, a
  pipeline, weights, `validation_split`, `steps_per_epoch`, `shuffle="batch"`: Keras's own path.

The rules look at models, data, epochs, callbacks and device alone, never at a clock: the same seed
gives the same weights. `benchmarks/scripts/speed.py choices` and `memory.py` beside it measure
them; `benchmarks/speed.md` has what came out on a processor of two cores.
"""

import contextlib
import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.backend import is_distributed, on_gpu
from keras_kd.data.minibatches import map_arrays
from keras_kd.data.splits import Split
from keras_kd.distillers.batch import batch_of
from keras_kd.distillers.guard import NOT_FINITE
from keras_kd.distillers.watching import KeptTeacher, sees_minibatches
from keras_kd.soft_labels import logits_of_all
from keras_kd.teachers.outputs import TeacherOutputs

# Below this many minibatches an epoch, or in all, compiling with XLA (a second or two, once) costs
# more than it saves.
_STEPS_WORTH_XLA, _STEPS_IN_ALL_WORTH_XLA = 500, 4000
_HEIGHT = 64
# Convolutions take long enough to hide most of the framework, and the display should move.
_HEIGHT_OF_CONVOLUTIONS = 8
# Above this, the teacher is asked in each step.
_KEPT_BYTES = 128 * 2**20
# Examples that a teacher is asked about twice, before its outputs are kept.
_NUM_TRIED = 6
# What `fit` may be asked beside the data that minibatches know nothing of.
_NOT_STACKED = ("class_weight", "sample_weight", "validation_split", "steps_per_epoch")


# --- which data -----------------------------------------------------------------------------------


def minibatches_of(x, y=None, *, batch_size=None, shuffle=True, initial_epoch=0, **options):
    """Return the `Minibatches` that `fit` was given, or `None` for data of another kind.

    Args:
        x: a data set as `Split.batches` makes them, or a structure of arrays.
        y: a structure of arrays beside a structure of arrays; `None` without labels.
        batch_size: as in `keras.Model.fit`, for arrays.
        shuffle: as in `fit`, for arrays.
        initial_epoch: as in `fit`, for arrays.
        **options: the other arguments of `fit`.
    """
    if any(options.get(name) is not None for name in _NOT_STACKED) or shuffle not in (True, False):
        return None
    if isinstance(x, tf.data.Dataset):
        # Labels beside a data set are refused by Keras.
        return getattr(x, "minibatches", None) if y is None else None
    if not are_arrays(x, y):
        return None
    # Keras's own generator of seeds, which `keras.utils.set_random_seed` sets.
    seed = int(keras.random.randint((), 0, 2**31 - 1)) if shuffle else None
    batches = Split(x, y).batches(batch_size or 32, shuffle_seed=seed, initial_epoch=initial_epoch)
    return batches.minibatches


def are_arrays(*parts):
    """Return whether parts are structures of NumPy's arrays of numbers, equally many."""
    arrays = [each for each in keras.tree.flatten(parts) if each is not None]
    if not all(isinstance(each, np.ndarray) and each.dtype.kind in "biufcV" for each in arrays):
        return False
    counts = {each.shape[:1] for each in arrays}
    return len(counts) == 1 and not counts & {(), (0,)}


# --- how high -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stacked:
    """Training data in stacks.

    Args:
        data: a `tf.data.Dataset` of `Stack`s.
        height: minibatches a stack.
        num_minibatches: minibatches an epoch.
        callbacks: of its own, which come first.
    """

    data: tf.data.Dataset
    height: int
    num_minibatches: int
    callbacks: tuple


def stacked(minibatches, distillers, epochs, callbacks, verbose):
    """Return minibatches in stacks, with what the teacher says of them where it can be kept.

    Args:
        minibatches: `Minibatches`.
        distillers: those that train on them, whose precision is the same.
        epochs: of `fit`.
        callbacks: of `fit`, a list.
        verbose: show a progress bar.

    Raises:
        ValueError: if an output of the teacher is not finite.
    """
    given = minibatches
    with contextlib.ExitStack() as precision:
        for distiller in distillers:
            precision.enter_context(distiller.in_its_precision())
        minibatches = with_teacher_logits(given, distillers, verbose, callbacks)
    kept = ()
    if minibatches is not given and callbacks:
        kept = (KeptTeacher(next(each.teacher for each in distillers if each.asks_teacher())),)
    models = [
        each.models_in_step(teacher=not minibatches.has_teacher_logits) for each in distillers
    ]
    every_model = [model for each in models for model in each]
    height, xla = choose(every_model, len(given), epochs, callbacks)
    xla = xla and all(
        distiller.may_use_xla(own) for distiller, own in zip(distillers, models, strict=True)
    )
    data = minibatches.stacks(height, gathered=on_gpu(), xla=xla)
    return Stacked(data, height, len(given), kept)


def choose(models, num_minibatches, epochs, callbacks=()):
    """Return how many minibatches to stack, and whether XLA would pay on a processor.

    Args:
        models: every `keras.Model` that runs in the step.
        num_minibatches: minibatches an epoch.
        epochs: of `fit`.
        callbacks: of `fit`.

    Returns:
        `(height, xla)`.
    """
    # On processors XLA's convolutions are slower than TensorFlow's own.
    long = (
        num_minibatches >= _STEPS_WORTH_XLA and num_minibatches * epochs >= _STEPS_IN_ALL_WORTH_XLA
    )
    xla = long and dense(models) and not _draws(models)
    if any(map(sees_minibatches, callbacks)):
        return 1, xla
    return (_HEIGHT if dense(models) else _HEIGHT_OF_CONVOLUTIONS), xla


def dense(models):
    """Return whether no model has a convolution, or another weight of more than two axes."""
    return all(len(weight.shape) <= 2 for model in models for weight in model.weights)


def _draws(models):
    """Return whether a model draws random numbers, of which XLA has others, and slower ones."""
    return any(
        variable.name == "seed_generator_state" for model in models for variable in model.variables
    )


# --- the step -------------------------------------------------------------------------------------


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

    return (
        tf.function(train, jit_compile=True, autograph=False)(stack)
        if stack.plan.xla
        else train(stack)
    )


def _train(distillers, stack):
    names = [set() for _ in distillers]

    def train(number):
        batch, stored = batch_of(stack.minibatch(number))
        index = stack.plan.positions[number]
        live = stored is None or stack.plan.kept
        said = _what_teachers_say(distillers, batch.inputs, kept=stored) if live else {}
        for distiller, seen in zip(distillers, names, strict=True):
            if live:
                own = said[distiller.teacher.identity] if distiller.asks_teacher() else None
                teacher = distiller.said(own, index=index)
            else:
                teacher = distiller.stored(stored, finite=True, index=index)
            seen.update(distiller.learn(batch, teacher))
        return [number + 1]

    tf.while_loop(lambda number: number < stack.plan.count, train, [0])
    results = [distiller.get_metrics_result() for distiller in distillers]
    return [
        {name: value for name, value in result.items() if name in seen}
        for result, seen in zip(results, names, strict=True)
    ]


def _what_teachers_say(distillers, inputs, kept):
    """Return `TeacherOutputs` of each teacher, each asked once, by its identity.

    Args:
        distillers: whose teachers are asked.
        inputs: of a minibatch.
        kept: what the only teacher said of it before, by the names of its outputs, or `None`.
    """
    layers, teachers = {}, {}
    for distiller in distillers:
        if distiller.asks_teacher():
            key = distiller.teacher.identity
            teachers[key] = distiller.teacher
            layers.setdefault(key, {}).update(dict.fromkeys(distiller.teacher_layers()))
    if kept is not None:
        return {
            key: TeacherOutputs(kept, class_maps=teacher.class_maps, finite=True)
            for key, teacher in teachers.items()
        }
    return {
        key: ask_teacher(teacher, inputs, tuple(layers[key])) for key, teacher in teachers.items()
    }


def ask_teacher(teacher, inputs, layers):
    """Return what a teacher says, `TeacherOutputs`, from one pass.

    Args:
        teacher: a `Teacher` or an `Ensemble`.
        inputs: of a batch.
        layers: names of layers, none for the outputs alone.
    """
    said = teacher.ask(inputs, layers)
    if not is_distributed():
        return said
    # There an update cannot be conditional, as in `Distiller.learn`.
    outputs = {
        name: tf.debugging.check_numerics(each, NOT_FINITE) for name, each in said.outputs.items()
    }
    return dataclasses.replace(said, outputs=outputs)


# --- what a teacher said, kept --------------------------------------------------------------------


def with_teacher_logits(minibatches, distillers, verbose, callbacks=()):
    """Return minibatches with the outputs of the teacher, asked once for every example, if it can.

    Examples that lie in memory are the same in every epoch, and so are the outputs of one teacher
    for them. Losses on layers, several teachers, data that is read or changed as it is needed,
    and a teacher that minds its batch, or says something else each time, are left to the training
    step; so are outputs of more than `_KEPT_BYTES`, those of many classes or places, which would
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
    if len(teachers) != 1 or any(each.teacher_layers() for each in asking):
        return minibatches
    (teacher,) = teachers.values()
    inputs = minibatches.split.images
    if teacher.minds_its_batch or _bytes_of_outputs(teacher, inputs) > _KEPT_BYTES:
        return minibatches
    if not _answers_alike(teacher, inputs):
        return minibatches
    outputs = _by_name(teacher, logits_of_all(teacher, inputs, verbose))
    return dataclasses.replace(minibatches.with_teacher_logits(outputs), kept=True)


def _by_name(teacher, outputs):
    """Return what a call of a teacher returned as a dict by the names of its outputs."""
    return outputs if isinstance(outputs, dict) else {teacher.output_names[0]: outputs}


def _answers_alike(teacher, inputs):
    """Return whether a teacher says the same of a few examples again, in smaller batches."""
    half = min(_NUM_TRIED, len(keras.tree.flatten(inputs)[0])) // 2
    parts = slice(_NUM_TRIED), slice(half or 1), slice(half, _NUM_TRIED)
    with keras.StatelessScope():  # What it draws is not drawn from its generators.
        whole, *halves = (
            keras.tree.flatten(teacher(map_arrays(_tensor_of(part), inputs))) for part in parts
        )
    return all(_are_alike(*each) for each in zip(whole, *halves, strict=True))


def _tensor_of(part):
    return lambda each: keras.ops.convert_to_tensor(each[part])


def _are_alike(whole, *halves):
    whole, *halves = (np.nan_to_num(np.asarray(each)) for each in (whole, *halves))
    again = np.concatenate(halves)[-len(whole) :]
    return np.allclose(whole, again, rtol=1e-3, atol=1e-3 * np.abs(whole).max())


def _bytes_of_outputs(teacher, inputs):
    """Return the memory that the float32 outputs for all inputs take, without asking for them."""
    shapes = [tuple(teacher.output_shape(name)[1:]) for name in teacher.output_names]
    if any(None in shape for shape in shapes):
        one = map_arrays(lambda each: tf.TensorSpec([1, *each.shape[1:]], each.dtype), inputs)
        function = tf.function(teacher, autograph=False).get_concrete_function(one)
        shapes = [each.shape[1:] for each in tf.nest.flatten(function.structured_outputs)]
    count = len(keras.tree.flatten(inputs)[0])
    return 4 * count * sum(math.prod(shape) for shape in shapes)
