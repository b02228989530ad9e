"""A whole dataset from decided rows, as somebody else's job hands them over: ledger, shards, index and manifest.

Rows are dealt by uid, so that a part holds the same rows whatever order they come in: part = uid * parts >> 128.
Each part is a task of the commit protocol; MANIFEST.json is written once all of them have a receipt.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests import ledger
from manifests.document import canonical_json
from manifests.errors import RunError
from manifests.manifest import NAME as MANIFEST
from manifests.manifest import Manifest
from manifests.parquet import content_digest, write_table
from pipelines import commit, publish
from pipelines.decide import BLOCK, OVERHEAD, Decide
from pipelines.folder import RunFolder
from pipelines.image_text import phases_of
from pipelines.materialize import Materialize, Sample, plain_rows
from pipelines.phase import Result, Task, fingerprint
from pipelines.recipe import Recipe
from pipelines.rows import Row, RowJudge, raw_of, read_located

OWNER = "work/ROWS.json"  # which job's rows an output folder holds
ROWS_A_LEDGER_PART = 20_000


@dataclass(frozen=True)
class Layout:
    """How many parts there are: of the ledger, and shards; and what of."""

    documents: int
    kept: int
    ledger_parts: int
    shards: int


def weigh(row: Row) -> tuple[int, int, int]:
    """(documents, kept documents, about the bytes that it takes in a shard); these are added up."""
    if row["ledger"]["outcome"] != "kept":
        return 1, 0, 0
    stays = (picture["bytes"] for picture in row["pictures"] if picture["member"] is not None)
    return 1, 1, OVERHEAD + sum((size + 2 * BLOCK - 1) // BLOCK * BLOCK for size in stays)


def part_of(uid: str, parts: int) -> int:
    return int(uid, 16) * parts >> 128


@dataclass(frozen=True)
class Assembly:
    """Writes one dataset. output: its URI. name: the dataset's, in its manifest."""

    recipe: Recipe
    output: str
    name: str

    @property
    def run(self) -> RunFolder:
        prints = {phase.name: fingerprint(phase, {}) for phase in (self.ledger(0), self.shards(0))}
        return RunFolder(self.output, None, prints)

    def layout(self, documents: int, kept: int, size: int) -> Layout:
        limits = self.recipe.shards
        shards = max(-(-kept // limits.samples), -(-size // limits.bytes))
        return Layout(documents, kept, -(-documents // ROWS_A_LEDGER_PART), shards)

    def ledger(self, parts: int) -> "LedgerParts":
        return LedgerParts(self.recipe, parts)

    def shards(self, parts: int) -> "ShardParts":
        return ShardParts(self.recipe, parts)

    def start(self, layout: Layout) -> None:
        """Claims the output and writes the plans. RunError where the folder holds anything else."""
        run = self.run
        if run.store.size(MANIFEST) is not None and run.store.size(OWNER) is None:
            raise RunError(f"{self.output} already holds a dataset; choose another output")
        owner = {"fingerprints": run.fingerprints, "name": self.name, "documents": layout.documents}
        if not run.store.create(OWNER, canonical_json(owner)) and json.loads(run.store.read(OWNER)) != owner:
            raise other_rows(self.output)
        for phase in (self.ledger(layout.ledger_parts), self.shards(layout.shards)):
            if commit.write_plan(phase, run)["units"] != phase.parts:
                raise other_rows(self.output)
            commit.pending(phase, run, phase.parts)  # forgets earlier failures

    def write(self, phase: "LedgerParts | ShardParts", part: int, rows: Iterable[Row]) -> dict[str, Any]:
        """One part, up to its receipt, which is returned. OSError if it could not be written: trying again may help."""
        mine, given = in_order(rows)
        alive = (row["uid"] for row in mine if row["ledger"]["outcome"] != "dead")
        for uid, next_uid in pairwise(alive):
            if uid == next_uid:
                raise RunError(f"uid {uid} comes twice: give a document that you make from another its own uid")
        receipt = commit.run_task(replace(phase, rows=tuple(mine), given=given), self.run, part)
        if "failed" in receipt:
            raise OSError(f"{phase.name} part {part} of {self.output}: {receipt['failed']}")
        if receipt["facts"]["given"] != given:
            raise other_rows(self.output)
        return receipt

    def finish(self, layout: Layout) -> Manifest:
        """The manifest, once all parts are written. FailedTasks if they are not."""
        run = self.run
        for phase in (self.ledger(layout.ledger_parts), self.shards(layout.shards)):
            commit.commit(phase, run)
        return publish.publish(self.recipe, run, self.name)


def other_rows(output: str) -> RunError:
    return RunError(
        f"{output} holds (a part of) a dataset made from other rows or with other rules; choose another output"
    )


def in_order(rows: Iterable[Row]) -> tuple[list[Row], str]:
    """The rows by uid, whatever order they came in (dead ones may share one), and SHA-256 over what they say."""
    spelled = [(json.dumps(row, sort_keys=True, default=bytes.hex), row) for row in rows]
    spelled.sort(key=lambda item: (item[1]["uid"], item[0]))
    digest = hashlib.sha256()
    for text, _ in spelled:
        digest.update(text.encode("utf-8", "backslashreplace"))
    return [row for _, row in spelled], digest.hexdigest()


@dataclass(frozen=True)
class LedgerParts:
    """The phase that publishes verdicts. rows, given: of the one part that is being written, and their digest."""

    recipe: Recipe
    parts: int
    rows: tuple[Row, ...] = ()
    given: str = ""
    name = Decide.name
    version = 1
    upstream = ()

    def config(self) -> Mapping[str, Any]:
        return self.recipe.settings()

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return ({"part": part} for part in range(self.parts))

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        schemas = RowJudge(self.recipe).schemas()
        pictures = [picture for row in self.rows for picture in row["pictures"]]
        tables = {
            f"{ledger.DOCUMENTS}/{task.index:06d}.parquet": pa.Table.from_pylist(
                [row["ledger"] for row in self.rows], schemas[0]
            ),
            f"{ledger.MEDIA}/{task.index:06d}.parquet": pa.Table.from_pylist(pictures, schemas[1]),
        }
        counts = Counter[str]()
        for row in self.rows:
            counts.update(outcome_of(row))
        facts = {"given": self.given, "content": content_digest(tables.values())}
        result = Result(counts=dict(counts), facts=facts)
        for number, (path, table) in enumerate(tables.items()):
            local = scratch / f"{number}.parquet"
            local.write_bytes(write_table(table))
            result.files[path], result.rows[path] = (local, path), table.num_rows
        return result


def outcome_of(row: Row) -> list[str]:
    """What a decided row counts as, named as in receipts and metrics."""
    verdict = row["ledger"]
    reason = {"kept": "", "dropped": f"/{verdict['rule']}", "dead": f"/{verdict['dead_reason']}"}[verdict["outcome"]]
    return ["in", verdict["outcome"] + reason]


@dataclass(frozen=True)
class ShardParts:
    """The phase that writes shards; as LedgerParts, with the kept rows only."""

    recipe: Recipe
    parts: int
    rows: tuple[Row, ...] = ()
    given: str = ""
    name = Materialize.name
    version = 1
    upstream = ()

    def config(self) -> Mapping[str, Any]:
        return self.recipe.settings()

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return ({"part": part} for part in range(self.parts))

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        (phase,) = (phase for phase in phases_of(self.recipe) if isinstance(phase, Materialize))
        samples = samples_of(self.rows, RowJudge(self.recipe))
        result = phase.write_shard(samples, read_located, f"train-{task.index:06d}", scratch)
        result.facts["given"] = self.given
        return result


def samples_of(rows: Sequence[Row], judge: RowJudge) -> Iterable[Sample]:
    """The rows as samples of a shard, their scores in the spelling of JSON."""
    part = judge.part(rows)
    scores = part.documents.select([name for name in part.documents.column_names if name in judge.score_columns])
    pictures = iter(plain_rows(part.media))
    for row, values in zip(rows, plain_rows(scores) if rows else [], strict=True):
        seen = [{**next(pictures), "member": picture["member"]} for picture in row["pictures"]]
        yield Sample(row["uid"], raw_of(row, 0), values, [media for media in seen if media["member"] is not None])
