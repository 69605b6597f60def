"""Ask the teacher about every image, with a bar that tells how far it is."""

import numpy as np
import rich.progress
import tensorflow as tf

from keras_kd._common.console import Console

_BYTES_AT_ONCE = 50_000_000
# Columns of a terminal that hold a whole progress bar.
_WIDE = 100


def images_at_once(image_shape, *, at_most=256):
    """Return how many images to show a model at once, fewer of large ones.

    Args:
        image_shape: shape of one image.
        at_most: of small ones.
    """
    return int(np.clip(_BYTES_AT_ONCE // (4 * np.prod(image_shape)), 1, at_most))


def logits_of_all(teacher, images, verbose):
    """Return the teacher's logits of every image, float32 `[n, ..., num_classes]`.

    Args:
        teacher: a `Teacher`.
        images: `[n, ...]`.
        verbose: show a progress bar.

    Raises:
        ValueError: if a logit is not finite, naming the image.
    """
    ask = tf.function(teacher, reduce_retracing=True)
    found, batch_size = None, images_at_once(images.shape[1:])
    with progress_bar("teacher", verbose) as bar:
        task = bar.add_task("", total=len(images), pace="")
        for start in range(0, len(images), batch_size):
            some = ask(images[start : start + batch_size]).numpy()
            check_finite(some, start)
            if found is None:
                found = np.empty((len(images), *some.shape[1:]), "float32")
            found[start : start + len(some)] = some
            bar.advance(task, len(some))
            bar.update(task, pace=f"{bar.tasks[0].speed or 0:,.0f} images/s")
    return found


def check_finite(logits, start=0):
    """Refuse logits `[n, ...]` of the images from `start` on, of which one is not finite."""
    bad = np.flatnonzero(~np.isfinite(logits.reshape(len(logits), -1)).all(-1))
    if len(bad):
        raise ValueError(
            "The teacher's logits must be finite. Received: NaN or infinity for image "
            f"{start + bad[0]} of the training data; nothing was trained. Look at that image, or "
            "at the teacher's normalisation."
        )


def asking(teacher, augmentation):
    """Return the compiled function from images and seeds to logits."""

    @tf.function(reduce_retracing=True)
    def ask(images, seeds):
        return teacher(images if augmentation is None else augmentation(images, seeds))

    return ask


def progress_bar(title, verbose):
    """Return a progress bar of images; its tasks need a field `pace`."""
    console = Console(quiet=not verbose)
    columns = [
        rich.progress.TextColumn(title),
        rich.progress.TextColumn("{task.completed:,.0f}/{task.total:,.0f} images"),
    ]
    if console.width >= _WIDE:  # A number that is cut is another.
        columns.insert(1, rich.progress.BarColumn())
        columns.append(rich.progress.TextColumn("{task.fields[pace]}"))
        columns.append(rich.progress.TimeRemainingColumn())
    return rich.progress.Progress(*columns, console=console, disable=not verbose)
