"""Compare losses and arrangements of distillation on Fashion-MNIST, over seeds.

Command: `python benchmarks/scripts/variants.py [--seeds 5]`; seeds that are done are kept.
Cost: about a quarter of an hour a seed on one busy core.
Writes: `benchmarks/results/variants.json`, and its section of `benchmarks/recipes.md`.

Teacher 784-128-128-128-10, student 784-128-10, as in the recipe `fashion_mnist_mlp`; batches of
64, Adam, at most 60 epochs with a patience of 10 on validation; every student of a seed has the
same first weights, order of the data and budget. Losses have their papers' settings, none was
tuned here; feature and relation losses stand beside soft targets. The test split is read once a
seed, when every student of it is trained. What shares a teacher is trained together.

Standardised logits, SP and RKD distance were measured before their guards against spreads and
features near 0 were changed: on these figures that moves the last digits.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from pages import write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd.experiment.statistics import judged, spread
from keras_kd.losses import SoftTargets

EPOCHS, PATIENCE, BATCH_SIZE = 60, 10, 64

TEACHER, STUDENT = "hidden_3", "hidden_1"  # The layers that are compared.
BASE = "soft targets"

# Losses on logits: the loss, and alpha.
RESPONSE = {
    "alone": (None, 0.0),
    "label smoothing": (kd.losses.LabelSmoothing(0.1), 1.0),
    BASE: (SoftTargets(2.0), 0.9),
    "soft targets, T = 4": (SoftTargets(4.0), 0.9),
    "hard teacher labels": (kd.losses.TeacherLabels(), 0.5),
    "logit matching": (kd.losses.LogitMatching(), 0.5),
    "logit distance": (kd.losses.LogitDistance(), 0.5),
    "DKD": (kd.losses.DecoupledKD(4.0), 0.5),
    "DIST": (kd.losses.DIST(4.0), 0.5),
    "standardised logits": (kd.losses.StandardizedLogits(SoftTargets(2.0)), 0.9),
}
# Losses on layers, beside soft targets: the loss, and its weight.
FEATURES = {
    "soft targets + hints": (lambda n: kd.losses.Hints(TEACHER, STUDENT), 1.0),
    "soft targets + SP": (lambda n: kd.losses.SimilarityPreserving(TEACHER, STUDENT), 3000.0),
    "soft targets + RKD distance": (lambda n: kd.losses.RelationalDistance(TEACHER, STUDENT), 25.0),
    "soft targets + CRD": (
        lambda n: kd.losses.Contrastive(TEACHER, STUDENT, num_examples=n, num_negatives=256),
        0.8,
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    for seed in range(parser.parse_args().seeds):
        if str(seed) not in read("variants"):
            update("variants", str(seed), run(seed))
        print(f"seed {seed} is done", flush=True)
    write_section("recipes.md", "variants", document())


def run(seed):
    """Train everything of one seed, and return its figures on the test images."""
    start = time.perf_counter()
    data = kd.data.load("fashion_mnist", seed=seed)
    teacher = _teacher(data, seed)
    students = _together(
        data, seed, {name: _on_logits(teacher, *RESPONSE[name]) for name in RESPONSE}
    )
    count = len(data.train)
    beside = {name: _beside(teacher, make(count), w) for name, (make, w) in FEATURES.items()}
    students |= _together(data, seed, beside)
    students |= _other_teachers(data, seed, teacher, students["alone"])
    students["mutual, two students"] = _mutual(data, seed)
    # Every choice is made.
    images, labels = data.test.images, data.test.labels
    said = teacher.predict(images, batch_size=1000, verbose=0)
    figures = {"teacher": {"accuracy": kd.metrics.accuracy(labels, said)}}
    for name, student in students.items():
        logits = student.predict(images, batch_size=1000, verbose=0)
        figures[name] = {
            "accuracy": kd.metrics.accuracy(labels, logits),
            "agreement": kd.metrics.agreement(logits, said),
        }
    seconds = time.perf_counter() - start
    return {"seed": seed, "machine": describe_machine(), "seconds": seconds, "figures": figures}


def _fit_options(data):
    return {"validation_data": data.validation.batches(1000), "epochs": EPOCHS, "verbose": 0}


def _stopping(_=None):
    return [kd.callbacks.EarlyStopping(patience=PATIENCE)]


def _compiled(distiller):
    return distiller.compile("adam", metrics=["accuracy"])


def _fit(distiller, data, seed):
    batches = data.train.batches(BATCH_SIZE, shuffle_seed=seed)
    _compiled(distiller).fit(batches, callbacks=_stopping(), **_fit_options(data))
    return distiller.student


def _teacher(data, seed, units=(128, 128, 128)):
    keras.utils.set_random_seed(seed)
    return _fit(kd.Distiller(student=kd.models.mlp(list(units)), alpha=0.0), data, seed)


def _student(seed):
    keras.utils.set_random_seed(seed)  # The same first weights for all of a seed.
    return kd.models.mlp([128])


def _on_logits(teacher, loss, alpha):
    return lambda seed: kd.Distiller(
        student=_student(seed), teacher=teacher, distillation_loss=loss, alpha=alpha
    )


def _beside(teacher, loss, weight):
    return lambda seed: kd.Distiller(
        student=_student(seed),
        teacher=teacher,
        distillation_loss=[SoftTargets(2.0), loss],
        distillation_loss_weights=[1.0, weight],
        alpha=0.9,
    )


def _together(data, seed, makers):
    distillers = {name: _compiled(make(seed)) for name, make in makers.items()}
    batches = data.train.batches(BATCH_SIZE, shuffle_seed=seed)
    kd.train_together(list(distillers.values()), batches, callbacks=_stopping, **_fit_options(data))
    return {name: distiller.student for name, distiller in distillers.items()}


def _other_teachers(data, seed, teacher, alone):
    """Return students of other teachers: three of them, a smaller one in between, oneself."""
    others = [_teacher(data, 1000 + seed), _teacher(data, 2000 + seed)]
    keras.utils.set_random_seed(seed)
    assistant = kd.models.mlp([128, 128])
    assistant = _fit(_on_soft_targets(assistant, teacher), data, seed)
    teachers = {
        "ensemble of three teachers": [teacher, *others],
        "assistant 128-128 in between": assistant,
        "born again (taught by itself, alone)": alone,
    }
    return {
        name: _fit(_on_soft_targets(_student(seed), each), data, seed)
        for name, each in teachers.items()
    }


def _on_soft_targets(student, teacher):
    return kd.Distiller(
        student=student, teacher=teacher, distillation_loss=SoftTargets(2.0), alpha=0.9
    )


def _mutual(data, seed):
    return _fit(kd.MutualDistiller([_student(seed), _student(3000 + seed)]), data, seed)


def document():
    """Return the section from the seeds that are there."""
    found = list(read("variants").values())
    names = list(found[0]["figures"])
    rows = []
    for name in names:
        accuracy = spread(_values(found, name, "accuracy"))
        row = [name, _mean(accuracy)]
        if name != "teacher":
            row.append(_mean(spread(_values(found, name, "agreement"))))
            row += [_gain(found, name, other) for other in ("alone", BASE)]
        rows.append(row + [""] * (5 - len(row)))
    wins = [name for name in names if _verdict(found, name, BASE) == "BEATS"]
    closing = (
        f"Better than plain soft targets, by an interval above 0: {', '.join(wins)}."
        if wins
        else "No arrangement is better than plain soft targets by an interval above 0."
    )
    head = ["", "test accuracy", "agreement", "over alone, points", "over soft targets, points"]
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    what = __doc__[__doc__.index("Teacher 784") :].strip()
    machine = ", ".join(f"{key} {value}" for key, value in found[0]["machine"].items())
    return (
        "## Losses and arrangements on Fashion-MNIST\n\n"
        f"Command: `python benchmarks/scripts/variants.py --seeds {len(found)}`.\n{what}\n\n"
        f"{len(found)} seeds: mean ± standard deviation; gains are paired by seed, with the 95 %\n"
        f"interval of Student's t and its verdict.\n\n{table}\n\n{closing} With so many rows, one "
        f"in forty would win or lose by chance.\n\n{machine}.\n"
    )


def _values(found, name, figure):
    return [each["figures"][name][figure] for each in found]


def _mean(figures):
    deviation = "" if figures["std"] is None else f" ± {figures['std']:.4f}"
    return f"{figures['mean']:.4f}{deviation}"


def _judged(found, name, other):
    pairs = zip(_values(found, name, "accuracy"), _values(found, other, "accuracy"), strict=True)
    return judged([one - two for one, two in pairs])


def _verdict(found, name, other):
    return "" if name in ("teacher", "alone", other) else _judged(found, name, other)["verdict"]


def _gain(found, name, other):
    if name in (other, "alone"):
        return ""
    gain = _judged(found, name, other)
    if gain["interval_95"] is None:
        return f"{100 * gain['mean']:+.2f}"
    low, high = gain["interval_95"]
    points = f"{100 * gain['mean']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
    return f"{points} {gain['verdict']}"


if __name__ == "__main__":
    main()
