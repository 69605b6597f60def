"""Two workers, processes on this machine, train as one does; one dies, all go on.

A worker that waits for TensorFlow may wait for ever: each has a time limit and a hard kill.
"""

import json
import os
import re
import socket
import subprocess

import numpy as np
import pytest
import warm
from helpers import assert_equal_weights

import keras_kd as kd

pytestmark = pytest.mark.usefixtures("improved_graphs")

SECONDS = 150
MODELS = """
import json, os, signal, sys
import keras
import numpy as np
import tensorflow as tf
import keras_kd as kd
from keras import layers
from keras_kd.distributed import folder as shared_folder

images = np.random.default_rng(0).uniform(0, 255, (66, 4, 4, 1)).astype("float32")
labels = np.arange(66) % 3
validation = images[:21], labels[:21]


def net(width, normalized=False):
    image = keras.Input((4, 4, 1))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    # Smooth: at the kink of a ReLU the rounding of one example can become a jump of its gradient.
    x = layers.Dense(6, activation="tanh", name="hidden")(x)
    if normalized:
        x = layers.BatchNormalization()(x)
    return keras.Model(image, layers.Dense(3)(x))


def distiller():
    keras.utils.set_random_seed(1)
    distiller = kd.Distiller(
        student=net(2, normalized=True),
        teacher=net(5),
        distillation_loss=[
            kd.losses.SoftTargets(2.0), kd.losses.RelationalDistance("hidden", "hidden"),
        ],
    )
    return distiller.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])


def batches(size, seed=3):
    return kd.data.Split(images, labels).batches(size, shuffle_seed=seed)
"""
SCRIPT = """
phase, folder, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
is_chief = index == 0


class Ends(keras.callbacks.Callback):
    # One of them, as a scheduler ends it.
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2 and phase == "begin" and not is_chief:
            os.kill(os.getpid(), signal.SIGTERM)


class Decides(keras.callbacks.Callback):
    # By something that only the chief knows, such as the time.
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training |= is_chief and epoch == 3


def refused(**options):
    try:
        kd.fit_distributed(first, **{"data": batches(32), **options})
    except Exception as error:
        return f"{type(error).__name__}: {error}"


told = {}
strategy = kd.connect_workers(timeout=60)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
with strategy.scope():
    first = distiller()
if phase == "begin":
    shared_folder._SEEN_WITHIN = 0.1
    told["refused"] = {
        "order": refused(data=batches(32, seed=index)),
        "epochs": refused(epochs=1 + index),
        "batch": refused(data=batches(33)),
        "folder": refused(folder=f"{folder}/of-{index}"),
        "callback": refused(callbacks=[keras.callbacks.BackupAndRestore("backup")]),
    }
    before = first.get_weights()
    if not is_chief:
        first.student.layers[-1].bias.assign([0.0, 1.0, 0.0])
    told["refused"]["weights"] = refused()
    first.set_weights(before)
    shared_folder._SEEN_WITHIN = 60
try:
    history = kd.fit_distributed(
        first, batches(32), epochs=6, folder=f"{folder}/run", validation_data=validation,
        callbacks=[
            Ends(),
            Decides(),
            keras.callbacks.ModelCheckpoint(f"{folder}/run/best.keras", monitor="val_loss"),
            kd.callbacks.EarlyStopping("val_loss", patience=5),
        ],
        verbose=2,
    )
    told["history"] = history.history
    told["synchronized"] = first.student.layers[4].synchronized
    np.savez(f"{folder}/{index}.npz", *first.get_weights())
except ConnectionError as error:
    told["ended"] = str(error)
with open(f"{folder}/{phase}-{index}.json", "w") as file:
    json.dump(told, file)
"""


def start(phase, folder):
    """Let two workers run the script; return what each told, and how it ended."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    workers = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(task)}
        code = MODELS + SCRIPT
        workers.append(warm.start(phase, folder, index, code=code, env=environment))
    ended = []
    try:
        for worker in workers:
            ended.append((*worker.communicate(SECONDS), worker.returncode))
    except subprocess.TimeoutExpired:
        pytest.fail("\n".join(worker.stderr.read()[-3000:] for worker in workers if worker.poll()))
    finally:
        for worker in workers:
            worker.kill()
    return ended


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def begun(folder):
    """What the chief told when the other had ended in the middle, and what lay in the folder."""
    (_, err, code), (_, other_err, other_code) = start("begin", folder)
    assert code == 0, err[-3000:]
    assert other_code == -15, other_err[-3000:]
    return json.loads((folder / "begin-0.json").read_text())


@pytest.fixture(scope="module")
def ended(folder, begun):
    """What each told when both were started again, and what the chief said."""
    ended = start("again", folder)
    for _, err, code in ended:
        assert code == 0, err[-3000:]
    told = [json.loads((folder / f"again-{index}.json").read_text()) for index in range(2)]
    return told, ended[0][0]


def test_workers_that_would_not_train_the_same_are_refused_by_each(begun):
    expected = {
        "order": "same first minibatch. Received: another on worker 1",
        "epochs": "same number of `epochs`",
        "batch": "33 among 2. Make batches of 34",
        "folder": "All workers end where one fails. Received: an error on worker 1",
        "callback": "`fit_distributed` keeps its own checkpoint",
        "weights": "same weights at the start",
    }
    for name, words in expected.items():
        assert words in begun["refused"][name], begun["refused"]


def test_a_worker_that_ends_is_named_to_the_others(begun):
    """By SIGTERM, which TensorFlow would keep from it."""
    sentence = r"Received: worker 1 \(127.0.0.1:\d+\), gone. .* at epoch 3 of 6\."
    assert re.search(sentence, begun["ended"])


def test_all_go_on_to_weights_and_logs_of_one_device(folder, ended):
    """A loss on logits, one across the batch, BatchNormalization, a smaller last minibatch."""
    found = {}
    exec(MODELS, found)
    one = found["distiller"]()
    history = one.fit(
        found["batches"](32), epochs=4, validation_data=found["validation"],
        callbacks=[kd.callbacks.EarlyStopping("val_loss", patience=5)], verbose=0,
    ).history  # fmt: skip
    for index, told in enumerate(ended[0]):
        with np.load(folder / f"{index}.npz") as weights:
            assert_equal_weights(weights.values(), one.get_weights(), atol=1e-6)
        # The chief's word ended it after four of six epochs.
        assert {*told["history"]} == {*history}
        for name, values in history.items():
            np.testing.assert_allclose(told["history"][name], values, rtol=1e-4, err_msg=name)
        assert not told["synchronized"]


def test_the_chief_alone_writes_and_speaks(folder, ended):
    assert "Epoch 4/6" in ended[1]
    assert {path.name for path in (folder / "run").iterdir()} == {
        "best.keras", "checkpoint.npz", "workers.json",
    }  # fmt: skip
