"""Images without labels beside those with: the teacher alone speaks of them."""

import numpy as np

from keras_kd.data.encoded import EncodedImages
from keras_kd.data.splits import Split

# What losses pass over: such an image counts for the teacher's part alone.
NO_LABEL = -1


def with_unlabelled(train, images):
    """Return the `Split` of labelled images followed by unlabelled ones, labelled -1.

    Args:
        train: a `Split`.
        images: of the same shape, as an array or `EncodedImages`.

    Raises:
        ValueError: if the shape differs, or one lies in memory and the other does not.
    """
    if tuple(images.shape[1:]) != tuple(train.images.shape[1:]):
        raise ValueError(
            "Unlabelled images must have the shape of the others. Received: "
            f"{tuple(images.shape[1:])} and {tuple(train.images.shape[1:])}."
        )
    labels = np.full(len(images), NO_LABEL, train.labels.dtype)
    if isinstance(train.images, EncodedImages) and isinstance(images, EncodedImages):
        both = EncodedImages(train.images.sources + images.sources, images.form)
    elif type(train.images) is np.ndarray and type(images) is np.ndarray:
        both = np.concatenate([train.images, images])
    else:
        raise ValueError(
            "Labelled and unlabelled images must both lie in memory, or neither. Received: "
            f"{type(train.images).__name__} and {type(images).__name__}. Read them with the same "
            "`memory_limit` and without a `cache`."
        )
    return Split(both, np.concatenate([train.labels, labels]))
