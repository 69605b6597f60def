"""Which machines train together: what `TF_CONFIG` says."""

import dataclasses
import json
import os

_EXAMPLE = (
    'Set it to {"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
    '"task": {"type": "worker", "index": 0}}, with the index of each worker.'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a training, and which of them this process is.

    Args:
        addresses: `"host:port"` of each worker in order; none for a process by itself.
        index: the number of this one. Worker 0 is the chief, who writes.
    """

    addresses: tuple = ()
    index: int = 0

    def __len__(self):
        return max(1, len(self.addresses))

    @property
    def is_chief(self):
        """Whether this worker is the one that writes."""
        return self.index == 0

    def named(self, index):
        """Return what to call a worker in a sentence."""
        where = f" ({self.addresses[index]})" if self.addresses else ""
        return f"worker {index}{where}"

    def place_of(self, index):
        """Return `(host, port)` of a worker."""
        host, _, port = self.addresses[index].rpartition(":")
        return host.strip("[]"), int(port)

    @classmethod
    def of_environment(cls):
        """Return what `TF_CONFIG` says; a process by itself where it is not set.

        Raises:
            ValueError: if it names no cluster, or no place in it for this process.
        """
        text = os.environ.get("TF_CONFIG", "")
        if not text.strip():
            return cls()
        try:
            found = json.loads(text)
        except ValueError as error:
            raise _bad(f"{_short(text)}, which is none") from error
        if not isinstance(found, dict) or not isinstance(found.get("cluster", {}), dict):
            raise _bad(_short(text))
        cluster = {job: hosts for job, hosts in found.get("cluster", {}).items() if hosts}
        if not cluster:
            return cls()
        if other := sorted({*cluster} - {"chief", "worker"}):
            raise _bad(f"a cluster with {', '.join(other)}, where every machine is a worker")
        addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
        _check_addresses(addresses)
        return cls(tuple(addresses), _index_of(found.get("task"), cluster))


def _check_addresses(addresses):
    for address in addresses:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isdigit() or not 0 < int(port) < 2**16:
            raise _bad(f"the address {address!r}, which is no host:port")
    if len({*addresses}) < len(addresses):
        raise _bad(f"an address twice, in {', '.join(addresses)}")


def _index_of(task, cluster):
    """Return the place of a task among all workers."""
    if not isinstance(task, dict) or not {"type", "index"} <= {*task}:
        raise _bad(f"the task {task!r}, which is no type and index")
    kind, index = task["type"], task["index"]
    if isinstance(index, str) and index.isdigit():
        index = int(index)
    hosts = cluster.get(kind, []) if isinstance(kind, str) else []
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(hosts):
        there = ", ".join(f"{len(each)} of type {job}" for job, each in cluster.items())
        raise _bad(f"the task {kind} {index!r} in a cluster of {there}")
    return index + (len(cluster.get("chief", [])) if kind == "worker" else 0)


def _bad(what):
    return ValueError(
        "TF_CONFIG must be JSON that names a cluster and this process's place in it. "
        f"Received: {what}. {_EXAMPLE}"
    )


def _short(text):
    return text if len(text) <= 60 else f"{text[:57]}..."
