"""The first call of a script that trains on several machines."""

import contextlib
import importlib.metadata
import os
import platform
import signal

import keras
import tensorflow as tf

import keras_kd
from keras_kd._common.checks import check_number
from keras_kd.distributed.cluster import Cluster
from keras_kd.distributed.meeting import meet

# What TensorFlow takes for yes.
_YES = ("1", "true", "True")


def connect_workers(timeout: float = 600) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Wait for the other workers that `TF_CONFIG` names, and return the strategy of all.

    Call it before anything else of TensorFlow, on every worker. Build and compile the distiller in
    its scope, and train it by `fit_distributed`. Without `TF_CONFIG` this process is the only
    worker, and the script trains here to the same weights.

    Args:
        timeout: seconds to wait, for workers that are missing at the start, and for one that falls
            silent later.

    Returns:
        A `tf.distribute.MultiWorkerMirroredStrategy`, on all GPUs of each machine.

    Raises:
        ValueError: if `TF_CONFIG` is not understood, or the workers differ in their versions or in
            the cluster they name.
        TimeoutError: naming who did not come.
        RuntimeError: if TensorFlow was used before, or was told to take an older Keras.

    Example:

    ```python
    import keras_kd as kd

    strategy = kd.connect_workers()
    ```
    """
    check_number("timeout", timeout, (1, 1e6))
    if os.environ.get("TF_USE_LEGACY_KERAS") in _YES:
        raise RuntimeError(
            "Every worker needs Keras 3. Received: TF_USE_LEGACY_KERAS=1, which Ray's "
            'TensorflowTrainer sets. Write `os.environ["TF_USE_LEGACY_KERAS"] = "0"` in front of '
            "the first import of what each worker runs."
        )
    cluster = Cluster.of_environment()
    if len(cluster) > 1:
        meet(cluster, _about(cluster), timeout)
    with _own_signals():
        try:
            return tf.distribute.MultiWorkerMirroredStrategy(
                communication_options=tf.distribute.experimental.CommunicationOptions(
                    timeout_seconds=timeout
                )
            )
        except RuntimeError as error:
            if "program startup" not in str(error):
                raise
            raise RuntimeError(
                "`connect_workers` must come before anything else of TensorFlow. Received: a "
                "process that has computed already. Call it first, then load data and models."
            ) from error


def _about(cluster):
    """Return what must be the same on all workers."""
    versions = {"keras_kd": keras_kd.__version__, "keras": keras.__version__}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions["numpy"] = importlib.metadata.version("numpy")
    return {
        "cluster in TF_CONFIG": ", ".join(cluster.addresses),
        **{f"version of {name}": version for name, version in versions.items()},
        "version of tensorflow": tf.__version__,
        "version of Python": ".".join(platform.python_version_tuple()[:2]),
    }


@contextlib.contextmanager
def _own_signals():
    """Keep SIGTERM as it was: TensorFlow takes it, and a worker that waits would not end by it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, TypeError):  # Not in a thread, as Ray's workers are.
            signal.signal(signal.SIGTERM, before)
