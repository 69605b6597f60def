"""The distiller: a `keras.Model` that trains its student from a teacher."""

import dataclasses
import inspect
import warnings

import keras
import tensorflow as tf
from keras import ops

from keras_kd._common.backend import num_replicas, on_gpu
from keras_kd._common.structures import by_name, output_names, part_for
from keras_kd.data.minibatches import Stack
from keras_kd.distillers.batch import StudentOutputs, batch_of
from keras_kd.distillers.checks import (
    answers_of,
    check_alpha,
    check_answers,
    check_by_name,
    check_distribution,
    check_fit,
    check_stored,
    check_student,
    check_words,
    pairs_of,
    shape_of,
    shapes_of,
    teacher_for,
)
from keras_kd.distillers.fitting import (
    build_variables,
    check_labels,
    check_validation_labels,
    given,
    labels_alone,
    with_soft_labels,
)
from keras_kd.distillers.hard_losses import (
    default_hard_losses,
    hard_losses_of,
    on_binary_logits,
    weights_of,
)
from keras_kd.distillers.objective import Objective, sum_of
from keras_kd.distillers.precision import computing_in, policy_for, scaled
from keras_kd.distillers.stacks import NOT_FINITE, ask_teacher, stacked, train_on_stack
from keras_kd.distillers.terms import LOSS_NAMES, DistillationTerms
from keras_kd.distillers.watching import as_list, with_watch
from keras_kd.distillers.xla import are_known_metrics, is_known, is_known_optimizer
from keras_kd.losses import SoftTargets
from keras_kd.losses.lookup import get_each
from keras_kd.teachers.features import feature_model
from keras_kd.teachers.outputs import TeacherOutputs

_FIT = inspect.signature(keras.Model.fit)


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(keras.Model):
    """Trains a student from the labels and from what a frozen teacher says of the same inputs.

        loss = alpha * distillation_loss + (1 - alpha) * hard_loss + the student's regularisers
        distillation_loss = sum of weight * loss over the distillation losses, usually one

    It is compiled, fitted, saved and loaded like any Keras model; it predicts with the student
    alone, and what is trained is `distiller.student`. Inputs are whatever `keras.Model.fit` takes;
    of a dict, student and teacher each take what they have inputs for. Sample weights, class
    weights, masks, mixed precision, `jit_compile`, `steps_per_execution`, `run_eagerly` and
    gradient accumulation work as they do in `keras.Model`.

    A student may have several outputs. Then `distillation_loss` and `alpha` go by the name of the
    output, as Keras's `loss`, `loss_weights` and `metrics` do, and the loss above is summed over
    the outputs, each with its `loss_weights`. An output without a distillation loss learns from
    labels alone, one without a hard loss from the teacher alone.

    The teacher runs outside the gradient tape, once for each example that lies in memory, else
    once a training step, and never in `predict`. It is not tracked: checkpoints,
    `restore_best_weights` and saved files hold the student and the optimizer. After loading,
    attach it again with `attach_teacher`.

    `fit` reports `loss`, `hard_loss` (unless alpha is 1), `distillation_loss` (unless it is 0)
    and the compiled metrics; of several outputs `{output}_loss` and `{output}_distillation_loss`
    as well. `evaluate` leaves the teacher alone and reports what labels tell:
    `hard_loss`, the metrics, and `loss`, which is `hard_loss` and the student's regularisers; so
    Keras's callbacks find the `val_loss` that they watch. Given inputs without labels it asks the
    teacher, and `distillation_loss` takes the place of `hard_loss`.

    Args:
        student: a built `keras.Model` that returns logits, or values where it is compared by a
            loss on values (`losses.ValueMatching` and its kin).
        teacher: a trained `keras.Model` ending in logits, softmax, sigmoid or values, or a
            `Teacher`; a list of them or an `Ensemble`. `None` if no loss needs it, or it is
            attached later.
        distillation_loss: a loss of `keras_kd.losses`, or its name, `"soft_targets"`, or any
            `keras.distillation.DistillationLoss`; or a list, or a dict by name, of several.
            `SoftTargets()` by default. What a loss compares (outputs, or layers by name) comes
            from one pass of each model. For a student of several outputs a dict by output, or a
            list in order, of any of these; `None` for an output that no teacher speaks of.
        distillation_loss_weights: one number above 0 for each of several losses, as a list or a
            dict by the same names; 1 by default.
        alpha: weight of the **distillation** loss, from 0 to 1, or a schedule; `1 - alpha`
            weighs the hard-label loss. At 0 the teacher is not asked; at 1 labels are not
            needed. One for all outputs, or a dict or list of one each.
        soft_labels: `SoftLabels`, or the folder of some, to train from instead of the live
            teacher, for losses on outputs. A folder that is not there yet is made by the first
            `fit`, from the teacher and the training data as they are. Like the teacher it is
            not saved: after loading, set `distiller.soft_labels` again.
        examples: a batch of inputs from the data, to try student and teacher on; made up if
            `None`. Pass some where made-up ones are refused.
        name: name of the model.

    Raises:
        ValueError: if student and teacher do not fit each other, or the student does not return
            logits.

    Example:

    ```python
    import numpy as np
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    shape = dict(image_shape=data.image_shape, num_classes=data.num_classes)
    teacher = kd.models.mlp([64, 64], **shape)  # Trained, in earnest.
    distiller = kd.Distiller(student=kd.models.mlp([16], **shape), teacher=teacher)
    distiller.compile(optimizer="adam", metrics=["accuracy"])
    distiller.fit(data.train.batches(32, shuffle_seed=0), epochs=1, verbose=0)
    assert distiller.student.output_shape == (None, 10)
    ```

    A model of two heads, a class and a box:

    ```python
    import keras
    import numpy as np
    import keras_kd as kd


    def detector(units, name):
        image = keras.Input((8, 8, 1), name="image")
        x = keras.layers.Dense(units, activation="relu")(keras.layers.Flatten()(image))
        heads = {"class": keras.layers.Dense(3)(x), "box": keras.layers.Dense(4)(x)}
        return keras.Model(image, heads, name=name)


    distiller = kd.Distiller(
        student=detector(8, "student"),
        teacher=detector(32, "teacher"),  # Trained, in earnest.
        distillation_loss={"class": kd.losses.SoftTargets(2.0), "box": kd.losses.ValueMatching()},
        alpha={"class": 0.9, "box": 0.5},
    )
    distiller.compile("adam", loss_weights={"box": 0.1}, metrics={"class": ["accuracy"]})
    images, boxes = np.zeros((16, 8, 8, 1)), np.zeros((16, 4))
    history = distiller.fit(images, {"class": np.arange(16) % 3, "box": boxes}, verbose=0)
    assert "class_accuracy" in history.history and "box_distillation_loss" in history.history
    ```

    References:
        G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
        section 2.
    """

    # What `get_config` serialises.
    _config_parts = ("student", "distillation_loss", "alpha")
    # Whether every loss is scaled by the optimizer that float16 needs.
    trains_in_float16 = True

    def __new__(cls, *args, **kwargs):
        check_by_name(cls, args, kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(
        self,
        *,
        student,
        teacher=None,
        distillation_loss=None,
        distillation_loss_weights=None,
        alpha=0.5,
        soft_labels=None,
        examples=None,
        name="distiller",
    ):
        check_student(student)
        names = output_names(student, answers_of(student, examples))
        losses = SoftTargets() if distillation_loss is None else get_each(distillation_loss)
        terms = DistillationTerms(losses, distillation_loss_weights, names)
        if examples is not None or getattr(student, "inputs", None):
            check_answers(student, terms.of_logits(), examples=examples)
        # The student's policy decides whether Keras scales the loss for mixed_float16.
        super().__init__(name=name, dtype=student.dtype_policy)
        self.student = student
        self.distillation_loss = losses
        self.distillation_loss_weights = distillation_loss_weights
        self.alpha = float(alpha) if isinstance(alpha, int) else alpha
        self.soft_labels = soft_labels
        self._names = names
        # What Keras prefixes metrics with.
        self.output_names = list(names) if len(names) > 1 else None
        # The losses on labels are those that `compile` is told.
        self.parts = Objective(names, terms, check_alpha(alpha, names), dict.fromkeys(names))
        defaults = default_hard_losses(self.parts.heads({}, {}))
        self.parts = dataclasses.replace(self.parts, hard_losses=defaults)
        self._refuse_layers_beside(soft_labels)
        layers = self.parts.live.student_layers()
        features = feature_model(student, layers) if layers else None
        # A bound method, since the model would be tracked beside the student that it is made of.
        self._student_features = features and features.__call__
        self._student_shapes = shapes_of(student, names) if self.parts.live.terms else {}
        self._student_shapes |= {name: features.output[name].shape for name in layers}
        self.projectors = {}
        self._teacher_shapes = {}
        # Keras adds the tracker of `loss` itself when the model is compiled.
        self._trackers = [keras.metrics.Mean(name=name) for name in self.parts.names_in_logs()]
        self.teacher = None
        # The teacher's output for each of the student's.
        self._pairs = {}
        self._teacher_fingerprint = None
        # What `compile` is told beside the losses.
        self._policy, self._policy_reason, self._said_precision = None, None, False
        self._own_choices = {}
        # Whether XLA is known to compute what `compile` was given as metrics.
        self._metrics_are_known = False
        # The step whose teacher outputs were not finite, -1 while there is none.
        self._bad_step = tf.Variable(-1, dtype=tf.int64, trainable=False)
        if teacher is not None:
            self.attach_teacher(teacher, examples=examples)
        self.built = True

    def attach_teacher(self, teacher, *, examples=None):
        """Give the distiller its teacher, after loading or to begin with.

        Args:
            teacher: as in `Distiller`.
            examples: as in `Distiller`.

        Raises:
            ValueError: if it does not fit the student or the losses, or is not the one the
                distiller was saved with (by a fingerprint of the weights).
        """
        if teacher is self.student:
            raise ValueError("Teacher and student must be two models. Received: one as both.")
        image_shape = shape_of(self.student, "inputs")
        options = {"image_shape": image_shape and image_shape[1:], "examples": examples}
        terms = self.parts.terms
        teacher = teacher_for(teacher, terms, **options)
        pairs = pairs_of(terms.compared_outputs(), self._names, teacher.output_names)
        values = [name for name in pairs if terms.is_of_values(name)]
        check_fit(teacher, self.student, pairs, values=values)
        by_teacher = isinstance(teacher.input_shape, tuple) and examples is None
        if by_teacher and not getattr(self.student, "inputs", None):
            check_answers(self.student, terms.of_logits(), image_shape=teacher.input_shape[1:])
        if self._teacher_fingerprint and self._teacher_fingerprint != teacher.fingerprint:
            raise ValueError(
                "The teacher must be the one this distiller was saved with. Received: one with "
                "other weights. Build a new Distiller to go on with another teacher."
            )
        terms.check_heads(teacher.heads, pairs)
        terms.check_models(teacher.models, self.student)
        shapes = {name: teacher.output_shape(own) for name, own in pairs.items()}
        layers = self.teacher_layers()
        self._make_projectors(shapes | {name: teacher.feature_shape(name) for name in layers})
        # `Teacher` is no Keras object, so Keras does not track the model inside it.
        self.teacher, self._pairs = teacher, pairs

    def compile(
        self,
        optimizer="adam",
        loss=None,
        metrics=None,
        *,
        loss_weights=None,
        steps_per_execution=None,
        jit_compile=None,
        precision=None,
        **kwargs,
    ):
        """Configure the training, as `keras.Model.compile` does, and return the distiller.

        Args:
            optimizer: as in Keras; Adam by default.
            loss: the hard-label loss on logits: `None` for cross-entropy with integer, one-hot
                or soft labels (`BinaryCrossEntropy` beside `BinarySoftTargets` or a teacher that
                ends in sigmoid), in both of which -1 stands for no label, and for mean squared
                error on values; a `keras.losses.Loss`,
                a function `(labels, logits)`, or a name. Names and Keras's functions are taken on
                logits, since the student returns them. Of several outputs a dict by their names
                or a list in order, `None` for one without labels; an output without a
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
            ValueError: if `loss` is a loss on probabilities, or `precision` is none of these.
        """
        check_words("compile", kwargs)
        heads = self.heads()
        hard_losses = hard_losses_of(loss, heads)
        self.parts = dataclasses.replace(
            self.parts,
            hard_losses=hard_losses,
            loss_weights=weights_of(loss_weights, self._names),
        )
        if metrics:
            metrics = on_binary_logits(metrics, heads)
        self._metrics_are_known = are_known_metrics([metrics, kwargs.get("weighted_metrics")])
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
            jit_compile="auto" if jit_compile is None else jit_compile,
            **kwargs,
        )
        self._own_choices = {
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            "precision": precision,
        }
        return self

    @property
    def hard_loss(self):
        """The hard-label loss; a dict by output of a student of several."""
        losses = self.parts.hard_losses
        return losses if len(losses) > 1 else losses[self._names[0]]

    def heads(self):
        """Return what each output of the student is; `None` if no distillation loss is on it."""
        heads = {} if self.teacher is None else self.teacher.heads
        return self.parts.heads(heads, self._pairs)

    def get_compile_config(self):
        return {**super().get_compile_config(), **self._own_choices}

    def compile_from_config(self, config):
        # Keras does these two lines for a model whose `compile` is its own.
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        *args,
        **kwargs,
    ):
        """Train, as `keras.Model.fit` does, several minibatches in one compiled step.

        The fast path is taken for arrays and for data sets that `Split.batches` made, unless
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
        check_distribution()
        # What comes after `callbacks`, in Keras's order.
        kwargs = dict([*_FIT.bind(*[None] * 7, *args, **kwargs).arguments.items()][7:])
        if self._metrics_await_labels():
            self.train_function = None
        data = given(x, y, {**kwargs, "batch_size": batch_size})
        check_labels(self, data.x, data.y)
        check_validation_labels([self], kwargs.get("validation_data"))
        live, stacks, watching = self.parts.live, None, as_list(callbacks)
        if self.soft_labels is not None and live.terms:
            minibatches = with_soft_labels(
                data.minibatches, self.soft_labels, live, self.teacher, verbose=bool(verbose)
            )
            data = data.as_dataset(minibatches.dataset())
        live.check_batch_size(data.batch_size, self._student_shapes)
        if live.uses_index():
            live.check_examples(data.minibatches)
        if self.may_stack() and data.minibatches is not None:
            stacks = stacked(data.minibatches, [self], watching, bool(verbose))
            data = data.as_dataset(stacks.data)
        elif live.uses_index():
            # One by one, but with the index, which a plain minibatch has not.
            data = data.as_dataset(data.minibatches.stacks(1, gathered=True))
        self.prepare_for(data.x)
        self.say_precision(verbose)
        return super().fit(
            data.x,
            data.y,
            epochs=epochs,
            verbose=verbose,
            callbacks=with_watch(callbacks, self.losses_in_logs(), stacks, verbose),
            **data.options,
        )

    def _metrics_await_labels(self):
        # A step that was traced before the metrics had seen labels may make no variables for them
        # and is traced again. Each method forgets its own: `fit` runs `evaluate` in its midst.
        return not all(getattr(metric, "built", True) for metric in super().metrics)

    @property
    def metrics(self):
        # Compiled metrics that have seen no labels yet are not built, and have no result.
        ready = [metric for metric in super().metrics if getattr(metric, "built", True)]
        # The losses first, as in Keras: `loss, hard_loss, accuracy = distiller.evaluate(...)`.
        return sorted(ready, key=lambda metric: metric.name not in LOSS_NAMES)

    def call(self, inputs, training=None):
        return self.student(part_for(self.student, inputs), training=training)

    def check_compiled(self, method):
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

    def losses_in_logs(self):
        """Return the names in the logs of what is better when it is less."""
        return {"loss", *(tracker.name for tracker in self._trackers)}

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Report what labels tell of the student; see `keras.Model.evaluate`.

        Without labels, the distillation loss. `loss` is `hard_loss` (or else
        `distillation_loss`) and the student's regularisers.
        """
        self.check_compiled("evaluate")
        if (y is not None or not hasattr(x, "shape")) and self._metrics_await_labels():
            self.test_function = None
        return super().evaluate(x, labels_alone(y), *args, **kwargs)

    def test_on_batch(self, x, y=None, *args, **kwargs):
        self.check_compiled("test_on_batch")
        if y is not None and self._metrics_await_labels():
            self.test_function = None
        return super().test_on_batch(x, y, *args, **kwargs)

    def export(self, filepath, format="tf_saved_model", *args, **kwargs):
        """Export the student, as `keras.Model.export` does.

        `keras_kd.export` writes files that are run and compared with the student before they are
        kept.

        Args:
            filepath: a folder, or a file for formats that are one.
            format: as in `keras.Model.export`.
            *args, **kwargs: the other arguments of `keras.Model.export`.
        """
        return self.student.export(filepath, format, *args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        self.check_compiled("train_on_batch")
        if y is not None and self._metrics_await_labels():
            self.train_function = None
        logs = super().train_on_batch(x, y, *args, **kwargs)
        self.raise_if_teacher_failed(int(self.optimizer.iterations.numpy()))
        return logs

    def train_step(self, data):
        with self.in_its_precision():
            if isinstance(data, Stack):
                (logs,) = train_on_stack([self], data)
                return logs
            return self.train_on_minibatch(data)

    @property
    def precision(self):
        """Name of the policy that training steps compute in; `None` for the models' own."""
        return self._policy

    def in_its_precision(self):
        """Return a context in which the models of a training step compute as `compile` was told."""
        return computing_in(self._policy, self.models_in_step(teacher=True))

    def say_precision(self, verbose):
        """Print, the first time, what training steps compute in, if `compile` was told."""
        if self._policy is not None and verbose and not self._said_precision:
            print(f"Precision: {self._policy} ({self._policy_reason}); weights, losses: float32")
            self._said_precision = True

    def train_on_minibatch(self, data):
        """Update the student once, and return the logs.

        Args:
            data: `(inputs, labels, sample_weight)`, as in Keras, what comes last may be left out;
                `Targets` in the place of the labels hold the teacher's outputs too.
        """
        batch, stored = batch_of(data)
        if stored is not None:
            return self.learn(batch, self.stored(stored))
        return self.learn(batch, self.said(self.ask_teacher(batch.inputs)))

    def stored(self, outputs, finite=False, index=None):
        """Return what a teacher said before, as `objective` takes it; `None` if nobody asks.

        Args:
            outputs: in the structure of the student's.
            finite: whether they are known to be finite.
            index: as in `TeacherOutputs`.
        """
        outputs = by_name(outputs, self._names, what="Stored teacher outputs")
        check_stored(outputs, shapes_of(self.student, self._names), self.teacher_layers())
        if not self.uses_teacher():
            return None
        return TeacherOutputs(outputs, finite=finite, index=index)

    def said(self, teacher, index=None):
        """Return what a teacher said by the student's names; `None` if nobody asks.

        Args:
            teacher: `TeacherOutputs` by the teacher's own names, or `None`.
            index: as in `TeacherOutputs`.

        Raises:
            ValueError: if a loss needs a teacher, and there is none.
        """
        if not self.uses_teacher():
            return None
        if teacher is None and self.needs_teacher():
            raise ValueError(
                "The distiller has no teacher. Pass `teacher` to `Distiller`, or call "
                "`distiller.attach_teacher(teacher)` after loading one, or train from stored "
                "logits: `SoftLabels`, or minibatches `(images, Targets(labels, logits))`."
            )
        if teacher is None:
            return TeacherOutputs({}, index=index)
        maps = {name: teacher.class_maps.get(own) for name, own in self._pairs.items()}
        return dataclasses.replace(
            teacher,
            outputs={name: teacher.outputs[own] for name, own in self._pairs.items()},
            class_maps={name: each for name, each in maps.items() if each is not None},
            index=index,
        )

    def learn(self, batch, teacher):
        """Update the student once, and return the logs; `train_step` calls it.

        Args:
            batch: a `Batch`.
            teacher: `TeacherOutputs` by the student's names, or `None`.
        """
        self._check_labels(batch.labels)
        with tf.GradientTape() as tape:
            outputs, losses = self.objective(batch, teacher)
            losses["loss"] = self.regularized(losses["loss"])
            scaled_loss = self.optimizer.scale_loss(losses["loss"])
        self._apply(tape, scaled_loss, teacher)
        return self.logs_of(batch, outputs, losses)

    def objective(self, batch, teacher):
        """Return the student's outputs for a batch, and the losses by their names in the logs.

        What a distiller of your own overrides: `losses["loss"]` is what a training step descends,
        the regularisers added. It runs under the tape of the step.

        Args:
            batch: a `Batch`: `inputs`, `labels`, `sample_weight`.
            teacher: `TeacherOutputs` by the names of the student's outputs; `None` if no loss
                asks the teacher.

        Returns:
            `(outputs, losses)`: the outputs as the student returns them, for the metrics; scalars.

        Example:

        ```python
        import keras
        import keras_kd as kd


        class Confident(kd.Distiller):
            # The student is also asked to be sure of what it says.
            def objective(self, batch, teacher):
                outputs, losses = super().objective(batch, teacher)
                probabilities = keras.ops.softmax(outputs)
                entropy = -keras.ops.sum(probabilities * keras.ops.log_softmax(outputs), axis=-1)
                losses["loss"] += 0.1 * keras.ops.mean(entropy)
                return outputs, losses


        data = kd.data.load("digits", seed=0)
        student, teacher = (
            kd.models.mlp([units], image_shape=data.image_shape) for units in (16, 64)
        )
        distiller = Confident(student=student, teacher=teacher).compile(metrics=["accuracy"])
        distiller.fit(data.train.batches(32, shuffle_seed=0), epochs=1, verbose=0)
        ```
        """
        student = self.ask_student(batch.inputs, training=True)
        learned = self.parts.learned() if batch.labels is not None else ()
        losses = self.losses_of(batch, teacher, student, learned=learned)
        losses["loss"] = sum_of(self.parts.weighted(losses, self._step()))
        return student.structure, losses

    def test_step(self, data):
        batch, stored = batch_of(data)
        if batch.labels is not None:
            student = self._answers(self(batch.inputs, training=False))
            losses = self.losses_of(batch, None, student, learned=self.parts.labelled())
            losses["loss"] = losses["hard_loss"]
        else:
            if not self.parts.live.needs_teacher():
                raise ValueError(
                    "Evaluating without a teacher's part needs labels. Received: images alone, and "
                    f"alpha={self.alpha}."
                )
            student = self.ask_student(batch.inputs, training=False)
            losses = self._losses_without_labels(batch, student, stored)
            losses["loss"] = losses["distillation_loss"]
        losses["loss"] = self.regularized(losses["loss"], self.student)
        return self.logs_of(batch, student.structure, losses)

    def _losses_without_labels(self, batch, student, stored):
        live = stored is None
        teacher = self.said(self.ask_teacher(batch.inputs)) if live else self.stored(stored)
        return self.losses_of(batch, teacher, student, learned=())

    def get_config(self):
        fingerprint = self.teacher.fingerprint if self.teacher else self._teacher_fingerprint
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "student": serialize(self.student),
            "distillation_loss": serialize(_plain(self.distillation_loss)),
            "distillation_loss_weights": _plain(self.distillation_loss_weights),
            "alpha": serialize(_plain(self.alpha)),
            "teacher_fingerprint": fingerprint,
            "teacher_shapes": self._teacher_shapes if self.projectors else {},
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        fingerprint = config.pop("teacher_fingerprint", None)
        shapes = config.pop("teacher_shapes", {})
        for part in cls._config_parts:
            config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects)
        distiller = cls(**config)
        distiller._teacher_fingerprint = fingerprint
        if shapes:  # So that the projectors are there when their weights are loaded.
            distiller._make_projectors({name: tuple(shape) for name, shape in shapes.items()})
        return distiller

    def _make_projectors(self, teacher_shapes):
        self._teacher_shapes = {name: list(shape) for name, shape in teacher_shapes.items()}
        found = self.parts.live.projectors(teacher_shapes, self._student_shapes)
        for name, projector in found.items():
            if name not in self.projectors:  # Those of a loaded distiller are trained.
                self.projectors[name] = projector

    def optimizers(self):
        """Return the optimizer of each player, the student's first."""
        return [self.optimizer]

    def models_in_step(self, *, teacher):
        """Return every model that runs in a training step, with the teacher or without."""
        live = self.teacher.models if teacher and self.teacher is not None else []
        return [self.student, *live]

    def may_stack(self):
        """Return whether training steps are Keras's and ours alone, on one device."""
        return (
            self.compiled
            and self._own_choices["steps_per_execution"] is None
            and not self.run_eagerly
            and type(self).train_step is Distiller.train_step
            and num_replicas() == 1
        )

    def may_use_xla(self, models):
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

    def prepare_for(self, data):
        """Make the variables of optimizer and metrics: Keras would do it from the first stack."""
        self._bad_step.assign(-1)
        build_variables(self, data)

    def raise_if_teacher_failed(self, since=0):
        """Raise if the teacher's logits were not finite in a training step.

        Args:
            since: the optimizer's step that batches are counted from.

        Raises:
            ValueError: naming the batch.
        """
        bad_step = int(self._bad_step.numpy())
        if bad_step >= 0:
            raise ValueError(
                f"The teacher's logits must be finite. Received: {NOT_FINITE} "
                f"for batch {bad_step - since}, on which nothing was trained. Look at those "
                "images, or at the teacher's normalisation."
            )

    def losses_of(self, batch, teacher, student, *, learned):
        """Return the losses by their names in the logs, as far as they can be had.

        Args:
            batch: a `Batch`.
            teacher: `TeacherOutputs` by the student's names, or `None`.
            student: `StudentOutputs`.
            learned: names of the outputs whose labels are there to be learned.
        """
        return self.parts.losses(
            batch,
            teacher,
            student,
            learned=learned,
            projectors=self.projectors,
            step=self._step(),
        )

    def _step(self):
        return self.optimizer.iterations if self.optimizer else 0

    def learns_labels(self):
        """Return whether a hard-label loss counts."""
        return bool(self.parts.learned())

    def labels_as_classes(self):
        """Return the outputs whose labels anything but the hard loss takes for classes."""
        live = self.parts.live
        return [term.output for term in live.terms if term.loss.uses_labels]

    def teacher_layers(self):
        """Return the teacher's layers that the losses compare."""
        return self.parts.terms.teacher_layers()

    def lacks_teacher(self):
        """Return whether a loss counts, and there is no teacher."""
        return self.uses_teacher() and self.teacher is None

    def asks_teacher(self):
        """Return whether a training step asks the live teacher."""
        return self.teacher is not None and self.needs_teacher()

    def uses_teacher(self):
        """Return whether a training step is given what a teacher said, stored or asked."""
        return bool(self.parts.live.terms)

    def needs_teacher(self):
        """Return whether it cannot do without."""
        return self.parts.live.needs_teacher()

    def ask_student(self, inputs, *, training):
        """Return `StudentOutputs`: the outputs and the layers that are compared, from one pass.

        Args:
            inputs: any structure that the student takes, or a dict that holds its inputs.
            training: whether the student is in training.
        """
        if self._student_features is None:
            return self._answers(self(inputs, training=training), training=training)
        found = self._student_features(part_for(self.student, inputs), training=training)
        return self._answers(found["logits"], found, training=training)

    def _answers(self, structure, features=None, *, training=False):
        outputs = by_name(structure, self._names, what="The student's outputs")
        return StudentOutputs(structure, outputs, features or {}, training)

    def _check_labels(self, labels):
        if labels is None and self.parts.needs_labels():
            raise ValueError(
                f"Training with alpha={self.alpha} needs labels. Received: images alone. "
                "To distil without labels, set alpha=1 and use losses that ask the teacher."
            )

    def _refuse_layers_beside(self, soft_labels):
        layers = self.parts.live.student_layers() or self.parts.terms.teacher_layers()
        if layers and soft_labels is not None:
            raise ValueError(
                "Soft labels hold logits, not what is inside the teacher. Received: a loss on "
                f"{layers[0]}. Leave `soft_labels` out, or use losses on logits."
            )

    def ask_teacher(self, inputs):
        """Return what the live teacher says, by its own names; `None` if a step does not ask it.

        Args:
            inputs: of a batch.
        """
        # Outside the tape: no gradient is ever taken through the teacher.
        asks = self.asks_teacher()
        return ask_teacher(self.teacher, inputs, self.teacher_layers()) if asks else None

    def regularized(self, loss, model=None):
        """Return a loss and the regularisers of a model, by default of all that is trained."""
        # Keras's optimizer sums gradients over replicas; the other losses are divided already.
        terms = [ops.sum(term) / num_replicas() for term in (model or self).losses]
        return sum_of([loss, *terms])

    def _apply(self, tape, scaled_loss, teacher=None):
        """Update the weights, unless the teacher's outputs are not finite or were not before."""
        if not self.trainable_variables:
            warnings.warn("The distiller does not have any trainable weights.", stacklevel=2)
            return
        gradients = tape.gradient(scaled_loss, self.trainable_variables)

        def apply():
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return self._bad_step.read_value()

        good = self.may_learn_from(teacher)
        if good is None:
            apply()
            return
        step = tf.cast(self.optimizer.iterations, tf.int64)
        first_bad = tf.where(self._bad_step < 0, step, self._bad_step)
        tf.cond(good, apply, lambda: self._bad_step.assign(first_bad))

    def may_learn_from(self, teacher):
        """Return whether a teacher's outputs are finite and were before; `None` if nobody must ask.

        Args:
            teacher: `TeacherOutputs`, or `None`.
        """
        # Under several replicas an update cannot be conditional; see `ask_teacher`.
        if teacher is None or not teacher.outputs or teacher.finite or num_replicas() > 1:
            return None
        good = self._bad_step < 0
        for outputs in teacher.outputs.values():
            good = ops.all(ops.isfinite(outputs)) & good
        return good

    def logs_of(self, batch, outputs, losses):
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
        logs = self.compute_metrics(batch.inputs, batch.labels, outputs, batch.sample_weight)
        trackers = {"loss", *(tracker.name for tracker in self._trackers)}
        return {name: logs[name] for name in logs if name in losses or name not in trackers}


def _plain(structure):
    """Return Keras's tracked lists and dicts as plain ones, which can be serialised."""
    if isinstance(structure, dict):
        return {name: _plain(each) for name, each in structure.items()}
    is_list = isinstance(structure, (list, tuple))
    return [_plain(each) for each in structure] if is_list else structure
