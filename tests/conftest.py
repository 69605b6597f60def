"""What all tests share: quiet TensorFlow, fixed seeds, small real data."""

import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest

import keras_kd as kd
from keras_kd._common.backend import processor_flags
from keras_kd.distillers.precision import BFLOAT16, onednn_may_use_it

# What a shell starts in the background ignores Ctrl-C, and so do its children: some tests need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    # TensorFlow looks at the processor alone, and ends the process where oneDNN refuses.
    if onednn_may_use_it() or not processor_flags() & BFLOAT16:
        return
    for item in items:
        if item.get_closest_marker("bfloat16"):
            item.add_marker(pytest.mark.skip("ONEDNN_MAX_CPU_ISA holds oneDNN back from bfloat16"))


@pytest.fixture(autouse=True)
def _fixed_seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def digits():
    return kd.data.load("digits", seed=0)


@pytest.fixture(scope="session")
def fashion_mnist():
    try:
        return kd.data.load("fashion_mnist", seed=0)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def digits_teacher(digits):
    """A teacher that has learned the digits, in a second."""
    keras.utils.set_random_seed(0)
    teacher = kd.models.mlp([64, 64], image_shape=digits.image_shape, name="teacher")
    teacher.compile("adam", kd.losses.CrossEntropy())
    teacher.fit(digits.train.batches(64, shuffle_seed=0), epochs=15, shuffle=False, verbose=0)
    return teacher


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The documentation site, built as `make docs` builds it, in ten seconds."""
    target = tmp_path_factory.mktemp("built")
    script = Path(__file__).parent.parent / "docs" / "build.py"
    run = subprocess.run(
        [sys.executable, script, "--target", target], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return target / "site"
