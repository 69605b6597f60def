"""Write what each command left, finished and killed, with the version that is on the path.

    PYTHONPATH=path/of/that/version python tests/saved/former/write_commands.py

Run it from any folder; it writes `commands.zip` beside itself. What lies there was written by the
commit 55f314e, the last one in which a user's own teacher and data went through `own_data`. A
killed process gets SIGKILL at the beginning of an epoch, so its lock lies there too. Of what is
finished, pictures and the larger models are left out: neither `list`, `report` nor `resume` needs
them.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import keras

import keras_kd as kd
from keras_kd import cli

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import write  # noqa: E402

DIGITS = {
    "run": ["run", "digits", "--epochs", "2"],
    "compare": ["compare", "digits", "--epochs", "2", "--seeds", "2"],
    "sweep": ["sweep", "digits", "--epochs", "2", "--temperature", "1", "4", "--alpha", "0.5"],
    "search": ["search", "digits", "--epochs", "2", "--trials", "3"],
}
DISTILL = [
    "distill", "--teacher", "teacher.keras", "--data", "digits", "--student", "mlp:4",
    "--epochs", "2", "--formats", "float32", "--no-check",
]  # fmt: skip
CHOSEN = ["--temperature", "2", "--alpha", "0.5"]
# The recipe is small enough for its models to be kept: what is unfinished needs them.
CALLS = {
    "run": {},
    "compare": {"seeds": 2},
    "sweep": {"temperature": (1.0, 4.0), "alpha": (0.5,)},
    "search": {"trials": 3},
}
# Epochs begun before the one that is killed. Each model is trained for two; the students of a
# comparison and of a sweep together. A run that was interrupted is what `write` leaves.
KILLED_AT = {"compare": 13, "sweep": 5, "search": 7}


def call(kind, output):
    """Run the small recipe, or go on with it."""
    return getattr(kd.experiment, kind)(write.RECIPE, **CALLS[kind], output=output, verbose=False)


def killed_at(count):
    """Kill this process at the beginning of an epoch."""
    begin, begun = keras.callbacks.CallbackList.on_epoch_begin, []

    def begin_or_die(self, epoch, logs=None):
        begun.append(epoch)
        if len(begun) > count:
            os.kill(os.getpid(), signal.SIGKILL)
        begin(self, epoch, logs)

    keras.callbacks.CallbackList.on_epoch_begin = begin_or_die


def in_process(code, folder, *arguments):
    """Call something in a process that is killed."""
    start = f"import sys; sys.path.insert(0, {str(HERE)!r}); import write_commands as w\n"
    done = subprocess.run([sys.executable, "-c", start + code, *map(str, arguments)], cwd=folder)
    assert done.returncode == -signal.SIGKILL, done


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        write_teacher(folder / "teacher.keras")
        for kind, command in DIGITS.items():
            assert cli.main([*command, "--output", f"digits_{kind}"]) == 0
            strip(folder / f"digits_{kind}", ".npz")
        assert cli.main([*DISTILL, *CHOSEN, "--output", "finished_distill"]) == 0
        strip(folder / "finished_distill", kept=("student.keras", "student_alone.keras"))
        for kind, count in KILLED_AT.items():
            code = f"w.killed_at({count}); w.call({kind!r}, 'killed_{kind}')"
            in_process(code, folder)
        for kind in CALLS:
            call(kind, folder / f"finished_{kind}")
            strip(folder / f"finished_{kind}")
        code = "w.killed_at({}); sys.exit(w.cli.main(sys.argv[1:]))"
        arguments = [*DIGITS["run"], "--output", "killed_digits"]
        in_process(code.format(3), folder, *arguments)
        # The probe of `auto` trains two students, three epochs each.
        in_process(code.format(1), folder, *DISTILL, *CHOSEN, "--output", "killed_distill")
        in_process(code.format(2), folder, *DISTILL, "--output", "killed_probe")
        write.zip_folder(folder, HERE / "commands.zip")
        shutil.rmtree(HERE / "__pycache__", ignore_errors=True)


def write_teacher(path):
    """Write the small teacher that the distillations are of."""
    data = kd.data.load("digits", seed=0)
    keras.utils.set_random_seed(0)
    teacher = kd.models.mlp([6], image_shape=data.image_shape, name="teacher")
    teacher.compile("adam", kd.losses.CrossEntropy())
    teacher.fit(data.train.batches(32, shuffle_seed=0), epochs=5, shuffle=False, verbose=0)
    teacher.save(path)


def strip(folder, *suffixes, kept=()):
    """Remove pictures, exports, models and files of other suffixes, but those of these names."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name.endswith("_savedmodel"):
            shutil.rmtree(path)
        elif path.suffix in (".png", ".keras", *suffixes) and path.name not in kept:
            path.unlink()


if __name__ == "__main__":
    main()
