"""Kaggle's two calls and its file store on a loopback port, for the real kagglehub client.

The client reaches it as its HTTP proxy: KAGGLE_API_ENVIRONMENT=LOCALHOST makes it speak to http://localhost.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

SERVICE = "/api/v1/datasets.DatasetApiService/"


@dataclass
class Kaggle:
    """How the server behaves, and what it was asked."""

    archive: bytes = b""
    version: int = 3
    statuses: list[int] = field(default_factory=list)  # of the first API calls; afterwards 200
    cut_after: int | None = None  # bytes of a body, after which the connection breaks
    cuts: int = 1  # so often
    md5_of: bytes | None = None  # the checksum that is promised; None: the right one
    hang: str = ""  # path at which it never answers
    login_page: bool = False  # every call is answered by a web page
    requests: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)  # of the requests for the archive
    port: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def build_env(self, home: Path) -> dict[str, str]:
        """Environment of a client that knows nothing but this server."""
        return {
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "KAGGLEHUB_CACHE": str(home / "cache"),
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": f"http://127.0.0.1:{self.port}",
        }


@contextmanager
def serve(kaggle: Kaggle) -> Iterator[Kaggle]:
    """Run the server until the block ends."""

    class Handler(_Handler):
        behaviour = kaggle

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kaggle.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield kaggle
        finally:
            kaggle.released.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    behaviour: Kaggle

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kaggle, path = self.behaviour, urlsplit(self.path).path
        self._note(path)
        if kaggle.login_page:
            self._answer(200, b"<html>Welcome to this hotel</html>", {"Content-Language": "en"})
        elif kaggle.statuses:
            status = kaggle.statuses.pop(0)
            self._answer(status, json.dumps({"code": status, "message": "as requested"}).encode())
        elif path == SERVICE + "GetDataset":
            self._answer(200, json.dumps({"currentVersionNumber": kaggle.version}).encode())
        elif path == SERVICE + "DownloadDataset":
            self._answer(302, b"", {"Location": f"http://{self.headers['Host']}/blob/archive.zip"})
        else:
            self._answer(404, json.dumps({"code": 404, "message": "no such call"}).encode())

    def do_GET(self) -> None:
        kaggle = self.behaviour
        self._note(urlsplit(self.path).path)
        kaggle.ranges.append(self.headers.get("Range", ""))
        first = int((kaggle.ranges[-1] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        promised = kaggle.archive if kaggle.md5_of is None else kaggle.md5_of
        md5 = base64.b64encode(hashlib.md5(promised).digest()).decode()
        body = kaggle.archive[first:]
        headers = {"Accept-Ranges": "bytes", "x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"}
        cut = kaggle.cut_after if kaggle.cuts > 0 else None
        kaggle.cuts -= 1
        self._answer(206 if first else 200, body, headers, cut)

    def _note(self, path: str) -> None:
        kaggle = self.behaviour
        kaggle.requests.append(path)
        kaggle.authorizations.append(self.headers.get("Authorization", ""))
        if kaggle.hang and path.startswith(kaggle.hang):
            kaggle.released.wait()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/zip" if headers else "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body[:cut])
        except (BrokenPipeError, ConnectionResetError):  # the client gave up
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
