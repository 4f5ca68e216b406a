"""A real `mlflow server` on loopback that can be killed and started again on its port."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

_READY_S: Final = 180.0
_NO_JOBS: Final = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight processes for what no recording asks for


class Server:
    """A server of a store in a folder; `fresh` is an empty store to begin with."""

    def __init__(self, folder: Path, fresh: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.database = folder / "mlflow.db"
        shutil.copy(fresh, self.database)
        with closing(sqlite3.connect(self.database)) as store, store:
            store.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it answers while it runs."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._folder,
                env={**os.environ, **_NO_JOBS},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._await(self._process)

    def kill(self) -> None:
        """End it at once, with all its workers."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _command(self) -> list[str]:
        serve = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        store = ["--backend-store-uri", f"sqlite:///{self.database}"]
        return [*serve, "--workers", "1", *store, "--artifacts-destination", str(self._folder / "files")]

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), closing(HTTPConnection("127.0.0.1", self.port, timeout=5)) as probe:
                probe.request("GET", "/health")
                if probe.getresponse().status == HTTPStatus.OK:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"mlflow server did not come up at port {self.port} (exit code {process.poll()})")


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
