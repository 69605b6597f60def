"""What all tests share: quiet TensorFlow, fixed seeds, small real data."""

import collections
import gc
import os
import runpy
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest
import quick
import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

import keras_kd as kd
from keras_kd._common.backend import processor_flags
from keras_kd.distillers.precision import BFLOAT16, onednn_may_use_it
from keras_kd.experiment import heat_map, report, search_picture
from keras_kd.export import report as export_report


def _freeze():
    """Collect once, and let no collection look again through what stays.

    LiteRT's converter collects in each conversion: what a whole suite has imported would take
    longer than the conversion does.
    """
    gc.collect()
    gc.freeze()


_freeze()

# What a shell starts in the background ignores Ctrl-C, and so do its children: some tests need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="what `make quick` runs")


def pytest_configure(config):
    # Under xdist, where all reports arrive.
    if not hasattr(config, "workerinput") and getattr(config, "cache", None):
        config.pluginmanager.register(quick.Seconds(config.cache))


def pytest_collection_modifyitems(config, items):
    if config.getoption("quick"):
        items[:], left_out = quick.cheapest_first(items, config.cache.get(quick.KEPT, {}))
        config.hook.pytest_deselected(items=left_out)
    else:
        _longest_first(items)
    # TensorFlow looks at the processor alone, and ends the process where oneDNN refuses.
    if onednn_may_use_it() or not processor_flags() & BFLOAT16:
        return
    for item in items:
        if item.get_closest_marker("bfloat16"):
            item.add_marker(pytest.mark.skip("ONEDNN_MAX_CPU_ISA holds oneDNN back from bfloat16"))


def _longest_first(items):
    """Put files with the most `slow` tests first: at the end no worker waits for a long one."""
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.config.getoption("quick") and quick.is_over():
        pytest.skip("`make quick` has no time left")


@pytest.fixture(autouse=True)
def _fixed_seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _no_graph_is_kept():
    """Free what a file has traced: after a thousand trainings it would be gigabytes.

    Keras's optimizer sums gradients over replicas in each step that is traced, and TensorFlow keeps
    the gradient of that sum, with all of its graph, for as long as the process lives. Nothing
    public forgets it.
    """
    yield
    kept = gradient_registry._registry
    for name in [name for name in kept if name.startswith("CustomGradient-")]:
        del kept[name]
    _freeze()


def _improve_graphs(improved):
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not improved})


# Most tests train a moment: to improve a graph takes longer than to run it.
_improve_graphs(False)


@pytest.fixture(scope="module")
def improved_graphs():
    """Graphs as TensorFlow makes them for users: where a test compares one path with another."""
    _improve_graphs(True)
    yield
    _improve_graphs(False)


@pytest.fixture(scope="module")
def no_pictures():
    """Leave an empty file where a run would be drawn: its picture takes a third of a short run."""
    with pytest.MonkeyPatch.context() as patch:
        for each in (export_report, heat_map, report, search_picture):
            patch.setattr(each, "draw", lambda path, *_, **__: Path(path).touch())
        yield


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
    """The documentation site, built as `make docs` builds it, in five seconds."""
    target = tmp_path_factory.mktemp("built")
    script = Path(__file__).parent.parent / "docs" / "build.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(script.parent))
        patch.setenv("COLUMNS", "88")  # It sets them, for pages of helps.
        patch.setattr(sys, "argv", [str(script), "--target", str(target)])
        runpy.run_path(str(script), run_name="__main__")
    return target / "site"
