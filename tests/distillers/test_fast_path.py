"""The fast path of `fit` trains as the plain one does, and leaves alone what is not its own."""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.data import minibatches
from keras_kd.data.minibatches import Minibatches
from keras_kd.distillers import stacks, watching

pytestmark = pytest.mark.usefixtures("improved_graphs")

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


def fit(model, epochs, callbacks=(), data=None, rate=1e-3, **options):
    model.compile(keras.optimizers.Adam(rate), metrics=["accuracy"], **options)
    history = model.fit(
        data or SPLIT.batches(32, shuffle_seed=3),
        validation_data=SPLIT.batches(100),
        epochs=epochs,
        verbose=0,
        callbacks=[*callbacks],
    ).history
    return model.get_weights(), history


def heights():
    """Record the heights of the stacks that `fit` goes by."""
    return mock.patch.object(Minibatches, "stacks", autospec=True, side_effect=Minibatches.stacks)


class Counter(keras.callbacks.Callback):
    """Counts what a callback sees of an epoch."""

    def __init__(self):
        super().__init__()
        self.batches, self.epochs, self.logs = [], 0, []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)
        self.logs.append(logs)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


class TestItAgreesWithThePlainPath:
    """Two distillers for 234 steps, others for 24: weights to 1e-5, histories to 1e-4."""

    def test_dense_models(self):
        self.check(distiller, {}, epochs=6, batch_size=6)

    def test_dense_models_under_xla(self):
        self.check(distiller, {"jit_compile": True})

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

        self.check(mutual, {}, epochs=6, batch_size=6)

    def check(self, make, options, epochs=3, batch_size=32):
        data = [SPLIT.batches(batch_size, shuffle_seed=3) for _ in range(2)]
        with heights() as stacked:
            fast, history = fit(make(), epochs, data=data[0], **options)
            plain, plain_history = fit(make(), epochs, data=data[1], **PLAIN)
        (((_, height), _),) = stacked.call_args_list
        assert height >= 8
        for one, other in zip(fast, plain, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        assert history.keys() == plain_history.keys()
        for key, values in plain_history.items():
            np.testing.assert_allclose(history[key], values, rtol=1e-4, err_msg=key)


def test_early_stopping_stops_and_restores_at_the_same_epoch():
    def run(**options):
        stopping = kd.callbacks.EarlyStopping("val_hard_loss", patience=1)
        weights, history = fit(distiller(), 20, callbacks=[stopping], rate=1e-2, **options)
        return stopping.best_epoch, len(history["loss"]), weights

    (best, epochs, weights), (plain_best, plain_epochs, plain) = run(), run(**PLAIN)
    assert (best, epochs) == (plain_best, plain_epochs) and 1 < epochs < 20
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
        model = distiller()
        model.compile(keras.optimizers.Adam(1e-3), **options)
        with heights() as stacked:
            model.fit(IMAGES, LABELS, epochs=2, verbose=0)
        return model.get_weights(), stacked.called

    (weights, stacked), (again, _) = run(), run()
    assert stacked and not run(steps_per_execution=1)[1]
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, other)


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
    with heights() as stacked:
        fit(distiller(), epochs=1, data=data(), callbacks=[counter], **options)
    assert len(counter.batches) == num_batches and not stacked.called


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


def test_the_rule_looks_at_models_minibatches_epochs_and_callbacks_alone():
    dense, convolutions = NETS["dense"](4), NETS["convolutions"](4)
    assert stacks.choose([dense], 1000, 4) == (64, True)
    assert stacks.choose([dense], 1000, 3) == (64, False)  # XLA compiles for seconds.
    assert stacks.choose([dense], 100, 1000) == (64, False)
    assert stacks.choose([dense, convolutions], 1000, 4) == (8, False)
    # XLA draws other random numbers, and would give other weights.
    assert stacks.choose([dense, NETS["dropout"](4)], 1000, 4) == (64, False)
    assert stacks.choose([dense], 1000, 4, [keras.callbacks.EarlyStopping()]) == (64, True)
    assert stacks.choose([dense], 1000, 4, [Counter()]) == (1, True)


class OnlyEpochs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        pass


class OldHook(keras.callbacks.Callback):
    def on_batch_begin(self, batch, logs=None):
        pass


class OwnCheckpoint(keras.callbacks.ModelCheckpoint):
    def on_train_batch_end(self, batch, logs=None):
        pass


class TestCallbacks:
    """One that overrides a batch hook sees every minibatch; the others cost nothing."""

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (lambda at: OnlyEpochs(), False),
            (lambda at: OldHook(), True),
            (lambda at: keras.callbacks.LambdaCallback(on_epoch_end=print), False),
            (lambda at: keras.callbacks.LambdaCallback(on_train_batch_begin=print), True),
            (lambda at: keras.callbacks.LambdaCallback(on_train_batch_end=print), True),
            (lambda at: keras.callbacks.ModelCheckpoint(at + "/a.keras"), False),
            (lambda at: keras.callbacks.ModelCheckpoint(at + "/a.keras", save_freq=3), True),
            (lambda at: OwnCheckpoint(at + "/a.keras"), True),
            (lambda at: keras.callbacks.BackupAndRestore(at), False),
            (lambda at: keras.callbacks.BackupAndRestore(at, save_freq=3), True),
            (lambda at: keras.callbacks.TensorBoard(at), True),
            (lambda at: keras.callbacks.TensorBoard(at, profile_batch=2), True),
            (lambda at: keras.callbacks.TerminateOnNaN(), True),
            (lambda at: keras.callbacks.SwapEMAWeights(), False),
            (lambda at: keras.callbacks.EarlyStopping(), False),
            (lambda at: keras.callbacks.LearningRateScheduler(float), False),
            (lambda at: keras.callbacks.CSVLogger(at + "/log.csv"), False),
            (lambda at: keras.callbacks.ProgbarLogger(), False),
        ],
    )
    def test_the_rule(self, make, expected, tmp_path):
        assert watching.sees_minibatches(make(str(tmp_path))) == expected

    def test_a_learning_rate_set_for_each_minibatch_is_the_plain_path_s(self):
        class Rate(Counter):
            def on_train_batch_begin(self, batch, logs=None):
                self.model.optimizer.learning_rate = 0.1 / (1 + batch)

        def run(**options):
            rate, model = Rate(), distiller()
            model.compile(keras.optimizers.SGD(), **options)
            model.fit(SPLIT.batches(32, shuffle_seed=0), epochs=2, verbose=0, callbacks=rate)
            return model.get_weights(), rate

        (weights, rate), (plain, plain_rate) = run(), run(**PLAIN)
        assert rate.batches == plain_rate.batches == 2 * list(range(8))
        for one, other in zip(weights, plain, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        for one, other in zip(rate.logs, plain_rate.logs, strict=True):
            assert one == pytest.approx(other, rel=1e-5)

    @pytest.mark.parametrize("given", [lambda c: c, lambda c: [[c]], keras.callbacks.CallbackList])
    def test_however_they_are_given(self, given):
        counter, model = Counter(), distiller().compile("sgd")
        callbacks = given(counter)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList([counter], add_history=True, model=model)
        model.fit(IMAGES, LABELS, batch_size=100, verbose=0, callbacks=callbacks)
        assert counter.batches == [0, 1, 2]

    def test_a_teacher_that_changes_with_each_minibatch_is_asked_at_each(self):
        class MeanTeacher(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                for variable in self.model.teacher.model.weights:
                    variable.assign(0.9 * variable)

        def run(**options):
            model = distiller()
            model.compile("sgd", **options)
            data = SPLIT.batches(100, shuffle_seed=0)
            model.fit(data, epochs=2, verbose=0, callbacks=[MeanTeacher()])
            return model.get_weights()

        for one, other in zip(run(), run(**PLAIN), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)

    def test_one_that_changes_between_epochs_is_refused_where_its_logits_were_kept(self):
        class NextTeacher(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.teacher.model.weights[-1].assign_add([1.0, 0.0, 0.0])

        data = SPLIT.batches(100, shuffle_seed=0)
        sentence = "must stay as it is.*at epoch 1.*steps_per_execution=1"
        with pytest.raises(ValueError, match=sentence):
            distiller().compile().fit(data, epochs=2, verbose=0, callbacks=[NextTeacher()])
        with pytest.raises(ValueError, match=sentence):
            kd.train_together(
                [distiller().compile()], data, epochs=2, verbose=0,
                callbacks=lambda _: [NextTeacher()],
            )  # fmt: skip
        model = distiller().compile(steps_per_execution=1)
        model.fit(data, epochs=2, verbose=0, callbacks=[NextTeacher()])

    def test_what_has_the_hooks_alone_is_called_as_keras_calls_it(self):
        class Hooks:
            batches = ()

            def __getattr__(self, name):
                if not name.startswith(("on_", "set_")) or name.startswith("on_batch"):
                    raise AttributeError(name)
                return lambda *args, **kwargs: None

            def on_train_batch_end(self, batch, logs=None):
                self.batches += (batch,)

        hooks = Hooks()
        distiller().compile("sgd").fit(
            IMAGES, LABELS, batch_size=np.int64(100), verbose=0, callbacks=[hooks]
        )
        assert hooks.batches == (0, 1, 2)

    def test_steps_are_minibatches_in_the_parameters_and_in_the_bar(self, capsys):
        class Steps(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                self.steps = self.params["steps"]

        steps = Steps()
        with heights() as stacked:
            distiller().compile("sgd").fit(IMAGES, LABELS, verbose=2, callbacks=[steps])
        assert stacked.called and steps.steps == 8
        assert "\n8/8 - " in capsys.readouterr().out

    def test_students_that_train_together_are_told_all_of_it(self):
        seen = []

        class All(keras.callbacks.Callback):
            def __getattribute__(self, name):
                if name.startswith("on_"):
                    seen.append(name)
                return super().__getattribute__(name)

        model, alone = distiller().compile("sgd"), distiller().compile("sgd")
        data, told = SPLIT.batches(100), []
        watched = {"on_train_batch_begin": lambda batch, logs: None}
        for run in (
            lambda callbacks: alone.fit(data, validation_data=data, verbose=0, callbacks=callbacks),
            lambda callbacks: kd.train_together(
                [model], data, validation_data=data, verbose=0, callbacks=lambda _: callbacks
            ),
        ):
            run([All(), keras.callbacks.LambdaCallback(**watched)])
            told.append([name for name in seen if "set" not in name])
            seen.clear()
        # The rule looks at hooks too, before the first is called.
        one, other = (names[names.index("on_train_begin") :] for names in told)
        assert one == other and one.count("on_train_batch_begin") == 3


class Centred(layers.Layer):
    """Says something else of an image in another batch."""

    def call(self, inputs):
        return inputs - keras.ops.mean(inputs, axis=0)


class Noisy(layers.Layer):
    """Says something else each time."""

    def call(self, inputs):
        return inputs + tf.random.normal(tf.shape(inputs))


@pytest.mark.parametrize("layer", [None, Centred, Noisy])
def test_logits_are_kept_of_a_teacher_that_says_the_same_again(layer):
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 1))
    x = layers.Dense(8)(layers.Flatten()(layers.Rescaling(1 / 255)(image)))
    logits = layers.Dense(3)(layer()(x) if layer else x)
    student, teacher = NETS["dense"](6), keras.Model(image, logits)
    model = kd.Distiller(student=student, teacher=teacher).compile()
    data = SPLIT.batches(100).minibatches
    assert stacks.with_teacher_logits(data, [model], False).kept == (layer is None)


def deep(*layer, loss=None, **options):
    keras.utils.set_random_seed(0)
    student = keras.Sequential([keras.Input((4,)), *layer, layers.Dense(3)])
    teacher = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    made = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
    return made.compile(**options)


class Own(layers.Dense):
    pass


class OwnLoss(kd.losses.SoftTargets):
    pass


class OwnRate(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1


def own_metric(y_true, y_pred):
    return y_pred[:, 0]


class TestXLA:
    """It is chosen where every part of the step is known to compute the same under it."""

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (lambda: deep(layers.Dense(4, "gelu", kernel_regularizer="l2")), True),
            (lambda: deep(layers.BatchNormalization()), True),
            (lambda: deep(keras.Sequential([keras.Input((4,)), layers.Dense(4)])), True),
            (lambda: deep(loss=[kd.losses.StandardizedLogits()], metrics=["accuracy"]), True),
            (lambda: deep(loss=kd.losses.DecoupledKD(kd.schedules.Linear(1, 2, steps=3))), True),
            (lambda: deep(optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(
                0.1, 10))), True),
            (lambda: deep(layers.Lambda(lambda x: x)), False),
            (lambda: deep(layers.Dense(4, activation=lambda x: x)), False),
            (lambda: deep(layers.Dense(4, kernel_regularizer=tf.reduce_sum)), False),
            (lambda: deep(Own(4)), False),
            (lambda: deep(keras.Sequential([keras.Input((4,)), Own(4)])), False),
            (lambda: deep(layers.Discretization([0.0])), False),
            (lambda: deep(layers.Embedding(5, 3), layers.Flatten()), False),
            (lambda: deep(loss=OwnLoss()), False),
            (lambda: deep(loss=kd.losses.StandardizedLogits(OwnLoss())), False),
            (lambda: deep(loss=kd.losses.SoftTargets(OwnRate())), False),
            (lambda: deep(optimizer=keras.optimizers.SGD(OwnRate())), False),
            (lambda: deep(metrics=[own_metric]), False),
            (lambda: deep(metrics=[keras.metrics.AUC()]), False),
            (lambda: deep(weighted_metrics={"a": own_metric}), False),
            (lambda: kd.Distiller(
                student=keras.Sequential([keras.Input((4,)), layers.Dense(3)]), alpha=0.0,
            ).compile(loss=lambda y, p: p[:, 0]), False),
        ],
    )  # fmt: skip
    def test_the_rule(self, make, expected):
        made = make()
        assert made.may_use_xla(made.models_in_step(teacher=True)) == expected

    def test_a_student_with_an_operation_that_it_has_not_is_trained(self):
        """Dense alone, and more than 500 minibatches: strings have no kernel."""
        through_text = layers.Lambda(lambda x: tf.strings.to_number(tf.strings.as_string(x)))
        model = deep(through_text)
        images = np.random.default_rng(0).normal(size=(510, 4)).astype("float32")
        history = model.fit(images, np.arange(510) % 3, batch_size=1, epochs=8, verbose=0).history
        assert 0 < history["loss"][0] < 5

    def test_it_is_for_training_alone(self):
        """An `evaluate` after it met a bad label in silence."""
        model = deep()
        images = np.random.default_rng(0).normal(size=(510, 4)).astype("float32")
        with heights() as stacked:
            model.fit(images, np.arange(510) % 3, batch_size=1, epochs=8, verbose=0)
        assert stacked.call_args.kwargs["xla"]
        with pytest.raises(tf.errors.InvalidArgumentError, match="label value of 3"):
            model.evaluate(images[:4], np.array([0, 1, 2, 3]), verbose=0)


def put(labels, value, *place):
    labels = np.array(labels)
    labels[place] = value
    return labels


PIXELS = np.random.default_rng(0).uniform(0, 255, (20, 4, 4, 1)).astype("float32")
CLASSES = np.arange(20) % 3
MAPS = np.arange(20 * 16).reshape(20, 4, 4) % 3
SPARSE = keras.losses.SparseCategoricalCrossentropy
ignoring = SPARSE(from_logits=True, ignore_class=255)


def small(kind="dense", seed=0, **options):
    keras.utils.set_random_seed(seed)
    if kind == "maps":
        return keras.Sequential([keras.Input((4, 4, 1)), layers.Dense(3)])
    return kd.models.mlp([4], image_shape=(4, 4, 1), num_classes=3)


DISTILLERS = {
    "Distiller": lambda kind: kd.Distiller(student=small(kind), teacher=small(kind, 1)),
    "alpha 1, by labels": lambda kind: kd.Distiller(
        student=small(kind), teacher=small(kind, 1), alpha=1.0,
        distillation_loss=kd.losses.DecoupledKD(),
    ),
    "MutualDistiller": lambda kind: kd.MutualDistiller([small(kind), small(kind, 1)]),
    "DiscriminatorDistiller": lambda kind: kd.adversarial.DiscriminatorDistiller(
        student=small(kind), teacher=small(kind, 1), alpha=1.0
    ),
}  # fmt: skip


class TestLabels:
    """They are looked at once, before anything is trained, and the first bad one is named."""

    @pytest.mark.parametrize(
        ("labels", "loss", "sentence"),
        [
            (put(CLASSES, 3, 7), None, "from 0 to 2, or -1 .*Received: label 3 for image 7 of the"),
            (put(CLASSES[:, None], 3, 7, 0), None, "label 3 for image 7"),
            (put(CLASSES, -2, 7), None, "label -2 for image 7"),
            (put(CLASSES, -1, 7), "sparse_categorical_crossentropy", None),
            (put(CLASSES, -1, 7), SPARSE(from_logits=True), "0 to 2. Received: label -1 for im"),
            (put(CLASSES.astype("uint64"), 2**60, 7), None, r"label 1.15292e\+18 for image 7"),
            (put(CLASSES.astype("float32"), np.nan, 7), None, "finite. Received: label nan for im"),
            (put(CLASSES.astype("float64"), 3.0, 7), None, "label 3 for image 7"),
            (put(np.eye(3)[CLASSES], np.inf, 7, 1), None, "finite. Received: label inf for im"),
            (np.eye(4)[CLASSES], None, r"shape \[n\] or \[n, 1\] or \[n, 3\].*\[20, 4\]"),
            (np.eye(4)[CLASSES], "categorical_crossentropy", r"\[n, 3\]. Received: \[20, 4\]"),
            (np.eye(3)[CLASSES], SPARSE(from_logits=True), r"\[n\] or \[n, 1\]. Rec.*\[20, 3\]"),
            (put(np.eye(3)[CLASSES], np.nan, 7), "mse", "label nan for image 7"),
            (CLASSES.astype(str), None, "must be numbers. Received: <U21"),
            (put(CLASSES, 9, 7), lambda y, p: p[:, 0], None),  # The user's own knows.
        ],
    )
    def test_of_an_image(self, labels, loss, sentence):
        self.check(DISTILLERS["Distiller"]("dense"), PIXELS, labels, loss, sentence)

    @pytest.mark.parametrize(
        ("labels", "loss", "sentence"),
        [
            (put(MAPS, 255, 7, 1, 2), None, r"label 255 for image 7.*has -1.*ignore_class=\.\.\."),
            (put(MAPS, -100, 7, 1, 2), None, "label -100 for image 7"),
            (put(MAPS, -1, 7, 1, 2), None, None),
            (put(MAPS, 255, 7, 1, 2), ignoring, None),
            (put(MAPS, 254, 7, 1, 2), ignoring, "or 255 where there is none. Received: label 254"),
            (MAPS[:, :3], None, r"\[n, 4, 4\] or .*Received: \[20, 3, 4\]"),
        ],
    )
    def test_of_a_map(self, labels, loss, sentence):
        self.check(DISTILLERS["Distiller"]("maps"), PIXELS, labels, loss, sentence)

    @pytest.mark.parametrize("name", DISTILLERS)
    def test_every_distiller(self, name):
        bad = put(CLASSES, 3, 7)
        self.check(DISTILLERS[name]("dense"), PIXELS, bad, None, "label 3 for image 7")

    @pytest.mark.parametrize(
        "parts",
        [
            {"sample_weight": np.ones(20)},
            {"class_weight": {0: 2.0}},
            {"y": kd.Targets(put(CLASSES, 3, 7), np.zeros((20, 3)))},
            {"x": kd.data.Split(PIXELS, put(CLASSES, 3, 7)).batches(4), "y": None},
            {"y": CLASSES, "validation_data": (PIXELS, put(CLASSES, 3, 7))},
            {"y": CLASSES, "validation_data": kd.data.Split(PIXELS, put(CLASSES, 3, 7)).batches(4)},
        ],
        ids=["sample_weight", "class_weight", "Targets", "batches", "validation", "val batches"],
    )
    def test_every_way_to_give_them(self, parts):
        model = DISTILLERS["Distiller"]("dense")
        options = {"x": PIXELS, "y": put(CLASSES, 3, 7), **parts}
        self.check_fit(model, "label 3 for image 7 of the (training|validation) data", **options)

    def test_students_that_train_together(self):
        model = DISTILLERS["Distiller"]("dense").compile()
        data = kd.data.Split(PIXELS, put(CLASSES, 3, 7)).batches(4)
        with pytest.raises(ValueError, match="label 3 for image 7"):
            kd.train_together([model], data, verbose=0)

    def test_placeholders_at_alpha_1(self):
        model = kd.Distiller(student=small(), teacher=small(seed=1), alpha=1.0)
        self.check(model, PIXELS, np.full(20, 99), None, None)

    def check(self, model, x, y, loss, sentence):
        if sentence is not None:
            self.check_fit(model, sentence, loss, x=x, y=y)
            return
        model.compile("sgd", loss=loss)
        assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])

    def check_fit(self, model, sentence, loss=None, **options):
        model.compile("sgd", loss=loss)
        before = model.get_weights()
        with (
            mock.patch.object(kd.Teacher, "__call__", side_effect=AssertionError("was asked")),
            pytest.raises(ValueError, match=sentence),
        ):
            model.fit(**options, verbose=0)
        for one, other in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)


class TestMemory:
    def test_logits_above_the_bound_are_asked_for_in_each_step(self, monkeypatch):
        def kept(kind):
            model = DISTILLERS["Distiller"](kind).compile()
            labels = MAPS if kind == "maps" else CLASSES
            minibatches = kd.data.Split(PIXELS, labels).batches(4).minibatches
            found = stacks.with_teacher_logits(minibatches, [model], False)
            return found.has_teacher_logits

        sizes = {"dense": 20 * 3 * 4, "maps": 20 * 4 * 4 * 3 * 4}
        for kind, size in sizes.items():
            monkeypatch.setattr(stacks, "_KEPT_BYTES", size)
            assert kept(kind)
            monkeypatch.setattr(stacks, "_KEPT_BYTES", size - 1)
            assert not kept(kind)

    def test_asked_in_each_step_it_teaches_the_same(self, monkeypatch):
        kept, _ = fit(distiller(), epochs=3)
        monkeypatch.setattr(stacks, "_KEPT_BYTES", 0)
        for one, other in zip(kept, fit(distiller(), epochs=3)[0], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)

    def test_a_gathered_stack_is_bounded_by_all_of_its_parts(self, monkeypatch):
        monkeypatch.setattr(minibatches, "_STACK_BYTES", 3 * 4 * (16 * 4 + 1000 * 4 + 8))
        joined = kd.data.Split(PIXELS, CLASSES).batches(4).minibatches.with_teacher_logits(
            np.zeros((20, 1000), "float32")
        )  # fmt: skip
        (first, *_) = joined.stacks(64, gathered=True)
        assert first.plan.positions.shape == (3, 4)


def test_what_is_beside_a_data_set_is_refused_as_keras_does():
    with pytest.raises(ValueError, match="`y`|targets"):
        distiller().compile().fit(SPLIT.batches(32), LABELS, verbose=0)


def test_floats_arrive_as_keras_has_them():
    batches = kd.data.Split(PIXELS.astype("float64"), CLASSES.astype("float64")).batches(4)
    assert [spec.dtype for spec in batches.element_spec] == [tf.float32, tf.float32]


def test_validation_has_the_batch_size_of_fit():
    model, seen = distiller().compile(), []
    count = keras.callbacks.LambdaCallback()
    count.on_test_batch_end = lambda batch, logs: seen.append(batch)
    model.fit(
        IMAGES, LABELS, batch_size=115, validation_data=(IMAGES, LABELS), callbacks=[count],
        verbose=0,
    )  # fmt: skip
    assert seen == [0, 1]


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
        good.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
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
