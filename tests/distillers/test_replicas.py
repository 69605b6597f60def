"""Two replicas give the weights of one device, in a process that has two logical devices.

Losses on the same models are summed in one distiller: a wrong share of any moves the weights, and
each is a figure of its own in the history.
"""

import numpy as np
import tensorflow as tf
import warm

import keras_kd as kd

SCRIPT = """
import sys
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
import keras_kd as kd
from keras import layers

images = np.random.default_rng(0).uniform(0, 255, (64, 4, 4, 1)).astype("float32")
one_label = np.arange(64) % 3
several_labels = np.random.default_rng(1).integers(0, 2, (64, 3)).astype("float32")


def net(width, activation=None):
    image = keras.Input((4, 4, 1))
    x = layers.Conv2D(width, 2, name="maps")(layers.Rescaling(1 / 255)(image))
    l2 = keras.regularizers.L2(1e-2)
    # Smooth: at the kink of a ReLU the rounding of one example can become a jump of its gradient.
    hidden = layers.Dense(6, activation="tanh", kernel_regularizer=l2, name="hidden")
    x = hidden(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(3, activation=activation)(x))


def distiller(losses):
    keras.utils.set_random_seed(1)
    binary = any(isinstance(loss, kd.losses.BinarySoftTargets) for loss in losses)
    teacher = net(5, activation="sigmoid" if binary else None)
    return kd.Distiller(student=net(2), teacher=teacher, distillation_loss=losses, alpha=0.7)


def mutual():
    keras.utils.set_random_seed(1)
    return kd.MutualDistiller([net(2), net(3)])


def judged():
    keras.utils.set_random_seed(1)
    names = [None, "maps"]
    return kd.adversarial.DiscriminatorDistiller(
        student=net(2),
        teacher=net(5),
        teacher_layer_name=names,
        student_layer_name=names,
        beta=0.5,
    )


def online():
    keras.utils.set_random_seed(1)
    return kd.adversarial.OnlineAdversarialDistiller([net(2), net(3)], layer_names="maps")


def kdgan():
    keras.utils.set_random_seed(1)
    return kd.adversarial.KDGANDistiller([net(2), net(3)])


PLAYERS = {
    kd.adversarial.DiscriminatorDistiller: ["discriminator_optimizer"],
    kd.adversarial.KDGANDistiller: ["discriminator_optimizer"],
    kd.adversarial.OnlineAdversarialDistiller: ["adversarial_optimizer", "discriminator_optimizer"],
}


def run(build, labels=one_label, rate=0.1, **options):
    distiller = build()
    players = {name: keras.optimizers.SGD(0.05) for name in PLAYERS.get(type(distiller), ())}
    distiller.compile(keras.optimizers.SGD(rate), metrics=["accuracy"], **players, **options)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)
    history = distiller.fit(batches, epochs=2, verbose=0).history
    return distiller.get_weights(), history


LOSSES = {
    "on one class, layers and values": lambda: [
        kd.losses.DIST(2.0),
        kd.losses.DecoupledKD(2.0),
        kd.losses.JensenShannon(2.0),
        kd.losses.LabelSmoothing(),
        kd.losses.LogitDistance(),
        kd.losses.LogitMatching(),
        kd.losses.ReverseSoftTargets(2.0),
        kd.losses.SoftTargets(2.0),
        kd.losses.StandardizedLogits(kd.losses.SoftTargets(2.0)),
        kd.losses.TeacherLabels(),
        kd.losses.AttentionTransfer("maps", "maps"),
        kd.losses.Hints("maps", "maps"),
        kd.losses.RelationalAngle("hidden", "hidden"),
        kd.losses.RelationalDistance("hidden", "hidden"),
        kd.losses.SimilarityPreserving("hidden", "hidden"),
        kd.losses.CosineMatching(),
        kd.losses.HuberMatching(),
        kd.losses.ValueDistance(),
        kd.losses.ValueMatching(normalize=True),
    ],
    "on several labels": lambda: [kd.losses.BinarySoftTargets(2.0)],
}
LABELS = {"on several labels": several_labels}
exported = {
    name
    for name in kd.losses.__all__
    if isinstance(getattr(kd.losses, name), type)
    and issubclass(getattr(kd.losses, name), keras.distillation.DistillationLoss)
}
# Contrastive looks up images by their index, which replicas do not get: it is refused below.
tried = {type(loss).__name__ for make in LOSSES.values() for loss in make()}
missing = exported - tried - {"Contrastive", "DistillationLoss", "FeatureLoss", "ValueLoss"}
assert not missing, f"Without a row here: {missing}"

reduction = tf.distribute.ReductionToOneDevice()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)
rows = {name: lambda make=make: distiller(make()) for name, make in LOSSES.items()}
rows |= {
    "MutualDistiller": mutual,
    "DiscriminatorDistiller": judged,
    "OnlineAdversarialDistiller": online,
    "KDGANDistiller": kdgan,
}
for name, build in rows.items():
    labels = LABELS.get(name, one_label)
    losses = LOSSES.get(name, list)()
    # Their sum is steep: rounding would grow from step to step.
    rate = 0.1 / max(len(losses), 1)
    # A few steps are taken sooner than traced; what two devices do is a graph, as users have it.
    one, history = run(build, labels, rate, run_eagerly=True)
    with strategy.scope():
        two, other_history = run(build, labels, rate)
    if len(losses) > 1:
        assert {loss.name for loss in losses} <= set(history)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, err_msg=name)
    for key, values in history.items():
        np.testing.assert_allclose(other_history[key], values, rtol=1e-4, err_msg=f"{name} {key}")
with strategy.scope():
    outside = distiller([kd.losses.SoftTargets()]).compile()
outside.fit(images, one_label, verbose=0)  # The scope is the model's, as in Keras.


def shuffled():
    # Minibatches in a new order each epoch, over two `fit`s.
    model = distiller([kd.losses.SoftTargets()])
    model.compile(keras.optimizers.SGD(0.1))
    batches = kd.data.Split(images, one_label).batches(32, shuffle_seed=3)
    model.fit(batches, epochs=2, verbose=0)
    model.fit(batches, verbose=0)
    return model.get_weights()


one = shuffled()
with strategy.scope():
    two = shuffled()
for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6, err_msg="Split.batches")
with strategy.scope():
    try:
        run(lambda: distiller([keras.distillation.LogitsDistillation()]))
    except ValueError as error:
        assert "divided among replicas" in str(error), error
    else:
        sys.exit("a loss of unknown scale was taken")
    try:
        contrastive = kd.losses.Contrastive("hidden", "hidden", num_examples=64)
        run(lambda: distiller([contrastive]))
    except ValueError as error:
        assert "on one device" in str(error), error
    else:
        sys.exit("a loss that needs the index was taken")
"""


def test_two_replicas_give_the_weights_of_one_device():
    """Every loss and distiller, 4 steps: weights to 1e-6, metrics included; orders of epochs."""
    result = warm.run(code=SCRIPT)
    assert result.returncode == 0, result.stderr[-3000:]


def test_one_replica_trains_outside_the_scope_it_was_built_in():
    # A script for several GPUs, on a machine with one.
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    student, teacher = (lambda units=units: kd.models.mlp([units]) for units in (4, 8))
    with strategy.scope():
        distiller = kd.Distiller(student=student(), teacher=teacher()).compile("adam")
    before = [weight.copy() for weight in distiller.get_weights()]
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), dtype="uint8")
    distiller.fit(kd.data.Split(images, np.arange(8)).batches(4, shuffle_seed=0), verbose=0)
    assert not np.array_equal(before[-1], distiller.get_weights()[-1])
