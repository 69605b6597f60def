"""The tables of the contracts: every exported distiller and distillation loss has its row here.

To add a distiller or a loss is to add its row: `distillers/test_contracts.py` fails until it is
done, and for a row of what is no longer exported.
"""

import inspect

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd

IMAGES = np.random.default_rng(0).uniform(0, 255, (32, 4, 4, 1)).astype("float32")
LABELS = np.arange(32) % 5
SEVERAL_LABELS = np.random.default_rng(1).integers(0, 2, (32, 5)).astype("float32")
VALUES = np.random.default_rng(2).normal(size=(32, 5)).astype("float32")


def net(name, *, counting=False, seed=0, width=8):
    """A net with BatchNorm and a regulariser, so that their traps are in reach."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((4, 4, 1), name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = Recorder(name="recorder")(x) if counting else x
    # No bias: before BatchNorm its gradient is 0, and Adam would blow up the rounding error.
    x = layers.Conv2D(
        4, 2, use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-2), name="maps"
    )(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(width, activation="tanh", name="hidden")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(5, dtype="float32", name="logits")(x), name=name)


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class Recorder(layers.Layer):
    """Keeps what passes through it (run eagerly)."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = []

    def call(self, inputs):
        self.seen.append(np.asarray(inputs) if tf.executing_eagerly() else None)
        return inputs


LOSSES = {
    "AttentionTransfer": lambda: kd.losses.AttentionTransfer("maps", "maps"),
    "BinarySoftTargets": lambda: kd.losses.BinarySoftTargets(temperature=2.0),
    "Contrastive": lambda: kd.losses.Contrastive(
        "hidden", "hidden", num_examples=32, num_negatives=4
    ),
    "CosineMatching": lambda: kd.losses.CosineMatching(),
    "DIST": lambda: kd.losses.DIST(temperature=2.0),
    "DecoupledKD": lambda: kd.losses.DecoupledKD(temperature=2.0, non_target_weight=2.0),
    "Hints": lambda: kd.losses.Hints("hidden", "hidden"),
    "HuberMatching": lambda: kd.losses.HuberMatching(2.0),
    "JensenShannon": lambda: kd.losses.JensenShannon(2.0, mixing=0.3),
    "LabelSmoothing": lambda: kd.losses.LabelSmoothing(0.2),
    "LogitDistance": lambda: kd.losses.LogitDistance(),
    "LogitMatching": lambda: kd.losses.LogitMatching(),
    "RelationalAngle": lambda: kd.losses.RelationalAngle("hidden", "hidden"),
    "RelationalDistance": lambda: kd.losses.RelationalDistance("hidden", "hidden"),
    "ReverseSoftTargets": lambda: kd.losses.ReverseSoftTargets(temperature=2.0),
    "SimilarityPreserving": lambda: kd.losses.SimilarityPreserving("maps", "maps"),
    "SoftTargets": lambda: kd.losses.SoftTargets(temperature=2.0),
    "StandardizedLogits": lambda: kd.losses.StandardizedLogits(kd.losses.DecoupledKD(2.0)),
    "TeacherLabels": lambda: kd.losses.TeacherLabels(),
    "ValueDistance": lambda: kd.losses.ValueDistance(),
    "ValueMatching": lambda: kd.losses.ValueMatching(),
}

# Bases, which are no losses by themselves.
BASES = {"DistillationLoss", "FeatureLoss", "ValueLoss"}

# One of each kind stands for all where each case costs seconds: on logits, on logits and labels,
# on layers with a projector.
KINDS = ("SoftTargets", "DecoupledKD", "Hints")

# Bits are promised for the same program on the same machine. Two programs (another step, or one
# without labels) are ordered and fused in other ways: they differ in the last digit of float32,
# carried through eight steps of Adam at 1e-2.
OTHER_PROGRAM = {"rtol": 1e-5, "atol": 1e-6}

# No teacher to leave alone, no labels or images to be given, or a player more to be counted: what
# applies to these is in test_mutual.py, test_online.py, test_kdgan.py, test_data_free.py,
# test_discriminator.py.
WITH_THEIR_OWN_TESTS = {
    "DataFreeDistiller",
    "DiscriminatorDistiller",
    "KDGANDistiller",
    "MutualDistiller",
    "OnlineAdversarialDistiller",
}

DISTILLERS = {
    "Distiller": kd.Distiller,
}
# Whoever keeps the part of the contract that a player more does not change.
WITH_A_TEACHER = {
    **DISTILLERS,
    "DiscriminatorDistiller": kd.adversarial.DiscriminatorDistiller,
}


def exported(base):
    """Return the names of the public subclasses of `base`, wherever the package exports them."""
    modules = [getattr(kd, name) for name in kd._MODULES]
    members = [getattr(kd, name) for name in kd._NAMES]
    members += [member for module in modules for member in vars(module).values()]
    return {
        member.__name__
        for member in members
        if inspect.isclass(member)
        and issubclass(member, base)
        and member is not base
        and member.__module__.startswith("keras_kd")
        and not member.__name__.startswith("_")
    }
