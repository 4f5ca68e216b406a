from collections.abc import Callable

import pytest

from gradience.audit.record import AuditRecord
from gradience.errors import InputError
from gradience.report import module_rows
from gradience.report.module_rows import Wanted

MakeRecord = Callable[..., AuditRecord]


@pytest.fixture
def record(make_record: MakeRecord) -> AuditRecord:
    """Three modules; the second one is untrained."""
    return make_record({"layers.0.q_proj": [2.0, 1.0], "layers.0.mlp": [0.0, 0.0], "layers.1.q_proj": [2.0, 2.0]})


def names(record: AuditRecord, **wanted: str | int) -> list[str]:
    """The modules that are selected."""
    return [module.name for module in module_rows.select(record, Wanted(**wanted))]  # type: ignore[arg-type]


def test_all_modules_come_in_the_order_of_the_adapter(record: AuditRecord) -> None:
    """Nothing asked, nothing changed."""
    assert names(record) == ["layers.0.q_proj", "layers.0.mlp", "layers.1.q_proj"]


def test_a_glob_matches_whole_names(record: AuditRecord) -> None:
    """Its star goes over dots; case counts."""
    assert names(record, glob="*.q_proj") == ["layers.0.q_proj", "layers.1.q_proj"]
    assert names(record, glob="layers.0.*") == ["layers.0.q_proj", "layers.0.mlp"]


@pytest.mark.parametrize("glob", ["q_proj", "*.Q_PROJ", ""])
def test_a_glob_that_matches_nothing_is_an_error(record: AuditRecord, glob: str) -> None:
    """An empty table would look like a result."""
    with pytest.raises(InputError, match=r"none of 3 does; the first is layers\.0\.q_proj"):
        names(record, glob=glob)


def test_numbers_fall_and_text_rises_and_a_minus_turns_it_round(record: AuditRecord) -> None:
    """The largest first is what one looks for; equal ones keep their order."""
    assert names(record, sort="stable_rank") == ["layers.1.q_proj", "layers.0.q_proj", "layers.0.mlp"]
    assert names(record, sort="-stable_rank") == ["layers.0.mlp", "layers.0.q_proj", "layers.1.q_proj"]
    assert names(record, sort="name") == ["layers.0.mlp", "layers.0.q_proj", "layers.1.q_proj"]


@pytest.mark.parametrize("turn", ["", "-"])
def test_what_is_not_known_stands_last(record: AuditRecord, turn: str) -> None:
    """A ratio of zeros is neither large nor small."""
    assert names(record, sort=f"{turn}sigma_1_over_2")[-1] == "layers.0.mlp"


@pytest.mark.parametrize("column", module_rows.COLUMNS)
def test_every_column_sorts(record: AuditRecord, column: str) -> None:
    """Each is one plain value per module."""
    assert len(names(record, sort=column)) == 3


def test_the_most_surplus_are_taken_from_what_matches_and_then_sorted(record: AuditRecord) -> None:
    """Choice first, order after."""
    assert names(record, glob="*q_proj", top=1) == ["layers.0.q_proj"]
    assert names(record, top=2, sort="layer") == ["layers.0.mlp", "layers.0.q_proj"]
