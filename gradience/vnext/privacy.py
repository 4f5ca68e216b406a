"""What text may reach the file: pure rules over one string or key.

A telemetry file is meant to be shared. Long text may be somebody's data, and a secret is nobody's telemetry.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from gradience.errors import TextViolationError

MAX_STR_LEN: Final = 256  # characters; the public release's limit
MASK: Final = "[REDACTED]"
SHORTEST: Final = 8  # characters of a secret that is masked wherever it stands: a shorter one may be any word

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SENSITIVE = (
    r"secrets?|passwords?|passwd|passphrase|api_?keys?|access_?keys?|private_?keys?|credentials?|authorization|bearer"
)
_SECRET_KEY = re.compile(rf"(?:^|_)(?:{_SENSITIVE}|auth)(?:_|$)|(?:^|_)(?:token|webhook|webhook_url)$")
_SECRET_NUMBER_KEY = re.compile(rf"(?:^|_)(?:{_SENSITIVE})$")
_PLACE_KEY = re.compile(r"_(?:sock|path|dir|file|home)$")  # where a secret is kept, and not the secret
# A tokenizer's special tokens are settings, not secrets.
_VOCABULARY_KEY = re.compile(r"(?:^|_)(?:pad|eos|bos|unk|mask|cls|sep|stop|start|end|image|audio|video|special)_token$")
_PASSWORD = re.compile(r"://[^/\s?#:]*:([^/\s?#]+)@")
_USER_INFO = re.compile(r"(?<=://)[^/\s?#]+(?=@)")
_ASSIGNED = re.compile(rf"(?i)((?:(?:{_SENSITIVE})[\"']?\s*[=:]\s*|(?:\b|[_-])token=)[\"']?)[^\s\"'&,;]+")
_FLAG = re.compile(r"--([\w-]+)(\s+)([^\s-]\S*)")
_WELL_KNOWN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|(?<=hooks\.slack\.com/)[\w/-]{10,}|(?<=/api/webhooks/)\d+/[\w-]{10,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+)"
    r"|(?i:\b(?:bearer|basic) [\w.~+/-]{12,}=*)"
)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How text is treated. `max_str_len` is None where text is allowed; `refuse` raises instead of redacting.

    `known` are secrets that are masked wherever they stand, as `secrets` finds them.
    """

    max_str_len: int | None = MAX_STR_LEN
    refuse: bool = False
    known: tuple[str, ...] = ()


DEFAULT: Final = Policy()


def is_secret(key: str, value: object = "") -> bool:
    """Whether this value is to be masked: that of `hub_token`, `apiKey`, `DB_PASSWORD`; not of `num_tokens`.

    Measurements stay: a float or a boolean is never a secret, an integer only under a key that ends in a secret word.
    """
    if value is None or isinstance(value, (bool, float)):
        return False
    snake = _CAMEL.sub("_", key).lower().replace("-", "_").strip("_")
    if isinstance(value, int):
        return bool(_SECRET_NUMBER_KEY.search(snake))
    return bool(_SECRET_KEY.search(snake)) and not _VOCABULARY_KEY.search(snake)


def has_token(text: str) -> bool:
    """Whether a token of well-known shape is in a text, or the address of a chat's webhook."""
    return bool(_WELL_KNOWN.search(text))


def secrets(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The secrets among settings or environment variables, by their keys, and the passwords of URLs; longest first."""
    found = {secret for secret in _secrets("", values) if len(secret) >= SHORTEST}
    return tuple(sorted(found, key=lambda secret: (-len(secret), secret)))


def clean(text: str, policy: Policy, pointer: str) -> str:
    """The text as it may be written: one that is too long becomes a mark that tells its length.

    User info in URLs, assigned secrets, tokens of well-known shape and secrets that the policy knows are masked under
    every policy. Lone surrogates, which no UTF-8 file can hold, become question marks.

    Raises:
        TextViolationError: The text is too long and the policy refuses it; `pointer` says where.
    """
    if policy.max_str_len is not None and len(text) > policy.max_str_len:
        if policy.refuse:
            raise TextViolationError(
                f"telemetry text too long ({len(text)} characters, {policy.max_str_len} allowed) at {pointer}: "
                "shorten it, or pass allow_text=True to record text"
            )
        return f"[REDACTED len={len(text)}]"
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return _without_secrets(_without(policy.known, text))


def _without(known: Iterable[str], text: str) -> str:
    for secret in known:
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    return text


def _without_secrets(text: str) -> str:
    text = _USER_INFO.sub(MASK, text) if "@" in text else text
    text = _FLAG.sub(_flag, text) if "--" in text else text
    return _ASSIGNED.sub(rf"\1{MASK}", _WELL_KNOWN.sub(MASK, text))


def _flag(match: re.Match[str]) -> str:
    name, space, value = match.groups()
    return f"--{name}{space}{MASK}" if is_secret(name) and not value.isdigit() else match.group()


def _secrets(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _secrets(str(name), child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _secrets(key, child)
    elif isinstance(value, str):
        yield from _PASSWORD.findall(value) if "://" in value else ()
        if is_secret(key, value) and not _PLACE_KEY.search(key.lower()):
            yield value
