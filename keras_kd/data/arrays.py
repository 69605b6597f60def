"""The user's own arrays -> `Data`: images, features, sequences, or several inputs."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_kd._common.checks import MOST, check_choice, check_part, check_seed
from keras_kd._common.typing import Structure, Tensor
from keras_kd.data.minibatches import map_arrays
from keras_kd.data.splits import READS, Data, Split, check_class_names, stratified

_NUMBERS = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64", "bfloat16",
)  # fmt: skip
# Examples looked at at once.
_CHUNK = 1000
# Share of the classes that must have training examples where nobody named the classes.
_FEWEST_KNOWN = 0.1


def from_arrays(
    train: tuple[Structure, Tensor],
    test: tuple[Structure, Tensor],
    *,
    validation: tuple[Structure, Tensor] | None = None,
    reads: str | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    validation_fraction: float = 0.1,
    name: str = "arrays",
    source: str = "arrays in memory",
) -> Data:
    """Split the user's own arrays as `load` splits a known data set.

    Validation is carved from `train`, stratified by class and drawn by `seed`; `test` is left as
    it is.

    | `x` | is read as |
    | --- | --- |
    | `[n, height, width]` or `[n, height, width, channels]` | images, best as uint8 pixels |
    | `[n, features]`, or `[n, steps]` of whole numbers | as it is |
    | of any shape, with `reads="numbers"` | as it is, such as `[n, steps, features]` |
    | a dict (or tuple) of arrays, each `[n, ...]` or `[n]` | several inputs, by name |

    Args:
        train: `(x, y)`: `x` as above, `y` integer labels `[n]` or `[n, 1]`.
        test: the same, for the one reading at the end.
        validation: the same, for every choice, instead of a part of `train`.
        reads: what `x` holds, as in `Data`; images or numbers by the number of its axes if `None`.
            Say `"numbers"` of series `[n, steps, features]`: students of words, such as `"mlp:16"`,
            scale pixels. Say `"texts"` of what `encode_texts` returned.
        class_names: one string a class; `"0"`, `"1"`, ... by default.
        seed: integer that the validation split depends on.
        validation_fraction: share of each class's training examples, above 0 and below 1.
        name: what the data set is called in reports.
        source: where it came from, for reports.

    Returns:
        A `Data`.

    Raises:
        ValueError: if counts, shapes, dtypes or labels do not fit.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 4
    data = kd.data.from_arrays((images[:30], labels[:30]), (images[30:], labels[30:]))
    assert data.image_shape == (8, 8, 1)
    assert len(data.train) + len(data.validation) == 30
    ```

    One `Data` keeps its validation split. Where each seed of an experiment is to draw its own,
    hand over a function of the seed; here with two inputs:

    ```python
    import numpy as np
    import keras_kd as kd

    x = {"age": np.arange(40.0), "words": np.ones((40, 6), "int32")}
    y = np.arange(40) % 2

    def data(seed):
        return kd.data.from_arrays((x, y), (x, y), seed=seed)

    assert data(seed=0).input_shape == {"age": (1,), "words": (6,)}
    assert data(seed=0).digest != data(seed=1).digest
    ```
    """
    check_seed(seed)
    check_part("validation_fraction", validation_fraction)
    check_choice("reads", reads, (None, *READS))
    pairs = {"train": train, "test": test, "validation": validation}
    if validation is None:
        del pairs["validation"]
    pairs = {part: _pair(part, pair) for part, pair in pairs.items()}
    if reads is None:
        reads = _guessed(pairs["train"][0])
    splits = {part: _checked(part, *pair, reads) for part, pair in pairs.items()}
    what = "images" if reads == "images" else "examples"
    _check_alike(splits, what)
    class_names = _class_names(splits, class_names, what)
    if validation is None:
        splits |= _carved(splits["train"], validation_fraction, seed, what)
    return Data(
        name=name,
        **splits,
        class_names=class_names,
        source=source,
        reads=reads,
    )


def _carved(train, fraction, seed, what):
    """Return what is left of the training examples, and those to validate on."""
    chosen = stratified(train.labels, fraction, seed)
    if not chosen.any() or chosen.all():
        raise ValueError(
            f"`validation_fraction` must leave {what} on both sides of {len(train)}. "
            f"Received: validation_fraction={fraction}."
        )
    return {"train": train.take(~chosen), "validation": train.take(chosen)}


def _check_alike(splits, what):
    """Refuse splits whose inputs are not those of the training examples."""
    shapes = {
        name: keras.tree.map_structure(lambda each: each.shape[1:], split.images)
        for name, split in splits.items()
    }
    for name, shape in shapes.items():
        if shape != shapes["train"]:
            raise ValueError(
                f"Train and {name} {what} must have the same shape. "
                f"Received: {shapes['train']} and {shape}."
            )


def _class_names(splits, class_names, what):
    """Return the names of the classes, of which every label is one."""
    highest = {name: int(split.labels.max()) for name, split in splits.items()}
    if class_names is None:
        known = max(highest["train"], highest["test"])
        _check_classes(splits["train"], known, what)
        class_names = list(map(str, range(known + 1)))
    class_names = check_class_names(class_names)
    highest = max(highest.values())
    if highest >= len(class_names):
        raise ValueError(
            f"Labels must be from 0 to {len(class_names) - 1}, one a class name. "
            f"Received: a label of {highest}."
        )
    return class_names


def _check_classes(train, highest, what):
    """Refuse labels that make classes of which almost none has an example."""
    num_known = len(np.unique(train.labels))
    if num_known < _FEWEST_KNOWN * (highest + 1):
        raise ValueError(
            f"Labels must count the classes from 0. Received: a label of {highest}, and training "
            f"{what} of {num_known} classes. Number the classes anew, or name them all with "
            "`class_names`."
        )


def _pair(part, pair):
    """Return the arrays and labels of `(x, y)`, unchecked."""
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ValueError(
            f"`{part}` must be `(x, y)`: images or other inputs, and labels. "
            f"Received: {type(pair).__name__}"
            f"{f' of {len(pair)}' if isinstance(pair, (list, tuple)) else ''}."
        )
    inputs, labels = pair
    if isinstance(labels, dict):
        raise ValueError(
            f"The {part} labels must be of one output. Received: a dict of {', '.join(labels)}. "
            "For several outputs use `Distiller.fit`."
        )
    if isinstance(inputs, dict):
        return {key: _array(part, f"input {key!r}", each) for key, each in inputs.items()}, labels
    if isinstance(inputs, tuple):
        inputs = (_array(part, f"input {n}", each) for n, each in enumerate(inputs))
        return tuple(inputs), labels
    return _array(part, "inputs", inputs), labels


def _array(part, what, values):
    try:
        return np.asarray(values)
    except ValueError as error:  # Lists of other lengths.
        raise ValueError(f"The {part} {what} must be one array. Received: {error}.") from error


def _guessed(inputs):
    """Return what the training inputs are taken for where nobody said it."""
    is_one = not keras.tree.is_nested(inputs)
    return "images" if is_one and inputs.ndim in (3, 4) else "numbers"


def _checked(part, inputs, labels, reads):
    """Return the `Split` of arrays; `part` is what to call it in an error."""
    labels = _labels(part, labels)
    what = f"{part} images" if reads == "images" else f"{part} inputs"
    if reads == "images":
        inputs = _images(what, inputs)
    elif isinstance(inputs, dict):
        inputs = {key: _numbers(f"{what} {key!r}", each) for key, each in inputs.items()}
    else:
        inputs = map_arrays(lambda each: _numbers(what, each), inputs)
    arrays = keras.tree.flatten(inputs)
    if not arrays:
        raise ValueError(f"There must be {what}. Received: an empty {type(inputs).__name__}.")
    for each in arrays:
        if len(each) != len(labels):
            raise ValueError(
                f"The {what} and labels must be equally many. "
                f"Received: {len(each)} {what.split()[1]} and {len(labels)} labels."
            )
    return Split(inputs, labels)


def _images(what, images):
    """Return images as `[n, height, width, channels]`."""
    if keras.tree.is_nested(images):
        raise ValueError(
            f"The {what} must be one array. Received: a {type(images).__name__} of several inputs. "
            "Leave `reads` out, or give one array in each part."
        )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.size == 0:
        raise ValueError(
            f"The {what} must be [n, height, width(, channels)], none of them 0. "
            f'Received: shape {images.shape}. Say of other data `reads="numbers"`.'
        )
    if images.dtype.name not in _NUMBERS:
        raise ValueError(
            f"The {what} must be numbers, best uint8 pixels. Received: {images.dtype}. "
            "Turn them into `uint8`."
        )
    return _finite(what, images)


def _numbers(what, array):
    """Return any numbers as `[n, ...]`; one number an example as `[n, 1]`."""
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"The {what} must be [n, ...], none of them 0. Received: shape {array.shape}."
        )
    if array.dtype.name not in (*_NUMBERS, "bool"):
        raise ValueError(
            f"The {what} must be numbers. Received: {array.dtype}. Turn texts and categories into "
            "numbers first, such as with `keras.layers.TextVectorization` or `StringLookup`."
        )
    return _finite(what, array[:, np.newaxis] if array.ndim == 1 else array)


def _finite(what, array):
    if array.dtype.name in ("float16", "float32", "float64", "bfloat16") and not _all_finite(array):
        raise ValueError(
            f"The {what} must be finite. Received: NaN, infinity, or what float32 does not hold. "
            "Look at how they were made."
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _all_finite(array):
    """Return whether all are finite in float32, which models compute in."""
    chunks = (array[n : n + _CHUNK] for n in range(0, len(array), _CHUNK))
    with np.errstate(over="ignore"):
        return all(np.isfinite(chunk.astype(np.float32, copy=False)).all() for chunk in chunks)


def _labels(part, labels):
    """Return labels as int32 `[n]`."""
    labels = _array(part, "labels", labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        remedy = "one-hot labels into integers with `labels.argmax(-1)`"
        if labels.ndim == 1:
            remedy = 'them into the numbers of classes, such as with `labels.astype("int64")`'
        raise ValueError(
            f"The {part} labels must be integers [n]. Received: {labels.dtype} of shape "
            f"{labels.shape}. Turn {remedy}; for what is no class use `Distiller.fit`."
        )
    if labels.size and labels.min() < 0:
        raise ValueError(
            f"The {part} labels must count from 0. Received: a label of {labels.min()}."
        )
    if labels.size and labels.max() > MOST:
        raise ValueError(
            f"The {part} labels must be numbers of classes, from 0. Received: a label of "
            f"{labels.max()}."
        )
    return labels.astype(np.int32)
