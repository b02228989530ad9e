"""MANIFEST.json: what a dataset holds, with the SHA-256 of every file. The only thing a trainer needs to be told.

It names no time, host, engine or path outside the dataset: the same input and recipe give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from manifests.document import canonical_json
from manifests.errors import RunError
from manifests.store import Store

NAME = "MANIFEST.json"
SCHEMA = "1.0"


@dataclass(frozen=True, slots=True)
class File:
    """A file of the dataset. path: relative to its root. rows: of a table, or samples of a shard."""

    path: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar and the index beside it. split: train | validation."""

    tar: File
    index: File
    split: str

    @property
    def samples(self) -> int:
        return self.tar.rows


@dataclass(frozen=True, slots=True)
class Totals:
    """in == kept + dropped + dead. `repeated` documents are outside `in`. bytes: of all shards."""

    documents: int
    kept: int
    dropped: Mapping[str, int]
    dead: Mapping[str, int]
    repeated: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """recipe: name, fingerprint and every setting. parents: content_sha256 of datasets it was derived from.

    licences: licence -> samples, `unknown` where none is stated. ledger: the tables' files in part order.
    content_sha256: over (uid, member, sha256) and the ledger's rows; unlike the files' own digests, it does not
    change with the Parquet writer's version.
    """

    name: str
    recipe: Mapping[str, Any]
    totals: Totals
    licences: Mapping[str, int]
    shards: tuple[Shard, ...]
    ledger: tuple[File, ...]
    content_sha256: str
    parents: tuple[str, ...] = ()
    schema: str = SCHEMA

    def to_json(self) -> dict[str, Any]:
        totals = asdict(self.totals)
        totals["in"] = totals.pop("documents")
        return {
            "schema": self.schema,
            "name": self.name,
            "recipe": dict(self.recipe),
            "parents": list(self.parents),
            "totals": totals,
            "licences": dict(self.licences),
            "shards": [{"tar": asdict(s.tar), "index": asdict(s.index), "split": s.split} for s in self.shards],
            "ledger": [asdict(file) for file in self.ledger],
            "content_sha256": self.content_sha256,
        }

    def encode(self) -> bytes:
        """Indented JSON with sorted keys, for people and for byte equality."""
        plain = json.loads(canonical_json(self.to_json()))
        return (json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> "Manifest":
        schema = str(value.get("schema"))
        if schema.split(".")[0] != SCHEMA.split(".")[0]:
            raise RunError(f"{where}: schema {schema!r} is unknown; this version reads {SCHEMA.split('.')[0]}.x")
        try:
            totals = dict(value["totals"])
            return cls(
                schema=schema,
                name=value["name"],
                recipe=value["recipe"],
                parents=tuple(value["parents"]),
                totals=Totals(
                    documents=totals["in"],
                    kept=totals["kept"],
                    dropped=totals["dropped"],
                    dead=totals["dead"],
                    repeated=totals["repeated"],
                    bytes=totals["bytes"],
                ),
                licences=value["licences"],
                shards=tuple(Shard(_file(s["tar"]), _file(s["index"]), s["split"]) for s in value["shards"]),
                ledger=tuple(_file(file) for file in value["ledger"]),
                content_sha256=value["content_sha256"],
            )
        except (KeyError, TypeError) as error:
            raise RunError(f"{where} is not a whole manifest: {error!r} is missing or malformed") from None


def _file(value: Mapping[str, Any]) -> File:
    return File(value["path"], value["bytes"], value["sha256"], value["rows"])


def read_manifest(store: Store) -> Manifest:
    """The dataset's manifest. RunError when there is none, or it cannot be read."""
    where = f"{store.uri}/{NAME}"
    try:
        value = json.loads(store.read(NAME))
    except FileNotFoundError:
        raise RunError(f"{store.uri} holds no {NAME}: not a dataset, or its run has not finished") from None
    except ValueError as error:
        raise RunError(f"{where} is not JSON: {error}") from None
    return Manifest.from_json(value, where)
