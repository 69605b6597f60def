"""Run what trains on a GPU and on the processor: the same weights, and the time of an epoch.

Command: `python benchmarks/scripts/gpu.py [--quick] [--results FOLDER] [SECTION ...]`, of weights,
parts, dense and convolutions.
Cost: about ten minutes with a GPU; `--quick` needs some seconds a line, and no GPU.
Writes: `benchmarks/results/gpu.json`, and its section of `benchmarks/speed.md`; with `--quick` or
`--results FOLDER` the results go elsewhere and the tables are printed.

No data is needed: images are drawn, in the shapes of Fashion-MNIST and CIFAR-10. What is held
against the processor computes in float32, without the TF32 that newer cards have for products.
Every device has a process of its own, and every line in it is caught on its own.
"""

import argparse
import concurrent.futures
import contextlib
import datetime
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pages import write_section
from results import RESULTS, read, update

ROOT = Path(__file__).parent.parent.parent
SECTIONS = ("weights", "parts", "dense", "convolutions")
ROUNDS = 3
NOT_REACHED = "not reached in the time"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="few images: does it run at all")
    parser.add_argument("--results", type=Path, help="a folder; default: that of benchmarks")
    parser.add_argument(
        "--seconds", type=float, default=240, help="a section; default: %(default)s"
    )
    parser.add_argument("--note", default="", help="a sentence about this machine, for the table")
    options = parser.parse_args()
    folder = options.results or (Path(tempfile.mkdtemp()) if options.quick else RESULTS)
    for section in options.sections or SECTIONS:
        found = globals()[section](Job(options.quick, options.seconds))
        found["machine"] = Job(True, 60)("gpu", "machine", ["here"])["here"]
        found["machine"].pop("took")
        found |= {"date": datetime.date.today().isoformat(), "note": options.note}
        update("gpu", section, found, folder)
    text = document(read("gpu", folder))
    write_section("speed.md", "gpu", text) if folder == RESULTS else print(text)


# --- processes ------------------------------------------------------------------------------------


class Job:
    """Calls functions of this file in processes that see the GPU, or do not."""

    def __init__(self, quick, seconds):
        self.quick, self.seconds = quick, seconds
        self.begun = time.perf_counter()

    def __call__(self, device, function, names):
        """Return `{name: what function(name, quick) returned}`, a failure as `{"failed": ...}`.

        A process that crashes takes its line with it; the lines after it get a new one.
        """
        found, names = {}, list(names)
        while names:
            if time.perf_counter() - self.begun > self.seconds:
                return found | {name: {"failed": NOT_REACHED} for name in names}
            found |= self._in_process(device, function, names)
            names = [name for name in names if name not in found]
        return found

    def at_once(self, calls):
        """Return all of `{name: result}` of several calls, each in processes of its own."""
        with concurrent.futures.ThreadPoolExecutor(len(calls)) as threads:
            ended = list(threads.map(lambda call: self(*call), calls))
        return {name: result for found in ended for name, result in found.items()}

    def _in_process(self, device, function, names):
        call = f"import gpu; gpu.tell(gpu.{function}, {names!r}, {self.quick!r}, {device!r})"
        hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {}
        process = subprocess.Popen(
            [sys.executable, "-c", call],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONPATH": _path(), "TF_CPP_MIN_LOG_LEVEL": "2"} | hidden,
        )
        left = self.seconds - (time.perf_counter() - self.begun)
        watch = threading.Timer(max(left, 1), process.kill)
        watch.start()
        found, begun = {}, names[0]
        for line in process.stdout:
            if line.startswith("BEGIN "):
                begun = json.loads(line[6:])
            elif line.startswith("RESULT "):
                found |= json.loads(line[7:])
                print(f"{device}: {line[7:].strip()[:300]}", flush=True)
        if process.wait() and begun not in found:
            found[begun] = {"failed": f"the process ended with {process.returncode}"}
            print(f"{device}: {begun}: {found[begun]}", flush=True)
        watch.cancel()
        return found


def _path():
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def tell(function, names, quick, device):
    """Print what a function returns for each name, in a line of its own."""
    import keras_kd as kd

    if device == "gpu":
        kd.use_device("auto")  # Else the first process takes all memory of the GPU.
    for name in names:
        print("BEGIN " + json.dumps(name), flush=True)
        start = time.perf_counter()
        try:
            found = function(name, quick)
        except Exception as error:
            import traceback

            traceback.print_exc()
            lines = [line for line in str(error).splitlines() if line.strip()] or [""]
            found = {"failed": f"{type(error).__name__}: {lines[0][:200]}"}
        found["took"] = round(time.perf_counter() - start, 1)
        print("RESULT " + json.dumps({name: found}), flush=True)


def machine(_, quick):
    """Return where this runs."""
    import tensorflow as tf

    import keras_kd as kd
    from keras_kd._common.backend import describe_machine

    found = describe_machine() | {"keras_kd": kd.__version__, "cores": str(os.cpu_count())}
    with contextlib.suppress(FileNotFoundError):  # `nvidia-smi` is not everywhere.
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        build = tf.sysconfig.get_build_info()
        found |= {
            "driver": asked.stdout.strip(),
            "built for CUDA": str(build.get("cuda_version")),
            "built for cuDNN": str(build.get("cudnn_version")),
        }
    return found


def drawn(num_images, image_shape=(28, 28, 1), seed=0):
    """Return a `Split` of images that can be learned: ten patterns in noise."""
    import numpy as np

    import keras_kd as kd

    generator = np.random.default_rng(seed)
    patterns = generator.integers(0, 256, (10, *image_shape))
    labels = generator.integers(0, 10, num_images).astype("int32")
    images = np.empty((num_images, *image_shape), "uint8")
    for start in range(0, num_images, 10_000):
        some = slice(start, start + 10_000)
        noise = generator.integers(0, 256, images[some].shape)
        images[some] = (0.3 * patterns[labels[some]] + 0.7 * noise).astype("uint8")
    return kd.data.Split(images, labels)


# --- weights --------------------------------------------------------------------------------------

MODELS = {
    "MLP 784-128-10": lambda kd: (kd.models.mlp([128, 128, 128]), kd.models.mlp([128])),
    "conv net 16-32": lambda kd: (kd.models.conv_net([32, 64]), kd.models.conv_net([16, 32])),
    "conv net 16-32 with BatchNorm": lambda kd: (
        kd.models.conv_net([32, 64], batch_norm=True),
        kd.models.conv_net([16, 32], batch_norm=True),
    ),
}
OPTIMIZERS = ("SGD", "Adam")
# How the same seed is trained once more on the GPU.
AGAIN = {"again": "float32", "TF32": "TF32", "no XLA": "no XLA", "one by one": "one by one"}


def weights(job):
    """Train the same students on both devices, and compare their weights."""
    lines = [f"{model}, {optimizer}" for model in MODELS for optimizer in OPTIMIZERS]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GPU_BENCHMARK_FOLDER"] = folder
        calls = [("cpu", "train", [f"cpu|{line}|float32" for line in lines])]
        if _has_gpu(job):
            # What should be equal comes from processes that know nothing of each other.
            calls += [
                ("gpu", "train", [f"gpu|{line}|{way}" for way in ways for line in some])
                for some in (lines[:2], lines[2:4], lines[4:])
                for ways in (("float32", "TF32"), ("no XLA", "one by one"))
            ]
            calls += [
                ("gpu", "train", [f"gpu|{line}|{way}" for line in lines])
                for way in ("again", "deterministic", "and again")
            ]
        runs = job.at_once(calls)
        if len(calls) == 1:
            return {"lines": {line: {"failed": "no GPU"} for line in lines}, "runs": runs}
        return {"lines": {line: _compared(Path(folder), line) for line in lines}, "runs": runs}


def train(name, quick):
    """Train a student for some steps, and keep its weights in a file."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_kd as kd

    _, line, way = name.split("|")
    if way in ("deterministic", "and again"):
        tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(way == "TF32")
    model, optimizer = line.rsplit(", ", 1)
    data = drawn(128 if quick else 64 * 40)
    keras.utils.set_random_seed(0)
    teacher, student = MODELS[model](kd)
    first = [np.array(each) for each in student.get_weights()]
    distiller = kd.Distiller(
        student=student, teacher=teacher, distillation_loss=kd.losses.SoftTargets(2.0), alpha=0.9
    )
    distiller.compile(
        {"SGD": keras.optimizers.SGD(0.05), "Adam": keras.optimizers.Adam(1e-3)}[optimizer],
        metrics=["accuracy"],
        jit_compile=False if way == "no XLA" else None,
        steps_per_execution=1 if way == "one by one" else None,
    )
    history = distiller.fit(
        data.images, data.labels, batch_size=64, shuffle=False, epochs=1, verbose=0
    ).history
    last = student.get_weights()
    path = Path(os.environ["GPU_BENCHMARK_FOLDER"]) / (name.replace(" ", "_") + ".npz")
    np.savez(path, *last)
    moved = max(float(np.abs(a - b).max()) for a, b in zip(first, last, strict=True))
    return {"moved": moved, "loss": history["loss"][0], "XLA": bool(distiller.jit_compile)}


def _compared(folder, line):
    import numpy as np

    def of(device, way):
        path = folder / (f"{device}|{line}|{way}".replace(" ", "_") + ".npz")
        return list(np.load(path).values()) if path.exists() else None

    def difference(one, other):
        if one is None or other is None:
            return None
        return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))

    here, there = of("cpu", "float32"), of("gpu", "float32")
    found = {"CPU and GPU": difference(here, there)}
    found |= {f"GPU, {way}": difference(there, of("gpu", way)) for way in AGAIN}
    found["TF32 and CPU"] = difference(here, of("gpu", "TF32"))
    found["deterministic and CPU"] = difference(here, of("gpu", "deterministic"))
    found["deterministic twice"] = difference(of("gpu", "deterministic"), of("gpu", "and again"))
    return found


def _has_gpu(job):
    return bool(job("gpu", "gpus", ["gpus"])["gpus"].get("names"))


def gpus(_, quick):
    """Return the names of the GPUs that TensorFlow sees."""
    import tensorflow as tf

    return {"names": [each.name for each in tf.config.get_visible_devices("GPU")]}


# --- parts ----------------------------------------------------------------------------------------


def parts(job):
    """Run the other parts once on each device."""
    names, cpu = list(PARTS), ("cpu", "part", list(PARTS))
    if not _has_gpu(job):
        return {"CPU": job(*cpu), "GPU": {name: {"failed": "no GPU"} for name in names}}
    some = max(1, min(4, (os.cpu_count() or 1) // 4))
    calls = [("gpu", "part", names[number::some]) for number in range(some)]
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        here = thread.submit(job.at_once, [cpu, ("cpu", "alone", ALONE[:1])])
        there = job.at_once([*calls, ("gpu", "alone", ALONE)])
    # In the order of the table.
    return {"CPU": here.result(), "GPU": {name: there[name] for name in (*names, *ALONE)}}


def part(name, quick):
    """Run one part, and return some figures of it."""
    import keras
    import tensorflow as tf

    import keras_kd as kd

    tf.config.experimental.enable_tensor_float_32_execution(False)
    keras.utils.set_random_seed(0)
    data = drawn(128 if quick else 64 * 20)
    with tempfile.TemporaryDirectory() as folder:
        found = PARTS[name](kd, data, Path(folder))
    return {key: float(value) for key, value in found.items()}


def _fitted(distiller, data, **options):
    """Train for two epochs, and return the last logs."""
    import keras

    compiled = {name: options.pop(name) for name in ("precision", "jit_compile") if name in options}
    distiller.compile(keras.optimizers.SGD(0.05), metrics=["accuracy"], **compiled)
    history = distiller.fit(
        data.batches(64, shuffle_seed=1, **options) if hasattr(data, "batches") else data,
        epochs=2,
        verbose=0,
    ).history
    return {name: values[-1] for name, values in history.items()}


def _nets(kd):
    teacher = kd.models.conv_net([16], name="teacher")
    return {"teacher": teacher, "student": kd.models.conv_net([8], name="student")}


def _soft_labels(kd, data, folder):
    teacher = kd.models.conv_net([16, 32], name="teacher")
    labels = kd.SoftLabels.create(folder / "labels", teacher, data, verbose=False)
    batches = labels.join(data, 64, shuffle_seed=1)
    (_, targets), *_ = batches.take(1)
    logits = abs(targets.teacher_logits.numpy()).mean()
    return {"mean_logit": logits} | _fitted(kd.Distiller(student=kd.models.conv_net([8])), batches)


def _augmented_soft_labels(kd, data, folder):
    made = {"views": 2, "augmentation": kd.data.RandomShift(2), "verbose": False}
    labels = kd.SoftLabels.create(folder / "labels", kd.models.conv_net([16]), data, **made)
    student = kd.Distiller(student=kd.models.conv_net([8]))
    return _fitted(student, labels.join(data, 64, shuffle_seed=1))


def _together(kd, data, folder):
    import keras

    teacher = kd.models.mlp([64, 64], name="teacher")
    distillers = [
        kd.Distiller(student=kd.models.mlp([16], name=f"student_{n}"), teacher=teacher, alpha=alpha)
        for n, alpha in enumerate((0.0, 0.3, 0.6, 0.9))
    ]
    for distiller in distillers:
        distiller.compile(keras.optimizers.SGD(0.05), metrics=["accuracy"])
    histories = kd.train_together(distillers, data.batches(64, shuffle_seed=1), epochs=2, verbose=0)
    return {f"loss_{n}": history["loss"][-1] for n, history in enumerate(histories)}


def _litert(kd, data, folder, quantization=None):
    import numpy as np

    nets = _nets(kd)
    logs = _fitted(kd.Distiller(**nets), data)
    path = kd.export.litert(
        nets["student"],
        folder / "student.tflite",
        quantization=quantization,
        calibration=data if quantization else None,
        batch_size=None,
    )
    logits = nets["student"].predict(data.images[:100], verbose=0)
    ran = np.asarray(kd.export.run_litert(path, data.images[:100]).logits)
    return {"loss": logs["loss"], "agreement": (ran.argmax(-1) == logits.argmax(-1)).mean()}


def _quantized(kd, data, folder):
    nets = _nets(kd)
    _fitted(kd.Distiller(**nets), data)
    twin = kd.quantize.prepare(nets["student"], calibration=data.images[:100])
    logs = _fitted(kd.Distiller(student=twin, teacher=nets["teacher"]), data)
    path = kd.export.litert(twin, folder / "twin.tflite", quantization="int8", batch_size=None)
    kd.export.run_litert(path, data.images[:100])
    return logs


def _saved(kd, data, folder):
    import keras
    import numpy as np

    nets = _nets(kd)
    distiller = kd.Distiller(**nets)
    logs = _fitted(distiller, data)
    distiller.save(folder / "distiller.keras")
    again = keras.models.load_model(folder / "distiller.keras")
    again.attach_teacher(nets["teacher"])
    on = again.fit(data.images, data.labels, batch_size=64, shuffle=False, verbose=0).history
    kd.export.saved_model(nets["student"], folder / "saved")
    evaluated = distiller.evaluate(data.images, data.labels, verbose=0, return_dict=True)
    said = np.abs(distiller.predict(data.images[:100], verbose=0)).mean()
    return {"loss": logs["loss"], "on": on["loss"][-1], "logits": said, **evaluated}


def _layers(kd, data, folder):
    losses = [kd.losses.SoftTargets(2.0), kd.losses.Hints("conv_1", "conv_1")]
    more = [
        kd.losses.SimilarityPreserving("conv_1", "conv_1"),
        kd.losses.RelationalDistance("conv_1", "conv_1"),
    ]
    return _fitted(kd.Distiller(**_nets(kd), distillation_loss=[*losses, *more]), data)


def _contrastive(kd, data, folder):
    # Its negatives are drawn, and XLA draws others: the loss agrees about, not to the digit.
    loss = kd.losses.Contrastive(
        "flatten", "flatten", num_examples=len(data.images), num_negatives=32
    )
    return _fitted(kd.Distiller(**_nets(kd), distillation_loss=loss), data)


def _other_losses(kd, data, folder):
    teacher, found = kd.models.mlp([32], name="teacher"), {}
    losses = {
        "dkd": kd.losses.DecoupledKD(2.0),
        "dist": kd.losses.DIST(2.0),
        "standardized": kd.losses.StandardizedLogits(kd.losses.SoftTargets(2.0)),
        "matching": kd.losses.LogitMatching(),
        "teacher_labels": kd.losses.TeacherLabels(),
        "scheduled": kd.losses.SoftTargets(kd.schedules.Cosine(4.0, 1.0, steps=20)),
    }
    for name, loss in losses.items():
        distiller = kd.Distiller(
            student=kd.models.mlp([16]), teacher=teacher, distillation_loss=loss
        )
        found[name] = _fitted(distiller, data)["loss"]
    return found


def _data_free(kd, data, folder):
    nets = _nets(kd)
    distiller = kd.adversarial.DataFreeDistiller(**nets, batch_size=64, student_steps=2, replay=3)
    distiller.compile("adam", generator_optimizer="adam")
    history = distiller.fit(epochs=2, steps_per_epoch=3, verbose=0).history
    return {name: values[-1] for name, values in history.items()}


def _streamed(kd, data, folder):
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices((data.images, data.labels)).batch(64)
    return _fitted(kd.Distiller(**_nets(kd)), batches)


def _teacher_with_nan(kd, data, folder):
    """A teacher that is not finite must be refused, with the weights as they were."""
    import keras

    image = keras.Input((28, 28, 1))
    nets = _nets(kd)
    pixels = keras.ops.mean(image, axis=(1, 2))  # Of these images above 100, of no image at all 0.
    logits = nets["teacher"](image) + keras.ops.log(100.0 - pixels)
    dark = keras.Model(image, logits, name="teacher_of_dark_images")
    nets["teacher"] = kd.Teacher(dark, head="logits")
    distiller = kd.Distiller(**nets)
    distiller.compile(keras.optimizers.SGD(0.05), steps_per_execution=1)
    before, refused = nets["student"].get_weights(), 0
    try:
        distiller.fit(data.images, data.labels, batch_size=64, verbose=0)
    except ValueError as error:
        refused = "must be finite" in str(error)
    after = nets["student"].get_weights()
    same = all((a == b).all() for a, b in zip(before, after, strict=True))
    return {"refused": refused, "weights_as_before": same}


PARTS = {
    "Distiller": lambda kd, data, folder: _fitted(kd.Distiller(**_nets(kd)), data),
    "Distiller, images augmented": lambda kd, data, folder: _fitted(
        kd.Distiller(**_nets(kd)), data, augmentation=kd.data.RandomShift(2)
    ),
    "Distiller, a `tf.data` pipeline": _streamed,
    'Distiller, `precision="mixed"`': lambda kd, data, folder: _fitted(
        kd.Distiller(**_nets(kd)), data, precision="mixed"
    ),
    "Distiller, two teachers": lambda kd, data, folder: _fitted(
        kd.Distiller(
            student=kd.models.conv_net([8]),
            teacher=[kd.models.conv_net([16], name="a"), kd.models.mlp([32], name="b")],
        ),
        data,
    ),
    "losses on layers": _layers,
    "losses on logits": _other_losses,
    "contrastive loss": _contrastive,
    "teacher with NaN": _teacher_with_nan,
    "SoftLabels, then a student": _soft_labels,
    "SoftLabels of augmented views": _augmented_soft_labels,
    "train_together, four students": _together,
    "DiscriminatorDistiller": lambda kd, data, folder: _fitted(
        kd.adversarial.DiscriminatorDistiller(**_nets(kd)), data
    ),
    "KDGANDistiller": lambda kd, data, folder: _fitted(
        kd.adversarial.KDGANDistiller([kd.models.mlp([16]), kd.models.mlp([32], name="other")]),
        data,
    ),
    "OnlineAdversarialDistiller": lambda kd, data, folder: _fitted(
        kd.adversarial.OnlineAdversarialDistiller(
            [kd.models.conv_net([4]), kd.models.conv_net([6], name="other")], layer_names="conv_1"
        ),
        data,
    ),
    "DataFreeDistiller": _data_free,
    "MutualDistiller": lambda kd, data, folder: _fitted(
        kd.MutualDistiller([kd.models.mlp([16]), kd.models.mlp([32], name="other")]), data
    ),
    "saved, loaded, trained on": _saved,
    "export.litert, and the file run": _litert,
    "export.litert in int8": lambda kd, data, folder: _litert(kd, data, folder, "int8"),
    "quantize.prepare, trained, exported": _quantized,
}

# Each of these must be the first thing that its process does.
ALONE = ("two replicas on one device", 'use_device("cpu")')


def alone(name, quick):
    """Run what must come first in a process, in one of its own."""
    call = f"import gpu; gpu.first({name!r}, {quick!r})"
    ran = subprocess.run(
        [sys.executable, "-c", call],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": _path()},
    )
    if ran.returncode:
        sys.stderr.write(ran.stderr)
        return {"failed": (ran.stderr.strip().splitlines() or ["no word"])[-1][:300]}
    return json.loads(ran.stdout.rsplit("RESULT", 1)[1])


def first(name, quick):
    """Do it, and print what came of it."""
    import tensorflow as tf

    import keras_kd as kd

    if name == ALONE[1]:
        said = kd.use_device("cpu")
        found = part("Distiller", quick) | {"is_cpu": said.startswith("CPU")}
    else:
        gpus = tf.config.list_physical_devices("GPU")
        (real, *_) = gpus or tf.config.list_physical_devices("CPU")
        each = tf.config.LogicalDeviceConfiguration(memory_limit=4000 if gpus else None)
        tf.config.set_logical_device_configuration(real, [each, each])
        strategy = tf.distribute.MirroredStrategy(
            [each.name for each in tf.config.list_logical_devices(real.device_type)],
            cross_device_ops=tf.distribute.HierarchicalCopyAllReduce(),
        )
        with strategy.scope():
            found = part("Distiller", quick)
        found["replicas"] = strategy.num_replicas_in_sync
    print("RESULT" + json.dumps(found))


# --- time -----------------------------------------------------------------------------------------

DENSE = {  # Batch size, and images of an epoch.
    "MLP, batch 32": (32, 60_000),
    "MLP, batch 1024": (1024, 60_000),
}
# Batch size, and images of an epoch: of the GPU's, of which the processor gets a tenth.
CONVOLUTIONS = {
    "conv net 64-128-256, batch 512": (512, 30_720),
    "conv net 64-128-256, batch 128": (128, 30_720),
}
WAYS = (
    "keras_kd",
    "Keras fit, student alone",
    "keras_kd, one by one",
    "keras_kd, mixed",
    "Keras fit, mixed",
    "keras_kd, one by one, mixed",
)


def dense(job):
    """Seconds of an epoch of the MLP."""
    return _times(job, DENSE)


def convolutions(job):
    """Seconds of an epoch of the conv net."""
    return _times(job, CONVOLUTIONS)


def _times(job, cases):
    found = {"GPU": {name: {"failed": "no GPU"} for name in cases}}
    if _has_gpu(job):
        found["GPU"] = job("gpu", "seconds", [f"{name}|GPU|{job.seconds * 0.2}" for name in cases])
    found["CPU"] = job("cpu", "seconds", [f"{name}|CPU|{job.seconds * 0.1}" for name in cases])
    return found


def seconds(name, quick):
    """Return `{way: {"first": s, "epochs": [s], "images": n}}` of one case, epochs in turns."""
    case, device, budget = name.split("|")
    end = time.perf_counter() + float(budget)
    batch_size, num_images = (DENSE | CONVOLUTIONS)[case]
    if device == "CPU" and case in CONVOLUTIONS:
        num_images //= 10
    if quick:
        num_images = 2 * batch_size
    shape = (28, 28, 1) if case in DENSE else (32, 32, 3)
    data, runs, found = drawn(num_images, shape), {}, {}
    for way in WAYS:
        if time.perf_counter() > end:
            found[way] = {"failed": NOT_REACHED}
            continue
        try:
            runs[way] = _fit_of(way, case, data, batch_size)
            found[way] = {"first": runs[way](1)[0], "epochs": [], "images": num_images}
        except Exception as error:
            found[way] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
            runs.pop(way, None)
    for number in range(1 if quick else ROUNDS):
        for way, fit in runs.items():
            if number == 0 or time.perf_counter() < end + 0.5 * float(budget):
                # The first epoch of a `fit` also asks the teacher and fills the pipeline.
                began = time.perf_counter()
                epochs = fit(2)
                found[way]["epochs"] += epochs[1:]
                found[way].setdefault("fit", []).append(time.perf_counter() - began)
    return found


def _fit_of(way, case, data, batch_size):
    """Return a function that trains for some epochs, and returns the seconds of each."""
    import keras

    import keras_kd as kd

    mixed = way.endswith("mixed")
    keras.utils.set_random_seed(0)
    if case in DENSE:
        teacher, make = kd.models.mlp([128, 128, 128], name="teacher"), lambda: kd.models.mlp([128])
    else:
        shape = {"image_shape": (32, 32, 3)}
        teacher = kd.models.resnet18(0.5, **shape, name="teacher")
        make = lambda: kd.models.conv_net([64, 128, 256], batch_norm=True, **shape)  # noqa: E731
    if way.startswith("Keras"):
        if mixed:
            keras.config.set_dtype_policy("mixed_float16" if _on_gpu() else "mixed_bfloat16")
        try:
            model = make()
        finally:
            keras.config.set_dtype_policy("float32")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss=loss, metrics=["accuracy"])
    else:
        model = kd.Distiller(student=make(), teacher=teacher, alpha=0.9)
        model.compile(
            "adam",
            metrics=["accuracy"],
            precision="mixed" if mixed else None,
            steps_per_execution=1 if "one by one" in way else None,
        )

    def fit(epochs):
        ends = [time.perf_counter()]
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
        )
        model.fit(
            data.images,
            data.labels,
            batch_size=batch_size,
            epochs=epochs,
            verbose=0,
            callbacks=[watch],
        )
        return [b - a for a, b in itertools.pairwise(ends)]

    return fit


def _on_gpu():
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("GPU"))


# --- the table ------------------------------------------------------------------------------------


def document(results):
    """Return the tables of what was found."""
    found = {section: results[section] for section in SECTIONS if section in results}
    lines = [
        "## On a GPU",
        "",
        "Written by `python benchmarks/scripts/gpu.py`; its docstring says how.",
    ]
    if "weights" in found:
        lines += _table_of_weights(found["weights"])
    if "parts" in found:
        lines += _table_of_parts(found["parts"])
    times = [found[section] for section in ("dense", "convolutions") if section in found]
    if times:
        lines += _table_of_times(times)
    for one in _differing(found.values()):
        told = ", ".join(f"{name} {value}" for name, value in one["machine"].items())
        lines += ["", " ".join(filter(None, [f"{told}; {one['date']}.", one["note"]]))]
    return "\n".join(lines) + "\n"


def _differing(sections):
    """Return the sections that tell another machine, day or note than those before them."""
    told = {json.dumps([one["machine"], one["date"], one["note"]]): one for one in sections}
    return told.values()


def _table_of_weights(found):
    ways = ["CPU and GPU", "TF32 and CPU", *(f"GPU, {way}" for way in AGAIN), "deterministic twice"]
    ways = [way for way in ways if way != "GPU, TF32"]
    lines = [
        "",
        "### The same weights",
        "",
        "Forty steps from the same seed; the largest difference of any weight of the student. "
        "`moved`: how far the weight that moved most went. `again`: the same once more; 0 is equal "
        "to the bit. `deterministic`: under `tf.config.experimental.enable_op_determinism()`, "
        "twice.",
        "",
        f"| student, optimizer | moved | {' | '.join(ways)} |",
        "| --- " * (len(ways) + 2) + "|",
    ]
    for line, differences in found["lines"].items():
        run = found["runs"].get(f"cpu|{line}|float32", {})
        cells = [_number(differences.get(way)) for way in ways]
        moved = _number(run.get("moved"))
        if "failed" in differences:
            cells = [differences["failed"]] + ["" for _ in ways[1:]]
        lines.append(f"| {line} | {moved} | {' | '.join(cells)} |")
    failures = {name: run["failed"] for name, run in found["runs"].items() if "failed" in run}
    return [*lines, "", *(f"- {name}: {failure}" for name, failure in failures.items())]


def _number(value):
    if value is None:
        return "failed"
    return "0" if value == 0 else f"{value:.1e}"


def _table_of_parts(found):
    lines = [
        "",
        "### Each part, run to its end",
        "",
        "Two epochs of 20 steps. The largest relative difference between CPU and GPU among what "
        "the logs say at the end; seconds with compiling. On a GPU Keras compiles by XLA, which "
        "draws other random numbers from a seed: `DataFreeDistiller` sees other noise.",
        "",
        "| part | GPU | differs from the CPU by | s, CPU | s, GPU |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, there in found["GPU"].items():
        here = found["CPU"].get(name) or found["CPU"]["Distiller"]
        if "failed" in there or "failed" in here:
            word = there.get("failed", "runs") if "failed" in there else f"CPU: {here['failed']}"
            lines.append(
                f"| {name} | {word} |  | {here.get('took', '')} | {there.get('took', '')} |"
            )
            continue
        keys = [key for key in there if key in here and key != "took"]
        relative = {key: abs(there[key] - here[key]) / max(abs(here[key]), 1e-6) for key in keys}
        worst = max(relative, key=relative.get)
        lines.append(
            f"| {name} | runs | {relative[worst]:.1e} ({worst}: {here[worst]:.5g}, "
            f"{there[worst]:.5g}) | {here.get('took', '')} | {there.get('took', '')} |"
        )
    return lines


def _table_of_times(sections):
    lines = [
        "",
        "### Time of an epoch",
        "",
        "Images a second, of the median second epoch of a `fit`, ways in turns; in brackets the "
        "slowest and the fastest of up to three. What the time did not reach is left out. `first`: "
        "seconds of the very first epoch, compiling included, for the first way of a student also "
        "what TensorFlow makes ready. The MLP 784-128-10 learns from a 128-128-128 teacher; the "
        "conv net from ResNet-18 at half width. `keras_kd` asks the teacher once, before the first "
        "epoch; `one by one`, which is `steps_per_execution=1`, in each step.",
        "",
        "| student | way | images/s, GPU | first, s | images/s, CPU | first, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for found in sections:
        for case in DENSE | CONVOLUTIONS:
            of = {
                device: next(
                    (one for name, one in found[device].items() if name.split("|")[0] == case), None
                )
                for device in ("GPU", "CPU")
            }
            if of["GPU"] is None and of["CPU"] is None:
                continue
            for way in WAYS:
                cells = [cell for device in ("GPU", "CPU") for cell in _speed(of[device], way)]
                if any(cells):
                    lines.append(f"| {case} | {way} | {' | '.join(cells)} |")
    return lines


def _speed(of_case, way):
    one = of_case if of_case is None or "failed" in of_case else of_case.get(way)
    if one is None or one.get("failed") == NOT_REACHED:
        return "", ""
    if "failed" in one:
        return one["failed"], ""
    if not one["epochs"]:
        return "", f"{one['first']:.1f}"
    rates = sorted(one["images"] / each for each in one["epochs"])
    spread = f" ({rates[0]:,.0f} to {rates[-1]:,.0f})" if len(rates) > 1 else ""
    return f"{statistics.median(rates):,.0f}{spread}", f"{one['first']:.1f}"


if __name__ == "__main__":
    main()
