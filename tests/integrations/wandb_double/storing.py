"""Artifacts: how wandb-core commits one, and how the public API fetches one."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Final

from tests.integrations.wandb_double.answer import WHEN, Answer, Data, RefusedError, Variables, page
from tests.integrations.wandb_double.held import Artifact, Held

_UNTOLD: Final = {"storagePath": None, "digest": None, "md5": None}  # of a file


class Storing:
    """The operations on artifacts. A version whose contents a collection has already is that version again."""

    def __init__(self, held: Held, address: str) -> None:
        self._held = held
        self._address = address

    @property
    def answers(self) -> dict[str, Answer]:
        """By the name of the operation."""
        return {
            "CreateArtifact": self._create,
            "CreateArtifactManifest": lambda said: {"createArtifactManifest": self._manifest(said["artifactID"])},
            "UpdateArtifactManifest": lambda said: {
                "updateArtifactManifest": self._manifest(said["artifactManifestID"])
            },
            "CreateArtifactFiles": self._files,
            "CommitArtifact": self._commit,
            "ArtifactCreatedBy": lambda said: {"artifact": {"createdBy": _creator(self._by_id(said["id"]))}},
            "ArtifactByID": lambda said: {"artifact": _shown(self._by_id(said["id"]))},
            "ArtifactType": self._type,
            "ArtifactMembershipByName": self._membership,
            "GetArtifactMembershipFileUrls": self._addresses,
            "ArtifactMembershipFiles": self._addresses,
            "RunOutputArtifacts": self._logged,
            "FetchArtifactManifest": lambda said: {"artifact": {"currentManifest": self._readable(said["id"])}},
            "ArtifactManifest": lambda said: {"artifact": {"currentManifest": self._readable(said["artifact_id"])}},
        }

    def publish(
        self, path: str, files: Mapping[str, bytes], version: int, aliases: list[str], run: str | None = None
    ) -> None:
        """Put a version of an artifact there, as if somebody had logged it, or a run."""
        entity, project, collection = path.split("/")
        manifest = {
            name: {"digest": _digest(data), "size": len(data), "birthArtifactID": "a"} for name, data in files.items()
        }
        policy = {"storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
        made = Artifact(
            id=f"artifact-{len(self._held.artifacts)}",
            entity=entity,
            project=project,
            name=collection,
            type="model",
            digest=hashlib.sha256(b"".join(files.values())).hexdigest()[:32],
            version=version,
            aliases=aliases,
            run=run,
            manifest=json.dumps({"version": 1, **policy, "contents": manifest}).encode(),
            committed=True,
        )
        self._held.artifacts.append(made)
        self._held.blobs.update({_hex(data): data for data in files.values()})

    def put_manifest(self, artifact_id: str, data: bytes) -> None:
        """Take the manifest that was uploaded for an artifact."""
        self._by_id(artifact_id).manifest = data

    def _create(self, said: Variables) -> Data:
        asked = said["input"]
        place = (asked["entityName"], asked["projectName"], asked["artifactCollectionName"])
        there = self._versions(*place)
        same = [one for one in there if one.digest == asked["digest"]]
        made = same[0] if same else self._new(place, asked, version=len(there))
        made.aliases = [*made.aliases, *(alias["alias"] for alias in asked.get("aliases") or [])]
        latest = {"latestArtifact": {"id": there[-1].id, "versionIndex": there[-1].version} if there else None}
        shown = {"id": made.id, "state": "COMMITTED" if same else "PENDING", "artifactSequence": {"id": "s", **latest}}
        return {"createArtifact": {"artifact": shown}}

    def _new(self, place: tuple[str, str, str], asked: Variables, version: int) -> Artifact:
        entity, project, name = place
        made = Artifact(
            id=f"artifact-{len(self._held.artifacts)}",
            entity=entity,
            project=project,
            name=name,
            type=asked["artifactTypeName"],
            digest=asked["digest"],
            run=asked.get("runName"),
            version=version,
            metadata=asked.get("metadata") or "{}",
        )
        self._held.artifacts.append(made)
        return made

    def _manifest(self, artifact_id: str) -> Data:
        file = {"id": "f", "uploadUrl": f"{self._address}/manifest/{artifact_id}", "uploadHeaders": []}
        return {"artifactManifest": {"id": artifact_id, "file": file}}

    def _files(self, said: Variables) -> Data:
        nodes = []
        for file in said["input"]["artifactFiles"]:
            where = base64.b64decode(file["md5"]).hex()
            url = f"{self._address}/blob/{where}"
            node: Data = {"storagePath": where, "uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}
            nodes.append({"node": {**node, "artifact": {"id": file["artifactID"]}}})
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def _commit(self, said: Variables) -> Data:
        made = self._by_id(said["artifactID"])
        made.committed = True
        return {"commitArtifact": {"artifact": {"id": made.id, "digest": made.digest}}}

    def _type(self, said: Variables) -> Data:
        found = self._named(said)
        return {"project": {"artifact": None if found is None else {"artifactType": {"name": found.type}}}}

    def _membership(self, said: Variables) -> Data:
        found = self._named(said)
        return {"project": {"artifactCollectionMembership": None if found is None else _member(found)}}

    def _addresses(self, said: Variables) -> Data:
        found = self._named({**said, "name": f"{said['collection']}:{said['alias']}"})
        contents = found.contents if found is not None else {}
        files: list[Data] = []
        for name in said.get("fileNames") or contents:
            address = f"{self._address}/blob/{base64.b64decode(contents[name]['digest']).hex()}"
            told = {"id": name, "name": name, "url": address, "directUrl": address, "sizeBytes": contents[name]["size"]}
            files.append({"__typename": "File", **told, "mimetype": "", "updatedAt": WHEN, **_UNTOLD})
        membership = {"files": page(files)}
        return {"project": {"artifactCollection": {"__typename": "ArtifactSequence", "artifactMembership": membership}}}

    def _logged(self, said: Variables) -> Data:
        place = (said["entity"], said["project"], said["run"])
        found = [
            _shown(one) for one in self._held.artifacts if (one.entity, one.project, one.run) == place and one.committed
        ]
        return {"project": {"run": {"artifacts": page(found)}}}

    def _named(self, said: Variables) -> Artifact | None:
        """The version that a name is about, as `name:v3`, `name:alias` or `name`."""
        name, _, wanted = said["name"].partition(":")
        there = self._versions(said["entity"], said["project"], name)
        latest = there[-1:] if wanted in ("", "latest") else []
        named = [one for one in there if wanted == f"v{one.version}" or wanted in one.aliases]
        return next(iter([*latest, *named]), None)

    def _versions(self, entity: str, project: str, name: str) -> list[Artifact]:
        """What is committed of a collection, oldest first."""
        place = (entity, project, name)
        return [one for one in self._held.artifacts if (one.entity, one.project, one.name) == place and one.committed]

    def _readable(self, artifact_id: str) -> Data:
        return {"file": {"directUrl": f"{self._address}/manifest/{artifact_id}"}}

    def _by_id(self, artifact_id: str) -> Artifact:
        found = next((one for one in self._held.artifacts if one.id == artifact_id), None)
        if found is None:
            raise RefusedError(404, f"artifact {artifact_id} not found")
        return found


def _member(found: Artifact) -> Data:
    return {
        "__typename": "ArtifactCollectionMembership",
        "id": "m",
        "versionIndex": found.version,
        "createdAt": WHEN,
        "aliases": _aliases(found),
        "artifactCollection": _collection(found),
        "artifact": _shown(found),
    }


def _creator(found: Artifact) -> Data | None:
    project = {"id": "p", "internalId": "1", "name": found.project, "entity": {"name": found.entity}}
    return None if found.run is None else {"__typename": "Run", "id": "r", "name": found.run, "project": project}


def _shown(found: Artifact) -> Data:
    return {
        "__typename": "Artifact",
        "id": found.id,
        "artifactSequence": _collection(found),
        "versionIndex": found.version,
        "artifactType": {"name": found.type},
        "description": None,
        "metadata": found.metadata,
        "ttlDurationSeconds": -2,
        "ttlIsInherited": False,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED",
        "size": sum(file["size"] for file in found.contents.values()),
        "digest": found.digest,
        "commitHash": "c",
        "fileCount": len(found.contents),
        "createdAt": WHEN,
        "updatedAt": None,
        "aliases": [{"artifactCollection": _collection(found), **alias} for alias in _aliases(found)],
    }


def _collection(found: Artifact) -> Data:
    project = {"id": "p", "internalId": "p", "name": found.project, "entity": {"name": found.entity}}
    return {"__typename": "ArtifactSequence", "id": "s", "name": found.name, "project": project}


def _aliases(found: Artifact) -> list[Data]:
    return [{"__typename": "ArtifactAlias", "id": alias, "alias": alias} for alias in found.aliases]


def _hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
