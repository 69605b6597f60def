"""What things of ours say that they are: the call that makes them, with arrays by their shapes."""

import re

_OF_EVERY_LOSS = {"reduction": "sum_over_batch_size"}


def call_of(thing, **arguments):
    """Return `Class(name=value, ...)`.

    Args:
        thing: an object.
        **arguments: what it was made with.
    """
    said = ", ".join(f"{name}={_said(value)}" for name, value in arguments.items())
    return f"{type(thing).__name__}({said})"


def call_of_configured(thing):
    """Return `call_of` an object that has a configuration, without what is as always.

    Args:
        thing: what keeps each entry of its `get_config()` under its own name.
    """
    as_always = {"name": in_small_letters(type(thing).__name__), **_OF_EVERY_LOSS}
    values = {name: getattr(thing, name, known) for name, known in thing.get_config().items()}
    usual = {name for name, value in as_always.items() if values.get(name) == value}
    return call_of(thing, **{name: values[name] for name in values if name not in usual})


def in_small_letters(name):
    """Return the name of a class as that of a loss: `soft_targets` for `SoftTargets`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _said(value):
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{getattr(value.dtype, 'name', value.dtype)} [{', '.join(map(str, value.shape))}]"
    if type(value).__module__.startswith("keras.") and hasattr(value, "get_config"):
        return call_of(value, **value.get_config())
    return getattr(value, "__name__", None) or repr(value)
