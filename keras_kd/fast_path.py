"""The fast path of `fit`: which data it can stack, how high, and where XLA pays.

A small model's step takes less time than the framework around it. So several minibatches go
into one compiled step, which trains on one after the other: the same updates in the same order.
The rules look at models, number of minibatches and device alone, never at a clock: the same seed
gives the same weights. `benchmarks/speed.py choices` measures them; `benchmarks/RESULTS.md` has
what came out on a processor of two cores.
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
    if any(options.get(name) is not None for name in _NOT_STACKED):
        return None
    if isinstance(x, tf.data.Dataset):
        return getattr(x, "minibatches", None)
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and len(x) == len(y) > 0):
        return None
    # Keras's own generator of seeds, which `keras.utils.set_random_seed` sets.
    seed = int(keras.random.randint((), 0, 2**31 - 1)) if shuffle else None
    batches = Split(x, y).batches(batch_size or 32, shuffle_seed=seed, initial_epoch=initial_epoch)
    return batches.minibatches


def choose(models, num_minibatches):
    """Return how many minibatches to stack, and whether XLA would pay on a processor.

    Args:
        models: every `keras.Model` that runs in the step.
        num_minibatches: minibatches an epoch.

    Returns:
        `(height, jit_compile)`.
    """
    if not dense(models):
        # On processors XLA's convolutions are slower than TensorFlow's own.
        return _HEIGHT_OF_CONVOLUTIONS, False
    return _HEIGHT, num_minibatches >= _STEPS_WORTH_XLA and not _draws(models)


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
