"""Many students, one teacher: they train in one pass over the data."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_kd._common.backend import xla_by_default
from keras_kd._common.typing import Structure
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.fitting import check_labels, check_validation_labels, warn_of_weights
from keras_kd.distillers.stacks import minibatches_of, stacked, train_on_stack
from keras_kd.distillers.variables import of_optimizers
from keras_kd.distillers.watching import as_list, watch_for_less, with_bar


def train_together(
    distillers: Sequence[Distiller],
    data: tf.data.Dataset,
    *,
    epochs: int = 1,
    initial_epoch: int = 0,
    validation_data: Structure = None,
    callbacks: Callable[[Distiller], Any] | None = None,
    verbose: str | int = "auto",
) -> list[dict[str, list[float]]]:
    """Train several distillers in one compiled step, as each would have been trained by itself.

    They may differ in temperature, alpha, loss, seed and architecture. They share each
    minibatch, each view of it and what each teacher says of it, so that a sweep or a comparison
    over seeds costs little more than what the students cost.

    Args:
        distillers: compiled `Distiller`s, each with a student and an optimizer of its own.
        data: what `Split.batches` or `SoftLabels.join` returned.
        epochs: number of epochs at most.
        initial_epoch: as in `keras.Model.fit`; `data` must begin at the same one.
        validation_data: as in `keras.Model.fit`.
        callbacks: a function that returns the list of callbacks of one distiller, such as
            `lambda distiller: [EarlyStopping(patience=20)]`. A distiller that stops keeps the
            weights it had then; the training ends with the last one. One that is stopped in
            `on_train_begin` (`distiller.stop_training = True`) is not trained at all.
        verbose: as in `keras.Model.fit`.

    Returns:
        A list of histories, dicts as in `fit(...).history`, one a distiller.

    Raises:
        ValueError: if a distiller cannot be trained beside others, or the data is of another
            kind.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    shape = dict(image_shape=data.image_shape, num_classes=data.num_classes)
    teacher = kd.models.mlp([64, 64], **shape)  # Trained, in earnest.
    distillers = [
        kd.Distiller(student=kd.models.mlp([16], **shape), teacher=teacher, alpha=alpha).compile()
        for alpha in (0.0, 0.5, 0.9)
    ]
    batches = data.train.batches(32, shuffle_seed=0)
    histories = kd.train_together(distillers, batches, epochs=2, verbose=0)
    assert len(histories) == 3
    ```
    """
    group = _Group(_checked(distillers))
    minibatches = minibatches_of(data)
    if minibatches is None:
        raise ValueError(
            "Distillers are trained together on what `Split.batches` or `SoftLabels.join` "
            f"returned. Received: {type(data).__name__}."
        )
    for distiller in distillers:
        check_labels(distiller, data)
    check_validation_labels(distillers, validation_data)
    of_each = [as_list(callbacks(each)) if callbacks else [] for each in distillers]
    every = [callback for own in of_each for callback in own]
    stacks = stacked(minibatches, distillers, epochs, every, bool(verbose))
    # No optimizer: each distiller has its own.
    group.compile(optimizer=None, jit_compile=xla_by_default())
    for distiller in distillers:
        distiller.prepare_for(stacks.data)
    distillers[0].say_precision(verbose)
    for distiller, own in zip(distillers, of_each, strict=True):
        watch_for_less(own, distiller.losses_in_logs())
    members = _Members(distillers, of_each, epochs, len(minibatches))
    group.fit(
        stacks.data,
        epochs=epochs,
        initial_epoch=initial_epoch,
        validation_data=validation_data,
        callbacks=with_bar([*stacks.callbacks, members], stacks, verbose),
        shuffle=False,
        verbose=verbose,
    )
    for distiller in distillers:
        warn_of_weights(distiller)
    return members.histories()


class _Group(keras.Model):
    """Distillers as one model for Keras's `fit`; its logs are theirs, numbered."""

    def __init__(self, distillers):
        super().__init__(name="together")
        self.distillers = distillers
        self.built = True

    @property
    def metrics(self):
        return [metric for distiller in self.distillers for metric in distiller.metrics]

    def call(self, inputs, training=None):
        return [distiller(inputs, training=training) for distiller in self.distillers]

    def in_its_precision(self):
        contexts = contextlib.ExitStack()
        for distiller in self.distillers:
            contexts.enter_context(distiller.in_its_precision())
        return contexts

    def train_step(self, data):
        with self.in_its_precision():
            return _numbered(train_on_stack(list(self.distillers), data))

    def test_step(self, data):
        return _numbered([distiller.test_step(data) for distiller in self.distillers])


class _Members(keras.callbacks.Callback):
    """Gives each distiller's callbacks the training as if it were alone."""

    def __init__(self, distillers, callbacks, epochs, steps):
        super().__init__()
        self.distillers = distillers
        self.lists = [
            keras.callbacks.CallbackList(
                each, add_history=True, model=distiller, epochs=epochs, steps=steps, verbose=0
            )
            for each, distiller in zip(callbacks, distillers, strict=True)
        ]
        self.stopped = {}

    def on_train_begin(self, logs=None):
        for number, distiller in enumerate(self.distillers):
            distiller.stop_training = False
            self.lists[number].on_train_begin()
            if distiller.stop_training:
                self._end(number)

    def on_epoch_begin(self, epoch, logs=None):
        self.since = [int(distiller.optimizer.iterations) for distiller in self.distillers]
        for number in self._training():
            self.lists[number].on_epoch_begin(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        for number in self._training():
            self.lists[number].on_train_batch_begin(batch)

    def on_train_batch_end(self, batch, logs=None):
        for distiller, since in zip(self.distillers, self.since, strict=True):
            distiller.raise_if_teacher_failed(since)
        for number in self._training():
            self.lists[number].on_train_batch_end(batch, _of(number, logs))

    def on_test_begin(self, logs=None):
        for number in self._training():
            self.lists[number].on_test_begin()

    def on_test_batch_begin(self, batch, logs=None):
        for number in self._training():
            self.lists[number].on_test_batch_begin(batch)

    def on_test_batch_end(self, batch, logs=None):
        for number in self._training():
            self.lists[number].on_test_batch_end(batch, _of(number, logs))

    def on_test_end(self, logs=None):
        for number in self._training():
            self.lists[number].on_test_end(_of(number, logs))

    def on_epoch_end(self, epoch, logs=None):
        for number in self._training():
            self.lists[number].on_epoch_end(epoch, _of(number, logs))
            if self.distillers[number].stop_training:
                self._end(number)
        self.model.stop_training = not self._training()

    def on_train_end(self, logs=None):
        for number in self._training():
            self._end(number)
        # The others went on meanwhile, and those that had stopped with them.
        for number, state in self.stopped.items():
            for variable, value in zip(_variables(self.distillers[number]), state, strict=True):
                variable.assign(value)

    def histories(self):
        return [distiller.history.history for distiller in self.distillers]

    def _training(self):
        return [n for n in range(len(self.distillers)) if n not in self.stopped]

    def _end(self, number):
        distiller = self.distillers[number]
        distiller.optimizer.finalize_variable_values(distiller.trainable_variables)
        self.lists[number].on_train_end()
        self.stopped[number] = [variable.numpy() for variable in _variables(distiller)]


def _variables(distiller):
    return [*distiller.weights, *of_optimizers(distiller)]


def _numbered(logs):
    return {
        f"{number}/{key}": value for number, each in enumerate(logs) for key, value in each.items()
    }


def _of(number, logs):
    """Return the logs of one distiller under their own names."""
    found = {}
    for key, value in (logs or {}).items():
        prefix, name = key.removeprefix("val_").split("/", 1)
        if int(prefix) == number:
            found["val_" * key.startswith("val_") + name] = value
    return found


def _checked(distillers):
    distillers = list(distillers)
    if not distillers or len({id(each) for each in distillers}) < len(distillers):
        raise ValueError(
            f"`distillers` must be at least one distiller, each once. Received: {len(distillers)}."
        )
    for distiller in distillers:
        if isinstance(distiller, Distiller):
            distiller.check_compiled("train_together")
        if not (isinstance(distiller, Distiller) and distiller.may_stack()):
            raise ValueError(
                "What is trained together must be compiled distillers without steps_per_execution "
                f"or run_eagerly of their own. Received: {distiller.name}, which is not."
            )
    if len({each.precision for each in distillers}) > 1:
        raise ValueError(
            "Distillers that share a step must share its precision. Received: "
            f"{', '.join(sorted({str(each.precision) for each in distillers}))}."
        )
    if len({id(each.student) for each in distillers}) < len(distillers):
        raise ValueError("Each distiller must have a student of its own. Received: one twice.")
    return distillers
