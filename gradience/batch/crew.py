"""Who does the work: this process, a few processes of this machine, or an existing Dask cluster.

joblib is imported only for more than one process. Answers come as they are ready: nothing waits for the slowest, and
no more work is out than the workers can take up soon.
"""

import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Literal

import msgspec

from gradience.batch import cluster, optional, work
from gradience.batch.work import Answer, Order
from gradience.errors import InputError

Backend = Literal["loky", "dask"]

_IDLE_S: Final = 10  # after which an idle process ends; those of a batch that was killed have no other way
_STOPPED: Final = ".*still being processed by the workers"  # whoever no longer listens knows
_MANY: Final = 64  # adapters from which on more processes pay for their start, of some seconds each


class Crew(msgspec.Struct, frozen=True, kw_only=True):
    """Where the work is done; `jobs` None leaves the number of processes to us, `address` is a Dask scheduler's."""

    backend: Backend = "loky"
    jobs: int | None = None
    address: str | None = None


def answers(names: Mapping[str, str], order: Order, crew: Crew) -> Iterator[Answer]:
    """One answer for each adapter: `names` gives the name of each place.

    Raises:
        ExtraMissingError: joblib or Dask is needed, and not installed.
        InputError: the cluster cannot be reached, or a worker was killed.
    """
    if crew.backend == "dask":
        return cluster.answers(names, order, str(crew.address))
    jobs = _jobs(crew.jobs, len(names))
    return _in_processes(names, order, jobs) if jobs > 1 else _here(names, order)


def _jobs(asked: int | None, adapters: int) -> int:
    if asked is not None:
        return min(asked, adapters)
    if adapters < _MANY or find_spec("joblib") is None:
        return 1
    return min(int(import_module("joblib").cpu_count()), adapters)


def _here(names: Mapping[str, str], order: Order) -> Iterator[Answer]:
    return (work.answer(place, name, order) for place, name in names.items())


def _in_processes(names: Mapping[str, str], order: Order, jobs: int) -> Iterator[Answer]:
    joblib = optional.needed("joblib", "several processes")
    # One thread each: this sets the variables that the survey and every numerical library below it obey.
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1, idle_worker_timeout=_IDLE_S):
        parallel = joblib.Parallel(return_as="generator_unordered")
    warnings.filterwarnings("ignore", _STOPPED)
    try:
        yield from parallel(joblib.delayed(work.answer)(place, name, order) for place, name in names.items())
    except BrokenExecutor as error:
        reason = "a worker process was killed, perhaps for memory; what is done is kept: go on with fewer --jobs"
        raise InputError(f"cannot audit all {len(names)} adapters: {reason}") from error
