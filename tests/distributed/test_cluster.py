"""`TF_CONFIG` names the workers, or is refused in a sentence."""

import json

import pytest

from keras_kd.distributed.cluster import Cluster

HOSTS = ["one:2222", "[::1]:2222"]


def said(monkeypatch, **parts):
    monkeypatch.setenv("TF_CONFIG", json.dumps(parts))
    return Cluster.of_environment()


def test_a_process_without_a_cluster_is_its_own_chief(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for cluster in (Cluster.of_environment(), said(monkeypatch, cluster={})):
        assert len(cluster) == 1 and cluster.is_chief


def test_a_worker_knows_its_place(monkeypatch):
    cluster = said(monkeypatch, cluster={"worker": HOSTS}, task={"type": "worker", "index": "1"})
    assert (len(cluster), cluster.index, cluster.is_chief) == (2, 1, False)
    assert cluster.place_of(1) == ("::1", 2222)
    assert cluster.named(0) == "worker 0 (one:2222)"
    with_chief = {"chief": HOSTS[:1], "worker": HOSTS[1:]}
    assert said(monkeypatch, cluster=with_chief, task={"type": "worker", "index": 0}).index == 1
    assert said(monkeypatch, cluster=with_chief, task={"type": "chief", "index": 0}).is_chief


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "{, which is none"),
        ("[]", r"Received: \[\]"),
        ({"cluster": {"worker": HOSTS}}, "the task None"),
        ({"cluster": {"worker": HOSTS}, "task": {"index": 0}}, "no type and index"),
        (
            {"cluster": {"worker": HOSTS}, "task": {"type": "worker", "index": 2}},
            "the task worker 2 in a cluster of 2 of type worker",
        ),
        ({"cluster": {"worker": ["one"]}, "task": {"type": "worker", "index": 0}}, "'one'"),
        ({"cluster": {"worker": HOSTS[:1] * 2}, "task": {"type": "worker", "index": 0}}, "twice"),
        ({"cluster": {"worker": HOSTS, "ps": ["a:1"]}, "task": {}}, "a cluster with ps"),
    ],
)
def test_what_names_no_place_is_refused(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(ValueError, match=words) as caught:
        Cluster.of_environment()
    assert str(caught.value).startswith("TF_CONFIG must be JSON that names a cluster")
