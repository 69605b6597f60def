"""A discriminator between teacher and student: who moves, which way, and what it costs."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import assert_equal_weights
from keras import layers, ops

import keras_kd as kd
from keras_kd.adversarial.alternating import Game, scores
from keras_kd.adversarial.networks import SpectralNormalization

IMAGES = np.random.default_rng(0).uniform(0, 255, (24, 4, 4, 1)).astype("float32")
LABELS = np.arange(24) % 3
FIT = {"batch_size": 8, "epochs": 1, "shuffle": False, "verbose": 0}
WHOLE = {**FIT, "batch_size": 24}  # One step an epoch.
SGD = keras.optimizers.SGD


def net(units=6, seed=0, num_classes=3):
    keras.utils.set_random_seed(seed)
    return kd.models.mlp([units], image_shape=(4, 4, 1), num_classes=num_classes)


def conv(filters, seed=0):
    keras.utils.set_random_seed(seed)
    return kd.models.conv_net([filters], image_shape=(4, 4, 1), num_classes=3)


def game(student=None, teacher=None, **options):
    student, teacher = student or net(seed=1), teacher or net(9)
    keras.utils.set_random_seed(2)  # For the discriminator.
    return kd.adversarial.DiscriminatorDistiller(student=student, teacher=teacher, **options)


def trained(distiller, optimizer=None, discriminator_optimizer=None, fit=FIT, **options):
    distiller.compile(
        optimizer or keras.optimizers.Adam(1e-2),
        discriminator_optimizer=discriminator_optimizer or keras.optimizers.Adam(1e-2),
        **{"run_eagerly": True, **options},  # A few steps are taken sooner than traced.
    )
    return distiller.fit(IMAGES, LABELS, **fit).history


@functools.cache
def plainly():
    """What a graph of plain kernels makes of the game, which others are held against."""
    distiller = game()
    logs = trained(distiller, SGD(0.1), SGD(0.1), run_eagerly=False, jit_compile=False)
    return distiller.get_weights(), logs


def moved(model, before):
    return [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]


class TestTheGame:
    SCORES = np.array([[2.0], [-0.5]]), np.array([[0.25], [-3.0]])

    @pytest.mark.parametrize(
        ("name", "discriminator", "student"),
        [
            ("least_squares", lambda t, s: (t - 1) ** 2 + s**2, lambda s: (s - 1) ** 2),
            ("hinge", lambda t, s: np.maximum(0, 1 - t) + np.maximum(0, 1 + s), lambda s: -s),
            (
                "binary_crossentropy",
                lambda t, s: np.log1p(np.exp(-t)) + np.log1p(np.exp(s)),
                lambda s: np.log1p(np.exp(-s)),
            ),
        ],
    )
    def test_both_sides_are_the_published_formulas(self, name, discriminator, student):
        teacher_scores, student_scores = self.SCORES
        played = Game(name)
        assert float(played.discriminator_loss(teacher_scores, student_scores)) == pytest.approx(
            discriminator(teacher_scores, student_scores).mean(), rel=1e-6
        )
        assert float(played.student_loss(student_scores)) == pytest.approx(
            student(student_scores).mean(), rel=1e-6
        )
        # A weight counts in the sum; what it is divided by stays the number of examples.
        weights = np.array([0.5, 2.0])
        assert float(played.student_loss(student_scores, weights)) == pytest.approx(
            (weights * student(student_scores)[:, 0]).mean(), rel=1e-6
        )

    def test_a_score_a_class_is_read_at_the_class(self):
        judge = kd.adversarial.discriminator((3,), num_classes=3)
        features, classes = np.eye(3, dtype="float32"), np.eye(3)[[2, 0, 1]]
        np.testing.assert_allclose(
            scores(judge, features, classes)[:, 0], judge(features).numpy()[[0, 1, 2], [2, 0, 1]]
        )

    def test_one_step_worked_by_hand(self):
        """One image, D(x) = x_0 / 2, the student's logits are its two biases.

        The student scores 0 / 2, so (D - 1)^2 = 1 and its slope by x_0 is 2 * (0 - 1) / 2 = -1:
        a step of 0.5 with beta = 1 takes x_0 from 0 to 0.5 and leaves x_1.
        """
        student, teacher = bias_net([0.0, 0.0]), bias_net([2.0, 0.0])
        judge = kd.adversarial.discriminator((2,), hidden=(), spectral_normalization=False)
        judge.set_weights([np.array([[0.5], [0.0]]), np.zeros(1)])
        distiller = game(
            student, teacher, discriminator=judge, standardize=False, beta=1.0, alpha=0.0
        )
        distiller.compile(SGD(0.5), NoLoss(), discriminator_optimizer=SGD(0.0))
        before = float(scores(judge, student(np.zeros((1, 2))))[0, 0])
        history = distiller.fit(np.zeros((1, 2)), np.zeros(1), verbose=0).history
        np.testing.assert_allclose(student.get_weights()[1], [0.5, 0.0])
        assert history["adversarial_loss"][0] == pytest.approx(1.0)
        # (D(t) - 1)^2 + D(s)^2 = 0 before; it can tell them apart less well afterwards.
        assert history["discriminator_loss"][0] == pytest.approx(0.0)
        after = float(scores(judge, student(np.zeros((1, 2))))[0, 0])
        assert (before, after) == (0.0, 0.25)

    def test_the_plain_form_is_alternating_steps_of_binary_cross_entropy(self):
        """Three steps written out in NumPy: discriminator, then student, on the same logits."""
        inputs = np.random.default_rng(3).normal(size=(5, 4)).astype("float32")
        student, teacher = linear_net(seed=1), linear_net(seed=2)
        judge = kd.adversarial.discriminator((3,), hidden=(), spectral_normalization=False)
        kernel, weight = (
            student.get_weights()[0].astype(float),
            judge.get_weights()[0].astype(float),
        )
        distiller = game(
            student, teacher, discriminator=judge, standardize=False, beta=1.0, alpha=0.0,
            adversarial_loss="binary_crossentropy",
        ).compile(SGD(0.1), NoLoss(), discriminator_optimizer=SGD(0.2))  # fmt: skip
        distiller.fit(inputs, np.zeros(5), batch_size=5, epochs=3, verbose=0)

        def sigmoid(x):
            return 1 / (1 + np.exp(-x))

        real, bias = inputs @ teacher.get_weights()[0], np.zeros(1)
        for _ in range(3):
            fake = inputs @ kernel
            on_real, on_fake = (sigmoid(each @ weight + bias) for each in (real, fake))
            weight -= 0.2 * (real.T @ (on_real - 1) + fake.T @ on_fake) / 5
            bias -= 0.2 * (on_real - 1 + on_fake).mean(axis=0)
            slope = (sigmoid(fake @ weight + bias) - 1) @ weight.T / 5
            kernel -= 0.1 * inputs.T @ slope
        assert_equal_weights(judge.get_weights(), [weight, bias], rtol=1e-5, atol=1e-6)
        assert_equal_weights(student.get_weights(), [kernel], rtol=1e-5, atol=1e-6)


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class NoLoss(keras.losses.Loss):
    """Zero, with a gradient of zero, so that the game is all there is."""

    def call(self, y_true, y_pred):
        return 0.0 * ops.sum(y_pred, axis=-1)


def linear_net(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, use_bias=False)])


def bias_net(values):
    """On images of zeros, logits that are its biases."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    model.set_weights([np.zeros((2, 2)), np.array(values)])
    return model


class TestWhoMoves:
    def test_without_beta_it_is_the_distiller_to_the_bit(self):
        students = [net(seed=1), net(seed=1)]
        control = game(students[0], beta=0.0)
        distiller = kd.Distiller(student=students[1], teacher=net(9))
        logs = trained(control, steps_per_execution=2, run_eagerly=False)
        distiller.compile(keras.optimizers.Adam(1e-2), steps_per_execution=2)
        assert distiller.fit(IMAGES, LABELS, **FIT).history == logs
        assert_equal_weights(*(student.get_weights() for student in students))

    @pytest.mark.parametrize("frozen", ["student", "discriminator"])
    def test_each_step_moves_its_own_player_alone(self, frozen):
        teacher = net(9)
        distiller = game(teacher=teacher, beta=0.5)
        players = {"student": distiller.student, "discriminator": distiller.discriminator}
        before = {name: player.get_weights() for name, player in players.items()}
        teacher_before = teacher.get_weights()
        rates = {name: 0.0 if name == frozen else 0.1 for name in players}
        trained(distiller, SGD(rates["student"]), SGD(rates["discriminator"]))
        assert all(moved(distiller.student, before["student"])) == (frozen == "discriminator")
        kernels = [weight.path for weight in distiller.discriminator.trainable_variables]
        of_discriminator = moved(distiller.discriminator, before["discriminator"])
        assert any(of_discriminator) and len(kernels) == 6
        if frozen == "discriminator":
            # Spectral normalisation rescales the kernels; only an optimizer moves the biases.
            biases = [
                w for w in distiller.discriminator.trainable_variables if w.path[-4:] == "bias"
            ]
            assert not any(np.any(bias) for bias in biases)
        else:
            assert not any(moved(distiller.student, before["student"]))
        assert not any(moved(teacher, teacher_before))

    def test_each_optimizer_owns_its_variables(self):
        distiller = game()
        trained(distiller, keras.optimizers.Adam(), keras.optimizers.Adam())
        # Adam keeps two moments a variable, and two counts.
        assert len(distiller.optimizer.variables) == 2 + 2 * 4
        assert len(distiller.discriminator_optimizer.variables) == 2 + 2 * 6
        assert len(distiller.trainable_variables) == 4

    def test_the_discriminator_learns_to_tell_and_the_student_to_be_taken(self):
        adam = keras.optimizers.Adam
        logs = trained(game(beta=0.0001), SGD(0.0), adam(5e-2), fit={**WHOLE, "epochs": 6})
        assert logs["discriminator_loss"][-1] < 0.8 * logs["discriminator_loss"][0]
        judge = kd.adversarial.discriminator((3,), spectral_normalization=False)
        distiller = game(discriminator=judge, beta=1.0, alpha=0.0)
        fit = {**WHOLE, "epochs": 12}
        logs = trained(distiller, adam(5e-2), SGD(0.0), loss=NoLoss(), fit=fit)
        assert logs["adversarial_loss"][-1] < 0.8 * logs["adversarial_loss"][0]

    def test_one_pass_of_each_a_step(self):
        calls = {"student": 0, "teacher": 0}

        class Counting(layers.Layer):
            def call(self, inputs):
                calls[self.name] += 1
                return inputs

        def counted(name):
            image = keras.Input((4, 4, 1))
            x = layers.Flatten()(Counting(name=name)(image))
            return keras.Model(image, layers.Dense(3)(x))

        distiller = game(counted("student"), counted("teacher"))
        calls.update(student=0, teacher=0)
        trained(distiller, run_eagerly=True, fit=FIT)
        assert calls == {"student": 3, "teacher": 3}

    def test_examples_without_weight_might_as_well_hold_anything(self):
        weights, students = np.tile([1.0, 0.0], 12), [net(seed=1), net(seed=1)]
        for student, labels in zip(students, (LABELS, np.where(weights, LABELS, 0)), strict=True):
            distiller = game(student)
            distiller.compile(SGD(0.1), discriminator_optimizer=SGD(0.1), run_eagerly=True)
            distiller.fit(IMAGES, labels, sample_weight=weights, **FIT)
        assert_equal_weights(*(student.get_weights() for student in students))

    @pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": True}, {}])
    def test_a_teacher_that_answers_nan_moves_nobody(self, options):
        def make(**options):
            keras.utils.set_random_seed(3)
            judge = keras.Sequential(
                [keras.Input((3,)), layers.BatchNormalization(), layers.Dense(3)], name="judge"
            )
            image = keras.Input((4, 4, 1))
            # The root of what is negative.
            x = layers.Dense(3)(layers.Flatten()(ops.sqrt(image)))
            distiller = game(teacher=keras.Model(image, x), discriminator=judge)
            distiller.compile(SGD(0.1), discriminator_optimizer=SGD(0.1), **options)
            return distiller

        def batches(images):
            # A pipeline of the user's: the teacher is asked batch by batch.
            return tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(8)

        images = np.where(np.arange(24)[:, None, None, None] == 12, -1.0, IMAGES)
        distiller, good = make(**options), make(run_eagerly=True)
        with pytest.raises(ValueError, match="must be finite.*for batch 1, on which nothing"):
            distiller.fit(batches(images.astype("float32")), verbose=0)
        good.fit(batches(IMAGES).take(1), verbose=0)
        # Student and discriminator, with the statistics that it keeps.
        assert_equal_weights(distiller.get_weights(), good.get_weights(), atol=1e-6)

    def test_beta_may_follow_a_schedule(self):
        ramp = kd.schedules.Linear(0.0, 1.0, steps=1)
        with_ramp, control = game(beta=ramp), game(beta=0.0)
        for distiller in (with_ramp, control):
            trained(distiller, fit=WHOLE)
        # beta was 0 in the first step.
        assert_equal_weights(
            with_ramp.student.get_weights(), control.student.get_weights(), rtol=1e-5, atol=1e-7
        )
        for distiller in (with_ramp, control):
            distiller.fit(IMAGES, LABELS, **WHOLE)
        first = [distiller.student.get_weights()[0] for distiller in (with_ramp, control)]
        assert not np.allclose(*first, rtol=1e-5, atol=1e-7)

    def test_unlabelled_images_are_judged_for_what_the_teacher_says(self):
        history = game(alpha=1.0).compile().fit(IMAGES, verbose=0).history
        assert {"discriminator_loss", "adversarial_loss"} <= set(history)


class TestLayers:
    @pytest.mark.parametrize("filters", [4, 7], ids=["projected", "of one shape"])
    def test_layers_are_judged_too(self, filters, tmp_path):
        teacher = conv(7)
        distiller = game(
            conv(filters, seed=1), teacher,
            teacher_layer_name="conv_1", student_layer_name="conv_1",
            distillation_loss=[kd.losses.SoftTargets(), kd.losses.Hints("flatten", "flatten")],
        )  # fmt: skip
        assert (distiller.feature_projectors[0] is None) == (filters == 7)
        before = distiller.get_weights()
        assert "adversarial_loss" in trained(distiller)
        assert not np.array_equal(before[0], distiller.get_weights()[0])
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        loaded.attach_teacher(teacher)
        for model in (distiller, loaded):
            model.fit(IMAGES, LABELS, **FIT)
        assert_equal_weights(distiller.get_weights(), loaded.get_weights())

    def test_several_pairs_have_a_discriminator_each(self, tmp_path):
        teacher = conv(7)
        names = [None, "conv_1", "flatten"]
        distiller = game(
            conv(4, seed=1), teacher, teacher_layer_name=names, student_layer_name=names
        )
        judges = distiller.discriminator
        shapes = [judge.input_shape[1:] for judge in judges]
        assert shapes == [(3,), (2, 2, 7), (28,)]
        assert [each is None for each in distiller.feature_projectors] == [True, False, False]
        before = [judge.get_weights() for judge in judges]
        logs = trained(distiller)
        for judge, weights in zip(judges, before, strict=True):
            assert any(moved(judge, weights))
        assert len(distiller.discriminator_optimizer.variables) == 2 + 2 * sum(
            len(judge.trainable_variables) for judge in judges
        )
        assert {"adversarial_loss", "discriminator_loss"} <= set(logs)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        loaded.attach_teacher(teacher)
        for model in (distiller, loaded):
            model.fit(IMAGES, LABELS, **FIT)
        assert_equal_weights(distiller.get_weights(), loaded.get_weights())

    def test_the_loss_of_several_pairs_is_the_mean_of_theirs(self):
        batch = WHOLE
        options = {
            "teacher_layer_name": ["hidden_1", None], "student_layer_name": ["hidden_1", None]
        }  # fmt: skip
        both = game(net(9, seed=1), net(9), **options)
        judges = [keras.models.clone_model(judge) for judge in both.discriminator]
        for judge, original in zip(judges, both.discriminator, strict=True):
            judge.set_weights(original.get_weights())
        logs = trained(both, SGD(0.1), SGD(0.1), fit=batch)
        singly = []
        for number, judge in enumerate(judges):
            only = {name: layers_[number] for name, layers_ in options.items()}
            one = game(net(9, seed=1), net(9), discriminator=judge, **only)
            # Half of the mean's gradient is each one's.
            singly.append(trained(one, SGD(0.1), SGD(0.05), fit=batch))
            assert_equal_weights(
                judge.get_weights(), both.discriminator[number].get_weights(), rtol=1e-4, atol=1e-6
            )
        for key in ("adversarial_loss", "discriminator_loss"):
            mean = np.mean([one[key][0] for one in singly])
            assert logs[key][0] == pytest.approx(mean, rel=1e-5)

    def test_a_list_of_one_is_that_one_to_the_bit(self):
        weights = []
        for wrap in (lambda name: name, lambda name: [name]):
            options = {
                side: wrap("conv_1") for side in ("teacher_layer_name", "student_layer_name")
            }
            distiller = game(conv(4, seed=1), conv(7), **options)
            trained(distiller)
            weights.append(distiller.get_weights())
        assert_equal_weights(*weights)

    @pytest.mark.parametrize("build", [lambda: layers.Dense(6), lambda: layers.Conv2D(6, 2)])
    def test_spectral_normalisation_is_that_of_keras(self, build):
        shape = (4, 5) if isinstance(build(), layers.Dense) else (4, 3, 3, 5)
        features = np.random.default_rng(0).normal(size=shape).astype("float32")
        published, ours = (
            kind(build(), power_iterations=2)
            for kind in (layers.SpectralNormalization, SpectralNormalization)
        )
        for layer in (published, ours):
            layer(features)
        ours.set_weights(published.get_weights())
        for _ in range(3):
            outputs = [layer(features, training=True) for layer in (published, ours)]
            np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)
            assert_equal_weights(ours.get_weights(), published.get_weights(), rtol=1e-5, atol=1e-6)

    def test_spectral_normalisation_bounds_the_kernels(self):
        distiller = game(beta=0.1)
        trained(distiller, fit={**WHOLE, "epochs": 20})
        for layer in distiller.discriminator.layers:
            if isinstance(layer, layers.SpectralNormalization):
                largest = np.linalg.svd(layer.layer.kernel.numpy(), compute_uv=False)[0]
                # Adam's step of 0.01 a weight since the last normalisation comes on top. Without
                # it the largest is 2.3.
                assert largest < 1.5


class TestHowItRuns:
    @pytest.mark.parametrize(
        "options",
        [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 3}],
        ids=["eager", "xla", "steps"],
    )
    def test_graph_eager_and_xla_agree(self, options):
        weights, logs = plainly()
        other = game()
        other_logs = trained(other, SGD(0.1), SGD(0.1), **{"run_eagerly": False, **options})
        assert_equal_weights(weights, other.get_weights(), rtol=1e-3, atol=1e-5)
        for key, values in logs.items():
            np.testing.assert_allclose(other_logs[key], values, rtol=1e-3)

    @pytest.mark.parametrize(
        "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16)]
    )
    def test_mixed_precision(self, policy):
        keras.config.set_dtype_policy(policy)
        try:
            distiller = game()
        finally:
            keras.config.set_dtype_policy("float32")
        logs = trained(distiller, fit={**WHOLE, "epochs": 10})
        scaled = policy == "mixed_float16"
        for optimizer in (distiller.optimizer, distiller.discriminator_optimizer):
            assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == scaled
        assert logs["loss"][-1] < 0.9 * logs["loss"][0]
        assert logs["adversarial_loss"][0] == pytest.approx(
            trained(game(), fit={**WHOLE, "epochs": 1})["adversarial_loss"][0], rel=0.1
        )

    def test_a_reloaded_run_goes_on_to_the_bit(self, tmp_path):
        teacher = net(9)
        distiller = game(teacher=teacher, beta=kd.schedules.Linear(0.0, 0.1, steps=10))
        trained(distiller)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        loaded.attach_teacher(teacher)
        for model in (distiller, loaded):
            model.fit(IMAGES, LABELS, **FIT)
        assert_equal_weights(distiller.get_weights(), loaded.get_weights())
        assert_equal_weights(
            distiller.discriminator_optimizer.variables, loaded.discriminator_optimizer.variables
        )

    def test_evaluate_changes_nothing_and_predict_is_the_students(self):
        distiller = game()
        trained(distiller)
        before = distiller.get_weights()
        results = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
        assert set(results) == {"loss", "hard_loss"}
        distiller.evaluate(IMAGES, verbose=0)
        predicted = distiller.predict(IMAGES, verbose=0)
        assert_equal_weights(distiller.get_weights(), before)
        np.testing.assert_allclose(predicted, distiller.student(IMAGES), rtol=1e-5, atol=1e-5)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"beta": -0.1}, r"`beta` must be a number from 0 to 1e\+06 or a schedule"),
            ({"adversarial_loss": "wasserstein"}, "must be one of least_squares, hinge"),
            ({"teacher_layer_name": "hidden_1"}, "Name both, or neither"),
            (
                {"teacher_layer_name": ["hidden_1", None], "student_layer_name": ["hidden_1"]},
                "Name both, or neither",
            ),
            (
                {
                    "teacher_layer_name": ["hidden_1", None],
                    "student_layer_name": ["hidden_1", None],
                    "discriminator": kd.adversarial.discriminator((3,)),
                },
                r"one for each pair of layers, as a list \(2\). Received: 1",
            ),
            (
                {
                    "discriminator": keras.Sequential(
                        [keras.Input((3,)), layers.Dense(1, "sigmoid")]
                    )
                },
                "must return scores. Received: one that ends in sigmoid",
            ),
            (
                {"discriminator": kd.adversarial.discriminator((3,), num_classes=5)},
                "1 or 3. Received: 5",
            ),
            (
                {"discriminator": kd.adversarial.discriminator((4,))},
                r"must judge the shape \(3,\) that it is given. Received: one for \(4,\)",
            ),
            (
                {"teacher_layer_name": "nowhere", "student_layer_name": "hidden_1"},
                "must have the layers that a loss names. Received: nowhere",
            ),
            (
                {"teacher": kd.Teacher(net(9, num_classes=2), class_map=[0, 1])},
                "Received: a teacher with a class_map",
            ),
        ],
    )
    def test_parts_that_do_not_fit(self, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            game(**options)

    def test_logits_that_standardised_say_nothing(self):
        """Of two logits the z-scores are always the same two numbers."""
        two = {"student": net(seed=1, num_classes=2), "teacher": net(9, num_classes=2)}
        with pytest.raises(ValueError, match="at least 3 logits.* Received: 2.* `standardize=Fal"):
            game(**two)
        game(**two, standardize=False)
        game(**two, beta=0.0)

    def test_predictions_of_several_places(self):
        models = [keras.Sequential([keras.Input((6, 4)), keras.layers.Dense(3)]) for _ in range(2)]
        with pytest.raises(
            ValueError, match=r"logits \(batch, classes\). Received: a student that "
        ):
            game(student=models[0], teacher=models[1])

    def test_a_discriminator_that_is_given_probabilities(self):
        def softmax_inside():
            image = keras.Input((4, 4, 1))
            x = layers.Dense(3, "softmax", name="probabilities")(layers.Flatten()(image))
            return keras.Model(image, layers.Dense(3)(x))

        with pytest.raises(
            ValueError, match="`probabilities` ends in softmax. Name the layer befo"
        ):
            game(
                softmax_inside(), softmax_inside(),
                teacher_layer_name="probabilities", student_layer_name="probabilities",
            )  # fmt: skip

    def test_one_optimizer_for_both(self):
        optimizer, distiller = keras.optimizers.Adam(), game()
        with pytest.raises(ValueError, match="must be an optimizer of its own"):
            distiller.compile(optimizer, discriminator_optimizer=optimizer)

    def test_training_without_labels_below_alpha_1(self):
        with pytest.raises(ValueError, match="alpha=0.5 needs labels"):
            game().compile().fit(IMAGES, verbose=0)
