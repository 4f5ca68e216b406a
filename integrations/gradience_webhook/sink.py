"""The sink as the registry loads it: a chat is told what matters, once."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, Literal

from gradience.errors import InputError, UnavailableError
from gradience.mirror import reason
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.report.numbers import duration
from gradience.vnext.types import RunStatus, Severity
from gradience_webhook import messages, post, probing, wording
from gradience_webhook.address import FORMAT_VARIABLE, URL_VARIABLE, Address, Style
from gradience_webhook.messages import Message
from gradience_webhook.posted import Note, Posted

log = logging.getLogger("gradience.webhook")

MAX_AGE_S: Final = 86_400.0  # a chat is about now: what is older is history, and a journal of it would be a flood
_DELIVERY_S: Final = 30.0  # for the messages of one batch, the waits that a chat asks for included


class WebhookSink:
    """Post what a person should hear about: a run's start and end, alerts, recommendations and verdicts of audits.

    A webhook remembers nothing: `Tracked.position` is None, and the cursor alone tells what was delivered. What comes
    again is recognised by a file of posted messages beside the cursor. So each message comes at least once, and twice
    only where a process died, or an answer was lost, between the post and its note; or where the state folder was lost
    and a message is younger than `max_age_s`.

    Args:
        url: the webhook, a secret; else the environment's GRADIENCE_WEBHOOK_URL.
        format: `slack`, `discord` or `json`, where the URL's host does not tell; else GRADIENCE_WEBHOOK_FORMAT.
        min_severity: alerts and recommendations below it are left out: `info`, `warning`, `error` or `critical`.
        max_age_s: what was recorded longer ago is passed over, and counted; None posts everything.

    Raises:
        InputError: an argument makes no sense, or there is no URL.
    """

    name: ClassVar[str] = "webhook"
    process_env: ClassVar[Mapping[str, str | None]] = {}

    def __init__(
        self,
        *,
        url: str | None = None,
        format: Style | None = None,  # noqa: A002 - a configuration says it in the word that everybody looks for
        min_severity: Literal["info", "warning", "error", "critical"] = "warning",
        max_age_s: float | None = MAX_AGE_S,
    ) -> None:
        given = url or os.environ.get(URL_VARIABLE)
        if not given:
            raise InputError(f"cannot post to a webhook without its URL: set {URL_VARIABLE}, or give the option url")
        reason.learn({"secret": given})  # no text that quotes the options shows it, such as the command that catches up
        self._address = Address(given, format or os.environ.get(FORMAT_VARIABLE) or None)
        self._floor = _severity(min_severity)
        self._max_age_s = max_age_s
        self._run: Run | None = None
        self._posted = Posted(None)
        self._passed_over: set[str] = set()

    @property
    def target(self) -> str:
        """The host and a hash of the URL."""
        return self._address.target

    def probe(self, timeout_s: float) -> str:
        """What answers at the URL, without posting anything."""
        return probing.probe(self._address, timeout_s)

    def open(self, run: Run) -> Tracked:
        """Take up a run; nothing is posted, and nobody is asked."""
        if self._run is None or self._run.state_dir != run.state_dir:
            self._posted = Posted(self._notes(run))
        self._run = run
        return Tracked(id=run.run_id)

    def deliver(self, batch: Batch) -> None:
        """Post the messages of a batch, in order; those that were posted before are left out."""
        if self._run is None:
            raise RuntimeError("WebhookSink.deliver was called before open")
        until = time.monotonic() + _DELIVERY_S
        for record in batch.records:
            message = messages.message(record, self._run, self._floor)
            if message is not None and message.key not in self._posted:
                self._post(message, until)

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Let go; of a run whose start was posted and no end, a status tells the end."""
        run, self._run = self._run, None
        self._say_passed_over()
        if run is not None and status is not None and self._posted.is_running(run.run_id):
            self._post(messages.killed(run, status, time.time()), time.monotonic() + timeout_s)

    def _post(self, message: Message, until: float) -> None:
        if self._max_age_s is not None and message.ts < time.time() - self._max_age_s:
            self._passed_over.add(message.key)
            return
        action = f"Posting to the webhook at {self._address.host}"
        content = wording.body(message, self._address.style)
        while (left := until - time.monotonic()) > 0:
            answer = post.send(self._address, action, content, timeout_s=min(left, post.TIMEOUT_S))
            if answer.status != 429 or answer.wait_s is None or answer.wait_s >= until - time.monotonic():
                answer.check(action)
                self._posted.add(Note(key=message.key, run_id=message.run_id, runs=message.runs))
                return
            time.sleep(answer.wait_s)
        raise UnavailableError(f"{action}: the time for one delivery is up; the rest comes later")

    def _notes(self, run: Run) -> Path | None:
        _, _, digest = self.target.rpartition("/")
        return Path(run.state_dir) / f"{self.name}-{digest}.posted" if run.state_dir is not None else None

    def _say_passed_over(self) -> None:
        if self._passed_over and self._max_age_s is not None:
            age = duration(self._max_age_s)
            log.warning("webhook: %d messages are older than %s and not posted.", len(self._passed_over), age)
        self._passed_over.clear()


def _severity(given: str) -> Severity:
    try:
        return Severity(given)
    except ValueError:
        known = ", ".join(severity.value for severity in Severity)
        raise InputError(f"cannot post from severity {given!r} on: it takes {known}") from None
