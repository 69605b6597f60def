"""What goes to the package index, and what a newcomer does with it: installs it by the README's own
line, and runs the README's Python.

`make dist` names the folder of what it built in `KERAS_KD_DIST`. Else both are built here.
"""

import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


def a_newcomers():
    """Return the newest interpreter of another version than this one, or else this one."""
    here = "{}.{}".format(*sys.version_info)
    found = (interpreter(version) for version in OTHERS if version != here)
    return next(filter(None, found), sys.executable)


def empty_environment(python, folder):
    """Make an environment of nothing; return its interpreter and the folder of its packages."""
    run(python, "-m", "venv", "--without-pip", folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    return folder / "bin" / "python", packages


EXTRAS, BLOCK = re.search(
    r'pip install "keras-kd(\[[\w,]+\])".*?^```python\n(.*?)^```', README, re.M | re.S
).groups()
ZOO = "import keras_kd as kd; print(*map(kd.zoo.load, kd.zoo.names()))"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "2"}


@pytest.mark.slow
def test_the_readme_runs_in_an_empty_environment_installed_as_it_says(wheel, tmp_path):
    python, _ = empty_environment(a_newcomers(), tmp_path / "empty")
    pip = (sys.executable, "-m", "pip", "--python", python)
    # What lies on this process's own path is not there for a newcomer.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run(*pip, "install", "--quiet", "--no-compile", f"{wheel}{EXTRAS}", env=alone)
    # One process: an import that nobody has compiled before takes half a minute.
    (tmp_path / "all.py").write_text(
        "import pathlib, runpy\n"
        f"runpy.run_path({str(ROOT / 'tests' / 'own_files.py')!r})['make'](pathlib.Path())\n"
        f"{ZOO}\n{BLOCK}"
    )
    said = run(python, "all.py", cwd=tmp_path, env=ENVIRONMENT)
    assert "keras_kd/saved_models/digits/mlp_int8.tflite" in said and "<Functional" in said
    # Three classes that are easily told apart: far above chance.
    assert float(said.split()[-1]) > 0.8
    assert (tmp_path / "student.tflite").is_file()


def needed(lines, extras):
    """Yield every distribution that lines of `Requires-Dist` ask for with extras, and theirs."""
    wanted = [(Requirement(line), extras) for line in lines]
    seen = set()
    while wanted:
        line, extras = wanted.pop()
        asked = [{"extra": extra} for extra in ("", *extras)]
        if line.marker and not any(map(line.marker.evaluate, asked)):
            continue
        if (line.name, *line.extras) not in seen:
            seen.add((line.name, *line.extras))
            yield (found := importlib.metadata.distribution(line.name))
            wanted += [(Requirement(each), line.extras) for each in found.requires or ()]


def link(source, target):
    """Show a package where it is not installed; of a folder that several share, its content."""
    if source.is_file() or (source / "__init__.py").is_file() or source.suffix == ".dist-info":
        target.exists() or target.symlink_to(source)
    else:
        target.mkdir(exist_ok=True)
        for each in source.iterdir():
            link(each, target / each.name)


def test_what_the_wheel_asks_for_is_enough_on_this_python_too(wheel, tmp_path):
    python, packages = empty_environment(sys.executable, tmp_path / "empty")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(packages)
    (told,) = packages.glob("*.dist-info/METADATA")
    lines = email.message_from_bytes(told.read_bytes()).get_all("Requires-Dist")
    for found in needed(lines, EXTRAS.strip("[]").split(",")):
        for name in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            link(Path(found.locate_file(name)), packages / name)
    said = run(python, "-c", ZOO, cwd=tmp_path, env=ENVIRONMENT)
    assert "keras_kd/saved_models/digits/mlp_int8.tflite" in said and "<Functional" in said
