"""Ingest: a reader's candidates, bytes unchanged, into raw shards that every later phase reads.

Each distinct picture of a task is written once, under its SHA-256, however many documents use it. A reader that works
in place leaves the bytes where they are and only their ranges are recorded.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests.document import canonical_json, uid_of
from manifests.errors import RunError
from manifests.parquet import TableWriter
from manifests.store import Store
from manifests.tar import TarWriter
from pipelines.folder import RunFolder
from pipelines.phase import Result, Task, fields_of
from stages.readers.base import Candidate, Range, Reader, Unreadable

INPUT = "input:"  # in front of paths that are relative to the raw input, not to the run's output
LOCATION = pa.struct(
    [
        pa.field("sha256", pa.string()),
        pa.field("path", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("document", pa.string()),  # canonical JSON; null for what could not be read
        pa.field("digest", pa.string(), nullable=False),  # of the content: tells a repetition from a conflict
        pa.field("media", pa.list_(LOCATION)),  # where each media segment's bytes lie, in segment order
        pa.field("source", pa.string(), nullable=False),
        pa.field("locator", pa.string(), nullable=False),  # JSON
        pa.field("dead_reason", pa.string()),
        pa.field("dead_message", pa.string()),
    ]
)
ROWS_A_WRITE = 512


@dataclass(frozen=True)
class Ingest:
    """Runs a reader over the input. listing: digest of what the input held when the run was planned.

    limit: at most this many documents, read in one task so that the answer does not depend on workers.
    copy: whether bytes that a reader would leave where they are (a tar's members) are copied into raw shards too.
    """

    reader: Reader
    input: str
    listing: str
    limit: int | None = None
    copy: bool = False
    name = "ingest"
    version = 1
    upstream = ()

    def config(self) -> Mapping[str, Any]:
        return {
            "reader": self.reader.name,
            "reader_version": self.reader.version,
            "settings": fields_of(self.reader),
            "input": self.input,
            "listing": self.listing,
            "limit": self.limit,
            "copy": self.copy,
        }

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        tasks = self.reader.plan(run.input_store)
        if self.limit is None:
            return ({"read": [task]} for task in tasks)
        # A task may hold no more than one document, so this many always suffice.
        return [{"read": list(islice(tasks, self.limit))}]

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        raw = run.data(self.name, task.index, "raw.tar")
        found = (item for part in task.params["read"] for item in self.reader.read(run.input_store, part))
        writer = RawWriter(scratch, raw, run.input_store if self.copy else None)
        with writer:
            for item in islice(found, self.limit):
                if isinstance(item, Unreadable):
                    writer.unreadable(self.reader.source, item)
                else:
                    writer.candidate(item)
        return writer.result(run.data(self.name, task.index, "documents.parquet"))


class RawWriter:
    """Writes one task's raw tar and its table of documents."""

    def __init__(self, scratch: Path, raw: str, copy_from: Store | None):
        self._copy_from = copy_from
        self._tar_path, self._table_path = scratch / "raw.tar", scratch / "documents.parquet"
        self._raw = raw
        self._placed: dict[str, tuple[int, int]] = {}  # sha256 -> (offset, size) in the raw tar
        self._rows: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> "RawWriter":
        self._file = self._tar_path.open("wb")
        self._tar = TarWriter(self._file)
        self._table = TableWriter(self._table_path, SCHEMA)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is None:
            self._flush()
            self._tar.close()
            self._table.close()
        self._file.close()

    def candidate(self, item: Candidate) -> None:
        document = item.document
        media = [
            self._place(reference.sha256, reference.extension, payload)
            for (_, reference), payload in zip(document.media(), item.payloads, strict=True)
        ]
        self._add(
            uid=document.uid,
            document=canonical_json(document.to_json()).decode(),
            digest=document.digest(),
            media=media,
            source=document.source.name,
            locator=canonical_json(dict(document.source.locator)).decode(),
        )
        self._counts["documents"] += 1

    def unreadable(self, source: str, item: Unreadable) -> None:
        locator = canonical_json(dict(item.locator)).decode()
        self._add(
            uid=uid_of(source, item.key),
            digest=uid_of(item.reason, item.message)[:32],
            source=source,
            locator=locator,
            dead_reason=item.reason,
            dead_message=item.message[:1000],
        )
        self._counts["unreadable"] += 1

    def _place(self, sha256: str, extension: str, payload: bytes | Range) -> dict[str, Any]:
        if isinstance(payload, Range) and self._copy_from is not None:
            payload = self._copy_from.read_range(payload.path, payload.offset, payload.size)
        if isinstance(payload, Range):
            return {"sha256": sha256, "path": INPUT + payload.path, "offset": payload.offset, "size": payload.size}
        if sha256 not in self._placed:
            self._placed[sha256] = (self._tar.add(f"{sha256}.{extension or 'bin'}", payload), len(payload))
            self._counts["bytes"] += len(payload)
        offset, size = self._placed[sha256]
        return {"sha256": sha256, "path": self._raw, "offset": offset, "size": size}

    def _add(self, **row: Any) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_A_WRITE:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._table.write(pa.Table.from_pylist(self._rows, SCHEMA))
            self._rows = []

    def result(self, table: str) -> Result:
        files = {"documents": (self._table_path, table)}
        if self._placed:
            files["raw"] = (self._tar_path, self._raw)
        return Result(files=files, counts=dict(self._counts))


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One row of an ingested table. media: of each media segment its SHA-256 and where it lies: path, offset, size."""

    row: int
    uid: str
    document: dict[str, Any] | None
    media: list[tuple[Any, ...]]
    source: str
    locator: str
    dead_reason: str | None
    dead_message: str | None


def raw_documents(table: pa.Table, first_row: int = 0) -> Iterator[RawDocument]:
    """The rows of (part of) an ingested table as Python objects."""
    for number, row in enumerate(table.to_pylist(), first_row):
        yield RawDocument(
            row=number,
            uid=row["uid"],
            document=None if row["document"] is None else json.loads(row["document"]),
            media=[(m["sha256"], m["path"], m["offset"], m["size"]) for m in row["media"] or ()],
            source=row["source"],
            locator=row["locator"],
            dead_reason=row["dead_reason"],
            dead_message=row["dead_message"],
        )


def read_media(run: RunFolder, locations: Iterable[tuple[Any, ...]]) -> dict[str, bytes]:
    """sha256 -> bytes for each location, reading each file's ranges together.

    RunError where an input that was read in place, and is needed again, is gone.
    """
    by_path: dict[str, dict[str, tuple[int, int]]] = {}
    for sha256, path, offset, size in locations:
        by_path.setdefault(path, {})[sha256] = (offset, size)
    out: dict[str, bytes] = {}
    for path, wanted in by_path.items():
        if path.startswith(INPUT):
            store, name = run.input_store, path.removeprefix(INPUT)
        else:
            store, name = run.home(Ingest.name), path
        try:
            out.update(zip(wanted, store.read_ranges(name, list(wanted.values())), strict=True))
        except FileNotFoundError:
            if not path.startswith(INPUT):
                raise
            raise RunError(
                f"{store.uri}/{name} is gone, and its pictures were left in it: bring it back, "
                "or run again from the raw input with --ingest copy"
            ) from None
    return out
