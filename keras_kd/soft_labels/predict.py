"""Ask the teacher about every example, with a bar that tells how far it is."""

import functools
import re
import time

import keras
import numpy as np
import rich.progress
import tensorflow as tf

from keras_kd._common.console import Console
from keras_kd._common.model_files import first_sentence
from keras_kd.data.splits import Split

_BYTES_AT_ONCE = 50_000_000
_SECONDS_A_CALL = 0.3
# Columns of a terminal that hold a whole progress bar.
_WIDE = 100


def images_at_once(*shapes, at_most=256):
    """Return how many examples to show a model at once, fewer of large ones.

    Args:
        *shapes: of all that one example takes: its images, and what is said of it if that is much.
        at_most: of small ones.
    """
    bytes_of_one = 4 * sum(int(np.prod(shape)) for shape in shapes)
    return int(np.clip(_BYTES_AT_ONCE // max(bytes_of_one, 1), 1, at_most))


def shapes_of(structure):
    """Return the shape of one example in each array of a structure, such as `Split.images`."""
    return [tuple(each.shape[1:]) for each in keras.tree.flatten(structure)]


def examples_of(structure, chosen):
    """Return what lies in a structure of arrays at some positions, as `Split.batches` gives it.

    Args:
        structure: as `Split.images`.
        chosen: a slice, or integers.
    """
    return Split(structure, None).tensors(chosen)


def logits_of_all(teacher, images, verbose):
    """Return the teacher's logits of every image, float32 `[n, ..., num_classes]`.

    Args:
        teacher: a `Teacher`.
        images: `[n, ...]`, or a structure of such.
        verbose: show a progress bar.

    Returns:
        A tensor, or a dict by output name of a teacher with several outputs.

    Raises:
        ValueError: if a logit is not finite, naming the image.
    """
    shapes, count = shapes_of(images), len(keras.tree.flatten(images)[0])
    batch_size = images_at_once(*shapes)
    most = images_at_once(*shapes, at_most=count) // batch_size * batch_size or batch_size
    ask = _in_batches(teacher, examples_of(images, slice(0)), batch_size)
    found, start, at_once = None, 0, batch_size
    with progress_bar("teacher", verbose) as bar:
        task = bar.add_task("", total=count, pace="")
        while start < count:
            began = time.perf_counter()
            some = _answers(ask, examples_of(images, slice(start, start + at_once)), start)
            check_finite(keras.tree.map_structure(np.asarray, some), start)
            if found is None:
                found = keras.tree.map_structure(functools.partial(_room_for, count), some)
            else:  # The first call compiles. What is seen or interrupted waits for a call's end.
                batches = _SECONDS_A_CALL / (time.perf_counter() - began) * at_once // batch_size
                at_once = int(np.clip(batches * batch_size, batch_size, most))
            found = keras.tree.map_structure(functools.partial(_put, start), found, some)
            moved = len(keras.tree.flatten(some)[0])
            start += moved
            bar.advance(task, moved)
            bar.update(task, pace=f"{bar.tasks[0].speed or 0:,.0f} examples/s")
    return found


def _in_batches(teacher, none, batch_size):
    """Return the compiled function from any number of examples to what a teacher says of them.

    The teacher sees them by batches, as many as there are in one call: a small one takes less
    time than a call.

    Args:
        teacher: as in `logits_of_all`.
        none: no example, in the structure of some.
        batch_size: examples a batch.
    """
    form = keras.tree.map_structure(
        lambda each: tf.TensorSpec([None, *each.shape[1:]], each.dtype), none
    )

    @tf.function(autograph=False, input_signature=[form])
    def ask(images):
        count = tf.shape(keras.tree.flatten(images)[0])[0]
        num_batches = -(-count // batch_size)
        said = None

        def say(number, *answers):
            nonlocal said
            chosen = slice(number * batch_size, (number + 1) * batch_size)
            said = teacher(keras.tree.map_structure(lambda each: each[chosen], images))
            parts = keras.tree.flatten(said)
            return number + 1, *map(lambda a, part: a.write(number, part), answers, parts)

        num_outputs = len(getattr(teacher, "output_names", ("logits",)))
        # The last batch may be smaller.
        answers = [
            tf.TensorArray(tf.float32, num_batches, infer_shape=False) for _ in range(num_outputs)
        ]
        _, *answers = tf.while_loop(
            lambda number, *_: number < num_batches, say, [0, *answers], parallel_iterations=1
        )
        return keras.tree.pack_sequence_as(said, [each.concat() for each in answers])

    return ask


def _answers(ask, images, start):
    """Return what a teacher answers; what goes wrong outside TensorFlow in a sentence."""
    try:
        return ask(images)
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        told = re.search(r"\w+(?:Error|Exception): .+", str(error))
        stop = start + len(keras.tree.flatten(images)[0])
        raise ValueError(
            f"The teacher must answer every example. Received, for examples {start} to {stop - 1}: "
            f"{told[0] if told else first_sentence(error)}. Nothing was trained."
        ) from error


# An array would lie in memory three times while TensorFlow makes a tensor of it; these once. Of
# the processor's memory, not a GPU's: a pipeline reads them.
def _room_for(count, some):
    with tf.device("CPU:0"):
        return tf.raw_ops.Empty(shape=[count, *some.shape[1:]], dtype=tf.float32)


def _put(start, whole, part):
    with tf.device("CPU:0"):
        rows = tf.range(start, start + part.shape[0])
        return tf.raw_ops.InplaceUpdate(x=whole, i=rows, v=part)


def check_finite(logits, start=0):
    """Refuse logits of the images from `start` on, `[n, ...]` by output, if one is not finite."""
    for each in keras.tree.flatten(logits):
        bad = np.flatnonzero(~np.isfinite(each.reshape(len(each), -1)).all(-1))
        if len(bad):
            raise ValueError(
                "The teacher's logits must be finite. Received: NaN or infinity for image "
                f"{start + bad[0]} of the training data; nothing was trained. Look at that image, "
                "or at the teacher's normalisation."
            )


def asking(teacher, augmentation):
    """Return the compiled function from images and seeds to logits."""

    @tf.function(autograph=False, reduce_retracing=True)
    def ask(images, seeds):
        return teacher(images if augmentation is None else augmentation(images, seeds))

    return ask


def progress_bar(title, verbose, unit="examples"):
    """Return a progress bar of examples, or another unit; its tasks need a field `pace`."""
    console = Console(quiet=not verbose)
    columns = [
        rich.progress.TextColumn(title),
        rich.progress.TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit),
    ]
    if console.width >= _WIDE:  # A number that is cut is another.
        columns.insert(1, rich.progress.BarColumn())
        columns.append(rich.progress.TextColumn("{task.fields[pace]}"))
        columns.append(rich.progress.TimeRemainingColumn())
    return rich.progress.Progress(*columns, console=console, disable=not verbose)
