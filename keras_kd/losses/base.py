"""What every distillation loss of ours is."""

import numbers
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_kd._common.checks import WEIGHTS, check_number
from keras_kd._common.reprs import call_of_configured
from keras_kd._common.typing import Config, Schedule, Shape, Structure, Tensor
from keras_kd.losses.masks import mask_of, with_mask

# Whatever a teacher ends in: for losses that take its outputs as they are.
ANY_HEAD = ("logits", "softmax", "sigmoid", "values")


class DistillationLoss(keras.losses.Loss, keras.distillation.DistillationLoss):
    """A loss between what teacher and student say of the same examples.

    A subclass writes one method, `call(teacher_outputs, student_outputs)`, which returns one
    float32 value per example. The rest comes from Keras's own `Loss`: sample weights, masks,
    float32 under mixed precision, the mean over the batch and its share under several replicas.

    It is used three ways:

    - in `keras_kd.Distiller`;
    - in `keras.distillation.Distiller`, through `compute_loss`;
    - on two tensors, `loss(teacher_logits, student_logits, sample_weight=None)`, which returns
      the mean; so it also serves as the `loss` of a plain `keras.Model` whose labels are
      teacher logits.

    A loss whose `uses_labels` is true takes `{"logits": teacher_logits, "labels": labels}` as
    `teacher_outputs`, which `keras_kd.Distiller` gives it; from teacher logits alone it takes
    the teacher's own prediction as the label.

    Attributes:
        uses_labels: whether it can use the labels.
        uses_index: whether its projector takes the index of each image in the training data.
        needs_teacher: whether it needs a teacher.
        by_label: whether it is a mean over what each logit loses by itself, so that each can have
            a weight.
        min_examples: examples a batch, below which it would be the same whatever they are.
        projects_outputs: whether its `projector` is for outputs too, not only for layers.
        heads: what a teacher may end in whose logits mean what this loss takes them for.
        teacher_layer_name: the teacher's layer that it compares; its logits if `None`.
        student_layer_name: the student's.
        step: the training step, for settings that are schedules. Whoever runs the training sets
            it before each call, `keras_kd.Distiller` to the optimizer's; a loss around another
            one hands it on.
    """

    uses_labels = False
    uses_index = False
    needs_teacher = True
    by_label = False
    min_examples = 1
    projects_outputs = False
    heads = ("logits", "softmax")
    teacher_layer_name = None
    student_layer_name = None
    step = 0

    def __call__(
        self,
        teacher_outputs: Structure,
        student_outputs: Structure,
        sample_weight: Tensor | None = None,
    ) -> tf.Tensor:
        # Keras casts what it is given, and the cast would lose the mask.
        mask = mask_of(student_outputs)
        if mask is not None:
            student_outputs = with_mask(ops.cast(student_outputs, self.dtype), mask)
        return super().__call__(teacher_outputs, student_outputs, sample_weight)

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        """Return one float32 value per example."""
        raise NotImplementedError("A distillation loss must implement `call`.")

    def compute_loss(
        self, teacher_outputs: Structure, student_outputs: Structure, **kwargs: Any
    ) -> tf.Tensor:
        """Return the mean over the batch, as `keras.distillation.Distiller` asks for it."""
        return self(teacher_outputs, student_outputs)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**{key: _deserialized(value) for key, value in config.items()})

    def __repr__(self):
        return call_of_configured(self)

    def projector(self, teacher_shape: Shape, student_shape: Shape) -> keras.Layer | None:
        """Return a layer from the pair of outputs to a pair that `call` can take, or `None`.

        `keras_kd.Distiller` trains it with the student, saves it, and leaves it out of exports.

        Args:
            teacher_shape: of a batch of what it compares of the teacher: a layer's features, or,
                where `projects_outputs`, the outputs.
            student_shape: of the student's.

        Raises:
            ValueError: if nothing can bridge the shapes; both are named.
        """
        return None

    def num_examples_in(self, student_shape: Shape) -> int | None:
        """Return how many examples a batch of the student's outputs holds, `None` if unknown.

        Args:
            student_shape: of the batch.
        """
        return student_shape[0]

    def now(self, setting: Schedule) -> float | tf.Tensor:
        """Return the value of a setting at this step: a number as it is, a schedule's value."""
        return setting(self.step) if isinstance(setting, LearningRateSchedule) else setting


def over_whole_batch(function, **outputs):
    """Return the values of a replica's own examples of a loss that looks across the batch.

    With several replicas each holds a share of the batch: the shares are gathered, the loss is
    taken over all of them, and each replica keeps its part. The gradients, which Keras's
    optimizer sums over replicas, are then those of one device.

    Args:
        function: from outputs of teacher and student by name to one value per example.
        **outputs: this replica's, `[batch, ...]`.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return function(**outputs)
    gathered = {name: context.all_gather(output, axis=0) for name, output in outputs.items()}
    share = tf.shape(next(iter(outputs.values())))[0]
    shares = context.all_gather(share[tf.newaxis], axis=0)
    start = tf.cumsum(shares, exclusive=True)[context.replica_id_in_sync_group]
    return function(**gathered)[start : start + share]


def serialized(setting):
    """Return a number as it is, and a schedule or a loss as Keras serialises it."""
    is_number = isinstance(setting, numbers.Number)
    return setting if is_number else keras.saving.serialize_keras_object(setting)


def _deserialized(value):
    is_object = isinstance(value, dict) and "class_name" in value
    return keras.saving.deserialize_keras_object(value) if is_object else value


def check_setting(name, value, *, bounds=WEIGHTS, zero_allowed=False):
    """Return `value` as a float if it is a number within bounds, or as the schedule it is.

    Args:
        name: of the setting.
        value: what came.
        bounds: the lowest and the highest number.
        zero_allowed: whether the lowest is 0 instead.

    Raises:
        ValueError: if it is neither.
    """
    bounds = (0, bounds[1]) if zero_allowed else bounds
    if isinstance(value, LearningRateSchedule):
        for step in (0, getattr(value, "steps", 0)):  # Where it begins, and where ours end.
            check_number(f"{name} at step {step}", float(value(step)), bounds)
        return value
    check_number(name, value, bounds, " or a schedule")
    return float(value)


def check_some(name, value, other_name, other):
    """Refuse two weights of 0, with which nothing is learned."""
    if value == other == 0:
        raise ValueError(
            f"`{name}` or `{other_name}` must be above 0. Received: 0 and 0, which trains nothing."
        )


def check_batch_size(loss, student_shape):
    """Refuse batches so small that a loss between their examples would teach nothing.

    Args:
        loss: of this kind.
        student_shape: of a batch of the student's outputs, `None` where it is not known.

    Raises:
        ValueError: if there are fewer examples than its `min_examples`.
    """
    number = loss.num_examples_in(student_shape)
    if number is not None and number < loss.min_examples:
        raise ValueError(
            f"{type(loss).__name__} compares the examples of a batch, at least "
            f"{loss.min_examples} of them. Received: {number}. Use a larger `batch_size`, "
            "without a smaller rest, or a loss on each example, such as SoftTargets or Hints."
        )


def check_same_classes(teacher_logits, student_logits, *, at_least=2):
    """Refuse logits that cannot be compared class by class.

    Raises:
        ValueError: if the numbers of classes differ, or there are too few.
    """
    teacher_classes, student_classes = teacher_logits.shape[-1], student_logits.shape[-1]
    if teacher_classes != student_classes:
        raise ValueError(
            "Teacher and student must predict the same classes. Received: "
            f"{teacher_classes} and {student_classes}. "
            f"Build the student with `num_classes={teacher_classes}`."
        )
    remedy = "losses.BinarySoftTargets" if student_classes == 1 else "losses.SoftTargets"
    check_num_classes(student_classes, at_least=at_least, remedy=remedy)


def check_num_classes(num_classes, *, at_least, remedy):
    """Refuse logits so few that a loss would be the same whatever they are.

    Args:
        num_classes: logits an example.
        at_least: logits that it takes.
        remedy: what to use for fewer.

    Raises:
        ValueError: if there are fewer.
    """
    if num_classes < at_least:
        raise ValueError(
            f"This loss needs at least {at_least} logits, one a class. "
            f"Received: {num_classes}. Use {remedy}."
        )


def label_probabilities(labels, student_logits):
    """Return labels as float32 probabilities `[..., num_classes]`: zeros where there is none.

    Args:
        labels: integers `[...]` or `[..., 1]`, of which those that are no class, such as -1, are
            no label; or one-hot or soft ones `[..., num_classes]`.
        student_logits: `[..., num_classes]`.
    """
    num_classes, rank = student_logits.shape[-1], len(student_logits.shape)
    if len(labels.shape) == rank and labels.shape[-1] != 1:
        return ops.cast(labels, "float32")
    labels = ops.squeeze(labels, -1) if len(labels.shape) == rank else labels
    return ops.one_hot(ops.cast(labels, "int32"), num_classes)


def is_labelled(probabilities):
    """Return which examples have a label, boolean `[...]`, from `label_probabilities`."""
    return ops.any(probabilities > 0, axis=-1)


def target_class(teacher_outputs, student_logits):
    """Return the class of each example as one-hot float32 `[..., num_classes]`.

    It is the label's (the likeliest class of a soft one) where `teacher_outputs` holds labels,
    else, or where there is no label, the teacher's prediction.
    """
    num_classes = student_logits.shape[-1]
    target = ops.argmax(logits_of(teacher_outputs), axis=-1)
    labels = teacher_outputs.get("labels") if isinstance(teacher_outputs, dict) else None
    if labels is not None:
        probabilities = label_probabilities(labels, student_logits)
        target = ops.where(is_labelled(probabilities), ops.argmax(probabilities, axis=-1), target)
    return ops.one_hot(target, num_classes)


def logits_of(teacher_outputs):
    """Return the teacher logits of `teacher_outputs`, given alone or beside labels."""
    return teacher_outputs["logits"] if isinstance(teacher_outputs, dict) else teacher_outputs
