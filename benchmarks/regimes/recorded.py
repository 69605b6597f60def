"""Regimes that were measured before there was an atlas: their runs are read, none is made anew.

Each row says the command that measured it, and when its settings were written down: those of the
papers, or of a recipe of this library. None was chosen on test images. Where trials had been made
on the validation split of one of the row's own seeds, `frozen` says so.
"""

from regimes.regime import Regime
from scripts.results import read

_ADVERSARIAL, _RECIPES = read("adversarial"), read("recipes")
_VARIANTS, _EXPORT = read("variants"), read("export")
_FORMS = "adversarial and mutual"


def recorded(title, kind, data, runs, *, command, machine, settings, frozen, control=""):
    """Return the `Regime` of runs that are there.

    Args:
        title: as in `Regime`, like `kind`, `data`, `settings`, `frozen` and `control`.
        kind: the same.
        data: the same.
        runs: a list of `{"test": {arm: accuracy}, "validation": {...}, "seconds": ...}`, one a
            seed, from 0.
        command: what made them.
        machine: where.
        settings: the same.
        frozen: the same.
        control: the same.
    """
    return Regime(
        title=title, kind=kind, data=data, run=lambda seed, settings, folder: runs[seed], grid={},
        tune=None, settings=settings, frozen=frozen, control=control, num_seeds=len(runs),
        measured={"command": command, "machine": machine},
    )  # fmt: skip


def compared(name, title, kind, data, frozen):
    """Return the row of a recipe that `keras-kd compare` was run on."""
    found = _RECIPES[name]
    seconds = found["seconds"] / len(found["runs"])
    runs = [
        {
            "test": {arm: model["test"]["accuracy"] for arm, model in run["models"].items()},
            "validation": {
                arm: model["validation_accuracy"] for arm, model in run["models"].items()
            },
            "seconds": seconds,
        }
        for run in found["runs"]
    ]
    settings = {key: found["settings"][key] for key in ("temperature", "alpha", "epochs")}
    return recorded(
        title, kind, data, runs, command=found["command"], machine=found["machine"],
        settings=settings, frozen=frozen,
    )  # fmt: skip


def adversarial(table, arms, title, kind, data, *, command, settings, frozen, control=""):
    """Return a row of `benchmarks/adversarial.md`.

    Args:
        table: of `results/adversarial.json`.
        arms: by the atlas's name the table's, `student` and `student_alone` among them. The
            teacher is the one that the student had.
        title: as in `recorded`, like all that follow.
        kind: the same.
        data: the same.
        command: the same, after the script's name.
        settings: the same.
        frozen: the same.
        control: the same.
    """
    rows = _ADVERSARIAL[table]
    taught = rows[arms["student"]]
    runs = [
        {
            "test": {
                "teacher": taught[seed]["teacher_accuracy"],
                **{arm: rows[method][seed]["accuracy"] for arm, method in arms.items()},
            },
            "validation": {},
            "seconds": 60 * sum(rows[method][seed]["minutes"] for method in arms.values()),
        }
        for seed in sorted(taught, key=int)
    ]
    return recorded(
        title, kind, data, runs, command=f"python benchmarks/scripts/adversarial.py {command}",
        machine=taught["0"]["machine"], settings=settings, frozen=frozen, control=control,
    )  # fmt: skip


def variant(arm, title, kind, settings):
    """Return a row of `benchmarks/scripts/variants.py`: one of its losses or arrangements."""
    arms = {
        "student": arm, "student_alone": "alone", "label_smoothing": "label smoothing",
        "soft_targets": "soft targets", "teacher": "teacher",
    }  # fmt: skip
    if arm == "soft targets":
        del arms["soft_targets"]
    if arm.startswith("mutual"):
        del arms["teacher"]  # Each other's.
    seeds = [_VARIANTS[seed] for seed in sorted(_VARIANTS, key=int)]
    runs = [
        {
            "test": {name: found["figures"][which]["accuracy"] for name, which in arms.items()},
            "validation": {},
            # All nineteen arms of a seed.
            "seconds": found["seconds"],
        }
        for found in seeds
    ]
    return recorded(
        title, kind, "Fashion-MNIST", runs, command="python benchmarks/scripts/variants.py",
        machine=seeds[0]["machine"], settings=settings, frozen="2026-11-22 09:23",
    )  # fmt: skip


def converted(model, weights, title):
    """Return a row of `benchmarks/scripts/export.py`: a distilled student that becomes a file.

    The file of its twin, distilled five epochs more, stands against plain conversion. The seconds
    are those of writing and measuring it.
    """
    runs = []
    for found in _EXPORT[model]:
        proofs = found["proofs"]
        runs.append(
            {
                "test": {
                    "teacher": proofs["student"]["teacher"]["accuracy"],
                    "float_student": proofs["student"]["student"]["accuracy"],
                    "student": _file(proofs[weights], weights),
                    "student_alone": _file(proofs["student"], weights),
                },
                "validation": {},
                "seconds": proofs[weights]["seconds"],
            }
        )
    return recorded(
        title, "integers", "Fashion-MNIST", runs, command="python benchmarks/scripts/export.py",
        machine=_EXPORT[model][0]["proofs"]["student"]["machine"],
        settings={"temperature": 2.0, "alpha": 0.5, "epochs": 5}, frozen="2026-11-22 05:56",
    )  # fmt: skip


def _file(proof, weights):
    (file,) = [each for each in proof["files"] if each["format"] == weights]
    return file["accuracy"]


def _few_labels(count, student):
    """Return what the rows of KDGAN's table share, and its control."""
    arms = {"student": student, "student_alone": "alone", "soft_targets": "soft_targets"}
    if student == "soft_targets":
        del arms["soft_targets"]
    else:
        arms["mutual"] = "mutual"
    return {
        "table": f"few_labels_{count}", "arms": arms, "data": "MNIST",
        "command": f"few_labels --images {count} --seeds 5",
        "settings": {"temperature": 2.0, "alpha": 0.9}, "frozen": "2026-11-22 14:36",
    }  # fmt: skip


def _data_free(table, data, epochs, frozen):
    """Return the row of students that saw no image; noise is the control."""
    arms = {"student": "hybrid", "student_alone": "noise", "student_on_real_images": "alone"}
    return adversarial(
        table, arms, "half a LeNet-5 from LeNet-5, images by a generator", "no data", data,
        command=f"data_free --dataset {table} --seeds 3", settings={"epochs": epochs},
        frozen=frozen, control="the same student on images of noise",
    )  # fmt: skip


REGIMES = {
    "kdgan_100_labels": adversarial(
        title="100 labels, no other images: KDGAN, the teacher learns on", kind=_FORMS,
        **_few_labels(100, "kdgan"),
    ),
    "kdgan_1000_labels": adversarial(
        title="1,000 labels, no other images: KDGAN, the teacher learns on", kind=_FORMS,
        **_few_labels(1000, "kdgan"),
    ),
    "same_100_labels": adversarial(
        title="100 labels and views of them, no other images; the teacher saw these",
        kind="few labels", **_few_labels(100, "soft_targets"),
    ),
    "same_1000_labels": adversarial(
        title="1,000 labels and views of them, no other images; the teacher saw these",
        kind="few labels", **_few_labels(1000, "soft_targets"),
    ),
    "adversarial_online": compared(
        "adversarial_online", "two conv nets learn together, discriminators between them", _FORMS,
        "Fashion-MNIST", "before 2026-11-26 01:13; a trial had read the validation split of seed 0",
    ),
    "adversarial_discriminator": compared(
        "adversarial_discriminator", "a discriminator on logits in place of soft targets", _FORMS,
        "Fashion-MNIST", "2026-11-22 12:32",
    ),
    "adversarial_discriminator_best": compared(
        "adversarial_discriminator_best", "a discriminator on logits beside soft targets", _FORMS,
        "Fashion-MNIST", "2026-11-22 12:32",
    ),
    "mutual_perceptrons": variant(
        "mutual, two students", "two perceptrons teach each other, all labels", _FORMS,
        {"temperature": 1.0, "alpha": 0.5},
    ),
    "born_again_perceptron": variant(
        "born again (taught by itself, alone)", "a perceptron taught by itself, all labels",
        "all labels", {"temperature": 2.0, "alpha": 0.9},
    ),
    "assistant_perceptron": variant(
        "assistant 128-128 in between", "an assistant between teacher and student, all labels",
        "all labels", {"temperature": 2.0, "alpha": 0.9},
    ),
    "ensemble_of_larger_nets": variant(
        "ensemble of three teachers", "three larger nets into one, all labels",
        "ensemble", {"temperature": 2.0, "alpha": 0.9},
    ),
    "data_free_mnist": _data_free(
        "mnist", "MNIST", 16,
        "before 2026-11-22 22:20; trials had read the validation split of seed 2",
    ),
    "data_free_fashion_mnist": _data_free(
        "fashion_mnist", "Fashion-MNIST", 8,
        "before 2026-11-22 22:59; trials had read the validation split of seed 1",
    ),
    "int4_main_job": converted("mlp", "int4", "int4: the main job's student, distilled as such"),
    "int8_main_job": converted("mlp", "int8", "int8: the main job's student, distilled as such"),
    "int4_conv_net_16_32": converted(
        "conv_net", "int4", "int4: a conv net of 16 and 32 filters, distilled as such"
    ),
    "int8_conv_net_16_32": converted(
        "conv_net", "int8", "int8: a conv net of 16 and 32 filters, distilled as such"
    ),
    "recipe_digits": compared(
        "digits", "the recipe `digits`", "all labels", "8x8 digits",
        "before 2026-11-22 13:56",
    ),
    "recipe_fashion_mnist_mlp": compared(
        "fashion_mnist_mlp", "the recipe `fashion_mnist_mlp`, as published", "all labels",
        "Fashion-MNIST", "before 2026-11-22 13:56",
    ),
    "recipe_fashion_mnist_mlp_best": compared(
        "fashion_mnist_mlp_best", "the recipe `fashion_mnist_mlp --best`", "all labels",
        "Fashion-MNIST", "before 2026-11-26 01:13; trials had read the validation split of seed 0",
    ),
    "recipe_mnist_mlp": compared(
        "mnist_mlp", "the recipe `mnist_mlp`", "all labels", "MNIST", "before 2026-11-22 11:37"
    ),
    "recipe_mnist_mlp_best": compared(
        "mnist_mlp_best", "the recipe `mnist_mlp --best`", "all labels", "MNIST",
        "before 2026-11-22 12:56; trials had read the validation split of seed 0",
    ),
    "recipe_hinton_mnist": compared(
        "hinton_mnist", "Hinton's digits: the teacher saw jittered images, all labels",
        "large teacher", "MNIST",
        "before 2026-11-26 02:07; trials had read the validation split of seed 0",
    ),
}  # fmt: skip
