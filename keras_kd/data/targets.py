"""What a minibatch of one's own carries beside its images: labels, and what a teacher said."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.reprs import call_of


class Targets(NamedTuple):
    """Labels and stored teacher logits of the same images, in the place of Keras's `y`.

    A `Distiller` that is given them trains from these logits and asks no teacher. They stand where
    Keras has the labels, `(images, Targets(...))` or `(images, Targets(...), sample_weight)`: in
    `fit`, `train_on_batch`, `evaluate`, and in what a `tf.data.Dataset`, a `PyDataset` or a
    generator yields. So a minibatch without them means what Keras says that it means.

    The logits may come from anywhere: another framework, a file, or a `predict_proba`, whose
    probabilities become logits by their logarithm. For images and logits in memory or on disk,
    see also `SoftLabels.from_logits`.

    Attributes:
        labels: as without a teacher; `None` if there are none, for `alpha=1`.
        teacher_logits: `[batch, ..., num_classes]`, in the order of the student's logits, whatever
            the `class_map` of a teacher beside them. `None` if a live teacher is to be asked.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    images, labels = np.zeros((8, 6, 6, 1), "uint8"), np.arange(8) % 3
    probabilities = np.full((8, 3), 1 / 3)  # Of a `predict_proba`.
    logits = np.log(np.maximum(probabilities, 1e-30))

    student = kd.models.mlp([4], image_shape=(6, 6, 1), num_classes=3)
    distiller = kd.Distiller(student=student).compile()
    distiller.fit(images, kd.Targets(labels, logits), epochs=1, verbose=0)
    ```
    """

    labels: object = None
    teacher_logits: object = None

    def __repr__(self):
        return call_of(self, **self._asdict())

    def __array__(self, dtype=None, copy=None):
        # What Keras weighs by class, where a PyDataset or a generator yields it.
        return np.asarray(self.labels, dtype=dtype)


def unpack(data):
    """Return inputs, labels, sample weights and stored teacher logits, `None` for what is not.

    Args:
        data: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, as in Keras, where `y` are labels or
            `Targets`.

    Returns:
        `(inputs, labels, sample_weight, teacher_logits)`.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(data, Targets):
        raise ValueError(
            "A minibatch must begin with its images: `(images, Targets(labels, logits))`. "
            "Received: Targets alone."
        )
    if isinstance(data, (tuple, list)) and len(data) > 3:
        raise ValueError(
            "A minibatch must be (images, labels) or (images, labels, sample_weight), as in Keras. "
            f"Received: {len(data)} parts. Stored teacher logits stand beside the labels: "
            "`(images, keras_kd.Targets(labels, teacher_logits), sample_weight)`."
        )
    images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if not isinstance(labels, Targets):
        return images, labels, sample_weight, None
    if isinstance(sample_weight, Targets):
        # Keras gives each array of a `y` of several its own copy of the weights.
        alone = labels.labels is None
        sample_weight = sample_weight.teacher_logits if alone else sample_weight.labels
    if labels.teacher_logits is None:
        return images, labels.labels, sample_weight, None
    return images, labels.labels, sample_weight, labels.teacher_logits


def weights_by_class(labels, class_weight):
    """Return the weight of each example by its class, as Keras does: 1 for a class not named.

    Args:
        labels: integers `[n]` or `[n, 1]`, or one-hot `[n, num_classes]`.
        class_weight: `{class: weight}`.

    Raises:
        ValueError: if an example has no one class.
    """
    if labels is None or len(labels.shape) > 2:
        shape = "none" if labels is None else f"labels of shape {tuple(labels.shape)}"
        raise ValueError(
            f"`class_weight` needs one label an example. Received: {shape}. Pass `sample_weight`."
        )
    classes = tf.convert_to_tensor(labels)
    if len(classes.shape) == 2:
        one_hot = classes.shape[-1] != 1
        classes = tf.argmax(classes, axis=-1) if one_hot else classes[:, 0]
    classes = tf.cast(tf.round(classes), tf.int64)
    weights = tf.ones_like(classes, keras.config.floatx())
    for number, weight in class_weight.items():
        weights = tf.where(classes == int(number), tf.cast(weight, weights.dtype), weights)
    return weights
