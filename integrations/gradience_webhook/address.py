"""Where messages go. Whoever has the URL of a webhook can post to it, so only `url` ever holds it."""

import re
from contextlib import suppress
from hashlib import blake2b
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from gradience.errors import InputError

Style = Literal["slack", "discord", "json"]

URL_VARIABLE: Final = "GRADIENCE_WEBHOOK_URL"
FORMAT_VARIABLE: Final = "GRADIENCE_WEBHOOK_FORMAT"
_STYLES: Final[tuple[Style, ...]] = get_args(Style)
_HOSTS: Final[tuple[tuple[str, Style], ...]] = (
    ("slack.com", "slack"),
    ("slack-gov.com", "slack"),
    ("discord.com", "discord"),
    ("discordapp.com", "discord"),
)


class Address:
    """A webhook's URL and the form of message that it takes; `style` is None where its host is to tell.

    Raises:
        InputError: it is no address of a webhook, or nothing tells the form; the text does not show the URL.
    """

    def __init__(self, url: str, style: str | None = None) -> None:
        host = _host(url)
        if host is None:
            raise InputError(
                "cannot post to a webhook: its URL is not of the form https://HOST/PATH; it is a secret, so it is not "
                "shown here"
            )
        self.url: Final = url
        self.host: Final = host
        self.style: Final = _style(style, host)

    @property
    def target(self) -> str:
        """The host and a hash, which tells two webhooks apart and leads to neither."""
        return f"{self.host}/{blake2b(self.url.encode(), digest_size=4).hexdigest()}"

    def __repr__(self) -> str:
        return f"Address({self.target})"


def _host(url: str) -> str | None:
    """The host of an address that can be posted to without being changed; None for any other text."""
    with suppress(ValueError):
        parts = urlsplit(url)
        _ = parts.port  # which may be no number
        if parts.scheme in ("http", "https") and "@" not in parts.netloc and re.fullmatch(r"[!-~]+", url):
            return parts.hostname
    return None


def _style(given: str | None, host: str) -> Style:
    for style in _STYLES:
        if given == style:
            return style
    if given is not None:
        raise InputError(f"cannot post to a webhook in format {given!r}: it takes {', '.join(_STYLES)}")
    for domain, style in _HOSTS:
        if f".{host}".endswith(f".{domain}"):
            return style
    raise InputError(
        f"cannot tell what the webhook at {host} takes: give the option format, or set {FORMAT_VARIABLE}, to one of "
        f"{', '.join(_STYLES)}"
    )
