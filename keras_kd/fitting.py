"""What `fit` of a distiller does before Keras's own begins."""

import keras
import tensorflow as tf

from keras_kd._backend import num_replicas
from keras_kd.data.minibatches import Stack
from keras_kd.soft_labels import SoftLabels


def with_soft_labels(minibatches, soft_labels, terms, teacher, *, verbose):
    """Return the minibatches with the teacher's stored logits for them.

    Args:
        minibatches: `Minibatches`, or `None` for data of another kind.
        soft_labels: `SoftLabels`, or the folder of some, which is made if it is not there.
        terms: the `DistillationTerms`.
        teacher: a `Teacher` to make it from, or `None`.
        verbose: show a progress bar.

    Raises:
        ValueError: if the data has no index, or the soft labels are not of this teacher, this
            data and these losses.
    """
    if minibatches is None:
        raise ValueError(
            "Soft labels are found by the index of the image. Received: data without one, or "
            "class weights beside it. Pass arrays or `Split.batches(...)` to `fit`, or train "
            "from `SoftLabels.join` with `Distiller(teacher=None)`."
        )
    if not isinstance(soft_labels, SoftLabels) and teacher is not None:
        soft_labels = SoftLabels.create(soft_labels, teacher, minibatches.split, verbose=verbose)
    elif not isinstance(soft_labels, SoftLabels):
        soft_labels = SoftLabels(soft_labels)
    terms.check_teacher(soft_labels)
    return soft_labels.joined(minibatches)


def build_variables(distiller, data, num_logits):
    """Make the variables of optimizer and metrics: Keras would do it from the first stack.

    Args:
        distiller: a compiled `Distiller`.
        data: what `fit` will train on.
        num_logits: shape of the student's logits for one image; `None` if only its calls know.
    """
    if not isinstance(data, tf.data.Dataset) or num_replicas() > 1:
        return
    if not distiller.optimizer.built:
        distiller.optimizer.build(distiller.trainable_variables)
    spec = data.element_spec
    parts = spec.parts if isinstance(spec, Stack.Spec) else spec
    is_pair = isinstance(parts, tuple) and len(parts) > 1 and isinstance(parts[1], tf.TensorSpec)
    if not is_pair or parts[1].shape.rank is None or num_logits is None:
        return
    holds_minibatches = isinstance(spec, Stack.Spec) and spec.gathered
    inner = parts[1].shape[2 if holds_minibatches else 1 :]
    labels = tf.zeros([1, *(size or 1 for size in inner)], parts[1].dtype)
    y_pred = tf.zeros([1, *(size or 1 for size in num_logits)])
    distiller.compute_loss(y=labels, y_pred=y_pred)
    distiller.compute_metrics(None, labels, y_pred)
    distiller.reset_metrics()


def with_watch(callbacks):
    """Return the callbacks of `fit` with one that ends it where the teacher fails.

    Args:
        callbacks: as in `keras.Model.fit`.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(_TeacherWatch())
        return callbacks
    return [_TeacherWatch(), *(callbacks or [])]


class _TeacherWatch(keras.callbacks.Callback):
    """Ends the training where the teacher's logits are not finite."""

    def on_epoch_begin(self, epoch, logs=None):
        self.since = int(self.model.optimizer.iterations.numpy())

    def on_train_batch_end(self, batch, logs=None):
        self.model.raise_if_teacher_failed(self.since)
