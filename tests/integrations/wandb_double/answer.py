"""What the answers to GraphQL are made of: the operation that is asked for, and how a refusal is said."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Variables = Mapping[str, Any]
Data = dict[str, Any]
Answer = Callable[[Variables], Data]

VIEWER: Data = {
    "id": "u",
    "name": "me",
    "entity": "me",
    "username": "me",
    "email": "me@example.org",
    "admin": False,
    "flags": "{}",
    "deletedAt": None,
    "apiKeys": {"edges": []},
    "teams": {"edges": []},
}
WHEN = "2026-01-01T00:00:00Z"


class RefusedError(Exception):
    """The service says no, with a status of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Query(msgspec.Struct, frozen=True):
    """A query or mutation."""

    query: str
    variables: dict[str, Any] | None = None

    @property
    def operation(self) -> str:
        """Its name."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", self.query)
        return found[1] if found else ""


def page(nodes: list[Data]) -> Data:
    """All of a list as its one page."""
    edges = [{"node": node, "cursor": str(number)} for number, node in enumerate(nodes, 1)]
    return {"totalCount": len(nodes), "edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
