"""Optimizers with a schedule, as recipes ask for them."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.experiment import optimizers

NUM_STEPS = 200


def rates(optimizer):
    schedule = keras.optimizers.schedules.deserialize(optimizer.get_config()["learning_rate"])
    return [float(schedule(step)) for step in range(NUM_STEPS + 1)]


def test_one_cycle_rises_to_its_peak_and_falls_to_nothing():
    found = rates(optimizers.one_cycle(0.5)(NUM_STEPS))
    assert found[0] == pytest.approx(0.5 / 25)
    assert max(found) == pytest.approx(0.5) and found.index(max(found)) == 60
    assert found[:61] == sorted(found[:61]) and found[60:] == sorted(found[60:], reverse=True)
    assert found[-1] == pytest.approx(0, abs=1e-6)


def test_cosine_falls_from_its_start_to_nothing():
    found = rates(optimizers.cosine(0.5)(NUM_STEPS))
    assert found[0] == 0.5 and found == sorted(found, reverse=True)
    assert found[NUM_STEPS // 2] == pytest.approx(0.25)
    assert found[-1] == pytest.approx(0, abs=1e-6)


def test_steps_fall_at_their_shares():
    found = rates(optimizers.steps(0.1, at=(0.5, 0.75))(NUM_STEPS))
    assert sorted(set(found), reverse=True) == pytest.approx([0.1, 0.01, 0.001])
    # The published one falls before the epochs 100 and 150 of 200.
    assert [found.index(rate) for rate in sorted(set(found), reverse=True)] == [0, 101, 151]


def test_options_and_class_are_the_optimizers():
    build = optimizers.cosine(0.1, optimizer=keras.optimizers.SGD, momentum=0.9, weight_decay=5e-4)
    optimizer = build(NUM_STEPS)
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert optimizer.momentum == 0.9 and optimizer.weight_decay == 5e-4
    assert build(NUM_STEPS) is not optimizer


def test_a_recipe_tells_its_optimizers_how_many_steps_there_are():
    asked = []

    def build(num_steps):
        asked.append(num_steps)
        return keras.optimizers.SGD(0.1)

    recipe = dataclasses.replace(
        kd.recipes.digits, optimizer=build, teacher_optimizer=build, teacher_epochs=7
    )
    recipe.optimizer_of("student", 100)
    recipe.optimizer_of("teacher", 100)
    recipe.for_epochs(3).optimizer_of("teacher", 100)
    # 100 examples in batches of 32 are 4 steps.
    assert asked == [60 * 4, 7 * 4, 3 * 4]


def test_views_need_an_augmentation():
    with pytest.raises(ValueError, match="Views are of an augmentation. Received: views=4"):
        dataclasses.replace(kd.recipes.digits, views=4)


class TestConvMuon:
    """Steps worked by hand on a kernel of one pixel, a matrix, beside a bias."""

    @staticmethod
    def stepped(kernel, gradients, **options):
        kernel = keras.Variable(np.asarray(kernel, "float32")[None, None])
        bias = keras.Variable(np.zeros(2, "float32"))
        muon = optimizers.ConvMuon(0.1, adam_ratio=0.5, **options)
        for gradient in gradients:
            gradient = np.asarray(gradient, "float32")[None, None]
            muon.apply([gradient, np.array([3.0, -1e-3], "float32")], [kernel, bias])
        return np.asarray(kernel)[0, 0], np.asarray(bias)

    def test_a_kernel_moves_equally_far_in_every_direction(self):
        start = np.eye(4, dtype="float32")
        turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
        gradient = turned @ np.diag([5.0, 4.0, 3.0, 2.0]) @ np.eye(4)
        kernel, _ = self.stepped(start, [gradient], num_iterations=5)
        # Newton and Schulz bring singular values between 0.7 and 1.2; bfloat16 adds a hundredth.
        moved = np.linalg.svd((start - kernel) / 0.1, compute_uv=False)
        assert np.all((moved > 0.65) & (moved < 1.25))
        # Towards `U V^T`: all in one direction if that is taken off.
        assert np.abs((start - kernel) / 0.1 @ np.eye(4) - turned).max() < 0.35

    def test_the_size_of_a_gradient_does_not_matter(self):
        gradient = np.random.default_rng(0).normal(size=(4, 6))
        one, _ = self.stepped(np.ones((4, 6)), [gradient])
        other, _ = self.stepped(np.ones((4, 6)), [1e-3 * gradient])
        np.testing.assert_allclose(one, other, atol=2e-3)  # Of bfloat16.

    def test_the_norm_of_a_kernel_is_kept_before_each_step(self):
        zero = np.zeros((4, 9))
        kernel, _ = self.stepped(np.full((4, 9), 7.0), [zero])
        assert np.linalg.norm(kernel) == pytest.approx(3.0)

    def test_the_mean_gradient_goes_on(self):
        gradient = np.diag([1.0, 2.0])
        once, _ = self.stepped(np.eye(2), [gradient, 0 * gradient], beta=0.0)
        kept, _ = self.stepped(np.eye(2), [gradient, 0 * gradient], beta=0.6)
        assert np.linalg.norm(kept - once) > 0.05

    def test_a_bias_moves_as_adam_moves_it(self):
        _, bias = self.stepped(np.eye(2), [np.eye(2)] * 3)
        np.testing.assert_allclose(bias, [-0.15, 0.15], rtol=1e-3)

    def test_it_is_made_again_from_its_configuration(self):
        muon = optimizers.ConvMuon(0.2, adam_ratio=0.3, beta=0.7, num_iterations=4)
        again = keras.optimizers.deserialize(keras.optimizers.serialize(muon))
        assert isinstance(again, optimizers.ConvMuon) and again.get_config() == muon.get_config()
