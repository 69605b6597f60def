"""The images from which an integer file learns its ranges, and what may be wrong with them."""

import keras
import numpy as np

from keras_kd._common.inputs import as_taken, taken_by

# More than these change the ranges no further, and cost time.
_MOST_IMAGES = 500


def calibration_images(calibration, image_shape, input_range, vocabularies=()):
    """Return up to 500 images, evenly spread over a calibration set, as float32.

    Every check here stands for a file that is written without an error and answers like chance.

    Args:
        calibration: images `[n, ...]` as an array; or anything with such `images` (a `Split`); or
            a `tf.data.Dataset` of batches of images or of `(images, labels)`.
        image_shape: shape of one image, as the model takes it.
        input_range: lowest and highest pixel that the model expects.
        vocabularies: of a model that takes numbers of words instead, as `_inputs.vocabularies`
            tells them.

    Raises:
        ValueError: if there are no images, or their shape, dtype, scale or content cannot be what
            the model was trained on.
    """
    _check_given(calibration)
    images = _as_array(calibration)
    if isinstance(images, dict):
        raise ValueError(
            "The calibration images must be one array, as the model takes them. Received: a dict "
            f"of {', '.join(images) or 'nothing'}."
        )
    if images.dtype.kind not in "buif" or images.ndim == 0:
        raise ValueError(
            "The calibration images must be an array of pixels, as integers or floats. "
            f"Received: {f'an array of {images.dtype}' if images.ndim else repr(calibration)}."
        )
    if len(images) == 0:
        raise ValueError(
            "The calibration set must hold images. Received: an empty one, which would give a "
            "float file."
        )
    taken = as_taken(images, image_shape)
    if taken is None:
        raise ValueError(
            f"The calibration images must be of shape {tuple(image_shape)}, as the model takes "
            f"them. Received: {images.shape[1:]}."
        )
    chosen = np.linspace(0, len(images) - 1, min(len(images), _MOST_IMAGES)).astype(int)
    images = taken[chosen].astype("float32")
    if vocabularies:
        _check_words(images, max(vocabularies))
    else:
        _check_pixels(images, input_range)
    return images


def calibration_inputs(calibration, shapes):
    """Return up to 500 examples of several inputs, evenly spread, as float32 and int32.

    Args:
        calibration: as in `calibration_images`, with a dict of arrays by name for the images.
        shapes: of one example of each input, by name.

    Raises:
        ValueError: if there are none, they do not fit, or are not finite.
    """
    _check_given(calibration)
    taken = taken_by(shapes, _as_array(calibration), what="The calibration")
    count = len(next(iter(taken.values())))
    if count == 0:
        raise ValueError("The calibration set must hold examples. Received: an empty one.")
    chosen = np.linspace(0, count - 1, min(count, _MOST_IMAGES)).astype(int)
    inputs = {name: array[chosen] for name, array in taken.items()}
    for name, array in inputs.items():
        if array.dtype.kind not in "buif" or not np.isfinite(array).all():
            raise ValueError(
                f"The calibration inputs must be finite numbers. Received: {name} of "
                f"{array.dtype}{' with NaN or infinity' if array.dtype.kind == 'f' else ''}."
            )
    return {
        name: array.astype("float32" if array.dtype.kind == "f" else "int32")
        for name, array in inputs.items()
    }


def _check_given(calibration):
    if calibration is None:
        raise ValueError(
            "An integer file needs `calibration`, images such as the model was trained on. "
            "Received: none. Pass the training images."
        )


def _as_array(calibration):
    """Return the images of a calibration set, or a dict of arrays by name of several inputs."""
    calibration = getattr(calibration, "images", calibration)
    if isinstance(calibration, dict):
        return {name: np.asarray(each) for name, each in calibration.items()}
    if not hasattr(calibration, "as_numpy_iterator"):
        return np.asarray(calibration)
    batches, count = [], 0
    for batch in calibration.as_numpy_iterator():
        batches.append(batch[0] if isinstance(batch, tuple) else batch)
        count += len(keras.tree.flatten(batches[-1])[0])
        if count >= _MOST_IMAGES:
            break
    if not batches:
        return np.zeros((0,), "float32")
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)


def _check_words(numbers, vocabulary):
    if not ((numbers == np.round(numbers)) & (numbers >= 0) & (numbers < vocabulary)).all():
        raise ValueError(
            "The calibration texts must be whole numbers, as the model was trained on them, from "
            f"0 to {vocabulary - 1}. Received: {numbers.min():g} to {numbers.max():g}."
        )


def _check_pixels(images, input_range):
    low, high = input_range
    found = f"{images.min():g} to {images.max():g}"
    if not np.isfinite(images).all():
        raise ValueError("The calibration images must be finite. Received: NaN or infinity.")
    one_number = images[0].size == 1
    if not one_number and np.ptp(images, axis=tuple(range(1, images.ndim))).max() == 0:
        raise ValueError(
            "The calibration images must be such as the model was trained on. "
            "Received: images of one colour each."
        )
    # Pixels scaled to 0..1 use a 255th of 0..255; any real set of images uses most of it.
    if images.min() < low or images.max() > high or np.ptp(images) < (high - low) / 4:
        raise ValueError(
            f"The calibration images must be on the scale of `input_range`, {low:g} to {high:g}. "
            f"Received: pixels from {found}. Pass raw pixels: the model normalises them itself; or "
            "`input_range`, of what are no pixels."
        )
