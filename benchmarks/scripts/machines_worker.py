"""One process of `machines.py students`: it trains small students, alone or as one of several.

    python machines_worker.py KIND FOLDER EPOCHS EXAMPLES BATCH_SIZE KILLED NUDGE

Of every kind there is one that workers must share: a loss on logits, one across the batch, students
that teach each other, a layer that sees the batch, other players. `KIND` is one, or `all`. Worker 1
kills itself at the beginning of epoch `KILLED`; the first weights are changed by a share `NUDGE`.
"""

import contextlib
import json
import os
import signal
import sys
import time

import keras
import numpy as np
from keras import layers

import keras_kd as kd

TASK = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task")
IMAGE = (8, 8, 1)


def net(width, normalized=False):
    """Return a small model of digits."""
    image = keras.Input(IMAGE)
    x = layers.Conv2D(width, 3, name="maps")(layers.Rescaling(1 / 255)(image))
    if normalized:
        x = layers.BatchNormalization()(x)
    # Smooth: at the kink of a ReLU the rounding of one example can become a jump of its gradient.
    x = layers.Dense(16, activation="tanh", name="hidden")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(10)(x))


def distiller(loss, **options):
    """Return a distiller of two nets."""
    return kd.Distiller(
        student=net(2, **options), teacher=net(6), distillation_loss=loss, alpha=0.7
    )


def judged():
    """Return a distiller with a discriminator on logits and on a layer."""
    names = {key: [None, "maps"] for key in ("teacher_layer_name", "student_layer_name")}
    return kd.adversarial.DiscriminatorDistiller(student=net(2), teacher=net(5), beta=0.5, **names)


def online():
    """Return two students with a discriminator each."""
    return kd.adversarial.OnlineAdversarialDistiller([net(2), net(3)], layer_names="maps")


KINDS = {
    "SoftTargets": lambda: distiller(kd.losses.SoftTargets(2.0)),
    "RelationalDistance": lambda: distiller(kd.losses.RelationalDistance("hidden", "hidden")),
    "MutualDistiller": lambda: kd.MutualDistiller([net(2), net(3)]),
    "SoftTargets, BatchNormalization": lambda: distiller(
        kd.losses.SoftTargets(2.0), normalized=True
    ),
    "DiscriminatorDistiller": judged,
    "OnlineAdversarialDistiller": online,
    "KDGANDistiller": lambda: kd.adversarial.KDGANDistiller([net(2), net(3)]),
}


class Watch(keras.callbacks.Callback):
    """Times the epochs, and kills worker 1."""

    def __init__(self, killed):
        super().__init__()
        self.killed, self.seconds = killed, []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.killed and TASK and TASK["index"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.begun)


def main():
    kind, folder, *numbers, nudge = sys.argv[1:]
    epochs, examples, batch_size, killed = map(int, numbers)
    scope = kd.connect_workers().scope if TASK else contextlib.nullcontext
    train = kd.data.load("digits", seed=0).train
    split = kd.data.Split(train.images[:examples], train.labels[:examples])
    for name in KINDS if kind == "all" else [kind]:
        keras.utils.set_random_seed(1)
        with scope():
            model = KINDS[name]()
            players = getattr(model, "players", dict)()
            rates = {player: keras.optimizers.SGD(0.02) for player in players}
            model.compile(keras.optimizers.SGD(0.05), metrics=["accuracy"], **rates)
        first = model.trainable_variables[0]
        first.assign(np.array(first) * (1 + float(nudge)))
        watch, batches = Watch(killed), split.batches(batch_size, shuffle_seed=3)
        options = {"epochs": epochs, "verbose": 0, "callbacks": [watch]}
        if TASK:
            kd.fit_distributed(model, batches, folder=f"{folder}/{name}", **options)
        else:
            model.fit(batches, **options)
        path = f"{folder}/{name}-{TASK['index'] if TASK else 0}"
        np.savez(f"{path}.npz", *model.get_weights())
        with open(f"{path}.json", "w") as file:
            json.dump(watch.seconds, file)


if __name__ == "__main__":
    main()
