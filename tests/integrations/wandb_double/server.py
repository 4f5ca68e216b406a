"""W&B's service on loopback, as far as wandb-core and the public API of wandb 0.31 use it.

It trusts the line numbers that a client sends: it proves what our side does, not how the real service merges.
"""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.integrations.wandb_double.answer import Answer, Data, Query, RefusedError
from tests.integrations.wandb_double.faults import Fault, Faults, Way
from tests.integrations.wandb_double.held import Held, TrackedRun
from tests.integrations.wandb_double.reading import Reading
from tests.integrations.wandb_double.storing import Storing
from tests.integrations.wandb_double.viewing import Viewing
from tests.integrations.wandb_double.writing import Writing

KEY: Final = "k" * 40
_IDLE_S: Final = 0.05  # between two looks whether a server is to end


class Server:
    """One server. `asked` are the operations and paths of its requests; `faults` are there to be switched on."""

    def __init__(self) -> None:
        self._holder = _bound(0)  # nobody else may have the port while nobody listens at it
        self.port: int = self._holder.getsockname()[1]
        self.held = Held()
        self.faults = Faults()
        self.asked: list[str] = []
        self.lock = threading.RLock()
        self.writing = Writing(self.held, self.address)
        self.storing = Storing(self.held, self.address)
        reading = Reading(self.held, self.address)
        ours = (self.writing, self.storing, reading, Viewing(self.held))
        self.answers: dict[str, Answer] = {name: answer for one in ours for name, answer in one.answers.items()}
        self._http: _Http | None = None
        self.listen()

    @property
    def address(self) -> str:
        """What `WANDB_BASE_URL` has to say."""
        return f"http://127.0.0.1:{self.port}"

    def env(self, home: Path) -> dict[str, str]:
        """The environment of a process whose wandb comes here, and keeps what it keeps in a folder of the test's."""
        foreign = ("WANDB_", "XDG_")
        own = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        places = {f"WANDB_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "CACHE", "DATA")}
        server = {"WANDB_BASE_URL": self.address, "WANDB_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
        manners = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
        haste = {"WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1"}  # seconds; less is not taken
        return {**own, **places, **server, **manners, **haste, "HOME": str(home), "WANDB_DIR": str(home)}

    @property
    def runs(self) -> dict[str, TrackedRun]:
        """The runs by their ids, without those that were deleted: for tests that use an id once."""
        with self.lock:
            held = list(self.held.runs.values())
        found = {run.id: run for run in held}
        assert len(found) == len(held), f"one id in two projects: {[run.path for run in held]}"
        return found

    def answer(self, query: Query) -> Data:
        """What the service says to a query that it takes."""
        if query.operation not in self.answers:
            raise RefusedError(400, f"the double does not know {query.operation or query.query}")
        return self.answers[query.operation](query.variables or {})

    def delete(self, run_id: str) -> None:
        """Delete a run, as a person does."""
        with self.lock:
            self.held.delete(self.runs[run_id].path)

    def restore(self, run_id: str) -> None:
        """Take that back, as W&B's support can."""
        with self.lock:
            (path,) = (path for path, run in self.held.deleted.items() if run.id == run_id)
            self.held.put(self.held.deleted.pop(path))

    def listen(self) -> None:
        """Answer requests, if it does not yet."""
        if self._http is None:
            self._http = _Http(self, _bound(self.port))

    def refuse(self) -> None:
        """Listen no more, and cut what is connected."""
        if self._http is not None:
            self.faults.released.set()
            self._http.end()
            self.faults.released = threading.Event()
            self._http = None

    def close(self) -> None:
        """Be gone, with every thread."""
        self.refuse()
        self._holder.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # `server_close` waits for them

    def __init__(self, double: Server, bound: socket.socket) -> None:
        super().__init__(("127.0.0.1", double.port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.double = double
        self._connected: set[socket.socket] = set()
        self.server_activate()
        self._thread = threading.Thread(target=self.serve_forever, args=(_IDLE_S,), name="wandb-double")
        self._thread.start()

    def end(self) -> None:
        """Serve no more, and leave no thread."""
        self.shutdown()
        self._thread.join()
        for connection in list(self._connected):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Keep track of a connection while it is served."""
        self._connected.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget it."""
        self._connected.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that are killed leave their connections broken."""


class _CutError(Exception):
    """The connection is to end without an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        double = self.server.double
        query = msgspec.json.decode(body, type=Query) if path == "/graphql" else None
        operation = query.operation if query is not None else _operation(self.command, path)
        double.asked.append(operation if self.command != "GET" else path)
        fault = double.faults.take(operation, body)
        try:
            refused = self._before(fault)
            if refused is None:
                with double.lock:
                    status, data = self._answered(path, query, body)
            else:
                status, data = refused
            self._after(fault)
            self._send(status, data, fault)
        except (_CutError, ConnectionError):
            self.close_connection = True

    def _before(self, fault: Fault | None) -> tuple[int, bytes] | None:
        """Do what a fault does before a request has its effect; the refusal, if it is one."""
        if fault is None or fault.way is Way.LOST:
            return None
        if fault.way is Way.STATUS:
            return fault.status, _errors(f"status {fault.status}")
        if fault.way is Way.HANG:
            self.server.double.faults.released.wait()
        elif fault.way is Way.DELAY:
            self.server.double.faults.released.wait(fault.delay_s)
            return None
        raise _CutError

    def _after(self, fault: Fault | None) -> None:
        if fault is not None and fault.way is Way.LOST:
            raise _CutError

    def _answered(self, path: str, query: Query | None, body: bytes) -> tuple[int, bytes]:
        try:
            return 200, self._data(path, query, body)
        except RefusedError as refused:
            return refused.status, _errors(str(refused))

    def _data(self, path: str, query: Query | None, body: bytes) -> bytes:
        double = self.server.double
        if query is not None:
            return json.dumps({"data": double.answer(query)}).encode()
        if self.command == "GET":
            return _kept(double.held, path)
        if path.endswith("/file_stream"):
            entity, project, run_id = path.split("/")[2:5]
            return json.dumps(double.writing.stream(entity, project, run_id, json.loads(body))).encode()
        if self.command == "PUT":
            _keep(double, path, body)
        return b"{}"

    def _send(self, status: int, data: bytes, fault: Fault | None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if fault is not None and fault.retry_after_s is not None:
            self.send_header("Retry-After", str(fault.retry_after_s))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server of the test's own."""
    made = Server()
    try:
        yield made
    finally:
        made.close()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _operation(command: str, path: str) -> str:
    if path.endswith("/file_stream"):
        return "file_stream"
    return {"PUT": "upload", "GET": "download"}.get(command, path)


def _errors(message: str) -> bytes:
    return json.dumps({"errors": [{"message": message}], "data": None}).encode()


def _keep(double: Server, path: str, body: bytes) -> None:
    """Take an upload."""
    kind, _, rest = path.removeprefix("/").partition("/")
    if kind == "upload":
        entity, project, run_id, name = rest.split("/", 3)
        run = double.held.find(entity, project, run_id)
        if run is not None:
            run.files = {**run.files, name: body}
    elif kind == "manifest":
        double.storing.put_manifest(rest, body)
    else:
        double.held.blobs[rest] = body


def _kept(held: Held, path: str) -> bytes:
    """What is stored at an address: a manifest, a run's file, or an artifact's, which is known by its digest."""
    kind, _, rest = path.removeprefix("/").partition("/")
    if kind == "manifest":
        found = next((one.manifest for one in held.artifacts if one.id == rest), None)
    elif kind == "files":
        entity, project, run_id, name = rest.split("/", 3)
        run = held.find(entity, project, run_id)
        found = run.files.get(name) if run is not None else None
    else:
        found = next((held.blobs[part] for part in path.split("/") if part in held.blobs), None)
    if found is None:
        raise RefusedError(404, f"{path} not found")
    return found
