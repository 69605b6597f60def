"""Measure what several processes gain on a teacher's pass, and kill them.

Command: `python benchmarks/scripts/machines.py kills`, `scaling`.
Cost: about five minutes each on two cores.
Writes: `benchmarks/results/machines.json`, and its section of `benchmarks/robust.md`.

`kills`: while four processes make a store, one of them or the one that began them is killed with
SIGKILL at a random moment, twenty times in all, and the store is gone on with. It must be the one
that a single process makes, byte for byte.

`scaling`: eight processes against one, with work that waits a quarter of a second in the place of
a teacher: so eight can be looked at on two cores, and what is seen is the launcher's own cost.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
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
from keras_kd.soft_labels import store

if __name__ == "__main__":
    store._ROWS_PER_SHARD = {rows}
    launcher = kd.launchers.Processes({workers}) if {workers} > 1 else None
    teacher = kd.load_teacher(sys.argv[1] + "/teacher.keras")
    kd.SoftLabels.create(
        sys.argv[1] + "/" + sys.argv[2], teacher, np.load(sys.argv[1] + "/images.npy"),
        views={views}, augmentation=kd.data.RandomShift(1), launcher=launcher, verbose=False,
    )
"""
WAIT, SIMULATED = 0.25, 8


class Waits:
    """Work that waits, as a process does for a teacher elsewhere."""

    def __call__(self, number):
        time.sleep(WAIT)


class Nothing:
    def __call__(self, number):
        pass


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("parts", nargs="*", default=["kills", "scaling"])
    for part in arguments.parse_args().parts:
        update("machines", part, {"kills": kills, "scaling": scaling}[part]())
        update("machines", "machine", describe_machine())
        write_section("robust.md", "machines", document())


def kills():
    """Return what was killed, and whether the store came out the same."""
    seed = random.SystemRandom().randrange(10**6)
    draw, killed = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        _prepare(folder)
        began = time.perf_counter()
        _begin(folder, "whole", workers=1).wait()
        alone = time.perf_counter() - began
        while True:
            process = _begin(folder, "killed", workers=NUM_WORKERS)
            # From the first shard of these processes on: before it nothing is at stake.
            before = _num_shards(folder)
            while process.poll() is None and _num_shards(folder) == before:
                time.sleep(0.05)
            while len(killed) < NUM_KILLS and process.poll() is None:
                time.sleep(draw.uniform(0.1, 3))
                workers = _workers_of(process.pid)
                if process.poll() is not None or not workers:
                    continue
                is_launcher = draw.random() < 0.2
                _kill(process.pid if is_launcher else draw.choice(workers))
                killed.append("the launcher" if is_launcher else "a worker")
                print(f"killed {killed[-1]}, {_num_shards(folder)} shards are there", flush=True)
            if process.wait() == 0:
                break
        same = _content(folder / "killed") == _content(folder / "whole")
        shards = len([*(folder / "whole").glob("rows-*.npy")])
        left = sorted(each.name for each in folder.iterdir() if each.name.startswith("."))
    assert same and not left, left
    return {"seed": seed, "killed": killed, "shards": shards, "alone_s": round(alone, 1)}


def _num_shards(folder):
    return len([*(folder / ".killed.unfinished").glob("rows-*.npy")])


def _prepare(folder):
    images = np.random.default_rng(0).uniform(0, 255, (NUM_IMAGES, 28, 28, 1)).astype("uint8")
    np.save(folder / "images.npy", images)
    kd.models.mlp([3000, 3000], image_shape=(28, 28, 1)).save(folder / "teacher.keras")
    for workers in (1, NUM_WORKERS):
        script = SCRIPT.format(rows=IMAGES_A_SHARD, workers=workers, views=VIEWS)
        (folder / f"make_{workers}.py").write_text(script)


def _begin(folder, name, workers):
    command = [sys.executable, folder / f"make_{workers}.py", folder, name]
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


def _content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


def document():
    """Return what the page says of it."""
    found = read("machines")
    lines = ["", "Written by `python benchmarks/scripts/machines.py`.", ""]
    if "kills" in found:
        kills = found["kills"]
        count = collections.Counter(kills["killed"])
        lines += [
            f"{kills['shards']} shards, {NUM_WORKERS} processes, {len(kills['killed'])} kills with "
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
    return "\n".join(lines)


if __name__ == "__main__":
    main()
