"""An HTTP proxy that misbehaves on demand: what stands between a recorder and its tracker on a bad day."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

import msgspec

_LATE_S: Final = 2.0
_DRIP_S: Final = 0.5  # well below any timeout that counts per read
_UPSTREAM_S: Final = 120.0
_ANSWERS: Final = {
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "429": (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    "401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


class Fault(Enum):
    """How the proxy treats a request."""

    NONE = "none"
    REFUSED = "refused"  # nobody listens
    SLOW = "slow"  # everything is done, two seconds late
    HANG = "hang"  # the request is read, and nothing comes back
    DRIP = "drip"  # an answer that never ends, a byte at a time
    RESET = "reset"  # cut before the tracker sees the request
    CUT = "cut after the write"  # the tracker has done it, and its answer gets lost
    ERROR_500 = "500"
    BUSY_429 = "429, Retry-After 3600"
    LOGIN_401 = "401"


class _Request(msgspec.Struct, frozen=True):
    raw: bytes

    @property
    def writes(self) -> bool:
        """Whether it may change the tracker; MLflow reads with POST, too, when it searches."""
        return not self.raw.startswith(b"GET") and b"/search" not in self.raw.split(b"\r\n", 1)[0]


class Proxy:
    """Forwards to a server on loopback, one connection for each request, unless `fault` has it otherwise.

    `hits` counts the requests that met the fault. Refused connections reach nobody who could count them.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = _bound(0)
        self.port: int = self._listener.getsockname()[1]
        self._fault = Fault.NONE
        self._released = threading.Event()
        self._over = threading.Event()
        self.hits = 0
        self._listen()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def fault(self) -> Fault:
        """How requests are treated now; a change ends what hangs or drips."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        was, self._fault = self._fault, fault
        self._released.set()
        self._released = threading.Event()
        self.hits = 0
        if fault is Fault.REFUSED and was is not Fault.REFUSED:
            self._stop()
        elif was is Fault.REFUSED and fault is not Fault.REFUSED:
            self._listener.close()
            self._listener = _bound(self.port)
            self._listen()

    def close(self) -> None:
        """Serve no more."""
        self._released.set()
        self._stop()
        self._listener.close()

    def _listen(self) -> None:
        self._over = threading.Event()
        self._listener.listen(64)
        self._listener.settimeout(0.1)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener, self._over), daemon=True)
        self._acceptor.start()

    def _stop(self) -> None:
        """Give up listening, but hold the port: a socket that is bound and does not listen refuses."""
        self._over.set()
        self._acceptor.join()
        self._listener.close()
        self._listener = _bound(self.port)

    def _accept(self, listener: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_UPSTREAM_S)
            request = _read(connection)
            if request is not None:
                self._answer(connection, request)

    def _answer(self, connection: socket.socket, request: _Request) -> None:
        fault, released = self._fault, self._released
        spared = fault is Fault.NONE or (fault is Fault.CUT and not request.writes)
        self.hits += not spared
        if fault is Fault.SLOW:
            released.wait(_LATE_S)
        if spared or fault is Fault.SLOW:
            connection.sendall(self._forward(request))
        elif fault is Fault.CUT:
            self._forward(request)
            _reset(connection)
        elif fault is Fault.RESET:
            _reset(connection)
        elif fault is Fault.HANG:
            released.wait()
        elif fault is Fault.DRIP:
            _drip(connection, released)
        else:
            connection.sendall(_ANSWERS[fault.value[:3]])

    def _forward(self, request: _Request) -> bytes:
        with socket.create_connection(("127.0.0.1", self._upstream), _UPSTREAM_S) as upstream:
            head, _, body = request.raw.partition(b"\r\n\r\n")
            kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            upstream.sendall(b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n" + body)
            return b"".join(_chunks(upstream))


@contextlib.contextmanager
def proxy(upstream: int) -> Iterator[Proxy]:
    """A proxy in front of a port on loopback."""
    made = Proxy(upstream)
    try:
        yield made
    finally:
        made.close()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _read(connection: socket.socket) -> _Request | None:
    """One whole request; None when the other side goes before its end."""
    raw = _until(connection, b"", lambda got: b"\r\n\r\n" in got)
    head = raw.partition(b"\r\n\r\n")[0]
    sizes = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    size = int(sizes[0]) if sizes else 0
    raw = _until(connection, raw, lambda got: len(got) >= len(head) + 4 + size)
    return _Request(raw) if len(raw) >= len(head) + 4 + size and head else None


def _until(connection: socket.socket, got: bytes, done: Callable[[bytes], bool]) -> bytes:
    while not done(got) and (chunk := connection.recv(1 << 16)):
        got += chunk
    return got


def _chunks(connection: socket.socket) -> Iterator[bytes]:
    while chunk := connection.recv(1 << 16):
        yield chunk


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _drip(connection: socket.socket, released: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not released.wait(_DRIP_S):
        connection.sendall(b" ")
