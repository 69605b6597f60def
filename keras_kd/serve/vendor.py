"""Fetches LiteRT's runtime for browsers from npm, once; the page itself needs no network.

    python -m keras_kd.serve.vendor

Each package is of one version, and its archive must have the integrity hash written here. What
the page needs of them is put beside the page, in a folder that no commit holds: 19 MB.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from keras_kd._common.files import written_whole
from keras_kd.serve.runtime import PACKAGES, STAMP, STATIC, VENDORED, vendored_files

_TRIES = 2  # A registry may hiccup.


def vendor():
    """Fetch, check and unpack what the page needs; leave what is there already as it is.

    Raises:
        OSError: if npm is not installed, or the packages cannot be had.
        ValueError: if an archive is not the one whose hash is written here.
    """
    try:
        return vendored_files()
    except FileNotFoundError:
        pass
    with written_whole(VENDORED) as unfinished:
        unfinished.mkdir()
        for package, (integrity, files) in PACKAGES.items():
            with tempfile.TemporaryDirectory() as folder:
                archive = _packed(package, folder)
                check_integrity(archive, integrity, package)
                _unpack(archive, files, unfinished)
        shutil.copy(STATIC / "litertjs.LICENSE", unfinished / "LICENSE")
        (unfinished / "packages.json").write_text(STAMP)
    return vendored_files()


def check_integrity(archive, integrity, package):
    """Refuse an archive whose SHA-512 is another than `integrity` (as npm writes it) says.

    Raises:
        ValueError: if it is.
    """
    digest = hashlib.sha512(Path(archive).read_bytes()).digest()
    received = f"sha512-{base64.b64encode(digest).decode()}"
    if received != integrity:
        raise ValueError(
            f"The archive of {package} must have the hash {integrity[:20]}... Received: "
            f"{received[:20]}... Nothing was unpacked; try again from a registry that you trust."
        )


def _packed(package, folder):
    """Return the path of a package's archive, fetched by npm into `folder`."""
    if shutil.which("npm") is None:
        raise FileNotFoundError(
            f"npm, which fetches {package} for the page, is not installed. "
            "Install Node.js; on Debian, `apt-get install npm`."
        )
    command = ["npm", "pack", package, "--pack-destination", folder, "--loglevel=error"]
    for _ in range(_TRIES):
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode == 0:
            (archive,) = Path(folder).glob("*.tgz")
            return archive
    reason = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[0]
    raise OSError(f"npm could not fetch {package}, in {_TRIES} tries. Received: {reason}")


def _unpack(archive, files, folder):
    with tarfile.open(archive) as members:
        for inside, name in files.items():
            with members.extractfile(f"package/{inside}") as content:
                (folder / name).write_bytes(content.read())


if __name__ == "__main__":
    try:
        vendor()
    except (OSError, ValueError) as error:
        sys.exit(f"keras_kd.serve.vendor: error: {error}")
