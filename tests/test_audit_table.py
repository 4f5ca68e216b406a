"""A record that shows itself."""

from collections.abc import Callable
from html.parser import HTMLParser

import msgspec

from gradience.audit.record import AuditRecord

MakeRecord = Callable[..., AuditRecord]


class _Cells(HTMLParser):
    """Collects the cells of all tables, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self._open = False

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the library's signature
        """A cell begins."""
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        """A cell ends; what follows is text around the tables."""
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        """Text, of the cell that is open if one is."""
        if self._open:
            self.cells[-1] += data


def _html(record: AuditRecord) -> _Cells:
    parser = _Cells()
    parser.feed(record._repr_html_())
    return parser


def test_a_record_prints_as_a_short_report(make_record: MakeRecord) -> None:
    """Title, types, modules; one line each."""
    lines = str(make_record({"layers.0.q_proj": [2.0, 1.0], "layers.0.mlp": [1.0, 1.0]})).splitlines()
    assert lines[0] == (
        "LoRA audit of out/adapter: r=2, 2 modules, 512 parameters, 0.0% of them beyond the energy rank at 95%"
    )
    first = [line.split()[0] for line in lines[1:] if line]
    assert first == ["type", "attn", "mlp", "module", "layers.0.q_proj", "layers.0.mlp"]


def test_a_notebook_shows_a_table(make_record: MakeRecord) -> None:
    """With the cells that the text has."""
    record = make_record({"layers.0.q_proj": [2.0, 1.0]})
    shown = _html(record).cells
    assert [cell for line in str(record).splitlines()[3:4] for cell in line.split()] == shown[8:16]
    assert {"layers.0.q_proj", "1.25", "2.236", "100.0%"} <= set(shown)


def test_what_a_file_says_is_only_text(make_record: MakeRecord) -> None:
    """No markup reaches a notebook, no escape sequence a terminal."""
    record = make_record({"<script>alert(1)</script>\x1b[2J": [1.0]}, peft_dir='"><img src=x>\x1b')
    record = msgspec.structs.replace(record, issues=("odd: <b>\n",))
    assert not {"script", "img"} & _html(record).tags
    assert "\x1b" not in str(record) + record._repr_html_()
    assert "<script>" not in record._repr_html_()


def test_a_long_table_is_cut_and_says_so(make_record: MakeRecord) -> None:
    """A notebook is a file, a terminal has a height."""
    record = make_record({f"layers.{i}.q_proj": [1.0] for i in range(600)})
    assert str(record).endswith("... and 580 more in record.modules")
    assert "... and 100 more in record.modules" in record._repr_html_()
    assert len(record._repr_html_()) < 200_000
