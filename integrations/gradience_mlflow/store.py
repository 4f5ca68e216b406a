"""Which MLflow store is meant: the address that MLflow itself would use, made absolute without importing MLflow.

`uri` may carry credentials and goes to MLflow alone; `address` is what is shown, stored and compared.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from gradience.errors import InputError

_SQLITE: Final = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]+)(.*)", re.DOTALL)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two characters at least: "C:" is a drive
_NETWORK: Final = re.compile(r"(?:https?|(?:postgresql|mysql|mssql)(?:\+\w+)?)://", re.IGNORECASE)
_BARE: Final = re.compile(r"[\w.-]+:\d+/?")  # MLflow would take the host of `localhost:5000` for a scheme
_DATABASES: Final = ("sqlite", "postgresql", "mysql", "mssql", "file:")
_DEFAULT: Final = "mlflow.db"
_LOCAL_PAGE: Final = "http://127.0.0.1:5000"
_HOSTLESS: Final = ("databricks", "databricks-uc", "uc")


class Store(msgspec.Struct, frozen=True):
    """One tracking store."""

    uri: str

    @property
    def address(self) -> str:
        """The store without user, password and query, where secrets hide."""
        if self.database is not None or self.uri.startswith("file:"):
            return self.uri
        return re.sub(r"://[^/?#]*@", "://", re.split(r"[?#]", self.uri, maxsplit=1)[0])

    @property
    def database(self) -> Path | None:
        """The file of an sqlite store; None for any other."""
        found = _SQLITE.fullmatch(self.uri)
        return Path(found[2]) if found else None

    @property
    def is_database_server(self) -> bool:
        """Whether MLflow talks to a database over the network."""
        return self.database is None and self.uri.startswith(_DATABASES) and not self.uri.startswith("file:")

    def at(self, database: Path) -> "Store":
        """The same kind of sqlite store in another file."""
        return Store(_SQLITE.sub(lambda found: f"{found[1]}{database}{found[3]}", self.uri))

    @property
    def page(self) -> str | None:
        """Where this store's pages are served; None where that cannot be told.

        For a database it is where `mlflow ui --backend-store-uri <address>` serves them by default.
        """
        if self.uri.startswith(("http://", "https://")):
            return self.address
        return _LOCAL_PAGE if self.uri.startswith(_DATABASES) else None

    @property
    def viewer(self) -> str | None:
        """The command that serves the pages of a database; None for a server, which does so itself."""
        served = self.uri.startswith(_DATABASES)
        return f"mlflow ui --backend-store-uri {shlex.quote(self.address)}" if served else None


def resolve(given: str | None, environ: Mapping[str, str], cwd: Path) -> Store:
    """The store that was named, else that of the environment, else MLflow's default in `cwd`.

    Raises:
        InputError: nothing tells what in its address is a password, and what may be shown; or it has no scheme.
    """
    uri = given or environ.get("MLFLOW_TRACKING_URI") or _default(cwd)
    _check_shown(uri)
    if _BARE.fullmatch(uri):
        raise InputError(f"cannot use the MLflow address {uri}: write it as http://{uri}, or with https://")
    if found := _SQLITE.fullmatch(uri):
        return Store(f"{found[1]}{_absolute(found[2], cwd)}{found[3]}")
    if uri.startswith("file:") and not uri.startswith("file:/"):
        return Store(_absolute(uri.removeprefix("file:"), cwd).as_uri())
    if uri in _HOSTLESS or _SCHEME.match(uri):
        return Store(uri.rstrip("/"))
    return Store(_absolute(uri, cwd).as_uri())


def is_named(given: str | None, environ: Mapping[str, str], cwd: Path) -> bool:
    """Whether somebody says which store is meant: by option, by the environment, or by a store that lies in `cwd`."""
    return bool(given or environ.get("MLFLOW_TRACKING_URI")) or _has_files(cwd) or (cwd / _DEFAULT).exists()


def _check_shown(uri: str) -> None:
    if _NETWORK.match(uri):
        host = re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
        _, colon, port = host.rpartition("]")[2].rpartition(":")
        is_clear = not colon or port.isdigit()
    else:
        is_clear = "@" not in uri or "://" in uri or not _SCHEME.match(uri) or uri.startswith("file:")
    if not is_clear:
        raise InputError(
            "cannot use the MLflow address, which is not shown, since it may hold a password: write it as "
            "https://USER:PASSWORD@HOST:PORT, with %2F, %3F, %23 and %40 for the characters / ? # @ of a password"
        )


def _default(cwd: Path) -> str:
    """MLflow's own rule: sqlite, unless the directory already holds experiments of the older file store."""
    return (cwd / "mlruns").as_uri() if _has_files(cwd) else f"sqlite:///{cwd / _DEFAULT}"


def _has_files(cwd: Path) -> bool:
    return any(path.parent.name.isdigit() for path in cwd.glob("mlruns/*/meta.yaml"))


def _absolute(path: str, cwd: Path) -> Path:
    return Path(cwd / path).resolve()
