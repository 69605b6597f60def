"""What is particular to `Distiller`: its arguments, its logs, its losses."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import assert_equal_weights
from keras import layers, ops

import keras_kd as kd

IMAGES = np.random.default_rng(0).uniform(0, 255, (24, 4, 4, 1)).astype("float32")
LABELS = np.arange(24) % 3


def net(units=6, num_classes=3, **options):
    return kd.models.mlp([units], image_shape=(4, 4, 1), num_classes=num_classes, **options)


def trained(distiller, labels=LABELS, epochs=1, fit=None, **compile_options):
    # One step is taken sooner than traced.
    how = {"optimizer": keras.optimizers.SGD(0.0), "run_eagerly": True}
    distiller.compile(**how | compile_options)
    options = {"batch_size": 24, "epochs": epochs, "shuffle": False, "verbose": 0, **(fit or {})}
    return distiller.fit(IMAGES, labels, **options).history


class TestTheObjective:
    @pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0, 1.5])
    def test_it_is_the_weighted_sum(self, alpha):
        teacher, student = net(8), net()
        loss = kd.losses.SoftTargets(3.0)
        history = trained(
            kd.Distiller(student=student, teacher=teacher, distillation_loss=loss, alpha=alpha)
        )
        logits = student(IMAGES)
        hard = float(ops.mean(kd.losses.cross_entropy(labels=LABELS, student_logits=logits)))
        soft = float(loss(teacher(IMAGES), logits))
        assert history["loss"][0] == pytest.approx(alpha * soft + (1 - alpha) * hard, rel=1e-5)
        assert ("hard_loss" in history) == (alpha != 1)
        assert ("distillation_loss" in history) == (alpha > 0)

    def test_regularisers_count(self):
        student = keras.Sequential(
            [
                keras.Input((4, 4, 1)),
                layers.Flatten(),
                layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1)),
            ]
        )
        history = trained(kd.Distiller(student=student, teacher=net(), alpha=0.5))
        penalty = 0.1 * float(ops.sum(student.layers[-1].kernel ** 2))
        parts = 0.5 * history["hard_loss"][0] + 0.5 * history["distillation_loss"][0]
        assert history["loss"][0] == pytest.approx(parts + penalty, rel=1e-5)

    def test_class_weights_weigh_both_losses(self):
        student, teacher = net(), net(8)
        weights = {0: 1.0, 1: 0.0, 2: 2.0}
        history = trained(
            kd.Distiller(student=student, teacher=teacher), fit={"class_weight": weights}
        )
        per_example = np.array([weights[label] for label in LABELS])
        soft = kd.losses.SoftTargets()(teacher(IMAGES), student(IMAGES), per_example)
        hard = kd.losses.CrossEntropy()(LABELS, student(IMAGES), per_example)
        assert history["distillation_loss"][0] == pytest.approx(float(soft), rel=1e-5)
        assert history["hard_loss"][0] == pytest.approx(float(hard), rel=1e-5)

    def test_masked_steps_of_a_sequence_do_not_count(self):
        """A tagger: logits for every word; padding is masked by the embedding."""
        words = np.array([[1, 2, 3, 0], [4, 0, 0, 0]])
        tags = np.array([[0, 1, 2, 0], [2, 0, 0, 0]])

        def tagger():
            sequence = keras.Input((4,), dtype="int32")
            x = layers.Embedding(5, 6, mask_zero=True)(sequence)
            return keras.Model(sequence, layers.Dense(3, name="logits")(x))

        student, teacher = tagger(), tagger()
        loss, valid = kd.losses.SoftTargets(2.0), words != 0
        distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
        distiller.compile(keras.optimizers.SGD(0.0))
        history = distiller.fit(words, tags, verbose=0).history
        soft = loss.call(teacher(words), student(words)).numpy()
        hard = kd.losses.CrossEntropy().call(tags, student(words)).numpy()
        assert history["distillation_loss"][0] == pytest.approx(soft[valid].mean(), rel=1e-5)
        assert history["hard_loss"][0] == pytest.approx(hard[valid].mean(), rel=1e-5)

    def test_a_loss_of_keras_works_too(self):
        loss = keras.distillation.LogitsDistillation(
            loss=keras.losses.KLDivergence(), temperature=2.0
        )
        student, teacher = net(), net(8)
        history = trained(kd.Distiller(student=student, teacher=teacher, distillation_loss=loss))
        expected = kd.losses.SoftTargets(2.0)(teacher(IMAGES), student(IMAGES))
        assert history["distillation_loss"][0] == pytest.approx(float(expected), rel=1e-3)

    def test_a_loss_of_keras_refuses_sample_weights(self):
        loss = keras.distillation.LogitsDistillation()
        distiller = kd.Distiller(student=net(), teacher=net(8), distillation_loss=loss)
        with pytest.raises(ValueError, match="LogitsDistillation returns one value a batch"):
            trained(distiller, fit={"sample_weight": np.ones(24)})


class TestTheHardLoss:
    @pytest.mark.parametrize(
        "loss",
        [
            None,
            "sparse_categorical_crossentropy",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            lambda labels, logits: keras.losses.sparse_categorical_crossentropy(
                labels, logits, from_logits=True
            ),
        ],
        ids=["default", "name", "object", "function"],
    )
    def test_every_way_to_say_cross_entropy_is_on_logits(self, loss):
        student = net()
        history = trained(kd.Distiller(student=student, teacher=net(8)), loss=loss)
        expected = kd.losses.CrossEntropy()(LABELS, student(IMAGES))
        assert history["hard_loss"][0] == pytest.approx(float(expected), rel=1e-5)

    @pytest.mark.parametrize("kind", ["integers", "column", "one-hot", "soft"])
    def test_every_kind_of_label(self, kind):
        labels = {
            "integers": LABELS,
            "column": LABELS[:, None],
            "one-hot": np.eye(3)[LABELS],
            "soft": 0.7 * np.eye(3)[LABELS] + 0.1,
        }[kind]
        student = net()
        distiller = kd.Distiller(student=student, teacher=net(8))
        history = trained(distiller, labels, metrics=["accuracy"])
        weights = np.eye(3)[LABELS] if kind != "soft" else labels
        log_probs = np.log(np.asarray(ops.softmax(student(IMAGES)), float))
        assert history["hard_loss"][0] == pytest.approx(
            -(weights * log_probs).sum(-1).mean(), rel=1e-5
        )
        assert history["accuracy"][0] == pytest.approx((log_probs.argmax(-1) == LABELS).mean())

    def test_a_loss_on_probabilities_is_refused(self):
        with pytest.raises(ValueError, match="must take logits.*from_logits=True"):
            kd.Distiller(student=net()).compile(loss=keras.losses.CategoricalCrossentropy())


class TestLogs:
    def test_nothing_is_reported_that_was_not_computed(self):
        distiller = kd.Distiller(student=net(), teacher=net(8))
        history = trained(
            distiller, metrics=["accuracy"], fit={"validation_data": (IMAGES, LABELS)}
        )
        assert set(history) == {
            "loss", "hard_loss", "distillation_loss", "accuracy",
            "val_loss", "val_hard_loss", "val_accuracy",
        }  # fmt: skip

    def test_evaluate_begins_with_the_loss(self):
        student = net()
        distiller = kd.Distiller(student=student, teacher=net(8)).compile(metrics=["accuracy"])
        loss, hard_loss, accuracy = distiller.evaluate(IMAGES, LABELS, verbose=0)
        assert loss == hard_loss  # There are no regularisers.
        expected = kd.losses.CrossEntropy()(LABELS, student(IMAGES))
        assert hard_loss == pytest.approx(float(expected), rel=1e-5)
        assert accuracy == pytest.approx((np.argmax(student(IMAGES), -1) == LABELS).mean())

    def test_without_labels_evaluate_asks_the_teacher(self):
        student, teacher = net(), net(8)
        distiller = kd.Distiller(student=student, teacher=teacher, alpha=1.0).compile(
            metrics=["accuracy"]
        )
        results = distiller.evaluate(IMAGES, verbose=0, return_dict=True)
        expected = float(kd.losses.SoftTargets()(teacher(IMAGES), student(IMAGES)))
        assert results == {
            "loss": pytest.approx(expected, rel=1e-5),
            "distillation_loss": pytest.approx(expected, rel=1e-5),
        }

    def test_the_logged_loss_is_the_mean_over_examples_not_over_batches(self):
        student, teacher = net(), net(8)
        history = trained(kd.Distiller(student=student, teacher=teacher), fit={"batch_size": 23})
        soft = float(kd.losses.SoftTargets()(teacher(IMAGES), student(IMAGES)))
        assert history["distillation_loss"][0] == pytest.approx(soft, rel=1e-5)


class TestAttachTeacher:
    def saved(self, tmp_path, teacher):
        distiller = kd.Distiller(student=net(), teacher=teacher)
        trained(distiller)
        distiller.save(tmp_path / "distiller.keras")
        return keras.models.load_model(tmp_path / "distiller.keras")

    def test_another_teacher_is_refused(self, tmp_path):
        loaded = self.saved(tmp_path, net(8))
        with pytest.raises(ValueError, match="the one this distiller was saved with"):
            loaded.attach_teacher(net(8))
        assert loaded.teacher is None

    def test_without_it_training_says_what_to_do(self, tmp_path):
        loaded = self.saved(tmp_path, net(8))
        with pytest.raises(ValueError, match="attach_teacher"):
            loaded.fit(IMAGES, LABELS, verbose=0)

    def test_without_it_evaluate_and_predict_work(self, tmp_path):
        loaded = self.saved(tmp_path, net(8))
        assert loaded.predict(IMAGES, verbose=0).shape == (24, 3)
        assert loaded.evaluate(IMAGES, LABELS, verbose=0)[0] > 0

    def test_saved_twice_it_still_knows_its_teacher(self, tmp_path):
        self.saved(tmp_path, net(8)).save(tmp_path / "again.keras")
        loaded = keras.models.load_model(tmp_path / "again.keras")
        with pytest.raises(ValueError, match="the one this distiller was saved with"):
            loaded.attach_teacher(net(8))


class TestWhatIsRefused:
    @pytest.mark.parametrize("alpha", [-0.1, 2.1, float("nan"), True, "0.5", None])
    def test_an_alpha_out_of_range(self, alpha):
        with pytest.raises(ValueError, match="`alpha`, the weight of the distillation loss"):
            kd.Distiller(student=net(), teacher=net(8), alpha=alpha)

    def test_other_classes(self):
        with pytest.raises(ValueError, match="Received: 3 and 4. Build the student with `num_cl"):
            kd.Distiller(student=net(num_classes=4), teacher=net(8))

    def test_other_images(self):
        student = kd.models.mlp([4], image_shape=(5, 5, 1), num_classes=3)
        with pytest.raises(ValueError, match=r"same images. Received: \(4, 4, 1\) and \(5, 5, 1\)"):
            kd.Distiller(student=student, teacher=net())

    def test_one_model_as_both(self):
        model = net()
        with pytest.raises(ValueError, match="two models"):
            kd.Distiller(student=model, teacher=model)

    def test_a_student_that_ends_in_softmax(self):
        student = keras.Sequential(
            [keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")]
        )
        with pytest.raises(ValueError, match="must return logits. Received: .* softmax"):
            kd.Distiller(student=student, teacher=net())

    def test_an_unbuilt_student(self):
        with pytest.raises(ValueError, match=r"must be built.* keras\.Input"):
            kd.Distiller(student=keras.Sequential([layers.Dense(3)]), teacher=net())

    def test_a_student_with_two_outputs(self):
        image = keras.Input((4, 4, 1))
        x = layers.Flatten()(image)
        student = keras.Model(image, [layers.Dense(3)(x), layers.Dense(3)(x)])
        with pytest.raises(ValueError, match="`distillation_loss` must be one for each output"):
            kd.Distiller(student=student, teacher=net())

    def test_a_student_that_is_no_model(self):
        with pytest.raises(ValueError, match="must be a keras.Model. Received: str"):
            kd.Distiller(student="mlp", teacher=net())

    def test_a_distillation_loss_that_is_none(self):
        with pytest.raises(ValueError, match="no loss of that name. Received: .kl_div"):
            kd.Distiller(student=net(), teacher=net(8), distillation_loss="kl_divergence")

    def test_training_without_labels_below_alpha_1(self):
        distiller = kd.Distiller(student=net(), teacher=net(8), alpha=0.5)
        with pytest.raises(ValueError, match="alpha=0.5 needs labels"):
            trained(distiller, labels=None)

    def test_student_and_teacher_by_position(self):
        """A published example shipped with the two swapped, and still looked plausible."""
        with pytest.raises(TypeError):
            kd.Distiller(net(), net(8))


class SubclassedStudent(keras.Model):
    """A student that only its calls know."""

    def __init__(self):
        super().__init__()
        self.flatten, self.dense = layers.Flatten(), layers.Dense(3)

    def call(self, images):
        return self.dense(self.flatten(images))


def test_a_subclassed_student_is_distilled():
    student = SubclassedStudent()
    student(IMAGES)
    before = student.get_weights()
    distiller = kd.Distiller(student=student, teacher=net(), alpha=1.0)
    history = trained(distiller, optimizer="adam", epochs=5)
    assert history["loss"][-1] < history["loss"][0]
    assert not np.array_equal(before[0], student.get_weights()[0])


def test_what_a_training_traced_is_freed_with_it():
    graphs = []

    class Watching(kd.losses.SoftTargets):
        def call(self, teacher_outputs, student_outputs):
            graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
            return super().call(teacher_outputs, student_outputs)

    trained(
        kd.Distiller(student=net(), teacher=net(), distillation_loss=Watching()), run_eagerly=False
    )
    gc.collect()
    assert graphs and not any(graph() for graph in graphs)


def test_a_trailing_channel_of_one_is_no_other_shape():
    student = kd.models.mlp([4], image_shape=(4, 4), num_classes=3)
    history = trained(kd.Distiller(student=student, teacher=net()))
    assert np.isfinite(history["loss"][0])


def test_a_softmax_ended_teacher_teaches_what_its_logits_teach():
    student = net()
    logits_teacher = net(8)
    softmax_teacher = keras.Sequential([logits_teacher, layers.Softmax()])
    softmax_teacher.build((None, 4, 4, 1))
    one, other = (
        trained(kd.Distiller(student=student, teacher=teacher))["distillation_loss"][0]
        for teacher in (logits_teacher, softmax_teacher)
    )
    assert one == pytest.approx(other, rel=1e-6)


def test_on_real_data_the_distilled_student_agrees_more_with_its_teacher(fashion_mnist):
    """Against the same student trained without it: same weights, data, order and budget."""
    shape = {"image_shape": fashion_mnist.image_shape, "num_classes": 10}
    train = fashion_mnist.train
    few = kd.data.Split(train.images[:10_000], train.labels[:10_000])

    def fit(model, epochs):
        model.fit(few.batches(64, shuffle_seed=0), epochs=epochs, shuffle=False, verbose=0)

    options = {"optimizer": "adam", "steps_per_execution": 64}
    teacher = kd.models.mlp([256, 256], **shape)
    teacher.compile(loss=kd.losses.CrossEntropy(), **options)
    fit(teacher, 3)
    agreements = []
    for alpha in (1.0, 0.0):
        keras.utils.set_random_seed(0)
        student = kd.models.mlp([64], **shape)
        options["optimizer"] = keras.optimizers.Adam()
        distiller = kd.Distiller(student=student, teacher=teacher, alpha=alpha)
        fit(distiller.compile(**options), 3)
        logits = [model.predict(fashion_mnist.validation.images, batch_size=1000, verbose=0)
                  for model in (student, teacher)]  # fmt: skip
        agreements.append(kd.metrics.agreement(*logits))
    assert agreements[0] > agreements[1]


def test_a_keras_distribution_is_refused():
    distribution = keras.distribution.DataParallel(devices=["cpu:0"])
    keras.distribution.set_distribution(distribution)
    try:
        with pytest.raises(ValueError, match=r"tf.distribute.MirroredStrategy.*does nothing here"):
            trained(kd.Distiller(student=net(), teacher=net(8)))
    finally:
        keras.distribution.set_distribution(None)


def test_a_subclassed_student_that_returns_probabilities_is_refused():
    class Closed(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = layers.Dense(3, activation="softmax")

        def call(self, images):
            return self.inner(ops.reshape(images, (-1, 16)))

    student = Closed()
    student(IMAGES)
    with pytest.raises(ValueError, match="must return logits.*whose answers are probabilities"):
        kd.Distiller(student=student, teacher=net(8))


class TestOutputsWithoutLabels:
    X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    KIND = np.arange(8) % 3

    def distiller(self, compared=("kind", "size"), **options):
        def net(units):
            x = keras.Input((4,))
            hidden = layers.Dense(units)(x)
            return keras.Model(
                x, {"kind": layers.Dense(3)(hidden), "size": layers.Dense(1)(hidden)}
            )

        losses = {"kind": kd.losses.SoftTargets(), "size": kd.losses.ValueMatching()}
        options["distillation_loss"] = {name: losses[name] for name in compared}
        return kd.Distiller(student=net(2), teacher=net(5), **options)

    @pytest.mark.filterwarnings("ignore:Gradients do not exist")
    def test_an_output_that_nobody_speaks_of_is_left_alone(self):
        distiller = self.distiller(["kind"], alpha=1.0)
        with pytest.raises(ValueError, match="The output size .*one that is left out there learns"):
            distiller.compile("sgd")
        distiller.compile("sgd", loss={}, run_eagerly=True)
        before = [np.array(each) for each in distiller.student.layers[-1].weights]
        distiller.fit(self.X, verbose=0)
        assert_equal_weights(distiller.student.layers[-1].weights, before)

    @pytest.mark.parametrize("options", [{}, {"steps_per_execution": 1}, {"run_eagerly": True}])
    def test_the_teacher_alone_speaks_of_them(self, options):
        distiller = self.distiller(alpha=0.5)
        metrics = {"kind": ["accuracy"]}
        distiller.compile(loss={"kind": kd.losses.CrossEntropy()}, metrics=metrics, **options)
        history = distiller.fit(self.X, {"kind": self.KIND}, verbose=0).history
        assert "size_loss" not in history and "kind_accuracy" in history
        found = {name: values[0] for name, values in history.items()}
        expected = 0.5 * (found["kind_loss"] + found["kind_distillation_loss"])
        assert found["loss"] == pytest.approx(expected + found["size_distillation_loss"], rel=1e-5)
        assert found["hard_loss"] == found["kind_loss"]

    @pytest.mark.parametrize(
        ("metrics", "sentence"),
        [
            ({}, "The output size learns from labels. Received: labels of kind alone"),
            ({"size": ["mae"]}, "The metrics of the output size need labels"),
        ],
    )
    def test_a_loss_or_a_metric_that_needs_them_says_so(self, metrics, sentence):
        distiller = self.distiller().compile(metrics=metrics)
        with pytest.raises(ValueError, match=sentence):
            distiller.fit(self.X, {"kind": self.KIND}, verbose=0)

    def test_stored_outputs_must_hold_what_a_loss_compares(self):
        targets = kd.Targets({"kind": self.KIND}, {"kind": np.zeros((8, 3), "float32")})
        distiller = self.distiller().compile(loss={"kind": kd.losses.CrossEntropy()})
        with pytest.raises(ValueError, match="compares the output size.*stored outputs of kind"):
            distiller.fit(self.X, targets, verbose=0)

    def test_an_objective_of_which_nothing_is_left_is_refused(self):
        with pytest.raises(ValueError, match="must learn from labels or from the teacher"):
            self.distiller(alpha=0.0).compile(loss={"kind": None, "size": None})


def test_a_student_is_tried_on_its_own_inputs_among_the_examples():
    def model(names):
        inputs = {name: keras.Input((3,), name=name) for name in names}
        joined = keras.ops.concatenate(list(inputs.values()), axis=-1)
        return keras.Model(inputs, keras.layers.Dense(2)(joined))

    inputs = {name: np.ones((4, 3), "float32") for name in ("a", "b")}
    distiller = kd.Distiller(student=model("a"), teacher=model("ab"), examples=inputs)
    history = distiller.compile("adam").fit(inputs, np.arange(4) % 2, verbose=0).history
    assert history["distillation_loss"][0] > 0
