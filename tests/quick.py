"""What `make quick` runs: most tests in a little time, for the loop while writing.

No list of them is kept. Files come by how often a test of theirs trains, converts or begins a
process, as their text says; what is marked `slow` is left out, and so is all that is left when the
time is over.
"""

import collections
import re
import time

SECONDS = 65
_BEGAN = time.monotonic()
_COSTLY = re.compile(
    r"\.(?:fit|compile|export|litert)\(|\b(?:main|distill|export_?\w*|litert|fitted|trained)\("
    r"|subprocess|\bwarm\.|jit_compile|experiment|adversarial|tf\.function"
)


def add_option(parser):
    parser.addoption("--quick", action="store_true", help=f"the cheapest tests, {SECONDS} seconds")


def cheapest_first(items):
    """Return the tests that are not `slow`, file by file, and those that are."""
    chosen = [item for item in items if not item.get_closest_marker("slow")]
    numbers = collections.Counter(item.path for item in chosen)
    costs = {
        path: len(_COSTLY.findall(path.read_text())) / number for path, number in numbers.items()
    }
    # Stable: within a file the order stays.
    chosen.sort(key=lambda item: (costs[item.path], str(item.path)))
    return chosen, [item for item in items if item.get_closest_marker("slow")]


def is_over(now=None):
    """Whether the time is spent."""
    return (time.monotonic() if now is None else now) > _BEGAN + SECONDS
