"""Distillation with a discriminator that tells teacher from student."""

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_kd.adversarial.alternating import (
    Game,
    classes_of,
    discriminator_step,
    own_optimizer,
    scores,
)
from keras_kd.adversarial.networks import check_discriminator
from keras_kd.adversarial.networks import discriminator as build_discriminator
from keras_kd.distiller import Distiller
from keras_kd.ensemble import as_teacher
from keras_kd.features import feature_model
from keras_kd.losses import Hints, standardized
from keras_kd.losses.base import check_setting, serialized
from keras_kd.stacked_step import ask_teacher


@keras.saving.register_keras_serializable(package="keras_kd")
class DiscriminatorDistiller(Distiller):
    """A `Distiller` whose student must also be taken for the teacher by a discriminator.

        loss = alpha * distillation_loss + (1 - alpha) * hard_loss + beta * adversarial_loss

    In each step the discriminator moves once, towards telling the teacher's answers from the
    student's on the same images; then the student moves once, also towards being taken for the
    teacher. Both from one pass of teacher and student. See `Game` for the two losses; the logs
    hold them as `discriminator_loss` and `adversarial_loss`.

    What is judged are the logits, each example's standardised, so that their mere size gives
    nobody away; or a layer of each. The default discriminator is class-conditional: it asks
    whether these are the teacher's logits *for an image of this class*; the class is the label,
    or the teacher's prediction where there is none.

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
            `adversarial.discriminator`, one score a class.
        teacher_layer_name: the teacher's layer that is judged, nested ones as
            `backbone/block_3`; its logits if `None`.
        student_layer_name: the student's, likewise. If it is of another shape, a projector to the
            teacher's is trained with the student.
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
    # The other players' optimizers scale no loss.
    trains_in_float16 = False

    def __init__(
        self,
        *,
        student,
        teacher=None,
        discriminator=None,
        teacher_layer_name=None,
        student_layer_name=None,
        standardize=True,
        adversarial_loss="least_squares",
        beta=0.05,
        distillation_loss=None,
        distillation_loss_weights=None,
        alpha=0.5,
        name="discriminator_distiller",
    ):
        beta = check_setting("beta", beta, zero_allowed=True)
        if (teacher_layer_name is None) != (student_layer_name is None):
            raise ValueError(
                "A layer of the teacher is judged against a layer of the student. Received: "
                f"teacher_layer_name={teacher_layer_name!r} and "
                f"student_layer_name={student_layer_name!r}. Name both, or neither for the logits."
            )
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
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name
        self.standardize, self.beta = standardize, beta
        self.adversarial_loss, self._game = adversarial_loss, Game(adversarial_loss)
        if student_layer_name is not None:
            self._look_into_the_student()
        if teacher is not None:
            teacher = as_teacher(teacher, image_shape=student.input_shape[1:])
        self.discriminator = discriminator or self._default_discriminator(teacher)
        self._check_discriminator(teacher)
        self.feature_projector = self._make_feature_projector()
        names = ("adversarial_loss", "discriminator_loss")
        self._trackers += [keras.metrics.Mean(name=name) for name in names]
        # Last, as in a distiller that is loaded: files know layers by the order of their making.
        if teacher is not None:
            self.attach_teacher(teacher)

    def attach_teacher(self, teacher):
        """Give the distiller its teacher; see `Distiller.attach_teacher`."""
        super().attach_teacher(teacher)
        if self.teacher.class_map is not None:
            self.teacher = None
            raise ValueError(
                "The discriminator judges teacher and student on the same classes. Received: a "
                "teacher with a class_map. Give that teacher to a Distiller."
            )
        self._check_discriminator(self.teacher)

    def compile(
        self, optimizer="adam", loss=None, metrics=None, *, discriminator_optimizer="adam", **kwargs
    ):
        """Configure the training; see `Distiller.compile`.

        Args:
            optimizer: the student's.
            loss: as in `Distiller.compile`.
            metrics: as in `Distiller.compile`.
            discriminator_optimizer: the discriminator's own, with its own learning rate.
            **kwargs: the other arguments of `keras.Model.compile`.
        """
        super().compile(optimizer, loss, metrics, **kwargs)
        self.discriminator_optimizer = own_optimizer(
            discriminator_optimizer,
            name="discriminator_optimizer",
            variables=self.discriminator.trainable_variables,
            model=self,
        )
        return self

    def get_compile_config(self):
        optimizer = keras.saving.serialize_keras_object(self.discriminator_optimizer)
        return {**super().get_compile_config(), "discriminator_optimizer": optimizer}

    @property
    def trainable_variables(self):
        # What `optimizer` moves; the discriminator has its own.
        others = {id(variable) for variable in self.discriminator.trainable_variables}
        return [each for each in super().trainable_variables if id(each) not in others]

    def _train_on(self, images, labels, sample_weight, teacher):
        if not self._plays():
            return Distiller._train_on(self, images, labels, sample_weight, teacher)
        with tf.GradientTape() as tape:
            student = self._ask_student(images, training=True)
            losses = self._loss_terms(
                labels,
                teacher if self.alpha != 0 else None,
                student,
                sample_weight,
                hard=self._learns_labels(labels),
            )
            game = self._judged(teacher, student, labels)
            losses["discriminator_loss"] = self._move_discriminator(
                game, sample_weight, only_if=self._may_learn_from(teacher["logits"])
            )
            found = scores(self.discriminator, game["student"], game["classes"])
            losses["adversarial_loss"] = self._game.student_loss(found, sample_weight)
            adversarial = self._beta_now() * losses["adversarial_loss"]
            losses["loss"] = ops.sum([*self._weighted(losses), adversarial, *self._regularizers()])
            scaled_loss = self.optimizer.scale_loss(losses["loss"])
        self._apply(tape, scaled_loss, teacher["logits"])
        return self._update_logs(images, labels, student["logits"], sample_weight, losses)

    def _move_discriminator(self, game, sample_weight, only_if):
        """Move the discriminator once, and return its loss; NaN if it may not move."""

        def move():
            return discriminator_step(
                self.discriminator,
                self.discriminator_optimizer,
                self._game,
                **game,
                sample_weight=sample_weight,
            )

        if only_if is None:
            return move()
        return tf.cond(only_if, move, lambda: tf.constant(float("nan")))

    def get_config(self):
        return {
            **super().get_config(),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "teacher_layer_name": self.teacher_layer_name,
            "student_layer_name": self.student_layer_name,
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
        layers = tuple(dict.fromkeys([*self._terms.student_layers(), self.student_layer_name]))
        features = feature_model(self.student, layers)
        # A bound method, since the model would be tracked beside the student.
        self._student_features = features.__call__
        self._student_shapes = {name: features.output[name].shape for name in layers}
        judged = self.student.get_layer(self.student_layer_name.split("/")[0])
        _check_no_probabilities(judged)

    def models_in_step(self, *, teacher):
        return [*super().models_in_step(teacher=teacher), self.discriminator]

    def teacher_layers(self):
        judged = [] if self.teacher_layer_name is None else [self.teacher_layer_name]
        return tuple(dict.fromkeys([*super().teacher_layers(), *judged]))

    def asks_teacher(self):
        return (self._plays() and self.teacher is not None) or super().asks_teacher()

    def _uses_teacher(self):
        return self._plays() or Distiller._uses_teacher(self)

    def _ask_teacher(self, images):
        if self.asks_teacher():
            return ask_teacher(self.teacher, images, self.teacher_layers())
        return Distiller._ask_teacher(self, images)

    def _judged(self, teacher, student, labels):
        """Return what is judged of teacher and student, and the classes it is judged for."""
        if self.teacher_layer_name is None:
            pair = (teacher["logits"], student["logits"])
            if self.standardize:
                pair = tuple(standardized(logits) for logits in pair)
        else:
            pair = (teacher[self.teacher_layer_name], student[self.student_layer_name])
            if self.feature_projector is not None:
                pair = self.feature_projector(pair)
        classes = classes_of(labels, teacher["logits"], student["logits"])
        return {"teacher": pair[0], "student": pair[1], "classes": classes}

    def _judged_shape(self, teacher):
        """Return the shape of one example of what is judged, `None` if unknown."""
        if teacher is not None:
            return tuple(teacher.feature_shape(self.teacher_layer_name))[1:]
        if self.teacher_layer_name is None:
            return (self.student.output_shape[-1],)
        return None

    def _default_discriminator(self, teacher):
        shape = self._judged_shape(teacher)
        if shape is None:
            raise ValueError(
                "The discriminator must know the shape of the teacher's layer. Received: neither a "
                "teacher nor a discriminator. Pass `adversarial.discriminator(shape)`."
            )
        return build_discriminator(shape, num_classes=self.student.output_shape[-1])

    def _check_discriminator(self, teacher):
        check_discriminator(
            self.discriminator,
            feature_shape=self._judged_shape(teacher),
            num_scores=(1, self.student.output_shape[-1]),
        )

    def _make_feature_projector(self):
        """Return what brings the student's layer to the teacher's shape, if it is another."""
        if self.student_layer_name is None:
            return None
        teacher_shape = tuple(self.discriminator.input_shape)
        student_shape = tuple(self._student_shapes[self.student_layer_name])
        if teacher_shape[1:] == student_shape[1:]:
            return None
        return Hints(name="feature").projector(teacher_shape, student_shape)


def _check_no_probabilities(layer):
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax:
        raise ValueError(
            "The discriminator must be given features or logits, not probabilities. Received: "
            f"`{layer.name}` ends in softmax. Name the layer before it."
        )
