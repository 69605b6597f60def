"""Students proposed from a budget."""

import dataclasses
import time

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.data import Split
from keras_kd.experiment.proposing import lines, proposed

pytestmark = pytest.mark.usefixtures("no_pictures")


def data_of(shape, num_classes=10):
    split = Split(np.zeros((20, *shape), np.uint8), np.arange(20) % num_classes)
    names = tuple(map(str, range(num_classes)))
    return kd.data.Data("x", split, split, split, class_names=names, source="made up")


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (64, 48, 3)])
def test_three_of_one_family_within_all_a_half_and_a_quarter_of_the_budget(shape):
    data = data_of(shape)
    specs = proposed(data, 200)
    assert len(specs) == 3 and len({spec.partition(":")[0] for spec in specs}) == 1
    sizes = [
        kd.models.from_spec(spec, image_shape=shape, num_classes=10).count_params()
        for spec in specs
    ]
    for size, share in zip(sizes, (1, 0.5, 0.25), strict=True):
        assert 0.4 * share * 200_000 < size < share * 200_000


def test_for_a_table_perceptrons_by_their_float32_files():
    table = np.zeros((20, 30), "float32")
    data = kd.data.from_arrays((table, np.arange(20) % 2), (table, np.arange(20) % 2))
    specs = proposed(data, 40)
    sizes = [
        4 * kd.models.from_spec(spec, input_shape=(30,), num_classes=2).count_params()
        for spec in specs
    ]
    assert [spec.partition(":")[0] for spec in specs] == ["mlp"] * 3
    for size, share in zip(sizes, (1, 0.5, 0.25), strict=True):
        assert 0.3 * share * 40_000 < size < share * 40_000


@pytest.mark.parametrize(("shape", "kind"), [((8, 8, 1), "mlp"), ((32, 32, 3), "conv")])
def test_without_a_budget_they_have_a_quarter_of_the_teachers_weights(shape, kind):
    teacher = kd.Teacher(kd.models.mlp([400], image_shape=shape))
    most = teacher.model.count_params() / 4
    sizes = [
        kd.models.from_spec(spec, image_shape=shape, num_classes=10).count_params()
        for spec in proposed(data_of(shape), teacher=teacher)
        if spec.startswith(kind)
    ]
    assert len(sizes) == 3 and sizes == sorted(sizes, reverse=True)
    assert 0.4 * most < sizes[0] <= most


def test_a_teacher_of_which_a_quarter_is_less_than_any_gets_the_smallest():
    teacher = kd.Teacher(kd.models.mlp([1], image_shape=(8, 8, 1)))
    assert proposed(data_of((8, 8, 1)), teacher=teacher) == ["mlp:4"]


def test_a_budget_is_the_users_whatever_the_teacher_is():
    teacher = kd.Teacher(kd.models.mlp([1], image_shape=(8, 8, 1)))
    assert proposed(data_of((8, 8, 1)), 200, teacher) == proposed(data_of((8, 8, 1)), 200)


def test_for_several_inputs_nothing_is_proposed():
    inputs = {"a": np.zeros(20), "b": np.zeros(20)}
    data = kd.data.from_arrays((inputs, np.arange(20) % 2), (inputs, np.arange(20) % 2))
    with pytest.raises(ValueError, match="proposed for one input. Received: inputs of .*Give a"):
        proposed(data)


def test_a_budget_too_small_for_any_is_refused():
    with pytest.raises(ValueError, match="must leave room for the smallest student proposed"):
        proposed(data_of((32, 32, 3)), 2)


def test_a_student_that_is_no_smaller_than_its_teacher_is_said():
    row = {"student": "mlp:8", "parameters": 500, "kilobytes": 1, "microseconds": 1}
    table = [row | {"validation_accuracy": 1.0, "within_budgets": True}]
    assert len(lines(table, "mlp:8", teacher_parameters=501)) == 1
    *_, said = lines(table, "mlp:8", teacher_parameters=500)
    assert said.startswith("mlp:8 is no smaller than its teacher, of 500 parameters.")


@pytest.mark.slow
def test_auto_trains_three_and_takes_the_best_file_within_the_budgets(digits, digits_teacher):
    few = dataclasses.replace(
        digits, train=Split(digits.train.images[:600], digits.train.labels[:600])
    )
    options = {"temperature": 2.0, "alpha": 0.9, "epochs": 4, "checked": False, "verbose": False}
    began = time.perf_counter()
    result = kd.distill(digits_teacher, few, max_kb=60, control=False, **options)
    # What was picked is trained once, and counted once.
    assert result["seconds"] <= time.perf_counter() - began
    table = result.report["proposals"]
    assert len(table) == 3 and all(row["within_budgets"] for row in table)
    picked = result.report["settings"]["student"]
    best = max(table, key=lambda row: (row["validation_accuracy"], -row["kilobytes"]))
    assert picked == best["student"]
    assert result.student.count_params() == best["parameters"]
    # The kept student has the weights of its best epoch.
    accuracy = result["models"]["student"]["validation_accuracy"]
    logits = result.student.predict(few.validation.images, verbose=0)
    assert kd.metrics.accuracy(few.validation.labels, logits) == pytest.approx(accuracy, abs=1e-6)
