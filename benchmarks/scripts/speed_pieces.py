"""The rows of `speed.py` that are measured piece by piece, beside those of other days.

A piece is a short process. What it finds is added to what earlier ones found on the same kind of
processor: `{kind: {"machine": ..., "seconds": {work: {way: [...]}}}}`. So a busy machine can be
used when it is quiet, and two kinds of processor stand side by side.
"""

import functools
import os
import shutil
import statistics
import time

# By the name of a row: what is done, channels of the student and of its teacher or a model's
# name, images. Adam, batches of 64, images of 28x28.
WORKS = {
    "convolution of 8 channels, an epoch": ("train", ([8], False), None, 20_000),
    "convolution of 8 channels, distilled from 16": ("train", ([8], False), [16], 20_000),
    "convolutions 32-64-128, BatchNorm, an epoch": ("train", ([32, 64, 128], True), None, 2560),
    "half ResNet-18, forward": ("forward", "resnet", None, 640),
    "half ResNet-18, an epoch": ("train", "resnet", None, 128),
}
# What a table must say of a processor, of what it says of itself.
_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
# A processor held to AVX2, as near as three libraries let it come.
HELD_TO_AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
}
# What TensorFlow is told of oneDNN.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
WAYS = {"oneDNN on": "1", "oneDNN off": "0", "Keras": "1"}


def _kind():
    """Return the kind of processor: its name, and what it has or is held to."""
    from keras_kd._common.backend import describe_device, processor_flags

    name = describe_device().split("(")[1].split(",")[0]
    if os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2":
        return f"{name}, held to AVX2"
    has = "AVX-512" if "avx512f" in processor_flags() else "AVX2"
    return f"{name}, {has}"


def _machine():
    """Return what a table must say of the machine."""
    import importlib.metadata

    from keras_kd._common.backend import describe_machine, processor_flags

    torch = importlib.metadata.version("torch")
    flags = " ".join(flag for flag in _FLAGS if flag in processor_flags())
    device = describe_machine()["device"].replace(", oneDNN on", "").replace(", oneDNN off", "")
    return {**describe_machine(), "device": device, "torch": torch, "flags": flags}


# --- convolutions -------------------------------------------------------------------------------


def convolutions(work, way, rounds, compiled=False):
    """Return seconds of each round of one work, done in several ways in turns.

    Args:
        work: a row's name.
        way: `"oneDNN on"`: keras_kd beside PyTorch; `"oneDNN off"` and `"Keras"` by themselves.
        rounds: how many.
        compiled: measure PyTorch's compiled form too, whose compiling takes up to a minute.
    """
    import keras

    import keras_kd as kd

    done, net, teacher_channels, count = WORKS[work]
    data = kd.data.load("fashion_mnist", seed=0).train
    images, labels = data.images[:count], data.labels[:count]
    keras.utils.set_random_seed(0)
    model = _keras_net(net)
    if done == "forward":
        ours = _forward(model, images)
    else:
        if way != "Keras":
            teacher = teacher_channels and _keras_net((teacher_channels, False))
            model = kd.Distiller(student=model, teacher=teacher, alpha=0.5 if teacher else 0.0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss=loss, metrics=["accuracy"])
        ours = _second_epoch(model, images, labels)
    ways = {way if way == "Keras" else f"keras_kd, {way}": ours}
    if way == "oneDNN on":
        ways |= _torch_ways(done, net, teacher_channels, images, labels, compiled)
    seconds = {name: [] for name in ways}
    for function in ways.values():  # What compiles, compiles now.
        function()
    for number in range(rounds):
        # One order after another.
        for name in list(ways)[:: 1 if number % 2 else -1]:
            seconds[name].append(ways[name]())
    return _found(work, seconds)


def _keras_net(net):
    import keras_kd as kd

    if net == "resnet":
        return kd.models.resnet18(0.5)
    channels, norm = net
    return kd.models.conv_net(channels, batch_norm=norm)


def _forward(model, images):
    import tensorflow as tf

    import keras_kd as kd

    ask, images = tf.function(kd.Teacher(model)), tf.constant(images)

    def every():
        for start in range(0, len(images), 64):
            said = ask(images[start : start + 64])
        return said.numpy()

    return functools.partial(_seconds_of, every)


def _second_epoch(model, images, labels):
    import keras

    began = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: began.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: began.append(time.perf_counter() - began.pop()),
    )

    def one():
        model.fit(images, labels, batch_size=64, epochs=2, verbose=0, callbacks=[clock])
        return began[-1]

    return one


def _seconds_of(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _torch_ways(done, net, teacher, images, labels, compiled):
    import torch

    ways = {
        "PyTorch": (torch.contiguous_format, False),
        "PyTorch, channels last": (torch.channels_last, False),
    }
    if compiled and shutil.which("g++"):
        ways["PyTorch, channels last, compiled"] = (torch.channels_last, True)
    return {
        name: _torch(done, net, teacher, images, labels, *options) for name, options in ways.items()
    }


def _torch(done, net, teacher, images, labels, layout, compiled):
    """The plain loop at its fastest: images ready in memory, no DataLoader, the fused Adam."""
    import numpy as np
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    images = torch.tensor(images.astype(np.float32).transpose(0, 3, 1, 2) / 255)
    images = images.contiguous(memory_format=layout)
    labels = torch.tensor(labels.astype(np.int64))
    student = _torch_net(net).to(memory_format=layout)
    teacher = teacher and _torch_net((teacher, False)).to(memory_format=layout).eval()
    optimizer = torch.optim.Adam(student.parameters(), fused=True)
    if compiled:
        student, teacher = torch.compile(student), teacher and torch.compile(teacher)

    def forward():
        student.eval()
        with torch.inference_mode():
            for start in range(0, len(images), 64):
                student(images[start : start + 64])

    def epoch():
        for chosen in torch.randperm(len(images)).split(64):
            batch = images[chosen].contiguous(memory_format=layout)
            logits = student(batch)
            loss = functional.cross_entropy(logits, labels[chosen])
            if teacher is not None:
                with torch.no_grad():
                    said = teacher(batch)
                soft = functional.kl_div(
                    functional.log_softmax(logits / 2, -1),
                    functional.softmax(said / 2, -1),
                    reduction="batchmean",
                )
                loss = 0.5 * loss + 0.5 * 4 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return functools.partial(_seconds_of, forward if done == "forward" else epoch)


def _torch_net(net):
    from torch import nn

    if net == "resnet":
        return _torch_resnet()
    channels, norm = net
    layers, before, size = [], 1, 28
    for count in channels:
        layers.append(nn.Conv2d(before, count, 3, 2, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(count), nn.ReLU()] if norm else [nn.ReLU()]
        before, size = count, (size + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * size * size, 10))


def _torch_resnet():
    from torch import nn

    def normed(before, count, size, strides):
        convolution = nn.Conv2d(before, count, size, strides, size // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(count))

    class Block(nn.Module):
        def __init__(self, before, count, strides):
            super().__init__()
            inner = [normed(before, count, 3, strides), nn.ReLU(), normed(count, count, 3, 1)]
            self.inner = nn.Sequential(*inner)
            same = strides == 1 and before == count
            self.shortcut = nn.Identity() if same else normed(before, count, 1, strides)
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.inner(x) + self.shortcut(x))

    layers, before = [normed(1, 32, 3, 1), nn.ReLU()], 32
    for stage, count in enumerate((32, 64, 128, 256)):
        layers.append(Block(before, count, 2 if stage else 1))
        layers.append(Block(count, count, 1))
        before = count
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *pool, nn.Linear(before, 10))


# --- first fit ----------------------------------------------------------------------------------

FIRST_FIT = ("keras_kd", "Keras")


def first_fit(way):
    """Return seconds of the first `fit` of one epoch in a process, and of two later ones.

    An MLP 784-32-10 alone, 60 000 images in arrays, batches of 32.
    """
    import keras
    import numpy as np

    import keras_kd as kd

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60_000, 28, 28, 1), dtype=np.uint8)
    labels = generator.integers(0, 10, 60_000).astype(np.int32)
    keras.utils.set_random_seed(0)
    model = kd.models.mlp([32])
    if way == "keras_kd":
        model = kd.Distiller(student=model, alpha=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, metrics=["accuracy"])
    first, *later = (_seconds_of(lambda: model.fit(images, labels, verbose=0)) for _ in range(3))
    return _found(way, {"first": [first], "later": [statistics.median(later)]})


# --- what is kept -------------------------------------------------------------------------------


def _found(row, seconds):
    return {"kind": _kind(), "machine": _machine(), "row": row, "seconds": seconds}


def added(kept, found):
    """Return lists of seconds by name, those found behind those kept."""
    return kept | {name: [*kept.get(name, []), *values] for name, values in found.items()}
