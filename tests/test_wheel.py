"""What goes to the package index, and what a newcomer does with it: installs it by the README's own
line, and runs the README's Python.

`make dist` names the folder of what it built in `KERAS_KD_DIST`. Else both are built here.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import keras_kd
from keras_kd.serve.runtime import VENDORED, vendored_files

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OTHERS = ("3.13", "3.12", "3.11")


def run(*command, **options):
    done = subprocess.run([*map(str, command)], text=True, capture_output=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with a source distribution, and the wheel that was built from it."""
    if folder := os.environ.get("KERAS_KD_DIST"):
        return Path(folder)
    # Of a copy: what a build leaves beside its sources would be in the next one.
    folder = tmp_path_factory.mktemp("dist")
    leftovers = (".venv", "data", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    at_top = shutil.ignore_patterns(*leftovers)
    shutil.copytree(
        ROOT,
        folder / "copy",
        ignore=lambda place, names: (
            at_top(place, names) if Path(place) == ROOT else {"__pycache__"} & set(names)
        ),
    )
    run(sys.executable, "-m", "build", "--outdir", folder, folder / "copy")
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    (wheel,) = dist.glob("*.whl")
    return wheel


def members(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def repository(*options):
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    return set(run("git", "ls-files", *options, cwd=ROOT).splitlines())


def test_the_source_distribution_is_the_repository_and_nothing_else(dist):
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        held = {each.name.partition("/")[2] for each in files if each.isfile()}
    runtime = {path.relative_to(ROOT).as_posix() for path in VENDORED.glob("*")}
    made = {name for name in held if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    assert {name for name in repository() if (ROOT / name).exists()} - held == set()
    assert held - made - runtime - repository("--cached", "--others", "--exclude-standard") == set()


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    files = {path for path in (ROOT / "keras_kd").rglob("*") if path.is_file()}
    names = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    assert len(names) > 100
    assert {"keras_kd/py.typed", "keras_kd/checking/atlas.json"} <= names
    assert names <= members(wheel)


def test_the_zoo_is_inside_the_package_of_the_wheel(wheel):
    zoo = ROOT / "saved_models" / "zoo"
    files = {path.relative_to(zoo).as_posix() for path in zoo.rglob("*") if path.is_file()}
    assert len(files) > 10
    assert {name for name in members(wheel) if "saved_models" in name} == {
        f"keras_kd/saved_models/{name}" for name in files
    }


def test_the_runtime_of_the_page_is_in_the_wheel_with_its_licence(wheel):
    try:
        vendored_files()
    except FileNotFoundError:
        pytest.skip("the runtime was not fetched: make page")
    names = members(wheel)
    assert "keras_kd/serve/static/vendor/litert_wasm_internal.wasm" in names
    assert "keras_kd/serve/static/vendor/LICENSE" in names
    assert any(name.endswith("licenses/keras_kd/serve/static/litertjs.LICENSE") for name in names)


def test_the_wheel_says_its_version_and_where_the_project_lives(wheel):
    (name,) = (name for name in members(wheel) if name.endswith(".dist-info/METADATA"))
    said = email.message_from_bytes(zipfile.ZipFile(wheel).read(name))
    assert said["Version"] == keras_kd.__version__
    assert said["License-Expression"] == "Apache-2.0"
    urls = dict(each.split(", ") for each in said.get_all("Project-URL"))
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= set(urls)
    assert said.get_payload(decode=True).decode().strip() == README.strip()


def interpreter(version):
    """Return an interpreter of a version that starts, or None."""
    places = [shutil.which(f"python{version}")]
    places += sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    for place in filter(None, places):
        asked = [place, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        said = subprocess.run(asked, capture_output=True, text=True)
        if said.returncode == 0 and said.stdout.strip() == version:
            return place
    return None


def other_interpreter():
    """Return the newest interpreter of another version than this one, or skip the test."""
    here = "{}.{}".format(*sys.version_info)
    for version in OTHERS:
        if version != here and (found := interpreter(version)):
            return found
    pytest.skip(f"no other Python than {here} is installed here, of {', '.join(OTHERS)}")


@pytest.mark.slow
@pytest.mark.parametrize("find", [lambda: sys.executable, other_interpreter], ids=["this", "other"])
def test_the_readme_runs_in_an_empty_environment_installed_as_it_says(wheel, find, tmp_path):
    extras, block = re.search(
        r'pip install "keras-kd(\[[\w,]+\])".*?^```python\n(.*?)^```', README, re.M | re.S
    ).groups()
    run(find(), "-m", "venv", "--without-pip", tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    # What lies on this process's own path is not there for a newcomer.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run(*pip, "install", "--quiet", "--no-compile", f"{wheel}{extras}", env=alone)
    (tmp_path / "ten_lines.py").write_text(block)
    environment = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "2"}
    run(python, ROOT / "tests" / "own_files.py", tmp_path, env=environment)
    said = run(python, "ten_lines.py", cwd=tmp_path, env=environment)
    # Three classes that are easily told apart: far above chance.
    assert float(said.split()[-1]) > 0.8
    assert (tmp_path / "student.tflite").is_file()
    opened = "import keras_kd as kd; print(*map(kd.zoo.load, kd.zoo.names()))"
    said = run(python, "-c", opened, cwd=tmp_path, env=environment)
    assert "keras_kd/saved_models/digits/mlp_int8.tflite" in said and "<Functional" in said
