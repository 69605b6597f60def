"""A case is told which row of the atlas it resembles, what was gained there, and never more."""

import dataclasses

import pytest

from keras_kd.checking.regimes import Case, atlas, resembling, sentences

PLAIN = Case(labels=54_000, classes=10, epochs=100, student_share=0.75)


def row(kind, mean, low, high, *, facts=None, hard=None, **changes):
    """A row of the atlas, with gains in points."""
    return {
        "title": f"title of {kind}",
        "kind": kind,
        "data": "Fashion-MNIST",
        "facts": facts or {},
        "settings": {"temperature": 2.0, "alpha": 1.0},
        "seeds": 5,
        "control": "the same student alone",
        "gain": mean / 100,
        "interval_95": [low / 100, high / 100],
        "over": {} if hard is None else {"teacher_labels": hard},
        **changes,
    }


AS_GOOD = {"gain": 0.0, "interval_95": [-0.001, 0.001]}
BETTER = {"gain": 0.01, "interval_95": [0.005, 0.015]}


def few(labels, saw, *gains, others="many", **changes):
    facts = {"labels_per_class": labels / 10, "teacher_saw": saw, "others": others}
    title = f"{labels} labels, the teacher saw {saw}"
    return row("few labels", *gains, facts=facts, title=title, **changes)


ALL = {"labels_per_class": 5400, "others": "none"}
ROWS = {
    "few_100": few(100, "these", 4.0, 3.5, 4.5),
    "few_500": few(500, "these", 3.1, 2.6, 3.7, hard=AS_GOOD),
    "few_500_all": few(500, "all", 5.0, 4.6, 5.4, hard=BETTER),
    "noise_20": row("noisy labels", 1.0, 0.5, 1.5, facts={"noise": 0.2}),
    "noise_40": row(
        "noisy labels", 2.0, 1.5, 2.5, facts={"noise": 0.4}, settings={"alpha": 1.5},
    ),
    "tail_10": row("long tail", 0.1, -0.4, 0.6, facts={"imbalance": 10}),
    "tail_100": row("long tail", 0.2, -0.4, 0.8, facts={"imbalance": 100}),
    "missing": row("classes missing", 9.0, 8.0, 10.0, facts={"classes_missing": 1}),
    "shifted": row("shifted images", 6.0, 5.0, 7.0),
    "ensemble": row("ensemble", 0.4, 0.1, 0.7),
    "table": row("tables and sequences", -0.6, -1.0, -0.2),
    "narrow": row("small student", 0.8, 0.4, 1.2, facts={"student_share": 0.05}),
    "large": row("large teacher", 1.2, 0.8, 1.6, facts={"student_share": 0.005}),
    "equal": row("large teacher", 9.0, 8.0, 9.9, facts={"student_share": 1.2}),
    "epochs_1": row("short training", 1.1, 0.9, 1.3, facts={"epochs": 1}),
    "epochs_10": row("short training", 0.2, -0.1, 0.5, facts={"epochs": 10}),
    "int4": row("integers", 3.5, 3.0, 4.0, control="plain conversion"),
    "plain": row("all labels", -0.2, -0.45, 0.05, facts=ALL),
    "plain_mnist": row("all labels", 0.1, -0.21, 0.41, facts=ALL),
    "plain_small": row("all labels", 0.2, -0.1, 0.5, facts={**ALL, "labels_per_class": 300}),
}  # fmt: skip


def case(**changes):
    return dataclasses.replace(PLAIN, **changes)


FEW = {"labels": 450, "unlabelled": 20_000, "train_accuracy": 1.0, "validation_accuracy": 0.8}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        (FEW, ["few_500"]),
        (FEW | {"labels": 120}, ["few_100"]),
        (FEW | {"train_accuracy": 0.9, "validation_accuracy": 0.9}, ["few_500_all"]),
        ({"labels": 120}, []),  # Nothing for the teacher to speak of.
        ({"labels": 2000}, ["plain_small"]),
        ({"unlabelled": 20_000}, []),  # Labels enough.
        ({"unlabelled": 20_000, "surprise": 3.0}, ["shifted"]),
        ({"unlabelled": 20_000, "surprise": 1.1}, []),
        ({"contradicting": 0.02}, ["noise_20"]),
        ({"contradicting": 0.004}, []),
        ({"train_accuracy": 0.55, "validation_accuracy": 0.9}, ["noise_40"]),
        ({"train_accuracy": 0.91, "validation_accuracy": 0.9}, []),
        ({"imbalance": 14}, ["tail_10"]),
        ({"imbalance": 70}, ["tail_100"]),
        ({"imbalance": 2}, []),
        ({"classes_missing": 2, "imbalance": 20}, ["missing", "tail_10"]),
        ({"teachers": 3}, ["ensemble"]),
        ({"is_images": False}, ["table"]),
        ({"epochs": 2}, ["epochs_1"]),
        ({"epochs": 8}, ["epochs_10"]),
        ({"student_share": 0.03}, ["narrow"]),
        ({"student_share": 0.01}, ["large"]),
        ({"student_share": 0.0001}, []),  # Nothing is near.
        # What decides most comes first, and there are two at most.
        (FEW | {"imbalance": 9, "teachers": 2, "epochs": 1}, ["few_500", "tail_10"]),
    ],
)  # fmt: skip
def test_a_case_resembles_the_nearest_row_of_each_kind_whose_rule_fits(changes, names):
    assert resembling(case(**changes), ROWS) == names


def test_of_several_rows_as_near_it_is_the_one_that_gained_least():
    rows = {"good": ROWS["epochs_1"], "worse": {**ROWS["epochs_1"], "gain": 0.005}}
    for turned in (rows, dict(reversed(rows.items()))):
        assert resembling(case(epochs=1), turned) == ["worse"]


def test_a_case_without_noise_resembles_no_row_with_it():
    clean = row("tables and sequences", 0.5, 0.1, 0.9, facts={"labels_per_class": 500})
    wrong = row("tables and sequences", 0.1, -0.1, 0.3, facts=clean["facts"] | {"noise": 0.3})
    table = case(is_images=False, labels=5000)
    assert resembling(table, {"wrong": wrong, "clean": clean}) == ["clean"]
    assert resembling(table, {"wrong": wrong}) == []


def test_a_row_that_no_case_resembles_is_never_named():
    rows = {"plain": ROWS["plain"], "assistant": {**ROWS["plain"], "facts": None, "gain": -1.0}}
    assert "-0.20 points" in sentences(PLAIN, rows)[0]
    assert sentences(PLAIN, {"assistant": rows["assistant"]}) == []


def test_a_row_that_says_what_it_was_made_of_is_nearer_than_one_that_does_not():
    rows = {"said": ROWS["epochs_10"], "not": {**ROWS["epochs_1"], "facts": {}, "gain": -1.0}}
    assert resembling(case(epochs=4), rows) == ["said"]


def test_what_was_gained_is_said_with_its_interval_and_no_more():
    (said,) = sentences(case(**FEW), ROWS)
    assert said == (
        'Your case resembles "500 labels, the teacher saw these" (Fashion-MNIST): there '
        "distillation gained 3.10 points (2.60 to 3.70, 5 seeds) over the same student alone; "
        "yours may differ. The teacher's hard labels did as much there, as far as the seeds could "
        "tell."
    )
    (said,) = sentences(case(**FEW | {"labels": 100}), ROWS)
    assert "hard labels" not in said


def test_hard_labels_are_not_spoken_of_where_soft_targets_beat_them():
    saw_all = FEW | {"train_accuracy": 0.9, "validation_accuracy": 0.9}
    (said,) = sentences(case(**saw_all), ROWS)
    assert "gained 5.00 points" in said and "hard labels" not in said


def test_a_second_row_is_said_in_a_second_sentence():
    first, second = sentences(case(epochs=1, student_share=0.03), ROWS)
    assert first.startswith('Your case resembles "title of short training"')
    assert second == (
        'It also resembles "title of small student" (Fashion-MNIST): there distillation gained '
        "0.80 points (0.40 to 1.20, 5 seeds) over the same student alone."
    )


def test_the_plain_case_is_told_that_nothing_was_gained():
    (said,) = sentences(PLAIN, ROWS)
    assert said == (
        "Nothing sets your case apart. It resembles the plain one of the atlas, "
        '"title of all labels" (Fashion-MNIST): there distillation gained nothing over the same '
        "student alone that 5 seeds could tell: -0.20 points (-0.45 to 0.05); yours may differ."
    )


def test_the_plain_row_is_the_nearest_however_far_it_is():
    rows = {
        "many": {**ROWS["plain"], "facts": {"labels_per_class": 5400}},
        "few": {**ROWS["plain"], "title": "small data", "facts": {"labels_per_class": 130}},
    }
    assert '"small data"' in sentences(case(labels=30, classes=30), rows)[0]
    assert '"title of all labels"' in sentences(PLAIN, rows)[0]


def test_a_loss_is_said_to_be_one():
    (said,) = sentences(case(is_images=False), ROWS)
    assert "did not beat the same student alone: -0.60 points (-1.00 to -0.20, 5 seeds)" in said


def test_no_image_is_held_against_what_is_none():
    rows = {"plain": ROWS["plain"], "few_100": ROWS["few_100"]}
    (said,) = sentences(case(is_images=False, labels=50_000), rows)
    assert said.startswith("The atlas has no case like yours")
    # A student and a number of epochs that are named make no image of it either.
    (said,) = sentences(
        case(is_images=False, labels=50_000, epochs=10, student_share=0.05),
        {**rows, "epochs_10": ROWS["epochs_10"], "narrow": ROWS["narrow"]},
    )
    assert said.startswith("The atlas has no case like yours")
    trees = row("tables and sequences", 2.0, 1.0, 3.0, facts={"labels_per_class": 20})
    rows["trees"] = {**trees, "facts": {"labels_per_class": 20, "others": "many"}}
    _, to_do = sentences(case(is_images=False, labels=200), rows)
    assert to_do.startswith("You have only 20 labels a class: examples without labels")


def test_few_labels_without_images_beside_them_are_told_where_to_get_more():
    plain, to_do = sentences(case(labels=120), ROWS)
    assert plain.startswith("Nothing sets your case apart")
    assert to_do == (
        "You have only 12 labels a class: images without labels (`--unlabelled DIR`) are what may "
        'pay. With "100 labels, the teacher saw these" (Fashion-MNIST): there distillation gained '
        "4.00 points (3.50 to 4.50, 5 seeds) over the same student alone."
    )
    lost = {**ROWS, "few_100": {**ROWS["few_100"], "interval_95": [-0.01, 0.01]}}
    assert len(sentences(case(labels=120), lost)) == 1  # Nothing is praised that did not win.


def test_few_labels_alone_resemble_a_row_of_few_labels_alone():
    alone = {**ROWS, "alone": few(450, "these", 0.1, -0.2, 0.4, others="none")}
    first, to_do = sentences(case(labels=450), alone)
    assert first.startswith('Your case resembles "450 labels') and "gained nothing" in first
    assert to_do.startswith("You have only 45 labels a class")
    assert resembling(case(**FEW), alone) == ["few_500"]


def test_a_weight_above_1_is_named_where_it_won():
    *_, to_do = sentences(case(train_accuracy=0.55, validation_accuracy=0.9), ROWS)
    assert to_do == "The teacher weighed more than 1 there: try `--alpha 1.5`."
    assert len(sentences(case(contradicting=0.02), ROWS)) == 1


def test_an_empty_atlas_says_nothing():
    assert sentences(case(**FEW), {}) == [] and sentences(PLAIN, {}) == []


def test_the_rows_of_the_package_can_be_said():
    for each in atlas().values():
        low, high = each["interval_95"]
        assert low <= each["gain"] <= high
    for changes in ({}, FEW, {"epochs": 1}, {"student_share": 0.03}, {"is_images": False}):
        assert all(isinstance(said, str) for said in sentences(case(**changes), atlas()))
