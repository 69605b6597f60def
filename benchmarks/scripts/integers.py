"""Five families of students as integers: plain conversion beside the twin that is distilled.

Command: `python benchmarks/scripts/integers.py` (`--families mlp ...`, `--seeds 1`).
Cost: stands beside each family below, on one busy core.
Writes: `benchmarks/results/integers.json`, and its section of `benchmarks/files.md`.

A student learns Fashion-MNIST from the labels. It then goes on for a few epochs, distilled from
itself as it was and from the labels: as floats, as an int8 twin and as an int4 twin, on the same
images in the same order at the same rates. Epochs are chosen on the validation split. Files are
run on the test images one by one; their times are taken in turns, in one process.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import keras
from pages import PAGES, write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine
from keras_kd.export.runner import LiteRTFile

FOLDER = PAGES.parent / "saved_models" / "bench" / "integers"
LEARNING_RATE, RATE_AFTERWARDS = 2e-3, 3e-4
TWINS = ("int8", "int4")
NUM_TIMED = 1000


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of student, and how long it learns.

    Args:
        spec: of `kd.models.from_spec`, or a function from `image_shape` and `num_classes`.
        num_images: of the training split; `None` for all 54,000.
        epochs: on the labels.
        afterwards: epochs of going on, as floats and as integers.
    """

    spec: object
    num_images: int | None
    epochs: int
    afterwards: int

    def build(self):
        shape = {"image_shape": (28, 28, 1), "num_classes": 10}
        student = (
            kd.models.from_spec(self.spec, **shape) if isinstance(self.spec, str) else self.spec()
        )
        for layer in _layers_of(student):
            # Keras's MobileNets have 0.999: after a thousand steps their statistics still are
            # those that they began with.
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9
        return student


def _layers_of(model):
    for layer in model.layers:
        yield from _layers_of(layer) if isinstance(layer, keras.Model) else [layer]


def transformer(side=7, width=48, depth=2):
    """Return a small transformer over 16 patches of an image."""
    layers = keras.layers
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = layers.Conv2D(width, side, strides=side, name="patches")(x)
    x = layers.Reshape((-1, width))(x)
    for number in range(depth):
        y = layers.LayerNormalization(name=f"norm_{number}_1")(x)
        y = layers.MultiHeadAttention(4, width // 4, name=f"attention_{number}")(y, y)
        x = layers.Add(name=f"sum_{number}_1")([x, y])
        y = layers.LayerNormalization(name=f"norm_{number}_2")(x)
        y = layers.Dense(2 * width, activation="gelu", name=f"wide_{number}")(y)
        y = layers.Dense(width, name=f"narrow_{number}")(y)
        x = layers.Add(name=f"sum_{number}_2")([x, y])
    x = layers.Flatten()(layers.LayerNormalization(name="norm")(x))
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="transformer")


FAMILIES = {
    "mlp": Family("mlp:128", None, 10, 4),
    "conv_net": Family("conv:16-32", None, 8, 4),
    "mobilenet_v3_small": Family("mobilenet_v3_small:0.5@32", 12_000, 6, 2),
    "resnet18_quarter": Family("resnet18:0.25", 12_000, 5, 1),
    "transformer": Family(transformer, None, 6, 1),
}


def data_of(family, seed):
    data = kd.data.load("fashion_mnist", seed=seed)
    return data, data.train.take(slice(family.num_images))


def student_of(name, seed):
    """Return the float student after its epochs on the labels, trained here if need be."""
    family = FAMILIES[name]
    data, train = data_of(family, seed)
    keras.utils.set_random_seed(seed)
    student = family.build()
    return _trained("student", name, seed, student, None, data, train, family.epochs, LEARNING_RATE)


def gone_on(form, name, seed):
    """Return what becomes of the student: `"float32"`, or its twin of `"int8"` or `"int4"`."""
    family = FAMILIES[name]
    data, train = data_of(family, seed)
    teacher = student_of(name, seed)
    keras.utils.set_random_seed(seed)
    if form == "float32":
        student = keras.models.clone_model(teacher)
        student.set_weights(teacher.get_weights())
    else:
        student = kd.quantize.prepare(teacher, weights=form, calibration=train)
    epochs, rate = family.afterwards, RATE_AFTERWARDS
    return _trained(form, name, seed, student, teacher, data, train, epochs, rate)


def _trained(what, name, seed, student, teacher, data, train, epochs, rate):
    # Of other settings there are other files.
    family = FAMILIES[name]
    settings = f"{family.num_images or 'all'}x{family.epochs}"
    path = FOLDER / name / settings / str(seed) / f"{what}_after_{epochs}.keras"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        batches = train.batches(64, shuffle_seed=seed)
        schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * len(batches))
        alpha = 0.5 if teacher is not None else 0
        distiller = kd.Distiller(student=student, teacher=teacher, alpha=alpha)
        distiller.compile(keras.optimizers.Adam(schedule), metrics=["accuracy"])
        distiller.fit(
            batches,
            validation_data=data.validation.batches(1000),
            epochs=epochs,
            verbose=2,
            callbacks=[kd.callbacks.EarlyStopping(patience=epochs)],
        )
        kd.export.uncompiled(distiller.student).save(path)
    return keras.models.load_model(path, compile=False)


def measure(name, seed):
    """Return accuracies, sizes and agreement of a family's files."""
    data, train = data_of(FAMILIES[name], seed)
    images, labels = data.test.images, data.test.labels

    def right(logits):
        return kd.metrics.accuracy(labels, logits)

    floats = gone_on("float32", name, seed)
    logits = floats.predict(images, batch_size=500, verbose=0)
    found = {
        "seed": seed,
        "machine": describe_machine(),
        "parameters": floats.count_params(),
        "before": right(student_of(name, seed).predict(images, batch_size=500, verbose=0)),
        "float32": {"accuracy": right(logits)},
        "plain": {},
        "twin": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        saved = kd.export.saved_model(floats, Path(folder) / "saved_model")
        found["saved_model"] = sum(
            each.stat().st_size for each in saved.rglob("*") if each.is_file()
        )
        paths = {form: Path(folder) / f"{form}.tflite" for form in ("float32", *TWINS)}
        kd.export.litert(floats, paths["float32"])
        found["float32"]["bytes"] = paths["float32"].stat().st_size
        for form, path in list(paths.items())[1:]:
            found["plain"][form] = _of_file(floats, form, path, data.test, logits, train)
            twin = gone_on(form, name, seed)
            own = twin.predict(images, batch_size=500, verbose=0)
            found["twin"][form] = {
                **_of_file(twin, form, path, data.test, own, train),
                "accuracy_of_twin": right(own),
                "float_layers": kd.quantize.float_layers(twin),
                "float_share": kd.quantize.float_share(twin),
            }
        found["microseconds"] = _times_in_turns(paths, images[:1])
    return found


def _times_in_turns(paths, image):
    """Return the median time of a call of each file, the files called in turns."""
    files = {form: LiteRTFile(path) for form, path in paths.items()}
    times = {form: [] for form in files}
    for file in files.values():
        file.feed({"image": image.reshape(1, 28, 28, 1)})
    for _ in range(NUM_TIMED):
        for form, file in files.items():
            start = time.perf_counter()
            file.invoke()
            times[form].append(1e6 * (time.perf_counter() - start))
    return {form: statistics.median(each) for form, each in times.items()}


def _of_file(model, form, path, test, logits, train):
    try:
        kd.export.litert(model, path, quantization=form, calibration=train)
    except ValueError as error:
        return {"failed": str(error).splitlines()[0]}
    run = kd.export.run_litert(path, test.images)
    return {
        "bytes": path.stat().st_size,
        "accuracy": kd.metrics.accuracy(test.labels, run.logits),
        "agreement": kd.metrics.agreement(run.logits, logits),
    }


def document():
    """Return the section of the page."""
    found = read("integers")
    names = [name for name in FAMILIES if name in found]
    rows = [_row(name, list(found[name].values())) for name in names]
    machine = next(iter(found[names[0]].values()))["machine"]
    return "\n".join(
        [
            "## Integers, family by family\n",
            "Written by `python benchmarks/scripts/integers.py`, from `results/integers.json`. "
            "Fashion-MNIST, 10,000 test images. Points lost: below the float student that went on "
            "as long as the twin, from the same weights, on the same images. Agreement: of a "
            "twin's file with the twin. Float share: of the twin's multiply-adds. Times: of the "
            "float32, int8 and int4 files, called in turns in one process. SavedModel: of the "
            "weights' bytes. Means over seeds, with the worst in brackets where there are "
            "several. " + ", ".join(f"{key} {value}" for key, value in machine.items()) + ".\n",
            "| family | weights | seeds | float student % | int8 lost, plain | distilled "
            "| int4 lost, plain | distilled | agreement int8, int4 % | int8 of float32, bytes "
            "| float share | µs | SavedModel |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            "ResNet and MobileNet learn from 12,000 images, the others from 54,000; every row of a "
            "family learns alike. The twins of the perceptron and the conv net were trained before "
            "twins rounded their biases, and measured after. An int8 file rounds once, as the twin "
            "does. The "
            "convolutions of an int4 file, and products of two tensors in either, run in kernels "
            "that round twice: what lies just below a half goes up, and deep nets carry it on. "
            "Where the graph weighs beside the weights, a SavedModel is more than 1.15 of their "
            "bytes, and an int8 file more than 0.27 of the float32 file: in nets of less than "
            "100,000 weights, and in a MobileNet with its hundred operations.",
            "",
        ]
    )


def _row(name, runs):
    def lost(source, form):
        if any("failed" in run[source][form] for run in runs):
            return "no file"
        values = [
            100 * (run["float32"]["accuracy"] - run[source][form]["accuracy"]) for run in runs
        ]
        worst = f" ({max(values):+.2f})" if len(values) > 1 else ""
        return f"{statistics.mean(values):+.2f}{worst}"

    def least(value):
        return min(map(value, runs))

    agreements = (least(lambda run, f=form: run["twin"][f]["agreement"]) for form in TWINS)
    size = max(run["twin"]["int8"]["bytes"] / run["float32"]["bytes"] for run in runs)
    share = max(run["twin"]["int8"]["float_share"] for run in runs)
    accuracy = statistics.mean(100 * run["float32"]["accuracy"] for run in runs)
    times = ", ".join(
        f"{statistics.mean(run['microseconds'][form] for run in runs):.1f}"
        for form in ("float32", *TWINS)
    )
    saved = runs[0]["saved_model"] / (4 * runs[0]["parameters"])
    return (
        f"| `{name}` | {runs[0]['parameters']:,} | {len(runs)} | {accuracy:.2f} "
        f"| {lost('plain', 'int8')} | {lost('twin', 'int8')} | {lost('plain', 'int4')} "
        f"| {lost('twin', 'int4')} | {', '.join(f'{100 * each:.2f}' for each in agreements)} "
        f"| {size:.3f} | {share:.0%} | {times} | {saved:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--only-students", action="store_true", help="train the float students")
    options = parser.parse_args()
    for seed in options.seeds:
        for name in options.families:
            if options.only_students:
                student_of(name, seed)
                gone_on("float32", name, seed)
            else:
                update("integers", [name, str(seed)], measure(name, seed))
    if not options.only_students:
        write_section("files.md", "integers", document())


if __name__ == "__main__":
    main()
