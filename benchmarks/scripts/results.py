"""All raw results of an experiment in one file, `benchmarks/results/<experiment>.json`.

Used by the scripts of this folder as `from results import read, update`, and by those beside it
(`benchmarks/atlas.py`) as `from scripts.results import read, update`.
"""

import json
from pathlib import Path

import filelock

from keras_kd._common.files import written_whole

RESULTS = Path(__file__).parent.parent / "results"


def read(experiment, folder=RESULTS):
    """Return what is kept of an experiment, `{}` if nothing is."""
    path = Path(folder) / f"{experiment}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def update(experiment, key, value, folder=RESULTS):
    """Keep one value and leave all others, also those that other processes write meanwhile.

    Args:
        experiment: name of the file.
        key: where in it, a string, or several for a place further in: `["mnist_dafl", "0"]`.
        value: what can be written as JSON; it takes the place of what was there.
        folder: where the file is; a trial's own folder keeps the measured ones as they are.
    """
    path = Path(folder) / f"{experiment}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    *outer, last = [key] if isinstance(key, str) else map(str, key)
    with filelock.FileLock(path.with_name(f".{path.name}.lock")):
        found = inner = read(experiment, folder)
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
        # Sorted, so that rows added in two checkouts rarely meet in one place.
        text = json.dumps(dict(sorted(found.items())), indent=1) + "\n"
        with written_whole(path) as unfinished:
            unfinished.write_text(text)
