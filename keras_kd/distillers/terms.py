"""The distillation losses of a distiller: each by name, bound to an output of the student."""

import dataclasses
import itertools

from keras import ops

from keras_kd._common.backend import is_distributed
from keras_kd._common.checks import WEIGHTS, check_number
from keras_kd._common.structures import by_name
from keras_kd.losses import BinarySoftTargets
from keras_kd.losses.base import DistillationLoss, check_batch_size
from keras_kd.losses.foreign import as_distillation_loss
from keras_kd.losses.masks import mask_of, with_mask
from keras_kd.losses.weights import weighed

LOSS_NAMES = ("loss", "hard_loss", "distillation_loss")


@dataclasses.dataclass(frozen=True)
class Term:
    """A distillation loss in its place.

    Args:
        name: in the logs.
        output: name of the student's output that it is bound to.
        loss: a `DistillationLoss` of ours.
        weight: above 0.
    """

    name: str
    output: str
    loss: DistillationLoss
    weight: float

    @property
    def on_layers(self):
        """Whether it compares layers, and not the output."""
        return bool(self.loss.teacher_layer_name or self.loss.student_layer_name)

    @property
    def compares_outputs(self):
        """Whether it is between an output of the teacher and one of the student."""
        return not self.on_layers and self.loss.needs_teacher


class DistillationTerms:
    """The `Term`s of a distiller.

    Args:
        losses: a loss, or a list, or a dict by name, of several, for a student of one output; for
            one of several outputs any of these for each, in a dict by output or a list in order.
        weights: one number above 0 for each of several losses, in the same structure; 1 if `None`.
        names: of the student's outputs.

    Raises:
        ValueError: if they are something else, or do not belong together.
    """

    def __init__(self, losses, weights, names):
        self.names = names
        if len(names) == 1:
            self.terms = _terms_of_output(names[0], losses, weights)
        else:
            losses = by_name(losses, names, what="`distillation_loss`")
            weights = {} if weights is None else weights
            weights = by_name(weights, names, what="`distillation_loss_weights`")
            # The only loss of an output has one number.
            weights = {
                output: [each] if isinstance(each, (int, float)) else each
                for output, each in weights.items()
            }
            self.terms = [
                dataclasses.replace(term, name=f"{output}_{term.name}")
                for output, each in losses.items()
                if each is not None
                for term in _terms_of_output(output, each, weights.get(output))
            ]
            if not self.terms:
                raise ValueError(
                    "`distillation_loss` must hold a loss for an output. Received: none."
                )
        self.losses = {term.name: term.loss for term in self.terms}

    def of(self, output):
        """Return the terms that are bound to an output."""
        return [term for term in self.terms if term.output == output]

    def outputs(self):
        """Return the names of the outputs to which a term is bound."""
        return tuple(dict.fromkeys(term.output for term in self.terms))

    def without(self, outputs):
        """Return the same less what is bound to these outputs."""
        rest = object.__new__(DistillationTerms)
        rest.names = self.names
        rest.terms = [term for term in self.terms if term.output not in outputs]
        rest.losses = {term.name: term.loss for term in rest.terms}
        return rest

    def logged(self):
        """Return the names of the losses that stand beside others on their output."""
        return [term.name for term in self.terms if len(self.of(term.output)) > 1]

    def is_binary(self, output):
        """Return whether an output's logits are one yes or no each."""
        return any(isinstance(term.loss, BinarySoftTargets) for term in self.of(output))

    def is_of_values(self, output):
        """Return whether an output is compared as values, by losses that take nothing else."""
        own = [term for term in self.of(output) if term.compares_outputs]
        return bool(own) and all(
            "values" in term.loss.heads and "softmax" not in term.loss.heads for term in own
        )

    def of_logits(self):
        """Return the outputs that are to be logits."""
        return [name for name in self.outputs() if not self.is_of_values(name)]

    def needs_teacher(self):
        """Return whether a loss needs a teacher."""
        return any(loss.needs_teacher for loss in self.losses.values())

    def compared_outputs(self):
        """Return the outputs for which the teacher's own is asked."""
        return tuple(dict.fromkeys(term.output for term in self.terms if term.compares_outputs))

    def uses_index(self):
        """Return whether a loss takes the index of each example in the training data."""
        return any(loss.uses_index for loss in self.losses.values())

    def check_examples(self, minibatches):
        """Refuse training data in which a loss would not find its examples by their index.

        Args:
            minibatches: `Minibatches`, or `None` for data of another kind.
        """
        for loss in self.losses.values():
            if not loss.uses_index:
                continue
            if minibatches is None or is_distributed():
                raise _without_index(loss)
            if loss.num_examples != minibatches.num_examples:
                raise ValueError(
                    f"`num_examples` of {type(loss).__name__} must be that of the training data, "
                    f"{minibatches.num_examples}. Received: num_examples={loss.num_examples}."
                )

    def check_batch_size(self, batch_size, student_shapes):
        """Refuse batches too small for a loss that compares their examples.

        Args:
            batch_size: of `fit`; `None` if it is not known.
            student_shapes: as in `projectors`.
        """
        for term in self.terms:
            # A student that does not know its shape answers with one prediction an example.
            name = term.loss.student_layer_name or term.output
            shape = student_shapes.get(name, (None, None))
            check_batch_size(term.loss, (batch_size, *shape[1:]))

    def teacher_layers(self):
        """Return the teacher's layers that are compared, each once, in a fixed order."""
        names = (loss.teacher_layer_name for loss in self.losses.values())
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def student_layers(self):
        """Return the student's layers that are compared, likewise."""
        names = (loss.student_layer_name for loss in self.losses.values())
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def check_heads(self, heads, pairs):
        """Refuse a teacher whose outputs mean something else than a loss takes them for.

        Args:
            heads: what each of the teacher's outputs is, by its name.
            pairs: the teacher's output for each of the student's.
        """
        for term in self.terms:
            head = heads.get(pairs.get(term.output))
            if head is not None and head not in term.loss.heads:
                raise _wrong_head(term.loss, head)

    def check_models(self, teacher_models, student):
        """Let each loss look at the models whose layers it names.

        Args:
            teacher_models: the `keras.Model`s of the teacher; several have no layers to compare.
            student: the `keras.Model`.
        """
        if len(teacher_models) == 1:
            for loss in self.losses.values():
                loss.validate_model_compatibility(teacher_models[0], student)

    def projectors(self, teacher_shapes, student_shapes):
        """Return the layers that bring what is compared together, by name of the loss.

        Args:
            teacher_shapes: `{output of the student or layer of the teacher: shape of a batch}`.
            student_shapes: `{output or layer of the student: shape of a batch}`.

        Raises:
            ValueError: if nothing can bridge two shapes; both are named.
        """
        found = {}
        for term in self.terms:
            pair = (
                teacher_shapes.get(term.loss.teacher_layer_name or term.output),
                student_shapes.get(term.loss.student_layer_name or term.output),
            )
            if None not in pair and (term.on_layers or term.loss.projects_outputs):
                projector = term.loss.projector(*pair)
                found |= {} if projector is None else {term.name: projector}
        return found

    def values(self, teacher, student, labels, sample_weight, *, projectors, step):
        """Return every loss, a scalar each, by name.

        Args:
            teacher: `TeacherOutputs`, its outputs by the student's names.
            student: `StudentOutputs`.
            labels: `{output: labels}`, for the outputs that have some.
            sample_weight: `{output: weights}`, likewise.
            projectors: what `projectors` returned.
            step: of the training, for settings that are schedules.
        """
        return {
            term.name: _value(
                term,
                teacher,
                student,
                labels.get(term.output),
                sample_weight.get(term.output),
                projectors.get(term.name),
                step,
            )
            for term in self.terms
        }

    def sums(self, values):
        """Return the weighted sum of what `values` returned for each output, by its name."""
        sums = {}
        for output in self.outputs():
            weighted = [term.weight * values[term.name] for term in self.of(output)]
            sums[output] = ops.sum(weighted) if len(weighted) > 1 else weighted[0]
        return sums


def _terms_of_output(output, losses, weights):
    if losses in ([], (), {}):
        raise ValueError(f"`distillation_loss` must be a loss, or several. Received: {losses}.")
    if isinstance(losses, dict):
        given = weights is None or (isinstance(weights, dict) and set(weights) == set(losses))
        if not given:
            raise ValueError(
                "`distillation_loss_weights` must be a dict with the names of the losses: "
                f"{', '.join(losses)}. Received: {weights!r}."
            )
        losses = {name: as_distillation_loss(loss) for name, loss in losses.items()}
        weights = {name: (weights or {}).get(name, 1.0) for name in losses}
    else:
        losses = list(losses) if isinstance(losses, (list, tuple)) else [losses]
        weights = [1.0] * len(losses) if weights is None else weights
        if not isinstance(weights, (list, tuple)) or len(weights) != len(losses):
            raise ValueError(
                "`distillation_loss_weights` must be a list of one number a loss. "
                f"Received: {weights!r} for {len(losses)} losses."
            )
        losses = _by_name([as_distillation_loss(loss) for loss in losses])
        weights = dict(zip(losses, weights, strict=True))
    for name in losses:
        _check(name, weights[name])
    return [Term(name, output, loss, float(weights[name])) for name, loss in losses.items()]


def _by_name(losses):
    """Return losses by their names; those of one name are counted."""
    found = {}
    for loss in losses:
        name, numbers_of_name = loss.name, itertools.count(2)
        while name in found:
            name = f"{loss.name}_{next(numbers_of_name)}"
        found[name] = loss
    return found


def _check(name, weight):
    check_number(f"weight of {name}", weight, WEIGHTS)
    if name in LOSS_NAMES:
        raise ValueError(f"A distillation loss cannot be called `{name}`, which is another log.")


def _wrong_head(loss, head):
    remedy = {"sigmoid": "BinarySoftTargets", "values": "ValueMatching"}.get(head, "SoftTargets")
    return ValueError(
        f"{type(loss).__name__} is for teachers that end in {' or '.join(loss.heads)}. "
        f"Received: one that ends in {head}. Use losses.{remedy}."
    )


def _value(term, teacher, student, labels, sample_weight, projector, step):
    """Return one loss as a scalar."""
    loss, class_map = term.loss, teacher.class_maps.get(term.output)
    own_logits = student.outputs[term.output]
    teacher_outputs = teacher.outputs.get(term.output)
    if loss.teacher_layer_name is not None:
        teacher_outputs = teacher.features[loss.teacher_layer_name]
    student_outputs = own_logits
    if loss.student_layer_name is not None:
        student_outputs = student.features[loss.student_layer_name]
    if class_map and term.compares_outputs:
        # The teacher's classes, in its order.
        taken = ops.take(student_outputs, class_map, axis=-1)
        student_outputs = with_mask(taken, mask_of(student_outputs))
        labels = _labels_in(class_map, labels, own_logits)
    if projector is not None:
        if loss.uses_index and teacher.index is None:
            raise _without_index(loss)
        options = {"index": teacher.index} if loss.uses_index else {}
        # Keras keeps `training` from a layer that does not care.
        teacher_outputs, student_outputs = projector(
            (teacher_outputs, student_outputs), training=student.training, **options
        )
    elif loss.projects_outputs:
        raise ValueError(
            f"{type(loss).__name__} with `normalize=True` learns the units of a Distiller's "
            "teacher. Received: none, or a student whose outputs have no known shape. Attach the "
            "teacher (stored answers alone do not do), or build the student."
        )
    if loss.uses_labels:
        known = {"logits": teacher_outputs, "labels": labels}
        teacher_outputs = {key: each for key, each in known.items() if each is not None}
    loss.step = step
    return weighed(loss, teacher_outputs, student_outputs, sample_weight)


def _without_index(loss):
    return ValueError(
        f"{type(loss).__name__} finds each image by its index in the training data. Received: "
        "data without one, several devices, or weights beside it. Pass arrays or "
        "`Split.batches(...)` alone to `fit`, on one device."
    )


def _labels_in(class_map, labels, student_logits):
    """Return labels as a teacher of these classes numbers them, -1 for what it does not know."""
    if labels is None:
        return None
    num_classes, rank = student_logits.shape[-1], len(student_logits.shape)
    if len(labels.shape) == rank and labels.shape[-1] != 1:  # One-hot or soft.
        return ops.take(labels, class_map, axis=-1)
    positions = [class_map.index(c) if c in class_map else -1 for c in range(num_classes)]
    labels = ops.cast(labels, "int32")
    known = ops.take(ops.convert_to_tensor(positions), ops.maximum(labels, 0))
    return ops.where(labels < 0, -1, known)
