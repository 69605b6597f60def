"""Optimizers with a schedule, as recipes ask for them."""

import dataclasses

import keras
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
