"""What runs in Spark's Python workers for somebody else's job: the pipeline's steps on Arrow batches of rows.

Each step is an iterator of batches to an iterator of batches, for `mapInArrow`. Rows are those of pipelines/rows.py, in
types that Spark has: documents as JSON text, keys of 16 bytes as binary.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from manifests.document import Document, canonical_json
from manifests.errors import RunError
from manifests.rules import Choose
from pipelines.assemble import Assembly, Layout, part_of, weigh
from pipelines.folder import RunFolder
from pipelines.image_text import phases_of
from pipelines.recipe import Recipe
from pipelines.rows import FRONT_NAMES, Row, RowJudge, RowScorer, map_document, read_rows
from pipelines.score import ScorePhase

Batches = Iterable[pa.RecordBatch]

ROWS_A_BATCH = 128  # scored together, and in one Arrow batch afterwards
DEAD = pa.struct([("stage", pa.string()), ("reason", pa.string()), ("message", pa.string())])
PLACE = pa.struct(
    [
        ("sha256", pa.string()),
        ("root", pa.string()),
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)
DOCUMENT = pa.schema(
    [
        ("uid", pa.string()),
        ("source", pa.string()),
        ("locator", pa.string()),
        ("document", pa.string()),
        ("media", pa.list_(PLACE)),
        ("dead", DEAD),
    ]
)


WRITTEN = pa.schema([("part", pa.int32()), ("refused", pa.string())])
WEIGHT = pa.schema([("documents", pa.int64()), ("kept", pa.int64()), ("bytes", pa.int64())])


def read(run: RunFolder, batches: Batches) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for part in batch.column(0).to_pylist():
            yield from in_batches(read_rows(run, part), DOCUMENT)


def map_rows(function: Callable[[Document], Document], batches: Batches) -> Iterator[pa.RecordBatch]:
    stage = getattr(function, "__name__", "map")
    yield from in_batches((map_document(row, stage, function) for row in rows_of(batches)), DOCUMENT)


def score(recipe: Recipe, batches: Batches) -> Iterator[pa.RecordBatch]:
    schema = scored_schema(recipe)
    with RowScorer(recipe) as scorer:
        for rows in grouped(rows_of(batches)):
            yield batch_of(scorer.score(rows), schema)


def claims(recipe: Recipe, batches: Batches) -> Iterator[pa.RecordBatch]:
    judge = RowJudge(recipe)
    schema = claim_schema(judge.chooses)
    for rows in grouped(rows_of(batches)):
        claims = [claim for _, claim in judge.claims(rows)]
        columns = [
            {"uid": uid, "lost": []}
            | {
                f"claim_{k}": None if held is None else {"cluster": held[0], "order": held[1]}
                for k, held in enumerate(holds)
            }
            for uid, holds in claims
        ]
        yield pa.RecordBatch.from_pylist(columns, schema)


def decide(recipe: Recipe, batches: Batches) -> Iterator[pa.RecordBatch]:
    judge, schema = RowJudge(recipe), decided_schema(recipe)
    for rows in grouped(rows_of(batches)):
        yield batch_of(judge.decide(rows, [row["lost"] or () for row in rows]), schema)


def weigh_rows(batches: Batches) -> Iterator[pa.RecordBatch]:
    for rows in grouped(rows_of(batches)):
        totals = [sum(column) for column in zip(*(weigh(row) for row in rows), strict=True)]
        yield pa.record_batch([pa.array([total]) for total in totals], WEIGHT)


def deal(parts: int, what: str, schema: pa.Schema, batches: Batches) -> Iterator[pa.RecordBatch]:
    narrow: Row = (
        {"document": None, "media": []} if what == "ledger" else {}
    )  # what the ledger does not need stays behind
    yield from in_batches(({**row, **narrow, "part": part_of(row["uid"], parts)} for row in rows_of(batches)), schema)


def ends(schema: pa.Schema, batches: Batches) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield pa.RecordBatch.from_pylist([{"part": part} for part in batch.column(0).to_pylist()], schema)


def write(assembly: Assembly, layout: Layout, what: str, batches: Batches) -> Iterator[pa.RecordBatch]:
    phase = assembly.ledger(layout.ledger_parts) if what == "ledger" else assembly.shards(layout.shards)
    mine: list[Row] = []
    for row in rows_of(batches):
        part = row.pop("part")
        if row["uid"] is not None:
            mine.append(row)
            continue
        refused = None
        try:
            assembly.write(phase, part, mine)
        except RunError as error:  # no other try can help
            refused = str(error)
        mine = []
        yield pa.record_batch([pa.array([part], pa.int32()), pa.array([refused], pa.string())], WRITTEN)


# Rows as DataFrames have them: documents as JSON text, keys of 16 bytes as binary.


def rows_of(batches: Batches) -> Iterator[Row]:
    for batch in batches:
        for row in batch.to_pylist():
            if row["document"] is not None:
                row["document"] = json.loads(row["document"])
            yield row


def batch_of(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    texts = [None if row["document"] is None else canonical_json(row["document"]).decode() for row in rows]
    return pa.RecordBatch.from_pylist(
        [{**row, "document": text} for row, text in zip(rows, texts, strict=True)], schema
    )


def grouped(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while group := list(islice(rows, ROWS_A_BATCH)):
        yield group


def in_batches(rows: Iterable[Row], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    return (batch_of(group, schema) for group in grouped(rows))


def scored_schema(recipe: Recipe) -> pa.Schema:
    (phase,) = (phase for phase in phases_of(recipe) if isinstance(phase, ScorePhase))
    documents, media = phase.schemas()
    scores = pa.struct([field for field in documents if field.name not in FRONT_NAMES])
    pictures = pa.list_(pa.struct([field for field in media if field.name != "document"]))
    return plain(DOCUMENT.append(pa.field("scores", scores)).append(pa.field("pictures", pictures)))


def decided_schema(recipe: Recipe) -> pa.Schema:
    documents, media = RowJudge(recipe).schemas()
    scores = scored_schema(recipe).field("scores")
    pictures = pa.field("pictures", pa.list_(pa.struct(list(media))))
    return plain(DOCUMENT.append(scores).append(pictures).append(pa.field("ledger", pa.struct(list(documents)))))


def claim_schema(rules: Sequence[Choose]) -> pa.Schema:
    claim = pa.struct([("cluster", pa.binary()), ("order", pa.list_(pa.float64()))])
    names = [pa.field(f"claim_{place}", claim) for place in range(len(rules))]
    return pa.schema([pa.field("uid", pa.string()), pa.field("lost", pa.list_(pa.string())), *names])


def plain(schema: pa.Schema) -> pa.Schema:
    """The schema in types that Spark has, everything nullable."""
    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])


def plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return pa.binary() if pa.types.is_fixed_size_binary(kind) else kind


SPARK_TYPES = {
    pa.string(): "string", pa.binary(): "binary", pa.bool_(): "boolean", pa.int8(): "tinyint", pa.int16(): "smallint",
    pa.int32(): "int", pa.int64(): "bigint", pa.float32(): "float", pa.float64(): "double",
}  # fmt: skip


def ddl(schema: pa.Schema) -> str:
    """A schema as Spark spells it."""
    return ", ".join(f"`{field.name}` {type_ddl(field.type)}" for field in schema)


def type_ddl(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'`{field.name}`: {type_ddl(field.type)}' for field in kind)}>"
    if pa.types.is_list(kind):
        return f"array<{type_ddl(kind.value_type)}>"
    return SPARK_TYPES[kind]
