"""The choice of the device; GPUs are pretended, since no test machine has one."""

import subprocess
import sys

import pytest
import tensorflow as tf

import keras_kd as kd


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
    result = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
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
