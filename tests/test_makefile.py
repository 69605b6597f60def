"""What `make data` says, with an interpreter and a package manager that only look like ones."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
PYTHON = """#!/bin/sh
test -d data/fashion-mnist && exit 0
echo "Traceback (most recent call last):" >&2
echo "FileNotFoundError: The data set fashion_mnist was not found." >&2
exit 1
"""
APT = "#!/bin/sh\ntouch dataset-fashion-mnist_1_all.deb\n"
DPKG = "#!/bin/sh\nmkdir -p usr/share/datasets/fashion-mnist\n"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def made(root, **commands):
    """Run `make data` with no more than these commands, and those of a shell."""
    shutil.copy(MAKEFILE, root)
    (root / "pyproject.toml").touch()
    for name, script in {".venv/bin/python": PYTHON, **commands}.items():
        path = root / name if "/" in name else root / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    for name in ("make", "sh", "bash", "tail", "sed", "mkdir", "rm", "mv", "touch", "test", "id",
                 "uname", "python3"):  # fmt: skip
        if not (root / "bin" / name).exists():
            (root / "bin").mkdir(exist_ok=True)
            (root / "bin" / name).symlink_to(shutil.which(name))
    for system in ("cpu", "tensorflow"):
        (root / ".venv" / f"installed-{system}").touch()
    return subprocess.run(
        ["make", "--no-print-directory", "data"],
        cwd=root,
        env={"PATH": str(root / "bin"), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
    )


def test_data_that_it_fetches_itself_are_not_said_to_be_missing(tmp_path):
    run = made(tmp_path, **{"apt-get": APT, "dpkg": DPKG})
    assert run.returncode == 0, run.stderr
    assert run.stdout == "Fetching Debian's package dataset-fashion-mnist into ./data\n"
    assert run.stderr == ""
    assert made(tmp_path).stdout == ""  # They are there.


@pytest.mark.parametrize("commands", [{}, {"apt-get": APT, "dpkg": DPKG}])
def test_data_that_cannot_be_had_are_a_sentence(commands, tmp_path):
    if commands:  # What was unpacked is not what is looked for.
        commands |= {".venv/bin/python": PYTHON.replace("data/fashion-mnist", "elsewhere")}
    run = made(tmp_path, **commands)
    assert run.returncode != 0
    assert run.stdout.splitlines()[-1] == "The data set fashion_mnist was not found."
    assert "Error: The" not in run.stdout + run.stderr and "Traceback" not in run.stdout
