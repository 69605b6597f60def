"""The folder of a training, which all workers see and the chief alone holds."""

import contextlib
import json
import time
import uuid

from keras_kd._common.files import written_whole
from keras_kd._common.locks import at_work

# Who reads there the number that the chief wrote sees the same folder.
_NAME = "workers.json"
# Seconds until what one machine wrote into a shared folder is seen by the others.
_SEEN_WITHIN = 60


@contextlib.contextmanager
def shared(folder, exchange):
    """Hold a folder while workers train, and refuse one that not all of them see.

    Args:
        folder: a path, or `None` for none.
        exchange: the `Exchange` of the workers.

    Raises:
        ValueError: on all of them.
    """
    with contextlib.ExitStack() as stack:
        token = 0
        with exchange.together():
            if folder is not None and exchange.cluster.is_chief:
                stack.enter_context(at_work(folder))
                token = _leave_token(folder)
        token = int(exchange.integers_of_all([token])[0, 0])
        with exchange.together():
            if folder is not None:
                _find(folder, token, exchange.cluster)
        yield


def _leave_token(folder):
    token = uuid.uuid4().int >> 65
    with written_whole(folder / _NAME) as unfinished:
        unfinished.write_text(json.dumps({"token": token}))
    return token


def _find(folder, token, cluster):
    deadline = time.monotonic() + _SEEN_WITHIN
    while not _holds(folder, token):
        if time.monotonic() > deadline:
            raise ValueError(
                f"`folder` must be one that all workers see. Received: {folder}, in which "
                f"{cluster.named(cluster.index)} does not find what {cluster.named(0)} wrote. "
                "Name one on a shared disk."
            )
        time.sleep(0.2)


def _holds(folder, token):
    try:
        return json.loads((folder / _NAME).read_text())["token"] == token
    except (OSError, ValueError, KeyError, TypeError):
        return False
