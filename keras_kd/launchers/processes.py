"""Processes of this machine that do work in pieces."""

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from keras_kd._common.checks import check_integer
from keras_kd.device import call_in_new_process, visible_gpus

# A process that was killed is replaced; not if as many die one after the other over one piece, or
# before any of them is ready.
_MOST_DEATHS = 3
# Not forked: TensorFlow does not survive that.
_context = multiprocessing.get_context("spawn")


@dataclasses.dataclass(frozen=True)
class Processes:
    """Processes of this machine, each begun anew: a script that uses them needs its
    `if __name__ == "__main__":`.

    One that is killed is replaced, and what it had begun is done again. Where the one that began
    them is killed, they end.

    Args:
        num_workers: how many, at least 1.
    """

    num_workers: int

    def __post_init__(self):
        check_integer("num_workers", self.num_workers, minimum=1)

    def __call__(self, work: Callable[[Any], None], pieces: Iterable[Any]) -> Iterator[Any]:
        """Have work done, and yield each piece when it is.

        Raises:
            Exception: what `work` raised.
            ChildProcessError: if processes die over a piece, or at their start, again and again.
        """
        waiting, deaths = list(pieces)[::-1], {}
        pickled = pickle.dumps(work)
        workers = {}
        try:
            while left := len(waiting) + sum(each.piece is not None for each in workers.values()):
                while len(workers) < min(left, self.num_workers):
                    worker = _Worker()
                    workers[worker.connection] = worker
                for worker in workers.values():
                    if waiting and worker.is_ready and worker.piece is None:
                        worker.begin(waiting.pop())
                for connection in multiprocessing.connection.wait([*workers]):
                    worker = workers[connection]
                    try:
                        error = connection.recv()
                    except (EOFError, OSError):  # It died.
                        workers.pop(connection).end()
                        if worker.piece is not None:
                            waiting.append(worker.piece)
                        if worker.piece is not None or not worker.is_ready:
                            how = f"exit code {worker.process.exitcode}"
                            count_death(deaths, worker.piece, how)
                        continue
                    if not worker.is_ready:
                        deaths.pop(None, None)
                        worker.take(pickled)
                        continue
                    if error is not None:
                        raise error
                    piece, worker.piece = worker.piece, None
                    yield piece
        finally:
            for worker in workers.values():
                worker.end()


class _Worker:
    """A process, the piece that it works on, and the line to it."""

    def __init__(self):
        self.connection, theirs = _context.Pipe()
        self.is_ready, self.piece = False, None
        # NOTE: Nothing large goes with its start: where a process dies before it has read that, the
        # one that writes it waits for ever, since it holds the other end itself.
        self.process = _context.Process(
            target=call_in_new_process,
            args=(pickle.dumps((_work_on, None)), visible_gpus(), theirs),
        )
        self.process.start()
        theirs.close()  # It is theirs alone: its end is seen here.

    def take(self, pickled):
        """Send the work, once the process says that it reads."""
        self.is_ready = True
        with contextlib.suppress(OSError):  # It died; `recv` says so.
            self.connection.send_bytes(pickled)

    def begin(self, piece):
        self.piece = piece
        with contextlib.suppress(OSError):  # It died; `recv` says so.
            self.connection.send(piece)

    def end(self):
        self.process.kill()  # What it writes appears whole or not at all.
        self.process.join()
        self.connection.close()


def count_death(deaths, piece, how):
    """Count a death over a piece, or before a process was ready.

    Args:
        deaths: how many there were, by piece; `None` for those that were not ready.
        piece: what the one that died had begun, or `None`.
        how: it died, in words.

    Raises:
        ChildProcessError: if it is the last one that is borne.
    """
    deaths[piece] = deaths.get(piece, 0) + 1
    if deaths[piece] == _MOST_DEATHS:
        over = "before they began" if piece is None else "over the same piece"
        raise ChildProcessError(
            f"The processes that share work must end by themselves. Received: {how}, "
            f"{_MOST_DEATHS} times {over}. Look for what ended them, such as memory, or a script "
            'without `if __name__ == "__main__":`, and begin again: what is done stays.'
        )


def _work_on(_, connection):
    end_with_parent()
    # A terminal interrupts all: the one that began them tells it, and ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(None)
    pickled, work = connection.recv_bytes(), None
    while True:
        try:
            piece = connection.recv()
        except EOFError:
            return
        try:
            work = work or pickle.loads(pickled)  # What fails here is told as well.
            work(piece)
        except Exception as error:
            connection.send(as_sent(error))
        else:
            connection.send(None)


def as_sent(error):
    """Return an exception that can be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def end_with_parent():
    """End this process when the one that began it is killed."""

    def watch():
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
