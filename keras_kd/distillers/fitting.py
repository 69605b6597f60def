"""What `fit` of a distiller is given, laid out once before Keras's own begins."""

import dataclasses
import functools
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.backend import is_distributed
from keras_kd._common.structures import by_name
from keras_kd.data.minibatches import Stack, map_arrays
from keras_kd.data.targets import Targets, weights_by_class
from keras_kd.distillers.batch import Batch
from keras_kd.distillers.checks import check_layers, pairs_of, shapes_of
from keras_kd.distillers.labels import check_labels as refuse_bad_labels
from keras_kd.distillers.stacks import are_arrays, minibatches_of
from keras_kd.soft_labels import SoftLabels, check_finite


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """What `fit` was given to train on.

    Args:
        x: as in `keras.Model.fit`.
        y: likewise.
        options: the other arguments of `fit` that it was given.
    """

    x: object
    y: object
    options: dict

    @functools.cached_property
    def minibatches(self):
        """The `Minibatches` that these are, made where they are wanted; else `None`."""
        return minibatches_of(self.x, self.y, **self.options)

    @property
    def batch_size(self):
        """Examples a minibatch, `None` if only the data knows."""
        if isinstance(self.x, tf.data.Dataset):
            own = self.minibatches
            return own and min(own.batch_size, own.num_examples)
        size = self.options.get("batch_size")
        if not are_arrays(self.x):
            return size
        return min(size or 32, len(keras.tree.flatten(self.x)[0]))

    def as_dataset(self, dataset):
        """Return the same as a `tf.data.Dataset`, whose batches and order are its own."""
        options = {**self.options, "batch_size": None, "shuffle": False}
        return Given(dataset, None, options)


def given(x, y, options):
    """Return what `fit` was given as `Given`: stored logits and weights beside their examples.

    Keras has no sample weights of more than one number an example, and no class weights, beside a
    `y` of several arrays, so these are laid beside the examples here.

    Args:
        x: as in `keras.Model.fit`.
        y: likewise; it may be `Targets`.
        options: its other arguments.

    Raises:
        ValueError: if the arrays do not belong together, or a logit is not finite.
    """
    validation = options.get("validation_data")
    if isinstance(validation, tuple) and len(validation) > 1:
        inputs, answers, *weights = validation
        options = options | {"validation_data": (inputs, labels_alone(answers), *weights)}
    size = options.get("validation_batch_size") or options.get("batch_size")
    options = options | {"validation_batch_size": size}
    if isinstance(x, tf.data.Dataset):
        # Keras cannot shuffle one, and warns about it.
        return Given(*_weighed_by_class(x, y, {"shuffle": False, **options}))
    if not isinstance(y, Targets):
        return Given(x, y, options)
    if y.teacher_logits is None:
        return Given(x, y.labels, options)
    return _with_stored_logits(x, y, options)


def _weighed_by_class(x, y, options):
    spec, class_weight = x.element_spec, options.get("class_weight")
    holds = isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[1], Targets)
    if not holds or class_weight is None:
        return x, y, options
    weighed = x.map(lambda x, y: (x, y, weights_by_class(y.labels, class_weight)))
    return weighed, y, options | {"class_weight": None}


def _with_stored_logits(x, targets, options):
    """Return `Given` of arrays and `Targets`: as minibatches, or for Keras where it must divide."""
    weights = _weights_of(targets.labels, options)
    options = options | {"class_weight": None, "sample_weight": None}
    inputs, labels, logits, weights = map(_as_arrays, (x, *targets, weights))
    _check_counts(inputs, labels, logits, weights)
    minibatches = minibatches_of(inputs, labels, **options)
    if minibatches is not None:
        map_arrays(check_finite, logits)
        minibatches = minibatches.with_teacher_logits(_as_float32(logits))
        if weights is not None:
            minibatches = minibatches.with_sample_weight(_as_float32(weights))
        return Given(x, None, options).as_dataset(minibatches.dataset())
    # Keras wants weights for each part of `y`; `unpack` takes one of them.
    if keras.tree.is_nested(weights):
        weights = Targets(None if labels is None else weights, weights)
    elif weights is not None:
        weights = keras.tree.map_structure(lambda part: weights, targets)
    return Given(x, targets, options | {"sample_weight": weights})


def _weights_of(labels, options):
    """Return the sample weights of `fit`, those of the classes among them."""
    class_weight, weights = options.get("class_weight"), options.get("sample_weight")
    if class_weight is not None and weights is not None:
        raise ValueError("Pass `class_weight` or `sample_weight`. Received: both.")
    if class_weight is None:
        return weights
    weights = np.array(weights_by_class(_as_arrays(labels), class_weight))
    # As in Keras, they are not those of the validation data, which it takes from the end.
    weights[int(len(weights) * (1 - (options.get("validation_split") or 0))) :] = 1
    return weights


def _as_arrays(part):
    """Return a structure of arrays, or a list of numbers, as NumPy's; `None` stays."""
    if keras.tree.is_nested(part) and all(map(np.isscalar, keras.tree.flatten(part))):
        return np.asarray(part)
    return map_arrays(np.asarray, part)


def _as_float32(structure):
    return map_arrays(lambda each: each.astype("float32"), structure)


def _check_counts(*parts):
    arrays = [each for each in keras.tree.flatten(parts) if each is not None]
    counts = [len(each) for each in arrays if np.ndim(each)]
    if len(set(counts)) > 1:
        raise ValueError(
            "Images, labels, teacher logits and sample weights must be equally many. Received: "
            f"{', '.join(map(str, counts))}."
        )


def labels_alone(targets):
    """Return the labels of `Targets` that have some, since they are all that is evaluated."""
    has_labels = isinstance(targets, Targets) and targets.labels is not None
    return targets.labels if has_labels else targets


def check_labels(distiller, x, y=None, *, name="training data"):
    """Refuse labels in memory that a distiller cannot learn, before it learns any.

    Args:
        distiller: a compiled `Distiller`.
        x: as in `keras.Model.fit`.
        y: likewise.
        name: what they are called in an error.

    Raises:
        ValueError: naming label, image and, of several, the output.
    """
    x, y = _examples_in(x, y)
    parts = distiller.parts
    # At alpha=1 labels may be placeholders, but those of validation data are always compared.
    learned = parts.learned() if name == "training data" else parts.labelled()
    as_classes = distiller.labels_as_classes()
    arrays = keras.tree.flatten(y)
    if not (learned or as_classes) or not all(map(_has_examples, arrays)):
        return
    shapes = shapes_of(distiller.student, parts.names)
    if not shapes:
        if not all(map(_has_examples, keras.tree.flatten(x))):
            return
        found = distiller(map_arrays(lambda each: each[:1], x), training=False)
        found = by_name(found, parts.names, what="The student's outputs")
        shapes = {output: each.shape for output, each in found.items()}
    refuse_bad_labels(
        map_arrays(np.asarray, by_name(y, parts.names, what="Labels")),
        shapes={output: shape[1:] for output, shape in shapes.items()},
        hard_losses=parts.hard_losses,
        learned=learned,
        as_classes=as_classes,
        values=[output for output, head in distiller.heads().items() if head == "values"],
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


def _examples_in(x, y):
    """Return inputs and labels of what `fit` was given, as far as they lie in memory."""
    if isinstance(x, tf.data.Dataset) and hasattr(x, "minibatches"):
        x, y = x.minibatches.split.images, x.minibatches.split.labels
    return x, y.labels if isinstance(y, Targets) else y


def _has_examples(array):
    return hasattr(array, "__array__") and len(array.shape) > 0 and array.shape[0] > 0


def with_soft_labels(data, soft_labels, terms, teacher, *, verbose):
    """Return what `fit` was given as a data set with the teacher's stored outputs.

    Args:
        data: `Given`.
        soft_labels: `SoftLabels`, or the folder of some, which is made if it is not there.
        terms: the `DistillationTerms`.
        teacher: a `Teacher` to make it from, or `None`.
        verbose: show a progress bar.

    Raises:
        ValueError: if the data has no index, or the soft labels are not of this teacher, this
            data and these losses.
    """
    minibatches, options, weights = data.minibatches, data.options, None
    if minibatches is None and are_arrays(data.x, data.y):
        weights = _weights_of(data.y, options)
        options = options | {"class_weight": None, "sample_weight": None}
        minibatches = minibatches_of(data.x, data.y, **options)
    if minibatches is None:
        raise ValueError(
            "Soft labels are found by the index of the image. Received: data without one. Pass "
            "arrays or `Split.batches(...)` to `fit`, or train from `SoftLabels.join` with "
            "`Distiller(teacher=None)`."
        )
    if not isinstance(soft_labels, SoftLabels) and teacher is not None:
        # Before it is asked.
        check_layers(terms.teacher_layers(), teacher.output_names)
        soft_labels = SoftLabels.create(soft_labels, teacher, minibatches.split, verbose=verbose)
    elif not isinstance(soft_labels, SoftLabels):
        soft_labels = SoftLabels(soft_labels)
    if minibatches.has_teacher_logits:
        raise ValueError(
            "A distiller with `soft_labels` takes the teacher's logits from there. Received: data "
            "with logits of its own. Set `distiller.soft_labels = None`, or pass (images, labels)."
        )
    pairs = pairs_of(terms.compared_outputs(), terms.names, soft_labels.output_names)
    terms.check_heads(soft_labels.heads, pairs)
    check_layers(terms.teacher_layers(), soft_labels.output_names)
    pairs |= {name: name for name in terms.teacher_layers()}
    joined = soft_labels.joined(minibatches, pairs)
    if weights is not None:
        joined = joined.with_sample_weight(_as_float32(_as_arrays(weights)))
    return Given(data.x, None, options).as_dataset(joined.dataset())


def build_variables(distiller, data):
    """Make the variables of optimizer and metrics: Keras would do it from the first stack.

    Args:
        distiller: a compiled `Distiller`.
        data: what `fit` will train on.
    """
    if not isinstance(data, tf.data.Dataset) or is_distributed():
        return
    if not distiller.optimizer.built:
        distiller.optimizer.build(distiller.trainable_variables)
    student, names, spec = distiller.student, distiller.parts.names, data.element_spec
    shapes, stacked = shapes_of(student, names), isinstance(spec, Stack)
    labels = _labels_in(spec.parts if stacked else spec)
    if not shapes or not all(map(_has_rank, keras.tree.flatten(labels))):
        return
    example = slice(2 if stacked and spec.plan.gathered else 1, None)
    y = {}
    y_pred = {name: tf.zeros([1, *(size or 1 for size in shapes[name][1:])]) for name in names}
    for name, each in by_name(labels, names, what="Labels").items():
        y[name], y_pred[name] = _zeros(each.shape[example], each.dtype, shapes[name][1:])
    outputs = student.outputs[0] if isinstance(student, keras.Sequential) else student.output
    y, y_pred = _like(labels, y, names), _like(outputs, y_pred, names)
    if distiller.parts.learned() and len(names) == 1:
        # Else they may be placeholders of any shape, or Keras would have trackers of its own.
        distiller.compute_loss(y=y, y_pred=y_pred)
    distiller.measure(Batch(None, y), y_pred)
    distiller.reset_metrics()


def warn_of_weights(distiller):
    """Warn if a training left weights that are not finite: under XLA the losses may not show it.

    There ReLU makes 0 of NaN, so that one input with NaN in it spoils the weights that it meets,
    and nothing else is seen to change.

    Args:
        distiller: that was trained.
    """
    for weight in distiller.trainable_variables:
        if not bool(keras.ops.all(keras.ops.isfinite(weight))):
            warnings.warn(
                f"The weights must stay finite. Received: NaN or infinity in {weight.path} after "
                "training. Look for NaN in the inputs, or lower the learning rate.",
                stacklevel=3,
            )
            return


def _labels_in(spec):
    """Return the part of a data set's `element_spec` that the labels are; `None` without any."""
    targets = spec[1] if isinstance(spec, tuple) and len(spec) > 1 else None
    return targets.labels if isinstance(targets, Targets) else targets


def _has_rank(spec):
    return isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None


def _zeros(labels, dtype, logits):
    """Return labels and logits of one example; what one leaves free at a place is the other's."""
    labels, logits = list(labels), list(logits)
    for axis in range(min(len(labels), len(logits) - 1)):
        labels[axis], logits[axis] = labels[axis] or logits[axis], logits[axis] or labels[axis]
    shapes = ([1, *(size or 1 for size in sizes)] for sizes in (labels, logits))
    return tf.zeros(next(shapes), dtype), tf.zeros(next(shapes))


def _like(structure, values, names):
    """Return values by output in a structure of outputs."""
    if isinstance(structure, dict):
        return {name: values[name] for name in structure}
    if isinstance(structure, (list, tuple)):
        return type(structure)(values[name] for name in names)
    return values[names[0]]
