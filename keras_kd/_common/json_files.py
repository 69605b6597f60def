"""Files of JSON that we wrote, read back: whole and of the shape they must have, or refused."""

import json
import stat
from pathlib import Path

# A run of hours writes a few megabytes.
_MOST_BYTES = 500_000_000
NUMBER = (int, float)


def interval(value):
    """Return whether a value is two numbers; a shape, see `misfit`."""
    return misfit(value, [NUMBER]) is None and len(value) == 2


def read_json(path, shape, *, what, way_out):
    """Return what a JSON file holds, or `None` if there is no file.

    Args:
        path: of the file.
        shape: what it must hold, see `misfit`.
        what: what it is called, such as `"The results of a run"`.
        way_out: a sentence on what to do if it is damaged.

    Raises:
        ValueError: if it cannot be read, is not JSON or not of that shape.
    """
    try:
        found = parsed(path)
        reason = misfit(found, shape)
    except FileNotFoundError:
        return None
    except ValueError as error:
        reason = str(error)
    if reason is not None:
        raise ValueError(f"{what} must be as it was written. Received: {path}, {reason}. {way_out}")
    return found


def parsed(path):
    """Return what the JSON of a file is.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: in a few words, if it cannot be read.
    """
    try:
        found = Path(path).lstat()
        if stat.S_ISLNK(found.st_mode):
            found = Path(path).stat()
        # A pipe would be waited for, for ever.
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("which is no file")
        if found.st_size > _MOST_BYTES:
            raise ValueError(f"which has {found.st_size:,} bytes")
        text = Path(path).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if Path(path).is_symlink():
            raise ValueError("which is a link to nothing") from None
        raise FileNotFoundError(path) from None
    except UnicodeDecodeError:
        raise ValueError("which is no text") from None
    except OSError as error:
        raise ValueError(f"which cannot be read ({error.strerror})") from error
    if not text.strip():
        raise ValueError("which is empty")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("which is damaged: it is no JSON") from None


def misfit(found, shape, where="it"):
    """Return in a few words where a value is not of a shape, `None` if it is.

    Args:
        found: a value of JSON.
        shape: a type; `None`; a list of one shape, for a list of such; a dict of shapes by name,
            where others may stand beside, those of the shape of the key `str` if there is one,
            and a name with a question mark may be missing; a tuple of shapes, for any of them; a
            function that tells whether a value will do.
        where: what the value is called.
    """
    if isinstance(shape, tuple):
        reasons = [misfit(found, each, where) for each in shape]
        return None if None in reasons else reasons[0]
    if isinstance(shape, dict):
        if not isinstance(found, dict):
            return _no(where, found)
        others = shape.get(str, object)
        shape = {name: each for name, each in shape.items() if name is not str}
        missing = [name for name in shape if not name.endswith("?") and name not in found]
        if missing:
            return f"which is damaged: `{missing[0]}` is missing"
        names = {name.removesuffix("?"): each for name, each in shape.items()}
        parts = [(each, names.get(name, others), name) for name, each in found.items()]
    elif isinstance(shape, list):
        if not isinstance(found, list):
            return _no(where, found)
        parts = [(each, shape[0], where) for each in found]
    else:
        if shape is None:
            fits = found is None
        elif isinstance(shape, type):
            # True is an int to Python, and none to anybody else.
            fits = isinstance(found, shape)
            fits = fits and (shape in (bool, object) or not isinstance(found, bool))
        else:
            fits = shape(found)
        return None if fits else _no(where, found)
    return next((reason for part in parts if (reason := misfit(*part)) is not None), None)


def _no(where, found):
    text = json.dumps(found)
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    return f"which is damaged: {where if where == 'it' else f'`{where}`'} is {shown}"
