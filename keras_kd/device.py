"""Which device TensorFlow computes on."""

import pickle
import re

from keras_kd._common.backend import describe_device, quiet_native_stderr


def use_device(name: str = "auto") -> str:
    """Choose the device, before anything is computed, and let a GPU's memory grow as needed.

    Without this, TensorFlow takes all memory of every GPU it sees.

    Args:
        name: `"auto"` for every GPU that TensorFlow sees, or the processor if there is none;
            `"cpu"`; `"gpu"` for the first GPU; `"gpu:1"` for the second, and so on. Models train
            on the first of several, and on all of them under a `tf.distribute.MirroredStrategy`.

    Returns:
        One line that names the device.

    Raises:
        ValueError: if there is no such device, or TensorFlow has begun to compute on another.

    Example:

    ```python
    import keras_kd as kd

    print(kd.use_device("cpu"))
    ```
    """
    import tensorflow as tf

    found = re.fullmatch(r"auto|cpu|gpu(?::(\d+))?", str(name))
    if not found:
        raise ValueError(
            f"`device` must be 'auto', 'cpu', 'gpu' or 'gpu:N'. Received: device={name!r}."
        )
    gpus = tf.config.list_physical_devices("GPU")
    if name == "cpu":
        gpus = []
    elif name != "auto":
        number = int(found[1] or 0)
        if number >= len(gpus):
            raise ValueError(
                f"`device` must be one that TensorFlow sees. Received: device={name!r} with "
                f"{len(gpus)} GPUs. Install `keras-kd[gpu]` and a driver, or use 'cpu'."
            )
        gpus = gpus[number : number + 1]
    try:
        _use(gpus)
    except RuntimeError as error:
        raise ValueError(
            "The device must be chosen before TensorFlow computes anything. Received: "
            f"device={name!r} after that. Call `keras_kd.use_device` first."
        ) from error
    return describe_device()


def visible_gpus():
    """Return the names of the GPUs that this process computes on."""
    import tensorflow as tf

    return [gpu.name for gpu in tf.config.get_visible_devices("GPU")]


def call_in_new_process(pickled, gpus, *arguments):
    """Call a function in a process that has just begun, on the GPUs of the one that began it.

    Args:
        pickled: `pickle.dumps((function, job))`, so that what they import can be kept quiet.
        gpus: of `visible_gpus`.
        *arguments: what follows `job`.
    """
    with quiet_native_stderr():
        import tensorflow as tf

        _use([gpu for gpu in tf.config.list_physical_devices("GPU") if gpu.name in gpus])
        tf.zeros(())  # TensorFlow makes its devices ready at the first operation, and says so.
        function, job = pickle.loads(pickled)
    function(job, *arguments)


def _use(gpus):
    import tensorflow as tf

    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
