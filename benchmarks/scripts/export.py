"""Export the main job's student and a conv net over seeds, and measure every file.

Command: `python benchmarks/scripts/export.py` (`--seeds 3`).
Cost: two minutes a seed on two cores once the models are trained, which takes about eight.
Writes: `benchmarks/results/export.json`, and its section of `benchmarks/files.md`.

`mlp` is the student of `keras-kd run fashion_mnist_mlp`, from the runs of `make bench` (made here
if they are not there). `conv_net` is trained here: a teacher of 32 and 64 filters on the labels, a
student of 16 and 32 distilled from it, and from the same teacher, five epochs each, the student's
integer twins. Epochs are chosen on the validation split; the test split is read by the proof.
"""

import argparse
import statistics
import subprocess
import sys

import keras
from pages import PAGES, write_section
from results import read, update

import keras_kd as kd

BENCH = PAGES.parent / "saved_models" / "bench"


def mlp(seed):
    """Return the folder with the main job's `teacher.keras`, `student.keras` and their twins."""
    folder = BENCH / "fashion_mnist_mlp" / str(seed)
    if not (folder / "student.keras").exists():
        command = ["run", "fashion_mnist_mlp", "--seed", str(seed), "--output", str(folder)]
        subprocess.run([sys.executable, "-m", "keras_kd", *command], check=True)
    return folder


def conv_net(seed):
    """Return the folder with the conv net's `teacher.keras` and `student.keras`."""
    folder = BENCH / "export_conv_net" / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "student.keras").exists():
        data = kd.data.load("fashion_mnist", seed=seed)
        keras.utils.set_random_seed(seed)
        teacher = kd.models.conv_net([32, 64], name="teacher")
        loss = kd.losses.CrossEntropy()
        teacher.compile("adam", loss, metrics=["accuracy"], steps_per_execution=64)
        fit(teacher, data, seed, epochs=15)
        teacher.save(folder / "teacher.keras")
        keras.utils.set_random_seed(seed)
        student = kd.models.conv_net([16, 32], name="student")
        distil(student, teacher, data, seed, epochs=15, learning_rate=1e-3)
        kd.export.uncompiled(student).save(folder / "student.keras")
    return folder


def twin(folder, weights, seed):
    """Return the student's integer twin, distilled from its teacher for five epochs."""
    path = folder / f"twin_{weights}.keras"
    if not path.exists():
        data = kd.data.load("fashion_mnist", seed=seed)
        keras.utils.set_random_seed(seed)
        student = keras.models.load_model(folder / "student.keras", compile=False)
        teacher = keras.models.load_model(folder / "teacher.keras", compile=False)
        model = kd.quantize.prepare(student, weights=weights, calibration=data.train)
        distil(model, teacher, data, seed, epochs=5, learning_rate=1e-4)
        model.save(path)
    return keras.models.load_model(path, compile=False)


def distil(student, teacher, data, seed, *, epochs, learning_rate):
    distiller = kd.Distiller(student=student, teacher=teacher, alpha=0.5)
    optimizer = keras.optimizers.Adam(learning_rate)
    distiller.compile(optimizer, metrics=["accuracy"], steps_per_execution=64)
    fit(distiller, data, seed, epochs)


def fit(model, data, seed, epochs):
    model.fit(
        data.train.batches(64, shuffle_seed=seed),
        validation_data=data.validation.batches(1000),
        epochs=epochs,
        shuffle=False,
        verbose=2,
        callbacks=[kd.callbacks.EarlyStopping(patience=epochs)],
    )


def measure(model, seed):
    """Return what the proofs say of a model's student and of its two integer twins."""
    folder = MODELS[model](seed)
    data = kd.data.load("fashion_mnist", seed=seed)
    student, teacher = (
        keras.models.load_model(folder / f"{name}.keras", compile=False)
        for name in ("student", "teacher")
    )
    proofs = {"student": kd.export.export(student, folder / "export", data=data, teacher=teacher)}
    for weights in ("int8", "int4"):
        proofs[weights] = kd.export.export(
            twin(folder, weights, seed),
            folder / f"export_{weights}",
            formats=[weights],
            data=data,
            teacher=teacher,
        )
    return {"model": model, "seed": seed, "parameters": student.count_params(), "proofs": proofs}


MODELS = {"mlp": mlp, "conv_net": conv_net}


def rows(runs):
    """Return a table row for each file: the student's, and those of its distilled twins."""
    files = {
        (source, file["format"]): []
        for source, proof in runs[0]["proofs"].items()
        for file in proof["files"]
    }
    for run in runs:
        expected = run["proofs"]["student"]["student"]["accuracy"]
        for source, proof in run["proofs"].items():
            for file in proof["files"]:
                # A twin's own drop is from the twin; what matters is that from the float student.
                drop = 100 * (expected - file["accuracy"])
                files[source, file["format"]].append({**file, "drop": drop})
    for (source, form), found in files.items():
        name = form if source == "student" else f"{form}, distilled as such"
        yield (
            f"| {name} | {spread(found, 'bytes', 1e-3, '.1f')} "
            f"| {spread(found, 'accuracy', 100, '.2f')} | {spread(found, 'drop', 1, '+.2f')} "
            f"| {spread(found, 'agreement_with_student', 100, '.2f')} "
            f"| {median_us(found, '1 thread')} | {median_us(found, '2 threads')} |"
        )


def held(runs):
    """Return the project's promises on these files, each with its worst seed and a verdict."""

    def worst(source, form, value, choose=max):
        return choose(
            value(file, run)
            for run in runs
            for file in run["proofs"][source]["files"]
            if file["format"] == form
        )

    def agreement(file, _):
        return 100 * file["agreement_with_student"]

    def drop(file, run):
        return 100 * (run["proofs"]["student"]["student"]["accuracy"] - file["accuracy"])

    def share(file, run):
        whole = run["proofs"]["student"]["files"]
        return file["bytes"] / next(f["bytes"] for f in whole if f["format"] == "float32")

    def of_weights(file, run):
        return file["bytes"] / (4 * run["parameters"])

    seconds = max(run["proofs"]["student"]["seconds"] for run in runs)
    for words, found, limit, at_least in (
        ("float32 agrees with Keras, %", worst("student", "float32", agreement, min), 99.9, True),
        ("float16 agrees with Keras, %", worst("student", "float16", agreement, min), 99.9, True),
        ("int8, plain: points lost", worst("student", "int8", drop), 0.3, False),
        ("int8, distilled as such: points lost", worst("int8", "int8", drop), 0.3, False),
        ("int4, distilled as such: points lost", worst("int4", "int4", drop), 1.0, False),
        ("int8 file agrees with its twin, %", worst("int8", "int8", agreement, min), 99.5, True),
        ("int4 file agrees with its twin, %", worst("int4", "int4", agreement, min), 99.5, True),
        ("int8 file over float32 file", worst("student", "int8", share), 0.29, False),
        ("SavedModel over weights", worst("student", "saved_model", of_weights), 1.15, False),
        ("export with proof, all formats, s", seconds, 90, False),
    ):
        kept = found >= limit if at_least else found <= limit
        sign = "at least" if at_least else "at most"
        yield f"| {words} | {sign} {limit:g} | {found:.3f} | {'yes' if kept else 'NO'} |"


def spread(found, key, factor, form):
    values = [factor * file[key] for file in found]
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):.2f}"


def median_us(found, threads):
    return f"{statistics.median(file['microseconds'][threads]['p50'] for file in found):.1f}"


def section(runs):
    proof = runs[0]["proofs"]["student"]
    machine = ", ".join(f"{key} {value}" for key, value in proof["machine"].items())
    seeds = ", ".join(str(run["seed"]) for run in runs)
    keras_student = [run["proofs"]["student"]["student"] for run in runs]
    return "\n".join(
        [
            f"### `{runs[0]['model']}`\n",
            f"{runs[0]['parameters']:,} parameters, seeds {seeds}. {machine}. Keras student: "
            f"{spread(keras_student, 'accuracy', 100, '.2f')} %.\n",
            "| file | KB | accuracy % | points lost | agreement % | µs, 1 thread | 2 threads |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows(runs),
            "\n| to hold | limit | worst seed | held |",
            "| --- | --- | --- | --- |",
            *held(runs),
            "",
        ]
    )


def document():
    parts = [
        "## Export: what each file is worth\n\nWritten by `python benchmarks/scripts/export.py`, "
        "from the runs in `results/export.json`. Fashion-MNIST, 10,000 test images, each file "
        "run by its own runtime in a fresh process. Mean ± standard deviation over seeds. Points "
        "lost: accuracy below the float Keras student. Agreement: with the Keras model the file "
        "was made from. Distilled as such: by `quantize.prepare`, with five epochs of training "
        "more than the student. Times: the median over seeds of p50.\n\n"
        "A SavedModel has some 32 KB beside its weights, however small these are: the network's "
        "own graph is 8, the rest are TensorFlow's functions that save and restore (11), "
        "signatures, operations and objects. Tried on the conv net and left: weights as constants "
        "instead of variables, 1.19 of the weights' bytes by `tf.saved_model.save` and 1.08 in "
        "TensorFlow 1's format; from neither could training go on.\n"
    ]
    found = read("export")
    parts += [section(found[model]) for model in MODELS]
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s; at least 2")
    options = parser.parse_args()
    for model in MODELS:
        update("export", model, [measure(model, seed) for seed in range(options.seeds)])
    write_section("files.md", "export", document())


if __name__ == "__main__":
    main()
