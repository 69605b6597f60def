"""Measure what a training step, a teacher, a sweep, a store and a start cost.

Command: `make bench`, or `python benchmarks/scripts/speed.py [SECTION ...]`, of step, teacher,
sweep, choices, scale, startup, convolutions and first_fit. The last two are measured in pieces of
half a minute, each by itself if need be (`--only ResNet --rounds 1`), whose rounds are added to
those before; `--held-to-avx2` measures them once more, as near to a processor without AVX-512 as
one with it can come.
Cost: about an hour on two cores.
Writes: `benchmarks/results/speed.json`, and its section of `benchmarks/speed.md`.

Everything that is compared runs in the same process in turns, `ROUNDS` times; a table shows
medians. Competitors are run, not quoted; PyTorch needs the extra `bench`.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import speed_pieces
import speed_table
from pages import write_section
from results import read, update

ROOT = Path(__file__).parent.parent.parent
IN_PIECES = ("convolutions", "first_fit")
SECTIONS = ("step", "teacher", "sweep", "choices", "scale", "startup", *IN_PIECES)
ROUNDS = 5

# Units of the hidden layers; batch size; temperature and alpha.
WORKLOADS = {
    "mnist_mlp, batch 64": ("mnist", [128, 64], [32], 64, 2.0, 0.5),
    "main job, batch 32": ("fashion_mnist", [128, 128, 128], [128], 32, 2.0, 0.9),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    pieces = parser.add_argument_group("of convolutions and first_fit")
    pieces.add_argument(
        "--only", default="", help="pieces whose name holds it: `forward, oneDNN on`"
    )
    pieces.add_argument("--rounds", type=int, default=ROUNDS)
    pieces.add_argument("--held-to-avx2", action="store_true", help="libraries use no AVX-512")
    pieces.add_argument(
        "--compiled", action="store_true", help="PyTorch's compiled form too, a minute longer"
    )
    options = parser.parse_args()
    for section in options.sections or SECTIONS:
        if section in IN_PIECES:
            _measure_in_pieces(section, options)
            continue
        # A process of its own: what one section left behind does not slow the next.
        found = _in_process(section)
        update("speed", section, found)
        print(section, json.dumps(found), flush=True)
    write_section("speed.md", "speed", speed_table.document())


def _measure_in_pieces(section, options):
    """Measure pieces in processes of their own, and add what they find to what is kept."""
    environment = speed_pieces.HELD_TO_AVX2 if options.held_to_avx2 else {}
    for name, arguments, switch in _pieces(section, options.rounds, options.compiled):
        if options.only not in name:
            continue
        found = _in_process(section, *arguments, module="speed_pieces", **environment, **switch)
        kind, row = found["kind"], found["row"]
        kept = read("speed").get(section, {}).get(kind, {}).get("seconds", {}).get(row, {})
        update("speed", [section, kind, "machine"], found["machine"])
        update("speed", [section, kind, "seconds", row], speed_pieces.added(kept, found["seconds"]))
        print(kind, row, json.dumps(found["seconds"]), flush=True)


def _pieces(section, rounds, compiled):
    """Return the name of each piece, its arguments, and what TensorFlow is told of oneDNN."""
    if section == "first_fit":
        ways = speed_pieces.FIRST_FIT
        return [(way, [way], {}) for n in range(rounds) for way in ways[:: 1 if n % 2 else -1]]
    return [
        (f"{work}, {way}", [work, way, rounds, compiled], {speed_pieces.ONEDNN: told})
        for work in speed_pieces.WORKS
        for way, told in speed_pieces.WAYS.items()
    ]


def _in_process(section, *arguments, module="speed", **environment):
    """Return what a function of this file, or another, returns in a process of its own."""
    call = f"{module}.{section}(*{arguments!r})"
    call = f"import {module}, json; print('RESULT' + json.dumps({call}))"
    output = subprocess.run(
        [sys.executable, "-c", call],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
    ).stdout
    return json.loads(output.rsplit("RESULT", 1)[1])


def in_turns(timed, rounds=ROUNDS):
    """Return `{name: [seconds of each round]}` of functions that return seconds."""
    seconds = {name: [] for name in timed}
    for _ in range(rounds):
        for name, function in timed.items():
            seconds[name].append(function())
    return seconds


def seconds_of(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# --- step ---------------------------------------------------------------------------------------


def step():
    """Seconds an epoch, after the first, of one workload done in several ways."""
    from keras_kd._common.backend import describe_machine

    found = {"machine": describe_machine(), "workloads": {}}
    for name, workload in WORKLOADS.items():
        found["workloads"][name] = in_turns(_ways(*workload), rounds=7)
    return found


def _ways(dataset, teacher_units, student_units, batch_size, temperature, alpha):
    import keras

    import keras_kd as kd

    data = kd.data.load(dataset, seed=0).train
    images, labels = data.images, data.labels

    def models():
        keras.utils.set_random_seed(0)
        return kd.models.mlp(teacher_units), kd.models.mlp(student_units)

    def compiled(model, **options):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss=loss, metrics=["accuracy"], **options)
        return model

    def ours(alpha):
        teacher, student = models()
        return compiled(
            kd.Distiller(
                student=student,
                teacher=teacher,
                distillation_loss=kd.losses.SoftTargets(temperature),
                alpha=alpha,
            )
        )

    def keras_distiller(loss, **options):
        teacher, student = models()
        distiller = keras.distillation.Distiller(
            teacher=teacher,
            student=student,
            distillation_losses=keras.distillation.LogitsDistillation(
                loss=loss, temperature=temperature
            ),
            student_loss_weight=1 - alpha,
        )
        return compiled(distiller, **options)

    def epoch_of(model):
        epoch = _LastEpoch()

        def one():
            # Two epochs, of which the second counts: the first one compiles.
            model.fit(images, labels, batch_size=batch_size, epochs=2, verbose=0, callbacks=[epoch])
            return epoch.seconds

        return one

    ways = {
        "limit: one XLA loop over the epoch": _limit(
            *models(), data, batch_size, temperature, alpha
        ),
        "keras_kd, distilling": epoch_of(ours(alpha)),
        "keras_kd, student alone": epoch_of(ours(0.0)),
        "Keras fit, student alone": epoch_of(compiled(models()[1])),
        "keras.distillation, as it comes": epoch_of(keras_distiller("kl_divergence")),
        "keras.distillation, tuned": epoch_of(
            keras_distiller(keras.losses.KLDivergence(), steps_per_execution=64)
        ),
    }
    if importlib.util.find_spec("torch"):
        ways["PyTorch loop"] = _torch(
            data, teacher_units, student_units, batch_size, temperature, alpha
        )
    return ways


class _LastEpoch:
    """A Keras callback that knows how long the last epoch took."""

    def __new__(cls):
        import keras

        class LastEpoch(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                self.start = time.perf_counter()

            def on_epoch_end(self, epoch, logs=None):
                self.seconds = time.perf_counter() - self.start

        return LastEpoch()


def _limit(teacher, student, data, batch_size, temperature, alpha):
    """Every step of an epoch in one XLA loop: no framework between them, no metrics."""
    import keras
    import tensorflow as tf

    import keras_kd as kd

    optimizer = keras.optimizers.Adam()
    optimizer.build(student.trainable_variables)
    soft = kd.losses.SoftTargets(temperature)
    hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    images, labels = tf.constant(data.images), tf.constant(data.labels)
    count = len(data) // batch_size

    @tf.function(jit_compile=True)
    def epoch(order, images, labels):
        def one(number):
            chosen = order[number]
            batch, targets = tf.gather(images, chosen), tf.gather(labels, chosen)
            teacher_logits = teacher(batch, training=False)
            with tf.GradientTape() as tape:
                logits = student(batch, training=True)
                loss = alpha * soft(teacher_logits, logits) + (1 - alpha) * hard(targets, logits)
            gradients = tape.gradient(loss, student.trainable_variables)
            optimizer.apply_gradients(zip(gradients, student.trainable_variables, strict=True))
            return number + 1

        return tf.while_loop(lambda number: number < count, one, [0])

    def run():
        order = tf.random.shuffle(tf.range(len(data)))[: count * batch_size]
        epoch(tf.reshape(order, [count, batch_size]), images, labels)
        return student.trainable_variables[0].numpy()

    run()
    return lambda: seconds_of(run)


def _torch(data, teacher_units, student_units, batch_size, temperature, alpha):
    """The loop of the PyTorch tutorials: a DataLoader, Adam, KL times T squared, cross-entropy."""
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional

    def mlp(units):
        sizes = [784, *units]
        hidden = [
            part
            for inputs, outputs in itertools.pairwise(sizes)
            for part in (nn.Linear(inputs, outputs), nn.ReLU())
        ]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], 10))

    torch.manual_seed(0)
    teacher, student = mlp(teacher_units).eval(), mlp(student_units)
    optimizer = torch.optim.Adam(student.parameters())
    dataset = torch.utils.data.TensorDataset(
        torch.tensor(data.images.astype(np.float32) / 255),
        torch.tensor(data.labels.astype(np.int64)),
    )
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch_size, shuffle=True)

    def epoch():
        for images, labels in loader:
            with torch.no_grad():
                teacher_logits = teacher(images)
            logits = student(images)
            soft = functional.kl_div(
                functional.log_softmax(logits / temperature, -1),
                functional.softmax(teacher_logits / temperature, -1),
                reduction="batchmean",
            )
            loss = alpha * temperature**2 * soft
            loss = loss + (1 - alpha) * functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    epoch()
    return lambda: seconds_of(epoch)


# --- teacher, sweep -----------------------------------------------------------------------------


def teacher():
    """Seconds of 20 epochs on 10 000 images with a convolutional teacher, live and stored."""
    import keras

    import keras_kd as kd
    from keras_kd._common.backend import describe_machine

    epochs = 20
    train = kd.data.load("fashion_mnist", seed=0).train
    data = kd.data.Split(train.images[:10000], train.labels[:10000])
    large = _conv_teacher()

    def fit(**parts):
        keras.utils.set_random_seed(0)
        student = kd.models.conv_net([8, 16])
        distiller = kd.Distiller(student=student, **parts).compile()
        distiller.fit(data.batches(64, shuffle_seed=0), epochs=epochs, verbose=0)

    def from_soft_labels():
        with tempfile.TemporaryDirectory() as folder:
            fit(teacher=large, soft_labels=Path(folder) / "labels")

    asking = _asking(large, data)
    seconds = in_turns(
        {
            "student alone": lambda: seconds_of(lambda: fit(alpha=0.0)),
            "soft labels, made and used": lambda: seconds_of(from_soft_labels),
            "live teacher": lambda: seconds_of(lambda: fit(teacher=large)),
            "one teacher pass": lambda: seconds_of(asking),
        }
    )
    ratio = _cost(large) / _cost(kd.models.conv_net([8, 16]))
    return {
        "machine": describe_machine(),
        "epochs": epochs,
        "teacher_over_student": ratio,
        "seconds": seconds,
    }


def _conv_teacher():
    import keras

    import keras_kd as kd

    keras.utils.set_random_seed(1)
    return kd.models.conv_net([32, 64, 64], strides=1)


def _asking(model, data):
    """Return the teacher's pass over the data in minibatches as large as the student's."""
    import tensorflow as tf

    import keras_kd as kd

    ask = tf.function(kd.Teacher(model), reduce_retracing=True)

    def every():
        for images, _ in data.batches(64):
            ask(images)

    every()
    return every


def _cost(model):
    """Return multiplications of a forward pass of one image."""
    import numpy as np

    total = 0
    for layer in model.layers:
        for weight in layer.weights[:1]:
            places = np.prod(layer.output.shape[1:-1]) if len(weight.shape) == 4 else 1
            total += int(places * np.prod(weight.shape))
    return total


def sweep():
    """Seconds of an epoch of 12 students together, over those of one run."""
    import keras

    import keras_kd as kd
    from keras_kd._common.backend import describe_machine

    data = kd.data.load("mnist", seed=0).train
    small = kd.data.Split(data.images[:6400], data.labels[:6400])
    cells = [(t, alpha) for t in (1.0, 2.0, 4.0, 8.0) for alpha in (0.3, 0.6, 0.9)]

    def distillers(build, teacher, cells):
        keras.utils.set_random_seed(0)
        return [
            kd.Distiller(
                student=build(),
                teacher=teacher,
                distillation_loss=kd.losses.SoftTargets(temperature),
                alpha=alpha,
            ).compile(metrics=["accuracy"])
            for temperature, alpha in cells
        ]

    def timed(build, teacher, split, cells):
        epoch = _LastEpoch()
        batches = split.batches(64, shuffle_seed=0)

        def one():
            members = distillers(build, teacher, cells)
            start = time.perf_counter()
            first = members[0]
            # The callback of one tells the pace of all.
            kd.train_together(
                members,
                batches,
                epochs=3,
                verbose=0,
                callbacks=lambda each: [epoch] if each is first else [],
            )
            totals.append(time.perf_counter() - start)
            return epoch.seconds

        totals = []
        return one, totals

    def both(build, teacher, split):
        together, totals = timed(build, teacher, split, cells)
        alone, totals_alone = timed(build, teacher, split, cells[4:5])
        seconds = in_turns({"12 together": together, "one": alone}, rounds=3)
        return {"epoch": seconds, "three epochs": {"12 together": totals, "one": totals_alone}}

    keras.utils.set_random_seed(1)
    dense = both(lambda: kd.models.mlp([32]), kd.models.mlp([128, 64]), data)
    large = _conv_teacher()
    convolutions = both(lambda: kd.models.conv_net([8, 16]), large, small)
    asking = _asking(large, small)
    convolutions["teacher pass"] = [seconds_of(asking) for _ in range(3)]
    alone, _ = timed(lambda: kd.models.conv_net([8, 16]), None, small, [(1.0, 0.0)])
    convolutions["student alone"] = [alone() for _ in range(3)]
    return {"machine": describe_machine(), "mlp": dense, "convolutions": convolutions}


# --- scale --------------------------------------------------------------------------------------


def choices():
    """Seconds an epoch, after the first, for what `fit` chooses and what it could have chosen."""
    from keras_kd._common.backend import describe_machine

    found = {"machine": describe_machine(), "seconds": {}}
    for name, (images, ways) in _CHOICES.items():
        timed = {way: _epoch_as(name, images, *options) for way, options in ways.items()}
        found["seconds"][name] = in_turns(timed)
        print(name, found["seconds"][name], file=sys.stderr, flush=True)
    return found


# Images; and by name: options of `compile`, and the height of the stacks if it is forced.
_CHOICES = {
    "dense": (
        50_000,
        {
            "stacks of 64, XLA (chosen)": ({}, None),
            "stacks of 64": ({"jit_compile": False}, None),
            "stacks of 8, XLA": ({}, 8),
            "one by one, XLA": ({"steps_per_execution": 1, "jit_compile": True}, None),
            "one by one": ({"steps_per_execution": 1, "jit_compile": False}, None),
            "stacks of 64, XLA, bfloat16": ({"precision": "mixed_bfloat16"}, None),
        },
    ),
    "convolutions": (
        640,
        {
            "stacks of 8 (chosen)": ({}, None),
            "one stack of 10": ({}, 64),
            "one by one, XLA": ({"steps_per_execution": 1, "jit_compile": True}, None),
            "one by one": ({"steps_per_execution": 1, "jit_compile": False}, None),
            "stacks of 8, bfloat16": ({"precision": "mixed_bfloat16"}, None),
        },
    ),
    # XLA's convolutions in a loop on a processor: few images.
    "convolutions, few images": (
        128,
        {"stacks of 8 (chosen)": ({}, None), "stacks of 8, XLA": ({"jit_compile": True}, None)},
    ),
}


def _epoch_as(name, num_images, options, height):
    from unittest import mock

    import keras

    import keras_kd as kd
    from keras_kd.distillers import stacks as module

    data = kd.data.load("fashion_mnist", seed=0).train
    images, labels = data.images[:num_images], data.labels[:num_images]
    keras.utils.set_random_seed(0)
    if name == "dense":
        teacher, student = kd.models.mlp([128, 128, 128]), kd.models.mlp([128])
    else:
        teacher, student = kd.models.conv_net([32, 64]), kd.models.conv_net([16, 32], strides=1)
    # A loss on layers has the live teacher in every step.
    layers = [each.layers[-2].name for each in (teacher, student)]
    loss = [kd.losses.SoftTargets(2.0), kd.losses.Hints(*layers)]
    distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
    distiller.compile("adam", **options)
    epoch = _LastEpoch()

    def one():
        chosen = mock.patch.object(module, "choose", return_value=(height, name == "dense"))
        with chosen if height else contextlib.nullcontext():
            distiller.fit(images, labels, batch_size=64, epochs=2, verbose=0, callbacks=[epoch])
        return epoch.seconds

    return one


def scale():
    """Seconds, bytes and peak memory of a store and one epoch from it, by its rows."""
    from keras_kd._common.backend import describe_machine

    rows = (10_000, 100_000, 1_000_000)
    return {
        "machine": describe_machine(),
        "rows": {str(count): _in_process("rows_of", count) for count in rows},
    }


def rows_of(count):
    """The figures of one size: synthetic images, mapped from a file."""
    import numpy as np

    import keras_kd as kd
    from keras_kd._common.files import size_of

    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        path = Path(folder)
        images = np.lib.format.open_memmap(
            path / "images.npy", mode="w+", dtype=np.uint8, shape=(count, 28, 28, 1)
        )
        generator = np.random.default_rng(0)
        for start in range(0, count, 10_000):
            images[start : start + 10_000] = generator.integers(
                0, 256, (min(10_000, count - start), 28, 28, 1), dtype=np.uint8
            )
        images.flush()
        images = np.load(path / "images.npy", mmap_mode="r")
        data = kd.data.Split(images, generator.integers(0, 10, count).astype(np.int32))
        with _Memory() as memory:
            start = time.perf_counter()
            labels = kd.SoftLabels.create(
                path / "labels", kd.models.mlp([128, 64]), data, verbose=False
            )
            created = time.perf_counter() - start
            distiller = kd.Distiller(student=kd.models.mlp([32])).compile()
            batches = labels.join(data, 64, shuffle_seed=0)
            trained = seconds_of(lambda: distiller.fit(batches, verbose=0))
        return {
            "create_seconds": created,
            "epoch_seconds": trained,
            "bytes": size_of(path / "labels"),
            "peak_bytes": memory.peak,
        }


class _Memory:
    """The most memory of this process's own while it is open; pages of mapped files not counted."""

    def __enter__(self):
        self.peak, self.open = 0, True
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self):
        while self.open:
            status = Path("/proc/self/status").read_text()
            own = int(status.split("RssAnon:")[1].split()[0]) * 1024
            self.peak = max(self.peak, own)
            time.sleep(0.02)

    def __exit__(self, *error):
        self.open = False
        self.thread.join()


# --- startup ------------------------------------------------------------------------------------


def startup():
    """Seconds from the start of a process to what a user waits for."""
    from keras_kd._common.backend import describe_machine

    first_step = (
        "import numpy as np, keras_kd as kd; "
        "d = kd.Distiller(student=kd.models.mlp([32]), teacher=kd.models.mlp([128, 64])); "
        "d.compile().fit(np.zeros((64, 28, 28, 1), 'uint8'), np.zeros(64, 'int32'), verbose=0)"
    )
    commands = {
        "import keras_kd": ["-c", "import keras_kd"],
        "keras-kd --help": ["-m", "keras_kd", "--help"],
        "import, Keras and TensorFlow included": ["-c", "import keras_kd as kd; kd.Distiller"],
        "first training step": ["-c", first_step],
    }

    def process(arguments):
        return lambda: seconds_of(
            lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        )

    found = in_turns({name: process(command) for name, command in commands.items()})
    with tempfile.TemporaryDirectory() as folder:
        quick = ["-m", "keras_kd", "run", "fashion_mnist_mlp", "--quick", "--output"]
        name = "keras-kd run fashion_mnist_mlp --quick"
        found |= in_turns({name: process([*quick, str(Path(folder) / "run")])}, rounds=1)
    return {"machine": describe_machine(), "seconds": found}


if __name__ == "__main__":
    main()
