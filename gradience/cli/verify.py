"""`gradience verify`: whether a compressed adapter is as good as its original, by somebody's own evaluation."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from gradience import references
from gradience.audit.disk import adapter
from gradience.audit.record import AdapterInfo
from gradience.cli import delivery, keep, landing, output, verify_input, verify_trial
from gradience.cli.journals import Journal
from gradience.cli.keep import Keeping
from gradience.cli.landing import Entry, Landed, Note
from gradience.cli.options import Sectioned, taken
from gradience.cli.verify_input import Input, Judging
from gradience.cli.verify_trial import COMPRESSED, ORIGINAL, Trial
from gradience.errors import InputError
from gradience.evaluation import command as commands
from gradience.evaluation import metric, paired, verdict, verification
from gradience.evaluation.verdict import Tolerance
from gradience.evaluation.verification import Conduct, Verification
from gradience.mirror import origin
from gradience.policy import verification as policy
from gradience.policy.rule import codes
from gradience.references import Fetched
from gradience.report import verification_text

WORD = "verification"


@click.command(cls=Sectioned)
@verify_input.evaluation
@verify_input.judging
@keep.options
@output.json_option
@output.fail_on_option
def command(*, as_json: bool, fail_on: str | None, **given: Any) -> None:
    """Run your own evaluation on an adapter and on its compressed form, and say whether the second is as good.

    The result becomes part of the recorded run that the original belongs to, where its JSONL is found; --log-to tells
    a tracker, whose run gets the tag gradience.verified. Exit code 3 when the compressed adapter is worse.
    """
    asked, judging, keeping = taken(Input, given), taken(Judging, given), taken(Keeping, given)
    output.known_bar(fail_on, codes(policy.RULES))
    allowed = _checked(asked, judging, keeping)
    places = {
        ORIGINAL: references.fetch(asked.original, tracker=keeping.tracking_uri),
        COMPRESSED: references.fetch(asked.compressed, tracker=keeping.tracking_uri),
    }
    subjects = {side: _identified(place) for side, place in places.items()}
    if subjects[ORIGINAL].fingerprint == subjects[COMPRESSED].fingerprint:
        raise InputError(f"cannot verify {asked.compressed}: it is the same adapter as {asked.original}")
    if judging.repeats > 1 and not judging.seed_variable and not commands.uses(asked.command, commands.SEED):
        output.talk("The repeats have no seed: name {seed} in --command or give --seed-variable, if it takes one.")
    journal = keep.recorded(places[ORIGINAL], keeping)
    trial = verify_trial.run(asked, judging, {side: _path(place) for side, place in places.items()})
    found = _judged(trial, asked, judging, allowed, subjects)
    if not as_json:
        output.lines(verification_text.render(found))
    _keep(found, subjects[ORIGINAL], journal, keeping, places[ORIGINAL], as_json=as_json, fail_on=fail_on)


def _checked(asked: Input, judging: Judging, keeping: Keeping) -> Tolerance:
    """What can be refused before anything is run."""
    try:
        commands.check(asked.command, shell=asked.shell)
        allowed = verdict.tolerance(judging.tolerance)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    keep.check(keeping, asked.original, asked.compressed)
    return allowed


def _identified(place: Fetched) -> AdapterInfo:
    with place.named():
        info = adapter.identify(place.folder)
    return msgspec.structs.replace(info, peft_dir=place.shown)


def _path(place: Fetched) -> Path:
    """As it was given, where it is here: the command runs where we do."""
    return place.folder


def _judged(
    trial: Trial, asked: Input, judging: Judging, allowed: Tolerance, subjects: dict[str, AdapterInfo]
) -> Verification:
    found = paired.difference(trial.pairs, is_share=metric.is_share(trial.metric))
    conduct = Conduct(
        metric=trial.metric,
        command=asked.command,
        seeds=trial.seeds,
        original_values=[one.measure.value for one in trial.original],
        compressed_values=[one.measure.value for one in trial.compressed],
        original_seconds=sum(one.seconds for one in trial.original) / len(trial.original),
        compressed_seconds=sum(one.seconds for one in trial.compressed) / len(trial.compressed),
        tolerance_stated=not allowed.is_default,
    )
    judged = verdict.judge(found, allowed, higher_is_better=_direction(trial, judging))
    return verification.of(judged, conduct, subjects[ORIGINAL], subjects[COMPRESSED])


def _direction(trial: Trial, judging: Judging) -> bool:
    told = trial.original[0].measure.higher_is_better
    for known in (judging.higher_is_better, told, metric.is_better_up(trial.metric)):
        if known is not None:
            return known
    raise InputError(f"whether more {trial.metric} is better is not known: add --higher-is-better or --lower-is-better")


def _keep(
    found: Verification,
    original: AdapterInfo,
    journal: Journal | None,
    keeping: Keeping,
    place: Fetched,
    *,
    as_json: bool,
    fail_on: str | None,
) -> None:
    landed = landing.land(journal, _note(found, original)) if journal else None
    delivered: list[delivery.Delivered] = []
    try:
        delivered = keep.deliver(landed, keeping, place, what=WORD) if landed else []
    finally:  # the verification is done and kept, whatever a tracker says
        if as_json:
            output.document(_document(found, landed, delivered))
    output.enforce(policy.judge(found), fail_on)
    if found.verified == "fail":
        sys.exit(output.FINDINGS)
    keep.enforce(keeping, delivered)


def _note(found: Verification, original: AdapterInfo) -> Note:
    """Without an identity: measured again is measured anew."""
    payload = {"kind": verification.KIND, "metrics": verification.metrics(found)}
    return Note(adapter=original, maker=origin.VERIFY, entries=(Entry(event="metrics", payload=payload),))


def _document(found: Verification, landed: Landed | None, delivered: list[delivery.Delivered]) -> dict[str, Any]:
    return {
        "schema": verification.DOCUMENT_SCHEMA,
        **verification.metrics(found),
        "findings": msgspec.to_builtins(policy.judge(found)),
        **keep.told(landed, delivered),
    }
