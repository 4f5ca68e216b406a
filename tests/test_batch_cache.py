"""Audits that are kept."""

import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gradience.audit.record import AuditRecord
from gradience.batch import cache
from gradience.batch.cache import Cache

MakeRecord = Callable[..., AuditRecord]


@pytest.fixture
def whole(make_record: MakeRecord) -> AuditRecord:
    """A record with the singular values of its modules."""
    return make_record({"0.q_proj": [3.0, 1.0, 0.1], "1.mlp": [2.0, 0.0]})


@pytest.fixture
def record(whole: AuditRecord) -> AuditRecord:
    """The same without them."""
    modules = tuple(msgspec.structs.replace(module, singular_values=()) for module in whole.modules)
    return msgspec.structs.replace(whole, modules=modules)


def test_what_is_put_can_be_got(tmp_path: Path, record: AuditRecord) -> None:
    """The round trip is exact, through any object that looks at the folder."""
    assert Cache(tmp_path / "new").put("ab12", record)
    assert Cache(tmp_path / "new").get("ab12") == record
    assert Cache(tmp_path / "new").get("ab13") is None


def test_singular_values_stay_behind(tmp_path: Path, whole: AuditRecord, record: AuditRecord) -> None:
    """Most of the bytes, and nothing that a table needs."""
    store = Cache(tmp_path)
    store.put("ab", whole)
    assert store.get("ab") == record


@pytest.mark.parametrize("damage", [b"", b"\0" * 4096, b"{}", zlib.compress(b"\x80"), zlib.compress(b"\xc1"), None])
def test_a_damaged_entry_is_as_good_as_none(tmp_path: Path, record: AuditRecord, damage: bytes | None) -> None:
    """Empty, zeros, something else, or cut off: it is made again, and written over."""
    store = Cache(tmp_path)
    store.put("ab", record)
    [entry] = tmp_path.glob("*/*")
    entry.write_bytes(entry.read_bytes()[:-7] if damage is None else damage)
    assert store.get("ab") is None
    store.put("ab", record)
    assert store.get("ab") == record


def test_an_entry_appears_whole(tmp_path: Path, record: AuditRecord) -> None:
    """It is renamed into place; nothing else stays behind."""
    Cache(tmp_path).put("ab", record)
    assert [path.name for path in tmp_path.glob("*/.*")] == []


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, record: AuditRecord) -> None:
    """The audit is worth more than the keeping of it."""
    (tmp_path / "file").touch()
    assert not Cache(tmp_path / "file" / "cache").put("ab", record)


def test_the_key_depends_on_everything_that_the_numbers_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes, the options in any order, and the version of the measures: a release may mend a wrong number."""
    one = cache.key("sha256:1", {"energy_level": 0.95, "device": "cpu"})
    assert one == cache.key("sha256:1", {"device": "cpu", "energy_level": 0.95})
    others = {cache.key("sha256:2", {"energy_level": 0.95, "device": "cpu"}), cache.key("sha256:1", {})}
    for version in ("AUDIT_VERSION", "__version__"):
        monkeypatch.setattr(cache, version, "99")
        others.add(cache.key("sha256:1", {"energy_level": 0.95, "device": "cpu"}))
    assert len(others - {one}) == 4
