"""The work on an existing Dask cluster, through joblib's own backend for it."""

from collections.abc import Callable, Iterator, Mapping
from textwrap import shorten
from typing import Any, Final

from gradience.batch import optional, work
from gradience.batch.work import Answer, Order
from gradience.errors import InputError

CONNECT_S: Final = 20.0
WHAT: Final = "a Dask cluster"
_WORDS: Final = 200  # characters of the cluster's own
_MEND: Final = "its workers need this version of gradience, and memory; what is done is kept"


def answers(names: Mapping[str, str], order: Order, address: str) -> Iterator[Answer]:
    """One answer for each adapter, as they are ready.

    Raises:
        ExtraMissingError: joblib or Dask is not installed.
        InputError: the cluster cannot be reached, or lost a task.
    """
    joblib, distributed = (optional.needed(library, WHAT) for library in ("joblib", "distributed"))
    with _client(distributed, address) as client:
        with joblib.parallel_config(_backend(client)):
            parallel = joblib.Parallel(return_as="generator_unordered")
        try:
            yield from parallel(joblib.delayed(work.answer)(place, name, order) for place, name in names.items())
        except Exception as error:  # an adapter's error is an answer: what arrives here is the cluster's
            wrong = shorten(f"{type(error).__name__}: {error}", _WORDS, placeholder="...")
            raise InputError(f"cannot audit on the Dask cluster at {address}: {wrong}; {_MEND}") from error


def _client(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        mend = "start `dask scheduler` and `dask worker`, or check the address"
        raise InputError(f"cannot reach a Dask scheduler at {address}: {error}; {mend}") from error


def _backend(client: Any) -> Any:
    """The backend of joblib, which by itself waits for ever for a task that the cluster lost, and here passes it on."""
    backend: Any = optional.needed("joblib._dask", WHAT).DaskDistributedBackend

    class Telling(backend):  # type: ignore[misc]
        def submit(self, func: Any, callback: Callable[[Any], object]) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: done.exception() and callback(done.exception()))
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Telling(client=client, wait_for_workers_timeout=CONNECT_S)
