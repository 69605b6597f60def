"""Several teachers as one."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import is_number
from keras_kd._common.reprs import call_of
from keras_kd._common.structures import output_names, part_for
from keras_kd._common.typing import PathLike, Shape, Structure
from keras_kd.teachers.checks import check_model, the_only
from keras_kd.teachers.elsewhere import as_model
from keras_kd.teachers.outputs import TeacherOutputs
from keras_kd.teachers.probes import inputs_of, try_out
from keras_kd.teachers.teacher import Teacher


class Ensemble:
    """Several teachers as one: the mean of their probabilities, or of their logits.

        logits = log sum_k w_k * softmax(logits_k)     (average="probabilities")
        logits = sum_k w_k * logits_k                  (average="logits")

    Of several outputs, each by itself; values are averaged as they are.

    NOTE: the published form averages probabilities that are softened already; here they are
    averaged first, at T = 1, so that an ensemble is a teacher like any other.

    Args:
        teachers: at least two models or `Teacher`s that predict the same classes, of one output
            each or of several by the same names; a `class_map` of a teacher in another order must
            name all of them.
        weights: one number above 0 a teacher, 1 in sum; equal by default.
        average: `"probabilities"` or `"logits"`.
        examples: as in `Teacher`, for those that are models.

    Attributes:
        output_names, heads, num_classes, input_shape, models: as of a `Teacher`; the names are the
            first one's, and what all say is in the student's order of classes.

    Raises:
        ValueError: if the teachers do not go together, or the weights do not sum to 1.

    Example:

    ```python
    import keras_kd as kd

    teachers = [kd.models.mlp([8]), kd.models.conv_net([4])]
    student = kd.models.mlp([4])
    distiller = kd.Distiller(student=student, teacher=kd.Ensemble(teachers, weights=[0.3, 0.7]))
    ```

    References:
        S. You et al., Learning from Multiple Teacher Networks, 2017, section 3.1.
    """

    def __init__(
        self,
        teachers: Sequence[keras.Model | Teacher],
        *,
        weights: Sequence[float] | None = None,
        average: str = "probabilities",
        examples: Structure | None = None,
    ):
        self.teachers = [as_teacher(teacher, examples=examples) for teacher in teachers]
        _check_count(self.teachers)
        if average not in ("probabilities", "logits"):
            raise ValueError(
                f"`average` must be 'probabilities' or 'logits'. Received: average={average!r}."
            )
        self.average = average
        self.weights = _checked_weights(weights, len(self.teachers))
        self.output_names = self.teachers[0].output_names
        if len(self.output_names) > 1 or any(len(each.output_names) > 1 for each in self.teachers):
            _check_same([set(each.output_names) for each in self.teachers], "have the same outputs")
        self.num_classes = self.teachers[0].num_classes
        _check_same([each.num_classes for each in self.teachers], "predict the same classes")
        self.heads = {name: self._head(name) for name in self.output_names}
        self.class_maps = {}
        self.models = [model for teacher in self.teachers for model in teacher.models]
        shapes = [teacher.input_shape for teacher in self.teachers]
        self.input_shape = next((shape for shape in shapes if shape is not None), None)
        for teacher in self.teachers:
            for class_map in teacher.class_maps.values():
                _check_names_every_class(class_map)

    def __repr__(self):
        return call_of(self, teachers=self.teachers, weights=self.weights, average=self.average)

    def __call__(self, inputs: Structure) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return the logits or values of the ensemble, as a `Teacher` does.

        Args:
            inputs: as each of the teachers takes them.
        """
        outputs = self.ask(inputs).outputs
        return outputs if len(outputs) > 1 else outputs[self.output_names[0]]

    def ask(self, inputs: Structure, layer_names: Sequence[str] = ()) -> TeacherOutputs:
        """Return what the ensemble says of inputs, as `Teacher.ask` does; it has no layers.

        Args:
            inputs: as each of the teachers takes them.
            layer_names: none.
        """
        for name in layer_names:
            self.feature_shape(name)
        said = [self._by_own_names(_in_order(each.ask(inputs))) for each in self.teachers]
        return TeacherOutputs(
            {name: self._mean(name, [each[name] for each in said]) for name in self.output_names}
        )

    def output_shape(self, name: str) -> Shape:
        """Return the shape of a batch of an output, `None` where free."""
        return self.teachers[0].output_shape(name)

    def feature_shape(self, layer_name: str | None) -> Shape:
        """Return the shape of the only logits for `None`; an ensemble has no layers."""
        if layer_name is None:
            return self.output_shape(the_only(self.output_names, "output_shape"))
        raise ValueError(
            f"An ensemble has no layers to compare. Received: {layer_name}. Name one teacher, or "
            "use a loss on logits."
        )

    def _head(self, name):
        """Return what an output is: the mean of probabilities is opened like a softmax."""
        heads = [self._by_own_names(teacher.heads)[name] for teacher in self.teachers]
        for head in ("values", "sigmoid"):
            are = [each == head for each in heads]
            where = f" at the output {name}" if len(self.output_names) > 1 else ""
            _check_same(are, f"all end in {head}, or none{where}")
            if are[0]:
                return head
        return "softmax"

    def _by_own_names(self, values):
        """Return a teacher's values by the ensemble's names: one alone may have any name."""
        if len(self.output_names) > 1:
            return values
        (value,) = values.values()
        return {self.output_names[0]: value}

    def _mean(self, name, answers):
        """Return the weighted mean of what the teachers answer at an output."""
        if self.average == "logits" or self.heads[name] == "values":
            return sum(weight * each for weight, each in zip(self.weights, answers, strict=True))
        if self.heads[name] == "sigmoid":
            return self._mean_log(answers, ops.log_sigmoid) - self._mean_log(
                [-each for each in answers], ops.log_sigmoid
            )
        return self._mean_log(answers, ops.log_softmax)

    def _mean_log(self, logits, log_probs):
        """Return the logarithm of the weighted mean of probabilities, in log space."""
        terms = [
            log_probs(each) + math.log(weight)
            for weight, each in zip(self.weights, logits, strict=True)
        ]
        return ops.logsumexp(ops.stack(terms), axis=0)

    @property
    def head(self) -> str:
        """What the only output is: `"softmax"`, `"sigmoid"` or `"values"`."""
        return self.heads[the_only(self.output_names, "heads")]

    @property
    def is_sigmoid(self) -> bool:
        """Whether the classes are independent labels."""
        return self.head == "sigmoid"

    @property
    def preprocess(self) -> Any:
        """What the teachers do to the inputs first, a tuple; `None` if none does anything."""
        found = tuple(each.preprocess for each in self.teachers if each.preprocess is not None)
        return found or None

    @property
    def identity(self) -> tuple[Any, ...]:
        """As `Teacher.identity`."""
        return self.average, *self.weights, *(each.identity for each in self.teachers)

    @property
    def changes(self) -> tuple[str, ...]:
        """Paths of the variables that a plain call of the models would change."""
        return tuple(path for each in self.teachers for path in each.changes)

    @property
    def minds_its_batch(self) -> bool:
        """As `Teacher.minds_its_batch`."""
        return any(each.minds_its_batch for each in self.teachers)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the fingerprints of the teachers, their weights and the way of averaging."""
        parts = [self.average, *map(str, self.weights)]
        parts += [teacher.fingerprint for teacher in self.teachers]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


# What `as_teacher` takes: these, paths of model files, estimators; and lists of any.
TeacherLike: TypeAlias = keras.Model | Teacher | Ensemble | PathLike | Sequence[Any] | Any


def read_models(teacher, *, examples=None):
    """Return what `as_teacher` takes with a `keras.Model` for each file and estimator.

    Args:
        teacher: as in `as_teacher`.
        examples: as in `Teacher`.
    """
    if isinstance(teacher, (list, tuple)):
        return [read_models(each, examples=examples) for each in teacher]
    is_one = isinstance(teacher, (Teacher, Ensemble))
    return teacher if is_one else as_model(teacher, examples=examples)


def as_teacher(teacher, *, image_shape=None, examples=None, heads=None, outputs=None):
    """Return a `Teacher` of a `keras.Model`, an `Ensemble` of a list, or either as it is.

    Args:
        teacher: any of these.
        image_shape: as in `Teacher`.
        examples: as in `Teacher`.
        heads: as `head` in `Teacher`, by the names of the first of several.
        outputs: as in `Teacher`, likewise.
    """
    if isinstance(teacher, (Teacher, Ensemble)):
        return teacher
    options = {"image_shape": image_shape, "examples": examples}
    if not isinstance(teacher, (list, tuple)):
        return Teacher(teacher, head=heads, outputs=outputs, **options)
    names = outputs_of_teacher(teacher, **options)
    if len(names) == 1:  # Which each teacher calls as it likes.
        heads, outputs = heads.get(names[0]) if isinstance(heads, dict) else heads, None
    return Ensemble([as_teacher(each, heads=heads, outputs=outputs, **options) for each in teacher])


def outputs_of_teacher(teacher, *, image_shape=None, examples=None):
    """Return the names that the outputs of `as_teacher` will have.

    Args:
        teacher: as in `as_teacher`.
        image_shape: as in `Teacher`.
        examples: as in `Teacher`.
    """
    if isinstance(teacher, (Teacher, Ensemble)):
        return teacher.output_names
    if isinstance(teacher, (list, tuple)):
        _check_count(teacher)
        return outputs_of_teacher(teacher[0], image_shape=image_shape, examples=examples)
    teacher = as_model(teacher, examples=examples)
    check_model(teacher)
    if inputs_of(teacher) is not None:
        return output_names(teacher)
    examples = examples if examples is None else part_for(teacher, examples)
    trial = try_out(teacher, examples=examples, image_shape=image_shape, what="teacher")
    return output_names(teacher, trial.outputs)


def _in_order(said):
    """Return what a teacher said by the name of the output, in the student's order of classes."""
    return {
        name: ops.take(output, np.argsort(said.class_maps[name]), axis=-1)
        if name in said.class_maps
        else output
        for name, output in said.outputs.items()
    }


def _check_count(teachers):
    if len(teachers) < 2:
        raise ValueError(f"An ensemble must have at least two teachers. Received: {len(teachers)}.")


def _check_same(values, demand):
    if any(value != values[0] for value in values):
        raise ValueError(f"The teachers of an ensemble must {demand}. Received: {values}.")


def _check_names_every_class(class_map):
    if len(class_map) != 1 + max(class_map):
        raise ValueError(
            "The `class_map` of a teacher in an ensemble must name every class. "
            f"Received: {list(class_map)}. Distil from it alone instead."
        )


def _checked_weights(weights, count):
    weights = [1 / count] * count if weights is None else list(weights)
    numbers_above_0 = all(is_number(weight, (0, 1)) and weight > 0 for weight in weights)
    if len(weights) != count or not numbers_above_0 or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(
            f"`weights` must be {count} numbers above 0 that sum to 1, one a teacher. "
            f"Received: {weights}."
        )
    return weights
