"""The user's own `tf.data` -> `Data`, read into memory once."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.checks import check_number
from keras_kd.data.arrays import from_arrays
from keras_kd.data.splits import Data


def from_dataset(
    train: tf.data.Dataset,
    test: tf.data.Dataset,
    *,
    validation: tf.data.Dataset | None = None,
    reads: str | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    validation_fraction: float = 0.1,
    memory_limit: int = 1_000_000_000,
    name: str = "dataset",
    source: str = "tf.data",
) -> Data:
    """Read `tf.data.Dataset`s into memory and split them as `from_arrays` splits arrays.

    Each is gone through once. The order of every epoch is then drawn anew from a seed, as
    experiments need it: leave `shuffle` and `repeat` out of the pipeline. One that shuffles by
    itself is other data at each reading, and an interrupted run of it cannot go on.

    Args:
        train: of `(x, y)`, one example or one batch at a time, as `keras.Model.fit` takes it: `x` a
            tensor or a dict (or tuple) of tensors, `y` an integer label for each example.
        test: the same, for the one reading at the end.
        validation: the same, for every choice, instead of a part of `train`.
        reads: as in `from_arrays`.
        class_names: one string a class; those that Keras's `image_dataset_from_directory` has left
            on `train`, else `"0"`, `"1"`, ... if `None`.
        seed: as in `from_arrays`.
        validation_fraction: as in `from_arrays`.
        memory_limit: the most bytes of examples to keep in memory, of all parts together.
        name: what the data set is called in reports.
        source: where it came from, for reports.

    Returns:
        A `Data`.

    Raises:
        ValueError: if what a data set holds is something else, is endless or too large, or
            `from_arrays` refuses it.

    Example:

    ```python
    import numpy as np
    import tensorflow as tf
    import keras_kd as kd

    x, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    examples = tf.data.Dataset.from_tensor_slices((x, y))
    data = kd.data.from_dataset(examples.take(40).batch(8), examples.skip(40).batch(8))
    assert data.input_shape == (5,) and len(data.test) == 20
    ```
    """
    check_number("memory_limit", memory_limit, (0, float("inf")))
    parts = {"train": train, "test": test, "validation": validation}
    arrays, free = {}, memory_limit
    for part, dataset in parts.items():
        if dataset is not None:
            arrays[part], taken = _read(part, dataset, free, memory_limit)
            free -= taken
    if class_names is None:
        class_names = getattr(train, "class_names", None)  # Keras's own habit.
    return from_arrays(
        **arrays,
        reads=reads,
        class_names=class_names,
        seed=seed,
        validation_fraction=validation_fraction,
        name=name,
        source=source,
    )


def _read(part, dataset, free, memory_limit):
    """Return `(x, y)` as arrays, and their bytes.

    Args:
        part: what to call it in an error.
        dataset: a `tf.data.Dataset`.
        free: bytes that it may take.
        memory_limit: bytes that all parts may take, for the error.
    """
    _check_elements(part, dataset)
    batches, taken = [], 0
    for inputs, labels in dataset.as_numpy_iterator():
        if np.ndim(labels) == 0:  # One example, not a batch.
            inputs, labels = keras.tree.map_structure(lambda each: each[None], (inputs, labels))
        _check_batch(part, inputs, labels)
        batches.append((inputs, labels))
        taken += sum(each.nbytes for each in keras.tree.flatten((inputs, labels)))
        if taken > free:
            raise ValueError(
                f"The data sets must fit into {memory_limit:,} bytes of memory, which a run reads "
                f"in another order each epoch. Received: more, in `{part}`. Allow more with "
                "`memory_limit`, or write images into a folder for `data.read`."
            )
    if not batches:
        raise ValueError(f"`{part}` must have examples. Received: an empty tf.data.Dataset.")
    try:
        return keras.tree.map_structure(lambda *each: np.concatenate(each), *batches), taken
    except ValueError as error:
        raise ValueError(
            f"The examples of `{part}` must all have one shape. Received: several. Pad them with "
            "`padded_batch` and one `padded_shapes`, or resize them."
        ) from error


def _check_elements(part, dataset):
    """Refuse what is no finite `tf.data.Dataset` of `(x, y)` in plain tensors."""
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(
            f"`{part}` must be a tf.data.Dataset. Received: {type(dataset).__name__}. For arrays "
            "use `data.from_arrays`."
        )
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) == 3:
        raise ValueError(
            f"`{part}` must be of (x, y). Received: sample weights as well, which no experiment "
            "takes. Leave them out, or use `Distiller.fit`."
        )
    if not isinstance(spec, tuple) or len(spec) != 2 or keras.tree.is_nested(spec[1]):
        raise ValueError(
            f"`{part}` must be of (x, y), with one label an example. Received: elements of "
            f"{spec}. For several outputs use `Distiller.fit`."
        )
    if not all(isinstance(each, tf.TensorSpec) for each in keras.tree.flatten(spec)):
        raise ValueError(
            f"`{part}` must be of plain tensors. Received: elements of {spec}. Make ragged or "
            "sparse ones dense with `to_tensor` or `tf.sparse.to_dense`."
        )
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"`{part}` must end. Received: a data set without end. Leave out `repeat`."
        )


def _check_batch(part, inputs, labels):
    """Refuse a batch of which the inputs and labels are not equally many."""
    counts = [len(each) if np.ndim(each) else 0 for each in keras.tree.flatten(inputs)]
    if any(count != len(labels) for count in counts):
        raise ValueError(
            f"Each element of `{part}` must be an example with an integer label, or a batch with "
            f"as many inputs as labels. Received: inputs of {counts[0]} and labels of shape "
            f"{np.shape(labels)}."
        )
