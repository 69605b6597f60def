"""LiteRT (TFLite): the file a phone runs, and the running of it."""

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_kd._backend import quiet_native_stderr, require_extra
from keras_kd._files import written_whole
from keras_kd.export.saved_model import (
    check_equal_answers,
    in_float32,
    probe_images,
    write_serving,
)

_SIGNATURE = "serve"


def litert(model, path):
    """Write a model that returns logits as a float32 `.tflite` file for batches of one image.

    The file holds builtin operations only, so that it runs wherever LiteRT does; its signature
    `serve` takes `image` (raw pixels as float32) and returns `logits` and `probabilities`. It is
    run and compared with the model before it is moved into place. A model trained in mixed
    precision is written with the float32 weights that it holds.

    Args:
        model: a built `keras.Model` with one input of known shape and logits `[batch,
            num_classes]`.
        path: the file to write; an older one is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if the model cannot be expressed in builtin operations, or the file answers
            otherwise than the model.
        ImportError: if LiteRT is not installed (extra `export`).

    Example:

    ```python
    import tempfile
    import keras_kd as kd

    with tempfile.TemporaryDirectory() as folder:
        path = kd.export.litert(kd.models.mlp([8]), folder + "/student.tflite")
        run = kd.export.run_litert(path, [[[[0.0]] * 28] * 28])
        assert run.logits.shape == (1, 10)
    ```
    """
    _require_litert()
    model = in_float32(model)
    with written_whole(path) as unfinished:
        unfinished.write_bytes(_convert(model))
        images = probe_images(model)
        check_equal_answers(run_litert(unfinished, images).logits, model, images, str(path))
    return path


@dataclasses.dataclass(frozen=True, eq=False)
class LiteRTRun:
    """What the interpreter answered.

    Args:
        logits: float32 `[n, num_classes]`.
        microseconds: median time of one image on one thread.
    """

    logits: np.ndarray
    microseconds: float


def run_litert(path, images):
    """Run a `.tflite` file on images, one at a time on one thread, as a phone would.

    Args:
        path: a file with an output `logits`, such as `litert` writes.
        images: `[n, height, width, channels]`, raw pixels.

    Returns:
        A `LiteRTRun`.

    Raises:
        ImportError: if LiteRT is not installed (extra `export`).
    """
    _require_litert()
    from ai_edge_litert.interpreter import Interpreter

    with quiet_native_stderr():
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        runner = interpreter.get_signature_runner(_SIGNATURE)
    shape = runner.get_input_details()["image"]["shape"]
    logits, seconds = [], []
    for image in np.asarray(images):
        image = np.reshape(image, shape).astype("float32")
        start = time.perf_counter()
        answer = runner(image=image)
        seconds.append(time.perf_counter() - start)
        logits.append(answer["logits"][0])
    return LiteRTRun(np.stack(logits), 1e6 * float(np.median(seconds)))


def _convert(model):
    with tempfile.TemporaryDirectory() as folder:
        serving = Path(folder) / "serving"
        write_serving(model, serving, batch_size=1)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(serving), signature_keys=[_SIGNATURE]
        )
        # Without this line TensorFlow operations pass that a phone's runtime may not have.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        with quiet_native_stderr():
            try:
                return converter.convert()
            except Exception as error:  # The converter's own class is private.
                failure = error
        raise ValueError(
            f"The model {model.name} must consist of LiteRT's builtin operations. "
            f"Received: {str(failure).strip().splitlines()[0]}"
        ) from failure


def _require_litert():
    require_extra("ai_edge_litert", "export", "A LiteRT file")
