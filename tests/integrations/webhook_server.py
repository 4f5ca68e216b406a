"""A chat's webhooks on loopback: what was posted, and answers that can be told to go wrong."""

import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

PATH = "/services/T0/B0/hunter2hunter2"  # what is secret about a webhook


class Answer(NamedTuple):
    """How one request is answered: `lost` after it was taken, `hang` seconds late."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = MappingProxyType({})
    hang_s: float = 0.0
    lost: bool = False


NO_TEXT = Answer(400, b"no_text")  # what Slack says to an empty message


class Chat:
    """What the webhook's server has seen. Each request takes the next of `answers`, else the usual one."""

    def __init__(self, address: str) -> None:
        self.url = f"{address}{PATH}"
        self.answers: deque[Answer] = deque()
        self.usual = Answer()
        self.posts: list[dict[str, Any]] = []  # what was taken
        self.asked: list[str] = []  # every request: its method
        self.agents: list[str] = []

    @property
    def texts(self) -> list[str]:
        """What a reader of the channel sees, oldest first."""
        return [str(post.get("text", post.get("content"))) for post in self.posts]


@contextmanager
def serving(certificate: Path | None = None, key: Path | None = None) -> Iterator[Chat]:
    """A server for as long as the `with` lasts; with a certificate it speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chat.asked.append(self.command)
            chat.agents.append(self.headers["User-Agent"])
            answer = chat.answers.popleft() if chat.answers else chat.usual
            time.sleep(answer.hang_s)
            if self.command == "POST" and answer.status == 200:
                post = json.loads(content)
                if "text" in post or "content" in post:
                    chat.posts.append(post)
                else:
                    answer = NO_TEXT
            if answer.lost:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else answer.body)

        do_POST = do_GET = do_HEAD = answer  # noqa: N815 - the base class looks for these names

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    chat = Chat(f"{scheme}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
