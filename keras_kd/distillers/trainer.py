"""Keras's `compile`, `fit`, `evaluate` and their kin, for a model that trains a student."""

import dataclasses
import inspect
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.backend import (
    apply_gradients,
    is_distributed,
    num_replicas,
    on_gpu,
    xla_by_default,
)
from keras_kd._common.structures import part_for
from keras_kd._common.typing import Config, PathLike, Structure
from keras_kd.data.minibatches import Stack
from keras_kd.distillers.batch import Batch
from keras_kd.distillers.checks import check_distribution, check_words
from keras_kd.distillers.fitting import (
    Given,
    build_variables,
    check_labels,
    check_validation_labels,
    given,
    labels_alone,
    warn_of_weights,
    with_soft_labels,
)
from keras_kd.distillers.guard import FiniteGuard
from keras_kd.distillers.hard_losses import (
    hard_losses_of,
    measured,
    on_binary_logits,
    weights_of,
    with_placeholders,
)
from keras_kd.distillers.objective import Objective, sum_of
from keras_kd.distillers.precision import computing_in, policy_for, scaled
from keras_kd.distillers.stacks import stacked, train_on_stack
from keras_kd.distillers.terms import LOSS_NAMES
from keras_kd.distillers.watching import as_list, with_watch
from keras_kd.distillers.xla import are_known_metrics, is_known, is_known_optimizer
from keras_kd.teachers.elsewhere import runs_in_tensorflow
from keras_kd.teachers.outputs import TeacherOutputs

_FIT = inspect.signature(keras.Model.fit)


class Trainer(keras.Model):
    """A model that trains a student by steps that a subclass defines; see `Distiller`.

    Here is what Keras calls: what `compile` is told, how `fit` lays out its data, what a step does
    beside its losses. What is learned, and of whom, a subclass says.

    Args:
        student: the `keras.Model`.
        parts: the `Objective`, before `compile`.
        name: name of the model.
    """

    # Whether every loss is scaled by the optimizer that float16 needs.
    trains_in_float16 = True

    def __init__(self, student: keras.Model, parts: Objective, *, name: str):
        # The student's policy decides whether Keras scales the loss for mixed_float16.
        super().__init__(name=name, dtype=student.dtype_policy)
        self.student = student
        self.parts = parts
        # What Keras prefixes metrics with.
        self.output_names = list(parts.names) if len(parts.names) > 1 else None
        self.teacher = None
        # The teacher's output for each of the student's.
        self._pairs = {}
        # Keras adds the tracker of `loss` itself when the model is compiled.
        self._trackers = [keras.metrics.Mean(name=name) for name in parts.names_in_logs()]
        # What `compile` is told beside the losses.
        self._policy, self._policy_reason, self._said_precision = None, None, False
        self._own_choices = {}
        # Whether XLA is known to compute what `compile` was given as metrics.
        self._metrics_are_known = False
        # The outputs that have compiled metrics.
        self._measured = []
        self.guard = FiniteGuard()

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: Structure = None,
        metrics: Structure = None,
        *,
        loss_weights: Structure = None,
        steps_per_execution: int | None = None,
        jit_compile: bool | str | None = None,
        precision: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Configure the training, as `keras.Model.compile` does, and return the distiller.

        Args:
            optimizer: as in Keras; Adam by default.
            loss: the hard-label loss: a `keras.losses.Loss`, a function `(labels, logits)`, or a
                name. Names and Keras's functions are taken on logits, since the student returns
                them. `None` is cross-entropy with integer, one-hot or soft labels, of which -1
                stands for no label; `BinaryCrossEntropy` beside `BinarySoftTargets` or a teacher
                that ends in sigmoid; mean squared error on values. Of several outputs a dict by
                name or a list in order, `None` for one without labels; an output without a
                distillation loss takes its loss as Keras does.
            metrics: as in Keras. Where binary cross-entropy is the default, `"accuracy"` and
                `"binary_accuracy"` count labels whose logit is on the right side of 0.
            loss_weights: as in Keras; each weighs an output's hard and distillation loss alike.
            steps_per_execution: as in Keras; if `None`, `fit` stacks minibatches where it can.
            jit_compile: as in Keras; if `None`, XLA is used where it pays.
            precision: what training steps compute in: `"mixed"` for what the device is fast in
                (float16 on a GPU, bfloat16 on a processor that has it), or `"mixed_float16"`,
                `"mixed_bfloat16"`, `"float32"`; `None` for the models' own. Weights, logits and
                losses stay float32, and so does the student outside of training.
            **kwargs: the other arguments of `keras.Model.compile`.

        Raises:
            ValueError: if `loss` is a loss on probabilities, nothing is left to learn,
                `precision` is none of these, or `jit_compile` would be of a teacher that runs
                outside TensorFlow.
        """
        check_words("compile", kwargs)
        heads = self.heads()
        hard_losses = hard_losses_of(loss, heads)
        self.parts = dataclasses.replace(
            self.parts,
            hard_losses=hard_losses,
            loss_weights=weights_of(loss_weights, self.parts.names),
        )
        self.parts.check()
        if metrics:
            metrics = on_binary_logits(metrics, heads)
        both = [metrics, kwargs.get("weighted_metrics")]
        self._metrics_are_known = are_known_metrics(both)
        self._measured = [name for each in both for name in measured(each, self.parts.names)]
        self._policy, self._said_precision = None, False
        if precision is not None:
            self._policy, self._policy_reason = policy_for(
                precision, on_gpu=on_gpu(), float16=self.trains_in_float16
            )
            if self._policy == "mixed_float16":
                optimizer = scaled(optimizer)
        super().compile(
            optimizer=optimizer,
            loss=self.hard_loss,
            loss_weights=loss_weights,
            metrics=metrics,
            steps_per_execution=steps_per_execution or 1,
            jit_compile=self._jit_of(jit_compile),
            **kwargs,
        )
        self._own_choices = {
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            "precision": precision,
        }
        return self

    def _jit_of(self, jit_compile):
        """Return `jit_compile` for Keras, which XLA must be able to follow."""
        asked = self.teacher is not None and self.soft_labels is None
        models = self.teacher.models if asked else []
        outside = [model.name for model in models if not runs_in_tensorflow(model)]
        if outside and jit_compile is True:
            raise ValueError(
                "XLA cannot ask a teacher outside TensorFlow. Received: jit_compile=True and the "
                f"teacher {outside[0]}. Leave it out, or let the teacher be asked once: "
                "`Distiller(..., soft_labels=folder)`."
            )
        if outside:
            return False
        return xla_by_default() if jit_compile is None else jit_compile

    @property
    def hard_loss(self) -> Any:
        """The hard-label loss; a dict by output of a student of several."""
        losses = self.parts.hard_losses
        return losses if len(losses) > 1 else losses[self.parts.names[0]]

    def heads(self) -> dict[str, str | None]:
        """Return what each output of the student is; `None` if no distillation loss is on it."""
        heads = {} if self.teacher is None else self.teacher.heads
        return self.parts.heads(heads, self._pairs)

    def get_compile_config(self) -> Config:
        return {**super().get_compile_config(), **self._own_choices}

    def compile_from_config(self, config: Config) -> None:
        # Keras does these two lines for a model whose `compile` is its own.
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Structure = None,
        y: Structure = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train, as `keras.Model.fit` does, several minibatches in one compiled step.

        The fast path is taken for arrays, or a dict, list or tuple of arrays for models of several
        inputs or outputs, and for data sets that `Split.batches` made, unless
        `compile` was given `steps_per_execution` or `run_eagerly`, or `fit` something that it
        does not serve (class or sample weights, `steps_per_epoch`, `validation_split`). The
        updates, the epochs and what callbacks see are those of the plain path: where a callback
        overrides a batch hook, it sees every minibatch. A loss on logits asks the teacher about
        images in memory once, before the first epoch, if its logits take less than 128 MB. Any
        other data set is left as it is.

        Raises:
            ValueError: if a label in memory is none that the losses can learn, or the teacher's
                logits for an image or a batch are not finite; nothing is trained on it.
        """
        self.check_compiled("fit")
        check_distribution(self.distribute_strategy, "fit")
        # What comes after `callbacks`, in Keras's order.
        kwargs = dict([*_FIT.bind(*[None] * 7, *args, **kwargs).arguments.items()][7:])
        if self._metrics_await_labels():
            self.train_function = None
        data = self.laid_out(given(x, y, {**kwargs, "batch_size": batch_size}), verbose)
        live, stacks, watching = self.parts.live, None, as_list(callbacks)
        if self.may_stack() and data.minibatches is not None:
            stacks = stacked(data.minibatches, [self], epochs, watching, bool(verbose))
            data = data.as_dataset(stacks.data)
        elif live.uses_index():
            # One by one, but with the index, which a plain minibatch has not.
            data = data.as_dataset(data.minibatches.stacks(1, gathered=True))
        self.prepare_for(data.x)
        self.say_precision(verbose)
        one_by_one = getattr(data.x, "minibatches", None)
        history = super().fit(
            data.x,
            data.y,
            epochs=epochs,
            verbose=verbose,
            callbacks=with_watch(callbacks, self.losses_in_logs(), stacks, verbose, one_by_one),
            **data.options,
        )
        warn_of_weights(self)
        return history

    def laid_out(self, data: Given, verbose: str | int) -> Given:
        """Return what `fit` was given, checked, with the stored answers that it learns from.

        Args:
            data: `Given`.
            verbose: as in `keras.Model.fit`.

        Raises:
            ValueError: as `fit` does.
        """
        check_labels(self, data.x, data.y)
        check_validation_labels([self], data.options.get("validation_data"))
        live = self.parts.live
        if self.soft_labels is not None and live.terms:
            data = with_soft_labels(
                data, self.soft_labels, live, self.teacher, verbose=bool(verbose)
            )
        live.check_batch_size(data.batch_size, self._student_shapes)
        if live.uses_index():
            with self.distribute_strategy.scope():
                live.check_examples(data.minibatches)
        return data

    def _metrics_await_labels(self):
        # A step that was traced before the metrics had seen labels may make no variables for them
        # and is traced again. Each method forgets its own: `fit` runs `evaluate` in its midst.
        return not all(getattr(metric, "built", True) for metric in super().metrics)

    @property
    def metrics(self) -> list[keras.Metric]:
        # Compiled metrics that have seen no labels yet are not built, and have no result.
        ready = [metric for metric in super().metrics if getattr(metric, "built", True)]
        # The losses first, as in Keras: `loss, hard_loss, accuracy = distiller.evaluate(...)`.
        return sorted(ready, key=lambda metric: metric.name not in LOSS_NAMES)

    def call(self, inputs: Structure, training: bool | None = None) -> tf.Tensor:
        return self.student(part_for(self.student, inputs), training=training)

    def check_compiled(self, method: str) -> None:
        """Refuse to start what needs an optimizer and metrics.

        Args:
            method: what was called.

        Raises:
            ValueError: if `compile` was not called before.
        """
        if not self.compiled:
            raise ValueError(
                f"`{method}` needs a compiled distiller. Received: {self.name}, which is not. Call "
                "`distiller.compile(...)` before."
            )

    def losses_in_logs(self) -> set[str]:
        """Return the names in the logs of what is better when it is less."""
        return {"loss", *(tracker.name for tracker in self._trackers)}

    def evaluate(self, x: Structure = None, y: Structure = None, *args: Any, **kwargs: Any) -> Any:
        """Report what labels tell of the student; see `keras.Model.evaluate`.

        Without labels, the distillation loss. `loss` is `hard_loss` (or else
        `distillation_loss`) and the student's regularisers.
        """
        self.check_compiled("evaluate")
        check_distribution(self.distribute_strategy, "evaluate")
        if (y is not None or not hasattr(x, "shape")) and self._metrics_await_labels():
            self.test_function = None
        return super().evaluate(x, labels_alone(y), *args, **kwargs)

    def test_on_batch(self, x: Structure, y: Structure = None, *args: Any, **kwargs: Any) -> Any:
        self.check_compiled("test_on_batch")
        if y is not None and self._metrics_await_labels():
            self.test_function = None
        return super().test_on_batch(x, y, *args, **kwargs)

    def export(
        self, filepath: PathLike, format: str = "tf_saved_model", *args: Any, **kwargs: Any
    ) -> Any:
        """Export the student, as `keras.Model.export` does.

        `keras_kd.export` writes files that are run and compared with the student before they are
        kept.

        Args:
            filepath: a folder, or a file for formats that are one.
            format: as in `keras.Model.export`.
            *args, **kwargs: the other arguments of `keras.Model.export`.
        """
        return self.student.export(filepath, format, *args, **kwargs)

    def train_on_batch(self, x: Structure, y: Structure = None, *args: Any, **kwargs: Any) -> Any:
        self.check_compiled("train_on_batch")
        if y is not None and self._metrics_await_labels():
            self.train_function = None
        logs = super().train_on_batch(x, y, *args, **kwargs)
        self.raise_if_teacher_failed(int(self.optimizer.iterations.numpy()))
        return logs

    def train_step(self, data: Structure) -> dict[str, tf.Tensor]:
        with self.in_its_precision():
            if isinstance(data, Stack):
                (logs,) = train_on_stack([self], data)
                return logs
            return self.train_on_minibatch(data)

    @property
    def precision(self) -> str | None:
        """Name of the policy that training steps compute in; `None` for the models' own."""
        return self._policy

    def in_its_precision(self) -> AbstractContextManager[None]:
        """Return a context in which the models of a training step compute as `compile` was told."""
        return computing_in(self._policy, self.models_in_step(teacher=True))

    def say_precision(self, verbose: str | int) -> None:
        """Print, the first time, what training steps compute in, if `compile` was told."""
        if self._policy is not None and verbose and not self._said_precision:
            print(f"Precision: {self._policy} ({self._policy_reason}); weights, losses: float32")
            self._said_precision = True

    def optimizers(self) -> list[keras.optimizers.Optimizer]:
        """Return the optimizer of each player, the student's first."""
        return [self.optimizer]

    def models_in_step(self, *, teacher: bool) -> list[keras.Model]:
        """Return every model that runs in a training step, with the teacher or without."""
        live = self.teacher.models if teacher and self.teacher is not None else []
        return [self.student, *live]

    def may_stack(self) -> bool:
        """Return whether training steps are Keras's and ours alone, on one device."""
        with self.distribute_strategy.scope():
            distributed = is_distributed()
        return (
            self.compiled
            and self._own_choices["steps_per_execution"] is None
            and not self.run_eagerly
            and type(self).train_step is Trainer.train_step
            and not distributed
        )

    def may_use_xla(self, models: Sequence[keras.Model]) -> bool:
        """Return whether XLA computes a step through these models as TensorFlow does.

        Args:
            models: what `models_in_step` returned.
        """
        if on_gpu() or self._own_choices["jit_compile"] is not None:
            return False  # What Keras or the user chose stands.
        asked = self.teacher is not None and any(each in models for each in self.teacher.models)
        hard_losses = [self.parts.hard_losses[name] for name in self.parts.labelled()]
        return (
            self._metrics_are_known
            and not (asked and self.teacher.preprocess is not None)
            and all(map(is_known_optimizer, self.optimizers()))
            and is_known(
                models=models,
                losses=[*hard_losses, *self.parts.terms.losses.values()],
                others=[self, *self.parts.alphas.values()],
            )
        )

    def prepare_for(self, data: Structure) -> None:
        """Make the variables of optimizer and metrics: Keras would do it from the first stack."""
        self.guard.reset()
        with self.distribute_strategy.scope():
            build_variables(self, data)

    def raise_if_teacher_failed(self, since: int = 0) -> None:
        """Raise if the teacher's outputs were not finite in a training step.

        Args:
            since: the optimizer's step that batches are counted from.
        """
        self.guard.raise_if_failed(since)

    def regularized(self, loss: Structure, model: keras.Model | None = None) -> tf.Tensor:
        """Return a loss and the regularisers of a model, by default of all that is trained."""
        # Keras's optimizer sums gradients over replicas; the other losses are divided already.
        terms = [ops.sum(term) / num_replicas() for term in (model or self).losses]
        return sum_of([loss, *terms])

    def descend(
        self, tape: tf.GradientTape, scaled_loss: tf.Tensor, teacher: TeacherOutputs | None = None
    ) -> None:
        """Move the weights down a loss, unless the teacher's outputs are or were not finite.

        Args:
            tape: that saw the loss.
            scaled_loss: what the optimizer's `scale_loss` returned.
            teacher: `TeacherOutputs`, or `None`.
        """
        if not self.trainable_variables:
            warnings.warn("The distiller does not have any trainable weights.", stacklevel=2)
            return
        gradients = tape.gradient(scaled_loss, self.trainable_variables)

        def apply():
            pairs = zip(gradients, self.trainable_variables, strict=True)
            apply_gradients(self.optimizer, pairs)

        self.guard.update(apply, teacher, self.optimizer.iterations)

    def measure(self, batch: Batch, outputs: Structure) -> dict[str, Any]:
        """Update the compiled metrics, and return the results of all.

        Args:
            batch: a `Batch`.
            outputs: as the student returned them.
        """
        labels, names = batch.labels, self.parts.names
        if len(names) > 1:
            labels = with_placeholders(labels, outputs, names, self._measured)
        return self.compute_metrics(batch.inputs, labels, outputs, batch.sample_weight)

    def logs_of(
        self, batch: Batch, outputs: Structure, losses: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Update the trackers and the compiled metrics; return the results that this step has.

        Args:
            batch: a `Batch`.
            outputs: as the student returned them.
            losses: scalars by their names.
        """
        batch_size = ops.shape(keras.tree.flatten(outputs)[0])[0]
        for metric in self.metrics:
            if metric.name in losses:
                metric.update_state(losses[metric.name] * num_replicas(), batch_size)
        if batch.labels is None:  # The compiled metrics have nothing to compare with.
            return {m.name: m.result() for m in self.metrics if m.name in losses}
        logs = self.measure(batch, outputs)
        trackers = {"loss", *(tracker.name for tracker in self._trackers)}
        return {name: logs[name] for name in logs if name in losses or name not in trackers}
