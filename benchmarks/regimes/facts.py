"""What each row of the atlas was made of, as far as a check sees it of a user's case.

By the names of rows, properties of `keras_kd.checking.regimes.Case`. `None`: no case resembles the
row, since no check is told of such a thing. A row of another kind has no facts.
"""

_CONV_NET = 66_474  # Parameters of the teacher of `regimes/images.py`.
FACTS = {
    **{
        f"few_labels_{name}_{count}_{whose}": {
            "labels_per_class": count / 10, "teacher_saw": saw, "others": "many",
        }
        for name in ("mnist", "fashion_mnist")
        for count in (100, 500, 2000)
        for whose, saw in (("own", "these"), ("all", "all"))
    },
    **{
        f"same_{count}_labels": {
            "labels_per_class": count / 10, "teacher_saw": "these", "others": "none",
        }
        for count in (100, 1000)
    },
    **{
        f"noisy_labels_{100 * share:.0f}_{how}": {
            "noise": share, "teacher_saw": saw, "others": "none",
        }
        for share in (0.2, 0.4)
        for how, saw in (("full", "these"), ("stopped", "all"))
    },
    **{f"long_tail_{ratio}": {"imbalance": ratio, "others": "none"} for ratio in (10, 100)},
    "missing_threes": {"classes_missing": 1},
    "missing_all_but_7_8": {"classes_missing": 8},
    **{f"short_training_{epochs}": {"epochs": epochs, "others": "none"} for epochs in (1, 3, 10)},
    **{
        f"small_student_{units}": {
            "student_share": round((795 * units + 10) / _CONV_NET, 3), "others": "none",
        }
        for units in (4, 8, 16, 30)
    },
    "no_augmentation_mnist": {"student_share": 1.53, "others": "none"},
    "convolutions_into_perceptron": {"student_share": 1.53, "others": "none"},
    "convolutions_into_perceptron_10000": {
        "student_share": 1.53, "labels_per_class": 1000, "others": "none",
    },
    "recipe_hinton_mnist": {"student_share": 0.53, "others": "none"},
    "ensemble_all_labels": {"teachers": 5, "others": "none"},
    "ensemble_2000_labels": {"teachers": 5, "others": "many", "labels_per_class": 200},
    "ensemble_of_larger_nets": {"teachers": 3, "others": "none"},
    "letters_trees_few_labels": {"labels_per_class": 19, "others": "many"},
    "letters_trees_all_labels": {"labels_per_class": 538, "others": "none"},
    "letters_trees_wrong_labels": {"labels_per_class": 538, "noise": 0.3, "others": "none"},
    "letters_ensemble_few_labels": {"labels_per_class": 38, "teachers": 5, "others": "many"},
    "letters_ensemble_all_labels": {"labels_per_class": 538, "teachers": 5, "others": "none"},
    "satellite_trees_few_labels": {"labels_per_class": 17, "others": "many"},
    "satellite_trees_all_labels": {"labels_per_class": 572, "others": "none"},
    "shuttle_trees_few_labels": {"labels_per_class": 29, "others": "many"},
    "spam_trees_few_labels": {"labels_per_class": 100, "others": "many"},
    "dna_boosting_few_labels": {"labels_per_class": 67, "others": "many"},
    "dna_ensemble_few_labels": {"labels_per_class": 67, "teachers": 5, "others": "many"},
    "dna_ensemble_all_labels": {"labels_per_class": 500, "teachers": 5, "others": "none"},
    "digits_trees_few_labels": {"labels_per_class": 10, "others": "many"},
    "recipe_digits": {"labels_per_class": 129, "others": "none"},
    **{
        f"recipe_{name}": {"labels_per_class": 5400, "others": "none"}
        for name in ("fashion_mnist_mlp", "fashion_mnist_mlp_best", "mnist_mlp", "mnist_mlp_best")
    },
    "born_again_perceptron": None,
    "assistant_perceptron": None,
    "letters_trees_made_rows": None,
    "breast_cancer_trees_made_rows": None,
}  # fmt: skip
