"""The adversarial forms over seeds, with their controls; writes `benchmarks/adversarial.md`.

Commands, each resumable: a run whose JSON lies in `benchmarks/results/adversarial/` is not run
again, a run that was killed begins anew.

    python benchmarks/adversarial.py data_free --dataset mnist --seeds 3
    python benchmarks/adversarial.py data_free --dataset fashion_mnist --seeds 3
    python benchmarks/adversarial.py discriminator --seeds 5
    python benchmarks/adversarial.py overhead
    python benchmarks/adversarial.py table          # only writes the document anew

Cost on two cores: half an hour a seed for the hybrid, DAFL and DFAD each, minutes for the rest.
`--epochs` shortens a data-free run, and its result says by how much. So far, for want of time, the
hybrid was run with 4 epochs and the noise control with 1.
The validation split of the real data is only reported, never chosen by; the test split is read
once a run, at its end.
"""

import argparse
import functools
import json
import math
import statistics
import time
from pathlib import Path

import keras
import tensorflow as tf

import keras_kd as kd
from keras_kd import adversarial
from keras_kd._backend import describe_machine
from keras_kd._files import written_whole

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "adversarial"
KEPT = ROOT / "saved_models" / "bench" / "adversarial"
STEPS_PER_EPOCH = 500

PIXELS = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=["data_free", "discriminator", "overhead", "table"])
    parser.add_argument("--dataset", default="mnist", choices=list(PIXELS))
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=None)
    parser.add_argument(
        "--epochs", type=int, default=None, help="of a data-free run, if not its own"
    )
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if options.experiment == "data_free":
        runs, name, seeds = DATA_FREE, options.dataset, options.seeds or 3
    elif options.experiment == "discriminator":
        runs, name, seeds = LABELLED, "labelled", options.seeds or 5
    if options.experiment in ("data_free", "discriminator"):
        for seed in range(options.first_seed, seeds):
            for method in options.methods or runs:
                once(f"{name}_{method}_{seed}", runs[method], name, seed, method, options)
    elif options.experiment == "overhead":
        once("overhead", overhead)
    (ROOT / "benchmarks" / "adversarial.md").write_text(document())


def once(name, run, *args):
    """Run what has no result yet, and keep its result."""
    path = RESULTS / f"{name}.json"
    if path.exists():
        return
    print(f"{name} ...", flush=True)
    keras.backend.clear_session()
    start = time.perf_counter()
    result = run(*args)
    result |= {"minutes": (time.perf_counter() - start) / 60, "machine": describe_machine()}
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{name}: {result}"[:300], flush=True)


# Data-free: LeNet-5 to half LeNet-5.


def lenet5_teacher(dataset, seed):
    """Return the data and a trained LeNet-5, from the folder if it is there."""
    data = kd.data.load(dataset, seed=seed)
    path = KEPT / dataset / str(seed) / "teacher.keras"
    if not path.exists():
        keras.utils.set_random_seed(seed)
        mean, std = PIXELS[dataset]
        teacher = kd.models.lenet5(mean=mean, std=std, name="teacher")
        fit_on_real(teacher, data, seed, epochs=10)
        with written_whole(path) as unfinished:
            kd.export.uncompiled(teacher).save(unfinished)
    return data, keras.models.load_model(path, compile=False)


def half_lenet5(dataset, seed):
    keras.utils.set_random_seed(seed)
    mean, std = PIXELS[dataset]
    return kd.models.lenet5(0.5, mean=mean, std=std, name="student")


def fit_on_real(model, data, seed, *, epochs, batch_size=128, rate=2e-3):
    steps = epochs * math.ceil(len(data.train) / batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    loss = None if isinstance(model, kd.Distiller) else kd.losses.CrossEntropy()
    model.compile(keras.optimizers.Adam(schedule), loss=loss, steps_per_execution=64)
    batches = data.train.batches(batch_size, shuffle_seed=seed)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)


def on_real_data(distils):
    def run(dataset, seed, method, options):
        data, teacher = lenet5_teacher(dataset, seed)
        student = half_lenet5(dataset, seed)
        model = kd.Distiller(student=student, teacher=teacher, alpha=0.9) if distils else student
        fit_on_real(model, data, seed, epochs=10)
        return figures(data, student, teacher)

    return run


def without_data(*, epochs, rates=(1e-3, 2e-3), watched=True, **settings):
    """Return a run of `DataFreeDistiller` with learning rates of student and generator."""

    def run(dataset, seed, method, options):
        data, teacher = lenet5_teacher(dataset, seed)
        student = half_lenet5(dataset, seed)
        chosen = {key: value() if callable(value) else value for key, value in settings.items()}
        distiller = adversarial.DataFreeDistiller(
            student=student, teacher=teacher, seed=seed, **chosen
        )
        num_epochs = options.epochs or epochs
        steps = num_epochs * STEPS_PER_EPOCH
        student_rate, generator_rate = (
            keras.optimizers.schedules.CosineDecay(rate, steps * count)
            for rate, count in zip(rates, (distiller.student_steps, 1), strict=True)
        )
        distiller.compile(
            keras.optimizers.Adam(student_rate),
            generator_optimizer=keras.optimizers.Adam(generator_rate),
            metrics=["accuracy"],
            steps_per_execution=50,
        )
        watch, clock = adversarial.CollapseWatch(), Clock()
        history = distiller.fit(
            epochs=num_epochs,
            steps_per_epoch=STEPS_PER_EPOCH,
            validation_data=data.validation.batches(1000),
            callbacks=[watch, clock] if watched else [clock],
            verbose=2,
        ).history
        latents = distiller.held_out_latents(60, 0)
        grid = adversarial.image_grid(distiller.generator(latents, training=False), columns=15)
        folder = KEPT / dataset / str(seed) / method
        keep_picture(folder / "images.png", grid)
        kd.export.uncompiled(student).save(folder / "student.keras")
        return {
            **figures(data, student, teacher),
            "epochs": num_epochs,
            "curve": list(zip(clock.minutes, history["val_accuracy"], strict=True)),
            "agreement": history["agreement"],
            "rarest_class": history["rarest_class"],
            "returns": watch.returns,
            "best_epoch": watch.best_epoch,
        }

    return run


class Clock(keras.callbacks.Callback):
    """Minutes since the beginning, at the end of each epoch."""

    def on_train_begin(self, logs=None):
        self.start, self.minutes = time.perf_counter(), []

    def on_epoch_end(self, epoch, logs=None):
        self.minutes.append((time.perf_counter() - self.start) / 60)


def figures(data, student, teacher):
    """Return what the one reading of the test split says."""
    images, labels = data.test.images, data.test.labels
    logits, teacher_logits = (
        model.predict(images, batch_size=1000, verbose=0) for model in (student, teacher)
    )
    return {
        "accuracy": kd.metrics.accuracy(labels, logits),
        "teacher_accuracy": kd.metrics.accuracy(labels, teacher_logits),
        "agreement_with_teacher": kd.metrics.agreement(logits, teacher_logits),
    }


def keep_picture(path, grid):
    with written_whole(path) as unfinished:
        unfinished.write_bytes(tf.io.encode_png(grid).numpy())


DATA_FREE = {
    "alone": on_real_data(distils=False),
    "soft_targets": on_real_data(distils=True),
    "hybrid": without_data(epochs=32),
    "noise": without_data(epochs=8, generator=adversarial.gaussian_noise, watched=False),
    "dafl": without_data(
        epochs=32,
        rates=(2e-3, 2e-2),
        watched=False,
        generator_loss=lambda: [
            adversarial.OneHot(1.0),
            adversarial.ClassBalance(5 / math.log(10)),
            adversarial.Activation(0.1, teacher_layer_name="hidden"),
        ],
        student_steps=1,
        replay=1,
    ),
    "dfad": without_data(
        epochs=8,
        rates=(1e-3, 1e-3),
        watched=False,
        generator_loss=lambda: [
            adversarial.Disagreement(distance=kd.losses.LogitDistance(), bounded=False)
        ],
        distillation_loss=kd.losses.LogitDistance,
        student_steps=5,
        replay=0,
    ),
}


# With data: the published examples' pair of conv nets on Fashion-MNIST.

CONV_EPOCHS, CONV_BATCH = 10, 64


def conv_teacher(seed):
    """Return the data and a trained conv net of 16 filters, from the folder if it is there."""
    data = kd.data.load("fashion_mnist", seed=seed)
    path = KEPT / "labelled" / str(seed) / "teacher.keras"
    if not path.exists():
        teacher = conv(16, seed)
        teacher.compile(keras.optimizers.Adam(1e-3), kd.losses.CrossEntropy(), **QUICK)
        fit_conv(teacher, data, seed)
        with written_whole(path) as unfinished:
            kd.export.uncompiled(teacher).save(unfinished)
    return data, keras.models.load_model(path, compile=False)


def conv(filters, seed):
    keras.utils.set_random_seed(seed + filters)
    return kd.models.conv_net([filters])


QUICK = {"steps_per_execution": 64, "jit_compile": False}


def fit_conv(model, data, seed):
    batches = data.train.batches(CONV_BATCH, shuffle_seed=seed)
    model.fit(batches, epochs=CONV_EPOCHS, shuffle=False, verbose=0)


def with_labels(build, **optimizers):
    """Return a run of the distiller that `build(student, teacher, seed)` makes."""

    def run(_, seed, method, options):
        data, teacher = conv_teacher(seed)
        student = conv(8, seed)
        distiller = build(student, teacher, seed)
        rates = {name: keras.optimizers.Adam(rate) for name, rate in optimizers.items()}
        distiller.compile(keras.optimizers.Adam(1e-3), **rates, **QUICK)
        fit_conv(distiller, data, seed)
        return figures(data, student, teacher)

    return run


def soft_targets(student, teacher, seed, alpha=0.5):
    return kd.Distiller(student=student, teacher=teacher, alpha=alpha)


def discriminator(student, teacher, seed):
    ramp = kd.schedules.Linear(0.0, 0.05, steps=2 * 844)  # Over the first two epochs.
    keras.utils.set_random_seed(seed)
    return adversarial.DiscriminatorDistiller(student=student, teacher=teacher, beta=ramp)


def plain_discriminator(student, teacher, seed):
    keras.utils.set_random_seed(seed)
    judge = adversarial.discriminator((10,), hidden=(), spectral_normalization=False)
    return adversarial.DiscriminatorDistiller(
        student=student,
        teacher=teacher,
        discriminator=judge,
        standardize=False,
        adversarial_loss="binary_crossentropy",
        beta=1.0,
        alpha=0.0,
    )


def online(student, teacher, seed, weight=1.0):
    pair = [student, conv(16, seed + 1000)]  # Its teacher learns beside it, from the beginning.
    keras.utils.set_random_seed(seed)
    return adversarial.OnlineAdversarialDistiller(
        pair, layer_names="conv_1", adversarial_weight=weight
    )


LABELLED = {
    "alone": with_labels(functools.partial(soft_targets, alpha=0.0)),
    "soft_targets": with_labels(soft_targets),
    "discriminator": with_labels(discriminator, discriminator_optimizer=1e-3),
    "plain_discriminator": with_labels(plain_discriminator, discriminator_optimizer=1e-3),
    "mutual": with_labels(functools.partial(online, weight=0.0)),
    "online": with_labels(online),
}


class StepClock(keras.callbacks.Callback):
    """Measures the processor time of a step in each epoch but a fit's first."""

    def __init__(self, num_steps):
        super().__init__()
        self.num_steps, self.seconds = num_steps, []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        if epoch > 0:  # In the first the teacher is asked.
            self.seconds.append((time.process_time() - self.start) / self.num_steps)


def overhead():
    """Return seconds a step of a `Distiller`, and of a `DiscriminatorDistiller` on logits.

    As `fit` runs them by itself. The two take turns, so that what else the machine does meets
    both.
    """
    data, conv_net = conv_teacher(0)
    batches = data.train.batches(CONV_BATCH, shuffle_seed=0)
    found = {}
    for kind, teacher, student in (
        ("dense nets of 128 and 3x128 units", kd.models.mlp([128] * 3), dense),
        ("conv nets of 8 and 16 filters", conv_net, conv),
    ):
        clocks = {}
        for name, build in (("distiller", soft_targets), ("discriminator", discriminator)):
            model = build(student(8, 0), teacher, 0)
            model.compile(keras.optimizers.Adam(1e-3))
            clocks[name] = model, StepClock(len(batches))
        for turn in range(5):
            for model, clock in clocks.values():
                clock.seconds *= turn > 1  # Two turns to warm up.
                model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[clock])
        seconds = {name: statistics.median(clock.seconds) for name, (_, clock) in clocks.items()}
        ratio = seconds["discriminator"] / seconds["distiller"]
        found[kind] = {"cpu_seconds": seconds, "ratio": ratio}
    return {"steps": found}


def dense(_, seed):
    keras.utils.set_random_seed(seed)
    return kd.models.mlp([128])


TITLES = {
    "alone": "student alone, real data",
    "soft_targets": "soft targets, real data",
    "noise": "Gaussian noise (the control)",
    "dafl": "DAFL",
    "dfad": "DFAD",
    "hybrid": "hybrid (the default)",
    "discriminator": "+ discriminator, default (beta ramped to 0.05)",
    "plain_discriminator": "discriminator, plain form (no soft targets, beta 1)",
    "mutual": "mutual learning with the teacher's architecture",
    "online": "+ discriminators on feature maps (AFD)",
}


def document():
    parts = [
        "# Adversarial distillation, measured\n\nWritten by `benchmarks/adversarial.py`, whose "
        "docstring has the commands; the runs are in `results/adversarial/`. Mean ± standard "
        "deviation over seeds where there are several; test split, read once a run. A row that is "
        "missing has not been run.\n"
    ]
    for name, runs, title in (
        ("mnist", DATA_FREE, "MNIST without data: LeNet-5 to half LeNet-5"),
        ("fashion_mnist", DATA_FREE, "Fashion-MNIST without data: LeNet-5 to half LeNet-5"),
        ("labelled", LABELLED, "Fashion-MNIST with labels: conv net of 16 filters to 8"),
    ):
        found = {method: results(f"{name}_{method}") for method in runs}
        if any(found.values()):
            parts.append(section(title, {key: value for key, value in found.items() if value}))
    for _, result in results("overhead"):
        steps = result["steps"].items()
        ratios = " and ".join(f"{figures['ratio']:.2f} for {kind}" for kind, figures in steps)
        parts.append(
            "## Overhead\n\nProcessor time of a step of `DiscriminatorDistiller` on logits over "
            f"that of a step of `Distiller`, both as `fit` runs them: {ratios} (batches of "
            f"{CONV_BATCH}; medians of epochs taken in turn; asked: at most 1.3). What it adds are "
            "some 160 small operations, which XLA joins where it is used: not beside convolutions "
            "on a processor.\n"
        )
    return "\n".join(parts)


def results(name):
    """Return `(seed, result)` of the runs of one name, by seed."""
    paths = sorted(RESULTS.glob(f"{name}_[0-9]*.json")) or sorted(RESULTS.glob(f"{name}.json"))
    return [(path.stem.split("_")[-1], json.loads(path.read_text())) for path in paths]


def section(title, found):
    machine = next(iter(found.values()))[0][1]["machine"]
    lines = [
        f"## {title}\n",
        ", ".join(f"{key} {value}" for key, value in machine.items()) + ".\n",
        "| student | accuracy | teacher | agreement with teacher | minutes | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for method, runs in found.items():
        cells = [TITLES[method]]
        for key, form in (
            ("accuracy", "{:.4f}"),
            ("teacher_accuracy", "{:.4f}"),
            ("agreement_with_teacher", "{:.4f}"),
            ("minutes", "{:.1f}"),
        ):
            cells.append(spread([result[key] for _, result in runs], form))
        cells.append(", ".join(seed for seed, _ in runs))
        lines.append(f"| {' | '.join(cells)} |")
    for method, runs in found.items():
        lines += [curve(method, *run) for run in runs if "curve" in run[1]]
    return "\n".join(lines) + "\n"


def curve(method, seed, result):
    """Return one line on how a data-free run got where it is, on the validation split."""
    points = result["curve"]
    shown = points[:: max(1, len(points) // 8)]
    listed = ", ".join(f"{minutes:.1f} min {accuracy:.4f}" for minutes, accuracy in shown)
    return (
        f"\n{TITLES[method]}, seed {seed}, {result['epochs']} epochs of {STEPS_PER_EPOCH} steps, "
        f"went back {result['returns']} times; validation accuracy: {listed}, at the end "
        f"{points[-1][1]:.4f}."
    )


def spread(values, form):
    mean = form.format(statistics.mean(values))
    return f"{mean} ± {form.format(statistics.stdev(values))}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
