"""What a distiller's arguments must be, and whether teacher, student and losses fit each other."""

import inspect
import warnings

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_kd._common.checks import ALPHAS, is_number
from keras_kd.teachers.heads import read_head
from keras_kd.teachers.probes import NotTriedError

# What others call what is ours: `keras.distillation`, and the class in Keras's guide, whose `alpha`
# weighs the labels.
_OUR_LOSS = "`distillation_loss=losses.SoftTargets(temperature=3.0)` to the distiller"
_WORDS_OF_OTHERS = {
    "distillation_losses": _OUR_LOSS,
    "distillation_loss_fn": _OUR_LOSS,
    "temperature": _OUR_LOSS,
    "student_loss_weight": "`alpha=1 - student_loss_weight`: the weight of the distillation loss",
    "student_loss_fn": "`loss` to `compile`, or nothing for cross-entropy on logits",
    "alpha": "`alpha` to the distiller: the weight of the distillation loss, not of the labels",
}


def check_words(method, options, *, known=()):
    """Refuse arguments that are another library's, naming ours.

    Args:
        method: what was called.
        options: its arguments by name.
        known: those that it has itself.

    Raises:
        TypeError: in one sentence.
    """
    for name, ours in _WORDS_OF_OTHERS.items():
        if name in options and name not in known:
            raise TypeError(
                f"`{method}` has no argument `{name}`. Received: {name}=... Pass {ours}."
            )


def check_by_name(kind, arguments, options):
    """Refuse student and teacher by position, and arguments that are another library's.

    Args:
        kind: the class of the distiller.
        arguments: what was given by position.
        options: what was given by name.

    Raises:
        TypeError: in one sentence.
    """
    parameters = inspect.signature(kind.__init__).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        check_words(kind.__name__, options, known={"alpha", *parameters})
    student = parameters.get("student")
    if arguments and student is not None and student.kind is student.KEYWORD_ONLY:
        raise TypeError(
            f"{kind.__name__} takes its models by name, so that they cannot be swapped. Received: "
            f"{len(arguments)} by position. Pass `student=..., teacher=...`."
        )


def check_distribution():
    """Refuse a `keras.distribution`, which Keras ignores in silence on TensorFlow."""
    if keras.distribution.distribution() is not None:
        raise ValueError(
            "On TensorFlow, several devices train under a tf.distribute.MirroredStrategy. "
            "Received: a `keras.distribution`, which does nothing here. Build and compile the "
            "distiller in `strategy.scope()`, after `keras.distribution.set_distribution(None)`."
        )


def check_alpha(alpha):
    """Return `alpha` as a float, or as the schedule it is."""
    if isinstance(alpha, LearningRateSchedule):
        return alpha
    if not is_number(alpha, ALPHAS):
        raise ValueError(
            "`alpha`, the weight of the distillation loss, must be from 0 to 1, or a schedule. "
            f"Received: alpha={alpha!r}."
        )
    return float(alpha)


def check_student(student):
    """Refuse what is no built model with one output of logits."""
    if not isinstance(student, keras.Model):
        raise ValueError(f"The student must be a keras.Model. Received: {type(student).__name__}.")
    if not student.built:
        raise ValueError(
            f"The student {student.name} must be built. Received: a model without weights. "
            "Begin it with a keras.Input."
        )
    outputs = getattr(student, "outputs", None) or [None]
    if len(outputs) != 1:
        raise ValueError(f"The student must have one output, its logits. Received: {len(outputs)}.")


def check_answers(student, *, image_shape=None, examples=None):
    """Refuse a student whose answers are probabilities.

    Args:
        student: the model.
        image_shape: shape of one image, `None` where free, for a model that does not know it.
        examples: a batch of inputs to try it on; made up if `None`, with a warning where the
            student refuses those.
    """
    try:
        head = read_head(student, examples=examples, image_shape=image_shape, what="student")
    except NotTriedError as error:
        if examples is not None:
            raise
        warnings.warn(f"Whether the student returns logits was not tried. {error}", stacklevel=3)
        return
    if keras.tree.is_nested(head.trial.outputs):
        raise ValueError(
            "The student must return one tensor, its logits. Received: "
            f"{student.name}, which returns a {type(head.trial.outputs).__name__} of one. Take the "
            "tensor out: `keras.Model(student.input, student.outputs[0])`."
        )
    if head.logits_model is not student and head.within_0_and_1:
        raise ValueError(
            f"The student must return logits. Received: {_ending(student, head)}. Leave the last "
            "activation out; the exported model can add it again."
        )


def _ending(student, head):
    if head.logits_model is not None:
        return f"a model that ends in {head.name}"
    if head.name == "softmax":
        return (
            f"{student.name}, whose answers are probabilities (above 0, of sum 1), as a softmax's"
        )
    return f"{student.name}, whose answers stay between 0 and 1 whatever its weights are"


def check_fit(teacher, student):
    """Refuse a teacher and a student of other classes or other images."""
    images, logits = shape_of(student, "inputs"), shape_of(student, "outputs")
    if logits and teacher.class_map and max(teacher.class_map) >= logits[-1]:
        raise ValueError(
            f"`class_map` must name classes of the student, from 0 to {logits[-1] - 1}. "
            f"Received: {list(teacher.class_map)}."
        )
    if logits and not teacher.class_map and logits[-1] != teacher.num_classes:
        raise ValueError(
            "Teacher and student must predict the same classes. Received: "
            f"{teacher.num_classes} and {logits[-1]}. "
            f"Build the student with `num_classes={teacher.num_classes}`, or say which classes "
            "these are: `Teacher(model, class_map=...)`."
        )
    if images and teacher.input_shape and not _same_images(teacher.input_shape[1:], images[1:]):
        raise ValueError(
            "Teacher and student must take the same images. Received: "
            f"{teacher.input_shape[1:]} and {images[1:]}. "
            f"Build the student with `image_shape={teacher.input_shape[1:]}`, or convert them: "
            "`Teacher(model, preprocess=keras.layers.Resizing(...))`."
        )


def shape_of(model, ends):
    """Return the shape of a model's one input or output; `None` if only its calls know it."""
    known = getattr(model, ends, None)
    return tuple(known[0].shape) if known else None


def _same_images(one, other):
    # Keras adds or drops a last axis of 1 by itself.
    one, other = (shape[:-1] if shape[-1:] == (1,) else shape for shape in (one, other))
    return len(one) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(one, other, strict=True)
    )
