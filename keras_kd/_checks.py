"""Checks of arguments that more than one module makes."""

import numpy as np


def check_integer(name, value, *, minimum):
    """Refuse what is no integer of at least `minimum`.

    Raises:
        ValueError: in one sentence.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(
            f"`{name}` must be an integer of at least {minimum}. Received: {name}={value!r}."
        )
