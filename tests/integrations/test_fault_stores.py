"""The fault matrix, without a server between: databases that several processes share, that lock, and that die."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.integrations.faults import callback, postgres, processes, recording, seen
from tests.integrations.faults.callback import Felt
from tests.integrations.faults.recording import Recording, until
from tests.integrations.faults.seen import Account
from tests.integrations.faults.table import Row

pytest.importorskip("mlflow")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc"),
]

EIGHT: Final = 8
PATIENT: Final = msgspec.structs.replace(recording.TERMS, linger_s=120.0, call_s=120.0)  # eight MLflows on few cores
LOCK_S: Final = 8.0
STEPS: Final = 250
TOLERABLE_S: Final = 5.0  # a user's call that waited for the whole of a batch; MLflow gives a locked store up after 20


def check(row: Row) -> None:
    """Each line is there, once."""
    assert (row.account.lost, row.account.duplicates, row.account.dead) == (0, 0, 0)


def database(uri: str) -> Path:
    """The file of an sqlite store."""
    return Path(uri.removeprefix("sqlite:///"))


def test_a_locked_store_is_waited_for(store_uri: str, tmp_path: Path, matrix: list[Row]) -> None:
    """Somebody holds the file for seconds: nothing stalls, and everything arrives when they let go."""
    with recording.recording(tmp_path / "locked", {"type": "mlflow", "tracking_uri": store_uri}) as run:
        run.record(1500)
        until(lambda: run.delivered == run.lines())
        healthy_kib = run.memory_kib()
        with closing(sqlite3.connect(database(store_uri), isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            run.record(4000, 0.0005)
            run.stay(LOCK_S)
            close = run.close()
        run.see_off()
        held = seen.in_mlflow(seen.sqlite(database(store_uri)), run.run_id)
        grown = run.peak_kib - healthy_kib
        row = run.row("sqlite store locked", held, close_s=close.longest_s, grown_kib=grown)
    matrix.append(row)
    check(row)
    assert close.longest_s < 3.0 + recording.SLACK_S
    assert grown < recording.GROWTH_KIB
    assert "lines behind" in run.said


def test_eight_side_cars_create_one_store_together(tmp_path: Path, matrix: list[Row]) -> None:
    """Nobody's migration spoils another's; each recording has one run in the store, with all of its lines."""
    uri = f"sqlite:///{tmp_path / 'fresh.db'}"
    sink = {"type": "mlflow", "tracking_uri": uri}

    def one(number: int) -> Recording:
        with recording.recording(tmp_path / f"one-of-eight-{number}", sink, terms=PATIENT) as run:
            run.record(200)
            run.close()
            run.see_off()
            return run

    with ThreadPoolExecutor(EIGHT) as pool:
        runs = list(pool.map(one, range(EIGHT)))
    ask = seen.sqlite(database(uri))
    accounts = [seen.account(run.path, run.state, seen.in_mlflow(ask, run.run_id)) for run in runs]
    sums = {name: sum(getattr(one, name) for one in accounts) for name in Account.__struct_fields__}
    row = Row(
        fault="eight side-cars, one fresh sqlite store",
        account=Account(**sums),
        longest_s=max(run.longest_s for run in runs),
    )
    matrix.append(row)
    check(row)


def test_postgres_may_crash(tmp_path: Path, matrix: list[Row]) -> None:
    """A store in PostgreSQL, which dies and comes back in the middle of a run."""
    with (
        postgres.running() as server,
        recording.recording(
            tmp_path / "in-postgres", {"type": "mlflow", "tracking_uri": server.uri}, terms=PATIENT
        ) as run,
    ):
        run.record(1500)
        until(lambda: run.delivered == run.lines())
        healthy_kib = run.memory_kib()
        server.kill()
        run.record(4000, 0.0005)
        run.stay(recording.OUTAGE_S)
        close = run.close()
        server.start()
        run.see_off()
        held = seen.in_mlflow(server.ask, run.run_id)
        grown = run.peak_kib - healthy_kib
        row = run.row("PostgreSQL killed, restarted", held, close_s=close.longest_s, grown_kib=grown)
    matrix.append(row)
    check(row)
    assert grown < recording.GROWTH_KIB
    assert "lines behind" in run.said


def test_the_users_own_logging_shares_the_store(store_uri: str, tmp_path: Path, matrix: list[Row]) -> None:
    """Their calls succeed and wait for no more than one of our batches; their run holds their points and ours."""
    alone = train(store_uri, tmp_path)
    journal = tmp_path / "run.jsonl"
    beside = train(store_uri, tmp_path, str(journal))
    until(lambda: not processes.naming(str(journal)))
    ask = seen.sqlite(database(store_uri))
    theirs = [row for row in ask("SELECT run_uuid, key, step FROM metrics") if row[0] == beside.run]
    ours = {step for _, key, step in theirs if key == "train/loss"}
    account = Account(appended=STEPS, seen=len(ours), duplicates=len(theirs) - 3 * STEPS, dead=0)
    remarks = (
        f"their slowest call {1000 * beside.slowest_s:.0f} ms (alone {1000 * alone.slowest_s:.0f}), "
        f"median {1000 * beside.median_s:.1f} ms (alone {1000 * alone.median_s:.1f})"
    )
    row = Row(fault="the user's own MLflow logging", account=account, longest_s=beside.append_s, remarks=remarks)
    matrix.append(row)
    check(row)
    assert beside.slowest_s < alone.slowest_s + TOLERABLE_S


def train(uri: str, folder: Path, *journal: str) -> Felt:
    """A training of the user's, in a process of its own."""
    command = [sys.executable, callback.__file__, uri, str(STEPS), *journal]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Felt)
