import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from gradience_webhook import WebhookSink, post
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradience.errors import InputError, RejectedError, SinkError, TargetGoneError, UnavailableError
from gradience.mirror import deadletters, reason
from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.drain import Outcome, drain
from gradience.mirror.pace import Pace
from gradience.mirror.sink import Batch, Position, Run
from gradience.mirror.sync import sync
from gradience.testing import check_sink, samples
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import RunStatus
from tests.integrations.webhook_server import PATH, Answer, Chat, serving

FINDING = {"severity": "info", "action": "over_provisioned", "message": "Rank 2 would do"}
ADVICE: dict[str, Any] = {"recommendations": [FINDING]}
VERDICT: dict[str, Any] = {
    "verdict": "review",
    "confidence": "medium",
    "suggested_rank": 2,
    "recommendations": [FINDING],
}
CONFIG = {"model_name": "tiny-llama", "lora": {"r": 16}}


@pytest.fixture
def chat() -> Iterator[Chat]:
    with serving() as found:
        yield found


def sink(chat: Chat, **options: Any) -> WebhookSink:
    """A sink of the server's only webhook."""
    return WebhookSink(**{"url": chat.url, "format": "slack", **options})


def line(event: str, *, ago_s: float = 60.0, **fields: Any) -> bytes:
    """A line that was written a minute ago."""
    return samples.line("0123456789abcdef", event, ts=time.time() - ago_s, **fields)


def alert(text: str, severity: str = "warning", **fields: Any) -> bytes:
    return line("alert", severity=severity, code="LOSS", message=text, **fields)


def journal(folder: Path, *lines: bytes) -> Path:
    (folder / "out").mkdir(exist_ok=True)
    return samples.write(folder / "out" / "run.jsonl", lines)


def deliver(path: Path, by: WebhookSink) -> Outcome:
    """Catch the chat up, without patience."""
    return sync(path, by, patience_s=0.2)


def delivery(by: WebhookSink, *lines: bytes) -> None:
    """Hand lines to a sink as a drain does."""
    records = samples.records(lines)
    by.open(Run(run_id=records[0].event.run_id, journal="/runs/out/run.jsonl", started=time.time() - 3600))
    by.deliver(Batch(records=tuple(records), position=Position(records[-1].line, "f")))


def test_the_sink_keeps_the_contract(chat: Chat) -> None:
    """As every sink, for a tracker that has no memory of positions."""
    check_sink(
        lambda: sink(chat, max_age_s=None),
        lambda _tracked: list(chat.texts),
        secrets=[chat.url, PATH],
        remembers=False,
    )


def test_each_line_that_matters_is_one_message_in_order(chat: Chat, tmp_path: Path) -> None:
    """A run's start and end, what is a warning at least, and every verdict."""
    path = journal(
        tmp_path,
        line("run_start", config=CONFIG, ago_s=3720),
        line("train_step", step=1, loss=1.0),
        alert("nothing much", "info"),
        alert("the loss jumped", step=7),
        line("recommendation", step=9, **VERDICT),
        line("recommendation", **ADVICE),
        line("metrics", step=9, kind="verification", metrics=samples.VERIFICATION),
        line("run_end", status="error", reason="OutOfMemoryError", ago_s=60),
    )
    assert deliver(path, sink(chat)).state is Delivery.UP_TO_DATE
    assert chat.texts == [
        "Started: run 01234567 (out/run.jsonl), tiny-llama r=16",
        "Warning LOSS at step 7: the loss jumped\nrun 01234567 (out/run.jsonl)",
        "Audit at step 9, review, rank 2 is worth testing, medium confidence: run 01234567 (out/run.jsonl)",
        "Verification at step 9, pass: accuracy from 0.9 to 0.89, rank 8 cut to 4, run 01234567 (out/run.jsonl)",
        "Ended error (OutOfMemoryError): run 01234567 (out/run.jsonl) after 61.0 min",
    ]


def test_an_audit_without_a_training_is_one_message(chat: Chat, tmp_path: Path) -> None:
    """Its journal has a start and an end for the sake of readers, and nothing started or ended."""
    frame = [line("run_start", config={}, meta={"created_by": "gradience audit"}), line("run_end", status="ok")]
    deliver(journal(tmp_path, frame[0], line("recommendation", **VERDICT), frame[1]), sink(chat))
    assert [text.split(",")[0] for text in chat.texts] == ["Audit"]


@pytest.mark.parametrize(("floor", "count"), [("info", 2), ("error", 1), ("critical", 0)])
def test_the_floor_is_chosen(chat: Chat, floor: str, count: int) -> None:
    """Below it, an alert or a recommendation is left out."""
    delivery(sink(chat, min_severity=floor), alert("a", "error"), line("recommendation", **ADVICE))
    assert len(chat.posts) == count


def test_slack_shows_text_as_it_is(chat: Chat) -> None:
    """No markup, no unfolded links, and nobody is called, whatever the text of an alert is."""
    delivery(sink(chat), alert("<!here> & @channel a\x1b[31mb *c*"))
    (sent,) = chat.posts
    assert sent["text"].startswith("Warning LOSS: &lt;!here&gt; &amp; @\u200bchannel a\\x1b[31mb *c*\n")
    assert (sent["mrkdwn"], sent["unfurl_links"], sent["unfurl_media"]) == (False, False, False)


def test_discord_shows_text_as_it_is(chat: Chat) -> None:
    """Its markup is escaped, and no mention reaches anybody."""
    delivery(sink(chat, format="discord"), alert("@everyone **now** <@1>"))
    (sent,) = chat.posts
    assert sent["content"].startswith(r"Warning LOSS\: \@everyone \*\*now\*\* \<\@1\>")
    assert sent["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize(("style", "key", "limit"), [("slack", "text", 40_000), ("discord", "content", 2_000)])
def test_a_message_is_cut_where_its_chat_ends(chat: Chat, style: str, key: str, limit: int) -> None:
    """Whole characters with their escapes, counted as the strictest counts them."""
    findings = [{"severity": "error", "action": "a", "message": "&*\U0001f600" * 80}] * (limit // 200)
    delivery(sink(chat, format=style), line("recommendation", recommendations=findings))
    text = chat.posts[0][key]
    assert text.endswith("…")
    assert limit - 8 <= len(text.encode("utf-16-le")) // 2 <= limit


def test_another_receiver_gets_fields(chat: Chat) -> None:
    """With a key that is the line's own, for a receiver that has a memory."""
    for _ in range(2):
        delivery(sink(chat, format="json"), samples.line("r", "alert", ts=time.time() // 1000 * 1000, severity="error",
                                                         code="NAN", message="m", step=3))  # fmt: skip
    first, again = chat.posts
    assert first == again
    assert (first["event"], first["severity"], first["step"], first["run_id"]) == ("alert", "error", 3, "r")


def test_what_was_posted_is_not_posted_again(chat: Chat, tmp_path: Path) -> None:
    """Not by --from-start and not without the cursor: the notes beside it tell."""
    path = journal(tmp_path, line("run_start", config={}), alert("a"))
    deliver(path, sink(chat))
    sync(path, sink(chat), from_start=True)
    made = sink(chat)
    CursorFile(path, made.name, made.target).path.unlink()
    samples.write(path, [alert("b")])
    assert deliver(path, made).sent == 3
    assert [text.partition("\n")[0] for text in chat.texts[1:]] == ["Warning LOSS: a", "Warning LOSS: b"]


def test_a_lost_answer_brings_a_message_twice_and_loses_none(chat: Chat, tmp_path: Path) -> None:
    """Nobody can tell whether it was taken: at least once is the promise, and what was noted does not come again."""
    path = journal(tmp_path, alert("a"), alert("b"), alert("c"))
    chat.answers.extend([Answer(), Answer(lost=True)])
    deliver(path, sink(chat))
    deliver(path, sink(chat))
    assert [text[14:15] for text in chat.texts] == ["a", "b", "b", "c"]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([Answer(), Answer(lost=True), Answer(503), Answer(429)]), max_size=12))
def test_whatever_the_answers_each_message_comes_in_its_order(chat: Chat, answers: list[Answer]) -> None:
    """At least once, and again only after an answer that was lost; each attempt is by a process of its own."""
    chat.posts.clear()
    chat.answers = deque(answers)
    with tempfile.TemporaryDirectory() as folder:
        path = journal(Path(folder), *[alert(letter) for letter in "abcd"])
        made = sink(chat)
        store = CursorFile(path, made.name, made.target)
        while drain(path, sink(chat), store, _impatient()).state is not Delivery.UP_TO_DATE:
            pass
    told = "".join(text[14:15] for text in chat.texts)
    assert "".join(letter for letter, _ in groupby(told)) == "abcd"
    assert len(told) - 4 <= sum(answer.lost for answer in answers)


def test_a_note_that_a_kill_tore_spoils_no_other(chat: Chat, tmp_path: Path) -> None:
    """Its message comes again, and only that."""
    path = journal(tmp_path, alert("a"), alert("b"))
    deliver(path, sink(chat))
    (notes,) = path.parent.glob("*/*.posted")
    notes.write_bytes(notes.read_bytes()[:-9])
    sync(path, sink(chat), from_start=True)
    sync(path, sink(chat), from_start=True)
    assert [text[14:15] for text in chat.texts] == ["a", "b", "b"]


def test_history_does_not_flood_a_channel(chat: Chat, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is older than a day is passed over, and said once with its count."""
    old = [alert(str(number), ago_s=90_000) for number in range(50)]
    outcome = deliver(journal(tmp_path, *old, alert("now")), sink(chat))
    assert (outcome.state, len(chat.posts)) == (Delivery.UP_TO_DATE, 1)
    assert [entry.getMessage() for entry in caplog.records] == [
        "webhook: 50 messages are older than 24.0 h and not posted."
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(503), UnavailableError),
        (Answer(429, headers={"Retry-After": "3600"}), UnavailableError),
        (Answer(429), UnavailableError),
        (Answer(lost=True), UnavailableError),
        (Answer(400, b"invalid_payload"), RejectedError),
        (Answer(413), RejectedError),
        (Answer(403, b"action_prohibited"), TargetGoneError),
        (Answer(404, b"no_service"), TargetGoneError),
        (Answer(410), TargetGoneError),
    ],
)
def test_an_answer_means_what_it_says(chat: Chat, answer: Answer, error: type[SinkError]) -> None:
    """Later, never, or only a person can mend it; the chat's own word for it is passed on."""
    chat.answers.append(answer)
    with pytest.raises(error, match=answer.body.decode() if answer.status > 399 and answer.body != b"ok" else None):
        delivery(sink(chat), alert("a"))


def test_a_chat_that_does_not_answer_is_given_up(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is bounded in time."""
    monkeypatch.setattr(post, "TIMEOUT_S", 0.1)
    chat.answers.append(Answer(hang_s=0.5))
    with pytest.raises(UnavailableError, match="no answer: T"):
        delivery(sink(chat), alert("a"))


def test_a_short_wait_is_waited(chat: Chat) -> None:
    """A chat takes about a message a second, and says how long to wait: that is no outage."""
    chat.answers.append(Answer(429, headers={"Retry-After": "0.1"}))
    delivery(sink(chat), alert("a"), alert("b"))
    assert len(chat.posts) == 2


def test_a_refused_message_is_set_aside_and_the_others_come(chat: Chat, tmp_path: Path) -> None:
    """Once each, in their order, around the one in the dead letters."""
    path = journal(tmp_path, alert("a"), alert("b"), alert("c"))
    chat.answers.extend([Answer(), *[Answer(400)] * 3])
    made = sink(chat)
    outcome = deliver(path, made)
    assert (outcome.state, outcome.rejected) == (Delivery.UP_TO_DATE, 1)
    assert [text[14:15] for text in chat.texts] == ["a", "c"]
    (letter,) = deadletters.read(CursorFile(path, made.name, made.target).dead_letters)
    assert letter.line == 2


def test_no_redirection_is_followed(chat: Chat) -> None:
    """It would take a secret, and what is said, to another place."""
    with serving() as elsewhere:
        chat.answers.append(Answer(307, headers={"Location": elsewhere.url}))
        with pytest.raises(TargetGoneError, match="the answer was 307"):
            delivery(sink(chat), alert("a"))
        assert elsewhere.asked == []


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    """What stands between us and the chat learns no secret, whatever certificate it has made itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=127.0.0.1"]
    command = ["openssl", "req", "-x509", *kind, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with serving(certificate, key) as chat:
        with pytest.raises(UnavailableError, match="its certificate is not trusted"):
            delivery(sink(chat), alert("a"))
        assert chat.asked == []


def test_a_killed_run_is_told_once(chat: Chat, tmp_path: Path) -> None:
    """Of a run whose start the channel has seen; another start makes it a running one again."""
    path = journal(tmp_path, line("run_start", config={}))
    made = sink(chat)
    deliver(path, made)
    run = CursorFile(path, made.name, made.target).run(_cursor(path, made), "0123456789abcdef")
    for _ in range(2):
        made.open(run)
        made.close(RunStatus.ERROR, 5.0)
    assert chat.texts[1:] == [
        "Ended without a word: run 01234567 (out/run.jsonl); its recorder is gone, so it counts as error"
    ]
    samples.write(path, [line("run_start", config={})])
    deliver(path, sink(chat))
    again = sink(chat)
    again.open(run)
    again.close(RunStatus.ERROR, 5.0)
    assert len(chat.posts) == 4


def test_a_run_that_nobody_heard_of_dies_in_silence(chat: Chat) -> None:
    """A journal of last month may end without a word: that is no news."""
    made = sink(chat)
    delivery(made, line("run_start", config={}, ago_s=90_000))
    made.close(RunStatus.ERROR, 5.0)
    assert chat.posts == []


def test_the_url_is_kept_secret(chat: Chat, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It stands in no file, no log, no error and no repr."""
    caplog.set_level(logging.DEBUG)
    path = journal(tmp_path, alert("a"), alert("b", ago_s=1e6))
    made = sink(chat)
    said = [repr(made), made.target]
    for answer in (Answer(400, b"hunter"), Answer(500), Answer(404, PATH.encode())):
        chat.usual = answer
        said.append(str(deliver(path, made).error))
        with pytest.raises(SinkError) as failed:
            delivery(made, alert("a"))
        said.append(reason.of(failed.value))
    files = [place.read_text() for place in tmp_path.rglob("*") if place.is_file()]
    assert [text for text in [*said, *files, caplog.text] if "hunter" in text] == []


@pytest.mark.slow
def test_a_recorder_keeps_the_url_secret_too(chat: Chat, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While it says how far behind the chat is, and what catches it up; in the log of its side-car as well."""
    chat.usual = Answer(503)
    wanted = {"type": "gradience_webhook:WebhookSink", "url": chat.url, "format": "slack"}
    with TelemetryWriter(tmp_path / "run.jsonl", sinks=[wanted], close_timeout_s=2.0) as writer:
        writer.run_start({})
    assert "catch up with: gradience sync" in caplog.text
    files = [place.read_text() for place in tmp_path.rglob("*") if place.is_file()]
    assert [text for text in [*files, caplog.text] if "hunter" in text] == []
    (pid,) = re.findall(r"process (\d+) delivers", "\n".join(files))
    os.kill(int(pid), signal.SIGTERM)  # it would stay for ten minutes


@pytest.mark.parametrize(
    "url",
    [
        "hooks.slack.com/x",
        "ftp://h/hunter2",
        "https://me@h/hunter2",
        "https://h:hunter2/",
        "https://h/hunter 2",
        "https://[/hunter2",
    ],
)
def test_a_bad_url_is_refused_without_being_shown(url: str) -> None:
    """Before anything is sent to anybody."""
    with pytest.raises(InputError, match="not of the form https://HOST/PATH") as refused:
        WebhookSink(url=url, format="slack")
    assert "hunter2" not in str(refused.value)


def test_the_format_follows_from_the_host() -> None:
    """Where it does not, it has to be given: a guess would be refused by the receiver, once a run is over."""
    for url in ("https://hooks.slack.com/services/x", "https://discord.com/api/webhooks/1/x"):
        assert WebhookSink(url=url).target.startswith(url.split("/")[2])
    with pytest.raises(InputError, match="set GRADIENCE_WEBHOOK_FORMAT, to one of slack, discord, json"):
        WebhookSink(url="https://slack.com.example.org/x")
    with pytest.raises(InputError, match="in format 'teams'"):
        WebhookSink(url="https://hooks.slack.com/x", format="teams")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="severity 'loud'"):
        WebhookSink(url="https://hooks.slack.com/x", min_severity="loud")  # type: ignore[arg-type]


def test_the_url_may_come_from_the_environment(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no command line and no file shows it."""
    monkeypatch.setenv("GRADIENCE_WEBHOOK_URL", chat.url)
    monkeypatch.setenv("GRADIENCE_WEBHOOK_FORMAT", "slack")
    delivery(WebhookSink(), alert("a"))
    assert len(chat.posts) == 1
    assert chat.agents == [chat.agents[0]]
    assert chat.agents[0].startswith("gradience/")  # Discord turns urllib's own name away
    monkeypatch.delenv("GRADIENCE_WEBHOOK_URL")
    with pytest.raises(InputError, match="set GRADIENCE_WEBHOOK_URL"):
        WebhookSink()


@pytest.mark.parametrize(
    ("style", "answer", "method", "said"),
    [
        ("slack", Answer(400, b"no_text"), "POST", "the webhook at 127.0.0.1 is there"),
        ("discord", Answer(body=b"{}"), "GET", "the webhook at 127.0.0.1 is there"),
        ("json", Answer(405), "HEAD", "127.0.0.1 answers 405; whether"),
    ],
)
def test_a_probe_posts_nothing(chat: Chat, style: str, answer: Answer, method: str, said: str) -> None:
    """What a live webhook of each kind answers to it."""
    chat.answers.append(answer)
    assert sink(chat, format=style).probe(2.0).startswith(said)
    assert (chat.asked, chat.posts) == ([method], [])


@pytest.mark.parametrize(("style", "answer"), [("slack", Answer(404, b"no_service")), ("discord", Answer(401))])
def test_a_probe_of_a_dead_webhook_says_so(chat: Chat, style: str, answer: Answer) -> None:
    """The way out is a new one."""
    chat.answers.append(answer)
    with pytest.raises(TargetGoneError, match="make a new webhook"):
        sink(chat, format=style).probe(2.0)


def test_a_probe_of_nobody_is_bounded(chat: Chat) -> None:
    """In time, whatever the receiver."""
    chat.usual = Answer(hang_s=0.5)
    for style in ("slack", "discord", "json"):
        with pytest.raises(UnavailableError, match="no answer"):
            sink(chat, format=style).probe(0.1)


def _cursor(path: Path, made: WebhookSink) -> Any:
    return CursorFile(path, made.name, made.target).load()


def _impatient() -> Pace:
    """That of a drain which gives up at the first failure, in no time."""
    waited: list[float] = []
    return Pace(clock=lambda: sum(waited), sleep=waited.append, deadline_s=0.1)
