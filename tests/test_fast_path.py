"""The fast path of `fit` trains as the plain one does, and leaves alone what is not its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd import fast_path

NUM_EXAMPLES = 230  # Seven minibatches of 32 and one of 6.
IMAGES = np.random.default_rng(0).integers(0, 256, (NUM_EXAMPLES, 6, 6, 1), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, NUM_EXAMPLES)
SPLIT = kd.data.Split(IMAGES, LABELS)
SHAPE = {"image_shape": (6, 6, 1), "num_classes": 3}
PLAIN = {"steps_per_execution": 1, "jit_compile": False}


def with_dropout(units):
    image = keras.Input((6, 6, 1))
    x = layers.Dense(units, activation="relu")(layers.Flatten()(layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, layers.Dense(3, name="logits")(layers.Dropout(0.3)(x)))


NETS = {
    "dense": lambda units: kd.models.mlp([units], **SHAPE),
    "convolutions": lambda units: kd.models.conv_net([units], **SHAPE),
    "dropout": with_dropout,
}


def distiller(net="dense", loss=None, alpha=0.6):
    keras.utils.set_random_seed(0)
    return kd.Distiller(
        student=NETS[net](6), teacher=NETS[net](12), distillation_loss=loss, alpha=alpha
    )


def fit(model, epochs=25, callbacks=(), data=None, **options):
    model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"], **options)
    history = model.fit(
        data or SPLIT.batches(32, shuffle_seed=3),
        validation_data=SPLIT.batches(100),
        epochs=epochs,
        verbose=0,
        callbacks=[*callbacks],
    ).history
    return model.get_weights(), history


class Counter(keras.callbacks.Callback):
    """Counts what a callback sees of an epoch."""

    def __init__(self):
        super().__init__()
        self.batches, self.epochs = 0, 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


class TestItAgreesWithThePlainPath:
    """200 steps: weights to 1e-5, histories to 1e-4."""

    @pytest.mark.parametrize("options", [{}, {"jit_compile": True}], ids=["graph", "xla"])
    def test_dense_models(self, options):
        self.check(distiller, options)

    @pytest.mark.parametrize("net", ["convolutions", "dropout"])
    def test_other_models(self, net):
        self.check(lambda: distiller(net), {})

    def test_features_and_projectors(self):
        hints = kd.losses.Hints("hidden_1", "hidden_1")
        self.check(lambda: distiller(loss=[hints, kd.losses.SoftTargets(2.0)]), {})

    def test_the_student_alone(self):
        self.check(lambda: distiller(alpha=0.0), {"jit_compile": True})

    def test_mutual_learning(self):
        def mutual():
            keras.utils.set_random_seed(0)
            return kd.MutualDistiller([NETS["dense"](6), NETS["dense"](9)])

        self.check(mutual, {})

    def check(self, make, options):
        counter, plain_counter = Counter(), Counter()
        fast, history = fit(make(), callbacks=[counter], **options)
        plain, plain_history = fit(make(), callbacks=[plain_counter], **PLAIN)
        for one, other in zip(fast, plain, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        assert history.keys() == plain_history.keys()
        for key, values in plain_history.items():
            np.testing.assert_allclose(history[key], values, rtol=1e-4, err_msg=key)
        assert counter.epochs == plain_counter.epochs == 25
        assert plain_counter.batches == 25 * 8
        assert counter.batches <= 25 * 3  # It was the fast path indeed.


def test_early_stopping_stops_and_restores_at_the_same_epoch():
    def run(**options):
        stopping = kd.callbacks.EarlyStopping("val_hard_loss", patience=1)
        weights, history = fit(distiller(), epochs=60, callbacks=[stopping], **options)
        return stopping.best_epoch, len(history["loss"]), weights

    (best, epochs, weights), (plain_best, plain_epochs, plain) = run(), run(**PLAIN)
    assert (best, epochs) == (plain_best, plain_epochs)
    for one, other in zip(weights, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_second_fit_goes_on_with_the_next_epoch():
    batches, at_once = (SPLIT.batches(32, shuffle_seed=3) for _ in range(2))
    model = distiller()
    fit(model, epochs=1, data=batches)
    model.fit(batches, epochs=1, verbose=0)
    for one, other in zip(
        model.get_weights(), fit(distiller(), epochs=2, data=at_once)[0], strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_arrays_are_stacked_and_a_seed_gives_the_same_weights():
    def run(**options):
        model, counter = distiller(), Counter()
        model.compile(keras.optimizers.Adam(1e-3), **options)
        model.fit(IMAGES, LABELS, epochs=2, verbose=0, callbacks=[counter])
        return model.get_weights(), counter.batches

    (weights, num_batches), (again, _) = run(), run()
    assert num_batches == 2 * 2  # A stack of 7, and the last minibatch.
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert run(steps_per_execution=1)[1] == 2 * 8


@pytest.mark.parametrize(
    ("data", "options", "num_batches"),
    [
        (lambda: SPLIT.batches(32).map(lambda *pair: pair), {}, 8),  # The user's own pipeline.
        (lambda: SPLIT.batches(32), {"steps_per_execution": 4}, 2),
        (lambda: SPLIT.batches(32), {"run_eagerly": True}, 8),
    ],
)
def test_what_a_user_chose_is_respected(data, options, num_batches):
    counter = Counter()
    fit(distiller(), epochs=1, data=data(), callbacks=[counter], **options)
    assert counter.batches == num_batches


def test_a_training_step_of_the_user_s_own_sees_minibatches():
    seen = []

    class Own(kd.Distiller):
        def train_step(self, data):
            seen.append(data[0].shape)
            return super().train_step(data)

    own = Own(student=NETS["dense"](6), teacher=NETS["dense"](12))
    fit(own, epochs=1)
    assert {tuple(shape[1:]) for shape in seen} == {(6, 6, 1)}


def test_class_weights_are_not_lost():
    model = distiller(alpha=0.0)
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(IMAGES, LABELS, class_weight={0: 0.0, 1: 0.0, 2: 0.0}, verbose=0).history
    assert history["hard_loss"] == [0.0]


def test_the_rule_looks_at_models_and_minibatches_alone():
    dense, convolutions = NETS["dense"](4), NETS["convolutions"](4)
    assert fast_path.choose([dense], 1000) == (64, True)
    assert fast_path.choose([dense], 100) == (64, False)  # XLA compiles for seconds.
    assert fast_path.choose([dense, convolutions], 1000) == (8, False)
    # XLA draws other random numbers, and would give other weights.
    assert fast_path.choose([dense, NETS["dropout"](4)], 1000) == (64, False)


@pytest.mark.parametrize("chosen", [None, 4])
def test_what_was_chosen_survives_saving(tmp_path, chosen):
    model = distiller()
    fit(model, epochs=1, steps_per_execution=chosen)
    model.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert loaded.get_compile_config()["steps_per_execution"] == chosen


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class Root(layers.Layer):
    """NaN for an image with a negative pixel."""

    def call(self, inputs):
        return tf.sqrt(tf.cast(inputs, tf.float32))


class TestATeacherThatFails:
    """Finite on made-up images, NaN on one real one: the fourth minibatch of eight."""

    def make(self):
        keras.utils.set_random_seed(0)
        image = keras.Input((6, 6, 1))
        teacher = keras.Model(image, layers.Dense(3)(layers.Flatten()(Root()(image))))
        return kd.Distiller(student=NETS["dense"](6), teacher=teacher)

    images = np.where(np.arange(NUM_EXAMPLES)[:, None, None, None] == 100, -1.0, IMAGES)

    @pytest.mark.parametrize(
        "options",
        [{}, {"jit_compile": True}, {"steps_per_execution": 8}, {"run_eagerly": True}],
        ids=["graph", "xla", "several", "eager"],
    )
    def test_the_batch_is_named_and_nothing_is_trained_on_it(self, options):
        data = kd.data.Split(self.images.astype("float32"), LABELS).batches(32)
        data = data.map(lambda *pair: pair)  # A pipeline of the user's: asked as it comes.
        model = self.make()
        model.compile(keras.optimizers.Adam(1e-3), **options)
        with pytest.raises(ValueError, match="must be finite.*for batch 3, on which nothing"):
            model.fit(data, epochs=2, verbose=0)
        good = self.make()
        good.compile(keras.optimizers.Adam(1e-3), **options)
        good.fit(data.take(3), verbose=0)
        for one, other in zip(model.get_weights(), good.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        assert int(model.optimizer.iterations) == 3

    def test_images_in_memory_are_asked_about_before_the_first_step(self):
        model = self.make().compile()
        before = model.get_weights()
        with pytest.raises(ValueError, match="for image 100 of the training data; nothing was"):
            model.fit(self.images.astype("float32"), LABELS, verbose=0)
        for one, other in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_one_batch_alone_raises_too(self):
        model = self.make().compile()
        with pytest.raises(ValueError, match="must be finite"):
            model.train_on_batch(self.images[90:110], LABELS[90:110])
