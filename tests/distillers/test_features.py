"""Inner layers by name or path, from one forward pass, and what is trained between them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd.teachers.features import feature_model

IMAGES = np.random.default_rng(0).uniform(0, 255, (16, 8, 8, 1)).astype("float32")
LABELS = np.arange(16) % 3


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class PassCounter(layers.Layer):
    """Counts the passes, in graphs too; not in a weight, since a teacher keeps its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.passes = tf.Variable(0, dtype="int64", trainable=False)

    def call(self, inputs):
        self.passes.assign_add(1)
        return inputs


def block(channels, name):
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(channels, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    return keras.Model(inputs, layers.ReLU(name="relu")(x), name=name)


def nested(channels=6, name="nested", *, counting=False):
    image = keras.Input((8, 8, 1))
    x = PassCounter(name="counter")(image) if counting else image
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    x = block(channels, "backbone")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(3, name="logits")(x), name=name)


def sequential(channels=6):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu", name="maps"),
            layers.Flatten(),
            layers.Dense(5, activation="relu", name="hidden"),
            layers.Dense(3, name="logits"),
        ],
        name="sequential",
    )


def functional(units=5):
    return kd.models.mlp([units], image_shape=(8, 8, 1), num_classes=3)


class TestFeatureModel:
    @pytest.mark.parametrize(
        ("build", "names"),
        [
            (nested, ["stem", "pool"]),
            (nested, ["backbone", "backbone/conv", "backbone/relu"]),
            (sequential, ["maps", "hidden"]),
            (functional, ["hidden_1"]),
        ],
    )
    def test_it_returns_what_the_layers_return(self, build, names):
        model = build()
        outputs = feature_model(model, names)(IMAGES)
        assert set(outputs) == {"logits", *names}
        np.testing.assert_allclose(outputs["logits"], model(IMAGES), rtol=1e-5, atol=1e-5)
        for name in names:
            expected = by_hand(model, name)
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-4)

    def test_the_weights_are_the_models_own(self):
        model = nested()
        features = feature_model(model, ["backbone/conv"])
        assert {id(w) for w in features.weights} == {id(w) for w in model.weights}

    def test_a_compiled_model_s_optimizer_is_left_alone(self):
        model = sequential()
        model.compile("adam", kd.losses.CrossEntropy())
        model.fit(IMAGES, LABELS, verbose=0)
        steps = int(model.optimizer.iterations)
        assert not feature_model(model, ["maps"]).compiled
        assert int(model.optimizer.iterations) == steps

    def test_an_unknown_layer_is_refused_with_the_known_ones(self):
        with pytest.raises(ValueError, match=r"Received: block_9\. It has: .*backbone.*pool"):
            feature_model(nested(), ["stem", "block_9"])
        with pytest.raises(ValueError, match=r"Received: dense\. It has: .*conv.*relu"):
            feature_model(nested(), ["backbone/dense"])

    def test_a_call_of_ones_own_is_refused_at_any_depth(self):
        class More(keras.Model):
            """Functional, but its layers do not tell all that it computes."""

            def call(self, inputs, training=None, mask=None):
                return 3 * super().call(inputs, training=training, mask=mask)

        inputs = keras.Input((6,))
        model = More(inputs, layers.Dense(3)(layers.Dense(5, name="hidden")(inputs)), name="more")
        outer = keras.Sequential([keras.Input((6,)), model])
        for each, name in ((model, "hidden"), (outer, "more/hidden")):
            with pytest.raises(ValueError, match="layers of more cannot be named.*`call` of its"):
                feature_model(each, [name])
        np.testing.assert_array_equal(
            feature_model(outer, ["more"])(np.ones((2, 6)))["more"], model(np.ones((2, 6)))
        )

    def test_a_subclassed_model_is_refused(self):
        class Plain(keras.Model):
            def call(self, inputs):
                return inputs

        with pytest.raises(ValueError, match="neither Functional nor Sequential"):
            feature_model(Plain(), ["dense"])


def by_hand(model, name):
    """The layer's output, by calling the layers one after another."""
    outer, *inner = name.split("/")
    x = IMAGES
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        if layer.name == outer and inner:
            for part in layer.layers[1:]:
                x = part(x)
                if part.name == inner[0]:
                    return x
        x = layer(x)
        if layer.name == outer:
            return x


def fitted(distiller, epochs=1, **compile_options):
    distiller.compile(
        **{"optimizer": keras.optimizers.Adam(1e-2), "run_eagerly": True, **compile_options}
    )
    options = {"batch_size": 8, "epochs": epochs, "shuffle": False, "verbose": 0}
    return distiller.fit(IMAGES, LABELS, **options).history


class TestInTheDistiller:
    def test_several_feature_losses_cost_one_pass_of_each_model(self):
        teacher, student = nested(8, "teacher", counting=True), nested(6, counting=True)
        losses = [
            kd.losses.SoftTargets(),
            kd.losses.Hints("backbone/relu", "backbone/relu"),
            kd.losses.AttentionTransfer("stem", "stem"),
            kd.losses.RelationalDistance("pool", "pool"),
        ]
        distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=losses)
        counters = [model.get_layer("counter").passes for model in (teacher, student)]
        before = [int(counter) for counter in counters]
        fitted(distiller, epochs=3, run_eagerly=False)
        assert [int(c) - b for c, b in zip(counters, before, strict=True)] == [6, 6]
        before = int(counters[0])
        distiller.evaluate(IMAGES, LABELS, verbose=0)
        assert int(counters[0]) == before

    def test_the_parts_are_logged_and_weighed(self):
        losses = {"soft": kd.losses.SoftTargets(), "relation": kd.losses.DIST()}
        distiller = kd.Distiller(
            student=functional(), teacher=functional(9), distillation_loss=losses,
            distillation_loss_weights={"soft": 2.0, "relation": 0.5}, alpha=1.0,
        )  # fmt: skip
        history = fitted(distiller)
        expected = 2.0 * history["soft"][0] + 0.5 * history["relation"][0]
        assert history["distillation_loss"][0] == pytest.approx(expected, rel=1e-5)
        assert history["loss"][0] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(
        ("teacher_layer", "student_layer"),
        [("backbone", "maps"), ("pool", "hidden"), ("backbone", "hidden"), ("pool", "maps")],
    )
    def test_a_projector_bridges_the_shapes_and_is_trained_saved_and_not_exported(
        self, tmp_path, teacher_layer, student_layer
    ):
        teacher, student = nested(7), sequential()
        loss = kd.losses.Hints(teacher_layer, student_layer)
        distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
        (projector,) = distiller.projectors.values()
        before = [weight.numpy() for weight in projector.weights]
        history = fitted(distiller, epochs=6)
        assert history["distillation_loss"][-1] < history["distillation_loss"][0]
        assert all((w.numpy() != b).any() for w, b in zip(projector.weights, before, strict=True))
        assert not any("projector" in weight.path for weight in student.weights)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        loaded.attach_teacher(teacher)
        histories = [
            model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0).history
            for model in (distiller, loaded)
        ]
        assert histories[0] == histories[1]

    def test_shapes_that_nothing_bridges_are_refused_at_construction(self):
        sequence = keras.Input((8, 8, 1))
        x = layers.Reshape((8, 8), name="rows")(sequence)
        student = keras.Model(sequence, layers.Dense(3)(layers.Flatten()(x)))
        with pytest.raises(
            ValueError, match=r"teacher \(None, 8, 8, 6\) and student \(None, 8, 8\)"
        ):
            kd.Distiller(
                student=student, teacher=nested(),
                distillation_loss=kd.losses.Hints("backbone", "rows"),
            )  # fmt: skip

    def test_a_softmax_ended_teacher_gives_features_too(self):
        logits = nested()
        teacher = keras.Model(logits.input, layers.Softmax()(logits.output))
        said = kd.Teacher(teacher).ask(IMAGES, ["pool"])
        (found,) = said.outputs.values()
        np.testing.assert_allclose(found, logits(IMAGES), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            said.features["pool"], by_hand(logits, "pool"), rtol=1e-4, atol=1e-4
        )

    def test_keras_own_feature_loss_runs_the_student_once(self):
        """Keras's own distiller runs it twice, both times in training mode."""
        student = nested(counting=True)
        loss = keras.distillation.FeatureDistillation(
            loss="mse", teacher_layer_name="pool", student_layer_name="pool"
        )
        distiller = kd.Distiller(student=student, teacher=nested(), distillation_loss=loss)
        passes = student.get_layer("counter").passes
        before = int(passes)
        fitted(distiller)
        assert int(passes) - before == 2

    @pytest.mark.parametrize(
        ("losses", "weights", "sentence"),
        [
            ([kd.losses.SoftTargets()], [1.0, 2.0], "one number a loss"),
            ([], None, "must be a loss, or several"),
            ([kd.losses.SoftTargets()], [0.0], "must be a number from"),
            ([kd.losses.SoftTargets()], [True], "must be a number from"),
            ([kd.losses.SoftTargets()], [float("nan")], "must be a number from"),
            ({"soft": kd.losses.SoftTargets()}, {"hard": 1.0}, "a dict with the names of the loss"),
            ({"loss": kd.losses.SoftTargets()}, None, "cannot be called `loss`"),
            ([kd.losses.SoftTargets(), "mse"], None, "no loss of that name. Received: .mse"),
        ],
    )
    def test_weights_and_losses_that_do_not_fit_are_refused(self, losses, weights, sentence):
        with pytest.raises(ValueError, match=sentence):
            kd.Distiller(
                student=functional(), teacher=functional(9), distillation_loss=losses,
                distillation_loss_weights=weights,
            )  # fmt: skip


class TestBinaryHeads:
    SEVERAL = np.random.default_rng(1).integers(0, 2, (16, 3)).astype("float32")

    def teacher(self, units):
        return keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Flatten(),
             layers.Dense(units, activation="sigmoid")]
        )  # fmt: skip

    @pytest.mark.parametrize("units", [1, 3])
    def test_a_sigmoid_teacher_is_distilled_label_by_label(self, units):
        labels = self.SEVERAL[:, 0] if units == 1 else self.SEVERAL
        student = kd.models.mlp([4], image_shape=(8, 8, 1), num_classes=units)
        distiller = kd.Distiller(
            student=student, teacher=self.teacher(units),
            distillation_loss=kd.losses.BinarySoftTargets(2.0),
        )  # fmt: skip
        distiller.compile(keras.optimizers.SGD(0.0), metrics=["accuracy"], run_eagerly=True)
        history = distiller.fit(IMAGES, labels, batch_size=16, verbose=0).history
        logits = np.asarray(student(IMAGES), float)
        target = labels.reshape(16, units)
        hard = np.logaddexp(0, logits) - target * logits
        assert history["hard_loss"][0] == pytest.approx(hard.mean(), rel=1e-5)
        # Logits are right on their side of 0, not of 0.5.
        assert history["accuracy"][0] == pytest.approx(((logits > 0) == target).mean())

    def test_binary_cross_entropy_by_name_is_on_logits(self):
        student = kd.models.mlp([4], image_shape=(8, 8, 1), num_classes=1)
        distiller = kd.Distiller(student=student, alpha=0.0)
        distiller.compile(keras.optimizers.SGD(0.0), loss="binary_crossentropy", run_eagerly=True)
        labels = self.SEVERAL[:, 0]
        history = distiller.fit(IMAGES, labels, batch_size=16, verbose=0).history
        logits = np.asarray(student(IMAGES), float)[:, 0]
        expected = (np.logaddexp(0, logits) - labels * logits).mean()
        assert history["loss"][0] == pytest.approx(expected, rel=1e-5)

    def test_a_softmax_loss_refuses_a_sigmoid_teacher(self):
        with pytest.raises(ValueError, match="ends in sigmoid. Use losses.BinarySoftTargets"):
            kd.Distiller(student=functional(), teacher=self.teacher(3))

    def test_a_sigmoid_loss_refuses_a_softmax_teacher(self):
        teacher = keras.Sequential([functional(), layers.Softmax()])
        with pytest.raises(ValueError, match="ends in softmax. Use losses.SoftTargets"):
            kd.Distiller(
                student=functional(), teacher=teacher,
                distillation_loss=kd.losses.BinarySoftTargets(),
            )  # fmt: skip


class TestUnlabelledImages:
    MIXED = np.where(np.arange(16) % 2, LABELS, -1)

    def test_labels_of_minus_one_are_left_out_of_the_hard_loss_alone(self):
        student, teacher = functional(), functional(9)
        distiller = kd.Distiller(student=student, teacher=teacher)
        distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        history = distiller.fit(IMAGES, self.MIXED, batch_size=16, verbose=0).history
        labelled = self.MIXED >= 0
        logits = student(IMAGES)
        hard = kd.losses.CrossEntropy()(LABELS[labelled], ops.convert_to_numpy(logits)[labelled])
        assert history["hard_loss"][0] == pytest.approx(float(hard), rel=1e-5)
        soft = kd.losses.SoftTargets()(teacher(IMAGES), logits)
        assert history["distillation_loss"][0] == pytest.approx(float(soft), rel=1e-5)

    def test_a_batch_without_any_label_is_no_nan(self):
        distiller = kd.Distiller(student=functional(), teacher=functional(9)).compile(
            run_eagerly=True
        )
        history = distiller.fit(IMAGES, np.full(16, -1), batch_size=16, verbose=0).history
        assert history["hard_loss"][0] == 0.0 and history["loss"][0] > 0


def test_label_smoothing_needs_no_teacher():
    student = functional()
    distiller = kd.Distiller(
        student=student, distillation_loss=kd.losses.LabelSmoothing(0.1), alpha=1.0
    ).compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    history = distiller.fit(IMAGES, LABELS, batch_size=16, verbose=0).history
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    expected = float(keras_loss(np.eye(3)[LABELS], student(IMAGES)))
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="needs labels"):
        distiller.fit(IMAGES, verbose=0)
