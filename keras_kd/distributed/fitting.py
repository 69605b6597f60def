"""`fit_distributed`: one student, trained by several machines as by one."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_kd._common.checks import check_integer
from keras_kd._common.typing import PathLike, Structure
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.trainer import Trainer
from keras_kd.distillers.watching import as_list
from keras_kd.distributed.cluster import Cluster
from keras_kd.distributed.folder import shared
from keras_kd.distributed.training import Training
from keras_kd.soft_labels import SoftLabels


def fit_distributed(
    distiller: Distiller,
    data: tf.data.Dataset,
    *,
    epochs: int = 1,
    folder: PathLike | None = None,
    validation_data: Structure = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    verbose: str | int = "auto",
) -> keras.callbacks.History:
    """Train a distiller on several machines, to the weights that one would give it.

    All workers run the same script: `connect_workers` first, then models and distiller in the
    scope of its strategy, then this. Each gradient step is that of the whole minibatch of `data`,
    of which each worker computes an equal share. After each epoch the chief, worker 0, writes a
    checkpoint. When a worker is lost, all end; start them all again, and they go on from there, as
    if nothing had been.

    Metrics, and all that callbacks see, are the same on all workers, so `EarlyStopping` and
    `ReduceLROnPlateau` decide alike. `BatchNormalization` takes its statistics over all workers.
    Callbacks of Keras that write files work on the chief alone.

    A loss that looks across the batch, such as `RelationalDistance`, sees the whole minibatch.
    Distillers that play against others train so as well; those that make their own data do not.
    What layers draw at random, such as `Dropout`, is not what one device would draw.

    Args:
        distiller: a `Distiller`, or one of its kin, built and compiled in the scope.
        data: the same minibatches in the same order on all workers: what `Split.batches` or
            `SoftLabels.join` returned, or a `tf.data.Dataset` of batches. Batches must be
            divided evenly among the workers; of the last one of an epoch the rest is left
            out. What shuffles needs a seed; a `tf.data.Dataset` that shuffles by itself takes
            another order when it goes on.
        epochs: number of epochs at most.
        folder: for the checkpoint, the same for all workers on a disk that all see. `None` to
            keep nothing.
        validation_data: as in `keras.Model.fit`. Each worker evaluates all of it, so its figures
            are those of one machine.
        callbacks: of Keras, or of your own. What yours keeps from epoch to epoch is not in the
            checkpoint, unless it is called as in Keras's: `best`, `wait`, `best_weights`.
        verbose: as in `keras.Model.fit`; the chief speaks.

    Returns:
        A `keras.callbacks.History` of all epochs, also those before a restart.

    Raises:
        ValueError: if workers do not train the same, what was compiled cannot be shared, or the
            folder is not shared or holds another training.
        ConnectionError: naming a worker that is gone.

    Example:

    ```python
    import keras_kd as kd

    strategy = kd.connect_workers()
    data = kd.data.load("digits", seed=0)
    shape = dict(image_shape=data.image_shape, num_classes=data.num_classes)
    with strategy.scope():
        distiller = kd.Distiller(
            student=kd.models.mlp([16], **shape), teacher=kd.models.mlp([64], **shape)
        ).compile("adam", metrics=["accuracy"])
    batches = data.train.batches(64, shuffle_seed=0)
    history = kd.fit_distributed(distiller, batches, epochs=2, folder="run", verbose=0)
    ```
    """
    check_integer("epochs", epochs, minimum=1)
    cluster = Cluster.of_environment()
    strategy = _checked(distiller, data)
    training = Training(distiller, strategy, cluster, epochs, folder and Path(folder))
    verbose = (1 if verbose == "auto" else verbose) if cluster.is_chief else 0
    with training.exchange.told(training.way_out), shared(training.folder, training.exchange):
        return training.run(data, validation_data, as_list(callbacks), verbose)


def _checked(distiller, data):
    """Return the strategy of a distiller, if both can be trained so."""
    if not isinstance(distiller, Trainer):
        raise ValueError(
            "`fit_distributed` trains a Distiller. Received: "
            f"{type(distiller).__name__}. To train without a teacher, use alpha=0."
        )
    distiller.check_compiled("fit_distributed")
    strategy = distiller.distribute_strategy
    models = distiller.models_in_step(teacher=False)
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or any(
        model.distribute_strategy is not strategy for model in models
    ):
        raise ValueError(
            "Distiller and student must be built in the scope of the workers' strategy. Received: "
            "some that were not. Begin with `strategy = kd.connect_workers()`, and build and "
            "compile in `with strategy.scope():`."
        )
    if type(distiller).train_step is not Trainer.train_step:
        raise ValueError(
            f"{type(distiller).__name__} has a training step of its own, which cannot be shared "
            "among workers. Train it on one device with `fit`."
        )
    asked = distiller.get_compile_config()
    if distiller.run_eagerly or asked.get("jit_compile") is True:
        raise ValueError(
            "Workers train by TensorFlow's graphs. Received: `run_eagerly` or `jit_compile` in "
            "`compile`. Leave it out."
        )
    soft_labels = distiller.soft_labels
    is_path = soft_labels is not None and not isinstance(soft_labels, SoftLabels)
    if is_path and not Path(soft_labels).exists():
        raise ValueError(
            "Soft labels must be there before several workers train from them. Received: "
            f"{soft_labels}, which is not. Make them with `keras-kd soft-labels`."
        )
    if not isinstance(data, tf.data.Dataset):
        raise ValueError(
            "Workers share the minibatches of a tf.data.Dataset. Received: "
            f"{type(data).__name__}. Make one of arrays: "
            "`kd.data.Split(images, labels).batches(64, shuffle_seed=0)`."
        )
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "An epoch must have an end. Received: an endless tf.data.Dataset. Leave `repeat` out, "
            "or end it with `data.take(minibatches)`."
        )
    return strategy
