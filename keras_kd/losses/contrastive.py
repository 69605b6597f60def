"""Contrastive representation distillation, with a memory of every example's embedding."""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import TEMPERATURES, check_integer, check_number, is_number
from keras_kd._common.typing import Config, Shape, Structure, Tensor
from keras_kd.losses.feature import FeatureLoss, averaged
from keras_kd.losses.masks import without_padding
from keras_kd.losses.relation import unit


def contrastive(*, teacher_scores: Tensor, student_scores: Tensor, num_examples: int) -> tf.Tensor:
    """Tell the image that both models saw from images that only one of them saw.

        -(log h(positive) + sum log(1 - h(negative))), for the student and for the teacher
        h = P / (P + K / N),  P = exp(score)

    Args:
        teacher_scores: `[batch, 1 + K]`: the logarithm of the density ratio P between the
            teacher's embedding of an image and what is remembered of the student's, for the
            same image first, then for K other ones.
        student_scores: the same, with student and teacher exchanged.
        num_examples: N, images in the training data.

    Returns:
        One float32 value per example, shape `[batch]`.

    References:
        Y. Tian et al., Contrastive Representation Distillation, 2020, section 3.1, equations 10
        to 19.
    """
    return _half(teacher_scores, num_examples) + _half(student_scores, num_examples)


def _half(scores, num_examples):
    if scores.shape[-1] < 2:
        raise ValueError(
            "Contrastive needs the scores of at least 2 images, the same one and another. "
            f"Received: {scores.shape[-1]}. Use more negatives."
        )
    scores = ops.cast(scores, "float32")
    log_noise = math.log((scores.shape[-1] - 1) / num_examples)
    # In log space, where neither a large score nor a small one is lost.
    log_sum = ops.logaddexp(scores, log_noise)
    positive = log_sum[:, 0] - scores[:, 0]
    return positive + ops.sum(log_sum[:, 1:] - log_noise, axis=-1)


@keras.saving.register_keras_serializable(package="keras_kd")
class ContrastiveMemory(keras.layers.Layer):
    """Embeds features of teacher and student, and compares them with what it remembers of others.

    It holds two linear embeddings, which are trained with the student, and the last embedding of
    every training image by each model: `2 * 4 * embedding_size` bytes an image, 61 MB for 60,000
    images. It is saved with the distiller and left out of what is exported.

    Args:
        num_examples: images in the training data.
        num_negatives: images that each one is compared with; all of a batch share them, so that
            they take `num_negatives * embedding_size` numbers, whatever the batch.
        temperature: the scores' divisor.
        momentum: share of the old embedding in what is remembered, from 0 to 1.
        embedding_size: numbers an embedding.
    """

    def __init__(
        self, num_examples, num_negatives, temperature, momentum, embedding_size, **kwargs
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.num_examples, self.num_negatives = num_examples, num_negatives
        self.temperature, self.momentum = temperature, momentum
        self.embedding_size = embedding_size
        self.teacher_embedding = keras.layers.Dense(embedding_size, dtype=self.dtype_policy)
        self.student_embedding = keras.layers.Dense(embedding_size, dtype=self.dtype_policy)

    def build(self, input_shape):
        teacher_shape, student_shape = input_shape
        self.teacher_embedding.build((None, teacher_shape[-1]))
        self.student_embedding.build((None, student_shape[-1]))
        # So that remembered embeddings have length 1 on average, as the authors' code has it.
        limit = math.sqrt(3 / self.embedding_size)

        def bank(name):
            return self.add_weight(
                shape=(self.num_examples, self.embedding_size),
                initializer=keras.initializers.RandomUniform(-limit, limit),
                trainable=False,
                autocast=False,
                name=name,
            )

        self.teacher_bank, self.student_bank = bank("teacher_bank"), bank("student_bank")
        # Of teacher and student; 0 until the first batch fixes them.
        self.log_normalizers = self.add_weight(
            shape=(2,), initializer="zeros", trainable=False, name="log_normalizers"
        )
        start = keras.random.randint((), 0, 2**31 - 1, dtype="int64")
        self.draws = self.add_weight(
            shape=(),
            dtype="int64",
            initializer=keras.initializers.Constant(start),
            trainable=False,
            name="draws",
        )

    def compute_mask(self, features, previous_mask=None):
        return None  # Scores are of examples whole.

    def call(self, features, index, features_mask=None):
        """Return `(teacher_scores, student_scores)`, and remember the embeddings.

        Args:
            features: `(teacher_features, student_features)`, vectors, or maps or sequences, which
                are averaged.
            index: integers `[batch]`, where in the training data the images are.
            features_mask: of both; the student's says which steps count.
        """
        layers = self.teacher_embedding, self.student_embedding
        vectors = _vectors(*features, None if features_mask is None else features_mask[1])
        teacher, student = (unit(layer(each)) for layer, each in zip(layers, vectors, strict=True))
        others = self.negatives()
        scores = [
            self._scores(teacher, self.student_bank, index, others),
            self._scores(student, self.teacher_bank, index, others),
        ]
        first = ops.stack([_log_mean(each) + math.log(self.num_examples) for each in scores])
        known = self.log_normalizers.value
        self.log_normalizers.assign(ops.where(known == 0, ops.stop_gradient(first), known))
        teacher_scores, student_scores = (
            each - self.log_normalizers[number] for number, each in enumerate(scores)
        )
        self._remember(self.teacher_bank, index, teacher)
        self._remember(self.student_bank, index, student)
        self.draws.assign_add(1)
        return teacher_scores, student_scores

    def negatives(self):
        """Return the images that this step compares with, a function of the count of draws."""
        return tf.random.stateless_uniform(
            [self.num_negatives],
            seed=tf.stack([tf.zeros((), tf.int64), self.draws.value]),
            maxval=self.num_examples,
            dtype=tf.int32,
            alg="philox",
        )

    def _scores(self, embedding, bank, index, others):
        own = ops.sum(embedding * tf.gather(bank.value, index), axis=-1, keepdims=True)
        other = ops.matmul(embedding, ops.transpose(tf.gather(bank.value, others)))
        return ops.concatenate([own, other], axis=-1) / self.temperature

    def _remember(self, bank, index, embedding):
        old = tf.gather(bank.value, index)
        mixed = self.momentum * old + (1 - self.momentum) * ops.stop_gradient(embedding)
        # What is not finite is not remembered: the step that it comes from is not taken either.
        new = ops.where(ops.isfinite(mixed), unit(mixed), old)
        # In place: Keras's own scatter would copy the whole bank.
        bank.value.scatter_update(tf.IndexedSlices(new, index))

    def get_config(self):
        names = ("num_examples", "num_negatives", "temperature", "momentum", "embedding_size")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _vectors(teacher, student, mask):
    """Return one vector an example of each: maps and sequences averaged over what counts."""
    pair = averaged(teacher), averaged(student)
    if mask is None or len(pair[1].shape) == 2:
        return [ops.mean(each, axis=1) if len(each.shape) == 3 else each for each in pair]
    number = ops.sum(ops.cast(mask, "float32"), axis=1)[:, None]
    return [
        ops.divide_no_nan(ops.sum(each, axis=1), number) if len(each.shape) == 3 else each
        for each in without_padding(*pair, mask)
    ]


def _log_mean(scores):
    return ops.logsumexp(scores) - ops.log(ops.cast(ops.size(scores), "float32"))


@keras.saving.register_keras_serializable(package="keras_kd")
class Contrastive(FeatureLoss):
    """CRD: the student's embedding of an image should tell which embedding the teacher gave it.

    See `contrastive`. In `keras_kd.Distiller` a `ContrastiveMemory` is trained between the two
    layers. It finds each image's place in the memory by its index, so `fit` takes arrays or
    `Split.batches`, without sample weights, on one device. Elsewhere `call` takes the scores.

    The paper's weight for it is 0.8, usually beside soft targets.

    NOTE: negatives are drawn from all training images, as in the paper's equations, and shared
    by a batch, which keeps the memory of a step bounded; the authors' code draws them for each
    image, from other classes.

    Args:
        teacher_layer_name: name of the teacher's layer, usually the last before the logits.
        student_layer_name: name of the student's.
        num_examples: images in the training data.
        num_negatives: K, images that each is compared with; by default 16,384 as in the paper,
            or all others if there are fewer. A step's time grows with it, and for a small
            student on a processor it is most of the step.
        temperature: divides the scores; 0.07 in the paper.
        momentum: share of the old embedding in what is remembered; 0.5 in the paper.
        embedding_size: 128 in the paper.
        **kwargs: `name` of the loss.

    Raises:
        ValueError: if an argument is out of range, or a layer returns neither vectors nor maps
            nor sequences.

    References:
        Y. Tian et al., Contrastive Representation Distillation, 2020, sections 3.1 and 3.2.
    """

    default_name = "contrastive"
    uses_index = True

    def __init__(
        self,
        teacher_layer_name: str | None = None,
        student_layer_name: str | None = None,
        *,
        num_examples: int,
        num_negatives: int | None = None,
        temperature: float = 0.07,
        momentum: float = 0.5,
        embedding_size: int = 128,
        **kwargs: Any,
    ):
        super().__init__(teacher_layer_name, student_layer_name, **kwargs)
        check_integer("num_examples", num_examples, minimum=2)
        if num_negatives is None:
            num_negatives = min(16384, num_examples - 1)
        check_integer("num_negatives", num_negatives, minimum=1)
        # Of one number, made a vector of length 1, only the sign would be left.
        check_integer("embedding_size", embedding_size, minimum=2)
        if num_negatives >= num_examples:
            raise ValueError(
                f"`num_negatives` must be below `num_examples`, {num_examples}. "
                f"Received: num_negatives={num_negatives}."
            )
        if not is_number(momentum, (0, 1)) or momentum == 1:
            raise ValueError(f"`momentum` must be from 0 to below 1. Received: {momentum!r}.")
        check_number("temperature", temperature, TEMPERATURES)
        self.num_examples, self.num_negatives = num_examples, num_negatives
        self.temperature, self.momentum = float(temperature), float(momentum)
        self.embedding_size = embedding_size

    def call(self, teacher_outputs: Structure, student_outputs: Structure) -> tf.Tensor:
        return contrastive(
            teacher_scores=teacher_outputs,
            student_scores=student_outputs,
            num_examples=self.num_examples,
        )

    def compute_loss(
        self, teacher_outputs: Structure, student_outputs: Structure, **kwargs: Any
    ) -> tf.Tensor:
        raise ValueError(
            "Contrastive finds images by their index in the training data. Received: features "
            "alone, from keras.distillation. Use keras_kd.Distiller."
        )

    def projector(self, teacher_shape: Shape, student_shape: Shape) -> keras.Layer | None:
        shapes = tuple(teacher_shape), tuple(student_shape)
        if any(len(shape) not in (2, 3, 4) or shape[-1] is None for shape in shapes):
            raise ValueError(
                f"No embedding can be made of these features: teacher {shapes[0]} and student "
                f"{shapes[1]}. Name layers that return [batch, channels], [batch, height, "
                "width, channels] or [batch, time, channels]."
            )
        memory = ContrastiveMemory(
            self.num_examples,
            self.num_negatives,
            self.temperature,
            self.momentum,
            self.embedding_size,
            name=f"{self.name}_memory",
            dtype="float32",
        )
        memory.build(shapes)
        return memory

    def get_config(self) -> Config:
        names = ("num_examples", "num_negatives", "temperature", "momentum", "embedding_size")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
