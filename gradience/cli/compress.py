"""`gradience compress`: write the adapter that would test the hypothesis that a lower rank is enough."""

from pathlib import Path
from typing import Any, Final

import click
import msgspec

import gradience
from gradience import audit, references
from gradience.audit import compression
from gradience.audit.compression import Compression, publishing
from gradience.audit.disk.opening import opened
from gradience.audit.record import ENERGY_LEVEL, AuditRecord
from gradience.cli import keep, landing, output
from gradience.cli.bar import Bar
from gradience.cli.journals import Journal
from gradience.cli.keep import Keeping
from gradience.cli.landing import Entry, Landed, Note
from gradience.cli.options import Sectioned, taken, together
from gradience.cli.path import A_PATH, A_PLACE
from gradience.errors import GradienceError
from gradience.mirror import origin
from gradience.policy import catalogue, compression_event, cutting
from gradience.policy.cutting import Wish
from gradience.policy.rule import Policy
from gradience.references import Fetched
from gradience.report import compression_text

WORD: Final = "compression"
FORMATS: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_SAME: Final = ("kind", "metrics.adapter.fingerprint", "metrics.compressed_adapter.fingerprint")


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """The adapter, and what it is to become; a field for each option."""

    peft_dir: str
    out: Path
    initial: Path | None
    rank: int | None
    energy: float | None
    per_layer: bool
    dtype: str | None

    @property
    def wish(self) -> Wish:
        """The ranks that are asked for."""
        return Wish(rank=self.rank, energy=self.energy, per_layer=self.per_layer)


options: Final = together(
    click.option("--peft-dir", type=A_PLACE, required=True, metavar="DIR|REF", help="The adapter, as in audit."),
    click.option("--out", type=A_PATH, required=True, metavar="DIR", help="A new directory for the smaller adapter."),
    click.option("--rank", type=int, metavar="N", help="One rank for all modules; else what the audit suggests."),
    click.option(
        "--energy",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="SHARE",
        help="The least such rank that keeps this share of the whole update's energy.",
    ),
    click.option("--per-layer", is_flag=True, help="A rank for each module, of the same energy: see the manual."),
    click.option("--initial", type=A_PATH, metavar="DIR", help="The adapter before training, to be subtracted."),
    click.option("--dtype", type=click.Choice(list(FORMATS)), help="Of the new factors; else that of the old ones."),
    title="What is written",
)


@click.command(cls=Sectioned)
@options
@keep.options
@output.policy_option
@output.json_option
def command(*, as_json: bool, policy_file: Path | None, **given: Any) -> None:
    """Write an adapter of a lower rank: the best approximation of each module's update, and nothing else changed.

    No base model is needed. The adapter at --peft-dir is not touched, --out must not be there yet. What was done
    becomes part of the recorded run that trained the adapter, where its JSONL is found.
    """
    asked, keeping = taken(Input, given), taken(Keeping, given)
    if asked.rank is not None and (asked.energy is not None or asked.per_layer):
        raise click.UsageError("--rank says it all: leave out --energy and --per-layer")
    publishing.check(asked.out)
    keep.check(keeping, asked.peft_dir)
    policy = catalogue.load(policy_file)
    place = references.fetch(asked.peft_dir, tracker=keeping.tracking_uri)
    journal = keep.recorded(place, keeping)
    found = _compressed(place, asked, policy)
    told = compression_event.metrics(found, audit.fingerprint(asked.out), _sizes(found, asked.out))
    if not as_json:
        output.lines(compression_text.render(found, _sizes(found, asked.out)))
    landed = _landed(found, told, journal)
    delivered = keep.deliver(landed, keeping, place, what=WORD) if landed else []
    if as_json:
        output.document({**compression_event.document(told, found), **keep.told(landed, delivered)})
    keep.enforce(keeping, delivered)


def _compressed(place: Fetched, asked: Input, policy: Policy) -> Compression:
    record = _measured(place, asked)
    ranks = cutting.ranks(record, asked.wish, policy)
    made_by = {"gradience.version": gradience.__version__}
    with opened(place, initial=asked.initial) as adapter, Bar("writing") as progress:
        try:
            return compression.compress(
                adapter, asked.out, ranks, dtype=FORMATS.get(asked.dtype or ""), made_by=made_by, progress=progress
            )
        except OSError as error:
            raise GradienceError(f"cannot write {asked.out}: {error.strerror}; nothing of it was left") from error


def _measured(place: Fetched, asked: Input) -> AuditRecord:
    with Bar("measuring") as progress:
        energy = ENERGY_LEVEL if asked.energy is None else asked.energy
        return audit.audit(place, initial=asked.initial, energy_level=energy, progress=progress)


def _sizes(found: Compression, out: Path) -> tuple[int, int]:
    written = next(out.glob("*.safetensors"))
    return Path(found.source.adapter_weights_path).stat().st_size, written.stat().st_size


def _landed(found: Compression, told: dict[str, Any], journal: Journal | None) -> Landed | None:
    if journal is None:
        return None
    entry = Entry(event="metrics", payload={"kind": compression_event.KIND, "metrics": told}, identity=_SAME)
    return landing.land(journal, Note(adapter=found.source, maker=origin.COMPRESS, entries=(entry,)))
