"""Measure what several processes gain on a teacher's pass or a student's training, and kill them.

Command: `python benchmarks/scripts/machines.py kills`, `objects`, `scaling`, `seeds`, `paces`,
`students`, `nudged`, `steps`, `rates`, `stores`.
Cost: about five minutes each on two cores; `seeds` two, `paces` and the last three one.
Writes: `benchmarks/results/machines.json`, its sections of `benchmarks/robust.md`, and the plan in
`benchmarks/many_images.md`.

`kills`: while four processes make a store, one of them or the one that began them is killed with
SIGKILL at a random moment, twenty times in all, and the store is gone on with. It must be the one
that a single process makes, byte for byte.

`objects`: the same where the processes share an object store: a server that speaks S3, on loopback.

`scaling`: eight processes against one, with work that waits a quarter of a second in the place of
a teacher: so eight can be looked at on two cores, and what is seen is the launcher's own cost.

`seeds`: a comparison over four seeds by one process, and by two of which one is killed with SIGKILL
while its students train: what is found must be the same.

`paces`: the epochs a second of one process that trains three students, and of each of two at once.

`students`: two workers of `fit_distributed`, processes that talk over the loopback address, against
`fit` in one, 100 steps of each kind. Then one is killed with SIGKILL in the middle, and both are
started again: against two that nobody killed. `nudged` shows how far rounding alone goes in the
kind that differs most.

`steps`: how long a step takes on one and on two, where nothing but the agreement costs.

`rates`, `stores`: what a plan for very many images is made of: images a second of a ResNet50, of
reading JPEG files, of writing a store; bytes an image; seconds to begin a process.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fsspec
import keras
import numpy as np
import PIL.Image
import tensorflow as tf
from machines_plan import document as plan
from pages import write_section
from results import read, update

import keras_kd as kd
from keras_kd._common.backend import describe_machine

NUM_IMAGES, IMAGES_A_SHARD, VIEWS = 40_000, 200, 2
NUM_KILLS, NUM_WORKERS = 20, 4
# A process of its own, as a user's script is; `workers` are begun by it.
SCRIPT = """
import sys
import numpy as np
import keras_kd as kd
from keras_kd.soft_labels import making

if __name__ == "__main__":
    making._ROWS_PER_BLOCK = {rows}
    launcher = kd.launchers.Processes({workers}) if {workers} > 1 else None
    teacher = kd.load_teacher(sys.argv[1] + "/teacher.keras")
    kd.SoftLabels.create(
        sys.argv[2], teacher, np.load(sys.argv[1] + "/images.npy"),
        views={views}, augmentation=kd.data.RandomShift(1), launcher=launcher, verbose=False,
    )
"""
WAIT, SIMULATED = 0.25, 8
# What a seed of a comparison trains together, on digits or on a few MNIST images.
PACE = """
import sys, time
import keras
import keras_kd as kd

name = sys.argv[1]
data = kd.data.load("digits" if name == "mlp" else "mnist", seed=0)
data = data if name == "mlp" else data.share(0.05)
shape = {"image_shape": data.image_shape, "num_classes": 10}
widths = [32] if name == "mlp" else [8, 16]
build = kd.models.mlp if name == "mlp" else kd.models.conv_net
distillers = [
    kd.Distiller(student=build(widths, **shape), teacher=build(widths, **shape), alpha=alpha)
    for alpha in (0.0, 0.3, 0.9)
]
for each in distillers:
    each.compile("adam", metrics=["accuracy"])
ends = []

class Ends(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if self.model is distillers[0]:
            ends.append(time.perf_counter())
        self.model.stop_training = ends[-1] > began + 9

began = time.perf_counter()
kd.train_together(
    distillers, data.train.batches(32, shuffle_seed=0), epochs=3000,
    validation_data=data.validation.batches(1000),
    callbacks=lambda each: [Ends()], verbose=0,
)
ends = [end for end in ends if end > began + 4]  # Compiled, and the other one too.
print((len(ends) - 1) / (ends[-1] - ends[0]))
"""
SEEDS = ["compare", "digits", "--seeds", "4", "--epochs", "5"]
EPOCHS, EXAMPLES, BATCH = 10, 320, 32
KEPT = {"all, float16": {}, "top_k=16": {"top_k": 16}}
WORKER = Path(__file__).with_name("machines_worker.py")


class Waits:
    """Work that waits, as a process does for a teacher elsewhere."""

    def __call__(self, number):
        time.sleep(WAIT)


class Nothing:
    def __call__(self, number):
        pass


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("parts", nargs="*", default=[*PARTS])
    for part in arguments.parse_args().parts:
        update("machines", part, PARTS[part]())
        update("machines", "machine", describe_machine())
        write_section("robust.md", "machines", document())
        write_section("robust.md", "students on machines", of_students())
        write_section("many_images.md", "plan", plan())


def kills(objects=None):
    """Return what was killed, and whether the store came out the same.

    Args:
        objects: URL to write below, of an object store; a folder is written to if `None`.
    """
    seed = random.SystemRandom().randrange(10**6)
    draw, killed = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        _prepare(folder)
        place = str(folder / "killed") if objects is None else f"{objects}/killed"
        began = time.perf_counter()
        _begin(folder, folder / "whole", workers=1).wait()
        alone = time.perf_counter() - began
        while True:
            process = _begin(folder, place, workers=NUM_WORKERS)
            # From the first shard of these processes on: before it nothing is at stake.
            before = _num_shards(place)
            while process.poll() is None and _num_shards(place) == before:
                time.sleep(0.05)
            while len(killed) < NUM_KILLS and process.poll() is None:
                time.sleep(draw.uniform(0.1, 3))
                workers = _workers_of(process.pid)
                if process.poll() is not None or not workers:
                    continue
                is_launcher = draw.random() < 0.2
                _kill(process.pid if is_launcher else draw.choice(workers))
                killed.append("the launcher" if is_launcher else "a worker")
                print(f"killed {killed[-1]}, {_num_shards(place)} shards are there", flush=True)
            if process.wait() == 0:
                break
        whole = _content(folder / "whole")
        same = _content(place) == whole
        left = sorted(each.name for each in folder.iterdir() if each.name.startswith("."))
    assert same and not left, left
    shards = sum(name.startswith("rows-") for name in whole)
    return {"seed": seed, "killed": killed, "shards": shards, "alone_s": round(alone, 1)}


def objects():
    """Return the same of an object store."""
    from moto.server import ThreadedMotoServer  # A web server: seconds that no other part needs.

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    os.environ |= {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    fsspec.filesystem("s3").mkdir("bucket")
    with tempfile.TemporaryDirectory() as home:
        os.environ["KERAS_HOME"] = home
        return kills("s3://bucket")


def _num_shards(place):
    if "://" in place:
        there = _objects_at(place)
        return sum(path.endswith(".npy") for path in there)
    place = Path(place)
    return len([*place.with_name(f".{place.name}.unfinished").glob("rows-*.npy")])


def _objects_at(url):
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    try:
        return files.ls(root, detail=False)
    except FileNotFoundError:
        return []


def _prepare(folder):
    images = np.random.default_rng(0).uniform(0, 255, (NUM_IMAGES, 28, 28, 1)).astype("uint8")
    np.save(folder / "images.npy", images)
    kd.models.mlp([3000, 3000], image_shape=(28, 28, 1)).save(folder / "teacher.keras")
    for workers in (1, NUM_WORKERS):
        script = SCRIPT.format(rows=IMAGES_A_SHARD, workers=workers, views=VIEWS)
        (folder / f"make_{workers}.py").write_text(script)


def _begin(folder, place, workers):
    command = [sys.executable, folder / f"make_{workers}.py", folder, place]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _workers_of(number):
    """Return the processes that share the work of one."""
    try:
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        return [
            int(each) for each in children
            if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()
        ]  # fmt: skip
    except FileNotFoundError:
        return []


def _kill(number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def _content(place):
    if "://" in str(place):
        files, _ = fsspec.core.url_to_fs(place)
        return {path.rpartition("/")[2]: files.cat_file(path) for path in _objects_at(place)}
    return {path.name: path.read_bytes() for path in Path(place).iterdir()}


def scaling():
    """Return the pieces a second of one process and of several, and the seconds of the rest."""
    pieces = {1: 60, SIMULATED: 60 * SIMULATED}
    rates = {count: _rate(count, Waits(), number) for count, number in pieces.items()}
    cost = 1 / _rate(1, Nothing(), 2000)
    return {
        "wait_s": WAIT,
        "processes": SIMULATED,
        "pieces_a_second": {str(count): round(rate, 2) for count, rate in rates.items()},
        "share_of_linear": round(rates[SIMULATED] / (SIMULATED * rates[1]), 3),
        "ms_a_piece": round(1000 * cost, 3),
    }


def _rate(num_workers, work, num_pieces):
    """Return the pieces a second while all processes are there: the median of three stretches."""
    ends = []
    for _ in kd.launchers.Processes(num_workers)(work, range(num_pieces)):
        ends.append(time.perf_counter())
    ends = ends[num_pieces // 4 : -num_workers]
    third = len(ends) // 3
    stretches = [ends[third * k : third * (k + 1)] for k in range(3)]
    return statistics.median((len(each) - 1) / (each[-1] - each[0]) for each in stretches)


def seeds():
    """Return whose training was killed, and whether two processes found what one finds."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        assert _compare(one, 1).wait() == 0
        killed = _killed(two)
        assert _found(one) == _found(two)
    return {"command": " ".join(SEEDS), "killed": killed}


def paces():
    """Return the epochs a second of one process and of each of two at once."""
    return {
        name: {str(count): pace_of(name, count) for count in (1, 2)} for name in ("mlp", "conv_net")
    }


def pace_of(name, count):
    """Return the epochs a second of each of some processes that train at once."""
    command = [sys.executable, "-c", PACE, name]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    return [round(float(process.communicate()[0]), 2) for process in processes]


def _killed(folder):
    """Have two processes compare, kill the first that trained students for some epochs."""
    process = _compare(folder, 2)
    while not (found := [*folder.glob("seed_*/students.checkpoint.npz")]):
        assert process.poll() is None
        time.sleep(0.05)
    # Both do, or are about to.
    _kill(random.choice(_workers_of(process.pid)))
    assert process.wait() == 0
    return str(found[0].relative_to(folder))


def _compare(folder, workers):
    words = [*SEEDS, "--workers", str(workers), "--output", folder, "--quiet"]
    return subprocess.Popen([sys.executable, "-m", "keras_kd", *words])


def _found(folder):
    """Return what a comparison found, without the seconds that it took."""

    def without(part):
        if isinstance(part, dict):
            return {key: without(each) for key, each in part.items() if key != "seconds"}
        return [without(each) for each in part] if isinstance(part, list) else part

    return without(json.loads((folder / "results.json").read_text()))


def students():
    """Return how far weights of two workers are from those of one, killed or not."""
    with tempfile.TemporaryDirectory() as folder:
        one, two, again = (Path(folder) / name for name in ("one", "two", "again"))
        for each in (one, two, again):
            each.mkdir()
        _end(_train("all", one))
        _end(_train("all", two, num_workers=2))
        kinds = sorted(path.stem.removesuffix("-0") for path in one.glob("*.npz"))
        differences = {kind: _difference(one, two, kind) for kind in kinds}
        chief, other = _train("SoftTargets", again, num_workers=2, killed=5)
        other.wait()
        began = time.perf_counter()
        said = chief.communicate(timeout=300)[1].decode().strip().splitlines()[-1]
        ended = time.perf_counter() - began
        assert other.returncode == -signal.SIGKILL and chief.returncode == 1, said
        _end(_train("SoftTargets", again, num_workers=2))
        difference = _difference(two, again, "SoftTargets")
    return {
        "steps": EPOCHS * EXAMPLES // BATCH,
        "batch_size": BATCH,
        "differences": differences,
        "killed": {"difference": difference, "others_ended_s": round(ended, 1), "said": said},
    }


def nudged():
    """Return how far apart two trainings in one process end that differ by a ten-millionth."""
    kind = "OnlineAdversarialDistiller"
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "one", Path(folder) / "other"
        for each, nudge in ((one, "0"), (other, "1e-7")):
            each.mkdir()
            _end(_train(kind, each, nudge=nudge))
        return {"kind": kind, "difference": _difference(one, other, kind)}


def steps():
    """Return the milliseconds of a step, on one and on two."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 2):
            _end(_train("SoftTargets", Path(folder), num_workers=count))
            seconds = json.loads((Path(folder) / "SoftTargets-0.json").read_text())
            # Of the first epoch most is compiling.
            found[str(count)] = round(1000 * statistics.median(seconds[1:]) * BATCH / EXAMPLES, 2)
    return {"ms_a_step": found}


def rates():
    """Return what one process does in a second, for the plan."""
    with tempfile.TemporaryDirectory() as folder:
        return {**_rate_of_start(), **_rate_of_teacher(), **_rates_of_files(Path(folder))}


def stores():
    """Return what a store of a thousand classes takes, an image."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: _rates_of_store(Path(folder) / str(number), **options)
            for number, (name, options) in enumerate(KEPT.items())
        }


def _rate_of_start():
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import keras_kd as kd; kd.SoftLabels"], check=True)
    return {"start_s": round(time.perf_counter() - began, 1)}


def _rate_of_teacher():
    """Return images a second of a model that is known, with weights of no matter."""
    teacher = kd.Teacher(keras.applications.ResNet50(weights=None), head="softmax")
    images = np.random.default_rng(0).uniform(0, 255, (8, 224, 224, 3)).astype("float32")
    ask = tf.function(teacher)
    ask(images)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        ask(images)
        took.append(time.perf_counter() - began)
    return {"teacher_images_a_second": round(len(images) / statistics.median(took), 1)}


def _rates_of_files(folder):
    """Return images a second of reading a folder of JPEG files, and of its digest."""
    draw, count = np.random.default_rng(0), 400
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        small = draw.uniform(0, 255, (28, 28, 3)).astype("uint8")
        image = PIL.Image.fromarray(small).resize((224, 224), PIL.Image.Resampling.BICUBIC)
        image.save(folder / "ab"[number % 2] / f"{number}.jpg", quality=95)
    began = time.perf_counter()
    data = kd.data.read(folder)
    read_s = time.perf_counter() - began
    began = time.perf_counter()
    digest = data.train.digest
    digest_s = time.perf_counter() - began
    assert digest
    size = sum(path.stat().st_size for path in folder.rglob("*.jpg"))
    return {
        "file_bytes": round(size / count),
        "read_images_a_second": round(count / read_s),
        "digest_images_a_second": round(len(data.train) / digest_s),
    }


def _rates_of_store(path, **options):
    """Return bytes an image and images a second of a store whose teacher costs next to nothing."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1000)])
    teacher = kd.Teacher(model, head="logits")
    images = np.random.default_rng(0).normal(size=(8_000, 8)).astype("float32")
    began = time.perf_counter()
    kd.SoftLabels.create(path, teacher, images, verbose=False, **options)
    written_s = time.perf_counter() - began
    began = time.perf_counter()
    kd.SoftLabels(path)
    opened_s = time.perf_counter() - began
    size = sum(each.stat().st_size for each in path.glob("rows-*.npy"))
    rows = json.loads((path / "store.json").read_text())["rows_per_shard"]
    return {
        "bytes_an_image": round(size / len(images), 1),
        "images_a_second": round(len(images) / written_s),
        "opened_mb_a_second": round(size / 1e6 / opened_s),
        "rows_a_shard": rows,
    }


def _train(kind, folder, num_workers=1, killed=-1, nudge="0"):
    """Begin the workers of a training."""
    numbers = map(str, (EPOCHS, EXAMPLES, BATCH, killed, nudge))
    command = [sys.executable, WORKER, kind, folder, *numbers]
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        addresses = [f"127.0.0.1:{end.getsockname()[1]}" for end in ends]
    begun = []
    for index in range(num_workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        more = {"TF_CONFIG": json.dumps(task)} if num_workers > 1 else {}
        begun.append(subprocess.Popen(command, env=environment | more, stderr=subprocess.PIPE))
    return begun


def _end(processes):
    try:
        for process in processes:
            _, said = process.communicate(timeout=600)
            assert process.returncode == 0, said.decode()[-3000:]
    finally:
        for process in processes:
            process.kill()


def _difference(one, other, kind):
    """Return the most that a weight of the chief's differs."""
    with np.load(one / f"{kind}-0.npz") as first, np.load(other / f"{kind}-0.npz") as second:
        return float(max(np.abs(first[name] - second[name]).max() for name in first.files))


PARTS = {
    each.__name__: each
    for each in (kills, objects, scaling, seeds, paces, students, nudged, steps, rates, stores)
}


def of_students():
    """Return what the page says of one student on several machines."""
    found = read("machines")
    lines = ["", "Written by `python benchmarks/scripts/machines.py students steps`.", ""]
    if "students" in found:
        part = found["students"]
        lines += [
            "Two workers of `fit_distributed`, two processes on the loopback address, against "
            f"`fit` in one: the most that any weight differs after {part['steps']} steps on the "
            f"same minibatches of {part['batch_size']} images of digits.",
            "",
            "| | largest difference |",
            "| --- | --- |",
            *(f"| {kind} | {each:.1e} |" for kind, each in part["differences"].items()),
            "",
            f"One of two was killed with SIGKILL in the middle. The other ended "
            f"{part['killed']['others_ended_s']:.0f} s later. Both were started again, and came "
            + (
                "to the weights of two that nobody killed, to the bit."
                if part["killed"]["difference"] == 0
                else f"within {part['killed']['difference']:.1e} of two that nobody killed."
            ),
            "",
        ]
    if "nudged" in found:
        lines += [
            f"{found['nudged']['kind']} is a game that enlarges what rounding begins: in one "
            "process alone, one weight tensor changed by a ten-millionth ends "
            f"{found['nudged']['difference']:.1e} away.",
            "",
        ]
    if "steps" in found:
        one, two = found["steps"]["ms_a_step"].values()
        lines += [
            f"A step of this small student takes {one} ms on one and {two} ms on two: what they "
            "spend on agreeing is lost. The two share the cores and need no network, which would "
            "cost more.",
            "",
        ]
    return "\n".join(lines)


def document():
    """Return what the page says of it."""
    found = read("machines")
    lines = ["", "Written by `python benchmarks/scripts/machines.py`.", ""]
    for name, where in (("kills", "a folder"), ("objects", "an object store")):
        if name not in found:
            continue
        kills = found[name]
        count = collections.Counter(kills["killed"])
        lines += [
            f"{kills['shards']} shards in {where}, {NUM_WORKERS} processes, "
            f"{len(kills['killed'])} kills with "
            f"SIGKILL at random moments (seed {kills['seed']}): {count['a worker']} times a "
            f"worker, {count['the launcher']} times the launcher. The store is that of one "
            "process, byte for byte, and nothing else was left.",
            "",
        ]
    if "scaling" in found:
        scaling = found["scaling"]
        one, several = scaling["pieces_a_second"].values()
        lines += [
            f"Work that waits {scaling['wait_s']} s a piece was simulated, no teacher: one process "
            f"does {one} pieces a second, {scaling['processes']} do {several}, "
            f"{scaling['share_of_linear']:.2f} of linear. The launcher itself takes "
            f"{scaling['ms_a_piece']} ms a piece. What it does not show: imports of some five "
            "seconds for each process, and a disk that all share.",
            "",
        ]
    if "seeds" in found:
        seeds = found["seeds"]
        lines += [
            f"`keras-kd {seeds['command']} --workers 2`, one of the two killed with SIGKILL when "
            f"`{seeds['killed']}` was there: but for the seconds, `results.json` is that of one "
            "process.",
            "",
        ]
    if "paces" in found:
        (name, each), (other, of_other) = found["paces"].items()
        lines += [
            f"What a seed gains from a second process, on two cores: {_pace(name, each)}; "
            f"{_pace(other, of_other)}. Each process begins with imports of some five seconds.",
            "",
        ]
    return "\n".join(lines)


def _pace(name, pace):
    """Return what is said of one model."""
    ((alone,), both) = pace.values()
    return (
        f"three students `{name}` train {alone} epochs a second in one process, and "
        f"{' and '.join(map(str, both))} in each of two at once"
    )


if __name__ == "__main__":
    main()
