"""Workers of a Ray cluster that do work in pieces."""

import contextlib
import dataclasses
import logging
import os
import pickle
import platform
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from keras_kd._common.backend import quiet_native_stderr, require_extra, versions
from keras_kd._common.checks import check_address, check_integer
from keras_kd._common.model_files import first_sentence
from keras_kd.device import use_device
from keras_kd.launchers.processes import as_sent, count_death

# Ray itself tries for many minutes to reach a cluster that is not there.
_SECONDS_TO_REACH, _SECONDS_TO_CONNECT = 10, 30
# Ray's own trainer of TensorFlow chooses the Keras before 3 for whatever it starts.
_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_USE_LEGACY_KERAS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


@dataclasses.dataclass(frozen=True)
class Ray:
    """Workers of a Ray cluster. It needs the extra `ray`.

    A worker is a process that does one piece after the other. Where one dies, or its machine,
    another begins wherever there is room, and what it had begun is done again. All machines have
    one version of what computes, and see what work names, such as folders, under the same path.

    Where the caller is connected already, by `ray.init`, that cluster is taken.

    Args:
        address: of the cluster: `"auto"` for the one of this machine, `"10.0.0.1:6379"`,
            `"ray://10.0.0.1:10001"`; or `"local"` for this machine alone, while the work lasts.
        num_workers: how many, at least 1. `None` for one a GPU, or one a machine if no machine
            has any.
    """

    address: str = "auto"
    num_workers: int | None = None

    def __post_init__(self):
        check_address("address", self.address)
        if self.num_workers is not None:
            check_integer("num_workers", self.num_workers, minimum=1)

    def check_reachable(self) -> None:
        """Refuse an address at which nobody listens; of `"auto"` Ray alone knows.

        Raises:
            ConnectionError: in one sentence.
        """
        _check_reachable(self.address)

    def __call__(self, work: Callable[[Any], None], pieces: Iterable[Any]) -> Iterator[Any]:
        """Have work done, and yield each piece when it is.

        Raises:
            ImportError: if Ray is not installed here, or what work needs is not there.
            ConnectionError: if there is no cluster.
            Exception: what `work` raised.
            ChildProcessError: if workers die over a piece, or at their start, again and again.
        """
        waiting, deaths = list(pieces)[::-1], {}
        if not waiting:
            return
        with _connected(self.address) as ray:
            new, count = _actors(ray, self.num_workers)
            # In a list it is fetched by whom it is sent to.
            given = versions(), place(), [ray.put(_packed(ray, work))]
            actors = [new.remote() for _ in range(min(count, len(waiting)))]
            # By what is awaited: of which actor, and the piece; `None` is that it begins.
            awaited = {each.begin.remote(*given): (n, None) for n, each in enumerate(actors)}
            idle, deaths_at_start = [], [{} for _ in actors]
            try:
                while waiting or any(piece is not None for _, piece in awaited.values()):
                    while waiting and idle:
                        number, piece = idle.pop(), waiting.pop()
                        awaited[actors[number].do.remote(piece)] = number, piece
                    answer = ray.wait([*awaited])[0][0]
                    number, piece = awaited.pop(answer)
                    try:
                        error = ray.get(answer)
                    except ray.exceptions.RayError as death:
                        how = f"{type(death).__name__} of Ray's"
                        if piece is None:
                            count_death(deaths_at_start[number], None, how)
                        else:
                            waiting.append(piece)
                            count_death(deaths, piece, how)
                        # NOTE: Ray itself could start it again, but answers for whom it cannot
                        # reach at once, again and again. A new one waits until there is room.
                        ray.kill(actors[number])
                        actors[number] = new.remote()
                        awaited[actors[number].begin.remote(*given)] = number, None
                        continue
                    if error is not None:
                        raise error
                    idle.append(number)
                    if piece is None:
                        deaths_at_start[number].clear()
                    else:
                        yield piece
            finally:
                for actor in actors:
                    ray.kill(actor)


def _actors(ray, num_workers):
    """Return the class whose instances are workers, and how many of them there are to be."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    num_gpus = sum(int(each.get("GPU", 0)) for each in machines)
    num_machines = sum(each.get("CPU", 0) >= 1 for each in machines)

    # NOTE: Ray sends it as it is, not by its name, since it is within a function: it can tell that
    # there is no keras_kd, or another.
    class Worker:
        def begin(self, *given):
            """Fetch the work; return what went wrong."""
            import socket

            try:
                from keras_kd.launchers import on_ray
            except ImportError as error:
                return ImportError(
                    "Each machine must have keras_kd as the one that shares the work has. "
                    f"Received: {error}, on {socket.gethostname()}. Install it there."
                )
            self.work, error = on_ray.arrived(*given)
            return error

        def do(self, piece):
            """Do a piece; return what went wrong."""
            return self.work(piece)

    options = {
        "num_cpus": 1,
        "num_gpus": 1 if num_gpus else 0,
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": _ENVIRONMENT},
    }
    return ray.remote(**options)(Worker), num_workers or num_gpus or max(1, num_machines)


def place():
    """Return the folder in which this process is, and where it looks for modules."""
    return os.getcwd(), sys.path


def arrived(wanted, place, sent):
    """Return what a worker calls for a piece, and an error, one of which is `None`.

    Args:
        wanted: the versions of who shares the work.
        place: of that, from `place`: relative paths and modules are the same.
        sent: a list of the reference to what `_packed` made.
    """
    import ray

    found = versions()
    others = [name for name in wanted if found.get(name) != wanted[name]]
    if others:
        name = others[0]
        return None, ImportError(
            f"Each machine must have the versions of who shares the work. Received: {name} "
            f"{found.get(name)} on {platform.node()}, {wanted[name]} here. Install the same."
        )
    try:
        with quiet_native_stderr():
            use_device("auto")  # What Ray gave it.
            folder, paths = place
            with contextlib.suppress(OSError):  # Nothing may be there that is needed.
                os.chdir(folder)
            sys.path += [path for path in paths if path not in sys.path]
            pickled, buffers = ray.get(sent[0])
            work = pickle.loads(pickled, buffers=buffers)
    except Exception as error:
        return None, _told(error)

    def do(piece):
        try:
            work(piece)
        except Exception as error:
            return _told(error)
        return None

    return do, None


def _packed(ray, work):
    """Return work as bytes, and its arrays, which all workers of a machine then have once."""
    buffers = []
    # What stands in a script goes along, as Ray's own functions do.
    pickled = ray.cloudpickle.dumps(work, protocol=5, buffer_callback=buffers.append)
    return pickled, [np.frombuffer(each, np.uint8) for each in buffers]


def _told(error):
    """Return an exception that can be sent, and names the machine if it may be about that."""
    for kind in (ImportError, OSError, ValueError):
        if isinstance(error, kind):
            return kind(f"{str(error).rstrip('.')}. That was on {platform.node()}.")
    return as_sent(error)


@contextlib.contextmanager
def _connected(address):
    """Yield `ray`, connected; leave the cluster, unless the caller had entered it before."""
    require_extra("ray", "ray", "A Ray cluster")
    import ray

    if ray.is_initialized():
        yield ray
        return
    _check_reachable(address)
    _connect(ray, address)
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address):
    """Refuse an address at which nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_REACH).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _connect(ray, address):
    """Connect, or say that it takes too long. What is done about signals stays."""
    failed = []

    def connect(**options):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:
            failed.append(error)

    if address == "local":  # Its processes end with the thread that begins them.
        handler = signal.getsignal(signal.SIGTERM)
        connect(include_dashboard=False)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    else:
        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        thread.join(_SECONDS_TO_CONNECT)
        if thread.is_alive():
            raise _no_cluster(address, f"no Ray answered within {_SECONDS_TO_CONNECT} s")
    if failed:
        raise _no_cluster(address, failed[0]) from failed[0]


def _no_cluster(address, reason):
    if isinstance(reason, Exception):
        reason = first_sentence(reason)
    return ConnectionError(
        f"`address` must be that of a Ray cluster. Received: {address} ({reason}). Begin one with "
        "`ray start --head`, or say `local` for this machine alone. Where a cluster asks for a "
        "token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
    )
