"""The wandb-core of this process: started, bounded and ended here, where all of wandb's private names are.

A call into wandb waits for its core without end, and a core whose server is down outlives its process and ignores
SIGTERM. So every call has a limit at which the core is killed, which makes the call fail; and none is ever left to
itself. A core has nothing to lose: what counts was read back.
"""

import contextlib
import inspect
import logging
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import wandb

from gradience.errors import TargetGoneError, UnavailableError
from gradience_wandb.place import OFFLINE, ONLINE, Place

CALL_S: Final = 5  # for one answer of the server
START_S: Final = 30.0  # for the core to be there; importing wandb is the caller's
_FLUSH: Final = "x_transaction_log_flush_interval"
_REAP_S: Final = 5.0  # for a killed process to be gone
_QUIET: Final[Mapping[str, Any]] = {
    "console": "off",
    "silent": True,
    "quiet": True,
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "label_disable": True,
    "sync_tensorboard": False,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}
_BOUNDS: Final[Mapping[str, Any]] = {
    "init_timeout": 15,
    "finish_timeout": 20,
    "x_graphql_timeout_seconds": CALL_S,
    "x_graphql_retry_wait_max_seconds": CALL_S,
    "x_file_stream_timeout_seconds": 4 * CALL_S,  # a request may be some megabytes
    "x_file_stream_retry_wait_max_seconds": CALL_S,
}


class Core:
    """One core at a time, for runs of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self._setup: Any = None
        self._api: wandb.Api | None = None
        self._run: Any = None

    @property
    def page(self) -> str:
        """Where the runs are shown."""
        self.start()
        return str(self._setup.settings.app_url).rstrip("/")

    @property
    def pid(self) -> int | None:
        """The process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def settings(self, **more: Any) -> wandb.Settings:
        """What a run of ours is made with, as far as this version of wandb knows it."""
        place = {"mode": self._place.mode, "root_dir": str(self._place.directory.parent), **self._server}
        bounds = {name: value for name, value in {**_BOUNDS, **more}.items() if not _is_chosen(name)}
        wanted = {**bounds, **_QUIET, **place, "stop_fn": _nothing}
        known = wandb.Settings.model_fields
        return wandb.Settings(**{name: value for name, value in wanted.items() if name in known})

    @property
    def _server(self) -> dict[str, Any]:
        return {"base_url": self._place.server} if self._place.server is not None else {}

    def check(self) -> None:
        """Make sure that the core which was started still runs.

        Raises:
            UnavailableError: it was killed, and what it had not sent is gone.
        """
        if self._process is None or self._process.poll() is not None:
            raise UnavailableError("wandb-core has ended")

    def start(self) -> None:
        """Have a core that is at work.

        Raises:
            TargetGoneError: nobody is logged in, this process is that of somebody else's run, or this version of wandb
                has no way to deliver offline.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.end()
        logging.getLogger("wandb.sdk.lib.asyncio_manager").setLevel(logging.CRITICAL)  # it traces each end of a core
        if wandb.run is not None:
            raise TargetGoneError(f"W&B run {wandb.run.id} is active in this process: deliver from another one.")
        if self._place.mode == OFFLINE and _FLUSH not in wandb.Settings.model_fields:
            raise TargetGoneError(
                f"wandb {wandb.__version__} keeps the rows of an offline run in memory: pip install 'wandb>=0.31'."
            )
        self._setup = wandb.setup(self.settings(x_service_wait=START_S))
        if self._place.mode == ONLINE and not _is_logged_in():
            self.end()
            raise TargetGoneError(
                f"Nobody is logged in to W&B at {self._place.address}: run `wandb login`, or set WANDB_API_KEY; "
                "WANDB_MODE=offline keeps runs in a folder."
            )
        connection = self._setup.ensure_service()
        self._process = connection._proc._process

    def init(self, settings: Mapping[str, Any], **arguments: Any) -> Any:
        """Begin a run; the only one at a time."""
        self.start()
        self._run = wandb.init(reinit="create_new", settings=self.settings(**settings), **arguments)
        return self._run

    def api(self) -> wandb.Api:
        """W&B's public API, which speaks through the core."""
        self.start()
        if self._api is None:
            # By itself it asks the server of WANDB_BASE_URL, whatever the settings say.
            self._api = wandb.Api(self._server, timeout=CALL_S)
        return self._api

    def default_entity(self) -> str:
        """The entity of whoever is logged in.

        Raises:
            TargetGoneError: the account has none.
        """
        entity = self.api().default_entity
        if not entity:
            raise TargetGoneError("The W&B account has no entity of its own: name one with --entity or WANDB_ENTITY.")
        return str(entity)

    @contextlib.contextmanager
    def bounded(self, limit_s: float, what: str) -> Iterator[None]:
        """Do something with the core that has so much time.

        Raises:
            UnavailableError: it takes longer.
        """
        late = threading.Event()

        def bite() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(max(limit_s, 0.0), bite)
        timer.name, timer.daemon = "gradience-wandb-limit", True
        timer.start()
        try:
            yield
        except Exception:
            if late.is_set():
                raise UnavailableError(f"{what}: no answer within {limit_s:g} s.") from None
            raise
        finally:
            timer.cancel()
        if late.is_set():
            raise UnavailableError(f"{what}: no answer within {limit_s:g} s.")

    def end(self) -> None:
        """Kill the core, and make wandb forget it."""
        process, self._process = self._process, None
        setup, self._setup = self._setup, None
        run, self._run = self._run, None
        if run is not None and run._run_status_checker is not None:
            run._run_status_checker.stop()  # else its thread asks the dead core
        if setup is not None and setup._connection is not None:
            setup._connection._finalizer.close()  # else its thread writes to the dead core when `_api` goes
        self._api = None
        if process is not None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_REAP_S)
        if setup is not None:
            with contextlib.suppress(Exception, SystemExit):  # it wants to say good-bye to what is gone
                wandb.teardown()
            with contextlib.suppress(Exception):
                setup._asyncer.join()

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            process.kill()


def _is_logged_in() -> bool:
    """Whether wandb has a login for the server; versions that know no better wait a second for somebody to type."""
    knows_better = "prompt" in inspect.signature(wandb.login).parameters
    try:
        return bool(wandb.login(verify=False, **({"prompt": False} if knows_better else {"timeout": 1})))
    except wandb.errors.UsageError:
        return False


def _is_chosen(name: str) -> bool:
    """Whether the user's own environment settles a bound."""
    return f"WANDB_{name.removeprefix('x').upper()}" in os.environ


def _nothing() -> None:
    """What a press of W&B's stop button does to us."""
