"""Decide: rules over the scored parts, which makes the published ledger and the list of what is kept."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests import ledger
from manifests.parquet import content_digest, write_table
from manifests.rules import Rule, Verdicts, pass_column
from pipelines import verbs
from pipelines.choose import earlier_chooses, rule_config
from pipelines.folder import RunFolder
from pipelines.identity import Identity
from pipelines.phase import Result, Task
from pipelines.scored import SCORE, ScoredPart, load_part

KEPT = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),  # in the raw part
        pa.field("uid", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),  # about what the sample takes in a shard
    ]
)
# Extension of a shard member by what the bytes are, whatever the source called them.
EXTENSIONS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tiff",
    "AVIF": "avif",
    "JPEG2000": "jp2",
    "ICO": "ico",
    "PPM": "ppm",
}
BLOCK = 512  # tar
OVERHEAD = 4 * BLOCK  # the JSON member and its headers, about


@dataclass(frozen=True)
class Decide:
    """rules: the recipe's, in order."""

    rules: tuple[Rule, ...]
    name = "decide"
    version = 1

    @property
    def upstream(self) -> tuple[str, ...]:
        return (SCORE, Identity.name, *earlier_chooses(self.rules))

    def config(self) -> Mapping[str, Any]:
        return {"rules": [rule_config(rule) for rule in self.rules if rule.active]}

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return verbs.part_ranges(run.commit(SCORE)["tasks"])

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        first, stop = task.params["first"], task.params["stop"]
        marks = verbs.Marks(run, [Identity.name, *earlier_chooses(self.rules)], first, stop)
        result, counts, content = Result(), Counter[str](), hashlib.sha256()
        for number in range(first, stop):
            part = load_part(run, number, marks)
            verdicts = part.evaluate(list(self.rules), marks).verdicts
            members = member_names(part, verdicts)
            tables = {
                f"{ledger.DOCUMENTS}/{number:06d}.parquet": self.documents(part, verdicts),
                f"{ledger.MEDIA}/{number:06d}.parquet": self.media(part, verdicts, members),
                run.data(self.name, number, "kept.parquet"): kept_rows(part, verdicts, members),
            }
            content.update(content_digest(list(tables.values())[:2]).encode())
            for i, (path, table) in enumerate(tables.items()):
                local = scratch / f"{number}-{i}.parquet"
                local.write_bytes(write_table(table))
                result.files[path] = (local, path)
                result.rows[path] = table.num_rows
            counts.update(count(part, verdicts))
        result.counts = dict(counts)
        result.facts = {"content": content.hexdigest()}
        return result

    def documents(self, part: ScoredPart, verdicts: Verdicts) -> pa.Table:
        """The published table of documents."""
        source, alive = part.documents, verdicts.alive
        conflict = pa.array(part.conflict)
        outcome = np.where(part.dead, "dead", np.where(alive, "kept", "dropped"))
        columns: dict[str, Any] = {
            "uid": source["uid"],
            "source": source["source"],
            "uri": source["uri"],
            "locator": source["locator"],
            "licence": source["licence"],
            "outcome": pa.array(outcome),
            "rule": pa.array(verdicts.rule, pa.string()),
            "value": pa.array(verdicts.value, pa.string()),
            "bound": pa.array(verdicts.bound, pa.string()),
            "dead_stage": pc.if_else(conflict, "identity", source["dead_stage"]),
            "dead_reason": pc.if_else(conflict, "DuplicateKey", source["dead_reason"]),
            "dead_message": pc.if_else(conflict, "its key is taken by other content", source["dead_message"]),
        }
        scores = [name for name in source.column_names if name not in columns]
        columns |= {name: source[name] for name in scores}
        passes = {pass_column(r): verdicts.document_passes[r.name] for r in self._of(verdicts.document_passes)}
        schema = ledger.schema(ledger.DOCUMENT_COLUMNS, [(n, source[n].type) for n in scores], passes)
        return pa.table({**columns, **passes}, schema).filter(pa.array(~part.repeated))

    def media(self, part: ScoredPart, verdicts: Verdicts, members: np.ndarray) -> pa.Table:
        """The published table of media."""
        source = part.media
        columns: dict[str, Any] = {
            **{field.name: source[field.name] for field in ledger.MEDIA_COLUMNS[:5]},
            "member": pa.array(members, pa.string()),
            "rule": pa.array(verdicts.media_rule, pa.string()),
        }
        scores = [name for name in source.column_names if name not in columns]
        columns |= {name: source[name] for name in scores}
        passes = {pass_column(r): verdicts.media_passes[r.name] for r in self._of(verdicts.media_passes)}
        schema = ledger.schema(ledger.MEDIA_COLUMNS, [(n, source[n].type) for n in scores], passes)
        return pa.table({**columns, **passes}, schema).filter(pa.array(~part.repeated[part.owner]))

    def _of(self, passes: Mapping[str, pa.Array]) -> list[Rule]:
        return [rule for rule in self.rules if rule.name in passes]


def member_names(part: ScoredPart, verdicts: Verdicts) -> np.ndarray:
    """object[m]: `jpg` where a kept document has one picture, `0.png` by place where it has more, None if not kept."""
    standing = verdicts.alive[part.owner] & ~verdicts.media_dropped
    per_document = np.bincount(part.owner[standing], minlength=part.documents.num_rows)
    formats = part.media["decoded_format"].to_pylist()
    names = np.full(part.media.num_rows, None, object)
    place: Counter[int] = Counter()
    for row in np.flatnonzero(standing):
        owner = int(part.owner[row])
        extension = EXTENSIONS.get(formats[row], (formats[row] or "bin").lower())
        names[row] = extension if per_document[owner] == 1 else f"{place[owner]}.{extension}"
        place[owner] += 1
    return names


def kept_rows(part: ScoredPart, verdicts: Verdicts, members: np.ndarray) -> pa.Table:
    """Which rows go into shards, and about how many bytes each takes there."""
    there = np.array([name is not None for name in members], bool)
    padded = (part.media["bytes"].to_numpy() + 2 * BLOCK - 1) // BLOCK * BLOCK
    size = np.full(part.documents.num_rows, OVERHEAD, np.int64)
    np.add.at(size, part.owner[there], padded[there])
    rows = np.flatnonzero(verdicts.alive)
    return pa.table({"row": rows.astype(np.int32), "uid": part.documents["uid"].take(rows), "bytes": size[rows]}, KEPT)


def count(part: ScoredPart, verdicts: Verdicts) -> Counter[str]:
    counts = Counter[str]()
    counts["in"] = int((~part.repeated).sum())
    counts["repeated"] = int(part.repeated.sum())
    counts["kept"] = int(verdicts.alive.sum())
    counts.update(f"dropped/{rule}" for rule in verdicts.rule if rule is not None)
    reasons = part.documents["dead_reason"].to_pylist()
    counts.update(f"dead/{'DuplicateKey' if part.conflict[row] else reasons[row]}" for row in np.flatnonzero(part.dead))
    return counts


def shards_of(rows: Iterable[tuple[int, np.ndarray]], samples: int, size: int) -> Iterable[list[list[int]]]:
    """Cuts kept rows into shards: at most `samples` each, and `size` bytes unless one sample is larger.

    rows: (part, int64 bytes of each kept row) in part order. Yields [part, first, stop] runs over kept rows, a list a
    shard: consecutive, so that a shard reads few raw files.
    """
    shard: list[list[int]] = []
    count_, total = 0, 0
    for part, sizes in rows:
        first = 0
        while first < len(sizes):
            room = np.searchsorted(np.cumsum(sizes[first:]), size - total, side="right")
            take = min(int(room), samples - count_, len(sizes) - first)
            if take == 0 and not shard:
                take = 1  # a sample larger than a whole shard gets one of its own
            if take:
                shard.append([part, first, first + take])
                count_, total = count_ + take, total + int(sizes[first : first + take].sum())
                first += take
            if first < len(sizes) or count_ == samples:
                yield shard
                shard, count_, total = [], 0, 0
    if shard:
        yield shard
