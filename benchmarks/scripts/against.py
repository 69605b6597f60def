"""Hold this checkout against another one: the same weights, and the time of an epoch.

Command: `python benchmarks/scripts/against.py CHECKOUT`, such as a worktree of the commit before.
Cost: about five minutes on two cores, which nothing else should use.
Writes: its section of `benchmarks/speed.md`.

Each line of weights is a distiller trained for two epochs of the digits, seed 1, in a process of
each checkout. Times are of `fit` on the fast path: the median of twelve epochs less the first, of
processes in turns.
"""

import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 4
# Data, units of the hidden layers, batch size, temperature and alpha, as in speed.py.
WORKLOADS = {
    "mnist_mlp, batch 64": ("mnist", [128, 64], [32], 64, 2.0, 0.5),
    "main job, batch 32": ("fashion_mnist", [128, 128, 128], [128], 32, 2.0, 0.9),
}


def main(checkout):
    from pages import write_section  # Not there when another checkout's package is asked.

    checkouts = {"there": Path(checkout).resolve(), "here": ROOT}
    weights = {name: _in_process(path, "weights") for name, path in checkouts.items()}
    times = {name: {each: [] for each in checkouts} for name in WORKLOADS}
    for _ in range(ROUNDS):
        for name in WORKLOADS:
            for each, path in checkouts.items():
                times[name][each].append(_in_process(path, "seconds", name))
    write_section("speed.md", "against", _document(checkouts, weights, times))


def _document(checkouts, weights, times):
    from keras_kd._common.backend import describe_machine

    commits = {
        name: subprocess.check_output(
            ["git", "rev-parse", "--short", "HEAD"], cwd=path, text=True
        ).strip()
        for name, path in checkouts.items()
    }
    equal = [name for name, digest in weights["there"].items() if weights["here"][name] == digest]
    lines = [
        f"## {commits['here']} against {commits['there']}",
        "",
        "Written by `python benchmarks/scripts/against.py CHECKOUT`; its docstring says how.",
        "",
        f"**Weights and logs equal to the bit: {len(equal)} of {len(weights['there'])} "
        f"distillers** ({', '.join(equal)}).",
        "",
        "| an epoch of 30,000 images, ms | there | here | here / there | of the pairs |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in times.items():
        there, here = (statistics.median(found[each]) for each in ("there", "here"))
        ratios = [b / a for a, b in zip(found["there"], found["here"], strict=True)]
        lines.append(
            f"| {name} | {1000 * there:.0f} | {1000 * here:.0f} | {here / there:.3f} "
            f"| {', '.join(f'{ratio:.2f}' for ratio in ratios)} |"
        )
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine().items())
    return "\n".join([*lines, "", f"{machine}."]) + "\n"


def weights():
    """Return a digest of the student's weights and of the logs of each kind of distiller."""
    import keras

    import keras_kd as kd

    data, losses, adversarial = kd.data.load("digits", seed=0), kd.losses, kd.adversarial

    def mlp(units, name="student"):
        return kd.models.mlp([units], image_shape=data.image_shape, name=name)

    def conv(filters, name="student"):
        return kd.models.conv_net([filters], image_shape=data.image_shape, name=name)

    keras.utils.set_random_seed(0)
    teacher, maps = mlp(64, "teacher"), conv(8, "teacher")
    soft = losses.SoftTargets(kd.schedules.Cosine(4.0, 1.0, steps=20))
    several = [losses.DecoupledKD(2.0), losses.Hints("conv_1", "conv_1")]
    taught = {
        "soft targets": {},
        "alpha 0": {"alpha": 0.0},
        "schedules": {"alpha": kd.schedules.Linear(0.9, 0.1, steps=20), "distillation_loss": soft},
        "ensemble": {"teacher": [teacher, maps]},
        "label smoothing": {"distillation_loss": losses.LabelSmoothing(0.1), "alpha": 1.0},
    }
    made = {
        name: lambda options=options: kd.Distiller(
            **{"student": mlp(16), "teacher": teacher, **options}
        )
        for name, options in taught.items()
    } | {
        "several losses": lambda: kd.Distiller(
            student=conv(4), teacher=maps, distillation_loss=several
        ),
        "mutual": lambda: kd.MutualDistiller([mlp(16), mlp(32, "other")]),
        "discriminator": lambda: adversarial.DiscriminatorDistiller(
            student=mlp(16), teacher=teacher
        ),
        "KDGAN": lambda: adversarial.KDGANDistiller([mlp(16), mlp(32, "other")]),
        "online": lambda: adversarial.OnlineAdversarialDistiller(
            [conv(4), conv(6, "other")], layer_names="conv_1"
        ),
        "data-free": lambda: adversarial.DataFreeDistiller(
            student=mlp(16), teacher=teacher, batch_size=16, student_steps=2, replay=3
        ),
    }
    found = {}
    for name, make in made.items():
        keras.utils.set_random_seed(1)
        distiller = make()
        distiller.compile(metrics=["accuracy"])
        if name == "data-free":
            history = distiller.fit(epochs=2, steps_per_epoch=5, verbose=0).history
        else:
            batches = data.train.batches(64, shuffle_seed=1)
            history = distiller.fit(batches, epochs=2, verbose=0).history
        digest = hashlib.sha256(repr(sorted(history.items())).encode())
        for weight in distiller.student.get_weights():
            digest.update(weight.tobytes())
        found[name] = digest.hexdigest()
    return found


def seconds(workload):
    """Return the seconds of an epoch of a workload."""
    import keras

    import keras_kd as kd

    name, teacher, student, batch_size, temperature, alpha = WORKLOADS[workload]
    train = kd.data.load(name, seed=0).train
    keras.utils.set_random_seed(0)
    distiller = kd.Distiller(
        student=kd.models.mlp(student),
        teacher=kd.models.mlp(teacher),
        distillation_loss=kd.losses.SoftTargets(temperature),
        alpha=alpha,
    )
    distiller.compile(metrics=["accuracy"])
    ends = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
    )
    given = {"batch_size": batch_size, "epochs": 13, "verbose": 0, "callbacks": [watch]}
    distiller.fit(train.images[:30000], train.labels[:30000], **given)
    return statistics.median(b - a for a, b in itertools.pairwise(ends))


def _in_process(path, *arguments):
    """Return what a function of this file returns, of the package in a checkout."""
    function, *rest = arguments
    call = f"import against, json; print('RESULT', json.dumps(against.{function}(*{rest!r})))"
    output = subprocess.run(
        [sys.executable, "-c", call],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": str(path), "TF_CPP_MIN_LOG_LEVEL": "3"},
    ).stdout
    return json.loads(output.rsplit("RESULT", 1)[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
