"""Who does work that comes in pieces: this machine's processes, a Ray cluster, or another.

A launcher is a function `(work, pieces)` that has `work(piece)` done for each of some pieces,
wherever and in whatever order, and yields each piece when it is done. Work can be pickled, and
may be done twice: what is done by a process that dies is done again by another.

    labels = kd.SoftLabels.create("labels", teacher, data, launcher=kd.launchers.Processes(4))

Its `num_workers`, if it has one, says into how many pieces to cut what can be cut anywhere.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from keras_kd._common.surface import only
from keras_kd.launchers.on_ray import Ray as Ray
from keras_kd.launchers.processes import Processes as Processes

__all__ = ["Processes", "Ray"]
__dir__ = only(__all__)

Launcher = Callable[[Callable[[Any], None], Iterable[Any]], Iterator[Any]]
