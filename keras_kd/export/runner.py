"""Runs an exported file with nothing but its own runtime; also a program of its own.

    python runner.py FILE INPUTS.npz ANSWERS.npz NUM_THREADS

It imports nothing of keras_kd and no Keras, so that what it measures is what a user of the file
gets. Inputs and answers are arrays by name. It writes the answers to all examples and prints one
line of JSON: the times of single examples after warm-up (`microseconds`), and the memory of the
process in bytes (`peak_bytes`, and `added_bytes` since before the runtime was imported).
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SIGNATURE = "serve"
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}  # ONNX Runtime's names.
_WARM_UP, _TIMED = 50, 1000
# A time that no measurement may exceed, however slow the model.
_SECONDS = 5


class LiteRTFile:
    """A `.tflite` file in its interpreter.

    Args:
        path: a file with a signature `serve`, as `export.litert` writes.
        num_threads: at least 1.

    Attributes:
        inputs, outputs: what the interpreter says of each, by name.
    """

    def __init__(self, path, num_threads=1):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=num_threads)
        signature = self.interpreter.get_signature_runner(SIGNATURE)
        self.inputs = signature.get_input_details()
        self.outputs = signature.get_output_details()
        # The interpreter refuses to allocate while anything else holds on to it.
        del signature
        first = next(iter(self.inputs.values()))
        self.batch_size = None if first["shape_signature"][0] == -1 else 1
        self.interpreter.allocate_tensors()

    def feed(self, inputs):
        """Hand over arrays `[n, ...]` by name; n is 1 unless `batch_size` is `None`."""
        if self.batch_size is None:
            for name, tensor in self.inputs.items():
                self.interpreter.resize_tensor_input(tensor["index"], inputs[name].shape)
            self.interpreter.allocate_tensors()
        for name, tensor in self.inputs.items():
            self.interpreter.set_tensor(tensor["index"], quantized(inputs[name], tensor))

    def invoke(self):
        """Compute."""
        self.interpreter.invoke()

    def read(self):
        """Return the answers to what was last fed, arrays `[n, ...]` by name, in float32."""
        return {
            name: dequantized(self.interpreter.get_tensor(tensor["index"]), tensor)
            for name, tensor in self.outputs.items()
        }


class SavedModelFolder:
    """A SavedModel, loaded by TensorFlow alone. Methods as in `LiteRTFile`.

    Args:
        path: the folder.
        num_threads: at least 1; `None` to leave TensorFlow's as they are.
    """

    batch_size = None

    def __init__(self, path, num_threads=None):
        import tensorflow as tf

        if num_threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(num_threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        self.model = tf.saved_model.load(str(path))
        self.serve = self.model.signatures[SIGNATURE]
        _, self.specs = self.serve.structured_input_signature
        self.to_tensor = tf.constant

    def feed(self, inputs):
        self.inputs = {
            name: self.to_tensor(inputs[name], spec.dtype) for name, spec in self.specs.items()
        }

    def invoke(self):
        self.answers = self.serve(**self.inputs)

    def read(self):
        return {name: each.numpy() for name, each in self.answers.items()}


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
        self.names = [end.name for end in self.session.get_outputs()]

    def feed(self, inputs):
        self.inputs = {
            end.name: np.asarray(inputs[end.name], _DTYPES[end.type])
            for end in self.session.get_inputs()
        }

    def invoke(self):
        self.answers = self.session.run(self.names, self.inputs)

    def read(self):
        return dict(zip(self.names, self.answers, strict=True))


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
        values = np.asarray(values, "float32")
        values = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max)
    return np.asarray(values).astype(tensor["dtype"])


def dequantized(values, tensor):
    """Return the real values of a LiteRT tensor: `scale * (values - zero_point)`."""
    scale, zero_point = tensor["quantization"]
    if not scale:
        return values if values.dtype.kind in "iub" else values.astype("float32")
    return np.float32(scale) * (values.astype("float32") - zero_point)


def answers_of(file, inputs, batch_size=500):
    """Return the answers to all examples, one at a time if the file takes no more.

    Args:
        file: one of the above.
        inputs: arrays `[n, ...]` by name.
        batch_size: examples a call, for a file that takes any number.

    Returns:
        Arrays `[n, ...]` by name.
    """
    size, answers = file.batch_size or batch_size, []
    for start in range(0, len(next(iter(inputs.values()))), size):
        file.feed(_part(inputs, start, start + size))
        file.invoke()
        answers.append(file.read())
    return {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}


def microseconds_of(file, inputs):
    """Return the times of single runs on the first example, after warm-up."""
    file.feed(_part(inputs, 0, 1))
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


def run_afresh(path, inputs_file, answers_file, num_threads):
    """Run a file by this program, in a process of its own; return what it prints.

    Raises:
        ValueError: if the process does not come to its end.
    """
    # -P: the folder of this program, which has an `onnx.py`, is no place to import from.
    command = [sys.executable, "-P", __file__, path, inputs_file, answers_file, str(num_threads)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        reason = lines[-1] if run.returncode > 0 else f"signal {-run.returncode}, which ended it"
        raise ValueError(f"{Path(path).name} must run in a fresh process. Received: {reason}")
    return json.loads(run.stdout.splitlines()[-1])


def _part(inputs, start, stop):
    return {name: array[start:stop] for name, array in inputs.items()}


def _memory(field):
    """Return a line of /proc/self/status in bytes; `None` where there is no such file."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    return None


def _main(path, inputs_path, answers_path, num_threads):
    with np.load(inputs_path) as file:
        inputs = dict(file)
    before = _memory("VmRSS")
    file = open_file(path, int(num_threads))
    times = microseconds_of(file, inputs)
    np.savez(answers_path, **answers_of(file, inputs))
    # Not `ru_maxrss`, which a process inherits from the one that started it.
    peak = _memory("VmHWM")
    added = None if peak is None else peak - before
    print(json.dumps({"microseconds": times, "peak_bytes": peak, "added_bytes": added}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
