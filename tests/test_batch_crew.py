"""Who does the work: one process, several, or a cluster."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from gradience.batch import cluster as dask
from gradience.batch import crew, row, search, work
from gradience.batch.crew import Crew
from gradience.batch.row import Row
from gradience.batch.work import Order
from gradience.errors import ExtraMissingError, InputError

SaveAdapter = Callable[..., Path]


@pytest.fixture
def names(save_adapter: SaveAdapter, tmp_path: Path) -> dict[str, str]:
    """Six adapters, one of which is refused."""
    for needed in range(5):
        save_adapter(tmp_path / "hub" / f"a{needed}", needed=needed)
    save_adapter(tmp_path / "hub" / "broken", peft_type="IA3")
    return row.names(search.find([str(tmp_path / "hub")]).adapters)


def _rows(names: dict[str, str], crew_: Crew, **order: Any) -> list[Row]:
    return row.by_surplus([answer.row for answer in crew.answers(names, Order(arguments={}, **order), crew_)])


def test_one_process_answers_one_after_the_other(names: dict[str, str]) -> None:
    """In the order of the names, each as soon as it is done."""
    found = crew.answers(names, Order(arguments={}), Crew(jobs=1))
    assert [answer.place for answer in found] == list(names)


def test_few_adapters_do_not_need_joblib() -> None:
    """Nor import it: only more than one process does."""
    script = (
        "import sys; sys.modules['joblib'] = None\n"
        "from gradience.batch import crew, work\n"
        "print([answer.source for answer in crew.answers(dict(a='a', b='b'), work.Order(arguments={}), crew.Crew())])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "['refused', 'refused']\n"


@pytest.mark.parametrize(
    ("crew_", "missing"),
    [
        (Crew(jobs=2), "joblib"),
        (Crew(backend="dask", address="tcp://127.0.0.1:1"), "joblib"),
        (Crew(backend="dask", address="tcp://127.0.0.1:1"), "distributed"),
    ],
)
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, crew_: Crew, missing: str) -> None:
    """One line with what to install, before any work."""
    if missing == "distributed":
        pytest.importorskip("joblib")  # without which that would be named first
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ExtraMissingError, match=f"'{missing}' is not installed: pip install {missing}$"):
        list(crew.answers({"a": "a", "b": "b"}, Order(arguments={}), crew_))


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a bounded time."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask, "CONNECT_S", 0.5)
    with pytest.raises(
        InputError, match=r"^cannot reach a Dask scheduler at tcp://127\.0\.0\.1:9: .*check the address$"
    ):
        list(crew.answers({"a": "a", "b": "b"}, Order(arguments={}), Crew(backend="dask", address="tcp://127.0.0.1:9")))


@pytest.mark.slow
def test_several_processes_say_what_one_says(names: dict[str, str], tmp_path: Path) -> None:
    """Row for row, and what one has kept the others find."""
    pytest.importorskip("joblib")
    alone = _rows(names, Crew(jobs=1))
    assert [one.error is None for one in alone] == [True] * 5 + [False]
    assert _rows(names, Crew(jobs=2), cache=tmp_path / "cache") == alone
    found = list(crew.answers(names, Order(arguments={}, cache=tmp_path / "cache"), Crew(jobs=1)))
    assert sorted(answer.source for answer in found) == ["cache"] * 5 + ["refused"]


@pytest.fixture
def _deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works is killed, as the kernel does where memory is short."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(work, "answer", die)


@pytest.mark.slow
@pytest.mark.usefixtures("_deadly")
def test_a_process_that_is_killed_ends_the_batch_in_one_line() -> None:
    """No hang, no traceback, and a way to go on."""
    pytest.importorskip("joblib")
    with pytest.raises(InputError, match=r"^cannot audit all 2 adapters: a worker process was killed.*fewer --jobs$"):
        list(crew.answers({"a": "a", "b": "b"}, Order(arguments={}), Crew(jobs=2)))


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a Dask cluster of two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    import_module("dask").config.set({"distributed.scheduler.allowed-failures": 0})
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as here:
        yield here.scheduler_address


@pytest.mark.slow
def test_a_dask_cluster_says_what_one_process_says(names: dict[str, str], cluster: str) -> None:
    """The same rows from another machine's processes, which are left as they were found."""
    alone = _rows(names, Crew(jobs=1))
    assert _rows(names, Crew(backend="dask", address=cluster)) == alone
    command = [sys.executable, "-m", "gradience", "audit", "--format", "jsonl", "--no-cache"]
    asked = [*(part for place in names for part in ("--peft-dir", place)), "--parallel-backend", "dask"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, *asked, "--address", cluster], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (1, "Audited 5 of 6 adapters: 5 measured, 0 from the cache, 1 refused\n")
    assert sorted(json.loads(line)["name"] for line in done.stdout.splitlines()) == sorted(names.values())
    with import_module("distributed").Client(cluster, set_as_default=False) as client:
        assert len(client.ncores()) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("_deadly")
def test_a_worker_of_the_cluster_that_is_killed_ends_the_batch_in_one_line(cluster: str) -> None:
    """Joblib alone would wait for ever."""
    with pytest.raises(
        InputError, match=r"^cannot audit on the Dask cluster at tcp://.*KilledWorker.* what is done is kept$"
    ):
        list(crew.answers({"a": "a", "b": "b"}, Order(arguments={}), Crew(backend="dask", address=cluster)))
