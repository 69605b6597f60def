"""Distillation without data: a generator makes the images, the teacher judges them."""

import warnings
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import check_integer, check_seed
from keras_kd._common.typing import Config, Structure
from keras_kd.adversarial.alternating import OtherPlayers, descend
from keras_kd.adversarial.generator_loss import (
    ClassBalance,
    Disagreement,
    GeneratorTerm,
    OneHot,
    TotalVariation,
    as_terms,
    check_batch_size,
)
from keras_kd.adversarial.networks import generator as build_generator
from keras_kd.adversarial.replay import ReplayPool
from keras_kd.adversarial.watch import RarestClass
from keras_kd.distillers.batch import Batch
from keras_kd.distillers.checks import check_one_output
from keras_kd.distillers.distiller import Distiller
from keras_kd.losses import SoftTargets
from keras_kd.teachers.elsewhere import runs_in_tensorflow
from keras_kd.teachers.ensemble import TeacherLike
from keras_kd.teachers.outputs import TeacherOutputs

# Added to the seed of what is only looked at.
_HELD_OUT = 1_000_003


@keras.saving.register_keras_serializable(package="keras_kd")
class DataFreeDistiller(OtherPlayers, Distiller):
    """Trains a student from a teacher alone: a generator makes the images, in turns with it.

        one step:  the generator moves once:    sum_i weight_i * term_i(teacher, student)
                   the student moves k times:   distillation_loss(teacher, student)

    The default is a hybrid of the published methods, meant not to collapse nor to diverge where
    they did: images of all classes (`ClassBalance`), of which the teacher is sure (`OneHot`), on
    which the student does not follow it yet (`Disagreement`, bounded), drawn in strokes and
    surfaces rather than in dots (`TotalVariation`); several student steps on one of the generator,
    on images drawn from the last ones made. The published methods are settings of it:

        DAFL  generator_loss=[OneHot(1.0), ClassBalance(5 / ln 10), Activation(0.1, ...)],
              student_steps=1, replay=1
        DFAD  generator_loss=[Disagreement(distance=LogitDistance(), bounded=False)],
              distillation_loss=LogitDistance(), student_steps=5, replay=0
        ZSKT  generator_loss=[Disagreement(bounded=False)],
              distillation_loss=[SoftTargets(1.0), AttentionTransfer(...)], student_steps=10,
              replay=1

    There is no training data: `fit` is told how many steps an epoch has. Real data can be given
    as `validation_data`, for reports; nothing is learned from it. `fit` reports `loss` and
    `distillation_loss` of the student, `generator_loss` and each of its terms, and three figures
    to watch: `agreement` of student and teacher on new images before the student learns from
    them, `rarest_class`, the share of new images that the teacher takes for the class it sees
    least, and `diversity`, the standard deviation of the teacher's logits over a batch. See
    `CollapseWatch`, which acts on them.

    The noise is a function of `seed` and the number of steps taken, and the replayed images are
    saved: an interrupted run goes on to the bit. (From the same seed XLA draws other noise. On a
    CPU its convolutions are also many times slower: leave `jit_compile` as it is.)

    Args:
        student: as in `Distiller`.
        teacher: a model or a `Teacher`; no ensemble, and of the student's classes in their order.
        generator: from `latents` `[batch, latent_size]` to images; by default the one of
            `adversarial.generator` for the student's images, with the mean and deviation of the
            pixels that the teacher's own normalisation tells.
        generator_loss: a list of terms: `OneHot`, `ClassBalance`, `Activation`, `Disagreement`,
            `BatchStatistics`, `TotalVariation`, each with its weight. Not asked if the generator
            has nothing to learn (`adversarial.gaussian_noise`, the control).
        student_steps: k, steps of the student on one of the generator, which costs more than all
            of them.
        replay: how many of the last batches the student's steps draw from, the newest always
            first; 1 for the newest alone. 0 makes new images for each step, which costs a pass
            of the generator each.
        batch_size: images a step. Small ones cannot be balanced: 128 is little, the papers have
            256 to 1024.
        distillation_loss: as in `Distiller`; `SoftTargets(1.0)` by default.
        distillation_loss_weights: as in `Distiller`.
        seed: integer that the noise depends on.
        name: name of the model.

    Raises:
        ValueError: if the parts do not fit each other, all weights are zero, or the teacher has
            no layer that a term needs.

    Example:

    ```python
    import keras_kd as kd

    teacher = kd.models.conv_net([8], image_shape=(8, 8, 1))  # Trained, in earnest.
    student = kd.models.conv_net([4], image_shape=(8, 8, 1))
    distiller = kd.adversarial.DataFreeDistiller(student=student, teacher=teacher, batch_size=40)
    distiller.compile("adam", generator_optimizer="adam")
    distiller.fit(epochs=1, steps_per_epoch=2, verbose=0)
    ```

    References:
        H. Chen et al., Data-Free Learning of Student Networks, 2019 (DAFL), algorithm 1;
        G. Fang et al., Data-Free Adversarial Distillation, 2019 (DFAD), algorithm 1;
        H. Yin et al., Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion, 2020,
        equation 3 (total variation);
        P. Micaelli, A. Storkey, Zero-shot Knowledge Transfer via Adversarial Belief Matching,
        2019 (ZSKT), algorithm 1.
    """

    _config_parts = ("student", "distillation_loss", "generator", "generator_loss")

    def __init__(
        self,
        *,
        student: keras.Model,
        teacher: TeacherLike | None = None,
        generator: keras.Model | None = None,
        generator_loss: Sequence[GeneratorTerm] | None = None,
        student_steps: int = 10,
        replay: int = 50,
        batch_size: int = 128,
        distillation_loss: Structure | None = None,
        distillation_loss_weights: Structure | None = None,
        seed: int = 0,
        name: str = "data_free_distiller",
    ):
        check_integer("student_steps", student_steps, minimum=1)
        check_integer("replay", replay, minimum=0)
        check_integer("batch_size", batch_size, minimum=1)
        check_seed(seed)
        check_one_output(type(self).__name__, student)
        terms = [OneHot(1.0), ClassBalance(5.0), Disagreement(1.0), TotalVariation(1.0)]
        terms = as_terms(terms if generator_loss is None else generator_loss)
        super().__init__(
            student=student,
            distillation_loss=distillation_loss or SoftTargets(1.0),
            distillation_loss_weights=distillation_loss_weights,
            alpha=1.0,
            name=name,
        )
        if generator is None:
            pixels = pixel_statistics(teacher)
            generator = build_generator(_image_shape(student), **pixels)
        _check_generator(generator, student)
        _check_classifier(student)
        self.generator, self.generator_loss = generator, terms
        self.student_steps, self.replay = student_steps, replay
        self.batch_size, self.seed = batch_size, seed
        self.replay_pool = ReplayPool(
            max(replay, 1),
            batch_size=batch_size,
            image_shape=generator.output_shape[1:],
            num_classes=student.output_shape[-1],
        )
        # TensorFlow keeps an int32 variable on the processor, where a step that XLA compiled for
        # a GPU cannot read it.
        self.num_steps = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="num_steps"
        )
        names = ["agreement", "diversity"]
        if self._generator_learns():
            names += ["generator_loss", *(term.name for term in terms)]
        self._trackers += [keras.metrics.Mean(name=name) for name in names]
        self.rarest_class = RarestClass(student.output_shape[-1])
        self._trackers.append(self.rarest_class)
        if teacher is not None:
            self.attach_teacher(teacher)

    def attach_teacher(self, teacher: TeacherLike, *, examples: Structure | None = None) -> None:
        """Give the distiller its teacher; see `Distiller.attach_teacher`."""
        super().attach_teacher(teacher, examples=examples)
        if len(self.teacher.models) > 1 or self.teacher.class_maps:
            self.teacher = None
            raise ValueError(
                "A generator learns from one teacher with the student's classes. Received: an "
                "ensemble or a class_map. Distil from one of them."
            )
        if not runs_in_tensorflow(self.teacher.model):
            name, self.teacher = self.teacher.model.name, None
            raise ValueError(
                "A generator learns from its teacher's gradient. Received: the teacher "
                f"{name}, which has none: it is asked outside TensorFlow. Take a Keras model or a "
                "SavedModel."
            )
        self._batch_norm_layers()  # Says what is missing before the first step.
        for layer_name in self._generator_layers():
            self.teacher.feature_shape(layer_name)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: Structure = None,
        metrics: Structure = None,
        *,
        generator_optimizer: str | keras.optimizers.Optimizer = "adam",
        **kwargs: Any,
    ) -> Self:
        """Configure the training; see `Distiller.compile`.

        Args:
            optimizer: the student's.
            loss: the loss on the labels of real data, if any are given for reports.
            metrics: on real data, likewise.
            generator_optimizer: the generator's own, with its own learning rate.
            **kwargs: the other arguments of `keras.Model.compile`.
        """
        super().compile(optimizer, loss, metrics, **kwargs)
        self.compile_players(generator_optimizer=generator_optimizer)
        return self

    def players(self) -> dict[str, list[keras.Variable]]:
        variables = self.generator.trainable_variables
        return {"generator_optimizer": variables} if variables else {}

    def fit(
        self,
        x: Structure = None,
        y: Structure = None,
        *,
        epochs: int = 1,
        steps_per_epoch: int = 100,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train for `epochs` of `steps_per_epoch` steps; see `keras.Model.fit`.

        Args:
            x: left out, the images are made here.
            y: left out too.
            epochs: as in Keras.
            steps_per_epoch: steps of the generator after which there are logs and callbacks.
            **kwargs: the other arguments of `keras.Model.fit`; `validation_data` may hold real
                images and labels, for reports.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: if there is data, or more than one replica.
        """
        self.check_compiled("fit")
        if x is not None:
            raise ValueError(
                f"{type(self).__name__} makes its own images. Received: `x` of type "
                f"{type(x).__name__}. Pass real data as `validation_data`, for reports."
            )
        if tf.distribute.has_strategy() or self.distribute_strategy.num_replicas_in_sync > 1:
            # Class balance and replay are over the whole batch, which no replica sees.
            raise ValueError(
                f"{type(self).__name__} trains on one device. Received: a distribution strategy."
            )
        if text := check_batch_size(
            self.generator_loss, self.batch_size, self.student.output_shape[-1]
        ):
            warnings.warn(text, stacklevel=2)
        # Keras counts the steps by their data; these are their numbers.
        steps = tf.data.Dataset.range(steps_per_epoch)
        return super().fit(steps, epochs=epochs, shuffle=False, **kwargs)

    def train_step(self, data: Structure) -> dict[str, tf.Tensor]:
        with self.in_its_precision():
            return self._play()

    def _play(self):
        """Let the generator take its step, and the student its several."""
        if self._generator_learns():
            synthetic_images, teacher_logits, losses = self._generator_step()
        else:
            synthetic_images, losses = self.generator(self._latents(0)), {}
            teacher_logits = self.teacher(synthetic_images)
        self.replay_pool.put(self._step(), synthetic_images, teacher_logits)
        by_step = [self._student_step(number) for number in range(self.student_steps)]
        self.num_steps.assign_add(1)
        losses |= {name: ops.mean([step[name] for step in by_step]) for name in by_step[0]}
        # The figures to watch are about images that the student has not learned from.
        losses |= {name: by_step[0][name] for name in ("agreement", "diversity")}
        return {
            **self.logs_of(Batch(None), teacher_logits, losses),
            "rarest_class": self.rarest_class.result(),
        }

    def held_out_latents(self, count: int, number: int) -> tf.Tensor:
        """Return noise that is never trained on: `[count, latent_size]`, a function of `number`.

        Args:
            count: how many vectors.
            number: integer; other numbers give other noise.
        """
        shape = (count, self.generator.input_shape[-1])
        return _noise(shape, [self.seed + _HELD_OUT, number])

    def losses_in_logs(self) -> set[str]:
        return super().losses_in_logs() - {"agreement", "diversity", "rarest_class"}

    def get_config(self) -> Config:
        config = super().get_config()
        del config["alpha"]
        serialize = keras.saving.serialize_keras_object
        return {
            **config,
            "generator": serialize(self.generator),
            "generator_loss": [serialize(term) for term in self.generator_loss],
            "student_steps": self.student_steps,
            "replay": self.replay,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }

    def _generator_learns(self):
        return bool(self.generator.trainable_variables)

    def _generator_layers(self):
        """Return the layers of the teacher that the generator's loss looks at."""
        named = [term.teacher_layer_name for term in self.generator_loss]
        return (*dict.fromkeys(name for name in named if name), *self._batch_norm_layers())

    def _batch_norm_layers(self):
        """Return the teacher's BatchNorm layers by the name of what enters them."""
        if not any(term.asks_batch_norm for term in self.generator_loss):
            return {}
        return {f"{path}:input": layer for path, layer in batch_norm_layers(self.teacher.model)}

    def _generator_step(self):
        """Move the generator once; return its images, the teacher's logits, and its losses."""
        layers = self._generator_layers()
        asks_student = any(term.asks_student for term in self.generator_loss)

        def loss():
            images = self.generator(self._latents(0), training=True)
            said = self.teacher.ask_with_gradient(images, layers)
            (logits,) = said.outputs.values()
            normalised = [
                (layer, said.features[name]) for name, layer in self._batch_norm_layers().items()
            ]
            teacher = {"logits": logits, "images": images, "batch_norm": normalised}
            teacher |= said.features
            student = {"logits": self(images, training=True)} if asks_student else None
            values = {term.name: term.call(teacher, student) for term in self.generator_loss}
            weighted = [self._weight_now(term) * values[term.name] for term in self.generator_loss]
            total = ops.sum([*weighted, *(ops.sum(each) for each in self.generator.losses)])
            return total, images, teacher["logits"], {"generator_loss": total, **values}

        _, images, teacher_logits, losses = descend(
            loss,
            variables=self.generator.trainable_variables,
            optimizer=self.generator_optimizer,
        )
        return images, teacher_logits, losses

    def _weight_now(self, term):
        if isinstance(term.weight, keras.optimizers.schedules.LearningRateSchedule):
            return term.weight(self.generator_optimizer.iterations)
        return term.weight

    def _step(self):
        """Return how many steps were taken, as int32, as which it goes into seeds."""
        return ops.cast(self.num_steps, "int32")

    def _latents(self, number):
        """Return the noise for pass `number` of this step."""
        # A function of the seed and the step, so that a resumed run sees what it would have seen.
        step = self._step() * (self.student_steps + 1) + number
        shape = (self.batch_size, self.generator.input_shape[-1])
        return _noise(shape, tf.stack([self.seed, step]))

    def _recall(self, number):
        """Return the images of a student step and what the teacher says of them."""
        if self.replay == 0:
            images = self.generator(self._latents(1 + number), training=True)
            return images, self.ask_teacher(images)
        step = self._step()
        batches_back = 0
        if number > 0 and self.replay > 1:
            draws = step * self.student_steps + number
            stored = tf.minimum(step + 1, self.replay)
            batches_back = tf.random.stateless_uniform([], [self.seed, draws], 0, stored, tf.int32)
        images, logits = self.replay_pool.batch(step - batches_back)
        if self.teacher_layers():
            return images, self.ask_teacher(images)
        # The teacher has answered already: it sees each image once.
        return images, TeacherOutputs({self.teacher.output_names[0]: logits})

    def _student_step(self, number):
        """Move the student once; return its losses, and what to watch about its images."""
        images, asked = self._recall(number)
        teacher, (name,) = self.said(asked), self.parts.names
        logits = teacher.outputs[name]

        def loss():
            student_logits, losses = self.objective(Batch(images), teacher)
            losses["loss"] = self.regularized(losses["loss"], self.student)
            return losses["loss"], losses, student_logits

        _, losses, student_logits = descend(
            loss, variables=self.trainable_variables, optimizer=self.optimizer
        )
        predicted = ops.argmax(logits, axis=-1)
        if number == 0:
            self.rarest_class.update_state(predicted)
        follows = ops.cast(ops.argmax(student_logits, axis=-1) == predicted, "float32")
        diversity = ops.mean(ops.std(logits, axis=0))
        return {**losses, "agreement": ops.mean(follows), "diversity": diversity}


def _noise(shape, seed):
    return tf.random.stateless_normal(shape, seed)


def pixel_statistics(teacher):
    """Return the mean and deviation of the pixels that a teacher standardises, if it tells them.

    A model that holds `Rescaling(1 / (255 * std), offset=-mean / std)` was trained on pixels of
    that mean and standard deviation.

    Args:
        teacher: a `keras.Model` or a `Teacher`.

    Returns:
        A dict of `pixel_mean` and `pixel_std`, as shares of 255; `0.3` for both if the teacher
        does not standardise.
    """
    model = getattr(teacher, "model", None) or teacher
    for layer in getattr(model, "layers", []):
        if isinstance(layer, keras.layers.Rescaling):
            scale, offset = np.mean(layer.scale), np.mean(layer.offset)
            if offset != 0:
                return {
                    "pixel_mean": float(-offset / scale / 255),
                    "pixel_std": float(1 / scale / 255),
                }
    return {"pixel_mean": 0.3, "pixel_std": 0.3}


def batch_norm_layers(model):
    """Return `(path, layer)` of every BatchNorm layer of a model, nested ones included.

    Raises:
        ValueError: if there is none.
    """
    found = list(_batch_norm_layers(model))
    if not found:
        raise ValueError(
            f"BatchStatistics needs a teacher with BatchNorm layers. Received: {model.name}, which "
            "has none. Leave that term out."
        )
    return found


def _batch_norm_layers(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            yield layer.name, layer
        elif isinstance(layer, keras.Model):
            yield from ((f"{layer.name}/{path}", each) for path, each in _batch_norm_layers(layer))


def _image_shape(student):
    if not getattr(student, "inputs", None):
        raise ValueError(
            f"The student {student.name} does not know the shape of its images. Begin it with a "
            "keras.Input, or pass a `generator`."
        )
    return tuple(student.inputs[0].shape)[1:]


def _check_classifier(student):
    shape = tuple(student.output_shape)
    if len(shape) != 2:
        raise ValueError(
            "A DataFreeDistiller makes images of one class each, for logits (batch, classes). "
            f"Received: a student that returns {shape}. Distil it from data, with a Distiller."
        )


def _check_generator(generator, student):
    made, taken = tuple(generator.output_shape)[1:], _image_shape(student)
    if made != taken:
        raise ValueError(
            f"The generator must make the student's images. Received: {made} and {taken}. "
            f"Build it with `image_shape={taken}`."
        )
