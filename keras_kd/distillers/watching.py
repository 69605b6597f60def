"""What callbacks see of a training by stacks, and the callbacks that `fit` adds of its own."""

import keras


def as_list(callbacks):
    """Return what `fit` was given as callbacks as a flat list."""
    return keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or [])


# Hooks of Keras's own callbacks that do nothing while a setting of theirs is `"epoch"`. Whether a
# `TensorBoard` traces single steps, it tells nobody, so it sees them all.
_AT_EPOCHS = {
    keras.callbacks.ModelCheckpoint.on_train_batch_end: "save_freq",
    keras.callbacks.BackupAndRestore.on_train_batch_end: "save_freq",
}
# It counts alone, and is told how many there were.
_BAR = keras.callbacks.ProgbarLogger.on_train_batch_end
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")


def sees_minibatches(callback):
    """Return whether a callback wants to see every minibatch: whether it overrides a batch hook.

    Args:
        callback: a `keras.callbacks.Callback`.
    """
    if not isinstance(callback, keras.callbacks.Callback):
        return True  # Keras calls whatever has the hooks.
    for hook in _BATCH_HOOKS:
        own = getattr(callback, hook)  # A class's, or one that was set on the object.
        function = getattr(own, "__func__", own)
        if function in (getattr(keras.callbacks.Callback, hook), _BAR):
            continue
        if getattr(callback, _AT_EPOCHS.get(function, ""), None) != "epoch":
            return True
    return False


def with_watch(callbacks, losses, stacked, verbose, minibatches=None):
    """Return the callbacks of `fit` with one that ends it where the teacher fails.

    Args:
        callbacks: as in `keras.Model.fit`.
        losses: names in the logs of what is better when it is less.
        stacked: a `Stacked`, whose minibatches are what the others are told of; `None` if `fit`
            does not go by stacks.
        verbose: as in `keras.Model.fit`.
        minibatches: `Minibatches` that `fit` goes through one by one, if it does.
    """
    watch_for_less(callbacks, losses)
    more = [_TeacherWatch(stacked), *(stacked.callbacks if stacked else ())]
    if minibatches is not None:
        more.append(_FirstEpoch(minibatches.next_epoch))
    if isinstance(callbacks, keras.callbacks.CallbackList):
        for each in more:
            each.set_model(callbacks.model)
        callbacks.callbacks = [*more, *callbacks.callbacks]
        return callbacks
    return with_bar([*more, *as_list(callbacks)], stacked, verbose)


def watch_for_less(callbacks, losses):
    """Tell callbacks whose mode is `"auto"`, and that watch a loss of ours, that less is better.

    Keras knows it of `val_loss` and of compiled metrics alone.

    Args:
        callbacks: as in `keras.Model.fit`.
        losses: their names in the logs.
    """
    for callback in as_list(callbacks):
        watched = str(getattr(callback, "monitor", "")).removeprefix("val_")
        if watched in losses and getattr(callback, "mode", None) == "auto":
            callback.mode = "min"


def with_bar(callbacks, stacked, verbose):
    """Return callbacks with a progress bar that counts minibatches; see `with_watch`."""
    has_bar = any(isinstance(each, keras.callbacks.ProgbarLogger) for each in callbacks)
    if stacked is None or has_bar or not verbose:
        return callbacks
    return [*callbacks, _StackProgress(stacked)]


class _StackProgress(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, which counts minibatches where `fit` goes by stacks."""

    def __init__(self, stacked):
        super().__init__()
        self.stacked = stacked

    def set_params(self, params):
        super().set_params(params)
        self.target = self.stacked.num_minibatches

    def on_train_batch_end(self, batch, logs=None):
        done = min((batch + 1) * self.stacked.height, self.stacked.num_minibatches)
        super().on_train_batch_end(done - 1, logs)


class KeptTeacher(keras.callbacks.Callback):
    """Ends the training where a teacher changes whose logits were kept.

    Args:
        teacher: the `Teacher` or `Ensemble`.
    """

    def __init__(self, teacher):
        super().__init__()
        self.teacher, self.fingerprint = teacher, teacher.fingerprint

    def on_epoch_begin(self, epoch, logs=None):
        if self.teacher.fingerprint != self.fingerprint:
            raise ValueError(
                "The teacher must stay as it is while `fit` trains from what it said before the "
                f"first epoch. Received: other weights at epoch {epoch}. Compile with "
                "`steps_per_execution=1`: then it is asked in each step."
            )


class _TeacherWatch(keras.callbacks.Callback):
    """Ends the training where the teacher's logits are not finite.

    It comes first, and so tells the others how many minibatches an epoch has.
    """

    def __init__(self, stacked):
        super().__init__()
        self.stacked = stacked

    def set_params(self, params):
        if self.stacked and params:
            params["steps"] = self.stacked.num_minibatches
        super().set_params(params)

    def on_epoch_begin(self, epoch, logs=None):
        self.since = int(self.model.optimizer.iterations.numpy())

    def on_train_batch_end(self, batch, logs=None):
        self.model.raise_if_teacher_failed(self.since)


class _FirstEpoch(keras.callbacks.Callback):
    """Begins a training at the epoch that its data were at when `fit` was called.

    Each iteration over minibatches is the next epoch, and under a distribution strategy Keras
    begins one before the first, to see a batch.
    """

    def __init__(self, next_epoch):
        super().__init__()
        self.next_epoch, self.first = next_epoch, int(next_epoch.numpy())

    def on_train_begin(self, logs=None):
        self.next_epoch.assign(self.first)
