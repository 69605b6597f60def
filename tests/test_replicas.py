"""Two replicas give the weights of one device, in a process that has two logical devices."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
import keras_kd as kd

images = np.random.default_rng(0).uniform(0, 255, (320, 4, 4, 1)).astype("float32")
batches = tf.data.Dataset.from_tensor_slices((images, np.arange(320) % 3)).batch(32)


def student():
    image = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    l2 = keras.regularizers.L2(1e-2)
    x = keras.layers.Dense(6, activation="relu", kernel_regularizer=l2, name="hidden")(x)
    return keras.Model(image, keras.layers.Dense(3)(x))


def run(loss):
    keras.utils.set_random_seed(1)
    teacher = kd.models.mlp([9], image_shape=(4, 4, 1), num_classes=3)
    distiller = kd.Distiller(student=student(), teacher=teacher, distillation_loss=loss, alpha=0.7)
    distiller.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
    history = distiller.fit(batches, epochs=4, verbose=0, shuffle=False).history
    return distiller.get_weights(), history


losses = {
    "SoftTargets": kd.losses.SoftTargets,
    "DecoupledKD": kd.losses.DecoupledKD,
    "Hints": lambda: kd.losses.Hints("hidden_1", "hidden"),
}
for name, build in losses.items():
    one, history = run(build())
    reduction = tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)
    with strategy.scope():
        two, other_history = run(build())
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, err_msg=name)
    for key, values in history.items():
        np.testing.assert_allclose(other_history[key], values, rtol=1e-4, err_msg=f"{name} {key}")
with strategy.scope():
    try:
        run(keras.distillation.LogitsDistillation())
    except ValueError as error:
        assert "divided among replicas" in str(error), error
    else:
        sys.exit("a loss of unknown scale was taken")
"""


@pytest.mark.slow
def test_two_replicas_give_the_weights_of_one_device():
    """40 steps: weights to 1e-6, metrics included."""
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
