"""What a public module shows of itself: its public names, not what they are made with."""


def only(names):
    """Return the `__dir__` of a module that shows these names: `__dir__ = only(__all__)`.

    Imported helpers and submodules stay where they are, for who asks for them by name.
    """
    return lambda: sorted(names)
