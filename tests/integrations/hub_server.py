"""A model repository on loopback, served as the Hub serves one: as much of it as a download needs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec

SHA = "5" * 40
REPOSITORY = "org/name"


class Hub(msgspec.Struct):
    """The address, and every path that was asked for."""

    address: str
    asked: list[str]


@contextmanager
def serving(files: Mapping[str, Path]) -> Iterator[Hub]:
    """Serve `files`, by their names in the repository `org/name`."""
    contents = {name: path.read_bytes() for name, path in files.items()}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            if path.startswith(f"/api/models/{REPOSITORY}/revision/") or path == f"/api/models/{REPOSITORY}":
                if path.endswith("/nowhere"):
                    self._send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
                else:
                    self._send(200, _said(contents), body, {})
            elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
                self._send(200, _tree(contents), body, {})
            elif path.startswith(f"/{REPOSITORY}/resolve/{SHA}/"):
                data = contents[path.removeprefix(f"/{REPOSITORY}/resolve/{SHA}/")]
                self._send(200, data, body, {"ETag": f'"{sha256(data).hexdigest()}"', "X-Repo-Commit": SHA})
            else:
                self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

        def _send(self, status: int, data: bytes, body: bool, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, name="hub", daemon=True).start()
    try:
        yield Hub(f"http://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        server.server_close()


def _said(contents: Mapping[str, bytes]) -> bytes:
    siblings = [{"rfilename": name} for name in contents]
    return json.dumps({"id": REPOSITORY, "sha": SHA, "siblings": siblings, "private": False, "tags": []}).encode()


def _tree(contents: Mapping[str, bytes]) -> bytes:
    rows = [{"type": "file", "path": n, "size": len(d), "oid": sha256(d).hexdigest()[:40]} for n, d in contents.items()]
    return json.dumps(rows).encode()
