"""Where the study of a search may lie, and what of its URL may be written down: no password."""

import os
import re
from pathlib import Path

from keras_kd._common.checks import ArgumentError, check_text, check_writable

# Holds the whole URL, where the one that was written down has its password hidden.
VARIABLE = "KERAS_KD_STORAGE"

_HIDDEN = "***"
# The password as SQLAlchemy finds it, and what follows it where it holds an @ of its own. A user
# may have one as well, as in `user@server:password@host`.
_IN_FRONT = re.compile(r"(://[^:/]*:)[^@]*(?:@[^@/?]*(?=@))*@")
_IN_QUERY = re.compile(
    r"([?&;][^=&;]*(?:pass|pwd|secret|token|key|odbc_connect)[^=&;]*=)[^&]*", re.IGNORECASE
)


def without_password(text):
    """Return a text with the passwords of the URLs in it replaced by `***`."""
    return _IN_QUERY.sub(rf"\1{_HIDDEN}", _IN_FRONT.sub(rf"\1{_HIDDEN}@", text))


def with_password(storage):
    """Return a storage as it is opened: a hidden password comes from the environment.

    Args:
        storage: as in `experiment.search`, maybe as `without_password` left it.

    Raises:
        ArgumentError: if the environment holds no URL, or that of another database.
    """
    if storage is None or "://" not in str(storage) or _HIDDEN not in str(storage):
        return storage
    whole = os.environ.get(VARIABLE, "")
    if without_password(whole) != without_password(str(storage)):
        what = f"{VARIABLE}={without_password(whole)}" if whole else f"no {VARIABLE}"
        raise ArgumentError(
            f"The password of `storage` is not written down: the environment variable {VARIABLE} "
            f"must hold the whole URL. Received: {without_password(str(storage))} and {what}."
        )
    return whole


def check_storage(storage):
    """Refuse a storage that could not be opened, without opening it.

    Args:
        storage: as in `experiment.search`.

    Raises:
        ArgumentError: if it is no path of a file that could be written, its scheme is unknown or
            its driver is not installed.
    """
    if storage is None:
        return
    storage = str(with_password(storage))
    check_text("storage", storage)
    if "://" in storage:
        _check_url(storage)
        return
    if storage.endswith(os.sep) or (os.path.lexists(storage) and not os.path.isfile(storage)):
        raise ArgumentError(
            f"`storage` must be a file or a URL. Received: {storage}, another thing."
        )
    if os.path.isfile(storage) and not _is_journal(storage):
        raise ArgumentError(
            "`storage` must be a new file or the journal of a search. Received: "
            f"{storage}, which holds something else. Name another file."
        )
    place = Path(storage).absolute().parent if os.path.isfile(storage) else storage
    check_writable("storage", place, "a file")


def _is_journal(path):
    """Return whether a file is empty or begins like a journal of Optuna's."""
    with open(path, "rb") as file:
        first = file.readline(10_000)
    return not first or first.startswith(b'{"op_code"')


def _check_url(storage):
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError as NoURL
    from sqlalchemy.exc import NoSuchModuleError

    wanted = "`storage` must be the path of a journal file or the URL of a database"
    shown = without_password(storage)
    try:
        dialect = make_url(storage).get_dialect()
    except (NoURL, NoSuchModuleError, ValueError) as error:
        raise ArgumentError(
            f"{wanted}, such as sqlite:///search.db. Received: {shown}, of a kind that SQLAlchemy "
            "does not know."
        ) from error
    try:
        dialect.import_dbapi()
    except ImportError as error:
        raise ArgumentError(
            f"{wanted} whose driver is installed. Received: {shown}, which needs the package "
            f"`{error.name}`. Install it, or use a journal file."
        ) from error
    if dialect.name == "sqlite":
        path = make_url(storage).database
        if path in (None, "", ":memory:"):
            raise ArgumentError(
                f"{wanted} that outlives this process. Received: {shown}, in memory. Name a file, "
                "such as sqlite:///search.db."
            )
        if not path.startswith("file:"):
            folder = os.path.dirname(os.path.abspath(path))
            if os.path.isdir(path) or not os.access(folder, os.W_OK):
                raise ArgumentError(
                    f"{wanted} that can be written to. Received: {shown}, a folder or in none "
                    "that is there."
                )
