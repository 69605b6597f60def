"""Runs an exported file with nothing but its own runtime; also a program of its own.

    python runner.py FILE IMAGES.npy LOGITS.npy NUM_THREADS

It imports nothing of keras_kd and no Keras, so that what it measures is what a user of the file
gets. It writes the logits of all images and prints one line of JSON: the times of single images
after warm-up (`microseconds`), and the memory of the process in bytes (`peak_bytes`, and
`added_bytes` since before the runtime was imported).
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

SIGNATURE = "serve"
_WARM_UP, _TIMED = 50, 1000
# A time that no measurement may exceed, however slow the model.
_SECONDS = 5


class LiteRTFile:
    """A `.tflite` file in its interpreter.

    Args:
        path: a file with a signature `serve` from `image` to `logits`, as `export.litert` writes.
        num_threads: at least 1.
    """

    def __init__(self, path, num_threads=1):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=num_threads)
        signature = self.interpreter.get_signature_runner(SIGNATURE)
        self.image = signature.get_input_details()["image"]
        self.logits = signature.get_output_details()["logits"]
        # The interpreter refuses to allocate while anything else holds on to it.
        del signature
        self.batch_size = None if self.image["shape_signature"][0] == -1 else 1
        self.interpreter.allocate_tensors()

    def feed(self, images):
        """Hand over images `[n, ...]`, raw pixels; n is 1 unless `batch_size` is `None`."""
        if self.batch_size is None:
            self.interpreter.resize_tensor_input(self.image["index"], images.shape)
            self.interpreter.allocate_tensors()
        self.interpreter.set_tensor(self.image["index"], quantized(images, self.image))

    def invoke(self):
        """Compute."""
        self.interpreter.invoke()

    def read(self):
        """Return the logits of the images last fed, float32 `[n, num_classes]`."""
        answers = self.interpreter.get_tensor(self.logits["index"])
        return dequantized(answers, self.logits)


class SavedModelFolder:
    """A SavedModel, loaded by TensorFlow alone. Arguments and methods as in `LiteRTFile`."""

    batch_size = None

    def __init__(self, path, num_threads=1):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.model = tf.saved_model.load(str(path))
        self.serve = self.model.signatures[SIGNATURE]
        self.to_tensor = tf.constant

    def feed(self, images):
        self.images = self.to_tensor(images)

    def invoke(self):
        self.answers = self.serve(image=self.images)

    def read(self):
        return self.answers["logits"].numpy()


class ONNXFile:
    """An `.onnx` file in ONNX Runtime. Arguments and methods as in `LiteRTFile`."""

    batch_size = None

    def __init__(self, path, num_threads=1):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def feed(self, images):
        self.images = images

    def invoke(self):
        (self.logits,) = self.session.run(["logits"], {"image": self.images})

    def read(self):
        return self.logits


def open_file(path, num_threads=1):
    """Return the exported file or folder at `path` in its runtime."""
    path = Path(path)
    if path.is_dir():
        return SavedModelFolder(path, num_threads)
    if path.suffix == ".onnx":
        return ONNXFile(path, num_threads)
    return LiteRTFile(path, num_threads)


def quantized(values, tensor):
    """Return real values as a LiteRT tensor holds them: `round(values / scale) + zero_point`."""
    scale, zero_point = tensor["quantization"]
    if scale:
        limits = np.iinfo(tensor["dtype"])
        values = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max)
    return np.asarray(values).astype(tensor["dtype"])


def dequantized(values, tensor):
    """Return the real values of a LiteRT tensor: `scale * (values - zero_point)`."""
    scale, zero_point = tensor["quantization"]
    values = values.astype("float32")
    return np.float32(scale) * (values - zero_point) if scale else values


def logits_of(file, images, batch_size=500):
    """Return the logits of images, one at a time if the file takes no more."""
    size = file.batch_size or batch_size
    answers = []
    for start in range(0, len(images), size):
        file.feed(np.asarray(images[start : start + size], "float32"))
        file.invoke()
        answers.append(file.read())
    return np.concatenate(answers)


def microseconds_of(file, image):
    """Return the times of single runs on one image `[1, ...]`, after warm-up."""
    file.feed(np.asarray(image, "float32"))
    times = []
    begun = time.perf_counter()
    for _ in range(_WARM_UP + _TIMED):
        start = time.perf_counter()
        file.invoke()
        end = time.perf_counter()
        times.append(1e6 * (end - start))
        if end - begun > _SECONDS:
            break
    # A model that took all the seconds for a few runs has no warm-up to leave out but the first.
    return times[min(_WARM_UP, len(times) // 2) :]


def _memory(field):
    """Return a line of /proc/self/status in bytes; `None` where there is no such file."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    return None


def _main(path, images_path, logits_path, num_threads):
    images = np.load(images_path)
    before = _memory("VmRSS")
    file = open_file(path, int(num_threads))
    times = microseconds_of(file, images[:1])
    np.save(logits_path, logits_of(file, images))
    # Not `ru_maxrss`, which a process inherits from the one that started it.
    peak = _memory("VmHWM")
    added = None if peak is None else peak - before
    print(json.dumps({"microseconds": times, "peak_bytes": peak, "added_bytes": added}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
