"""Work in pieces is done by whatever processes there are, however many of them die."""

import os
import pickle
import signal

import pytest
import warm

from keras_kd import launchers
from keras_kd.launchers import processes


@pytest.fixture(autouse=True)
def begun_in_a_moment(monkeypatch):
    monkeypatch.setattr(processes, "_context", warm._context)


class Work:
    """Notes its pieces in a folder; some end the process, or fail, the first time."""

    def __init__(self, folder, *, killed=(), fails=()):
        self.folder, self.killed, self.fails = folder, killed, fails

    def __call__(self, piece):
        begun = self.folder / f"begun-{piece}"
        is_first = not begun.exists()
        begun.touch()
        if piece in self.killed and (is_first or self.killed.count(piece) > 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if piece in self.fails:
            raise ValueError(f"piece {piece}")
        (self.folder / f"done-{piece}").touch()


def test_every_piece_is_done_once_it_is_yielded_though_processes_are_killed(tmp_path):
    work = Work(tmp_path, killed=(0, 3))
    for piece in launchers.Processes(2)(work, range(5)):
        assert (tmp_path / f"done-{piece}").exists()
    assert len([*tmp_path.glob("done-*")]) == 5


def test_what_fails_or_kills_each_process_is_told(tmp_path):
    with pytest.raises(ValueError, match="piece 1"):
        list(launchers.Processes(1)(Work(tmp_path, fails=(1,)), range(2)))
    with pytest.raises(ChildProcessError, match=r"exit code -9, 3 times over the same piece"):
        list(launchers.Processes(1)(Work(tmp_path, killed=(1, 1)), [1]))
    with pytest.raises(ValueError, match="num_workers"):
        launchers.Processes(0)


def test_one_that_dies_while_it_begins_stops_nobody(tmp_path, monkeypatch):
    started = processes._Worker.__init__
    begun = []

    def killed_at_first(worker):
        started(worker)
        begun.append(worker)
        if len(begun) < 3:
            worker.process.kill()

    monkeypatch.setattr(processes._Worker, "__init__", killed_at_first)
    assert sorted(launchers.Processes(2)(Work(tmp_path), range(3))) == [0, 1, 2]
    assert len(begun) >= 3


def test_what_goes_with_the_start_of_a_process_fits_into_a_pipe(tmp_path, monkeypatch):
    """What does not waits until it is read; if the process dies before, for ever."""
    sizes = []

    class Context:
        Pipe = staticmethod(warm._context.Pipe)

        @staticmethod
        def Process(target, args):
            sizes.extend(len(pickle.dumps(each)) for each in args if isinstance(each, bytes))
            return warm._context.Process(target=target, args=args)

    monkeypatch.setattr(processes, "_context", Context)
    work = Work(tmp_path)
    work.large = bytes(10**7)
    assert [*launchers.Processes(1)(work, range(2))] == [0, 1]
    assert 0 < max(sizes) < 4096


class Interrupts(Work):
    def __call__(self, piece):
        os.kill(os.getpid(), signal.SIGINT)
        super().__call__(piece)


def test_an_interruption_is_left_to_the_one_that_began_them(tmp_path):
    """A terminal sends it to all of them, and each would print its own traceback."""
    assert [*launchers.Processes(1)(Interrupts(tmp_path), range(2))] == [0, 1]


class CannotArrive(Work):
    def __setstate__(self, state):
        raise ValueError("a class that is not here")


def test_work_that_cannot_be_read_there_is_told(tmp_path):
    with pytest.raises(ValueError, match="a class that is not here"):
        list(launchers.Processes(1)(CannotArrive(tmp_path), range(2)))
