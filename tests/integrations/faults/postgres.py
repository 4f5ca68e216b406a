"""A real PostgreSQL server, for as long as a test lasts.

Its folder is none of pytest's, which only the user who runs the tests may enter: PostgreSQL refuses to run as root.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integrations.faults.server import free_port

_PLACES: Final = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin"))
_USER: Final = "postgres"


class Postgres:
    """A cluster that trusts whoever comes over loopback."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._data = folder / "data"
        self._programs = programs
        self._port = free_port()
        if os.geteuid() == 0:
            shutil.chown(folder, _USER)
        self._run("initdb", "--auth=trust", f"--username={_USER}", "--no-sync", "--no-locale", "--encoding=UTF8")

    @property
    def uri(self) -> str:
        """The database, as MLflow takes it, with the driver, because SQLAlchemy's default depends on its version."""
        return f"postgresql+psycopg2://{_USER}@127.0.0.1:{self._port}/{_USER}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self._port} -k '' -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "start", "--wait", "--silent", "--log", str(self._data / "log"), "--options", options)

    def kill(self) -> None:
        """Have it die as in a crash."""
        self._run("pg_ctl", "stop", "--mode=immediate", "--silent")

    def ask(self, text: str) -> Iterable[tuple[Any, ...]]:
        """The rows of a query."""
        import psycopg2

        with closing(psycopg2.connect(self.uri.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    def _run(self, program: str, *arguments: str) -> None:
        as_user = ["setpriv", f"--reuid={_USER}", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        command = [*as_user, str(self._programs / program), "--pgdata", str(self._data), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=120)


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A server that runs; the test is skipped where none is installed."""
    pytest.importorskip("psycopg2")
    programs = next((place for place in _PLACES if (place / "initdb").exists()), None)
    if programs is None:
        pytest.skip("needs PostgreSQL: no initdb is installed")
    with tempfile.TemporaryDirectory(prefix="gradience-postgres-") as folder:
        server = Postgres(Path(folder), programs)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.kill()
