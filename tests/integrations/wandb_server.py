"""An artifact on loopback, served as wandb's public API asks for one: as much of it as a download needs."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import msgspec

NAME: Final = "me/sft/adapter"
VERSION: Final = "v3"
_VIEWER: Final = {"id": "u", "entity": "me", "username": "me", "email": "me@example.org"}
_WHEN: Final = "2026-01-01T00:00:00Z"


class Tracker(msgspec.Struct):
    """The address, and the operations and files that were asked for."""

    address: str
    asked: list[str]


@contextmanager
def serving(files: Mapping[str, Path]) -> Iterator[Tracker]:
    """Serve `files`, by their names in version 3 of the artifact, which is also its `best` and `latest`."""
    contents = {name: path.read_bytes() for name, path in files.items()}
    by_digest = {hashlib.md5(data, usedforsecurity=False).hexdigest(): data for data in contents.values()}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            said = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path != "/graphql":
                self._send(200, b"{}")
                return
            query = json.loads(said)
            asked.append(_operation(query))
            self._send(200, json.dumps({"data": self._data(query)}).encode())

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            if path == "/manifest":
                self._send(200, _manifest(contents))
            else:
                found = next((by_digest[part] for part in path.split("/") if part in by_digest), None)
                self._send(404 if found is None else 200, found or b"")

        def _data(self, query: Mapping[str, Any]) -> dict[str, Any]:
            here = f"http://{self.headers['Host']}"
            wanted = (query.get("variables") or {}).get("name", "")
            known = wanted.partition(":")[2] in (VERSION, "best", "latest")
            answers: dict[str, dict[str, Any]] = {
                "Viewer": {"viewer": _VIEWER},
                "GetDefaultEntity": {"viewer": _VIEWER},
                "ArtifactMembershipByName": {
                    "project": {"artifactCollectionMembership": _membership(contents) if known else None}
                },
                "FetchArtifactManifest": {"artifact": {"currentManifest": {"file": {"directUrl": f"{here}/manifest"}}}},
            }
            return answers.get(_operation(query), {})

        def _send(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, name="wandb", daemon=True).start()
    try:
        yield Tracker(f"http://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        server.server_close()


def _operation(query: Mapping[str, Any]) -> str:
    found = re.search(r"(?:query|mutation) (\w+)", query["query"])
    return found[1] if found else ""


def _membership(contents: Mapping[str, bytes]) -> dict[str, Any]:
    project = {"id": "p", "internalId": "p", "name": "sft", "entity": {"name": "me"}}
    collection = {"__typename": "ArtifactSequence", "id": "s", "name": "adapter", "project": project}
    artifact = {
        "__typename": "Artifact",
        "id": "a",
        "artifactSequence": collection,
        "versionIndex": 3,
        "artifactType": {"name": "model"},
        "description": None,
        "metadata": "{}",
        "ttlDurationSeconds": -2,
        "ttlIsInherited": False,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED",
        "size": sum(map(len, contents.values())),
        "digest": hashlib.sha256(b"".join(contents.values())).hexdigest()[:32],
        "commitHash": "c",
        "fileCount": len(contents),
        "createdAt": _WHEN,
        "updatedAt": None,
        "aliases": [],
    }
    alias = {"__typename": "ArtifactAlias", "id": "l", "alias": "best"}
    return {
        "__typename": "ArtifactCollectionMembership",
        "id": "m",
        "versionIndex": 3,
        "createdAt": _WHEN,
        "aliases": [alias],
        "artifactCollection": collection,
        "artifact": artifact,
    }


def _manifest(contents: Mapping[str, bytes]) -> bytes:
    entries = {
        name: {
            "digest": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            "size": len(data),
            "birthArtifactID": "a",
        }
        for name, data in contents.items()
    }
    policy = {"storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
    return json.dumps({"version": 1, **policy, "contents": entries}).encode()
