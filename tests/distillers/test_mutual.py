"""Students that teach each other, and students that teach the next one."""

import functools

import keras
import numpy as np
import pytest
from helpers import assert_equal_weights

import keras_kd as kd

IMAGES = np.random.default_rng(0).uniform(0, 255, (24, 4, 4, 1)).astype("float32")
LABELS = np.arange(24) % 3
FIT = {"batch_size": 8, "epochs": 1, "shuffle": False, "verbose": 0}


def net(units=6, seed=0, num_classes=3):
    keras.utils.set_random_seed(seed)
    return kd.models.mlp([units], image_shape=(4, 4, 1), num_classes=num_classes)


def students():
    return [net(4, seed=1), net(6, seed=2), net(8, seed=3)]


@functools.cache
def plainly():
    """What a graph of plain kernels makes of it, which others are held against."""
    mutual = kd.MutualDistiller(students()).compile(keras.optimizers.SGD(0.1), jit_compile=False)
    mutual.fit(IMAGES, LABELS, **FIT)
    return mutual.get_weights()


# A few steps are taken sooner than traced, where that is not what a test is about.
class TestMutualDistiller:
    def test_the_objective_is_the_sum_over_students(self):
        mutual = kd.MutualDistiller(students(), alpha=0.4)
        mutual.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        history = mutual.fit(IMAGES, LABELS, batch_size=24, verbose=0).history
        logits = [student(IMAGES) for student in mutual.students]
        soft, hard = kd.losses.SoftTargets(1.0), kd.losses.CrossEntropy()
        hards = [float(hard(LABELS, own)) for own in logits]
        softs = [
            np.mean([float(soft(peer, own)) for j, peer in enumerate(logits) if j != k])
            for k, own in enumerate(logits)
        ]
        assert history["hard_loss"][0] == pytest.approx(np.mean(hards), rel=1e-5)
        assert history["distillation_loss"][0] == pytest.approx(np.mean(softs), rel=1e-5)
        expected = 0.6 * np.sum(hards) + 0.4 * np.sum(softs)
        assert history["loss"][0] == pytest.approx(expected, rel=1e-5)

    def test_no_gradient_goes_through_the_one_that_teaches(self):
        """One student's step is that of a Distiller whose teacher is the other, as it is."""
        pair, single = [net(4, seed=1), net(6, seed=2)], net(4, seed=1)
        mutual = kd.MutualDistiller(pair, alpha=0.5)
        distiller = kd.Distiller(
            student=single, teacher=net(6, seed=2), alpha=0.5,
            distillation_loss=kd.losses.SoftTargets(1.0),
        )  # fmt: skip
        for model in (mutual, distiller):
            model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
            model.fit(IMAGES, LABELS, batch_size=24, verbose=0)
        for a, b in zip(pair[0].get_weights(), single.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)

    def test_alpha_0_is_plain_training_of_each(self):
        together, alone = students(), students()
        mutual = kd.MutualDistiller(together, alpha=0.0)
        mutual.compile("adam", run_eagerly=True).fit(IMAGES, LABELS, **FIT)
        for one, other in zip(together, alone, strict=True):
            other.compile("adam", kd.losses.CrossEntropy(), run_eagerly=True)
            other.fit(IMAGES, LABELS, **FIT)
            for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)

    def test_evaluate_changes_nothing_and_is_about_the_first(self):
        mutual = kd.MutualDistiller(students())
        mutual.compile(metrics=["accuracy"], run_eagerly=True)
        mutual.fit(IMAGES, LABELS, **FIT)
        before = mutual.get_weights()
        _, hard_loss, accuracy = mutual.evaluate(IMAGES, LABELS, verbose=0)
        logits = mutual.students[0](IMAGES)
        assert hard_loss == pytest.approx(float(kd.losses.CrossEntropy()(LABELS, logits)), rel=1e-5)
        assert accuracy == pytest.approx((np.argmax(logits, -1) == LABELS).mean())
        for a, b in zip(before, mutual.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": True}])
    def test_graph_eager_and_xla_agree(self, options):
        other = kd.MutualDistiller(students())
        other.compile(keras.optimizers.SGD(0.1), **options).fit(IMAGES, LABELS, **FIT)
        assert_equal_weights(plainly(), other.get_weights(), rtol=1e-4, atol=1e-6)

    def test_a_reloaded_run_goes_on_to_the_bit(self, tmp_path):
        mutual = kd.MutualDistiller(students()).compile(run_eagerly=True)
        mutual.fit(IMAGES, LABELS, **FIT)
        mutual.save(tmp_path / "mutual.keras")
        loaded = keras.models.load_model(tmp_path / "mutual.keras")
        for model in (mutual, loaded):
            model.fit(IMAGES, LABELS, **FIT)
        assert len(loaded.students) == 3
        assert_equal_weights(mutual.get_weights(), loaded.get_weights())

    @pytest.mark.parametrize(
        ("build", "sentence"),
        [
            (lambda: [net()], "at least two models"),
            (lambda: [net()] * 2, "each once"),
            (lambda: [net(), net(num_classes=4)], "must predict the same classes"),
        ],
    )
    def test_students_that_cannot_teach_each_other_are_refused(self, build, sentence):
        with pytest.raises(ValueError, match=sentence):
            kd.MutualDistiller(build())

    def test_a_loss_on_layers_is_refused(self):
        loss = kd.losses.Hints("hidden_1", "hidden_1")
        with pytest.raises(ValueError, match="by their logits"):
            kd.MutualDistiller(students(), distillation_loss=loss)


class TestInTurn:
    def test_each_is_taught_by_the_one_before(self):
        pairs = []

        def fit(distiller):
            pairs.append((distiller.teacher.model, distiller.student))
            distiller.compile(run_eagerly=True).fit(IMAGES, LABELS, **FIT)

        teacher, (first, second, third) = net(12, seed=4), students()
        before = [model.get_weights() for model in (teacher, first, second, third)]
        trained = kd.distill_in_turn([first, second, third], teacher=teacher, fit=fit, alpha=0.7)
        assert trained == [first, second, third]
        assert pairs == [(teacher, first), (first, second), (second, third)]
        for model, old, moved in zip(
            (teacher, first, second, third), before, (False, True, True, True), strict=True
        ):
            assert np.array_equal(model.get_weights()[0], old[0]) != moved

    def test_no_student_is_refused(self):
        with pytest.raises(ValueError, match="at least one model"):
            kd.distill_in_turn([], teacher=net(), fit=print)
