"""Packages: fetched by name, each unpacked whole, or a sentence."""

import os

import pytest

from keras_kd.data.debian import unpacked

# Stand for the two programs: one writes an archive, the other unpacks it.
APT_GET = """#!/bin/sh
shift 2
for name in "$@"; do
  [ "$name" = gone ] && echo "E: Unable to locate gone" >&2 && exit 100
  touch "${name}_1.deb"
done
"""
DPKG = '#!/bin/sh\nmkdir -p "$3/usr"; cp "$2" "$3/usr/file"\n'


@pytest.fixture
def tools(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name, script in (("apt-get", APT_GET), ("dpkg", DPKG)):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path / "bin"


def test_each_is_unpacked_into_a_folder_of_its_own_once(tools, tmp_path):
    said = []
    folders = unpacked(["one", "two"], tmp_path / "packages", said.append)
    assert [each.name for each in folders] == ["one", "two"]
    assert all((each / "usr" / "file").is_file() for each in folders)
    assert said == ["Packages 1 to 2 of 2"]
    unpacked(["one", "two"], tmp_path / "packages", said.append)
    assert len(said) == 1


def test_many_are_fetched_in_a_few_calls(tools, tmp_path):
    said, names = [], [f"package-{number}" for number in range(40)]
    assert [each.name for each in unpacked(names, tmp_path / "packages", said.append)] == names
    assert said == ["Packages 1 to 32 of 40", "Packages 33 to 40 of 40"]


def test_one_that_is_not_given_is_named_and_leaves_nothing(tools, tmp_path):
    with pytest.raises(OSError, match=r"one, gone must be .* Unable to locate gone\. Say"):
        unpacked(["one", "gone"], tmp_path / "packages")
    assert list((tmp_path / "packages").iterdir()) == []


def test_without_apt_get_the_way_out_is_said(tools, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"without apt-get\. .* folders of your own\."):
        unpacked(["one"], tmp_path / "packages")
