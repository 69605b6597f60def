"""Distillation with a discriminator that tells teacher from student."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from keras_kd._common.typing import Config, Schedule, Structure
from keras_kd.adversarial.alternating import (
    Game,
    OtherPlayers,
    classes_of,
    discriminator_step,
    mean_of,
    scores,
)
from keras_kd.adversarial.networks import check_discriminator, check_judged_logits
from keras_kd.adversarial.networks import discriminator as build_discriminator
from keras_kd.distillers.batch import Batch
from keras_kd.distillers.checks import check_one_output
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.hard_losses import known_labels
from keras_kd.distillers.objective import sum_of
from keras_kd.losses import Hints, standardized
from keras_kd.losses.base import check_setting, serialized
from keras_kd.losses.masks import mask_of, without_padding
from keras_kd.teachers.ensemble import TeacherLike, as_teacher
from keras_kd.teachers.features import feature_model
from keras_kd.teachers.outputs import TeacherOutputs


@keras.saving.register_keras_serializable(package="keras_kd")
class DiscriminatorDistiller(OtherPlayers, Distiller):
    """A `Distiller` whose student must also be taken for the teacher by a discriminator.

        loss = alpha * distillation_loss + (1 - alpha) * hard_loss + beta * adversarial_loss

    In each step the discriminator moves once, towards telling the teacher's answers from the
    student's on the same images; then the student moves once, also towards being taken for the
    teacher. Both from one pass of teacher and student. See `Game` for the two losses; the logs
    hold them as `discriminator_loss` and `adversarial_loss`.

    What is judged are the logits, each example's standardised, so that their mere size gives
    nobody away; or a layer of each; or several of these, each by a discriminator of its own, the
    two losses then being means over them. The default discriminator is class-conditional: it asks
    whether these are the teacher's logits *for an image of this class*; the class is the label,
    or the teacher's prediction where there is none. Padding is judged as zeros of both.

    Nothing is promised: with a `beta` of 1 it has wrecked runs in our trials, so the default is
    small, and `beta=0`, which is the `Distiller` to the bit, is the control to run beside it.
    The published examples' plain form is one setting:

        DiscriminatorDistiller(
            student=student, teacher=teacher, alpha=0.0, beta=1.0, standardize=False,
            adversarial_loss="binary_crossentropy",
            discriminator=adversarial.discriminator(
                (10,), hidden=(), spectral_normalization=False
            ),
        ).compile(keras.optimizers.Adam(1e-3), discriminator_optimizer=keras.optimizers.Adam(1e-3))

    Args:
        student: as in `Distiller`.
        teacher: as in `Distiller`.
        discriminator: a built `keras.Model` from the teacher's features to scores (not
            probabilities), one an example or one a class; by default that of
            `adversarial.discriminator`, one score a class. Where several layers are judged, a list
            of one each.
        teacher_layer_name: the teacher's layer that is judged, nested ones as
            `backbone/block_3`; its logits if `None`; or a list of these.
        student_layer_name: the student's, likewise, each against the teacher's in its place. If it
            is of another shape, a projector to the teacher's is trained with the student.
        standardize: whether logits are judged by their z-scores.
        adversarial_loss: `"least_squares"`, `"hinge"` or `"binary_crossentropy"`.
        beta: weight of the adversarial loss, at least 0, or a schedule, such as
            `schedules.Linear(0.0, 0.05, steps=...)`; best at most 0.1.
        distillation_loss: as in `Distiller`.
        distillation_loss_weights: as in `Distiller`.
        alpha: as in `Distiller`.
        name: name of the model.

    Raises:
        ValueError: if the parts do not fit each other, or the discriminator returns
            probabilities or is given them.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    teacher, student = (
        kd.models.mlp([units], image_shape=data.image_shape) for units in (64, 16)
    )
    distiller = kd.adversarial.DiscriminatorDistiller(student=student, teacher=teacher)
    distiller.compile("adam", discriminator_optimizer="adam", metrics=["accuracy"])
    distiller.fit(data.train.batches(32, shuffle_seed=0), epochs=1, verbose=0)
    ```

    References:
        Z. Xu, Y. Hsu, J. Huang, Training Shallow and Thin Networks for Acceleration via Knowledge
        Distillation with Conditional Adversarial Networks, 2017; Y. Wang et al., Adversarial
        Learning of Portable Student Networks, 2018 (on features).
    """

    _config_parts = (*Distiller._config_parts, "discriminator", "beta")

    def __init__(
        self,
        *,
        student: keras.Model,
        teacher: TeacherLike | None = None,
        discriminator: keras.Model | Sequence[keras.Model] | None = None,
        teacher_layer_name: str | Sequence[str] | None = None,
        student_layer_name: str | Sequence[str] | None = None,
        standardize: bool = True,
        adversarial_loss: str = "least_squares",
        beta: Schedule = 0.05,
        distillation_loss: Structure | None = None,
        distillation_loss_weights: Structure | None = None,
        alpha: Schedule = 0.5,
        name: str = "discriminator_distiller",
    ):
        beta = check_setting("beta", beta, zero_allowed=True)
        layer_pairs = _pairs(teacher_layer_name, student_layer_name)
        check_one_output(type(self).__name__, student)
        super().__init__(
            student=student,
            distillation_loss=distillation_loss,
            distillation_loss_weights=distillation_loss_weights,
            alpha=alpha,
            name=name,
        )
        if not getattr(student, "outputs", None):
            raise ValueError(
                f"The student {student.name} must tell the shape of its logits. Received: a model "
                "that is neither Functional nor Sequential. Wrap it in a Functional one."
            )
        judges_logits = any(own is None for _, own in layer_pairs)
        if judges_logits:
            (head,) = self.heads().values()
            at_least = 3 if standardize and beta != 0 else 1
            check_judged_logits(student, at_least=at_least, head=head)
        self.teacher_layer_name, self.student_layer_name = teacher_layer_name, student_layer_name
        self._layer_pairs = layer_pairs
        self.standardize, self.beta = standardize, beta
        self.adversarial_loss, self._game = adversarial_loss, Game(adversarial_loss)
        if any(own for _, own in layer_pairs):
            self._look_into_the_student()
        if teacher is not None:
            teacher = as_teacher(teacher, image_shape=student.input_shape[1:])
        judges = self._given_or_default(discriminator, teacher)
        self.discriminator = judges if len(judges) > 1 else judges[0]
        self._check_discriminators(teacher)
        self.feature_projectors = [
            self._make_feature_projector(judge, student_layer)
            for judge, (_, student_layer) in zip(judges, layer_pairs, strict=True)
        ]
        names = ("adversarial_loss", "discriminator_loss")
        self._trackers += [keras.metrics.Mean(name=name) for name in names]
        # Last, as in a distiller that is loaded: files know layers by the order of their making.
        if teacher is not None:
            self.attach_teacher(teacher)

    def attach_teacher(self, teacher: TeacherLike, *, examples: Structure | None = None) -> None:
        """Give the distiller its teacher; see `Distiller.attach_teacher`."""
        super().attach_teacher(teacher, examples=examples)
        if self.teacher.class_maps:
            self.teacher = None
            raise ValueError(
                "The discriminator judges teacher and student on the same classes. Received: a "
                "teacher with a class_map. Give that teacher to a Distiller."
            )
        self._check_discriminators(self.teacher)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: Structure = None,
        metrics: Structure = None,
        *,
        discriminator_optimizer: str | keras.optimizers.Optimizer = "adam",
        **kwargs: Any,
    ) -> Self:
        """Configure the training; see `Distiller.compile`.

        Args:
            optimizer: the student's.
            loss: as in `Distiller.compile`.
            metrics: as in `Distiller.compile`.
            discriminator_optimizer: the discriminator's own, or that of all discriminators, with
                its own learning rate.
            **kwargs: the other arguments of `keras.Model.compile`.
        """
        super().compile(optimizer, loss, metrics, **kwargs)
        self.compile_players(discriminator_optimizer=discriminator_optimizer)
        return self

    def players(self) -> dict[str, list[keras.Variable]]:
        judging = [variable for each in self._judges() for variable in each.trainable_variables]
        return {"discriminator_optimizer": judging}

    def objective(
        self, batch: Batch, teacher: TeacherOutputs | None
    ) -> tuple[Structure, dict[str, tf.Tensor]]:
        if not self._plays():
            return super().objective(batch, teacher)
        student = self.ask_student(batch.inputs, training=True)
        learned = self.parts.learned() if batch.labels is not None else ()
        # At alpha=0 the teacher is asked for the discriminator alone.
        taught = teacher if self.parts.live.terms else None
        losses = self.losses_of(batch, taught, student, learned=learned)
        judged = self._judged(batch, teacher, student)
        losses["discriminator_loss"] = self._move_discriminators(
            judged, only_if=self.guard.allows(teacher)
        )
        losses["adversarial_loss"] = self._adversarial_loss(judged, batch.sample_weight)
        adversarial = self._beta_now() * losses["adversarial_loss"]
        losses["loss"] = sum_of([*self.parts.weighted(losses, self._step()), adversarial])
        return student.structure, losses

    def _move_discriminators(self, judged, only_if):
        """Move each discriminator once, and return their loss; NaN if they may not move."""

        def move():
            return discriminator_step(
                self._judges(), self.discriminator_optimizer, self._game, judged
            )

        if only_if is None:
            return move()
        return tf.cond(only_if, move, lambda: tf.constant(float("nan")))

    def _adversarial_loss(self, judged, sample_weight):
        return mean_of(
            [
                self._game.student_loss(
                    scores(judge, each["student"], each["classes"]), sample_weight
                )
                for judge, each in zip(self._judges(), judged, strict=True)
            ]
        )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "discriminator": _each(keras.saving.serialize_keras_object, self.discriminator),
            "teacher_layer_name": _each(str, self.teacher_layer_name),
            "student_layer_name": _each(str, self.student_layer_name),
            "standardize": self.standardize,
            "adversarial_loss": self.adversarial_loss,
            "beta": serialized(self.beta),
        }

    def _plays(self):
        # At beta=0 nothing of the game is computed: the control costs what a Distiller costs.
        return self.beta != 0

    def _beta_now(self):
        if isinstance(self.beta, LearningRateSchedule):
            return self.beta(self.optimizer.iterations)
        return self.beta

    def _look_into_the_student(self):
        """Have the judged layer come with the layers that the losses name, in one pass."""
        judged = [student_layer for _, student_layer in self._layer_pairs if student_layer]
        layers = tuple(dict.fromkeys([*self.parts.live.student_layers(), *judged]))
        features = feature_model(self.student, layers)
        # A bound method, since the model would be tracked beside the student.
        self._student_features = features.__call__
        shapes = {name: features.output[name].shape for name in layers}
        self._student_shapes = {**self._student_shapes, **shapes}
        for layer_name in judged:
            _check_no_probabilities(self.student.get_layer(layer_name.split("/")[0]))

    def _judges(self):
        """Return the discriminators as a list."""
        several = isinstance(self.discriminator, list)
        return list(self.discriminator) if several else [self.discriminator]

    def labels_as_classes(self) -> list[str]:
        return self.parts.names if self._plays() else super().labels_as_classes()

    def models_in_step(self, *, teacher: bool) -> list[keras.Model]:
        return [*super().models_in_step(teacher=teacher), *self._judges()]

    def teacher_layers(self) -> tuple[str, ...]:
        judged = [teacher_layer for teacher_layer, _ in self._layer_pairs if teacher_layer]
        return tuple(dict.fromkeys([*super().teacher_layers(), *judged]))

    def asks_teacher(self) -> bool:
        return (self._plays() and self.teacher is not None) or super().asks_teacher()

    def uses_teacher(self) -> bool:
        return self._plays() or super().uses_teacher()

    def needs_teacher(self) -> bool:
        return self._plays() or super().needs_teacher()

    def _judged(self, batch, teacher, student):
        """Return what each discriminator judges of teacher and student, and for which classes."""
        (name,) = self.parts.names
        labels = known_labels(batch.labels, self.hard_loss)
        classes = classes_of(labels, teacher.outputs[name], student.outputs[name])
        judged = []
        for (teacher_layer, student_layer), projector in zip(
            self._layer_pairs, self.feature_projectors, strict=True
        ):
            pair = (
                teacher.features[teacher_layer] if teacher_layer else teacher.outputs[name],
                student.features[student_layer] if student_layer else student.outputs[name],
            )
            mask = mask_of(pair[1])
            if teacher_layer is None and self.standardize:
                pair = tuple(standardized(logits) for logits in pair)
            if projector is not None:
                pair = projector(pair)
            if mask is not None:
                pair = without_padding(*pair, mask)
            known = {"classes": classes, "sample_weight": batch.sample_weight}
            judged.append({"teacher": pair[0], "student": pair[1], **known})
        return judged

    def _judged_shape(self, teacher, teacher_layer):
        """Return the shape of one example of what is judged, `None` if unknown."""
        if teacher is not None:
            return tuple(teacher.feature_shape(teacher_layer))[1:]
        if teacher_layer is None:
            return (self.student.output_shape[-1],)
        return None

    def _given_or_default(self, discriminator, teacher):
        """Return a list of discriminators, one for each pair of layers."""
        if discriminator is None:
            return [
                self._default_discriminator(teacher, teacher_layer, number)
                for number, (teacher_layer, _) in enumerate(self._layer_pairs)
            ]
        judges = discriminator if isinstance(discriminator, (list, tuple)) else [discriminator]
        if len(judges) != len(self._layer_pairs):
            raise ValueError(
                "`discriminator` must be one for each pair of layers, as a list "
                f"({len(self._layer_pairs)}). Received: {len(judges)}."
            )
        return list(judges)

    def _default_discriminator(self, teacher, teacher_layer, number):
        shape = self._judged_shape(teacher, teacher_layer)
        if shape is None:
            raise ValueError(
                "The discriminator must know the shape of the teacher's layer. Received: neither a "
                "teacher nor a discriminator. Pass `adversarial.discriminator(shape)`."
            )
        name = f"discriminator_{number + 1}" if number else "discriminator"
        return build_discriminator(shape, num_classes=self.student.output_shape[-1], name=name)

    def _check_discriminators(self, teacher):
        for judge, (teacher_layer, _) in zip(self._judges(), self._layer_pairs, strict=True):
            check_discriminator(
                judge,
                feature_shape=self._judged_shape(teacher, teacher_layer),
                num_scores=(1, self.student.output_shape[-1]),
            )

    def _make_feature_projector(self, judge, student_layer):
        """Return what brings the student's layer to the teacher's shape, if it is another."""
        if student_layer is None:
            return None
        teacher_shape = tuple(judge.input_shape)
        student_shape = tuple(self._student_shapes[student_layer])
        if teacher_shape[1:] == student_shape[1:]:
            return None
        return Hints(name="feature").projector(teacher_shape, student_shape)


def _pairs(teacher_layer_name, student_layer_name):
    """Return `(teacher's layer, student's layer)` of each pair, `(None, None)` for the logits."""
    several = isinstance(teacher_layer_name, (list, tuple))
    teacher_layers, student_layers = (
        tuple(names) if isinstance(names, (list, tuple)) else (names,)
        for names in (teacher_layer_name, student_layer_name)
    )
    same = several == isinstance(student_layer_name, (list, tuple)) and len(teacher_layers) == len(
        student_layers
    )
    pairs = tuple(zip(teacher_layers, student_layers, strict=False))
    if not same or not pairs or any((one is None) != (other is None) for one, other in pairs):
        raise ValueError(
            "A layer of the teacher is judged against a layer of the student. Received: "
            f"teacher_layer_name={teacher_layer_name!r} and "
            f"student_layer_name={student_layer_name!r}. Name both, or neither for the logits."
        )
    return pairs


def _each(function, values):
    """Return `function` of what is not `None`, of each where there are several."""
    if isinstance(values, (list, tuple)):
        return [_each(function, value) for value in values]
    return None if values is None else function(values)


def _check_no_probabilities(layer):
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax:
        raise ValueError(
            "The discriminator must be given features or logits, not probabilities. Received: "
            f"`{layer.name}` ends in softmax. Name the layer before it."
        )
