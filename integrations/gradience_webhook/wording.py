"""A message as its receiver takes it: text that stays text, whoever wrote it, and never longer than what is shown."""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gradience_webhook.address import Style
from gradience_webhook.messages import Message

SLACK_LIMIT: Final = 40_000  # characters; what is longer is cut by Slack
DISCORD_LIMIT: Final = 2_000  # characters; what is longer is refused by Discord
_CUT: Final = "…"
_NO_EMBEDS: Final = 1 << 2  # Discord's flag: an address in a message is not fetched and shown
_SLACK_SPECIAL: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_DISCORD_MARKUP: Final = re.compile(r"[\\*_~`|#<>@\[\]():-]")
_GROUPS: Final = re.compile(r"@(?=channel|here|everyone|all)", re.IGNORECASE)
_NOBODY: Final = "@\u200b"  # Slack leaves a bare @channel alone, and servers that speak its language do not


def body(message: Message, style: Style) -> bytes:
    """The request's JSON."""
    return msgspec.json.encode(_WORDINGS[style](message))


def _slack(message: Message) -> dict[str, Any]:
    text = _GROUPS.sub(_NOBODY, message.text)
    escaped = _within(SLACK_LIMIT, (_SLACK_SPECIAL.get(character, character) for character in text))
    return {"text": escaped, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}


def _discord(message: Message) -> dict[str, Any]:
    escaped = _within(DISCORD_LIMIT, (_DISCORD_MARKUP.sub(r"\\\g<0>", character) for character in message.text))
    return {"content": escaped, "allowed_mentions": {"parse": []}, "flags": _NO_EMBEDS}


def _json(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return {key: value for key, value in fields.items() if value is not None}


_WORDINGS: Final = {"slack": _slack, "discord": _discord, "json": _json}


def _within(limit: int, pieces: Iterable[str]) -> str:
    """As many whole pieces as fit, in the units of UTF-16, by which some count."""
    taken: list[str] = []
    length, room = 0, limit - len(_CUT)
    for piece in pieces:
        length += len(piece.encode("utf-16-le")) // 2
        if length > room:
            return "".join(taken) + _CUT
        taken.append(piece)
    return "".join(taken)
