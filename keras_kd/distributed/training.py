"""The epochs of `fit_distributed`: what Keras's `fit` does, for workers that agree on each step."""

import itertools

import keras
import tensorflow as tf

from keras_kd.distillers.fitting import given, warn_of_weights
from keras_kd.distillers.watching import sees_minibatches, watch_for_less
from keras_kd.distributed.exchange import Exchange, digest
from keras_kd.distributed.sharing import check_divisible, shares_of
from keras_kd.distributed.state import State
from keras_kd.distributed.synchronizing import synchronized
from keras_kd.runs.fingerprints import architecture, digest_of

# They write files: the chief's are enough, and several in one place would destroy each other's.
_OF_CHIEF = (
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.CSVLogger,
    keras.callbacks.TensorBoard,
    keras.callbacks.RemoteMonitor,
)
# In the configuration of a distiller: Keras counts the names of their layers up.
_MODELS = ("student", "students", "discriminator", "discriminators")


class Training:
    """One call of `fit_distributed`.

    Args:
        distiller: compiled in the scope of the strategy.
        strategy: of all workers.
        cluster: their `Cluster`.
        epochs: at most.
        folder: a path, or `None`.
    """

    def __init__(self, distiller, strategy, cluster, epochs, folder):
        self.distiller, self.strategy, self.epochs = distiller, strategy, epochs
        self.cluster, self.folder = cluster, folder
        self.exchange = Exchange(strategy, cluster)
        self.state = None
        # Not Keras's own functions: its `fit` reduces wrongly over workers. Functions of their own,
        # since TensorFlow counts by their code how often it traces, and warns.
        options = {"autograph": False, "reduce_retracing": True}
        self._train = tf.function(self._trained_on, **options)
        self._test = tf.function(self._tested_on, **options)
        self._reset = tf.function(self._forgotten, autograph=False)
        self._read = tf.function(self._measured, autograph=False)

    def _trained_on(self, batch):
        return self.strategy.run(self.distiller.train_step, args=(batch,))

    def _tested_on(self, batch):
        return self.strategy.run(self.distiller.test_step, args=(batch,))

    # The metrics. In one graph, since one by one workers wait for each other at each; traced again
    # when there are more variables: those of compiled metrics are born in the first step.

    def _forgotten(self, num_variables):
        self.strategy.run(self.distiller.reset_metrics)

    def _measured(self, num_variables):
        return self.distiller.get_metrics_result()

    def way_out(self):
        """Return what to do when a worker is gone."""
        if self.folder is None:
            return "Start all again; with `folder` the training would go on where it was."
        done = self.state.epoch if self.state else 0
        return f"Start all again: the training goes on at epoch {done + 1} of {self.epochs}."

    def run(self, data, validation_data, callbacks, verbose):
        """Train, and return the `History`."""
        with self.exchange.together():
            data = self.distiller.laid_out(
                given(data, None, {"validation_data": validation_data}), verbose
            )
            validation = _as_dataset(data.options["validation_data"], data.batch_size)
            self._check_validation(validation)
            _check_callbacks(callbacks)
            first, size = _first_of(data.x)
            check_divisible(size, self.strategy.num_replicas_in_sync)
        self._prepare(verbose)
        mine = [each for each in callbacks if self.cluster.is_chief or not _is_of_chief(each)]
        with self.exchange.together():
            made_of = self._made_of(first, data.x)
            path = self.folder and self.folder / "checkpoint.npz"
            self.state = State(self.distiller, mine, digest_of(made_of), path)
            self.state.take_up()
        self._agree(made_of, validation, callbacks)
        with synchronized(self.distiller.models_in_step(teacher=False)):
            return self._epochs(data.x, validation, callbacks, mine, verbose)

    def _prepare(self, verbose):
        with self.strategy.scope():
            self.distiller.prepare_for(None)
            if not self.distiller.optimizer.built:
                self.distiller.optimizer.build(self.distiller.trainable_variables)
        self.distiller.say_precision(verbose)

    def _check_validation(self, validation):
        spec = getattr(validation, "element_spec", None)
        labelled = validation is None or (isinstance(spec, tuple) and len(spec) > 1)
        losses = self.distiller.parts.live.losses.values()
        if not labelled and any(loss.min_examples > 1 for loss in losses):
            raise ValueError(
                "Validation data without labels cannot be shared by a loss that looks across the "
                "batch. Received: images alone. Pass labels, or evaluate on one machine."
            )

    def _made_of(self, first, data):
        """Return what must be the same on all workers, and when they go on, by name."""
        config = self.distiller.get_config()
        models = self.distiller.models_in_step(teacher=False)
        settings = {name: part for name, part in config.items() if name not in _MODELS}
        optimizers = [each.get_config() for each in self.distiller.optimizers()]
        return {
            "teacher": str(config.get("teacher_fingerprint")),
            "models, losses, optimizer and settings": digest_of(
                [architecture(model) for model in models], settings, optimizers
            ),
            "number of minibatches": int(data.cardinality()),
            "first minibatch": first,
        }

    def _agree(self, made_of, validation, callbacks):
        """Refuse workers that would not train the same.

        Raises:
            ValueError: on all of them.
        """
        named = {
            **made_of,
            "number of `epochs`": self.epochs,
            "validation data": None if validation is None else int(validation.cardinality()),
            "callbacks": [type(each).__name__ for each in callbacks],
            "checkpoint": self.state.epoch,
        }
        texts = [str(value) for value in named.values()]
        texts.append(str([digest(each) for each in self.state.values()]))
        self.exchange.check_same(
            [*named, "weights at the start"],
            texts,
            "All must run one script on the same data: seed what shuffles, load the same files.",
        )

    def _epochs(self, data, validation, callbacks, mine, verbose):
        state, distiller = self.state, self.distiller
        watch_for_less(mine, distiller.losses_in_logs())
        hooks = keras.callbacks.CallbackList(
            mine, add_history=True, add_progbar=bool(verbose), model=distiller,
            verbose=verbose, epochs=self.epochs, steps=_num_steps(data, self.strategy),
        )  # fmt: skip
        distiller.stop_training = False
        hooks.on_train_begin()
        state.restore_callbacks()
        history = distiller.history
        history.epoch = [*range(state.epoch)]
        for logs in state.logs:
            for name, value in logs.items():  # By name, as Keras keeps them.
                history.history.setdefault(name, []).append(value)
        shares = shares_of(
            data,
            self.strategy.num_replicas_in_sync,
            self.cluster.index * self.exchange.num_local,
            self.exchange.num_local,
        )
        minibatches = getattr(data, "minibatches", None)
        before = int(minibatches.next_epoch.numpy()) if minibatches is not None else 0
        by_minibatch = any(map(sees_minibatches, callbacks))
        for epoch in range(state.epoch, self.epochs):
            if state.stopped:
                break
            if minibatches is not None:
                minibatches.next_epoch.assign(before + epoch)
            hooks.on_epoch_begin(epoch)
            logs = self._epoch(shares, hooks, by_minibatch)
            if validation is not None:
                logs |= self._evaluated(validation, hooks)
            logs = self.exchange.of_chief(logs)
            with self.exchange.together():
                hooks.on_epoch_end(epoch, logs)
            self._end_epoch(logs)
        if minibatches is not None:  # Also where nothing was left to train.
            minibatches.next_epoch.assign(before + state.epoch)
        # As Keras's `fit` ends: an optimizer may keep an average of the weights.
        distiller.optimizer.finalize_variable_values(distiller.trainable_variables)
        hooks.on_train_end()
        warn_of_weights(distiller)
        return history

    def _epoch(self, shares, hooks, by_minibatch):
        """Go through all shares once; return the logs."""
        self._reset(len(self.distiller.metrics_variables))
        names, iterator = (), iter(shares)
        for number in itertools.count():
            batch = self._next(iterator)
            if batch is None:
                return self._results(names)
            hooks.on_train_batch_begin(number)
            names = self._train(batch)
            if not by_minibatch:
                hooks.on_train_batch_end(number)
                continue
            hooks.on_train_batch_end(number, self.exchange.of_chief(self._results(names)))
            if self.exchange.any(self.distiller.stop_training):
                self.distiller.stop_training = True
                return self._results(names)

    def _next(self, iterator):
        """Return what the replicas of this machine train on next; `None` at the end."""
        parts = [*itertools.islice(iterator, self.exchange.num_local)]
        if len(parts) < 2:
            return parts[0] if parts else None
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group % len(parts)]
        )

    def _results(self, names):
        """Return the metrics over all workers, as far as a training step has them."""
        results = self._read(len(self.distiller.metrics_variables))
        return {name: float(value) for name, value in results.items() if name in names}

    def _evaluated(self, validation, hooks):
        """Return the logs of validation data, of which each worker looks at all."""
        self._reset(len(self.distiller.metrics_variables))
        hooks.on_test_begin()
        results = {}
        for number, batch in enumerate(validation):
            hooks.on_test_batch_begin(number)
            results = self._test(batch)
            hooks.on_test_batch_end(number)
        logs = {
            name: float(self.strategy.experimental_local_results(value)[0])
            for name, value in results.items()
        }
        hooks.on_test_end(logs)
        return {f"val_{name}": value for name, value in logs.items()}

    def _end_epoch(self, logs):
        state = self.state
        stopped = self.exchange.any(self.distiller.stop_training)
        self.exchange.check_same(
            [f"values of {variable.path}" for variable in state.variables()],
            state.values(),
            "A layer changes by what one worker alone sees; such a student trains on one machine.",
        )
        state.end_epoch(logs, stopped)
        with self.exchange.together():
            if self.folder is not None and self.cluster.is_chief:
                state.write()


def _as_dataset(validation_data, batch_size):
    """Return validation data as batches, `None` if there are none."""
    if validation_data is None or isinstance(validation_data, tf.data.Dataset):
        return validation_data
    parts = keras.tree.lists_to_tuples(tuple(validation_data))
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch_size or 32)


def _check_callbacks(callbacks):
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "`fit_distributed` keeps its own checkpoint. Received: `BackupAndRestore`, of "
                "which every worker would write one. Leave it out, and pass `folder`."
            )


def _is_of_chief(callback):
    return isinstance(callback, _OF_CHIEF)


def _first_of(data):
    """Return a digest of the first minibatch, and how many examples it has."""
    minibatches = getattr(data, "minibatches", None)
    before = None if minibatches is None else int(minibatches.next_epoch.numpy())
    batch = next(iter(data.take(1)), None)
    if minibatches is not None:  # Looking is no epoch.
        minibatches.next_epoch.assign(before)
    parts = [each for each in keras.tree.flatten(batch) if each is not None]
    if not parts:
        raise ValueError("The data must have minibatches. Received: an empty tf.data.Dataset.")
    return str(digest(*(tf.io.serialize_tensor(each).numpy() for each in parts))), len(parts[0])


def _num_steps(data, strategy):
    """Return how many minibatches an epoch has, `None` if that is not known."""
    minibatches = getattr(data, "minibatches", None)
    if minibatches is None:
        count = int(data.cardinality())
        return count if count >= 0 else None
    full, rest = divmod(minibatches.num_examples, minibatches.batch_size)
    return full + (rest >= strategy.num_replicas_in_sync)
