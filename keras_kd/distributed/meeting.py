"""All workers meet before TensorFlow waits for them, which it does in silence and for ever.

The chief listens at its address, which TensorFlow takes over afterwards. The others tell it who
they are. It answers all at once: that they may begin, or in a sentence why they cannot.
"""

import contextlib
import json
import selectors
import socket
import time

# Seconds between two attempts to reach the chief, and until it is said that somebody is missing.
_PAUSE, _PATIENCE = 0.2, 10
_MOST_BYTES = 100_000


def meet(cluster, about, timeout, say=print):
    """Wait until every worker is there and they agree on what they are.

    Args:
        cluster: a `Cluster` of several.
        about: dict of strings that must be the same on all, such as versions.
        timeout: seconds to wait.
        say: is told in a sentence who is waited for.

    Raises:
        TimeoutError: naming who did not come.
        ValueError: naming what differs, on every worker.
        OSError: if the chief cannot listen at its address.
    """
    deadline = time.monotonic() + timeout
    if cluster.is_chief:
        _receive(cluster, about, deadline, timeout, say)
    else:
        _report(cluster, about, deadline, timeout, say)


def _receive(cluster, about, deadline, timeout, say):
    """Let the others in; answer all when the last one has come."""
    began, said = time.monotonic(), False
    with contextlib.ExitStack() as stack:
        guests = _Guests(stack.enter_context(_listening(cluster)), stack)
        while missing := sorted({*range(1, len(cluster))} - {*guests.here}):
            guests.look()
            if problem := guests.problem(cluster, about):
                guests.answer(problem)
                raise ValueError(problem)
            if time.monotonic() > deadline:
                problem = _not_here(cluster, missing, timeout)
                guests.answer(problem, late=True)
                raise TimeoutError(problem)
            if not said and time.monotonic() - began > _PATIENCE:
                said = True
                say(f"Waiting for {_listed(cluster, missing)}.")
        guests.answer("")
        guests.see_off()


def _listening(cluster):
    host, port = cluster.place_of(0)
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=len(cluster)
            )
        return socket.create_server(("", port), backlog=len(cluster))
    except OSError as error:
        raise OSError(
            f"The chief's port must be free. Received: {host}:{port} ({error.strerror}). End what "
            "listens there, maybe an earlier training, or name another port in TF_CONFIG."
        ) from error


class _Guests:
    """The workers that have come to the chief, each by its number.

    Args:
        listening: the socket that they come to.
        stack: closes what is opened.
    """

    def __init__(self, listening, stack):
        self.listening, self.stack = listening, stack
        self.selector = stack.enter_context(selectors.DefaultSelector())
        self.selector.register(listening, selectors.EVENT_READ)
        self.texts, self.here, self.twice = {}, {}, []

    def look(self):
        """Take in who comes and what they say; forget who goes."""
        for key, _ in self.selector.select(_PAUSE):
            if key.fileobj is self.listening:
                guest, _ = self.listening.accept()
                self.stack.callback(guest.close)
                guest.settimeout(5)
                self.selector.register(guest, selectors.EVENT_READ)
                self.texts[guest] = b""
                continue
            guest = key.fileobj
            part = _received(guest)
            self.texts[guest] += part
            if not part or len(self.texts[guest]) > _MOST_BYTES:
                self._forget(guest)
            elif self.texts[guest].endswith(b"\n"):
                self._know(guest, self.texts[guest])

    def _know(self, guest, text):
        try:
            told = json.loads(text)
            index = told["index"]
            told["about"].items()
        except (ValueError, KeyError, TypeError, AttributeError):
            self._forget(guest)  # None of ours.
            return
        if index in self.here:
            self.twice.append(index)
        self.here[index] = guest, told["about"]

    def _forget(self, guest):
        self.selector.unregister(guest)
        guest.close()
        self.here = {index: each for index, each in self.here.items() if each[0] is not guest}
        del self.texts[guest]

    def problem(self, cluster, about):
        """Return in a sentence what is wrong with those who came, if anything is."""
        if self.twice:
            return (
                "Every worker must have an index of its own in TF_CONFIG. Received: index "
                f"{self.twice[0]} from two processes. End what an earlier training left, or set it."
            )
        for index, (_, theirs) in sorted(self.here.items()):
            for name, own in about.items():
                if theirs.get(name) != own:
                    return (
                        f"Every worker must have the same {name}. Received: {own} on worker 0, "
                        f"{theirs.get(name)} on worker {index}. Make them the same, and start all "
                        "again."
                    )
        return None

    def answer(self, problem, *, late=False):
        """Tell everybody in a sentence what is wrong; empty if nothing is."""
        text = json.dumps({"problem": problem, "late": late}).encode() + b"\n"
        for guest in self.texts:
            with contextlib.suppress(OSError):
                guest.sendall(text)

    def see_off(self):
        """Wait until the others have closed: who closes first keeps the port for a while."""
        for guest in self.texts:
            while _received(guest):
                pass


def _received(guest):
    try:
        return guest.recv(65536)
    except OSError:
        return b""


def _report(cluster, about, deadline, timeout, say):
    """Tell the chief that this worker is there, until it answers."""
    began, said, met = time.monotonic(), False, False
    text = json.dumps({"index": cluster.index, "about": about}).encode() + b"\n"
    while time.monotonic() < deadline:
        answer = b""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(cluster.place_of(0), timeout=5) as line,
        ):
            line.sendall(text)
            met = True
            # The chief ends its own waiting first, and says why.
            line.settimeout(max(1, deadline + 10 - time.monotonic()))
            answer = line.makefile("rb").readline(_MOST_BYTES)
        if answer.endswith(b"\n"):
            found = json.loads(answer)
            if found["problem"]:
                raise (TimeoutError if found["late"] else ValueError)(found["problem"])
            return
        if not said and time.monotonic() - began > _PATIENCE:
            said = True
            say(f"Waiting for {cluster.named(0)}.")
        time.sleep(_PAUSE)
    if met:
        raise TimeoutError(
            f"The chief must wait as long as the others. Received: no answer from "
            f"{cluster.named(0)} for {timeout:g} s. Look at what it says, and start all again."
        )
    raise TimeoutError(_not_here(cluster, [0], timeout))


def _not_here(cluster, missing, timeout):
    return (
        f"All {len(cluster)} workers must be there within {timeout:g} s. Received: nothing from "
        f"{_listed(cluster, missing)}. Look whether it was started, and whether its address in "
        "TF_CONFIG can be reached, or wait longer with `timeout`."
    )


def _listed(cluster, indices):
    named = [cluster.named(index) for index in indices[:5]]
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return ", ".join(named) + more


def gone(cluster):
    """Return the numbers of the workers that nobody answers for at their address."""
    found = []
    for index in range(len(cluster)):
        if index == cluster.index:
            continue
        try:
            socket.create_connection(cluster.place_of(index), timeout=2).close()
        except OSError:
            found.append(index)
    return found
