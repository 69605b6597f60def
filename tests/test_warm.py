"""Forked processes end, speak and die as fresh ones do."""

import signal
import subprocess

import pytest
import warm


def test_its_end_and_what_it_said_are_told(tmp_path):
    code = "import os, sys; print(sys.argv[1], os.getcwd()); sys.exit(3)"
    told = warm.run("word", code=code, cwd=tmp_path)
    assert (told.returncode, told.stdout) == (3, f"word {tmp_path}\n")
    told = warm.run(code="import os; os.environ['GIVEN'], os.environ['PATH']", env={"GIVEN": "1"})
    assert told.returncode == 1 and told.stderr.rstrip().endswith("KeyError: 'PATH'")


def test_it_computes_and_leaves_this_process_alone():
    code = "import keras; print(keras.ops.sum(keras.ops.ones([2, 3])).numpy())"
    assert warm.run(code=code).stdout == "6.0\n"


def test_the_command_is_the_command():
    told = warm.run("run", "nothing")
    assert told.returncode == 2 and told.stderr.startswith("keras-kd: error: ")


def test_it_is_interrupted_and_killed():
    sleeping = "import time; print('here', flush=True); time.sleep(60)"
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 1)):
        process = warm.start(code=sleeping)
        assert process.stdout.readline() == "here\n" and process.poll() is None
        process.send_signal(number)
        process.communicate(30)
        assert process.returncode == code
    process = warm.start(code="import time; time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(0.1)
    assert process.returncode == -signal.SIGKILL
