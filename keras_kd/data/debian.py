"""Files of Debian packages, fetched by name and unpacked without root."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from keras_kd._common.files import keras_home, move

# Of one call: `apt-get` reads its lists at each, which takes a second.
_AT_A_TIME = 32


class Place(os.PathLike):
    """A path below the folder of a recipe, looked up when it is used.

    That folder is the first one of its name in those that KERAS_KD_DATA names, or else in
    `~/.keras/datasets`.

    Args:
        recipe: its name.
        *names: of folders below, and of a file.
    """

    def __init__(self, recipe, *names):
        self.recipe = recipe
        self.names = names

    def __fspath__(self):
        folders = filter(None, os.environ.get("KERAS_KD_DATA", "").split(os.pathsep))
        home = keras_home() / "datasets"
        found = next((each for each in folders if Path(each, self.recipe).is_dir()), home)
        return str(Path(found, self.recipe, *self.names))


def unpacked(names, folder, say=lambda _: None):
    """Fetch packages that are not in a folder yet, and unpack each into a folder of its own.

    Nothing is installed, and no script of a package runs.

    Args:
        names: of the packages.
        folder: where they are unpacked to, as `folder/<name>`; each whole or not at all.
        say: is told in a line what takes time.

    Returns:
        The folders, in the order of the names.

    Raises:
        FileNotFoundError: if this is no machine of Debian's kind.
        OSError: if a package cannot be fetched.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not (folder / name).is_dir()]
    for tool in ("apt-get", "dpkg"):
        if missing and shutil.which(tool) is None:
            raise FileNotFoundError(
                f"Packages are fetched by `apt-get` and unpacked by `dpkg`. Received: a machine "
                f"without {tool}. Use Debian or Ubuntu, or folders of your own."
            )
    for start in range(0, len(missing), _AT_A_TIME):
        some = missing[start : start + _AT_A_TIME]
        say(f"Packages {start + 1} to {start + len(some)} of {len(missing)}")
        with tempfile.TemporaryDirectory(prefix=".unfinished.", dir=folder) as unfinished:
            _call(["apt-get", "download", "--quiet", *some], unfinished, some)
            for name in some:
                (file,) = Path(unfinished).glob(f"{name}_*.deb")
                _call(["dpkg", "--extract", file.name, name], unfinished, [name])
                move(Path(unfinished) / name, folder / name)
    return [folder / name for name in names]


def _call(command, folder, names):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise OSError(
            f"{', '.join(names)} must be packages that `{command[0]}` gives. Received: {reason}. "
            "Say `apt-get update` as root, look at the network, or use folders of your own."
        )
