"""What soft labels are made of, and their making: by one process, by several, or part by part."""

import hashlib
import shutil

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.checks import check_integer, check_seed
from keras_kd._common.locks import alone
from keras_kd.data.splits import Split
from keras_kd.soft_labels.objects_writing import ObjectsWriter
from keras_kd.soft_labels.places import Folder
from keras_kd.soft_labels.predict import examples_of, images_at_once, shapes_of
from keras_kd.soft_labels.record import check_same, described, outputs_of
from keras_kd.soft_labels.rows import row_dtype
from keras_kd.soft_labels.source import (
    as_logits,
    as_split,
    asked_about,
    heads_of,
    kept_of,
    what_it_does,
)
from keras_kd.soft_labels.writing import Writer

# A block, see `Writer`, has at most so many rows, and so many bytes.
# NOTE: Stores were made by them; with others the same call would draw other views.
_ROWS_PER_BLOCK, _BYTES_PER_BLOCK = 65536, 2**27
# A shard is no more than a block, and no less than so many rows, of which a small teacher says in
# an instant. Between the two there are about so many shards: enough for many workers, few files.
_ROWS_PER_SHARD, _SHARDS = 1024, 256
# Of logits that are there already.
_ROWS_AT_ONCE = 4096


def asked_of(
    teacher, data, *, views=1, augmentation=None, dtype=None, top_k=None, seed=0, batch_size=None
):
    """Return what soft labels are made of, and what `Writer.write` takes; see `SoftLabels`."""
    check_integer("views", views, minimum=1)
    if batch_size is not None:
        check_integer("batch_size", batch_size, minimum=1)
    check_seed(seed)
    if views > 1 and augmentation is None:
        raise ValueError(
            "Without an augmentation all views are the same. "
            f"Received: views={views}. Pass `augmentation`, or leave `views` at 1."
        )
    split = as_split(data)
    teacher = asked_about(teacher, split)
    if teacher.class_maps:
        raise ValueError(
            "Soft labels are for the student's own classes. Received: a teacher with a "
            "`class_map`. Distil from it without soft labels."
        )
    answers = teacher(examples_of(split.images, slice(1)))
    outputs = kept_of(answers, teacher.heads, dtype=dtype, top_k=top_k)
    made_of = {
        "teacher": teacher.fingerprint,
        "data": split.digest,
        "augmentation": what_it_does(augmentation, split),
        "views": views,
        "seed": seed,
        "num_examples": len(split),
        **described(outputs),
    }
    shapes = [*shapes_of(split.images), *shapes_of(answers)]
    batch_size = batch_size or images_at_once(*shapes)
    return made_of, (teacher, split, augmentation, batch_size)


def of_logits(logits, data, head, dtype, top_k):
    """Return the same of logits that are there already; see `SoftLabels.from_logits`."""
    split = as_split(data)
    logits = as_logits(logits, len(split))
    heads = heads_of(logits, head)
    outputs = kept_of(logits, heads, dtype=dtype, top_k=top_k)
    made_of = {
        "teacher": f"logits {_digest_of(logits)}",
        "data": split.digest,
        "augmentation": None,
        "views": 1,
        "seed": 0,
        "num_examples": len(split),
        **described(outputs),
    }
    # Each row is its own answer.
    rows = Split(logits, split.labels)
    batch_size = images_at_once(*shapes_of(logits), at_most=_ROWS_AT_ONCE)
    return made_of, (_as_float32, rows, None, batch_size)


def make(place, made_of, asked, *, overwrite, verbose, launcher=None):
    """Make a store, if it is not there.

    Args:
        place: as `places.place_of` returns it.
        made_of: as `asked_of` returns it, like `asked`.
        asked: what `Writer.write` takes.
        overwrite: whether soft labels of something else are replaced.
        verbose: whether progress is shown.
        launcher: who asks, this process if `None`.

    Raises:
        ValueError: if something else is there, or an answer is not finite.
    """
    if is_made(place, made_of, overwrite):
        return
    with alone(place.folder, print if verbose else _nothing):
        if is_made(place, made_of, overwrite):  # By who was waited for.
            return
        writer = writer_for(place, made_of, verbose)
        writer.begin(overwrite)
        if launcher is None:
            writer.write(writer.numbers(), *asked)
        else:
            writer.launch(launcher, *asked)
        writer.finish()


def make_part(place, made_of, asked, part, *, verbose):
    """Make a part of a store, `(3, 16)`, and finish it if all parts are there.

    Args:
        place: as in `make`, like the arguments that follow.
        made_of: as there.
        asked: as there.
        part: of `check_part_of_many`.
        verbose: as there.

    Returns:
        Whether the store is finished.
    """
    number, count = part
    if is_made(place, made_of, overwrite=False):
        return True
    writer = writer_for(place, made_of, verbose)
    writer.join()
    numbers = writer.numbers()
    own = numbers[(number - 1) * len(numbers) // count : number * len(numbers) // count]
    writer.write(own, *asked)
    with alone(place.folder, print if verbose else _nothing):
        if is_made(place, made_of, overwrite=False):  # By who was waited for.
            shutil.rmtree(writer.unfinished, ignore_errors=True)
            return True
        if writer.progress()[0] < len(numbers):
            return False
        if damaged := writer.missing(numbers):
            writer.write(damaged, *asked)
        writer.finish()
    return True


def writer_to(place):
    """Return the class that writes to a place."""
    return Writer if isinstance(place, Folder) else ObjectsWriter


def writer_for(place, made_of, verbose):
    """Return the writer of a store, which goes on with what was begun there."""
    block = _BYTES_PER_BLOCK // row_dtype(outputs_of(made_of)).itemsize
    block = min(_ROWS_PER_BLOCK, max(1, block))
    fair = made_of["views"] * made_of["num_examples"] // _SHARDS
    # A power of two, as the teacher's batches are: few of them lie in two shards.
    rows_per_shard = min(block, max(_ROWS_PER_SHARD, 1 << max(fair, 1).bit_length() - 1))
    found = place.unfinished() or {}
    # What was begun is gone on with as it is cut.
    if all(found.get(name) == value for name, value in made_of.items()):
        rows_per_shard = found.get("rows_per_shard", rows_per_shard)
    return writer_to(place)(place, made_of | {"rows_per_shard": rows_per_shard}, verbose, block)


def check_part_of_many(part):
    """Refuse what is no `(number, count)`."""
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        raise ValueError(
            f"`part` must be a number and of how many, such as (3, 16). Received: {part!r}."
        )
    number, count = part
    check_integer("num_parts", count, minimum=1)
    check_integer("part", number, minimum=1)
    if number > count:
        raise ValueError(
            f"`part` must be one of them, such as (3, 16). Received: part {number} of {count}."
        )


def _as_float32(logits):
    return keras.tree.map_structure(lambda each: tf.cast(each, tf.float32), logits)


def _digest_of(logits):
    """Return the SHA-256 of logits that were computed elsewhere."""
    digest = hashlib.sha256()
    for path, each in keras.tree.flatten_with_path(logits):
        digest.update("".join(map(str, path)).encode() + f"{each.dtype} {each.shape}".encode())
        for start in range(0, len(each), _ROWS_AT_ONCE):
            digest.update(np.ascontiguousarray(each[start : start + _ROWS_AT_ONCE]).data)
    return digest.hexdigest()


def is_made(place, made_of, overwrite):
    """Return whether the soft labels are there; refuse what is there instead of them."""
    stored = place.record()
    if stored is not None:
        same = all(stored.get(name) == value for name, value in made_of.items())
        if not (same or overwrite):
            check_same(stored, made_of, place)
        return same
    if place.holds_something_else():
        raise ValueError(
            f"`path` must be a new folder, or one of soft labels. Received: {place}, which is "
            "something else."
        )
    return False


def _nothing(sentence):
    """Say nothing."""
