"""Prune students while they are distilled, beside smaller ones trained alike, over seeds.

Command: `python benchmarks/scripts/pruning.py [mlp] [conv_net] [--seeds 3]`; what is done is kept.
`--short` leaves out `"taylor"` and the same shape.
Cost: ten minutes a seed on one core.
Writes: `benchmarks/results/pruning.json`, and its section of `benchmarks/files.md`.

Fashion-MNIST. `mlp`: the student of the recipe `fashion_mnist_mlp`, 784-128-10, and its teacher,
784-128-128-128-10. `conv_net`: a student of 16 and 32 filters with BatchNormalization, and a
teacher of 32 and 64. Every student is distilled from the same teacher (T = 2, alpha = 0.9) for the
same 12 epochs, batches of 256, Adam at 0.002, from the same first weights where it has the same
shape; of its epochs the best on validation counts, of a pruned one's those after the last channel
went. These settings were fixed before anything was trained.

`pruned`: half of the multiply-adds go in the first 6 of the 12 epochs, by `"l1"` and by `"taylor"`,
with gradients on 1,024 images. `half width`: half as many filters or units. `same shape`: as many
as the pruned one has in the end, from new weights (Liu et al. 2019, Rethinking the Value of Network
Pruning). The test images are read once a seed, when all of its students are trained.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from pages import PAGES, write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd.experiment.statistics import judged, spread

EPOCHS, PRUNED_IN, BATCH_SIZE, RATE = 12, 6, 256, 2e-3
NUM_SCORED = 1024
CRITERIA = "l1", "taylor"
BENCH = PAGES.parent / "saved_models" / "bench" / "pruning"
# Of each family: the teacher, and the student of a number of units or filters.
FAMILIES = {
    "mlp": (lambda: kd.models.mlp([128, 128, 128]), kd.models.mlp, [128]),
    "conv_net": (
        lambda: kd.models.conv_net([32, 64], batch_norm=True),
        lambda filters: kd.models.conv_net(filters, batch_norm=True),
        [16, 32],
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s; at least 3")
    parser.add_argument("families", nargs="*", default=[*FAMILIES], help="default: both")
    parser.add_argument("--short", action="store_true", help="without two of the controls")
    options = parser.parse_args()
    for seed in range(options.seeds):
        for family in options.families:
            if str(seed) not in read("pruning").get(family, {}):
                update("pruning", [family, seed], run(family, seed, short=options.short))
            print(f"{family}, seed {seed} is done", flush=True)
    write_section("files.md", "pruning", document())


def run(family, seed, *, short=False):
    """Train all students of one seed, and return their figures on the test images."""
    make_teacher, make, widths = FAMILIES[family]
    data = kd.data.load("fashion_mnist", seed=seed)
    folder = BENCH / family / str(seed)
    validation = {}

    def trained(name, build, **options):
        """Return a student that was trained now or before, and remember what it reached."""
        path = folder / f"{name}.keras"
        if not path.exists():
            keras.utils.set_random_seed(seed)
            model = build()
            reached = fit(model, data, seed, **options)
            folder.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".txt").write_text(str(reached))
            kd.export.uncompiled(model).save(path)
            print(f"{family}, seed {seed}, {name}: {reached:.4f} on validation", flush=True)
        validation[name] = float(path.with_suffix(".txt").read_text())
        return keras.models.load_model(path, compile=False)

    teacher = trained("teacher", make_teacher)
    students = {"float": trained("float", lambda: make(widths), teacher=teacher)}
    for criterion in CRITERIA[:1] if short else CRITERIA:
        name = f"pruned_{criterion}"
        zeros = trained(name, lambda: make(widths), teacher=teacher, criterion=criterion)
        students[name] = kd.pruning.shrink(zeros)
    halved, shape = [each // 2 for each in widths], widths_of(students["pruned_l1"])
    students["half_width"] = trained("half_width", lambda: make(halved), teacher=teacher)
    if shape != halved and not short:
        students["same_shape"] = trained("same_shape", lambda: make(shape), teacher=teacher)
    # Every choice is made.
    figures = {
        name: {**figures_of(each, data), "validation": validation[name], "widths": widths_of(each)}
        for name, each in {"teacher": teacher, **students}.items()
    }
    return {"seed": seed, "machine": describe_machine(), "figures": figures}


def fit(student, data, seed, *, teacher=None, criterion=None):
    """Train a student, by a teacher's soft targets if there is one; return its best epoch's."""
    loss = kd.losses.SoftTargets(temperature=2.0) if teacher else None
    distiller = kd.Distiller(
        student=student,
        teacher=teacher,
        distillation_loss=loss,
        alpha=0.9 if teacher else 0.0,
    )
    distiller.compile(keras.optimizers.Adam(RATE), metrics=["accuracy"])
    first = PRUNED_IN if criterion else 0
    callbacks = [kd.callbacks.EarlyStopping(patience=EPOCHS, start_from_epoch=first)]
    if criterion:
        some = data.train.take(slice(NUM_SCORED))
        batch = [(some.images, some.labels)] if criterion == "taylor" else None
        callbacks.append(kd.pruning.Pruning(0.5, epochs=PRUNED_IN, criterion=criterion, data=batch))
    history = distiller.fit(
        data.train.batches(BATCH_SIZE, shuffle_seed=seed),
        validation_data=data.validation.batches(1000),
        epochs=EPOCHS,
        verbose=0,
        callbacks=callbacks,
    )
    return max(history.history["val_accuracy"][first:])


def widths_of(student):
    """Return the units or filters of the layers before the last."""
    counts = [getattr(layer, "units", getattr(layer, "filters", None)) for layer in student.layers]
    return [count for count in counts if count][:-1]


def figures_of(student, data):
    """Return accuracy, multiply-adds, weights, and the bytes of the int8 file."""
    logits = student.predict(data.test.images, batch_size=1000, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.tflite"
        kd.export.litert(student, path, quantization="int8", calibration=data.train)
        size = path.stat().st_size
    return {
        "accuracy": kd.metrics.accuracy(data.test.labels, logits),
        "multiply_adds": kd.pruning.multiply_adds(student),
        "parameters": student.count_params(),
        "int8_bytes": size,
    }


def document():
    """Return the section from the seeds that are there."""
    parts = [
        "## Pruning: half of the multiply-adds\n\n"
        "Command: `python benchmarks/scripts/pruning.py`.\n"
        f"{__doc__[__doc__.index('Fashion-MNIST.') :].strip()}\n\n"
        "Mean ± standard deviation on 10,000 test images. Gains are paired by seed, with the 95 %\n"
        "interval of Student's t and its verdict.\n"
    ]
    for family, found in read("pruning").items():
        parts.append(_section(family, [found[seed]["figures"] for seed in sorted(found)]))
    machines = {
        ", ".join(f"{key} {value}" for key, value in each["machine"].items())
        for found in read("pruning").values()
        for each in found.values()
    }
    return "\n".join([*parts, f"{'; '.join(sorted(machines))}.\n"])


def _section(family, seeds):
    whole = seeds[0]["float"]["multiply_adds"]
    names = dict.fromkeys(name for each in seeds for name in each)
    head = ["", "filters or units", "multiply-adds", "test accuracy", "int8 file, KB"]
    head += [f"over {name}, points" for name in ("float", "half width", "same shape")]
    rows = [head, ["---"] * len(head)]
    for name in names:
        those = [each for each in seeds if name in each]
        own, fewer = those[0][name], "" if len(those) == len(seeds) else f", {len(those)} of them"
        row = [
            name.replace("_", " ") + fewer,
            "-".join(map(str, own["widths"])),
            f"{own['multiply_adds'] / whole:.2f}",
            _mean([each[name]["accuracy"] for each in those]),
            f"{own['int8_bytes'] / 1000:.1f}",
        ]
        if name.startswith("pruned"):
            row += [_gain(seeds, name, other) for other in ("float", "half_width", "same_shape")]
        rows.append([*row, *[""] * (len(head) - len(row))])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"### `{family}`, {len(seeds)} seeds\n\n{table}\n"


def _mean(values):
    figures = spread(values)
    deviation = "" if figures["std"] is None else f" ± {figures['std']:.4f}"
    return f"{figures['mean']:.4f}{deviation}"


def _gain(seeds, name, other):
    pairs = [(each[name], each[other]) for each in seeds if name in each and other in each]
    if not pairs:  # The half width is that shape.
        return ""
    gain = judged([one["accuracy"] - two["accuracy"] for one, two in pairs])
    if gain["interval_95"] is None:
        return f"{100 * gain['mean']:+.2f}"
    low, high = gain["interval_95"]
    points = f"{100 * gain['mean']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
    return f"{points} {gain['verdict']}"


if __name__ == "__main__":
    main()
