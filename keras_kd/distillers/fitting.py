"""What `fit` of a distiller does before Keras's own begins."""

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.backend import num_replicas
from keras_kd.data.minibatches import Stack
from keras_kd.data.targets import Targets, weights_by_class
from keras_kd.distillers.checks import shape_of
from keras_kd.distillers.fast_path import minibatches_of
from keras_kd.distillers.labels import check_labels as refuse_bad_labels
from keras_kd.losses.hard import ignored_class
from keras_kd.soft_labels import SoftLabels, check_finite


def with_stored_logits(x, targets, options):
    """Return what `fit` was given as a data set, if it holds `Targets`, and its other arguments.

    Keras has no sample weights of more than one number an example, and no class weights, beside a
    `y` of several arrays, so these are laid beside the examples here.

    Args:
        x: as in `keras.Model.fit`.
        targets: its `y`.
        options: its other arguments.

    Returns:
        `(x, y, options)`.

    Raises:
        ValueError: if the arrays do not belong together, or a logit is not finite.
    """
    validation = options.get("validation_data")
    if isinstance(validation, tuple) and len(validation) > 1:
        images, answers, *weights = validation
        options = options | {"validation_data": (images, labels_alone(answers), *weights)}
    class_weight = options.get("class_weight")
    if isinstance(x, tf.data.Dataset):
        spec = x.element_spec
        holds = isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[1], Targets)
        if not holds or class_weight is None:
            return x, targets, options
        weighed = x.map(lambda x, y: (x, y, weights_by_class(y.labels, class_weight)))
        return weighed, targets, options | {"class_weight": None}
    if not isinstance(targets, Targets):
        return x, targets, options
    if targets.teacher_logits is None:
        return x, targets.labels, options
    weights = options.get("sample_weight")
    if class_weight is not None and weights is not None:
        raise ValueError("Pass `class_weight` or `sample_weight`. Received: both.")
    if class_weight is not None:
        labels = None if targets.labels is None else np.asarray(targets.labels)
        weights = np.array(weights_by_class(labels, class_weight))
        # As in Keras, they are not those of the validation data, which it takes from the end.
        weights[int(len(weights) * (1 - (options.get("validation_split") or 0))) :] = 1
    needs_keras = options.get("validation_split") or options.get("steps_per_epoch")
    if needs_keras or targets.labels is None or keras.tree.is_nested(x):
        # Keras wants weights for each part of `y`; `unpack` takes one of them.
        copies = keras.tree.map_structure(lambda part: np.asarray(weights), targets)
        copies = None if weights is None else copies
        return x, targets, options | {"sample_weight": copies, "class_weight": None}
    images, labels, logits = map(np.asarray, (x, targets.labels, targets.teacher_logits))
    counts = [len(each) for each in (images, labels, logits, *([weights] * (weights is not None)))]
    if len(set(counts)) > 1:
        raise ValueError(
            "Images, labels, teacher logits and sample weights must be equally many. Received: "
            f"{', '.join(map(str, counts))}."
        )
    check_finite(logits)
    minibatches = minibatches_of(images, labels, **_of_arrays(options))
    minibatches = minibatches.with_teacher_logits(logits.astype("float32"))
    if weights is not None:
        minibatches = minibatches.with_sample_weight(np.asarray(weights, "float32"))
    rest = {"batch_size", "shuffle", "class_weight", "sample_weight"}
    return minibatches.dataset(), None, {k: v for k, v in options.items() if k not in rest}


def labels_alone(targets):
    """Return the labels of `Targets` that have some, since they are all that is evaluated."""
    has_labels = isinstance(targets, Targets) and targets.labels is not None
    return targets.labels if has_labels else targets


def _of_arrays(options):
    names = ("batch_size", "shuffle", "initial_epoch")
    return {name: options[name] for name in names if name in options}


def check_labels(distiller, x, y=None, *, name="training data"):
    """Refuse labels in memory that a distiller cannot learn, before it learns any.

    Args:
        distiller: a compiled `Distiller`.
        x: as in `keras.Model.fit`.
        y: likewise.
        name: what they are called in an error.

    Raises:
        ValueError: naming label and image.
    """
    if isinstance(x, tf.data.Dataset) and hasattr(x, "minibatches"):
        x, y = x.minibatches.split.images, x.minibatches.split.labels
    y = y.labels if isinstance(y, Targets) else y
    # At alpha=1 labels may be placeholders, but those of validation data are always compared.
    learned = distiller.learns_labels() or name != "training data"
    as_classes = distiller.takes_labels_for_classes()
    if not hasattr(y, "__array__") or not (learned or as_classes) or not len(y):
        return
    logits = shape_of(distiller.student, "outputs")
    if logits is None:
        if not hasattr(x, "shape"):
            return
        logits = distiller.student(x[:1], training=False).shape
    refuse_bad_labels(
        np.asarray(y),
        logits_shape=logits[1:],
        hard_loss=distiller.hard_loss if learned else None,
        as_classes=as_classes,
        ignored=ignored_class(distiller.hard_loss),
        name=name,
    )


def check_validation_labels(distillers, validation_data):
    """Refuse labels in memory that a distiller cannot be judged by; see `check_labels`.

    Args:
        distillers: those that `validation_data` is for.
        validation_data: as in `keras.Model.fit`.
    """
    parts = validation_data if isinstance(validation_data, tuple) else (validation_data,)
    for distiller in distillers:
        check_labels(distiller, *parts[:2], name="validation data")


def as_list(callbacks):
    """Return what `fit` was given as callbacks as a flat list."""
    return keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or [])


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
            "weights beside it. Pass arrays or `Split.batches(...)` to `fit`, or train "
            "from `SoftLabels.join` with `Distiller(teacher=None)`."
        )
    if not isinstance(soft_labels, SoftLabels) and teacher is not None:
        soft_labels = SoftLabels.create(soft_labels, teacher, minibatches.split, verbose=verbose)
    elif not isinstance(soft_labels, SoftLabels):
        soft_labels = SoftLabels(soft_labels)
    if minibatches.has_teacher_logits:
        raise ValueError(
            "A distiller with `soft_labels` takes the teacher's logits from there. Received: data "
            "with logits of its own. Set `distiller.soft_labels = None`, or pass (images, labels)."
        )
    (name,) = terms.names
    terms.check_heads({name: soft_labels.head}, {name: name})
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
    stacked = isinstance(spec, Stack)
    labels = _labels_in(spec.parts if stacked else spec)
    if not isinstance(labels, tf.TensorSpec) or labels.shape.rank is None or num_logits is None:
        return
    inner = list(labels.shape[2 if stacked and spec.plan.gathered else 1 :])
    logits = list(num_logits)
    for axis in range(min(len(inner), len(logits) - 1)):
        # A class at every place: a size that the one leaves free is the other's.
        inner[axis], logits[axis] = inner[axis] or logits[axis], logits[axis] or inner[axis]
    labels = tf.zeros([1, *(size or 1 for size in inner)], labels.dtype)
    y_pred = tf.zeros([1, *(size or 1 for size in logits)])
    if distiller.learns_labels():  # Else they may be placeholders of any shape.
        distiller.compute_loss(y=labels, y_pred=y_pred)
    distiller.compute_metrics(None, labels, y_pred)
    distiller.reset_metrics()


def _labels_in(spec):
    """Return the part of a data set's `element_spec` that the labels are; `None` without any."""
    targets = spec[1] if isinstance(spec, tuple) and len(spec) > 1 else None
    return targets.labels if isinstance(targets, Targets) else targets


def with_watch(callbacks, losses, steps, verbose, more):
    """Return the callbacks of `fit` with one that ends it where the teacher fails.

    Args:
        callbacks: as in `keras.Model.fit`.
        losses: names in the logs of what is better when it is less.
        steps: minibatches a stack and an epoch, `None` if there are no stacks: so many steps are
            what the others are told of.
        verbose: as in `keras.Model.fit`.
        more: callbacks of `fit`'s own.
    """
    watch_for_less(callbacks, losses)
    more = [_TeacherWatch(steps), *more]
    if isinstance(callbacks, keras.callbacks.CallbackList):
        for each in more:
            each.set_model(callbacks.model)
        callbacks.callbacks = [*more, *callbacks.callbacks]
        return callbacks
    return with_bar([*more, *as_list(callbacks)], steps, verbose)


def watch_for_less(callbacks, losses):
    """Tell callbacks whose mode is `"auto"`, and that watch a loss of ours, that less is better.

    Keras knows it of `val_loss` and of compiled metrics alone.

    Args:
        callbacks: as in `keras.Model.fit`.
        losses: their names in the logs.
    """
    for callback in as_list(callbacks):
        watched = str(getattr(callback, "monitor", "")).removeprefix("val_")
        if watched in losses and getattr(callback, "mode", None) == "auto":
            callback.mode = "min"


def with_bar(callbacks, steps, verbose):
    """Return callbacks with a progress bar that counts minibatches; see `with_watch`."""
    has_bar = any(isinstance(each, keras.callbacks.ProgbarLogger) for each in callbacks)
    return [*callbacks, _StackProgress(*steps)] if steps and verbose and not has_bar else callbacks


class _StackProgress(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, which counts minibatches where `fit` goes by stacks."""

    def __init__(self, height, num_minibatches):
        super().__init__()
        self.height, self.num_minibatches = height, num_minibatches

    def set_params(self, params):
        super().set_params(params)
        self.target = self.num_minibatches

    def on_train_batch_end(self, batch, logs=None):
        done = min((batch + 1) * self.height, self.num_minibatches)
        super().on_train_batch_end(done - 1, logs)


class KeptTeacher(keras.callbacks.Callback):
    """Ends the training where a teacher changes whose logits were kept.

    Args:
        teacher: the `Teacher` or `Ensemble`.
    """

    def __init__(self, teacher):
        super().__init__()
        self.teacher, self.fingerprint = teacher, teacher.fingerprint

    def on_epoch_begin(self, epoch, logs=None):
        if self.teacher.fingerprint != self.fingerprint:
            raise ValueError(
                "The teacher must stay as it is while `fit` trains from what it said before the "
                f"first epoch. Received: other weights at epoch {epoch}. Compile with "
                "`steps_per_execution=1`: then it is asked in each step."
            )


class _TeacherWatch(keras.callbacks.Callback):
    """Ends the training where the teacher's logits are not finite.

    It comes first, and so tells the others how many minibatches an epoch has.
    """

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def set_params(self, params):
        if self.steps and params:
            params["steps"] = self.steps[1]
        super().set_params(params)

    def on_epoch_begin(self, epoch, logs=None):
        self.since = int(self.model.optimizer.iterations.numpy())

    def on_train_batch_end(self, batch, logs=None):
        self.model.raise_if_teacher_failed(self.since)
