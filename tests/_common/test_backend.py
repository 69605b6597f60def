"""What must be set before TensorFlow is imported, and what is said of it."""

import os
import sys

import pytest

from keras_kd._common import backend

SWITCH = "TF_ENABLE_ONEDNN_OPTS"


def chosen_on(monkeypatch, flags, told=None, imported=False):
    """Return the switch after `choose_onednn` on a processor of these flags."""
    monkeypatch.setattr(backend, "processor_flags", lambda: {"sse", *flags})
    monkeypatch.delenv(SWITCH, raising=False)
    if told is not None:
        monkeypatch.setenv(SWITCH, told)
    if not imported:
        monkeypatch.delitem(sys.modules, "tensorflow")
    backend.choose_onednn()
    found = os.environ.get(SWITCH)
    monkeypatch.setenv(SWITCH, "")  # So that it is taken away at the end.
    return found


def test_onednn_is_turned_on_for_avx2_alone(monkeypatch):
    assert chosen_on(monkeypatch, {"avx2", "fma"}) == "1"


@pytest.mark.parametrize("flags", [{"avx"}, {"avx2", "avx512f"}, {"avx2", "avx_vnni"}, set()])
def test_elsewhere_tensorflow_chooses(flags, monkeypatch):
    assert chosen_on(monkeypatch, flags) is None


@pytest.mark.parametrize("told", ["0", "1"])
def test_what_the_user_said_of_onednn_stands(told, monkeypatch):
    assert chosen_on(monkeypatch, {"avx2"}, told=told) == told


def test_onednn_is_left_where_tensorflow_was_imported(monkeypatch):
    assert chosen_on(monkeypatch, {"avx2"}, imported=True) is None


@pytest.mark.parametrize(
    ("told", "said"), [("1", ", oneDNN on)"), ("0", ", oneDNN off)"), (None, " cores)")]
)
def test_the_line_of_the_device_says_what_tensorflow_was_told(told, said, monkeypatch):
    monkeypatch.setattr("tensorflow.config.get_visible_devices", lambda kind: [])
    monkeypatch.delenv(SWITCH, raising=False)
    if told is not None:
        monkeypatch.setenv(SWITCH, told)
    assert backend.describe_device().endswith(said)
