"""Materialize: copies the kept bytes into shards, and writes each shard's index beside it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests import index
from manifests.document import canonical_json
from manifests.parquet import read_table, write_table
from manifests.tar import TarWriter
from pipelines.decide import Decide, shards_of
from pipelines.folder import RunFolder
from pipelines.ingest import Ingest, RawDocument, raw_documents, read_media
from pipelines.phase import Result, Task
from pipelines.scored import SCORE

SAMPLES_A_READ = 64  # whose bytes are in memory at once
HIDDEN = {"uid", "document", "source", "uri", "locator", "licence", "dead_stage", "dead_reason", "dead_message"}


@dataclass(frozen=True, slots=True)
class Sample:
    """A kept document on its way into a shard. media: rows of the score phase's media table, as dicts."""

    uid: str
    raw: RawDocument
    scores: Mapping[str, Any]
    media: list[dict[str, Any]]


@dataclass(frozen=True)
class Materialize:
    """samples, size: the most that one shard holds, in samples and bytes. cluster: the score that a split respects."""

    samples: int
    size: int
    cluster: str | None
    name = "materialize"
    version = 1
    upstream = (Ingest.name, SCORE, Decide.name)

    def config(self) -> Mapping[str, Any]:
        return {"samples": self.samples, "size": self.size, "cluster": self.cluster}

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        parts = run.commit(SCORE)["tasks"]
        kept = ((part, kept_of(run, part)["bytes"].to_numpy()) for part in range(parts))
        for number, runs in enumerate(shards_of(kept, self.samples, self.size)):
            yield {"shard": f"train-{number:06d}", "rows": runs}

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        samples = (sample for part, first, stop in task.params["rows"] for sample in load(run, part, first, stop))
        return self.write_shard(samples, partial(read_media, run), task.params["shard"], scratch)

    def write_shard(
        self,
        samples: Iterable[Sample],
        read: Callable[[Iterable[tuple[Any, ...]]], Mapping[str, bytes]],
        name: str,
        scratch: Path,
    ) -> Result:
        """shards/<name>.tar with its index. read: the bytes at some of the samples' media locations, by SHA-256."""
        samples = sorted(samples, key=lambda sample: sample.uid)
        shard = f"shards/{name}.tar"
        tar_path, index_path = scratch / "shard.tar", scratch / "index.parquet"
        rows, counts, content = [], Counter[str](), hashlib.sha256()
        with tar_path.open("wb") as file, TarWriter(file) as tar:
            for start in range(0, len(samples), SAMPLES_A_READ):
                group = samples[start : start + SAMPLES_A_READ]
                data = read(location for sample in group for location in sample.raw.media)
                for sample in group:
                    row = self._write(tar, sample, data)
                    for member in row["members"]:
                        content.update(f"{row['uid']}.{member['name']} {member['sha256']}\n".encode())
                    counts[f"licence/{row['licence'] or 'unknown'}"] += 1
                    rows.append(row)
        index_path.write_bytes(write_table(pa.Table.from_pylist(rows, index.SCHEMA)))
        return Result(
            files={"shard": (tar_path, shard), "index": (index_path, index.path_of(shard))},
            rows={"shard": len(rows), "index": len(rows)},
            counts={"samples": len(rows), "bytes": tar_path.stat().st_size, **counts},
            facts={"content": content.hexdigest(), "split": "train"},
        )

    def _write(self, tar: TarWriter, sample: Sample, data: Mapping[str, bytes]) -> dict[str, Any]:
        """Writes one sample's members, sorted by name, and returns its row of the index."""
        assert sample.raw.document is not None
        document = described(sample)
        payloads: dict[str, tuple[bytes, dict[str, Any]]] = {}
        for media in sample.media:
            payload = data[media["sha256"]]
            check_unchanged(payload, media["sha256"], sample.raw)
            facts = {key: media[key] for key in ("sha256", "width", "height", "frames")}
            payloads[media["member"]] = (payload, facts)
        text = [segment["text"] for segment in document["segments"] if segment["kind"] == "text"]
        payloads["json"] = (canonical_json(document), {})
        if len(text) == 1:
            payloads["txt"] = (text[0].encode("utf-8", "replace"), {})
        members = []
        for name, (payload, facts) in sorted(payloads.items()):
            offset = tar.add(f"{sample.uid}.{name}", payload)
            facts = facts or {"sha256": hashlib.sha256(payload).hexdigest()}
            members.append({"name": name, "offset": offset, "size": len(payload), **facts})
        return {
            "uid": sample.uid,
            "members": members,
            "characters": sum(len(part) for part in text),
            "source": document["source"]["name"],
            "licence": document["source"]["licence"],
            "cluster": document["scores"].get(self.cluster) if self.cluster else None,
            "split": "train",
        }


def described(sample: Sample) -> dict[str, Any]:
    """The document's JSON with its scores, and with the shard member and size of each picture it still has."""
    document = dict(sample.raw.document or {})
    by_segment = {media["segment"]: media for media in sample.media}
    segments = []
    for number, segment in enumerate(document["segments"]):
        if segment["kind"] == "text":
            segments.append(segment)
        elif number in by_segment:
            media = by_segment[number]
            segments.append({**segment, "media": {**segment["media"], **media_facts(media)}})
    return {**document, "segments": segments, "scores": sample.scores}


def media_facts(media: Mapping[str, Any]) -> dict[str, Any]:
    hidden = {"uid", "document", "segment", "sha256", "bytes", "extension", "rule"}
    return {name: value for name, value in media.items() if name not in hidden}


def load(run: RunFolder, part: int, first: int, stop: int) -> Iterator[Sample]:
    """The kept documents first..stop-1 of a part, joined from its raw documents and its scores."""
    rows = kept_of(run, part)["row"].to_numpy()[first:stop]
    taken = pa.array(rows)
    raw = read_table(run.home(Ingest.name), run.data(Ingest.name, part, "documents.parquet")).take(taken)
    scored = read_table(run.home(SCORE), run.data(SCORE, part, "documents.parquet")).take(taken)
    scores = plain_rows(scored.drop_columns([name for name in scored.column_names if name in HIDDEN]))
    media = read_table(run.home(SCORE), run.data(SCORE, part, "media.parquet"))
    published = read_table(run.store, f"ledger/media/{part:06d}.parquet", columns=["uid", "segment", "member"])
    members = {
        (uid, segment): member
        for uid, segment, member in zip(*(column.to_pylist() for column in published.columns), strict=True)
        if member is not None
    }
    wanted = media.filter(pa.array(np.isin(media["document"].to_numpy(), rows)))
    by_row: dict[int, list[dict[str, Any]]] = {}
    for record in plain_rows(wanted):
        member = members.get((record["uid"], record["segment"]))
        if member is not None:
            by_row.setdefault(record["document"], []).append({**record, "member": member})
    for row, document, values in zip(rows, raw_documents(raw), scores, strict=True):
        yield Sample(document.uid, document, values, by_row.get(int(row), []))


def kept_of(run: RunFolder, part: int) -> pa.Table:
    return read_table(run.home(Decide.name), run.data(Decide.name, part, "kept.parquet"))


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows for JSON: keys of 16 bytes as hex, a float32 by its shortest spelling, NaN as null."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_pylist()
        if pa.types.is_fixed_size_binary(column.type):
            values = [None if value is None else value.hex() for value in values]
        elif pa.types.is_floating(column.type):
            texts = column.cast(pa.string()).to_pylist()
            values = [None if v is None or v != v else float(t) for v, t in zip(values, texts, strict=True)]
        columns[name] = values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check_unchanged(payload: bytes, sha256: str, raw: RawDocument) -> None:
    """Raises OSError when the bytes are not those that were scored: an input read in place has changed since."""
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise OSError(f"the bytes of {raw.locator} are not those that were scored: the input has changed since")
