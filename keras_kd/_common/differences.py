"""What a folder holds was made with other settings: which, in a sentence."""

import json
import re

from keras_kd._common.checks import ArgumentError

_MOST_SHOWN = 5
_DIGEST = re.compile("[0-9a-f]{12,}")


def differences(there, here, name=""):
    """Return where two values of JSON differ, a few words each.

    Args:
        there: what was.
        here: what is asked for.
        name: what they are called; the names of what dicts hold stand behind it.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        # A serialised object: what it is made of says more than where it was registered.
        names = [each for each in (there | here) if each not in ("module", "registered_name")]
        found = []
        for each in names:
            inner = name if each == "config" else f"{name} {each}".strip()
            found += differences(there.get(each), here.get(each), inner)
        return found
    if there == here or (there in (None, False) and here in (None, False)):
        return []
    if any(isinstance(each, str) and _DIGEST.fullmatch(each) for each in (there, here)):
        return [f"another {name.replace('data digest', 'data')}"]
    return [f"{name.replace('_', ' ')}: {_shown(there)} there, {_shown(here)} here"]


def _shown(value):
    text = value if isinstance(value, str) else json.dumps(value)
    text = {"null": "none", "true": "yes", "false": "no"}.get(text, text)
    return text if len(text) <= 40 else f"{text[:37]}..."


def refuse_others(path, holds, different):
    """Refuse to replace what a folder holds, if it differs from what is asked for.

    Args:
        path: the folder.
        holds: what it holds, such as `"a finished run"`.
        different: of `differences`.

    Raises:
        ArgumentError: if anything differs.
    """
    if not different:
        return
    more = len(different) - _MOST_SHOWN
    what = "; ".join(different[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    raise ArgumentError(
        "A folder must be new, or hold what the same settings made. Received: "
        f"{path}, which holds {holds} of other settings ({what}). Choose another folder, or say "
        "that you mean to replace it: `--overwrite`, in Python `overwrite=True`."
    )
