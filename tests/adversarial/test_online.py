"""Students that teach each other by logits and imitate each other's features in a cycle."""

import functools

import keras
import numpy as np
import pytest
from helpers import assert_equal_weights
from keras import layers

import keras_kd as kd

IMAGES = np.random.default_rng(0).uniform(0, 255, (24, 4, 4, 1)).astype("float32")
LABELS = np.arange(24) % 3
FIT = {"batch_size": 8, "epochs": 1, "shuffle": False, "verbose": 0}
SGD = keras.optimizers.SGD


def students():
    """Of two shapes, so that there is a transfer layer."""
    found = []
    for seed, filters in enumerate((4, 5, 5)):
        keras.utils.set_random_seed(seed)
        found.append(kd.models.conv_net([filters], image_shape=(4, 4, 1), num_classes=3))
    return found


def online(number=3, **options):
    found = students()[:number]
    keras.utils.set_random_seed(9)
    return kd.adversarial.OnlineAdversarialDistiller(found, layer_names="conv_1", **options)


def trained(model, fit=FIT, run_eagerly=True, **options):
    optimizers = ("optimizer", "adversarial_optimizer", "discriminator_optimizer")
    # A few steps are taken sooner than traced.
    model.compile(
        run_eagerly=run_eagerly,
        **{**{name: keras.optimizers.Adam(1e-3) for name in optimizers}, **options},
    )
    return model.fit(IMAGES, LABELS, **fit).history


RATES = {"optimizer": 0.1, "adversarial_optimizer": 0.01}


@functools.cache
def plainly():
    """What a graph of plain kernels makes of two, which others are held against."""
    model = online(2)
    rates = {name: SGD(rate) for name, rate in RATES.items()}
    trained(model, run_eagerly=False, jit_compile=False, **rates)
    return weights_of(model.students)


def weights_of(models):
    return [weight for model in models if model is not None for weight in model.get_weights()]


def share_moved(before, after):
    return np.mean([not np.array_equal(a, b) for a, b in zip(before, after, strict=True)])


def test_without_adversarial_weight_it_is_mutual_learning_to_the_bit():
    control, mutual = online(adversarial_weight=0.0), kd.MutualDistiller(students())
    logs = trained(control)
    mutual.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    assert mutual.fit(IMAGES, LABELS, **FIT).history == logs
    assert_equal_weights(weights_of(control.students), weights_of(mutual.students))


def test_without_an_adversarial_rate_the_networks_learn_as_in_mutual_learning():
    """The game is played, and reaches the networks through its own optimizer alone."""
    one, mutual = online(), kd.MutualDistiller(students())
    before = weights_of(one.discriminators)
    trained(one, optimizer=SGD(0.1), adversarial_optimizer=SGD(0.0))
    mutual.compile(SGD(0.1), run_eagerly=True).fit(IMAGES, LABELS, **FIT)
    assert_equal_weights(
        weights_of(one.students), weights_of(mutual.students), rtol=1e-5, atol=1e-7
    )
    assert share_moved(before, weights_of(one.discriminators)) > 0.9


def test_each_optimizer_moves_its_own():
    model = online()
    parts = {
        "optimizer": model.students,
        "adversarial_optimizer": model.transfers,
        "discriminator_optimizer": model.discriminators,
    }
    before = {name: weights_of(models) for name, models in parts.items()}
    # The last dense layer comes after the features: only `optimizer` reaches it.
    heads = [student.get_layer("logits") for student in model.students]
    heads_before = weights_of(heads)
    trained(model, optimizer=SGD(0.0), discriminator_optimizer=SGD(0.0))
    assert share_moved(heads_before, weights_of(heads)) == 0
    assert share_moved(before["optimizer"], weights_of(model.students)) == 0.5
    assert share_moved(before["adversarial_optimizer"], weights_of(model.transfers)) == 1
    biases = [w for w in model.discriminator_optimizer.variables if "bias" in w.path]
    assert not any(np.any(bias) for bias in biases)


def test_two_players_cannot_share_an_optimizer():
    shared = SGD(0.1)
    with pytest.raises(ValueError, match="Received: the same as `adversarial_optimizer`"):
        online().compile(adversarial_optimizer=shared, discriminator_optimizer=shared)


def test_three_steps_are_the_published_ones():
    """Two linear networks on features of two units; the game alone, written out in NumPy."""
    inputs = np.random.default_rng(3).normal(size=(6, 4)).astype("float32")

    def linear(seed):
        keras.utils.set_random_seed(seed)
        image = keras.Input((4,))
        x = layers.Dense(2, use_bias=False, name="features")(image)
        return keras.Model(image, layers.Dense(3, name="logits")(x))

    nets = [linear(1), linear(2)]
    judges = [
        kd.adversarial.discriminator((2,), hidden=(), spectral_normalization=False)
        for _ in range(2)
    ]
    kernels = [net.get_weights()[0].astype(float) for net in nets]
    weights = [judge.get_weights()[0].astype(float) for judge in judges]
    biases = [np.zeros(1), np.zeros(1)]
    model = kd.adversarial.OnlineAdversarialDistiller(
        nets, layer_names="features", discriminators=judges, adversarial_weight=0.5
    )
    model.compile(SGD(0.0), adversarial_optimizer=SGD(0.1), discriminator_optimizer=SGD(0.2)).fit(
        inputs, np.zeros(6), batch_size=6, epochs=3, shuffle=False, verbose=0
    )
    for _ in range(3):
        features, slopes = [inputs @ kernel for kernel in kernels], []
        for k in (0, 1):
            real, fake = features[1 - k], features[k]
            on_real, on_fake = real @ weights[k] + biases[k], fake @ weights[k] + biases[k]
            weight_slope = 2 * (real.T @ (on_real - 1) + fake.T @ on_fake) / 6
            bias_slope = 2 * (on_real - 1 + on_fake).mean(axis=0)
            weights[k] = weights[k] - 0.2 * weight_slope
            biases[k] = biases[k] - 0.2 * bias_slope
            score = fake @ weights[k] + biases[k]
            slopes.append(0.5 * 2 * inputs.T @ (score - 1) @ weights[k].T / 6)
        kernels = [kernel - 0.1 * slope for kernel, slope in zip(kernels, slopes, strict=True)]
    found = [net.get_weights()[0] for net in nets]
    assert_equal_weights(found, kernels, rtol=1e-5, atol=1e-6)
    assert_equal_weights(
        weights_of(judges), [w for pair in zip(weights, biases, strict=True) for w in pair],
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 3}],
    ids=["eager", "xla", "steps"],
)
def test_graph_eager_and_xla_agree(options):
    other, rates = online(2), {name: SGD(rate) for name, rate in RATES.items()}
    trained(other, **rates, **{"run_eagerly": False, **options})
    assert_equal_weights(plainly(), weights_of(other.students), rtol=1e-3, atol=1e-5)


def test_a_reloaded_run_goes_on_to_the_bit(tmp_path):
    model = online()
    trained(model)
    model.save(tmp_path / "online.keras")
    loaded = keras.models.load_model(tmp_path / "online.keras")
    for each in (model, loaded):
        each.fit(IMAGES, LABELS, **FIT)
    assert_equal_weights(model.get_weights(), loaded.get_weights())


def test_mixed_precision_trains_with_scaled_losses():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = online()
    finally:
        keras.config.set_dtype_policy("float32")
    fit = {**FIT, "batch_size": 24, "epochs": 6}
    logs = trained(model, optimizer=keras.optimizers.Adam(3e-2), fit=fit)
    assert isinstance(model.adversarial_optimizer, keras.optimizers.LossScaleOptimizer)
    shared = SGD(0.1)  # Keras wraps the first, which is then another object.
    with pytest.raises(ValueError, match="Received: the same as `optimizer`"):
        model.compile(shared, adversarial_optimizer=shared)
    assert logs["loss"][-1] < 0.95 * logs["loss"][0]


def test_a_rate_that_falls_asks_for_another_that_falls():
    def falling():
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 10))

    with pytest.warns(UserWarning, match="`adversarial_optimizer` must fall with `optimizer`"):
        online().compile(falling())
    online().compile(falling(), adversarial_optimizer=falling())
    online(adversarial_weight=0.0).compile(falling())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"adversarial_weight": -1}, "`adversarial_weight` must be a number from 0"),
        ({"layer_names": ["conv_1"]}, r"`layer_names` must be one a student \(3\). Received: 1"),
        ({"layer_names": "conv_9"}, "must have the layers that a loss names. Received: conv_9"),
        (
            {"discriminators": [kd.adversarial.discriminator((2,))] * 3},
            "must judge the shape",
        ),
    ],
)
def test_parts_that_do_not_fit(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.adversarial.OnlineAdversarialDistiller(
            students(), **{"layer_names": "conv_1", **options}
        )


def test_one_network_alone_is_refused():
    with pytest.raises(ValueError, match="at least two models"):
        kd.adversarial.OnlineAdversarialDistiller(students()[:1], layer_names="conv_1")
