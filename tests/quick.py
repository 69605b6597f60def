"""What `make quick` runs: as many tests as a little time holds, for the loop while writing.

The list keeps itself. Files whose tests took least when they last ran here come first; one that
never ran here is judged by how often its text trains, converts or begins a process. What is marked
`slow` is left out, and so is all that is left when the time is over.
"""

import collections
import re
import time

SECONDS = 60
# Where pytest's own cache keeps `{file: [seconds, tests]}`.
KEPT = "quick/seconds"
_BEGAN = time.monotonic()
_COSTLY = re.compile(
    r"\.(?:fit|compile|export|litert)\(|\b(?:main|distill|export_?\w*|litert|fitted|trained)\("
    r"|subprocess|\bwarm\.|jit_compile|experiment|adversarial|tf\.function|\bsite\b|syspath_prepend"
)


def cheapest_first(items, seconds):
    """Return the tests that are not `slow`, file by file, and those that are.

    Args:
        items: tests as pytest has collected them.
        seconds: what is kept of former runs.
    """
    chosen = [item for item in items if not item.get_closest_marker("slow")]
    numbers = collections.Counter(item.path for item in chosen)
    costs = {path: _seconds_of_a_test(path, numbers[path], seconds) for path in numbers}
    # Stable: within a file the order stays.
    chosen.sort(key=lambda item: (costs[item.path], str(item.path)))
    return chosen, [item for item in items if item.get_closest_marker("slow")]


def _seconds_of_a_test(path, number, seconds):
    for file, (took, tests) in seconds.items():
        if path.as_posix().endswith(f"/{file}"):
            return took / tests
    return len(_COSTLY.findall(path.read_text())) / number


def is_over(now=None):
    """Whether the time is spent."""
    return (time.monotonic() if now is None else now) > _BEGAN + SECONDS


class Seconds:
    """Counts what the tests of each file take, and keeps it with what is known of the others."""

    def __init__(self, cache):
        self.cache, self.took = cache, collections.defaultdict(lambda: [0.0, 0])

    def pytest_runtest_logreport(self, report):
        if not report.skipped and "slow" not in report.keywords:
            took = self.took[report.nodeid.partition("::")[0]]
            took[0] += report.duration
            took[1] += report.when == "call"

    def pytest_sessionfinish(self):
        ran = {file: [round(took, 3), tests] for file, (took, tests) in self.took.items() if tests}
        self.cache.set(KEPT, {**self.cache.get(KEPT, {}), **ran})
