"""Students that teach each other, with discriminators between their feature maps."""

import warnings
from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from keras_kd._common.structures import part_for
from keras_kd._common.typing import Config, Schedule, Structure
from keras_kd.adversarial.alternating import (
    Game,
    OtherPlayers,
    apply_gradients,
    discriminator_step,
    scores,
    watching,
)
from keras_kd.adversarial.networks import check_discriminator
from keras_kd.adversarial.networks import discriminator as build_discriminator
from keras_kd.distillers.batch import Batch
from keras_kd.distillers.mutual import MutualDistiller
from keras_kd.distillers.precision import unscaled
from keras_kd.losses import Hints
from keras_kd.losses.base import check_setting
from keras_kd.losses.masks import mask_of, without_padding
from keras_kd.teachers.features import feature_model
from keras_kd.teachers.outputs import TeacherOutputs


# One class further down than our distillers go: it is deep mutual learning with one thing more,
# and without it must be that to the bit.
@keras.saving.register_keras_serializable(package="keras_kd")
class OnlineAdversarialDistiller(OtherPlayers, MutualDistiller):
    """Trains networks together: they teach each other by logits, and imitate features in a cycle.

        by `optimizer`:              the loss of `MutualDistiller`
        by `discriminator_optimizer`: sum_k (1 - D_k(f_{k+1}))^2 + D_k(f_k)^2
        by `adversarial_optimizer`:  weight * sum_k (1 - D_k(f_k))^2

    Discriminator k tells the features f of network k from those of the next one (of the first,
    for the last); network k wants to be taken for the next. So each learns the *distribution* of
    its neighbour's feature maps, where mutual learning matches point by point. All three from
    one pass of each network on the same batch; the adversarial steps have optimizers of their
    own because they need a much smaller rate: with the other loss's, the networks do not learn.

    `adversarial_weight=0` is the `MutualDistiller` to the bit, the control to run beside it.

    NOTE: the paper passes both sides through transfer layers; here only those features that have
    another shape than the next network's get one, a projector trained with them.

    Args:
        students: as in `MutualDistiller`: at least two, a teacher among them or not.
        layer_names: the layer whose features are compared, nested ones as `backbone/block_3`: one
            name for all students, or a list of one each.
        discriminators: one a student, each for the features of the next; by default those of
            `adversarial.discriminator`.
        adversarial_weight: weight of the networks' adversarial losses, at least 0.
        adversarial_loss: `"least_squares"` as in the paper, `"hinge"` or `"binary_crossentropy"`.
        distillation_loss: as in `MutualDistiller`.
        alpha: as in `MutualDistiller`.
        name: name of the model.

    Raises:
        ValueError: if there are fewer than two students, or the parts do not fit each other.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    students = [kd.models.conv_net([filters], image_shape=(8, 8, 1)) for filters in (4, 8)]
    online = kd.adversarial.OnlineAdversarialDistiller(students, layer_names="conv_1")
    online.compile(metrics=["accuracy"])
    online.fit(data.train.batches(64, shuffle_seed=0), epochs=1, verbose=0)
    ```

    References:
        I. Chung et al., Feature-map-level Online Adversarial Knowledge Distillation, 2020,
        section 3.
    """

    _config_parts = (*MutualDistiller._config_parts, "discriminators")

    def __init__(
        self,
        students: Sequence[keras.Model],
        *,
        layer_names: str | Sequence[str],
        discriminators: Sequence[keras.Model] | None = None,
        adversarial_weight: Schedule = 1.0,
        adversarial_loss: str = "least_squares",
        distillation_loss: Structure | None = None,
        alpha: Schedule = 0.5,
        name: str = "online_adversarial_distiller",
    ):
        super().__init__(students, distillation_loss=distillation_loss, alpha=alpha, name=name)
        self.adversarial_weight = check_setting(
            "adversarial_weight", adversarial_weight, zero_allowed=True
        )
        self.adversarial_loss, self._game = adversarial_loss, Game(adversarial_loss)
        self.layer_names = _one_each(layer_names, len(self.students), "layer_names")
        features = [
            feature_model(student, [layer_name])
            for student, layer_name in zip(self.students, self.layer_names, strict=True)
        ]
        # Bound methods, since the models would be tracked beside the students.
        self._students_with_features = tuple(each.__call__ for each in features)
        shapes = [
            tuple(model.output[layer_name].shape)
            for model, layer_name in zip(features, self.layer_names, strict=True)
        ]
        nexts = [*shapes[1:], shapes[0]]
        self.transfers = [
            None if own[1:] == other[1:] else Hints(name=f"transfer_{number}").projector(other, own)
            for number, (own, other) in enumerate(zip(shapes, nexts, strict=True), start=1)
        ]
        self.discriminators = (
            [build_discriminator(shape[1:]) for shape in nexts]
            if discriminators is None
            else _one_each(discriminators, len(self.students), "discriminators")
        )
        for judge, shape in zip(self.discriminators, nexts, strict=True):
            check_discriminator(judge, feature_shape=shape[1:], num_scores=(1,))
        names = ("adversarial_loss", "discriminator_loss")
        self._trackers += [keras.metrics.Mean(name=name) for name in names]

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: Structure = None,
        metrics: Structure = None,
        *,
        adversarial_optimizer: str | keras.optimizers.Optimizer | None = None,
        discriminator_optimizer: str | keras.optimizers.Optimizer | None = None,
        **kwargs: Any,
    ) -> Self:
        """Configure the training; see `Distiller.compile`.

        Args:
            optimizer: for the mutual loss.
            loss: as in `Distiller.compile`.
            metrics: as in `Distiller.compile`.
            adversarial_optimizer: for the students' adversarial losses; Adam with a constant
                rate of 2e-5 by default. It needs a schedule if `optimizer` has one: alone at the
                end, it undid a point of what the other had reached on Fashion-MNIST.
            discriminator_optimizer: for the discriminators; likewise.
            **kwargs: the other arguments of `keras.Model.compile`.
        """
        super().compile(optimizer, loss, metrics, **kwargs)
        if adversarial_optimizer is None and self.adversarial_weight and _falls(self.optimizer):
            warnings.warn(
                "`adversarial_optimizer` must fall with `optimizer`, whose learning rate is a "
                "schedule, or it moves the students alone in the end. Received: none, which is "
                "Adam at a constant 2e-5. Pass one with a schedule like it.",
                stacklevel=2,
            )
        self.compile_players(
            adversarial_optimizer=adversarial_optimizer or keras.optimizers.Adam(2e-5),
            discriminator_optimizer=discriminator_optimizer or keras.optimizers.Adam(2e-5),
        )
        return self

    def players(self) -> dict[str, list[keras.Variable]]:
        judging = [w for each in self.discriminators for w in each.trainable_variables]
        return {"adversarial_optimizer": self._imitating(), "discriminator_optimizer": judging}

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        # What `optimizer` moves; discriminators and transfer layers have their own.
        return [variable for student in self.students for variable in student.trainable_variables]

    def models_in_step(self, *, teacher: bool) -> list[keras.Model]:
        return [*super().models_in_step(teacher=teacher), *self.discriminators]

    def learn(self, batch: Batch, teacher: TeacherOutputs | None) -> dict[str, tf.Tensor]:
        if self.adversarial_weight == 0:
            return super().learn(batch, teacher)
        with watching(self._imitating(), persistent=True) as tape:
            found = [
                ask(part_for(student, batch.inputs), training=True)
                for student, ask in zip(self.students, self._students_with_features, strict=True)
            ]
            logits = [each["logits"] for each in found]
            losses = self.mutual_losses(batch, logits)
            losses |= self._adversarial_losses(found, batch.sample_weight)
            losses["loss"] = self.regularized(losses["loss"])
            scaled_loss = self.optimizer.scale_loss(losses["loss"])
            scaled_adversarial = self.adversarial_optimizer.scale_loss(
                self.adversarial_weight * losses["adversarial_loss"]
            )
        # Both gradients are of the networks as they were when they saw the images.
        for loss, variables, optimizer in (
            (scaled_loss, self.trainable_variables, self.optimizer),
            (scaled_adversarial, self._imitating(), self.adversarial_optimizer),
        ):
            apply_gradients(tape, loss, variables=variables, optimizer=optimizer)
        return self.logs_of(batch, logits[0], losses)

    def get_config(self) -> Config:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "layer_names": list(self.layer_names),
            "discriminators": [serialize(each) for each in self.discriminators],
            "adversarial_weight": self.adversarial_weight,
            "adversarial_loss": self.adversarial_loss,
        }

    def _imitating(self):
        """Return what the adversarial losses move: students and transfer layers."""
        transfers = [each for each in self.transfers if each is not None]
        transfers = [variable for each in transfers for variable in each.trainable_variables]
        return self.trainable_variables + transfers

    def _adversarial_losses(self, outputs, sample_weight):
        """Move each discriminator once; return their losses and those of the students, summed."""
        features = [
            each[layer_name] for each, layer_name in zip(outputs, self.layer_names, strict=True)
        ]
        losses = {"discriminator_loss": 0.0, "adversarial_loss": 0.0}
        for judge, transfer, own, following in zip(
            self.discriminators, self.transfers, features, [*features[1:], features[0]], strict=True
        ):
            mask = mask_of(own)
            if transfer is not None:
                following, own = transfer((following, own))
            if mask is not None:
                following, own = without_padding(following, own, mask)
            judged = {"teacher": following, "student": own, "sample_weight": sample_weight}
            losses["discriminator_loss"] += discriminator_step(
                [judge], self.discriminator_optimizer, self._game, [judged]
            )
            losses["adversarial_loss"] += self._game.student_loss(scores(judge, own), sample_weight)
        return losses


def _falls(optimizer):
    return isinstance(unscaled(optimizer).get_config().get("learning_rate"), dict)


def _one_each(given, count, name):
    """Return one of what is given a student."""
    given = [given] * count if isinstance(given, str) else list(given)
    if len(given) != count:
        raise ValueError(f"`{name}` must be one a student ({count}). Received: {len(given)}.")
    return given
