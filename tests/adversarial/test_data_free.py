"""Distillation without data: the terms, the turns, the pool, what is watched, what is refused."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import assert_equal_weights
from keras import layers, ops
from references import softmax

import keras_kd as kd
from keras_kd.adversarial import data_free, generator_loss
from keras_kd.adversarial.data_free import batch_norm_layers, pixel_statistics
from keras_kd.adversarial.watch import image_grid

A = kd.adversarial
SGD = keras.optimizers.SGD
GRAPH = {"run_eagerly": False}
LOGITS = np.random.default_rng(0).normal(0, 3, (6, 4))


def net(units=6, seed=0, **options):
    keras.utils.set_random_seed(seed)
    shape = {"image_shape": (8, 8, 1), "num_classes": 3, "mean": 0.2, "std": 0.3}
    return kd.models.mlp([units], **{**shape, **options})


def small_generator(seed=3):
    keras.utils.set_random_seed(seed)
    return A.generator((8, 8, 1), width=2, latent_size=5)


def game(student=None, teacher=None, **options):
    few = {"batch_size": 12, "student_steps": 2, "replay": 3}
    options = {**few, "generator": small_generator(), **options}
    student, teacher = student or net(seed=1), teacher or net(9)
    return A.DataFreeDistiller(student=student, teacher=teacher, **options)


def trained(distiller, optimizer=None, generator_optimizer=None, fit=None, **options):
    distiller.compile(
        optimizer or keras.optimizers.Adam(1e-2),
        generator_optimizer=generator_optimizer or keras.optimizers.Adam(1e-2),
        **{"run_eagerly": True, **options},  # A few steps are taken sooner than traced.
    )
    return distiller.fit(**{"epochs": 2, "steps_per_epoch": 3, "verbose": 0, **(fit or {})}).history


class TestTheTerms:
    def test_one_hot_is_the_cross_entropy_with_the_own_prediction(self):
        expected = -np.log(softmax(LOGITS)[np.arange(6), LOGITS.argmax(-1)]).mean()
        assert float(generator_loss.one_hot(LOGITS)) == pytest.approx(expected, rel=1e-5)

    def test_class_balance_is_the_negative_entropy_of_the_mean(self):
        mean = softmax(LOGITS).mean(0)
        expected = (mean * np.log(mean)).sum()
        assert float(generator_loss.class_balance(LOGITS)) == pytest.approx(expected, rel=1e-5)
        balanced = generator_loss.class_balance(100 * np.eye(4))
        assert float(balanced) == pytest.approx(-math.log(4), rel=1e-5)
        # A class that is never predicted: finite, and no gradient of NaN.
        collapsed = tf.constant(1000.0 * np.eye(4, dtype="float32")[[0, 0]])
        with tf.GradientTape() as tape:
            tape.watch(collapsed)
            value = generator_loss.class_balance(collapsed)
        assert float(value) == 0 and np.isfinite(tape.gradient(value, collapsed)).all()

    def test_activation_is_the_negative_mean_size(self):
        assert float(generator_loss.activation(LOGITS)) == pytest.approx(-np.abs(LOGITS).mean())

    def test_batch_statistics_are_two_norms(self):
        maps = np.random.default_rng(1).normal(1, 2, (5, 3, 3, 2))
        mean, variance = np.array([0.5, 1.0]), np.array([1.0, 3.0])
        expected = np.linalg.norm(maps.mean((0, 1, 2)) - mean)
        expected += np.linalg.norm(maps.var((0, 1, 2)) - variance)
        found = generator_loss.batch_statistics(maps, mean, variance)
        assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_total_variation_is_the_mean_difference_of_neighbours(self):
        images = np.random.default_rng(1).uniform(0, 255, (5, 4, 6, 2))
        expected = sum(np.abs(np.diff(images, axis=axis)).mean() / 255 for axis in (1, 2))
        term = A.TotalVariation(1.0)
        assert float(term.call({"images": images}, None)) == pytest.approx(expected, rel=1e-5)
        assert float(generator_loss.total_variation(np.full((2, 4, 4, 1), 9.0))) == 0

    @pytest.mark.parametrize("bounded", [True, False])
    def test_disagreement_is_what_the_student_loses(self, bounded):
        teacher, student = LOGITS, LOGITS[::-1].copy()
        distances = np.abs(teacher - student).mean(-1)
        expected = -np.log1p(distances).mean() if bounded else -distances.mean()
        term = A.Disagreement(distance=kd.losses.LogitDistance(), bounded=bounded)
        found = term.call({"logits": teacher}, {"logits": student})
        assert float(found) == pytest.approx(expected, rel=1e-5)


class TestTheTurns:
    def test_three_steps_are_the_published_ones(self):
        """DFAD, written out: generator down -|S - T|, then students down |S - T| on new images."""
        mean_distance = lambda s, t: ops.mean(ops.abs(s - t))  # noqa: E731
        found, expected = (linear_parts() for _ in range(2))
        student, teacher, generator = found
        distiller = A.DataFreeDistiller(
            student=student, teacher=teacher, generator=generator, batch_size=5,
            generator_loss=[A.Disagreement(distance=kd.losses.LogitDistance(), bounded=False)],
            distillation_loss=kd.losses.LogitDistance(), student_steps=2, replay=0,
        )  # fmt: skip
        trained(distiller, SGD(0.1), SGD(0.2), fit={"epochs": 1})
        student, teacher, generator = expected
        for step in range(3):
            for number in range(3):
                noise = noise_of((5, 4), step * 3 + number)
                with tf.GradientTape(persistent=True) as tape:
                    images = generator(noise)
                    distance = mean_distance(student(images), teacher(images))
                mover, rate = (generator, -0.2) if number == 0 else (student, 0.1)
                for variable in mover.trainable_variables:
                    variable.assign_sub(rate * tape.gradient(distance, variable.value))
        for one, other in zip(found, expected, strict=True):
            assert_equal_weights(one.get_weights(), other.get_weights(), rtol=1e-4, atol=1e-6)

    def test_dafl_takes_both_steps_on_one_batch(self):
        """The generator knows nothing of the student; the student learns from the same images."""
        found, expected = (linear_parts() for _ in range(2))
        student, teacher, generator = found
        terms = [A.OneHot(1.0), A.ClassBalance(2.0), A.Activation(0.5, teacher_layer_name="hidden")]
        distiller = A.DataFreeDistiller(
            student=student, teacher=teacher, generator=generator, batch_size=12,
            generator_loss=terms, student_steps=1, replay=1,
        )  # fmt: skip
        trained(distiller, SGD(0.1), SGD(0.2), fit={"epochs": 1})
        student, teacher, generator = expected
        hidden = keras.Model(teacher.inputs, teacher.get_layer("hidden").output)
        for step in range(3):
            noise = noise_of((12, 4), step * 2)
            with tf.GradientTape(persistent=True) as tape:
                images = generator(noise)
                logits = teacher(images)
                mean = ops.mean(ops.softmax(logits), axis=0)
                loss = keras.losses.sparse_categorical_crossentropy(
                    ops.argmax(logits, -1), logits, from_logits=True
                )
                loss = ops.mean(loss) + 2 * ops.sum(mean * ops.log(mean))
                loss -= 0.5 * ops.mean(ops.abs(hidden(images)))
                learned = keras.losses.kl_divergence(
                    ops.softmax(logits), ops.softmax(student(ops.stop_gradient(images)))
                )
                learned = ops.mean(learned)
            slopes = [
                (variable, rate * tape.gradient(value, variable.value))
                for mover, value, rate in ((generator, loss, 0.2), (student, learned, 0.1))
                for variable in mover.trainable_variables
            ]
            for variable, slope in slopes:
                variable.assign_sub(slope)
        for one, other in zip(found, expected, strict=True):
            assert_equal_weights(one.get_weights(), other.get_weights(), rtol=1e-3, atol=1e-5)

    def test_zskt_compares_where_both_look_as_well(self):
        """Both losses of ZSKT, recomputed from the images of one step that moves nothing."""
        shape = {"image_shape": (8, 8, 1), "num_classes": 3}
        teacher, student = (kd.models.conv_net([filters], **shape) for filters in (5, 4))
        soft, attention = (
            kd.losses.SoftTargets(1.0),
            kd.losses.AttentionTransfer("conv_1", "conv_1"),
        )
        distiller = game(
            student, teacher, generator_loss=A.Disagreement(bounded=False), student_steps=2,
            distillation_loss=[soft, attention], distillation_loss_weights=[1, 250], replay=1,
        )  # fmt: skip
        logs = trained(distiller, SGD(0.0), SGD(0.0), fit={"epochs": 1, "steps_per_epoch": 1})
        images = distiller.replay_pool.images.numpy()[0]
        maps = [
            keras.Model(model.inputs[0], model.get_layer("conv_1").output)(images)
            for model in (teacher, student)
        ]
        divergence = float(soft(teacher(images), student(images)))
        expected = divergence + 250 * float(attention(*maps))
        assert logs["disagreement_loss"][0] == pytest.approx(-divergence, rel=1e-4)
        assert logs["distillation_loss"][0] == pytest.approx(expected, rel=1e-4)

    def test_the_generator_seeks_and_the_student_closes_the_gap(self):
        for rates, falls in (((0.0, 0.1), False), ((0.1, 0.0), True)):
            distiller = game(generator_loss=A.Disagreement(1.0), replay=0)
            losses = trained(distiller, *map(SGD, rates), fit={"epochs": 3})["distillation_loss"]
            assert (losses[-1] < losses[0]) == falls

    @pytest.mark.parametrize("frozen", ["student", "generator"])
    def test_each_moves_its_own_and_the_teacher_never_moves(self, frozen):
        teacher = net(9)
        distiller = game(teacher=teacher)
        players = {"student": distiller.student, "generator": distiller.generator}
        before = {name: [w.numpy() for w in model.trainable_variables]
                  for name, model in players.items()}  # fmt: skip
        teacher_before = teacher.get_weights()
        rates = [0.0 if name == frozen else 0.1 for name in players]
        trained(distiller, *map(SGD, rates))
        for name, model in players.items():
            after = [w.numpy() for w in model.trainable_variables]
            same = [np.array_equal(*pair) for pair in zip(before[name], after, strict=True)]
            assert all(same) if name == frozen else not any(same)
        assert_equal_weights(teacher.get_weights(), teacher_before)

    def test_each_optimizer_owns_its_variables(self):
        distiller = game()
        trained(distiller, keras.optimizers.Adam(), keras.optimizers.Adam())
        for optimizer, model in (
            (distiller.optimizer, distiller.student),
            (distiller.generator_optimizer, distiller.generator),
        ):
            assert len(optimizer.variables) == 2 + 2 * len(model.trainable_variables)

    def test_the_pool_holds_the_last_batches_and_the_teachers_answers(self):
        teacher = net(9)
        distiller = game(teacher=teacher, replay=2, student_steps=1)
        trained(distiller, SGD(0.0), SGD(0.0), fit={"epochs": 1, "steps_per_epoch": 3})
        expected = [
            distiller.generator(noise_of((12, 5), 2 * step), training=True) for step in (2, 1)
        ]
        images = distiller.replay_pool.images.numpy()
        # Only the moving statistics, which are not used in training, have changed since.
        np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-2)
        logits = distiller.replay_pool.logits.numpy()
        np.testing.assert_allclose(logits[1], teacher(images[1]), rtol=1e-4, atol=1e-4)

    def test_the_teacher_sees_each_image_once(self):
        seen = []

        class Counting(layers.Layer):
            def call(self, inputs):
                seen.append(len(inputs) if tf.executing_eagerly() else None)
                return inputs

        image = keras.Input((8, 8, 1))
        teacher = keras.Model(image, layers.Dense(3)(layers.Flatten()(Counting()(image))))
        distiller = game(teacher=teacher, student_steps=4)
        seen.clear()
        trained(distiller, fit={"epochs": 1})
        assert seen == [12, 12, 12]

    def test_the_noise_control_learns_from_noise(self):
        distiller = game(generator=A.gaussian_noise((8, 8, 1), pixel_mean=0.5, pixel_std=0.1))
        before = distiller.student.get_weights()
        logs = trained(distiller)
        assert "generator_loss" not in logs and len(distiller.optimizers()) == 1
        assert not np.array_equal(before[0], distiller.student.get_weights()[0])
        pixels = distiller.replay_pool.images.numpy()
        assert pixels.mean() == pytest.approx(127.5, abs=2)
        assert pixels.std() == pytest.approx(25.5, abs=2)


def noise_of(shape, number):
    return tf.random.stateless_normal(shape, seed=[0, number])


def linear_parts():
    """Student, teacher and generator without BatchNorm, so that a few lines can follow them."""
    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 1))
    x = layers.Rescaling(1 / 50)(layers.Flatten()(image))
    student = keras.Model(image, layers.Dense(3)(x))
    hidden = layers.Dense(4, "tanh", name="hidden")(x)
    teacher = keras.Model(image, layers.Dense(3)(hidden))
    latents = keras.Input((4,))
    generator = keras.Model(latents, layers.Reshape((8, 8, 1))(layers.Dense(64)(latents)))
    return student, teacher, generator


def made_up_noise(shape, seed):
    count = tf.cast(tf.range(shape[0] * shape[1]), "float32")
    return tf.reshape(2 * tf.sin(count * (1.7 + tf.cast(seed[1], "float32"))), shape)


@functools.cache
def plainly():
    """What a graph of plain kernels makes of made-up noise, which others are held against."""
    distiller = game(replay=1)
    logs = trained(distiller, SGD(0.01), SGD(0.01), run_eagerly=False, jit_compile=False)
    return distiller.student.get_weights(), logs


class TestHowItRuns:
    def test_a_step_reaches_all_its_variables_on_a_gpu(self):
        """TensorFlow keeps those of int32 on the processor, out of XLA's reach."""
        assert not [each.path for each in game().variables if each.dtype == "int32"]

    @pytest.mark.parametrize(
        "options",
        [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 3}],
        ids=["eager", "xla", "steps"],
    )
    def test_graph_eager_and_xla_agree(self, options, monkeypatch):
        # XLA draws other random numbers from a seed; all else must agree.
        monkeypatch.setattr(data_free, "_noise", made_up_noise)
        weights, logs = plainly()
        other = game(replay=1)
        other_logs = trained(other, SGD(0.01), SGD(0.01), **{**GRAPH, **options})
        assert_equal_weights(weights, other.student.get_weights(), rtol=1e-3, atol=1e-4)
        assert logs.keys() == other_logs.keys()
        for key, values in logs.items():
            np.testing.assert_allclose(other_logs[key], values, rtol=1e-2, atol=1e-3)

    def test_a_reloaded_run_goes_on_to_the_bit(self, tmp_path):
        teacher = net(9)
        ramp = kd.schedules.Linear(0.0, 1.0, steps=10)
        distiller = game(
            teacher=teacher, generator_loss=[A.ClassBalance(2.0), A.Disagreement(ramp)]
        )
        trained(distiller, **GRAPH)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        loaded.attach_teacher(teacher)
        logs = [
            model.fit(epochs=1, steps_per_epoch=3, verbose=0).history
            for model in (distiller, loaded)
        ]
        assert logs[0] == logs[1]
        assert_equal_weights(distiller.get_weights(), loaded.get_weights())
        assert_equal_weights(
            distiller.generator_optimizer.variables, loaded.generator_optimizer.variables
        )

    def test_a_killed_run_goes_on_to_the_bit(self, tmp_path):
        """Keras's BackupAndRestore, killed after the first epoch of two."""

        class Kill(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 1:
                    raise KeyboardInterrupt

        whole, killed, resumed = game(), game(), game()
        trained(whole)
        backup = [
            keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
            for _ in range(2)
        ]
        with pytest.raises(KeyboardInterrupt):
            trained(killed, fit={"callbacks": [backup[0], Kill()]})
        trained(resumed, fit={"callbacks": [backup[1]]})
        assert_equal_weights(whole.get_weights(), resumed.get_weights())

    def test_mixed_precision(self):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            distiller = game()
        finally:
            keras.config.set_dtype_policy("float32")
        logs = trained(distiller)
        for optimizer in (distiller.optimizer, distiller.generator_optimizer):
            assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        exact = trained(game(), fit={"epochs": 1})
        assert logs["one_hot_loss"][0] == pytest.approx(exact["one_hot_loss"][0], rel=0.05)

    def test_real_data_is_for_reports(self):
        images = np.random.default_rng(0).uniform(0, 255, (9, 8, 8, 1)).astype("float32")
        one, other = game(), game()
        logs = trained(
            one, metrics=["accuracy"], fit={"validation_data": (images, np.arange(9) % 3)}
        )
        trained(other)
        assert {"val_accuracy", "val_hard_loss"} <= set(logs)
        assert_equal_weights(one.get_weights(), other.get_weights())

    def test_the_figures_to_watch(self):
        """A student that is the teacher agrees; diversity and the rarest class are recomputed."""
        teacher = net(9)
        distiller = game(student=keras.models.clone_model(teacher), teacher=teacher, replay=1)
        distiller.student.set_weights(teacher.get_weights())
        logs = trained(distiller, SGD(0.0), SGD(0.0), fit={"epochs": 1, "steps_per_epoch": 1})
        logits = distiller.replay_pool.logits.numpy()[0]
        counts = np.bincount(logits.argmax(-1), minlength=3)
        assert logs["agreement"] == [1.0]
        assert logs["rarest_class"][0] == pytest.approx(counts.min() / 12)
        assert logs["diversity"][0] == pytest.approx(logits.std(0).mean(), rel=1e-4)


class TestTheWatch:
    def watched(self, spoil, **options):
        """Train five epochs, of which `spoil` falsifies the logs or weights of some."""

        class Spoil(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                spoil(self.model, epoch, logs)

        distiller = game(replay=1, student_steps=1)
        watch = A.CollapseWatch(min_rarest_class=0.0, max_drop=1.0, num_images=60, **options)
        distiller.compile(SGD(0.01), generator_optimizer=SGD(0.02), run_eagerly=True)
        return distiller, watch, {
            "epochs": 5, "steps_per_epoch": 3, "verbose": 0, "callbacks": [Spoil(), watch],
        }  # fmt: skip

    def test_it_goes_back_with_half_the_rates(self):
        def spoil(model, epoch, logs):
            if epoch == 2:
                model.student.set_weights([np.nan * w for w in model.student.get_weights()])
                logs["loss"] = float("nan")

        distiller, watch, fit = self.watched(spoil)
        with pytest.warns(UserWarning, match="Epoch 3: the student's loss is nan. Going back"):
            distiller.fit(**fit)
        assert watch.returns == 1
        assert float(distiller.optimizer.learning_rate) == pytest.approx(0.005)
        assert float(distiller.generator_optimizer.learning_rate) == pytest.approx(0.01)
        assert all(np.isfinite(w).all() for w in distiller.get_weights())
        assert int(distiller.num_steps) == 15  # The noise goes on; only the networks go back.

    @pytest.mark.parametrize(
        ("key", "value", "reason"),
        [
            ("rarest_class", -1.0, "a class has all but vanished"),
            ("diversity", 0.0, "the images are all alike"),
        ],
    )
    def test_it_says_what_collapsed_and_stops_at_last(self, key, value, reason):
        def spoil(model, epoch, logs):
            logs[key] = value if epoch >= 1 else logs[key]

        distiller, watch, fit = self.watched(spoil, max_returns=2)
        with pytest.warns(UserWarning, match=reason) as warned:
            history = distiller.fit(**fit).history
        assert watch.returns == 2 and len(history["loss"]) == 4
        assert "Training stops" in str(warned[-1].message)

    def test_it_keeps_the_student_that_agrees_best(self):
        best = []

        def spoil(model, epoch, logs):
            if epoch == 1:  # The teacher itself could not agree more.
                model.student.set_weights(model.teacher.model.get_weights())
                best.extend(model.student.get_weights())
            elif epoch > 1:
                model.student.set_weights([0 * w for w in model.student.get_weights()])

        distiller, watch, fit = self.watched(spoil)
        distiller.student = distiller.student
        teacher = net(6, seed=1)
        teacher.set_weights([w + 0.1 for w in teacher.get_weights()])
        distiller._teacher_fingerprint = None
        distiller.attach_teacher(teacher)
        distiller.fit(**fit)
        assert watch.best_epoch == 1 and watch.agreement == 1.0
        assert_equal_weights(distiller.student.get_weights(), best)

    def test_a_grid_of_images_is_written_each_epoch(self, tmp_path):
        grid = A.ImageGrid(tmp_path / "grids", rows=2, columns=3)
        trained(game(), fit={"callbacks": [grid]})
        names = sorted(path.name for path in (tmp_path / "grids").iterdir())
        assert names == ["epoch_001.png", "epoch_002.png"]
        picture = tf.io.decode_png((tmp_path / "grids" / names[0]).read_bytes())
        assert picture.shape == (16, 24, 1) and len(np.unique(picture)) > 10

    def test_a_grid_is_in_reading_order(self):
        images = np.arange(6).reshape(6, 1, 1, 1) * np.ones((6, 2, 2, 1)) * 10 - 5
        grid = image_grid(images, columns=3)[::2, ::2, 0]
        np.testing.assert_array_equal(grid, [[0, 5, 15], [25, 35, 45]])


class TestNetworks:
    @pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 1), (32, 32, 3)])
    def test_a_generator_makes_images_of_the_given_statistics(self, shape):
        generator = A.generator(shape, width=2, pixel_mean=0.4, pixel_std=0.2)
        images = generator(np.random.default_rng(0).normal(size=(50, 100)), training=True).numpy()
        assert images.shape == (50, *shape)
        # What is cut off moves them a little.
        assert images.mean() == pytest.approx(0.4 * 255, rel=0.03)
        assert images.std() == pytest.approx(0.2 * 255, rel=0.03)

    def test_it_makes_no_pixels_that_an_image_cannot_have(self):
        generator = A.generator((8, 8, 3), width=2, pixel_mean=0.5, pixel_std=0.7)
        images = generator(np.random.default_rng(0).normal(size=(50, 100)), training=True).numpy()
        assert images.min() == 0 and images.max() == 255

    def test_the_teachers_normalisation_tells_of_the_pixels(self):
        found = pixel_statistics(net())
        assert found == {"pixel_mean": pytest.approx(0.2), "pixel_std": pytest.approx(0.3)}
        assert pixel_statistics(kd.models.mlp([4])) == {"pixel_mean": 0.3, "pixel_std": 0.3}


def batch_norm_net():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((8, 8, 2)), layers.Conv2D(3, 3), layers.BatchNormalization(name="inner")],
        name="block",
    )
    image = keras.Input((8, 8, 1))
    x = layers.BatchNormalization(name="first")(layers.Conv2D(2, 1, padding="same")(image))
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(inner(x))))


class TestBatchNorm:
    def test_layers_are_found_however_deep(self):
        assert [path for path, _ in batch_norm_layers(batch_norm_net())] == ["first", "block/inner"]

    def test_the_term_looks_at_what_enters_them(self):
        teacher = batch_norm_net()
        distiller = game(
            teacher=teacher, generator_loss=A.BatchStatistics(1.0), replay=1, student_steps=1
        )
        before = teacher.get_weights()
        logs = trained(distiller, SGD(0.0), SGD(0.0), fit={"epochs": 1, "steps_per_epoch": 1})
        images = distiller.replay_pool.images.numpy()[0]
        conv, inner = teacher.layers[1], teacher.get_layer("block").layers[0]
        first = conv(images).numpy()
        second = inner(teacher.get_layer("first")(first)).numpy()
        expected = sum(
            np.linalg.norm(x.mean((0, 1, 2))) + np.linalg.norm(x.var((0, 1, 2)) - 1)
            for x in (first, second)
        )
        assert logs["batch_statistics_loss"][0] == pytest.approx(expected, rel=1e-3)
        assert_equal_weights(teacher.get_weights(), before)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"generator_loss": [A.OneHot(0.0)]}, "a term of weight above 0"),
            ({"generator_loss": ["one_hot"]}, "must be a list of terms"),
            ({"generator_loss": [A.OneHot(1.0), A.OneHot(2.0)]}, "each kind of term once"),
            ({"generator_loss": A.BatchStatistics(1.0)}, "needs a teacher with BatchNorm layers"),
            (
                {"generator_loss": A.Activation(1.0, teacher_layer_name="nowhere")},
                "must have the layers that a loss names. Received: nowhere",
            ),
            (
                {"generator": A.generator((12, 12, 1), width=2)},
                "Build it with `image_shape=.8, 8, 1",
            ),
            ({"student_steps": 0}, "`student_steps` must be an integer of at least 1"),
            ({"teacher": [net(4), net(5)]}, "learns from one teacher"),
        ],
    )
    def test_parts_that_do_not_fit(self, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            game(**options)

    def test_a_size_that_cannot_be_doubled_to(self):
        with pytest.raises(
            ValueError, match=r"divisible by 4. Received: image_shape=\(30, 30, 1\)"
        ):
            A.generator((30, 30, 1))

    def test_training_data(self):
        with pytest.raises(ValueError, match="makes its own images. Received: `x` of type ndarray"):
            game().compile().fit(np.zeros((4, 8, 8, 1)))

    def test_replicas(self):
        distiller = game().compile()
        with (
            tf.distribute.OneDeviceStrategy("CPU:0").scope(),
            pytest.raises(ValueError, match="trains on one device"),
        ):
            distiller.fit()

    def test_batches_too_small_for_balance_are_warned_of(self):
        distiller = game(batch_size=11).compile()
        with pytest.warns(UserWarning, match="11 images for 3 classes are too few.*batch_size=12"):
            distiller.fit(epochs=1, steps_per_epoch=1, verbose=0)
