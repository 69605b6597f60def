"""Examples without labels beside those with: the teacher alone speaks of them."""

import keras
import numpy as np

from keras_kd.data.encoded import EncodedImages
from keras_kd.data.splits import Split

# What losses pass over: such an example counts for the teacher's part alone.
NO_LABEL = -1


def taught(data):
    """Return what a teacher speaks of: the training split of a `Data`, and what has no label.

    Raises:
        ValueError: as `with_unlabelled`.
    """
    if data.unlabelled is None:
        return data.train
    return with_unlabelled(data.train, data.unlabelled)


def with_unlabelled(train, images):
    """Return the `Split` of labelled examples followed by unlabelled ones, labelled -1.

    Args:
        train: a `Split`.
        images: of the same shape, as an array or `EncodedImages`; or several inputs, as in
            `Split.images`.

    Raises:
        ValueError: if the shape differs, or one lies in memory and the other does not.
    """
    received, wanted = _shapes(images), _shapes(train.images)
    if received != wanted:
        raise ValueError(
            f"Unlabelled images must have the shape of the others. Received: {received} and "
            f"{wanted}."
        )
    counts = {len(each) for each in keras.tree.flatten(images)}
    if len(counts) > 1:
        raise ValueError(
            "Unlabelled inputs must be equally many. "
            f"Received: {' and '.join(map(str, sorted(counts)))}."
        )
    labels = np.full(*counts, NO_LABEL, train.labels.dtype)
    both = keras.tree.map_structure(_joined, train.images, images)
    return Split(both, np.concatenate([train.labels, labels]))


def _shapes(images):
    return keras.tree.map_structure(lambda each: tuple(map(int, each.shape[1:])), images)


def _joined(labelled, unlabelled):
    if isinstance(labelled, EncodedImages) and isinstance(unlabelled, EncodedImages):
        return EncodedImages(labelled.sources + unlabelled.sources, unlabelled.form)
    if type(labelled) is np.ndarray and type(unlabelled) is np.ndarray:
        return np.concatenate([labelled, unlabelled])
    raise ValueError(
        "Labelled and unlabelled images must both lie in memory, or neither. Received: "
        f"{type(labelled).__name__} and {type(unlabelled).__name__}. Read them with the same "
        "`memory_limit` and without a `cache`."
    )
