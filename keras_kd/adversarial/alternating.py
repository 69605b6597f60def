"""The alternating step, written once: each player moves its own variables and no others."""

import contextlib

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common import backend
from keras_kd._common.typing import Config
from keras_kd.distillers.precision import scaled, unscaled
from keras_kd.losses.base import is_labelled, label_probabilities, target_class


def descend(loss_of, *, variables, optimizer):
    """Move `variables`, and nothing else, one step of `optimizer` down `loss_of()`.

    Args:
        loss_of: returns a scalar loss, or a scalar loss and whatever else the caller wants.
        variables: what may move; nothing else is even watched.
        optimizer: a Keras optimizer that was built on `variables`.

    Returns:
        What `loss_of` returned.
    """
    with watching(variables) as tape:
        returned = loss_of()
        loss = returned[0] if isinstance(returned, tuple) else returned
        scaled_loss = optimizer.scale_loss(loss)
    apply_gradients(tape, scaled_loss, variables=variables, optimizer=optimizer)
    return returned


@contextlib.contextmanager
def watching(variables, *, persistent=False):
    """Yield a gradient tape on these variables alone."""
    with tf.GradientTape(persistent=persistent, watch_accessed_variables=False) as tape:
        tape.watch([variable.value for variable in variables])
        yield tape


def apply_gradients(tape, loss, *, variables, optimizer):
    """Apply the gradients of `loss` to those of `variables` that it depends on."""
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    # An adversarial loss on an inner layer says nothing to the layers after it.
    pairs = zip(gradients, variables, strict=True)
    backend.apply_gradients(
        optimizer, [(slope, variable) for slope, variable in pairs if slope is not None]
    )


class OtherPlayers:
    """What distillers share whose other players move by optimizers of their own.

    To be named before the distiller among the bases.
    """

    # The other players' optimizers scale no loss.
    trains_in_float16 = False

    def players(self) -> dict[str, list[keras.Variable]]:
        """Return what each of the other optimizers moves: `{argument of compile: variables}`."""
        raise NotImplementedError

    def compile_players(self, **optimizers: str | keras.optimizers.Optimizer) -> None:
        """Take the other players' optimizers, built on their variables, as Keras compiles them.

        Args:
            **optimizers: an optimizer or its name for each of `players()`.

        Raises:
            ValueError: if one is the optimizer of another player.
        """
        owners = {id(unscaled(self.optimizer)): "optimizer"}
        for name, variables in self.players().items():
            optimizer = keras.optimizers.get(optimizers[name])
            owner = owners.setdefault(id(unscaled(optimizer)), name)
            if owner != name:
                raise ValueError(
                    f"`{name}` must be an optimizer of its own. Received: the same as `{owner}`. "
                    "Make two, even of the same settings."
                )
            setattr(self, name, self._built(optimizer, variables))

    def _built(self, optimizer, variables):
        if self.dtype_policy.name == "mixed_float16":
            # What Keras does to the optimizer that it is compiled with.
            optimizer = scaled(optimizer)
        if not optimizer.built:
            optimizer.build(variables)
        return optimizer

    def get_compile_config(self) -> Config:
        if not self.compiled:
            return super().get_compile_config()
        serialize = keras.saving.serialize_keras_object
        own = {name: serialize(getattr(self, name)) for name in self.players()}
        return {**super().get_compile_config(), **own}

    def optimizers(self) -> list[keras.optimizers.Optimizer]:
        return [*super().optimizers(), *(getattr(self, name) for name in self.players())]

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        # What `optimizer` moves.
        others = {id(each) for variables in self.players().values() for each in variables}
        return [each for each in super().trainable_variables if id(each) not in others]


# What the discriminator loses by a score of the teacher and by one of the student, and what the
# student loses by its own. All on scores, not on probabilities. Written out, since each of Keras's
# losses is several times as many operations, in a step that is made of small ones.
_GAMES = {
    "least_squares": (
        lambda teacher: ops.square(teacher - 1.0),
        ops.square,
        lambda student: ops.square(student - 1.0),
    ),
    "hinge": (
        lambda teacher: ops.relu(1.0 - teacher),
        lambda student: ops.relu(1.0 + student),
        ops.negative,
    ),
    "binary_crossentropy": (
        lambda teacher: ops.softplus(-teacher),
        ops.softplus,
        lambda student: ops.softplus(-student),
    ),
}


class Game:
    """What a discriminator and a student lose when the discriminator tells them apart.

        least_squares         D: (D(t) - 1)^2 + D(s)^2                      S: (D(s) - 1)^2
        hinge                 D: max(0, 1 - D(t)) + max(0, 1 + D(s))        S: -D(s)
        binary_crossentropy   D: -log sigmoid(D(t)) - log sigmoid(-D(s))    S: -log sigmoid(D(s))

    D(t) and D(s) are the discriminator's scores of the teacher and of the student. The student
    plays the non-saturating form: it wants a high score, it does not only want the
    discriminator to lose.

    Args:
        name: one of the three.

    Raises:
        ValueError: if it is none of them.

    References:
        X. Mao et al., Least Squares Generative Adversarial Networks, 2017, equation 2;
        J. Lim, J. Ye, Geometric GAN, 2017, section 3; I. Goodfellow et al., Generative
        Adversarial Nets, 2014, section 3.
    """

    def __init__(self, name):
        if name not in _GAMES:
            raise ValueError(
                f"`adversarial_loss` must be one of {', '.join(_GAMES)}. Received: {name!r}."
            )
        self._by_teacher, self._by_student, self._student_loss = _GAMES[name]

    def discriminator_loss(
        self, teacher_scores, student_scores, sample_weight=None, *, labels=None, probabilities=None
    ):
        """Return the discriminator's loss, a scalar, for scores `[batch, 1]` of both.

        With `labels` or `probabilities` `[batch, num_classes]`, the teacher's or the student's
        scores are one a class, and what counts is their expectation.
        """
        return _mean(self._by_teacher(teacher_scores), sample_weight, labels) + _mean(
            self._by_student(student_scores), sample_weight, probabilities
        )

    def student_loss(self, student_scores, sample_weight=None, *, probabilities=None):
        """Return the student's adversarial loss, a scalar; see `discriminator_loss`."""
        return _mean(self._student_loss(student_scores), sample_weight, probabilities)


def _mean(values, sample_weight, probabilities=None):
    """Return the weighted mean over the batch, divided by the replicas, as Keras does it."""
    if probabilities is not None:
        values = ops.sum(probabilities * values, axis=-1, keepdims=True)
    if sample_weight is not None:
        sample_weight = ops.cast(sample_weight, values.dtype)
        if len(sample_weight.shape) > 1:  # Of places or labels: an example is judged as a whole.
            sample_weight = ops.mean(sample_weight, axis=tuple(range(1, len(sample_weight.shape))))
        values = values * ops.reshape(sample_weight, (-1, 1))
    mean = ops.mean(values)
    return mean / backend.num_replicas() if backend.num_replicas() > 1 else mean


def scores(discriminator, features, classes=None, *, training=False):
    """Return how much `features` look like the teacher's to `discriminator`: `[batch, 1]`.

    Args:
        discriminator: returns one score an example, or one a class.
        features: what it judges; taken as float32, which it computes in.
        classes: probabilities `[batch, num_classes]`, usually one-hot; of a discriminator that
            returns one score a class, what counts is their expectation.
        training: whether this is the discriminator's own step.
    """
    found = discriminator(ops.cast(features, "float32"), training=training)
    if found.shape[-1] == 1:
        return found
    return ops.sum(found * ops.cast(classes, "float32"), axis=-1, keepdims=True)


def discriminator_loss(discriminator, game, *, teacher, student, classes=None, sample_weight=None):
    """Return what the discriminator loses when it tells teacher from student, a scalar.

    Args:
        discriminator: the one that judges, in training.
        game: the `Game` that is played.
        teacher: features of the teacher.
        student: features of the student, in the same shape; no gradient goes back to either.
        classes: as in `scores`.
        sample_weight: one weight an example, or `None`.
    """
    # One pass for both, so that spectral normalisation moves once a step.
    both = ops.stop_gradient(
        ops.concatenate([ops.cast(each, "float32") for each in (teacher, student)])
    )
    both_classes = None if classes is None else ops.concatenate([classes, classes])
    found = scores(discriminator, both, both_classes, training=True)
    return game.discriminator_loss(*ops.split(found, 2), sample_weight)


def discriminator_step(discriminators, optimizer, game, judged):
    """Move discriminators one step towards telling teacher from student; return their mean loss.

    Args:
        discriminators: those that move; teacher and student stay as they are.
        optimizer: their own.
        game: the `Game` that is played.
        judged: the other arguments of `discriminator_loss`, a dict for each of them.
    """

    def loss():
        pairs = zip(discriminators, judged, strict=True)
        return mean_of([discriminator_loss(judge, game, **each) for judge, each in pairs])

    variables = [variable for each in discriminators for variable in each.trainable_variables]
    return descend(loss, variables=variables, optimizer=optimizer)


def mean_of(losses):
    """Return the mean of scalars in a list; the only one as it is."""
    return ops.mean(losses) if len(losses) > 1 else losses[0]


def classes_of(labels, teacher_logits, student_logits):
    """Return each example's class as one-hot, or what a soft label says of it.

    It is the label's, or where there is none the teacher's prediction.
    """
    predicted = target_class(teacher_logits, student_logits)
    if labels is None:
        return predicted
    probabilities = label_probabilities(labels, student_logits)
    return ops.where(is_labelled(probabilities)[..., None], probabilities, predicted)
