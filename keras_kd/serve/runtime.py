"""LiteRT's runtime for browsers: which packages of npm it is, and whether it lies here."""

import json
from pathlib import Path

STATIC = Path(__file__).parent / "static"
VENDORED = STATIC / "vendor"

# Package at a version: its integrity hash as npm gives it, and what the page needs of it.
# `internal` is for browsers with relaxed SIMD, `compat` for the others.
PACKAGES = {
    "@litertjs/core@2.5.3": (
        "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nz"
        "WoyJQ==",
        {
            "dist/index.js": "core.js",
            "wasm/litert_wasm_internal.js": "litert_wasm_internal.js",
            "wasm/litert_wasm_internal.wasm": "litert_wasm_internal.wasm",
            "wasm/litert_wasm_compat_internal.js": "litert_wasm_compat_internal.js",
            "wasm/litert_wasm_compat_internal.wasm": "litert_wasm_compat_internal.wasm",
        },
    ),
    "@litertjs/wasm-utils@2.5.3": (
        "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/"
        "sI1kQ==",
        {"dist/index.js": "wasm_utils.js"},
    ),
}
STAMP = json.dumps(PACKAGES, indent=1) + "\n"


def vendored_files():
    """Return the files of the runtime that lie here, by their names.

    Raises:
        FileNotFoundError: if they are not there, or are of other versions than these.
    """
    stamp = VENDORED / "packages.json"
    if not stamp.is_file() or stamp.read_text() != STAMP:
        raise FileNotFoundError(
            f"The page needs LiteRT's runtime for browsers, {', '.join(PACKAGES)}. Received: none "
            f"of it in {VENDORED}. Run `python -m keras_kd.serve.vendor`, which needs npm."
        )
    return {path.name: path for path in VENDORED.iterdir()}
