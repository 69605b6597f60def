"""What a distiller's arguments must be, and whether teacher, student and losses fit each other."""

import inspect
import warnings

import keras
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from keras_kd._common.checks import ALPHAS, is_number
from keras_kd._common.structures import by_name, output_names, part_for
from keras_kd.soft_labels import SoftLabels
from keras_kd.teachers.ensemble import (
    Ensemble,
    as_teacher,
    outputs_of_teacher,
    read_models,
)
from keras_kd.teachers.heads import read_heads
from keras_kd.teachers.probes import NotTriedError, shapes_of_first_call, try_out
from keras_kd.teachers.teacher import Teacher

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


def check_distribution(strategy, method):
    """Refuse what Keras does not do on TensorFlow: a `keras.distribution`, and several machines.

    Args:
        strategy: the model's `tf.distribute.Strategy`.
        method: what was called.
    """
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        # It reduces wrongly over workers, or waits for them for ever.
        raise ValueError(
            f"Keras 3 does not do `{method}` under a MultiWorkerMirroredStrategy. Received: a "
            "distiller built under one. Train by `kd.fit_distributed`, with `validation_data`; "
            "evaluate a copy: let the chief save it, and load that outside of the scope."
        )
    if keras.distribution.distribution() is not None:
        raise ValueError(
            "On TensorFlow, several devices train under a tf.distribute.MirroredStrategy. "
            "Received: a `keras.distribution`, which does nothing here. Build and compile the "
            "distiller in `strategy.scope()`, after `keras.distribution.set_distribution(None)`."
        )


def check_alpha(alpha, names):
    """Return `alpha` as a float, or as the schedule it is, for each output.

    Args:
        alpha: one for all outputs, or one for each, by name or in order; 0.5 for those not named.
        names: of the outputs.
    """
    if not isinstance(alpha, (dict, list, tuple)):
        return dict.fromkeys(names, _checked_alpha(alpha))
    given = by_name(alpha, names, what="`alpha`")
    return {name: _checked_alpha(given.get(name, 0.5)) for name in names}


def _checked_alpha(alpha):
    if isinstance(alpha, LearningRateSchedule):
        return alpha
    if not is_number(alpha, ALPHAS):
        raise ValueError(
            "`alpha`, the weight of the distillation loss, must be from 0 to 1 (to 2 against "
            "wrong labels), or a schedule. "
            f"Received: alpha={alpha!r}."
        )
    return float(alpha)


def check_student(student):
    """Refuse what is no built model."""
    if not isinstance(student, keras.Model):
        raise ValueError(f"The student must be a keras.Model. Received: {type(student).__name__}.")
    if not student.built:
        raise ValueError(
            f"The student {student.name} must be built. Received: a model without weights. "
            "Begin it with a keras.Input."
        )


def check_one_output(whose, model):
    """Refuse a model of several outputs where one is compared.

    Args:
        whose: what the student is of, for the sentence.
        model: the student.
    """
    if keras.tree.is_nested(getattr(model, "output", None)):
        raise ValueError(
            f"A student of {whose} must return one tensor, its logits. Received: "
            f"{model.name}, which returns a {type(model.output).__name__}. Use a Distiller, or "
            "take the tensor out: `keras.Model(student.input, student.outputs[0])`."
        )


def can_be_tried(student, examples=None):
    """Return whether it is known what a student takes: by itself, its first call, or examples."""
    by_itself = getattr(student, "inputs", None) or shapes_of_first_call(student)
    return bool(by_itself) or examples is not None


def answers_of(student, examples=None):
    """Return what a student answers to a few inputs, if only its calls tell what it returns.

    Args:
        student: the model.
        examples: as in `check_answers`.
    """
    if getattr(student, "outputs", None) or not can_be_tried(student, examples):
        return None
    try:
        return try_out(student, examples=examples, what="student").outputs
    except NotTriedError:
        return None  # It is tried again, and told, where its answers are checked.


def check_answers(student, logits=None, *, image_shape=None, examples=None):
    """Refuse a student of whose outputs one is to be logits and is probabilities.

    Args:
        student: the model.
        logits: names of the outputs that are to be logits; all of them if `None`.
        image_shape: shape of one image, `None` where free, for a model that does not know it.
        examples: a batch of inputs to try it on; made up if `None`, with a warning where the
            student refuses those.
    """
    examples = part_for(student, examples)
    try:
        heads = read_heads(
            student, logits, examples=examples, image_shape=image_shape, what="student"
        )
    except NotTriedError as error:
        if examples is not None:
            raise
        warnings.warn(f"Whether the student returns logits was not tried. {error}", stacklevel=3)
        return
    for name, head in heads.items():
        if head.logits_model is not student and head.within_0_and_1:
            output = f"the output {name} of " if head.is_of_several else ""
            raise ValueError(
                f"The student must return logits. Received: {output}{_ending(student, head)}. "
                "Leave the last activation out; the exported model can add it again."
            )


def _ending(student, head):
    if head.logits_model is not None:
        return f"a model that ends in {head.name}"
    if head.name == "softmax":
        return (
            f"{student.name}, whose answers are probabilities (above 0, of sum 1), as a softmax's"
        )
    return f"{student.name}, whose answers stay between 0 and 1 whatever its weights are"


def teacher_for(teacher, terms, **options):
    """Return a teacher that is asked for what the losses compare, and its `pairs_of` outputs.

    Args:
        teacher: as in `Distiller`; one that is built is taken as it is.
        terms: the `DistillationTerms`, which tell what is compared as values.
        **options: of `Teacher`.
    """
    compared = terms.compared_outputs()
    teacher = read_models(teacher, examples=options.get("examples"))
    if isinstance(teacher, (Teacher, Ensemble)):
        return teacher, pairs_of(compared, terms.names, teacher.output_names)
    # Of all its outputs: those that are not compared tell which place is whose.
    pairs = pairs_of(compared, terms.names, outputs_of_teacher(teacher, **options))
    heads = {own: "values" for name, own in pairs.items() if terms.is_of_values(name)}
    return as_teacher(teacher, heads=heads, outputs=tuple(pairs.values()), **options), pairs


def pairs_of(compared, names, teacher_names):
    """Return the name of the teacher's output for each of the student's that is compared.

    Outputs go together by name; the only one of each whatever its name is; and those of two lists
    of one length, whose names are not the same, by their places.

    Args:
        compared: names of the student's outputs that a loss compares.
        names: of all outputs of the student.
        teacher_names: of the teacher.

    Raises:
        ValueError: naming an output that the teacher has not.
    """
    if len(names) == len(teacher_names) == 1:
        return {names[0]: teacher_names[0]}
    if len(names) == len(teacher_names) and not set(names) & set(teacher_names):
        pairs = dict(zip(names, teacher_names, strict=True))
        return {name: pairs[name] for name in compared}
    missing = [name for name in compared if name not in teacher_names]
    if missing:
        raise ValueError(
            f"The teacher must have the output {missing[0]}, which a distillation loss compares. "
            f"Received: {', '.join(teacher_names)}. Name it so: "
            "`keras.Model(model.input, {name: output})`."
        )
    return {name: name for name in compared}


def check_fit(teacher, student, pairs=None, *, values=()):
    """Refuse a teacher and a student of other classes or other images.

    Args:
        teacher: a `Teacher` or an `Ensemble`.
        student: the model.
        pairs: what `pairs_of` returned; by default that of all outputs.
        values: names of the student's outputs that are no classes.
    """
    names = output_names(student)
    pairs = pairs_of(names, names, teacher.output_names) if pairs is None else pairs
    shapes = shapes_of(student, names)
    for name, own in pairs.items():
        class_map, size = teacher.class_maps.get(own), teacher.output_shape(own)[-1]
        if name not in shapes or name in values:
            continue
        classes = shapes[name][-1]
        if class_map and max(class_map) >= classes:
            raise ValueError(
                f"`class_map` must name classes of the student, from 0 to {classes - 1}. "
                f"Received: {list(class_map)}."
            )
        if not class_map and classes != size:
            of_output = f" of the output {name}" if len(names) > 1 else ""
            raise ValueError(
                f"Teacher and student must predict the same classes{of_output}. Received: "
                f"{size} and {classes}. Build the student with `num_classes={size}`, or say which "
                "classes these are: `Teacher(model, class_map=...)`."
            )
    images = shape_of(student, "inputs")
    one_input = isinstance(teacher.input_shape, tuple)
    if images and one_input and not _same_images(teacher.input_shape[1:], images[1:]):
        raise ValueError(
            "Teacher and student must take the same images. Received: "
            f"{teacher.input_shape[1:]} and {images[1:]}. "
            f"Build the student with `image_shape={teacher.input_shape[1:]}`, or convert them: "
            "`Teacher(model, preprocess=keras.layers.Resizing(...))`."
        )


def check_soft_labels(soft_labels, live, terms):
    """Return soft labels, unless a loss asks for what they are known not to hold.

    Args:
        soft_labels: as in `Distiller`.
        live: the `DistillationTerms` that count.
        terms: all of them.
    """
    if soft_labels is None:
        return None
    for loss in terms.losses.values():
        if loss.student_layer_name is not None and loss.teacher_layer_name is None:
            raise ValueError(
                "Soft labels are compared with what they are of. Received: a loss between the "
                f"teacher's output and the layer {loss.student_layer_name}. Name a layer of the "
                "teacher, or leave `soft_labels` out."
            )
    layers = live.teacher_layers()
    if layers and isinstance(soft_labels, SoftLabels):
        check_layers(layers, soft_labels.output_names)
    return soft_labels


def check_layers(layers, names):
    """Refuse soft labels that do not hold the teacher's layers that losses compare.

    Args:
        layers: names of the layers.
        names: of what the soft labels hold.
    """
    if missing := [name for name in layers if name not in names]:
        raise ValueError(
            f"Soft labels must hold what a loss compares. Received: a loss on {missing[0]}, and "
            f"soft labels of {', '.join(names)}. Store it as an output of that name, or leave "
            "`soft_labels` out."
        )


def check_stored(outputs, shapes, layers, compared, features=()):
    """Refuse stored outputs where they cannot stand for the teacher.

    Args:
        outputs: what a teacher said, by the student's names.
        shapes: of a batch of the student's outputs, by name, where they are known.
        layers: the teacher's layers that losses compare, and that are not among them.
        compared: names of the outputs that losses compare.
        features: names of what else was stored.
    """
    if missing := [name for name in compared if outputs.get(name) is None]:
        raise ValueError(
            f"A loss compares the output {missing[0]} with the teacher's. Received: stored outputs "
            f"of {', '.join([*outputs, *features]) or 'none'} alone. Store it too, or leave that "
            "loss out."
        )
    for name, each in outputs.items():
        known, shape = shapes.get(name), tf.TensorShape(each.shape)
        if known is not None and shape.rank != len(known):
            raise ValueError(
                f"Stored teacher logits must have the axes of the student's, {tuple(known)}. "
                f"Received: {shape}. `Targets(labels, teacher_logits)` has the "
                "labels first; one logit an example has the shape [n, 1]."
            )
    if layers:
        raise ValueError(
            "Stored teacher logits do not hold what is inside the teacher. Received: a loss on "
            f"{layers[0]}. Store it as an output of that name, or train on (images, labels) with "
            "the live teacher."
        )


def shapes_of(model, names):
    """Return the shape of a batch of each output, by name; `{}` if only the model's calls know."""
    if not getattr(model, "outputs", None):
        return {}
    structure = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    return {
        name: tuple(each.shape) for name, each in by_name(structure, names, what="Outputs").items()
    }


def shape_of(model, ends):
    """Return the shape of a model's only input or output; `None` if it has several.

    `None` as well if only its calls know it.
    """
    known = getattr(model, ends, None) or ()
    return tuple(known[0].shape) if len(known) == 1 else None


def _same_images(one, other):
    # Keras adds or drops a last axis of 1 by itself.
    one, other = (shape[:-1] if shape[-1:] == (1,) else shape for shape in (one, other))
    return len(one) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(one, other, strict=True)
    )
