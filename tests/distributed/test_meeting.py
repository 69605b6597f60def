"""Workers wait for each other as long as they are told, and learn why it goes no further."""

import socket
import threading

import pytest

from keras_kd.distributed import meeting
from keras_kd.distributed.cluster import Cluster
from keras_kd.distributed.meeting import gone, meet

ABOUT = {"version of keras": "3"}


@pytest.fixture
def addresses():
    ends = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    addresses = tuple(f"127.0.0.1:{end.getsockname()[1]}" for end in ends)
    for end in ends:
        end.close()
    return addresses


def met(workers, timeout=20.0):
    """Let workers meet, each in a thread; return what was raised on each, or `None`.

    Args:
        workers: `(cluster, about)` of each.
        timeout: seconds.
    """
    raised = [None] * len(workers)

    def run(number):
        try:
            meet(*workers[number], timeout, say=lambda text: None)
        except Exception as error:
            raised[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(workers))]
    for thread in reversed(threads):  # The chief comes last.
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_all_begin_once_the_last_has_come(addresses):
    assert met([(Cluster(addresses, index), ABOUT) for index in range(3)]) == [None] * 3
    # The port is free again, for TensorFlow.
    socket.create_server(("127.0.0.1", Cluster(addresses).place_of(0)[1])).close()


def test_who_is_missing_is_named_to_all_who_came(addresses):
    first, other = met([(Cluster(addresses, index), ABOUT) for index in range(2)], timeout=0.5)
    assert f"nothing from worker 2 ({addresses[2]})" in str(first)
    assert isinstance(first, TimeoutError) and isinstance(other, TimeoutError)
    assert str(other) == str(first)


def test_a_missing_chief_is_named_and_said_to_be_waited_for(addresses, monkeypatch):
    monkeypatch.setattr(meeting, "_PATIENCE", 0)
    said = []
    with pytest.raises(TimeoutError, match=r"nothing from worker 0 \(127"):
        meet(Cluster(addresses, 1), ABOUT, 0.3, say=said.append)
    assert said == [f"Waiting for worker 0 ({addresses[0]})."]


def test_workers_that_differ_are_refused_on_all(addresses):
    others = {"version of keras": "4"}
    for error in met([(Cluster(addresses[:2]), ABOUT), (Cluster(addresses[:2], 1), others)]):
        assert "same version of keras. Received: 3 on worker 0, 4 on worker 1" in str(error)
    same = [(Cluster(addresses, index), ABOUT) for index in (0, 1, 1)]
    for error in met(same):
        assert "index 1 from two processes" in str(error)


def test_what_else_comes_to_the_port_disturbs_nobody(addresses):
    chief = Cluster(addresses[:2])

    def stranger():
        for text in (b"GET / HTTP/1.1\r\n", b"{}\n", b""):
            for _ in range(50):
                try:
                    with socket.create_connection(chief.place_of(0), timeout=1) as line:
                        line.sendall(text)
                    break
                except OSError:
                    threading.Event().wait(0.02)

    thread = threading.Thread(target=stranger)
    thread.start()
    late = threading.Timer(0.5, meet, [Cluster(addresses[:2], 1), ABOUT, 20])
    late.start()
    meet(chief, ABOUT, 20)
    late.join()
    thread.join()


def test_a_port_that_is_taken_is_named(addresses):
    taken = socket.create_server(("", Cluster(addresses).place_of(0)[1]))
    with taken, pytest.raises(OSError, match="The chief's port must be free"):
        meet(Cluster(addresses), ABOUT, 1)


def test_those_who_no_longer_answer_are_known(addresses):
    with socket.create_server(("127.0.0.1", Cluster(addresses).place_of(1)[1])):
        assert gone(Cluster(addresses)) == [2]
