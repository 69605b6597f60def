"""What a machine does to `keras-kd distill`: signals, a full disk, no memory, files that vanish.

Each is a real process, real signals and limits of the operating system. The command says one
sentence, keeps what is good, and the same command goes on.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import warm
from dying import assert_same_distillation
from PIL import Image

import keras_kd as kd
from keras_kd import cli
from keras_kd.experiment import training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("improved_graphs", "no_pictures"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX"),
]

# What a distillation does, by the file that appears when it begins.
PHASES = {
    "the probe": "config.json",
    "distillation": "seed_0/student_history.csv",
    "the student alone": "seed_0/student_alone_history.csv",
    "export": "seed_0/student_alone.keras",
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope="module")
def root(digits, digits_teacher, tmp_path_factory):
    """A folder with digits.npz and teacher.keras."""
    root = tmp_path_factory.mktemp("faults")
    np.savez(
        root / "digits.npz",
        **{
            f"{split}_{part}": getattr(getattr(digits, split), part)
            for split in ("train", "validation", "test")
            for part in ("images", "labels")
        },
    )
    digits_teacher.save(root / "teacher.keras")
    return root


def command(output, data="digits.npz", student="mlp:64", epochs=8, **options):
    return [
        "distill", "--teacher", "teacher.keras", "--data", str(data), "--student", student,
        "--output", str(output), "--epochs", str(epochs), "--formats", "float32", "--no-check",
        *(part for name, value in options.items() for part in (f"--{name}", str(value))),
    ]  # fmt: skip


def started(root, arguments, before=""):
    """Begin a command in a process of its own, after some Python."""
    code = f"import sys\n{before}\nfrom keras_kd.cli import main\nsys.exit(main(sys.argv[1:]))"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return warm.start(*arguments, code=code, cwd=root, env=environment)


def ended(process):
    """Return exit code and error of a process."""
    _, error = process.communicate(timeout=600)
    return process.returncode, error


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def uninterrupted(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert cli.main(command("whole")) == 0
    return root / "whole"


def send(process, number, folder, pattern, delay):
    """Send a signal some time after a file is there; return whether it met a process at work."""
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.001)
    time.sleep(delay)
    # With its results written, a process has nothing left to interrupt but its own end.
    was_at_work = process.poll() is None and not (folder / "results.json").exists()
    process.send_signal(number)
    return was_at_work


def test_signals_at_any_moment(root, uninterrupted, monkeypatch, capsys):
    seed = int(os.environ.get("KERAS_KD_KILLS_SEED", random.SystemRandom().randrange(10**6)))
    draw = random.Random(seed)
    with capsys.disabled():
        print(f"\nKERAS_KD_KILLS_SEED={seed}")
    output, num_met = root / "killed", 0
    phases = sorted(draw.sample(list(PHASES), 3), key=list(PHASES).index)
    for phase, number in zip(phases, draw.sample(SIGNALS, 3), strict=True):
        process = started(root, command("killed"))
        met = send(process, number, output, PHASES[phase], draw.uniform(0, 0.5))
        code, error = ended(process)
        num_met += met
        with capsys.disabled():
            print(f"{signal.Signals(number).name} in {phase}: exit code {code}")
        if number == signal.SIGKILL or not met:
            continue
        assert (code, error) == (
            130,
            "keras-kd: interrupted. Nothing half-written was left. The same command, or `keras-kd "
            "resume DIR`, goes on after the last whole epoch.\n",
        )
        hidden = [name for name in files_of(output) if name.split("/")[-1].startswith(".")]
        assert hidden == []
    assert num_met > 0
    monkeypatch.chdir(root)
    assert cli.main(command("killed")) == 0, capsys.readouterr().err
    assert_same_distillation(output, uninterrupted)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB, and a function that makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    made = shutil.which("mount") and subprocess.run(
        [*mount, "size=2m", "tmpfs", disk], capture_output=True
    )
    if not made or made.returncode != 0:
        pytest.skip("no right to mount a disk here")
    yield disk, lambda: subprocess.run([*mount, "remount,size=64m", "tmpfs", disk], check=True)
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_gone_on_from_when_there_is_room(
    root, small_disk, monkeypatch, capsys
):
    disk, make_room = small_disk
    # The checkpoint is of 1.2 MB: one fits, and none beside it.
    arguments = command(disk / "out", student="mlp:1024", epochs=4, temperature=2, alpha=0.5)
    code, error = ended(started(root, arguments))
    assert code == 1
    assert error.startswith(
        "keras-kd: error: The disk must have room for what is written. Received"
    )
    assert error.endswith("Make room and say the same command again.\n") and error.count("\n") == 1
    assert files_of(disk / "out") >= {"config.json", "seed_0/student.checkpoint.npz"}
    make_room()
    monkeypatch.chdir(root)
    assert cli.main(arguments) == 0
    assert "student distilled goes on after epoch 1" in capsys.readouterr().out
    assert "seed_0/student.checkpoint.npz" not in files_of(disk / "out")


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""


def test_a_read_only_disk_is_told_before_the_work(root, small_disk):
    disk, _ = small_disk
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, error = ended(started(root, command(disk / "out", student="mlp:4")))
    assert code == 2
    assert error == (
        "keras-kd: error: `output` must be a folder that can be written to. Received: "
        f"{disk / 'out'} (Read-only file system).\n"
    )


def test_a_limit_on_files_is_told_too(root, tmp_path):
    arguments = command(tmp_path / "out", student="mlp:512", epochs=2, temperature=2, alpha=0.5)
    code, error = ended(started(root, arguments, LIMITED.format(200_000)))
    assert (code, error) == (
        1,
        "keras-kd: error: The disk must have room for what is written. Received: [Errno 27] File "
        "too large. Make room and say the same command again.\n",
    )
    assert files_of(tmp_path / "out") <= {
        "config.json", "seed_0", "seed_0/config.json", "seed_0/student_history.csv",
    }  # fmt: skip


# So much more than what is taken once TensorFlow is there.
WITHOUT_MEMORY = """
import resource
import tensorflow as tf
tf.linalg.matmul(tf.ones((64, 64)), tf.ones((64, 64)))
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = 1024 * int(lines["VmData"].split()[0]) + {}
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("a student", "OOM when allocating tensor with shape[64,2000000] and type float"),
        ("images", "Unable to allocate 244. MiB for an array with shape (16, 4000, 4000, 1) and "
         "data type uint8"),
    ],
    ids=["a student", "images"],
)  # fmt: skip
def test_memory_that_runs_out_is_told(what, reason, root, tmp_path):
    options = {"temperature": 2, "alpha": 0.5}
    if what == "a student":
        options |= {"student": "mlp:2000000"}
    else:
        for number in range(20):
            folder = tmp_path / "large" / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4000, 4000)).save(folder / f"{number}.png")
        options |= {"data": tmp_path / "large", "student": "mlp:2"}
    arguments = command(tmp_path / "out", epochs=1, **options)
    code, error = ended(started(root, arguments, WITHOUT_MEMORY.format(200_000_000)))
    assert code == 1 and "Traceback" not in error, error
    # Before it TensorFlow said what it says when it is imported.
    *_, sentence = error.splitlines()
    assert sentence == (
        "keras-kd: error: There must be memory for the models and their batches. Received: "
        f"{reason}. Close other programs or take a smaller batch, and say the same command again."
    )
    assert not (tmp_path / "out" / "student.keras").exists()


def test_an_image_that_vanishes_while_it_trains_is_told(
    root, digits, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(root)
    folder = tmp_path / "images"
    for number in range(200):
        path = folder / str(digits.train.labels[number])
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.train.images[number, ..., 0]).save(path / f"{number}.png")
    read, build = kd.data.read, training.build_student
    hidden = tmp_path / "hidden"

    def read_as_if_larger(path, **options):
        return read(path, **options, memory_limit=1)

    def build_and_hide(*arguments):
        if (tmp_path / "out" / "seed_0" / "student.keras").exists():  # The control begins.
            folder.rename(hidden)
        return build(*arguments)

    monkeypatch.setattr(kd.data, "read", read_as_if_larger)
    arguments = command(tmp_path / "out", data=folder, epochs=1, temperature=2, alpha=0.5)
    with monkeypatch.context() as patch:
        patch.setattr(training, "build_student", build_and_hide)
        assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        f"keras-kd: error: An image that could be read before must stay so. Received: {folder}"
    )
    assert error.endswith("Put it back, or read the data again.\n") and error.count("\n") == 1
    hidden.rename(folder)
    assert cli.main(arguments) == 0
    assert "student.keras is of the same settings" in capsys.readouterr().out
