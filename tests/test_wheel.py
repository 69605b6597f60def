"""What a newcomer does first: installs the wheel as the README says, and runs its twenty lines."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def run(*command, **options):
    done = subprocess.run([*map(str, command)], text=True, capture_output=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # A copy: what a build leaves beside its sources would be in the next wheel.
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT / "keras_kd", folder / "keras_kd", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "saved_models" / "zoo", folder / "saved_models" / "zoo")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    files = {path for path in (wheel.parent / "keras_kd").rglob("*") if path.is_file()}
    names = {path.relative_to(wheel.parent).as_posix() for path in files}
    assert len(names) > 100
    assert names <= set(zipfile.ZipFile(wheel).namelist())


def test_the_zoo_is_inside_the_package_of_the_wheel(wheel):
    zoo = ROOT / "saved_models" / "zoo"
    files = {path.relative_to(zoo).as_posix() for path in zoo.rglob("*") if path.is_file()}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert len(files) > 10
    assert {name for name in names if "saved_models" in name} == {
        f"keras_kd/saved_models/{name}" for name in files
    }


@pytest.mark.slow
def test_the_readme_runs_in_an_empty_environment_installed_as_it_says(wheel, tmp_path):
    extras, block = re.search(
        r'pip install "\.(\[[\w,]+\])".*?^```python\n(.*?)^```', README, re.MULTILINE | re.DOTALL
    ).groups()
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-compile", f"{wheel}{extras}")
    (tmp_path / "twenty_lines.py").write_text(block)
    environment = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "2"}
    said = run(python, "twenty_lines.py", cwd=tmp_path, env=environment)
    # Ten classes, a student of 32 units: far above chance.
    assert float(said.split()[-1]) > 0.8
    assert (tmp_path / "student.tflite").is_file()
    opened = "import keras_kd as kd; print(*map(kd.zoo.load, kd.zoo.names()))"
    said = run(python, "-c", opened, cwd=tmp_path, env=environment)
    assert "keras_kd/saved_models/digits/mlp_int8.tflite" in said and "<Functional" in said
