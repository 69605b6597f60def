"""Checks of arguments, one a kind: the command asks them before it begins, Python's callers too.

Nothing heavy is imported: the command line is judged before Keras is there.
"""

import numbers
import os
import re
import tempfile
from collections.abc import Hashable
from pathlib import Path

from keras_kd._common.files import is_url

# Counters, steps and sizes are 32-bit integers in TensorFlow.
MOST = 2**31 - 1
# NumPy's and Keras's generators take seeds of 32 bits.
MOST_SEED = 2**32 - 1
MOST_PORT = 2**16 - 1
# Of an image, in pixels.
MOST_SIDE = 8192
# A seed is a training of four models; an interval over a thousand is as narrow as it gets.
MOST_SEEDS = 1000
# Each worker is a TensorFlow of its own.
MOST_WORKERS = 256
# Below, logits / T are thousands and one class has it all; above, the softened probabilities of
# two classes differ by less than float32 holds. Both ends leave T * T and 1 / (T * T) finite.
TEMPERATURES = (0.01, 10_000)
# Above 1 the labels count against: at 2 half as much as what the teacher says counts for.
ALPHAS = (0, 2)
# Of Adam: below, float32 weights of ordinary size do not move.
RATES = (1e-12, 1e3)
# Of a loss in a sum: float32 holds its square, and the square of its inverse.
WEIGHTS = (1e-6, 1e6)
# What a file may take; above, float32 no longer tells numbers apart.
BUDGETS = (0, 1e15)


class ArgumentError(ValueError):
    """An argument that could not do, whatever the data: the command's exit code is 2."""


def check_integer(name, value, *, minimum, maximum=MOST):
    """Refuse what is no integer from `minimum` to `maximum`.

    Raises:
        ArgumentError: in one sentence.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < minimum:
        raise ArgumentError(
            f"`{name}` must be an integer of at least {minimum}. Received: {name}={value!r}."
        )
    if value > maximum:
        raise ArgumentError(f"`{name}` must be at most {maximum}. Received: {name}={value!r}.")


def check_seed(value, name="seed"):
    """Refuse what no random generator takes as its seed.

    Raises:
        ArgumentError: in one sentence.
    """
    check_integer(name, value, minimum=0, maximum=MOST_SEED)


def check_number(name, value, bounds, also=""):
    """Refuse what is no number within bounds.

    Args:
        name: of the argument.
        value: what came.
        bounds: the lowest and the highest that are taken.
        also: what is taken beside numbers, for the sentence, such as `" or 'auto'"`.

    Raises:
        ArgumentError: in one sentence.
    """
    if not is_number(value, bounds):
        raise ArgumentError(
            f"`{name}` must be a number {words(bounds)}{also}. Received: {name}={value!r}."
        )


def is_number(value, bounds):
    """Return whether a value is a number within bounds; NaN is within none."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and bounds[0] <= value <= bounds[1]


def check_part(name, value):
    """Refuse what is no number above 0 and below 1.

    Raises:
        ArgumentError: in one sentence.
    """
    if not is_number(value, (0, 1)) or value in (0, 1):
        raise ArgumentError(f"`{name}` must be above 0 and below 1. Received: {name}={value!r}.")


def check_choice(name, value, known):
    """Refuse what is none of the values that are known.

    Raises:
        ArgumentError: in one sentence.
    """
    if not isinstance(value, Hashable) or value not in known:
        names = ", ".join(map(repr, known))
        raise ArgumentError(f"`{name}` must be one of {names}. Received: {name}={value!r}.")


def words(bounds):
    """Return what people call the numbers within bounds."""
    return "from {:g} to {:g}".format(*bounds)


def check_budgets(budgets):
    """Refuse budgets of a file that are none: `{name: number or None}`.

    Raises:
        ArgumentError: in one sentence.
    """
    for name, value in budgets.items():
        if value is not None:
            check_number(name, value, BUDGETS)


def check_text(name, value):
    """Refuse a text of nothing or of blanks alone, and what no path or name holds.

    Raises:
        ArgumentError: in one sentence.
    """
    if not str(value).strip() or "\0" in str(value):
        raise ArgumentError(f"`{name}` must not be empty. Received: {name}={str(value)!r}.")


def check_address(name, value):
    """Refuse what is no address of a Ray cluster, whether or not one is there.

    Raises:
        ArgumentError: in one sentence.
    """
    port = re.fullmatch(r"(?:ray://)?[^\s/]+:(\d+)", str(value))
    if value not in ("auto", "local") and not (port and 0 < int(port[1]) <= MOST_PORT):
        raise ArgumentError(
            f"`{name}` must be auto, local, HOST:PORT or ray://HOST:PORT. Received: "
            f"{name}={value!r}."
        )


def check_writable(name, path, what="a folder"):
    """Refuse a path where nothing could be made or written; what is made to see it goes again.

    Args:
        name: of the argument.
        path: of a folder, there or not, or of a file that is not there.
        what: it is to be, for the sentence.

    Raises:
        ArgumentError: in one sentence.
    """
    if is_url(path):
        raise ArgumentError(
            f"`{name}` must be {what} on this machine. Received: {path}. Write it here and copy it."
        )
    whole = Path(os.path.abspath(path))  # No ".." leads out of where it is tried.
    there = next(each for each in (whole, *whole.parents) if os.path.lexists(each))
    try:
        with tempfile.TemporaryDirectory(prefix=".keras_kd.", dir=there) as probe:
            Path(probe, whole.relative_to(there)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"`{name}` must be {what} that can be written to. Received: {path} ({error.strerror})."
        ) from error
