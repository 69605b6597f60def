"""A password in the URL of a search's storage is written nowhere."""

import importlib
import json
import os
import sys

import pytest

import keras_kd as kd
from keras_kd.runs import folder as FOLDER
from keras_kd.runs.progress import Progress
from keras_kd.runs.storage import (
    VARIABLE,
    check_storage,
    with_password,
    without_password,
)

SEARCH = importlib.import_module("keras_kd.experiment.search")
STUDY = importlib.import_module("keras_kd.experiment.study")
URL = "postgresql+psycopg2://me:hunter2@host:5432/db?sslmode=require"
HIDDEN = "postgresql+psycopg2://me:***@host:5432/db?sslmode=require"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, HIDDEN),
        (f"--storage={URL}", f"--storage={HIDDEN}"),
        ("mysql://me:hun@ter2@h/db", "mysql://me:***@h/db"),
        ("mysql://me:hun/ter2@h/db", "mysql://me:***@h/db"),
        ("redis://:hunter2@h", "redis://:***@h"),
        ("postgresql://me@server:hunter2@h/db", "postgresql://me@server:***@h/db"),
        ("mysql://h/db?user=me&passwd=hunter2&x=1", "mysql://h/db?user=me&passwd=***&x=1"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dhunter2", "mssql+pyodbc:///?odbc_connect=***"),
        ("postgresql://me@h/db", "postgresql://me@h/db"),
        ("sqlite:///search.db", "sqlite:///search.db"),
        ("study.journal", "study.journal"),
        (HIDDEN, HIDDEN),
    ],
)
def test_what_is_shown_of_a_url_holds_no_password(url, shown):
    assert without_password(url) == shown


def test_a_hidden_password_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert with_password(URL) == URL and with_password(None) is None
    with pytest.raises(ValueError, match=rf"{VARIABLE} must hold the whole URL. Received: .*no "):
        with_password(HIDDEN)
    monkeypatch.setenv(VARIABLE, "postgresql://me:hunter2@elsewhere/db")
    with pytest.raises(ValueError, match=r"\*\*\*@elsewhere/db") as caught:
        with_password(HIDDEN)
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv(VARIABLE, URL)
    assert with_password(HIDDEN) == URL


class TrainingError(Exception):
    """The search has come to its trainings."""


@pytest.mark.parametrize("storage", [URL, HIDDEN])
def test_a_search_opens_the_url_and_writes_none_of_its_password(storage, tmp_path, monkeypatch):
    opened = []

    def open_study(name, storage, **_):
        opened.append(storage)

    def train(*_):
        raise TrainingError

    monkeypatch.setenv(VARIABLE, URL)
    monkeypatch.setattr(SEARCH, "check_storage", lambda storage: None)  # It wants the driver.
    monkeypatch.setattr(STUDY, "open_study", open_study)
    monkeypatch.setattr(SEARCH.Search, "train", train)
    monkeypatch.setattr(sys, "argv", ["keras-kd", "search", "digits", "--storage", storage])
    with pytest.raises(TrainingError):
        kd.experiment.search(
            kd.recipes.digits, storage=storage, output=tmp_path / "search", verbose=False
        )
    assert opened[0] == URL
    assert HIDDEN in (tmp_path / "search" / "config.json").read_text()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path


def test_the_command_of_a_run_is_kept_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["keras-kd", "search", "digits", f"--storage={URL}"])
    what = {"kind": "search", "recipe": "digits", "options": {}, "settings": {}, "data": {}}
    config = FOLDER.begin(tmp_path, **what, progress=Progress(verbose=False))
    assert config["command"] == f"keras-kd search digits '--storage={HIDDEN}'"
    assert "hunter2" not in (tmp_path / "config.json").read_text()


def test_a_password_that_an_earlier_version_wrote_down_is_not_shown(tmp_path):
    config = {
        "kind": "search", "recipe": "digits", "settings": {}, "data": {}, "machine": {},
        "options": {"storage": URL}, "command": f"keras-kd search digits --storage {URL}",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "hunter2" not in json.dumps(FOLDER.read_config(tmp_path))
    assert FOLDER.read_config(tmp_path)["options"]["storage"] == HIDDEN


def test_a_database_that_cannot_be_reached_leaves_no_folder(tmp_path, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def refuse(storage):
        raise OperationalError(f"cannot connect to {storage}", None, Exception("no"))

    monkeypatch.setattr(STUDY, "_open_storage", refuse)
    monkeypatch.setattr(SEARCH, "check_storage", lambda storage: None)
    with pytest.raises(ValueError, match="that can be reached") as caught:
        kd.experiment.search(kd.recipes.digits, storage=URL, output=tmp_path / "new", verbose=False)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "is_taken"), [(b"", True), (b'{"op_code": 0}\n', True), (b"PK", False)]
)
def test_a_file_of_something_else_is_not_taken_for_a_journal(content, is_taken, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    if is_taken:
        check_storage(path)
        return
    with pytest.raises(ValueError, match="which holds something else"):
        check_storage(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="another thing"):
        check_storage(tmp_path / "pipe")
