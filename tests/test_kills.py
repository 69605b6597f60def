"""What is killed at any moment ends, when it goes on, with the same weights to the bit.

In the suite one run is killed twice; of a distillation, see test_faults.py. `make kills` kills
twenty runs once each, and two distillations of three seeds ten times each.
Each is a process of its own, forked from one that has imported the package: no kill is spent on
five seconds of imports.
"""

import json
import os
import random
import signal
import time
import zipfile

import keras
import pytest
import warm
from dying import assert_same_distillation
from helpers import assert_equal_weights
from PIL import Image

from keras_kd.runs import records

pytestmark = pytest.mark.slow

NUM_RUNS = int(os.environ.get("KERAS_KD_KILLED_RUNS", "0"))
CODE = """
import dataclasses, sys
import keras_kd as kd
recipe = dataclasses.replace(
    kd.recipes.digits, epochs=10, augmentation=kd.data.RandomShift(1), views=4, share=0.5
)
kd.experiment.run(recipe, output=sys.argv[1], verbose=False)
"""
# What a run does, by the file that appears when it begins.
PHASES = {
    "teacher training": "teacher_history.csv",
    "soft-label writing": ".soft_labels_*.unfinished",
    "distillation": "student_history.csv",
    "the student alone": "student_alone_history.csv",
    "export": "student_alone.json",
    "the end": "predictions.npz",
}
MODELS = ("teacher", "student", "student_alone")


def started(folder):
    return warm.start(folder, code=CODE)


def finish(process):
    _, error = process.communicate(timeout=1800)
    assert process.returncode == 0, error


def wait_for(pattern, folder, process):
    """Wait until a file is there; return the time, or None if the process ended before."""
    while process.poll() is None:
        if any(folder.glob(pattern)):
            return time.perf_counter()
        time.sleep(0.005)
    return None


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The run that is not killed, and how long each of its phases takes."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    process = started(folder)
    begins = [wait_for(pattern, folder, process) for pattern in PHASES.values()]
    finish(process)
    assert None not in begins
    ends = [*begins[1:], time.perf_counter()]
    lengths = [end - begin for begin, end in zip(begins, ends, strict=True)]
    return folder, dict(zip(PHASES, lengths, strict=True))


def kill(folder, phase, delay):
    """Begin the run or go on with it, and kill it some time into a phase."""
    process = started(folder)
    if wait_for(PHASES[phase], folder, process) is not None:
        time.sleep(delay)
    was_alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return was_alive


def assert_no_file_is_half_written(folder):
    for path in folder.glob("[a-z]*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".keras", ".npz"):
            assert zipfile.ZipFile(path).testzip() is None
        elif path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")


def assert_same_to_the_bit(folder, expected):
    assert files_of(folder) == files_of(expected)
    for name in MODELS:
        ours, theirs = (
            keras.models.load_model(each / f"{name}.keras", compile=False).get_weights()
            for each in (folder, expected)
        )
        assert_equal_weights(ours, theirs)
        history = f"{name}_history.csv"
        assert (folder / history).read_text() == (expected / history).read_text()
    assert (folder / "student.tflite").read_bytes() == (expected / "student.tflite").read_bytes()
    ours, theirs = (records.read_results(each)["models"] for each in (folder, expected))
    for name in MODELS:
        assert ours[name]["test"] == theirs[name]["test"]


def planned(lengths):
    """Return the kills of each run, drawn anew each time, and say what would draw them again."""
    seed = int(os.environ.get("KERAS_KD_KILLS_SEED", random.SystemRandom().randrange(10**6)))
    draw = random.Random(seed)
    print(f"\nKERAS_KD_KILLS_SEED={seed}")
    if NUM_RUNS:
        phases = [list(PHASES)[number % len(PHASES)] for number in range(NUM_RUNS)]
        return [[(phase, draw.uniform(0, lengths[phase]))] for phase in phases]
    phases = sorted(draw.sample(list(PHASES), 2), key=list(PHASES).index)
    return [[(phase, draw.uniform(0, lengths[phase])) for phase in phases]]


def test_killed_runs_go_on_to_the_same_weights(uninterrupted, tmp_path):
    expected, lengths = uninterrupted
    num_alive = 0
    plan = planned(lengths)
    for number, kills in enumerate(plan):
        folder = tmp_path / str(number)
        for phase, delay in kills:
            alive = kill(folder, phase, delay)
            num_alive += alive
            left = ", ".join(sorted(path.name for path in folder.glob("*.checkpoint.npz")))
            print(
                f"killed {1000 * delay:.0f} ms into {phase}; {left or 'no'} checkpoint", flush=True
            )
            assert_no_file_is_half_written(folder)
        finish(started(folder))
        assert_same_to_the_bit(folder, expected)
    print(f"{len(plan)} killed runs, {num_alive} of the kills met a living process")
    # A kill late in the last phase may come after the end.
    assert num_alive > 0


SEEDS = range(3)
# What a distillation does, by the file that appears when it begins; the first begins with it.
PHASES_OF_DISTILLATION = {
    "reading and checking": "",
    "choosing": "out/config.json",
    **{f"seed {seed}": f"out/seed_{seed}/*_history.csv" for seed in SEEDS},
    "export": f"out/seed_{SEEDS[-1]}/student_alone.keras",
    "writing": "out/export.json",
}


@pytest.fixture(scope="module")
def place(digits, digits_teacher, tmp_path_factory):
    """A folder with a folder of images for each class, and a teacher of them."""
    place = tmp_path_factory.mktemp("place")
    for number, (image, label) in enumerate(
        zip(digits.train.images[:300], digits.train.labels[:300], strict=True)
    ):
        (place / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / "images" / str(label) / f"{number}.png")
    digits_teacher.save(place / "teacher.keras")
    return place


def distilling(place, folder, student, resume=False):
    folder.mkdir(exist_ok=True)
    command = ["resume", "out"] if resume else [
        "distill", "--teacher", place / "teacher.keras", "--data", place / "images",
        "--student", student, "--seeds", len(SEEDS), "--epochs", "8", "--formats", "int8",
        "--output", "out",
    ]  # fmt: skip
    return warm.start(*command, cwd=folder, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})


@pytest.mark.skipif(not NUM_RUNS, reason="in the suite, test_faults.py kills one among its signals")
@pytest.mark.parametrize("student", ["mlp:16", "auto"])
def test_a_killed_distillation_ends_with_the_same_weights_and_report(student, place, tmp_path):
    expected = tmp_path / "whole"
    began, process = time.perf_counter(), distilling(place, expected, student)
    begins = [began] + [
        wait_for(pattern, expected, process)
        for pattern in PHASES_OF_DISTILLATION.values()
        if pattern
    ]
    finish(process)
    assert None not in begins
    ends = [*begins[1:], time.perf_counter()]
    lengths = [end - begin for begin, end in zip(begins, ends, strict=True)]
    lengths = dict(zip(PHASES_OF_DISTILLATION, lengths, strict=True))

    seed = int(os.environ.get("KERAS_KD_KILLS_SEED", random.SystemRandom().randrange(10**6)))
    draw = random.Random(seed)
    print(f"\nKERAS_KD_KILLS_SEED={seed}, student {student}")
    phases = list(PHASES_OF_DISTILLATION)
    # Each once before any comes twice, in the order in which they come.
    drawn = [*phases, *draw.sample(phases, 3)]
    folder, num_alive = tmp_path / "killed", 0
    for phase in sorted(drawn, key=phases.index):
        config, results = (folder / "out" / f"{name}.json" for name in ("config", "results"))
        goes_on = config.exists() and not results.exists()
        process = distilling(place, folder, student, resume=goes_on and draw.random() < 0.5)
        pattern, delay = PHASES_OF_DISTILLATION[phase], draw.uniform(0, lengths[phase])
        if not pattern or wait_for(pattern, folder, process) is not None:
            time.sleep(delay)
        num_alive += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        print(f"killed {1000 * delay:.0f} ms into {phase}", flush=True)
        for each in (folder / "out", *(folder / "out").glob("seed_*")):
            assert_no_file_is_half_written(each)
    finish(distilling(place, folder, student))
    assert_same_distillation(folder / "out", expected / "out", num_seeds=len(SEEDS))
    print(f"{len(drawn)} kills, {num_alive} of them met a living process")
    assert num_alive > 0
