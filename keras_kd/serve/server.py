"""The web server of the page: this machine's own browser, and nobody else."""

import base64
import errno
import hashlib
import http.server
import io
import os
import re
import sys
import threading
import time
import urllib.parse
import webbrowser
from pathlib import PurePath

from keras_kd._common.checks import MOST_PORT, check_integer
from keras_kd._common.console import Console
from keras_kd.serve.runtime import STATIC, vendored_files

_ADDRESS = "127.0.0.1"
# A browser opens six connections to a server and asks at once; it opens others where these end.
_MOST_CONNECTIONS = 32
# For the whole head of a request, with the wait for it, and for the whole of an answer.
_SECONDS_TO_ASK, _SECONDS_TO_READ = 10, 60
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}


def serve(
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    teacher: str | os.PathLike[str] | None = None,
    scale: str | None = None,
    head: str | None = None,
    port: int = 0,
    browser: bool = True,
) -> None:
    """Serve the page for a folder of exported files, until it is interrupted (Ctrl-C).

    On the page: a file of the folder runs in the browser, through LiteRT's WebAssembly runtime,
    on test images or on what is drawn, a text that is typed, a file that is dropped; probabilities
    of teacher and student under a temperature; milliseconds as measured there; the test images on
    which the two differ. The page is reached from this machine only, and fetches nothing from
    elsewhere.

    Args:
        folder: as `keras-kd run`, `compare`, `sweep`, `search`, `distill` or `export` wrote it.
            Where no `.tflite` file lies in it, its students are converted first.
        data: name or path of the data whose test images are shown; by default those that the run
            in the folder was made from.
        data_dir: as in `data.load`.
        teacher: a `.keras` file; by default `teacher.keras` in the folder, or the one that the run
            was made from.
        scale: what that teacher was trained on, see `check`; by default as the run was told.
        head: what it returns, see `Teacher`; likewise.
        port: of this machine; 0 for any that is free.
        browser: whether to open the page in the user's browser.

    Raises:
        FileNotFoundError: if a file is missing, or the runtime (see `keras_kd.serve.vendor`).
        ValueError: if the port is none, or what lies in the folder cannot be shown.
        OSError: if the port is taken.
    """
    check_integer("port", port, minimum=0, maximum=MOST_PORT)
    vendored_files()  # Before seconds of work, if they are missing.
    # Here, since it imports Keras, which the fetching of the runtime can do without.
    from keras_kd.serve.content import content_of

    console = Console()
    made_from = {"data": data, "teacher": teacher, "scale": scale, "head": head}
    content = content_of(folder, data_dir=data_dir, say=console.say, **made_from)
    with server_of(content, port) as server:
        url = f"http://{_ADDRESS}:{server.server_port}/"
        console.say(f"{folder} is shown at {url} (Ctrl-C ends it)")
        if browser:
            webbrowser.open(url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.say("", "The page is closed.")


def server_of(content, port=0):
    """Return a bound server of the page, its runtime and `content`, to be run and closed.

    Args:
        content: bytes by path, as `content_of` returns.
        port: 0 for any that is free.

    Raises:
        FileNotFoundError: if the runtime is missing.
        OSError: if the port is taken.
    """
    page = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.is_file()}
    runtime = {f"vendor/{name}": path.read_bytes() for name, path in vendored_files().items()}
    answers = {"": page["index.html"], **page, **runtime, **content}
    handler = type("Handler", (_Handler,), {"answers": answers, "policy": _policy(answers[""])})
    try:
        server = _Server((_ADDRESS, port), handler)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise OSError(
            f"`port` must be one that is free. Received: port={port} ({error.strerror}). "
            "Leave it out to have a free one chosen."
        ) from error
    return server


class _Server(http.server.ThreadingHTTPServer):
    """A thread for each of a bounded number of connections; one more is closed at once."""

    def __init__(self, *arguments):
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(*arguments)

    def process_request(self, request, client_address):
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request, client_address):
        # A browser that leaves in the middle of an answer is no error.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _UntilDeadline(io.RawIOBase):
    """What comes on a socket until a deadline, however slowly: drop by drop is too late as well."""

    def __init__(self, connection):
        super().__init__()
        self._connection = connection
        self._deadline = None

    def give(self, seconds):
        """Begin to count."""
        self._deadline = time.monotonic() + seconds

    def readable(self):
        return True

    def readinto(self, buffer):
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD from a dict: no path of a request ever reaches the file system."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.rfile.close()
        self._incoming = _UntilDeadline(self.connection)
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self):
        self._incoming.give(_SECONDS_TO_ASK)
        super().handle_one_request()

    def handle_expect_100(self):
        self.send_error(417)  # Nobody has a body to send.
        return False

    def do_GET(self):
        self._answer(with_body=True)

    def do_HEAD(self):
        self._answer(with_body=False)

    def log_message(self, *_):
        """Say nothing of single requests."""

    def _answer(self, with_body):
        self.connection.settimeout(_SECONDS_TO_READ)
        name = urllib.parse.unquote(self.path.split("?")[0]).removeprefix("/")
        hosts, port = self.headers.get_all("Host", []), self.server.server_port
        # What two readers may read in two ways is answered in none: a second host, a body.
        if len(hosts) > 1 or self.headers.defects or self._has_body():
            return self.send_error(400)
        # Another name than its own is a page from elsewhere that had its name point here.
        if hosts not in ([f"{_ADDRESS}:{port}"], [f"localhost:{port}"]):
            return self.send_error(403)
        if name not in self.answers:
            return self.send_error(404)
        body = self.answers[name]
        self.send_response(200)
        suffix = PurePath(name or "index.html").suffix
        self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        # A page that is isolated like this has a clock of 5 microseconds instead of 100.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _has_body(self):
        lengths = self.headers.get_all("Content-Length", [])
        return "Transfer-Encoding" in self.headers or lengths not in ([], ["0"])


def _policy(page):
    """Return the content security policy: this server's own scripts, and WebAssembly."""
    # The one thing inside the page: which file `@litertjs/core` means by `@litertjs/wasm-utils`.
    import_map = re.search(rb'<script type="importmap">(.*?)</script>', page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(import_map).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}'; "
        "style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
