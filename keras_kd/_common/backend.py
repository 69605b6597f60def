"""What must be there before Keras is imported, and what it then runs on."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
import tempfile

_INSTALL = 'Run `pip install "keras-kd[cpu]"` (or `[gpu]`, `[tensorflow]`).'
# Read by TensorFlow once, while it is imported.
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# TensorFlow on Linux turns oneDNN on by itself for instructions for neural nets. Processors with
# AVX-512 keep what it chose.
_CHOSEN_BY_TENSORFLOW = {"avx512f", "avx_vnni", "amx_tile"}


def choose_onednn():
    """Turn TensorFlow's oneDNN kernels on for a processor with AVX2 alone, unless it was told.

    There TensorFlow leaves them off, and convolutions take up to 1.7 times as long
    (`benchmarks/tried.md`).
    """
    if _ONEDNN in os.environ or "tensorflow" in sys.modules:
        return
    flags = processor_flags()
    if "avx2" in flags and not flags & _CHOSEN_BY_TENSORFLOW:
        os.environ[_ONEDNN] = "1"


def require_tensorflow():
    """Import Keras on TensorFlow, or say in one sentence why that cannot be.

    Raises:
        ImportError: if TensorFlow is not installed, or Keras runs on another backend.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(f"keras_kd needs TensorFlow, which is not installed. {_INSTALL}")
    wanted = os.environ.get("KERAS_BACKEND", "tensorflow")
    if wanted == "tensorflow":
        import keras

        wanted = keras.config.backend()
    if wanted != "tensorflow":
        raise ImportError(
            f"keras_kd runs on Keras's TensorFlow backend. Received: backend '{wanted}'. "
            "Set KERAS_BACKEND=tensorflow before Keras is imported."
        )


def require_extra(module, extra, purpose):
    """Refuse to start what would fail at its end for want of an optional package.

    Raises:
        ImportError: if `module` is not installed; the sentence names the extra.
    """
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"{purpose} needs the package `{module}`, which is not installed. "
            f'Run `pip install "keras-kd[{extra}]"`.'
        )


def num_replicas():
    """Return how many replicas of the model train at once."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def is_distributed():
    """Return whether this is under a `tf.distribute.Strategy`, be it of one replica."""
    import tensorflow as tf

    return tf.distribute.has_strategy()


def apply_gradients(optimizer, gradients_and_variables):
    """Call `optimizer.apply_gradients`, without its sum over replicas where there is but one.

    TensorFlow keeps the gradient of that sum for as long as the process lives, and with it the
    whole graph that it was traced in: some megabytes of each training.

    Args:
        optimizer: of Keras.
        gradients_and_variables: pairs, as `apply_gradients` takes them.
    """
    import keras
    import tensorflow as tf

    # One that scales losses asks to be among replicas.
    if is_distributed() or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer.apply_gradients(gradients_and_variables)
        return
    among = tf.distribute.get_replica_context()
    among.merge_call(lambda _: optimizer.apply_gradients(gradients_and_variables))


def on_gpu():
    """Return whether TensorFlow has a GPU to compute on."""
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("GPU"))


def xla_by_default():
    """Return `jit_compile` for a model whose user chose none: Keras's `"auto"`, or `False`.

    Keras takes XLA where there is a GPU, also where `use_device("cpu")` has hidden it. On
    processors XLA's convolutions are slow, and what it draws at random is another.
    """
    import tensorflow as tf

    visible = tf.config.get_visible_devices()
    return False if all(device.device_type == "CPU" for device in visible) else "auto"


def describe_device():
    """Return one line naming the device that TensorFlow will compute on."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        names = [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in gpus
        ]
        return f"GPU ({', '.join(names)})"
    # Only where TensorFlow was told, by the user or by `choose_onednn`.
    told = {"1": ", oneDNN on", "0": ", oneDNN off"}.get(os.environ.get(_ONEDNN), "")
    return f"CPU ({_processor()}, {os.cpu_count()} cores{told})"


def describe_machine():
    """Return what a table must say of where it was measured, as a dict of strings."""
    return {
        "device": describe_device(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions(),
        "ai-edge-litert": _version("ai-edge-litert"),
    }


def versions():
    """Return the versions of what computes here, by name."""
    import keras_kd

    return {
        "keras_kd": keras_kd.__version__,
        "keras": _version("keras"),
        "tensorflow": _version("tensorflow", "tensorflow-cpu"),
        "numpy": _version("numpy"),
    }


def _version(*distributions):
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "not installed"


def processor_flags():
    """Return the names of what the processor can do, as Linux has them; elsewhere none."""
    return set(_processor_says("flags").split())


def _processor():
    return _processor_says("model name") or platform.processor() or platform.machine()


def _processor_says(key):
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return ""


@contextlib.contextmanager
def quiet_native_stderr():
    """Hold back what native libraries print on start-up; show it if the block fails.

    TensorFlow and LiteRT write log lines straight to file descriptor 2 while they load, before
    any setting of theirs is read.
    """
    try:
        saved = os.dup(2)
    except OSError:  # No standard error to hold back.
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            _restore(saved)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        else:
            _restore(saved)


def _restore(saved):
    sys.stderr.flush()
    os.dup2(saved, 2)
    os.close(saved)
