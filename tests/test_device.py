"""Devices; GPUs are pretended, as no test machine has one. See also `benchmarks/scripts/gpu.py`."""

import pytest
import tensorflow as tf
import warm

import keras_kd as kd
from keras_kd._common.backend import describe_machine


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs; what TensorFlow is told about them."""
    told = {"visible": None, "growing": []}
    both = [tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU") for n in (0, 1)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(both))
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: told.update(visible=devices)
    )
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: told["visible"])
    monkeypatch.setattr(
        tf.config.experimental,
        "set_memory_growth",
        lambda device, grows: told["growing"].append((device, grows)),
    )
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda device: {"device_name": device.name}
    )
    return both, told


@pytest.mark.parametrize(
    ("name", "numbers"), [("auto", [0, 1]), ("gpu", [0]), ("gpu:1", [1]), ("cpu", [])]
)
def test_what_is_used_and_its_memory_grows(gpus, name, numbers):
    both, told = gpus
    line = kd.use_device(name)
    assert told["visible"] == [both[number] for number in numbers]
    assert told["growing"] == [(both[number], True) for number in numbers]
    names = ", ".join(both[number].name for number in numbers)
    assert line == f"GPU ({names})" if numbers else line.startswith("CPU (")


def test_a_gpu_that_is_not_there(gpus):
    with pytest.raises(ValueError, match="Received: device='gpu:2' with 2 GPUs"):
        kd.use_device("gpu:2")


@pytest.mark.parametrize("name", ["tpu", "gpu:", "GPU 1", None, 0])
def test_a_name_that_is_none(name):
    with pytest.raises(ValueError, match="`device` must be 'auto', 'cpu', 'gpu' or 'gpu:N'"):
        kd.use_device(name)


def test_the_processor_without_any_gpu():
    call = "import keras_kd as kd; print(kd.use_device('cpu'), kd.use_device('auto'))"
    result = warm.run(code=call)
    assert result.returncode == 0 and result.stdout.startswith("CPU ("), result.stderr


def test_too_late(monkeypatch):
    def refuse(*_):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    with pytest.raises(ValueError, match="before TensorFlow computes anything"):
        kd.use_device("cpu")


def test_the_command_takes_it_too(capsys):
    from keras_kd.cli import main

    assert main(["--device", "gpu:7", "list", "nowhere"]) == 2
    assert "Received: device='gpu:7' with 0 GPUs" in capsys.readouterr().err
    assert main(["--device", "tpu", "list", "nowhere"]) == 2


def test_a_hidden_gpu_does_not_bring_xla(monkeypatch):
    """Keras looks at the GPUs there are, and not at those that may be used."""
    cpus = tf.config.list_physical_devices("CPU")
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    found = {None: [*cpus, gpu], "CPU": cpus, "GPU": [gpu]}
    visible = {None: cpus, "CPU": cpus, "GPU": []}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: found[kind])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: visible[kind])
    distiller = kd.Distiller(student=kd.models.mlp([4]), teacher=kd.models.mlp([8]))
    assert not distiller.compile().jit_compile
    visible[None] = found[None]
    assert distiller.compile().jit_compile
    assert not distiller.compile(jit_compile=False).jit_compile


PIPELINES = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras_kd as kd
from keras_kd.soft_labels import logits_of_all

images, labels = np.zeros((20, 28, 28, 1), "uint8"), np.zeros(20, "int32")
with tf.device("CPU:1"):
    minibatches = kd.data.Split(images, labels).batches(8, shuffle_seed=0).minibatches
    minibatches = minibatches.with_teacher_logits(logits_of_all(kd.models.mlp([4]), images, False))
    epoch = minibatches.stacks(2, gathered=True)
kept = [*tf.nest.flatten(minibatches.resident, expand_composites=True), minibatches.next_epoch]
print("RESULT", len(kept), {each.device.rsplit(":", 2)[-1] for each in kept}, len(list(epoch)))
"""


def test_what_a_pipeline_reads_lies_with_the_processor():
    """Where all else is made on another device, as on a GPU, whose memory it would fill."""
    result = warm.run(code=PIPELINES)
    assert result.stdout.rsplit("RESULT", 1)[-1].split() == ["4", "{'0'}", "2"], result.stderr


def test_results_name_the_version_that_runs_not_the_one_once_installed(monkeypatch):
    monkeypatch.setattr(kd, "__version__", "9.9.9")
    assert describe_machine()["keras_kd"] == "9.9.9"
