"""Winnow's steps as functions of Spark DataFrames, for use inside a job of your own.

    documents = read_documents(spark, "s3://bucket/pages", staging="s3://bucket/staging")
    scored = score(documents.where("source != 'ads'"), "image-text-light")
    decided = decide(scored, "image-text-light")
    write_shards(decided, "s3://bucket/dataset", "image-text-light")

A row is one document, some kilobytes, never payload bytes: whoever needs those reads them from the store. Filter, join
and add columns between the steps as you like: what a step does not know it leaves out of its result.

    uid, source, locator, document   strings; `document` and `locator` are JSON
    media                            where each picture's bytes lie: array of (sha256, root, path, offset, size)
    dead                             null, or (stage, reason, message): this document cannot be processed
    scores, pictures                 once scored: one field a score; one element a picture with its own scores
    ledger                           once decided: the document's row of the published ledger
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 (what everyone calls it)

from manifests.document import Document
from manifests.errors import RunError
from manifests.manifest import Manifest
from manifests.rules import Choose
from pipelines import recipe as recipes
from pipelines.assemble import Assembly, Layout
from pipelines.engines import spark_rows as work
from pipelines.engines.spark import MAX_PARTITIONS, mirror, run_phases
from pipelines.folder import RunFolder, open_store
from pipelines.identity import Identity
from pipelines.ingest import Ingest
from pipelines.phase import fingerprint
from pipelines.progress import Progress
from pipelines.recipe import Recipe
from pipelines.rows import RowJudge
from pipelines.run import listing_digest
from stages.readers.detect import make_reader
from winnow.addresses import input_uri, last_part, output_uri

__all__ = ["Decided", "decide", "map_documents", "read_documents", "score", "write_shards"]


class Decided(NamedTuple):
    """The three outcomes. Every row has `ledger`, its row of the published table."""

    kept: DataFrame
    dropped: DataFrame
    dead: DataFrame


def read_documents(
    spark: SparkSession,
    input: str,
    staging: str,
    source: str | None = None,
    format: str = "auto",
    licence: str | None = None,
    limit: int | None = None,
    **settings: Any,
) -> DataFrame:
    """Every document of a folder or bucket, each once; what cannot be read is a row with `dead` set.

    Reading is done here and now, as a resumable job: its bytes go to `staging`, a folder or bucket that all executors
    see and that must stay until the dataset is written. The other settings are those of `winnow run`.
    """
    uri = input_uri(input)
    reader = make_reader(format, uri, source or last_part(uri), licence, **settings)
    phases = Ingest(reader, uri, listing_digest(open_store(uri)), limit), Identity()
    prints: dict[str, str] = {}
    for phase in phases:
        prints[phase.name] = fingerprint(phase, prints)
    run = RunFolder(output_uri(staging), uri, prints)
    run_phases(spark, phases, run, Progress(quiet=True))
    parts = run.commit(Ingest.name)["tasks"]
    return _batches(spark.range(0, parts, 1, min(parts, MAX_PARTITIONS)), partial(work.read, run), work.DOCUMENT)


def map_documents(documents: DataFrame, function: Callable[[Document], Document]) -> DataFrame:
    """function on every document that is not dead; a RecordError that it raises makes it so. Before `score`."""
    return _batches(documents.select(*work.DOCUMENT.names), partial(work.map_rows, function), work.DOCUMENT)


def score(documents: DataFrame, recipe: str | Recipe, sets: Sequence[str] = ()) -> DataFrame:
    """Runs a recipe's decoder and scorers: rows get `scores` and `pictures`, and `dead` where they cannot be scored.

    recipe: a shipped one by name, a YAML file, or a Recipe. sets: as `--set`. The result is persisted,
    because what follows reads it more than once and decoding is what costs; `unpersist` it when all is written.
    """
    made = _made(recipe, sets)
    scored = _batches(documents.select(*work.DOCUMENT.names), partial(work.score, made), work.scored_schema(made))
    return scored.persist()


def decide(scored: DataFrame, recipe: str | Recipe, sets: Sequence[str] = ()) -> Decided:
    """Applies a recipe's rules. Of each duplicate cluster the same documents stay, however the rows are partitioned.

    The three outcomes are filters of one persisted DataFrame.
    """
    made = _made(recipe, sets)
    judge = RowJudge(made)
    rows = scored.select(*work.scored_schema(made).names)
    if judge.chooses:
        rows = rows.join(_lost(rows, made, judge), "uid", "left")
    else:
        rows = rows.withColumn("lost", F.array().cast("array<string>"))
    outcomes = _batches(rows, partial(work.decide, made), work.decided_schema(made)).persist()
    kept, dropped, dead = (outcomes.where(F.col("ledger.outcome") == name) for name in ("kept", "dropped", "dead"))
    return Decided(kept, dropped, dead)


def _lost(scored: DataFrame, recipe: Recipe, judge: RowJudge) -> DataFrame:
    """(uid, names of the choose rules in which it lost) of those that did. What is compared is claims: narrow rows."""
    claims = _batches(scored, partial(work.claims, recipe), work.claim_schema(judge.chooses))
    for place, rule in enumerate(judge.chooses):
        claims = claims.withColumn("lost", lost_in(rule, f"claim_{place}"))
    return claims.where(F.size("lost") > 0).select("uid", "lost")


def lost_in(rule: Choose, claim: str) -> Column:
    """`lost` with the rule's name added where more than `keep` others come first, by the order that the rule states."""
    competes = F.col(claim).isNotNull() & (F.size("lost") == 0)
    order = []
    for place, (_, descending) in enumerate(rule.order_by()):
        value = F.col(f"{claim}.order")[place]
        value = F.when(~F.isnan(value), value + 0.0)  # null for NaN; and no negative zero
        order.append(value.desc_nulls_last() if descending else value.asc_nulls_last())
    # Whoever does not compete is alone: all in one null cluster would be one huge partition.
    alone = F.when(~competes, F.col("uid"))
    cluster = F.when(competes, F.col(f"{claim}.cluster"))
    rank = F.row_number().over(Window.partitionBy(cluster, alone).orderBy(*order, "uid"))
    return F.when(competes & (rank > rule.keep), F.array_append("lost", F.lit(rule.name))).otherwise(F.col("lost"))


def write_shards(
    decided: Decided | DataFrame, output: str, recipe: str | Recipe, sets: Sequence[str] = (), name: str | None = None
) -> Manifest:
    """Writes a whole dataset, which `winnow verify` accepts: shards, index, ledger and the manifest, which is returned.

    Takes what `decide` gave, or one DataFrame of such rows. Which shard a document goes to depends on its uid alone.
    Started again after it was interrupted, it writes only what is missing.
    """
    made, uri = _made(recipe, sets), output_uri(output)
    assembly = Assembly(made, uri, name or last_part(uri))
    names = work.decided_schema(made).names
    outcomes = (decided,) if isinstance(decided, DataFrame) else decided
    rows = reduce(DataFrame.union, (outcome.select(*names) for outcome in outcomes))
    weights = _batches(rows, work.weigh_rows, work.WEIGHT)
    totals = weights.agg(*(F.coalesce(F.sum(name), F.lit(0)) for name in weights.columns)).collect()[0]
    layout = assembly.layout(*totals)
    assembly.start(layout)
    _write_parts(rows, made, assembly, layout, "ledger")
    _write_parts(rows.where(F.col("ledger.outcome") == "kept"), made, assembly, layout, "shards")
    manifest = assembly.finish(layout)
    for phase in (assembly.ledger(layout.ledger_parts), assembly.shards(layout.shards)):
        mirror(rows.sparkSession, phase.name, assembly.run.commit(phase.name)["counts"])
    return manifest


def _write_parts(rows: DataFrame, recipe: Recipe, assembly: Assembly, layout: Layout, what: str) -> None:
    """Deals rows to parts and writes each part, those without rows too.

    After a part's rows comes one without a uid: a worker cannot tell a stream that was cut off from one that ended.
    """
    parts = layout.ledger_parts if what == "ledger" else layout.shards
    if not parts:
        return
    dealt = work.decided_schema(recipe).append(pa.field("part", pa.int32()))
    ends = _batches(rows.sparkSession.range(0, parts, 1, 1), partial(work.ends, dealt), dealt)
    written = (
        _batches(rows, partial(work.deal, parts, what, dealt), dealt)
        .union(ends)
        .repartitionById(min(parts, MAX_PARTITIONS), "part")
        .sortWithinPartitions("part", F.col("uid").isNull())
        .mapInArrow(partial(work.write, assembly, layout, what), work.ddl(work.WRITTEN))
    )
    for row in written.where("refused is not null").collect():
        raise RunError(row.refused)


def _batches(rows: DataFrame, step: Callable[[work.Batches], Any], schema: pa.Schema) -> DataFrame:
    return rows.mapInArrow(step, work.ddl(schema))


def _made(recipe: str | Recipe, sets: Sequence[str]) -> Recipe:
    return recipes.load(recipe, sets) if isinstance(recipe, str) else recipe
