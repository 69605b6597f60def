"""The recipe `language_model`: losses in bits a byte, what the store costs, and the files.

Command: `python benchmarks/scripts/language_model.py --seeds 5 --store --files`; seeds that are
done are kept. Without any it only writes the document anew.
Cost: the teacher once, 2 minutes of one core, and what it says once, a minute; then 5 minutes a
seed. `--store` and `--files` take a minute each.
Writes: `benchmarks/results/language_model.json` and its section of `benchmarks/recipes.md`.

One teacher, of seed 0, teaches the students of all seeds; it is asked once, and its 16 largest
logits of every byte lie on disk. All students of a seed have the same first weights, order of the
data and budget. Each loss's alpha was chosen on the validation split, with a teacher and students
of seed 100. The test split is read once a seed, when every student of it is trained.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from pages import write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd.experiment.statistics import judged

RECIPE = kd.recipes.language_model
FOLDER = Path("saved_models/language_model_losses")
FORWARD, ALL = "forward", "forward, all logits"
# From the store: the loss, its weight, and alpha.
FROM_STORE = {
    "alone": (None, None, 0.0),
    "teacher's hard answers": (kd.losses.TeacherLabels(), 1.0, 1.0),
    FORWARD: (kd.losses.SoftTargets(1.0), 1.0, 1.0),
    "reverse and labels": (kd.losses.ReverseSoftTargets(1.0), 1.0, 0.5),
    # A quarter of soft targets where both agree closely, see the class.
    "Jensen-Shannon and labels": (kd.losses.JensenShannon(1.0, mixing=0.5), 4.0, 0.5),
}
LOSSES = {
    "forward": kd.losses.soft_targets,
    "reverse": kd.losses.reverse_soft_targets,
    "Jensen-Shannon": lambda **each: kd.losses.jensen_shannon(mixing=0.5, **each),
}
WHO = {"alone": "alone", FORWARD: "distilled"}
KEPT = (4, 8, 16, 32)
# Windows of training text, of which losses from the store and from all logits are compared.
NUM_COMPARED = 256
_AT_ONCE = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=[*FROM_STORE, ALL], help="all by default")
    parser.add_argument("--store", action="store_true", help="measure what the store costs")
    parser.add_argument(
        "--files", action="store_true", help="write a student's files, and run them"
    )
    options = parser.parse_args()
    for seed in range(options.seeds):
        there = read("language_model").get(f"seed_{seed}", {})
        names = [name for name in options.only or [*FROM_STORE, ALL] if name not in there]
        for name, figures in run(seed, names).items() if names else ():
            update("language_model", [f"seed_{seed}", name], figures)
        print(f"seed {seed} is done", flush=True)
    if options.store:
        update("language_model", "store", stored())
    if options.files:
        update("language_model", "files", files())
    write_section("recipes.md", "language model", document())


def run(seed, names):
    """Train some students of one seed, and return their figures and the teacher's on test pages."""
    data = RECIPE.data(seed)
    teacher = teacher_of(data)
    labels = kd.SoftLabels.create(FOLDER / "soft_labels", teacher, data.train, top_k=RECIPE.top_k)
    order = {"batch_size": RECIPE.batch_size, "shuffle_seed": seed}
    distillers = {
        name: distiller_of(data, seed, *FROM_STORE[name], soft_labels=labels)
        for name in FROM_STORE
        if name in names
    }
    if distillers:
        several, batches = list(distillers.values()), labels.join(data.train, **order)
        kd.train_together(several, batches, epochs=RECIPE.epochs, verbose=0)
    if ALL in names:
        distillers[ALL] = distiller_of(data, seed, *FROM_STORE[FORWARD], teacher=teacher)
        distillers[ALL].fit(data.train.batches(**order), epochs=RECIPE.epochs, verbose=0)
    # Every choice is made.
    models = {"teacher": teacher} | {name: each.student for name, each in distillers.items()}
    for name in WHO.keys() & models.keys():
        models[name].save(FOLDER / f"{name}_{seed}.keras")
    logits = {name: said_of(model, data.test.images) for name, model in models.items()}
    said = logits["teacher"]
    machine = {"machine": describe_machine()}
    return {name: figures_of(data.test, each, said) | machine for name, each in logits.items()}


def teacher_of(data):
    """Return the teacher, trained if it is not there."""
    path = FOLDER / "teacher.keras"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(0)
        model = RECIPE.teacher(input_shape=data.input_shape, num_classes=data.num_classes)
        distiller = kd.Distiller(student=model, alpha=0.0)
        distiller.compile(RECIPE.optimizer_of("teacher", len(data.train)))
        batches = data.train.batches(RECIPE.batch_size_of("teacher"), shuffle_seed=0)
        distiller.fit(batches, epochs=RECIPE.epochs_of("teacher"), verbose=0)
        model.save(path)
    return keras.models.load_model(path, compile=False)


def distiller_of(data, seed, loss, weight, alpha, **teaching):
    keras.utils.set_random_seed(seed)  # The same first weights for all of a seed.
    student = RECIPE.student(input_shape=data.input_shape, num_classes=data.num_classes)
    losses = {}
    if loss is not None:
        losses = {"distillation_loss": [loss], "distillation_loss_weights": [weight]}
    distiller = kd.Distiller(student=student, alpha=alpha, **losses, **teaching)
    return distiller.compile(RECIPE.optimizer_of("student", len(data.train)))


def said_of(model, images):
    return model.predict(images, batch_size=_AT_ONCE, verbose=0)


def figures_of(split, logits, teacher_logits):
    nats = kd.metrics.negative_log_likelihood(split.labels, logits)
    return {
        "bits": nats / float(np.log(2)),
        "accuracy": kd.metrics.accuracy(split.labels, logits),
        "agreement": kd.metrics.agreement(logits, teacher_logits),
    }


def stored():
    """Return what some largest logits of training text take, and how wrong losses from them are."""
    data = RECIPE.data(0)
    images, teacher = data.train.images[:NUM_COMPARED], teacher_of(data)
    students = {
        name: keras.models.load_model(FOLDER / f"{name}_0.keras", compile=False) for name in WHO
    }
    said = said_of(teacher, images)
    students = {name: said_of(model, images) for name, model in students.items()}
    whole = [path.stat().st_size for path in (FOLDER / "soft_labels").iterdir()]
    found = {"rows": [], "bytes": sum(whole), "tokens": data.train.images.size}
    with tempfile.TemporaryDirectory() as folder:
        for top_k in (None, *KEPT):
            path = Path(folder) / f"{top_k}"
            labels = kd.SoftLabels.create(path, teacher, images, top_k=top_k, verbose=False)
            back = [targets.teacher_logits.numpy() for _, targets in labels.join(images, _AT_ONCE)]
            size = sum(each.stat().st_size for each in path.glob("rows-*.npy")) / images.size
            wrong = {
                f"{loss}, {WHO[name]}": _wrong(LOSSES[loss], said, np.concatenate(back), logits)
                for loss in LOSSES
                for name, logits in students.items()
            }
            found["rows"].append({"top_k": top_k, "bytes": size, "wrong": wrong})
    return found


def _wrong(loss, exact, found, student_logits):
    """Return the error of the mean loss, as a share of it."""
    exact, found = (
        float(np.mean(loss(teacher_logits=each, student_logits=student_logits, temperature=1.0)))
        for each in (exact, found)
    )
    return found / exact - 1


def files():
    """Return the figures of the first seed's distilled student, and of its files."""
    data = RECIPE.data(0)
    student = keras.models.load_model(FOLDER / f"{FORWARD}_0.keras", compile=False)
    said = said_of(student, data.test.images)
    found = {"student": {"bits": figures_of(data.test, said, said)["bits"]}}
    for name in ("float32", "dynamic", "int8"):
        options = {} if name == "float32" else {"quantization": name}
        if name == "int8":
            options["calibration"] = data.train.take(slice(NUM_COMPARED))
        path = kd.export.litert(
            student, FOLDER / f"student_{name}.tflite", reads=data.reads, input_range=(0, 127),
            **options,
        )  # fmt: skip
        logits = kd.export.run_litert(path, data.test.images).logits
        figures = figures_of(data.test, logits, said)
        largest = float(np.abs(logits - said).max())
        found[name] = figures | {"bytes": path.stat().st_size, "largest_error": largest}
    return found


def document():
    """Return the section from the results that are there."""
    found = read("language_model")
    runs = [each for name, each in found.items() if name.startswith("seed_")]
    names = [name for name in ("teacher", *FROM_STORE, ALL) if any(name in run for run in runs)]
    rows = [_row(name, runs) for name in names]
    store, written = found["store"], found["files"]
    at_16 = next(each for each in store["rows"] if each["top_k"] == RECIPE.top_k)
    apart = [_bits(run, FORWARD) - _bits(run, ALL) for run in runs if ALL in run]
    by_storing = ""
    if apart:
        said = judged(apart)
        by_storing = f" The student has {_signed(said['mean'])} bits{_interval(said)} beside "
        by_storing += "the one that learned from all logits."
    return "\n".join(
        [
            "## A small language model\n",
            "Written by `benchmarks/scripts/language_model.py` from `results/language_model.json`. "
            f"English of manual pages, {store['tokens']:,} bytes to train on; bits a byte on pages "
            "never seen. The student has a quarter of its teacher's weights, and learns from the "
            f"{RECIPE.top_k} largest logits of a byte, on disk; from all logits where the row says "
            "so. Gained: bits a byte below the same student alone.\n",
            *_table(
                [
                    "learned from",
                    "seeds",
                    "bits a byte",
                    "gained, 95 % interval",
                    "next byte right",
                ],
                rows,
            ),
            "",
            f"- The store has {store['bytes'] / store['tokens']:.1f} bytes a byte of text, "
            f"{store['bytes'] / 1e6:.0f} MB.{by_storing}",
            f"- The distillation loss from it is {_share(at_16, 'alone')} from that of all logits, "
            f"of the student alone; of the distilled one, whose loss is smaller, "
            f"{_share(at_16, FORWARD)}.\n",
            "What is kept of a byte, and how far the mean loss is off at T = 1, of the student "
            f"alone and of the distilled one, on {NUM_COMPARED} windows:\n",
            *_table(["kept", "bytes", *store["rows"][0]["wrong"]], map(_kept, store["rows"])),
            "",
            "The distilled student of the first seed, and its files, run on all windows:\n",
            *_table(["", "bytes", "bits a byte", "same next byte as Keras"], _files(written)),
            "",
            _machine(found),
        ]
    )


def _bits(run, name):
    return run[name]["bits"]


def _row(name, runs):
    runs = [run for run in runs if name in run]
    bits, accuracy = ([run[name][key] for run in runs] for key in ("bits", "accuracy"))
    gain = ""
    if name != "alone":
        said = judged([_bits(run, "alone") - _bits(run, name) for run in runs])
        gain = f"{_signed(said['mean'])}{_interval(said)}"
        gain += f", {said['verdict']}" if said["interval_95"] else ""
    if name == "teacher":
        return [name, "", f"{bits[0]:.4f}", "", f"{100 * accuracy[0]:.1f} %"]
    spread = f" ± {np.std(bits, ddof=1):.4f}" if len(bits) > 1 else ""
    return [
        name,
        f"{len(bits)}",
        f"{np.mean(bits):.4f}{spread}",
        gain,
        f"{100 * np.mean(accuracy):.1f} %",
    ]


def _interval(said):
    if said["interval_95"] is None:
        return ""
    low, high = said["interval_95"]
    return f" ({_signed(low)} to {_signed(high)})"


def _signed(bits):
    return f"{bits:+.4f}"


def _share(row, student):
    return f"{100 * row['wrong'][f'forward, {WHO[student]}']:+.2f} %"


def _kept(row):
    kept = "all, float16" if row["top_k"] is None else f"{row['top_k']} largest"
    return [
        kept,
        f"{row['bytes']:.1f}",
        *(f"{100 * each:+.2f} %" for each in row["wrong"].values()),
    ]


def _files(found):
    for name, each in found.items():
        size = f"{each['bytes']:,}" if "bytes" in each else ""
        same = f"{100 * each['agreement']:.2f} %" if "agreement" in each else ""
        yield [name, size, f"{each['bits']:.4f}", same]


def _machine(found):
    machine = found["seed_0"]["teacher"]["machine"]
    return ", ".join(f"{name} {value}" for name, value in machine.items()) + ".\n"


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
