"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from keras_kd._common.files import move_new, remove_leftovers, size_of, written_whole


def test_a_finished_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("old", "new"):
        with written_whole(path) as unfinished:
            unfinished.write_text(text)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("has_links", [True, False])
def test_what_must_be_new_replaces_nothing(tmp_path, monkeypatch, has_links):
    def refused(*_):
        raise OSError(errno.EPERM, "no links here")

    if not has_links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "it"
    for text in ("first", "second"):
        with written_whole(path, move_new) as unfinished:
            unfinished.write_text(text)
    assert path.read_text() == "first"
    assert [*tmp_path.iterdir()] == [path]


def test_a_folder_replaces_the_old_one(tmp_path):
    path = tmp_path / "folder"
    for name in ("old", "new"):
        with written_whole(path) as unfinished:
            unfinished.mkdir()
            (unfinished / name).write_text("12345")
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]
    assert size_of(path) == 5


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_one_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half():
        with written_whole(path) as unfinished:
            unfinished.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    left = [tmp_path / ".file.txt.a1b2c3d4" / "file.txt", tmp_path / ".folder.abcdefgh" / "old"]
    others = [
        tmp_path / "file.txt",
        tmp_path / ".git.abcdefgh" / "config",  # Not what a write to `.git` would hold.
        tmp_path / ".soft_labels.unfinished" / "rows",
        tmp_path / ".hidden" / "hidden",
    ]
    for path in [*left, *others]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("text")
    remove_leftovers(tmp_path)
    assert all(path.is_file() for path in others)
    assert not any(path.parent.exists() for path in left)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_moved_into_place_lies_on_the_disk_before_and_after(tmp_path, monkeypatch, kind):
    events, fsync = [], os.fsync
    names = {}

    def name(path):
        found = os.stat(path)
        names[found.st_dev, found.st_ino] = Path(path).name

    def note(descriptor):
        found = os.fstat(descriptor)
        events.append(names[found.st_dev, found.st_ino])
        fsync(descriptor)

    def move(self, place, replace=Path.replace):
        events.append("moved")
        return replace(self, place)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "replace", move)
    with written_whole(tmp_path / "it") as unfinished:
        if kind == "folder":
            unfinished.mkdir()
        (unfinished / "part" if kind == "folder" else unfinished).write_text("text")
        for path in (tmp_path, unfinished, *unfinished.glob("*")):
            name(path)
    written = ["part", "it"] if kind == "folder" else ["it"]
    assert events == [*written, "moved", tmp_path.name]


@pytest.mark.parametrize("new", [True, False])
def test_a_folder_that_was_killed_while_it_was_replaced_is_brought_back(tmp_path, new):
    between = tmp_path / ".model.a1b2c3d4"
    for name in ("old", "model") if new else ("old",):
        (between / name).mkdir(parents=True)
        (between / name / "of").write_text(name)
    remove_leftovers(tmp_path)
    assert (tmp_path / "model" / "of").read_text() == ("model" if new else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
