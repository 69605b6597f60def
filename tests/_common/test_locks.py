"""One process writes a folder; others are refused or wait, and the dead hold nothing."""

import os
import platform
import re
import threading

import pytest
import warm

from keras_kd._common import locks
from keras_kd._common.locks import LOCK, alone, at_work, is_held


@pytest.fixture
def elsewhere():
    """A function that calls another in a thread of its own, as another process would."""

    def call(function):
        outcome = []

        def kept():
            try:
                outcome.append(function())
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=kept)
        thread.start()
        thread.join()
        return outcome[0]

    return call


def enter(context):
    with context:
        return "entered"


def test_who_holds_a_folder_is_said_and_the_lock_goes(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE", 0.05)
    folder = tmp_path / "new" / "run"
    with at_work(folder):
        assert is_held(folder)
        error = elsewhere(lambda: enter(at_work(folder)))
        # Asked or refused, nobody damages what the holder wrote.
        second = elsewhere(lambda: enter(at_work(folder)))
        assert is_held(folder)
    for each in (error, second):
        assert isinstance(each, ValueError)
        assert re.fullmatch(
            rf"Another process is at work in {re.escape(str(folder))} \(process {os.getpid()} on "
            rf"{re.escape(platform.node())}, since \d{{4}}-\d\d-\d\d \d\d:\d\d\)\. Wait for it, or "
            r"end it\.",
            str(each),
        )
    assert not is_held(folder) and list(folder.iterdir()) == []
    assert enter(at_work(folder)) == "entered"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"process": "\\u001b[31m"}', '{"process": 1}'])
def test_what_a_dead_process_left_blocks_nobody(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    half = tmp_path / ".results.json.a1b2c3d4"
    half.mkdir()
    (half / "results.json").write_text("{")
    assert not is_held(tmp_path)
    (tmp_path / LOCK).write_text(text)
    with at_work(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_fails_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), at_work(tmp_path):
        raise ZeroDivisionError
    assert not is_held(tmp_path) and list(tmp_path.iterdir()) == []


def test_what_is_made_once_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE", 0.05)
    said, order, waits = [], [], threading.Event()

    def say(sentence):
        said.append(sentence)
        waits.set()

    def second():
        with alone(tmp_path / "cache", say):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone(tmp_path / "cache"):
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert said[0].startswith(f"Waiting for another process that writes {tmp_path / 'cache'} (")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"must be one that can be written to\. Received: .*Permiss"):
        enter(at_work(tmp_path))


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="must be one that can be written to. Received: .*file"):
        enter(at_work(tmp_path / "file"))


CREATE = """
import pathlib, sys, time
import numpy as np
import keras_kd as kd

path, ready, other_ready = map(pathlib.Path, sys.argv[1:])
images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1), dtype=np.uint8)
teacher = kd.models.mlp([3], image_shape=(4, 4, 1), num_classes=3)
teacher.set_weights([np.ones_like(weight) for weight in teacher.get_weights()])
ready.touch()
while not other_ready.exists():
    time.sleep(0.01)
labels = kd.SoftLabels.create(path, teacher, (images, np.zeros(60, int)), verbose=False)
print(labels.num_examples)
"""


def test_two_processes_create_one_store_of_soft_labels(tmp_path):
    path, ready = tmp_path / "stores" / "labels", [tmp_path / "one", tmp_path / "other"]
    processes = [warm.start(path, *order, code=CREATE) for order in (ready, ready[::-1])]
    told = [process.communicate(timeout=60) for process in processes]
    assert [printed for printed, _ in told] == ["60\n", "60\n"], told
    assert [each.name for each in path.parent.iterdir()] == ["labels"]
