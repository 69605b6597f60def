"""A classifier, its teacher and a discriminator of labels in one game."""

import functools

import keras
import numpy as np
import pytest
from helpers import assert_equal_weights
from references import softmax

import keras_kd as kd

IMAGES = np.random.default_rng(0).uniform(0, 1, (24, 4)).astype("float32")
LABELS = np.arange(24) % 3
IMAGES[:, 0] += LABELS
FIT = {"batch_size": 8, "epochs": 1, "shuffle": False, "verbose": 0}
SGD = keras.optimizers.SGD


def net(seed, units=()):
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((4,))
    for count in units:
        x = keras.layers.Dense(count, activation="relu")(x)
    return keras.Model(image, keras.layers.Dense(3, name="logits")(x))


def game(units=(5,), **options):
    students = [net(1, units), net(2, units)]
    keras.utils.set_random_seed(3)
    return kd.adversarial.KDGANDistiller(students, **options)


def trained(model, labels=LABELS, fit=FIT, run_eagerly=True, **options):
    """Fit by plain gradient descent; a few steps are taken sooner than traced."""
    optimizers = {"optimizer": SGD(0.1), "discriminator_optimizer": SGD(0.2)}
    model.compile(run_eagerly=run_eagerly, **{**optimizers, **options})
    return model.fit(IMAGES, labels, **fit).history


@functools.cache
def plainly():
    """What a graph of plain kernels makes of the game, which others are held against."""
    model = game()
    trained(model, run_eagerly=False, jit_compile=False)
    return model.get_weights()


def weights_of(models):
    return [weight for model in models for weight in model.get_weights()]


def test_without_adversarial_weight_it_is_mutual_learning_to_the_bit():
    control = game(adversarial_weight=0.0)
    before = control.discriminator.get_weights()
    mutual = kd.MutualDistiller([net(1, (5,)), net(2, (5,))])
    logs = trained(control)
    mutual.compile(SGD(0.1), run_eagerly=True)
    assert mutual.fit(IMAGES, LABELS, **FIT).history == logs
    assert_equal_weights(weights_of(control.students), weights_of(mutual.students))
    assert_equal_weights(before, control.discriminator.get_weights())


@pytest.mark.parametrize("labels", [LABELS, np.where(LABELS == 1, -1, LABELS)], ids=["all", "some"])
def test_three_steps_are_the_published_ones(labels):
    """Linear players; the game as the paper has it after the networks learned the labels.

    An image without a label, -1, has no pair of the data, over which the mean is.
    """
    model = game(
        units=(), alpha=1.0, distillation_loss=kd.losses.LogitMatching(), adversarial_weight=0.7
    )
    kernels = [student.get_weights()[0].astype(float) for student in model.students]
    biases = [np.zeros(3), np.zeros(3)]
    judge, judge_bias = model.discriminator.get_weights()[0].astype(float), np.zeros(3)
    trained(model, labels=labels, fit={**FIT, "batch_size": 24, "epochs": 3})
    images, one_hot = IMAGES.astype(float), np.eye(3)[LABELS] * (labels >= 0)[:, None]
    for _ in range(3):
        logits = [images @ kernel + bias for kernel, bias in zip(kernels, biases, strict=True)]
        chosen = [softmax(each) for each in logits]
        scores = images @ judge + judge_bias
        belief = 1 / (1 + np.exp(-scores))
        # -log sigmoid(D) of the label, -log(1 - sigmoid(D)) of what the networks chose.
        slope = one_hot * (belief - 1) / one_hot.sum() + np.mean(chosen, axis=0) * belief / 24
        judge, judge_bias = judge - 0.2 * images.T @ slope, judge_bias - 0.2 * slope.sum(axis=0)
        cost = np.log1p(np.exp(-(images @ judge + judge_bias)))
        for k in (0, 1):
            expected = (chosen[k] * cost).sum(axis=1, keepdims=True)
            slope = 0.7 * chosen[k] * (cost - expected) / 24
            slope += 2 * (logits[k] - logits[1 - k]) / 3 / 24
            kernels[k] = kernels[k] - 0.1 * images.T @ slope
            biases[k] = biases[k] - 0.1 * slope.sum(axis=0)
    found = [student.get_weights() for student in model.students]
    assert_equal_weights([each[0] for each in found], kernels, rtol=1e-5, atol=1e-6)
    assert_equal_weights([each[1] for each in found], biases, rtol=1e-5, atol=1e-6)
    assert_equal_weights(
        model.discriminator.get_weights(), [judge, judge_bias], rtol=1e-5, atol=1e-6
    )


def test_the_networks_lower_the_ability_of_a_discriminator_that_stands_still():
    model = game(alpha=1.0, distillation_loss=kd.losses.LogitMatching())
    fit = {**FIT, "batch_size": 24, "epochs": 8}
    losses = trained(model, discriminator_optimizer=SGD(0.0), fit=fit)
    assert losses["discriminator_loss"][-1] > losses["discriminator_loss"][0]
    assert losses["adversarial_loss"][-1] < losses["adversarial_loss"][0]


def test_each_optimizer_moves_its_own():
    for rates, moved in (((0.0, 0.2), (False, True)), ((0.1, 0.0), (True, False))):
        model = game()
        parts = [model.students, [model.discriminator]]
        before = [weights_of(part) for part in parts]
        trained(model, optimizer=SGD(rates[0]), discriminator_optimizer=SGD(rates[1]))
        after = [weights_of(part) for part in parts]
        found = tuple(
            not all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))
            for pair in zip(before, after, strict=True)
        )
        assert found == moved


def test_labels_alone_in_the_discriminator_teach_the_networks():
    """At alpha=1 nothing but the game knows the labels, and it is enough."""
    model = game(alpha=1.0)
    model.compile(
        keras.optimizers.Adam(1e-2),
        discriminator_optimizer=keras.optimizers.Adam(1e-2),
        metrics=["accuracy"],
    )
    # Ten times over: the ends of epochs would take longer than the steps.
    images, labels = np.tile(IMAGES, (10, 1)), np.tile(LABELS, 10)
    history = model.fit(images, labels, **{**FIT, "epochs": 15}).history
    assert history["accuracy"][-1] > 0.8 > history["accuracy"][0]


@pytest.mark.parametrize(
    "options",
    [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 3}],
    ids=["eager", "xla", "steps"],
)
def test_graph_eager_and_xla_agree(options):
    other = game()
    trained(other, **{"run_eagerly": False, **options})
    assert_equal_weights(plainly(), other.get_weights(), rtol=1e-4, atol=1e-6)


def test_a_reloaded_run_goes_on_to_the_bit(tmp_path):
    model = game()
    trained(model, optimizer="adam", discriminator_optimizer="adam")
    model.save(tmp_path / "game.keras")
    loaded = keras.models.load_model(tmp_path / "game.keras")
    for each in (model, loaded):
        each.fit(IMAGES, LABELS, **FIT)
    assert_equal_weights(model.get_weights(), loaded.get_weights())


def test_mixed_precision_trains_with_scaled_losses():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = game()
    finally:
        keras.config.set_dtype_policy("float32")
    fit = {**FIT, "batch_size": 24, "epochs": 6}
    logs = trained(model, optimizer=keras.optimizers.Adam(3e-2), fit=fit)
    assert isinstance(model.discriminator_optimizer, keras.optimizers.LossScaleOptimizer)
    assert logs["hard_loss"][-1] < 0.9 * logs["hard_loss"][0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"adversarial_weight": -1}, "`adversarial_weight` must be a number from 0"),
        ({"adversarial_loss": "gan"}, "`adversarial_loss` must be one of"),
        (
            {"discriminator": kd.adversarial.discriminator((4,))},
            "one a class where classes are known: 3. Received: 1",
        ),
        (
            {"discriminator": kd.adversarial.discriminator((2,), num_classes=3)},
            r"must judge the shape \(4,\) that it is given. Received: one for \(2,\)",
        ),
    ],
)
def test_parts_that_do_not_fit(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        game(**options)


def test_a_soft_label_is_an_expectation_over_its_classes():
    """One step of a linear discriminator, worked out; the networks stand still."""
    model = game(units=(), alpha=1.0)
    judge, bias = (weight.astype(float) for weight in model.discriminator.get_weights())
    chosen = np.mean([softmax(IMAGES @ each.get_weights()[0]) for each in model.students], axis=0)
    labels = np.random.default_rng(0).dirichlet(np.ones(3), 24).astype("float32")
    trained(model, labels, fit={**FIT, "batch_size": 24, "epochs": 1}, optimizer=SGD(0.0))
    belief = 1 / (1 + np.exp(-(IMAGES @ judge + bias)))
    slope = (labels * (belief - 1) + chosen * belief) / 24
    expected = judge - 0.2 * IMAGES.T @ slope
    np.testing.assert_allclose(model.discriminator.get_weights()[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "num_classes", "sentence"),
    [
        ((4,), 1, "at least 2 logits.* Received: 1. .*MutualDistiller"),
        ((6, 4), 3, r"logits \(batch, classes\). Received: .*\(None, 6, 3\). Use a "),
    ],
)
def test_predictions_that_cannot_be_judged(shape, num_classes, sentence):
    students = [
        keras.Sequential([keras.Input(shape), keras.layers.Dense(num_classes)]) for _ in range(2)
    ]
    loss = kd.losses.LogitMatching()
    with pytest.raises(ValueError, match=sentence):
        kd.adversarial.KDGANDistiller(students, distillation_loss=loss)


def test_images_alone_are_refused():
    model = game(alpha=1.0)
    model.compile(SGD(0.1), run_eagerly=True)
    with pytest.raises(ValueError, match="The discriminator learns which label an image has"):
        model.fit(IMAGES, **FIT)
