"""The fast path of `fit`: which data it can stack, how high, and where XLA pays.

A small model's step takes less time than the framework around it. So several minibatches go
into one compiled step, which trains on one after the other: the same updates in the same order.

It may change the time and nothing else. What a Keras user may rely on:

- **Errors.** Labels in memory are checked once, before anything is trained or the teacher asked
  (`fitting.check_labels`). Of data that is read as it is needed, the errors are TensorFlow's.
- **Callbacks.** One that overrides a batch hook sees every minibatch, with its logs: then stacks
  hold one. One that does not sees the epochs; `params["steps"]` and the progress bar count
  minibatches either way.
- **Memory.** A stack of gathered minibatches and a teacher's kept logits are bounded in bytes;
  above the bound, stacks are lower, and the teacher is asked in each step.
- **The teacher.** What it said is kept while its weights stay as they are: where a callback sees
  every minibatch it is asked in each step, and where another changes it between epochs `fit` stops.
- **Operations.** XLA is chosen only where each part of the step is known to compute under it what
  it computes without (`_xla`), and for training alone: `evaluate` and `predict` are Keras's.
- **What a user said.** `steps_per_execution`, `jit_compile`, `run_eagerly`, a `train_step`, a
  pipeline, weights, `validation_split`, `steps_per_epoch`, `shuffle="batch"`: Keras's own path.

The rules look at models, data, callbacks and device alone, never at a clock: the same seed gives
the same weights. `benchmarks/speed.py choices` measures them; `benchmarks/RESULTS.md` has what
came out on a processor of two cores.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_kd.data.splits import Split

# Below this many minibatches an epoch, compiling with XLA (seconds, once) costs more than it saves.
_STEPS_WORTH_XLA = 500
_HEIGHT = 64
# Convolutions take long enough to hide most of the framework, and the display should move.
_HEIGHT_OF_CONVOLUTIONS = 8
# What `fit` may be asked beside the data that minibatches know nothing of.
_NOT_STACKED = ("class_weight", "sample_weight", "validation_split", "steps_per_epoch")


def minibatches_of(x, y=None, *, batch_size=None, shuffle=True, initial_epoch=0, **options):
    """Return the `Minibatches` that `fit` was given, or `None` for data of another kind.

    Args:
        x: a data set as `Split.batches` makes them, or an array of images.
        y: an array of labels beside an array of images.
        batch_size: as in `keras.Model.fit`, for arrays.
        shuffle: as in `fit`, for arrays.
        initial_epoch: as in `fit`, for arrays.
        **options: the other arguments of `fit`.
    """
    if any(options.get(name) is not None for name in _NOT_STACKED) or shuffle not in (True, False):
        return None
    if isinstance(x, tf.data.Dataset):
        # Labels beside a data set are refused by Keras.
        return getattr(x, "minibatches", None) if y is None else None
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and len(x) == len(y) > 0):
        return None
    # Keras's own generator of seeds, which `keras.utils.set_random_seed` sets.
    seed = int(keras.random.randint((), 0, 2**31 - 1)) if shuffle else None
    batches = Split(x, y).batches(batch_size or 32, shuffle_seed=seed, initial_epoch=initial_epoch)
    return batches.minibatches


def choose(models, num_minibatches, callbacks=()):
    """Return how many minibatches to stack, and whether XLA would pay on a processor.

    Args:
        models: every `keras.Model` that runs in the step.
        num_minibatches: minibatches an epoch.
        callbacks: of `fit`.

    Returns:
        `(height, xla)`.
    """
    # On processors XLA's convolutions are slower than TensorFlow's own.
    xla = dense(models) and num_minibatches >= _STEPS_WORTH_XLA and not _draws(models)
    if any(map(sees_minibatches, callbacks)):
        return 1, xla
    return (_HEIGHT if dense(models) else _HEIGHT_OF_CONVOLUTIONS), xla


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


def _draws(models):
    """Return whether a model draws random numbers, of which XLA has others, and slower ones."""
    return any(
        variable.name == "seed_generator_state" for model in models for variable in model.variables
    )


def dense(models):
    """Return whether no model has a convolution, or another weight of more than two axes."""
    return all(len(weight.shape) <= 2 for model in models for weight in model.weights)


def on_gpu():
    """Return whether TensorFlow has a GPU to compute on."""
    return bool(tf.config.get_visible_devices("GPU"))
