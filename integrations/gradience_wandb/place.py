"""Which W&B is meant: a project of a server, or a directory offline. W&B's own rules, without importing it.

An option counts most, then the environment, then W&B's settings files: that of the directory, that of the user.
"""

import configparser
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from gradience.errors import InputError

SERVER: Final = "https://api.wandb.ai"
PROJECT: Final = "uncategorized"  # W&B's own name for runs that nobody put anywhere
ONLINE, OFFLINE, DISABLED = "online", "offline", "disabled"
_MODES: Final = {"online": ONLINE, "run": ONLINE, "offline": OFFLINE, "dryrun": OFFLINE, "disabled": DISABLED}
# Of several versions of wandb.
_SAME_SERVER: Final = ("api.wandb.ai", "api.forge.coreweave.com", "forge.coreweave.com", "wandb.ai")
_FOREIGN: Final = re.compile(r"[/\\#?%:]")  # no project of W&B has them in its name
_RUN: Final = re.compile(r"([^/]+/){0,2}[^/:]+")  # the address of its page, which is at hand, too, is none


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for by option."""

    project: str | None = None
    entity: str | None = None
    run: str | None = None
    beside: str | None = None  # somebody else's run that ours belongs to
    base_url: str | None = None
    mode: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if self.run is not None and not _RUN.fullmatch(self.run):
            raise InputError(f"{self.run!r} names no W&B run: give it as ID, PROJECT/ID or ENTITY/PROJECT/ID")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where runs go. `server` is what wandb connects to; `address` is what is shown, stored and compared.

    None is what nobody names: wandb has a server of its own, and keeps logins by its name; the server knows a user's
    own entity.
    """

    mode: str
    server: str | None
    directory: Path
    project: str | None = None
    entity: str | None = None

    @property
    def address(self) -> str:
        """The server without user and query, where secrets hide; offline the directory."""
        if self.mode == DISABLED:
            return "wandb-disabled:"
        if self.mode == OFFLINE:
            return self.directory.as_uri()
        address = re.split(r"[?#]", self.server or SERVER, maxsplit=1)[0].rstrip("/")
        host = re.sub(r"^https://([^/]*).*", r"\1", address)
        return SERVER if host in _SAME_SERVER else re.sub(r"://[^/?#]*@", "://", address)

    def project_for(self, experiment: object) -> str:
        """The project of a new run; `experiment` is what its journal says."""
        wanted = self.project or (experiment if isinstance(experiment, str) else None) or PROJECT
        return _FOREIGN.sub("_", wanted)[:128]


def resolve(wish: Wish, environ: Mapping[str, str], cwd: Path) -> Place:
    """The place that is meant.

    Raises:
        InputError: W&B has no such mode, or none that we can deliver in; or the server's address is none.
    """
    root = Path(cwd / Path(environ.get("WANDB_DIR") or ".").expanduser()).resolve()
    directory = root / (".wandb" if (root / ".wandb").exists() else "wandb")
    files = _settings(directory, environ)

    def given(option: str | None, name: str) -> str | None:
        return option or environ.get(f"WANDB_{name.upper()}") or files.get(name) or None

    return Place(
        mode=_mode(given(wish.mode, "mode") or ONLINE),
        server=_server(given(wish.base_url, "base_url")),
        directory=directory,
        project=given(wish.project, "project"),
        entity=given(wish.entity, "entity"),
    )


def _mode(name: str) -> str:
    if name not in _MODES:
        known = ", ".join(_MODES)
        raise InputError(f"cannot mirror into W&B in mode {name!r}: give `mode` or WANDB_MODE as one of {known}")
    return _MODES[name]


def _server(address: str | None) -> str | None:
    if address is not None and not address.lower().startswith(("http://", "https://")):
        raise InputError("cannot reach a W&B server: give `base_url` or WANDB_BASE_URL as https://HOST")
    return address


def _settings(directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    home = Path(environ.get("HOME") or Path.home())
    user = Path(environ.get("WANDB_CONFIG_DIR") or home / ".config" / "wandb").expanduser()
    return {**_read(user / "settings"), **_read(directory / "settings")}


def _read(path: Path) -> dict[str, str]:
    """One settings file; like W&B, nothing from one that is missing or broken."""
    parser = configparser.ConfigParser()
    with suppress(OSError, configparser.Error, UnicodeDecodeError):
        parser.read(path)
        return dict(parser.items("default"))
    return {}
