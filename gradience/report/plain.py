"""Text from files and trackers made safe to print: it may carry escape sequences meant for the reader's terminal."""

import re
from typing import Final

# C0 and C1 controls, DEL, line and paragraph separators, and the marks that reverse the direction of what follows.
_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def plain(text: object) -> str:
    r"""One printable line: every character that could steer a terminal becomes its escape, such as `\x1b`."""
    return _UNSAFE.sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
