"""A classifier, its teacher and a discriminator of labels, who learn together."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.typing import Config, Schedule, Structure
from keras_kd.adversarial.alternating import Game, OtherPlayers, descend
from keras_kd.adversarial.networks import check_discriminator, check_judged_logits
from keras_kd.distillers.batch import Batch
from keras_kd.distillers.hard_losses import known_labels
from keras_kd.distillers.mutual import MutualDistiller
from keras_kd.losses.base import check_setting, is_labelled, label_probabilities
from keras_kd.teachers.outputs import TeacherOutputs


@keras.saving.register_keras_serializable(package="keras_kd")
class KDGANDistiller(OtherPlayers, MutualDistiller):
    """Trains networks that teach each other and must give labels as a discriminator expects them.

        discriminator: -log sigmoid(D(x, y)) - mean_k sum_c p_k(c | x) log sigmoid(-D(x, c))
        networks:      the loss of `MutualDistiller`
                       - weight * sum_k sum_c p_k(c | x) log sigmoid(D(x, c))

    The discriminator D tells pairs (image, label) of the data from those whose label a network
    chose. The published game has two networks, the classifier, which is the student and comes
    first, and the teacher, which goes on learning. In each step the discriminator moves once, then
    all networks once, from one pass of each.

    `adversarial_weight=0` is the `MutualDistiller` to the bit, the control to run beside it.

    NOTE: the paper draws labels by the Gumbel-softmax; here the expectation over the classes is
    computed, the mean that its draws scatter around. It lets the players move in phases of many
    steps and weighs classifier and teacher apart; here they move in turn and weigh the same. Its
    networks, trained on the labels before, learn them in the game from the discriminator alone:
    `alpha=1`, with `losses.LogitMatching()`.

    Args:
        students: as in `MutualDistiller`: at least two, the classifier first, the teacher last.
        discriminator: a built `keras.Model` from images to one score a class (not probabilities);
            by default, as in the paper, a copy of the last student with first weights of its own.
        adversarial_weight: weight of the networks' adversarial losses, at least 0.
        adversarial_loss: `"binary_crossentropy"` as in the paper, `"least_squares"` or `"hinge"`.
        distillation_loss: as in `MutualDistiller`.
        alpha: as in `MutualDistiller`.
        name: name of the model.

    Raises:
        ValueError: if there are fewer than two students, or the parts do not fit each other.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    classifier, teacher = (
        kd.models.mlp([units], image_shape=data.image_shape) for units in (16, 64)
    )
    game = kd.adversarial.KDGANDistiller([classifier, teacher])
    game.compile("adam", discriminator_optimizer="adam", metrics=["accuracy"])
    game.fit(data.train.batches(32, shuffle_seed=0), epochs=1, verbose=0)
    ```

    References:
        X. Wang et al., KDGAN: Knowledge Distillation with Generative Adversarial Networks, 2018,
        section 3.
    """

    _config_parts = (*MutualDistiller._config_parts, "discriminator")

    def __init__(
        self,
        students: Sequence[keras.Model],
        *,
        discriminator: keras.Model | None = None,
        adversarial_weight: Schedule = 1.0,
        adversarial_loss: str = "binary_crossentropy",
        distillation_loss: Structure | None = None,
        alpha: Schedule = 0.5,
        name: str = "kdgan_distiller",
    ):
        super().__init__(students, distillation_loss=distillation_loss, alpha=alpha, name=name)
        (head,) = self.heads().values()
        check_judged_logits(self.students[-1], at_least=2, head=head)
        self.adversarial_weight = check_setting(
            "adversarial_weight", adversarial_weight, zero_allowed=True
        )
        self.adversarial_loss, self._game = adversarial_loss, Game(adversarial_loss)
        self.discriminator = discriminator or _copy_of(self.students[-1])
        check_discriminator(
            self.discriminator,
            feature_shape=self.students[-1].input_shape[1:],
            num_scores=(self.students[-1].output_shape[-1],),
        )
        names = ("adversarial_loss", "discriminator_loss")
        self._trackers += [keras.metrics.Mean(name=name) for name in names]

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
            optimizer: the networks'.
            loss: as in `Distiller.compile`.
            metrics: as in `Distiller.compile`.
            discriminator_optimizer: the discriminator's own.
            **kwargs: the other arguments of `keras.Model.compile`.
        """
        super().compile(optimizer, loss, metrics, **kwargs)
        self.compile_players(discriminator_optimizer=discriminator_optimizer)
        return self

    def players(self) -> dict[str, list[keras.Variable]]:
        return {"discriminator_optimizer": self.discriminator.trainable_variables}

    def labels_as_classes(self) -> list[str]:
        return self.parts.names if self.adversarial_weight != 0 else super().labels_as_classes()

    def models_in_step(self, *, teacher: bool) -> list[keras.Model]:
        return [*super().models_in_step(teacher=teacher), self.discriminator]

    def objective(
        self, batch: Batch, teacher: TeacherOutputs | None
    ) -> tuple[Structure, dict[str, tf.Tensor]]:
        if self.adversarial_weight == 0:
            return super().objective(batch, teacher)
        if batch.labels is None:
            raise ValueError(
                "The discriminator learns which label an image has. Received: images alone. Give "
                "some of them labels, -1 for those without."
            )
        logits = self.ask_students(batch.inputs)
        losses = self.mutual_losses(batch, logits)
        chosen = [ops.softmax(ops.cast(each, "float32")) for each in logits]
        labels = label_probabilities(known_labels(batch.labels, self.hard_loss), logits[0])
        losses["discriminator_loss"] = self._move_discriminator(
            batch.inputs, labels, [ops.stop_gradient(each) for each in chosen], batch.sample_weight
        )
        found = ops.stop_gradient(self._scores(batch.inputs, training=False))
        losses["adversarial_loss"] = ops.sum(
            [
                self._game.student_loss(found, batch.sample_weight, probabilities=probabilities)
                for probabilities in chosen
            ]
        )
        losses["loss"] += self.adversarial_weight * losses["adversarial_loss"]
        return logits[0], losses

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "adversarial_weight": self.adversarial_weight,
            "adversarial_loss": self.adversarial_loss,
        }

    def _move_discriminator(self, images, classes, chosen, sample_weight):
        """Move the discriminator once towards the labels, and return its loss."""
        probabilities = ops.mean(ops.stack(chosen), axis=0)
        # The mean over the pairs of the data: what has no label is none of them.
        share = ops.mean(ops.cast(is_labelled(classes), "float32"))
        pairs = ops.divide_no_nan(classes, share)

        def loss():
            found = self._scores(images, training=True)
            return self._game.discriminator_loss(
                found, found, sample_weight, labels=pairs, probabilities=probabilities
            )

        return descend(
            loss,
            variables=self.discriminator.trainable_variables,
            optimizer=self.discriminator_optimizer,
        )

    def _scores(self, images, *, training):
        return ops.cast(self.discriminator(images, training=training), "float32")


def _copy_of(student):
    """Return a model of the same layers with first weights of its own."""
    if not getattr(student, "outputs", None):
        raise ValueError(
            f"The discriminator is a copy of {student.name}, if none is given. Received: a model "
            "that is neither Functional nor Sequential. Pass a discriminator."
        )
    copy = keras.models.clone_model(student)
    copy.name = "discriminator"
    return copy
