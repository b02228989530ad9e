"""The pipeline's steps on rows, for use inside somebody else's job: Beam's elements, Spark's rows.

A row is a dict of plain values, some kilobytes, never payload bytes:

    uid, source, locator  as in the ledger
    document              Document.to_json(), or None for what could not be read
    media                 where the bytes of each picture lie: [{sha256, root, path, offset, size}], in segment order
    dead                  None, or {stage, reason, message}
    scores, pictures      once scored: column -> value, and [a dict of columns for each picture]
    ledger, pictures      once decided: the document's row of ledger/documents, and its rows of ledger/media

A function of rows changes no row that it was given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.document import Document
from manifests.errors import RecordError
from manifests.parquet import read_table
from manifests.rules import Choose, Rule, column_of, losers
from pipelines.decide import Decide, member_names
from pipelines.folder import RunFolder, open_store
from pipelines.identity import CONFLICT, REPEATED, Identity
from pipelines.image_text import phases_of
from pipelines.ingest import INPUT, Ingest, RawDocument, raw_documents
from pipelines.recipe import Recipe
from pipelines.score import FRONT, PictureCache, ScorePhase, ScoreWriter, Timer
from pipelines.scored import ScoredPart
from pipelines.verbs import Marks, key_words
from stages.guard import DeadShare

Row = dict[str, Any]
# A row's claim on its clusters: uid, and for each choose rule (cluster, what to sort by), None where it has no claim.
Claim = tuple[str, tuple[tuple[bytes, tuple[float, ...]] | None, ...]]

ROWS_A_READ = 512
FRONT_NAMES = {field.name for field in FRONT}


def read_rows(run: RunFolder, part: int) -> Iterator[Row]:
    """The documents of an ingested part, each once; one whose key is taken by other content is dead."""
    table = read_table(run.home(Ingest.name), run.data(Ingest.name, part, "documents.parquet"))
    marks = Marks(run, [Identity.name], part, part + 1).of(Identity.name, part, table.num_rows)
    for start in range(0, table.num_rows, ROWS_A_READ):
        for raw in raw_documents(table.slice(start, ROWS_A_READ), start):
            if marks[raw.row] == REPEATED:
                continue
            dead = None
            if marks[raw.row] == CONFLICT:
                dead = death("identity", "DuplicateKey", "its key is taken by other content")
            elif raw.document is None:
                dead = death("read", raw.dead_reason or "", raw.dead_message or "")
            yield {
                "uid": raw.uid,
                "source": raw.source,
                "locator": raw.locator,
                "document": raw.document,
                "media": [located(run, *location) for location in raw.media],
                "dead": dead,
            }


def death(stage: str, reason: str, message: str) -> dict[str, str]:
    return {"stage": stage, "reason": reason, "message": message}


def located(run: RunFolder, sha256: str, path: str, offset: int, size: int) -> dict[str, Any]:
    """A place that can be read without knowing the run: the root of a store, and a path in it."""
    root = run.input if path.startswith(INPUT) else run.homes.get(Ingest.name, run.output)
    return {"sha256": sha256, "root": root, "path": path.removeprefix(INPUT), "offset": offset, "size": size}


def read_located(locations: Iterable[tuple[Any, ...]]) -> dict[str, bytes]:
    """sha256 -> bytes for each (sha256, root, path, offset, size), reading each file's ranges together."""
    by_file: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    for sha256, root, path, offset, size in locations:
        by_file.setdefault((root, path), {})[sha256] = (offset, size)
    out: dict[str, bytes] = {}
    for (root, path), wanted in by_file.items():
        out.update(zip(wanted, open_store(root).read_ranges(path, list(wanted.values())), strict=True))
    return out


def raw_of(row: Row, number: int) -> RawDocument:
    dead = row["dead"] or {}
    media = [(m["sha256"], m["root"], m["path"], m["offset"], m["size"]) for m in row["media"]]
    identity = row["uid"], row["document"], media, row["source"], row["locator"]
    return RawDocument(number, *identity, dead.get("reason"), dead.get("message"))


def map_document(row: Row, stage: str, function: Any) -> Row:
    """The row with function(Document) -> Document applied, unless it is dead; a RecordError makes it so."""
    if row["dead"] is not None:
        return row
    try:
        document = function(Document.from_json(row["document"]))
    except RecordError as error:
        return {**row, "dead": death(stage, error.reason, error.message)}
    return {**row, "document": document.to_json()}


class RowScorer:
    """Scores rows with a recipe's decoder and scorers. A context manager: the decoder's child process lives in it."""

    def __init__(self, recipe: Recipe):
        (self._phase,) = (phase for phase in phases_of(recipe) if isinstance(phase, ScorePhase))
        self._breaker = DeadShare(self._phase.max_dead_share, self._phase.dead_share_records)

    def __enter__(self) -> "RowScorer":
        self._decoder = self._phase.decoder.open()
        self._pictures = PictureCache(self._decoder.__enter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._decoder.__exit__(*error)

    def score(self, rows: Sequence[Row]) -> list[Row]:
        """Each row with `scores` and `pictures`, and dead where it cannot be scored."""
        documents, media = (Collected(schema) for schema in self._phase.schemas())
        writer = ScoreWriter(documents, media, self._phase.scorers)
        raw = [raw_of(row, number) for number, row in enumerate(rows)]
        self._phase.score_rows(raw, read_located, self._pictures, writer, self._breaker, Timer())
        pictures: list[list[dict[str, Any]]] = [[] for _ in rows]
        for picture in media.rows():
            pictures[picture.pop("document")].append(picture)
        out = []
        for row, found, seen in zip(rows, documents.rows(), pictures, strict=True):
            dead = row["dead"]
            if dead is None and found["dead_reason"] is not None:
                dead = death(found["dead_stage"], found["dead_reason"], found["dead_message"])
            scores = {name: value for name, value in found.items() if name not in FRONT_NAMES}
            out.append({**row, "dead": dead, "scores": scores, "pictures": seen})
        return out


class Collected:
    """Takes the tables that are written to it, and gives them back as rows."""

    def __init__(self, schema: pa.Schema):
        self.schema = schema
        self._tables: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        self._tables.append(table)

    def rows(self) -> list[dict[str, Any]]:
        return [row for table in self._tables for row in table.to_pylist()]


class RowJudge:
    """Applies a recipe's rules to scored rows."""

    def __init__(self, recipe: Recipe):
        (phase,) = (phase for phase in phases_of(recipe) if isinstance(phase, ScorePhase))
        self._documents, media = phase.schemas()
        self._media = media.remove(media.get_field_index("document"))
        self.score_columns = [field.name for field in self._documents if field.name not in FRONT_NAMES]
        self._decide = Decide(recipe.rules)
        self._rules = tuple(rule for rule in recipe.rules if rule.active)
        self.chooses = choose_rules(self._rules)

    def claims(self, rows: Sequence[Row]) -> Iterator[tuple[int, Claim]]:
        """(place, claim) of each row that a choose rule could drop: what it competes for, and with what."""
        part = self.part(rows)
        clusters, orders, stands = [], [], []
        for rule in self.chooses:
            before = self._rules[: self._rules.index(rule)]
            alive = part.evaluate_with(before, self._nobody(len(rows))).verdicts.alive
            cluster = part.documents[column_of(rule.name)]
            stands.append(alive & cluster.is_valid().to_numpy())
            clusters.append(cluster.to_pylist())
            orders.append([part.order_value(score).tolist() for score, _ in rule.order_by()])
        for number, row in enumerate(rows):
            claims = tuple(
                (clusters[k][number], tuple(column[number] for column in orders[k])) if stands[k][number] else None
                for k in range(len(self.chooses))
            )
            if any(claim is not None for claim in claims):
                yield number, (row["uid"], claims)

    def decide(self, rows: Sequence[Row], lost: Sequence[Iterable[str]]) -> list[Row]:
        """Each row with its part of the ledger. lost: for each row, the choose rules in which another was chosen."""
        part = self.part(rows)
        masks = self._nobody(len(rows))
        for number, names in enumerate(lost):
            for name in names:
                masks[name][number] = True
        verdicts = part.evaluate_with(self._rules, masks).verdicts
        documents = self._decide.documents(part, verdicts).to_pylist()
        media = self._decide.media(part, verdicts, member_names(part, verdicts)).to_pylist()
        pictures: list[list[dict[str, Any]]] = [[] for _ in rows]
        for owner, picture in zip(part.owner.tolist(), media, strict=True):
            pictures[owner].append(picture)
        return [
            {**row, "ledger": ledger, "pictures": seen}
            for row, ledger, seen in zip(rows, documents, pictures, strict=True)
        ]

    def schemas(self) -> tuple[pa.Schema, pa.Schema]:
        """Of ledger/documents and ledger/media."""
        part = self.part([])
        verdicts = part.evaluate_with(self._rules, self._nobody(0)).verdicts
        media = self._decide.media(part, verdicts, member_names(part, verdicts))
        return self._decide.documents(part, verdicts).schema, media.schema

    def _nobody(self, rows: int) -> dict[str, np.ndarray]:
        return {rule.name: np.zeros(rows, bool) for rule in self.chooses}

    def part(self, rows: Sequence[Row]) -> ScoredPart:
        """The rows as the pipeline's own tables."""
        documents = pa.Table.from_pylist([{**front_of(row), **row["scores"]} for row in rows], self._documents)
        media = pa.Table.from_pylist([picture for row in rows for picture in row["pictures"]], self._media)
        owner = np.repeat(np.arange(len(rows)), [len(row["pictures"]) for row in rows])
        nobody = np.zeros(len(rows), bool)
        dead = documents["dead_reason"].is_valid().to_numpy()
        return ScoredPart(0, documents, media, owner, repeated=nobody, conflict=nobody, dead=dead)


def front_of(row: Row) -> Row:
    """The columns in front of a document's scores."""
    dead = row["dead"] or {"stage": None, "reason": None, "message": None}
    source: Mapping[str, Any] = (row["document"] or {}).get("source", {})
    return {
        "uid": row["uid"],
        "source": row["source"],
        "uri": source.get("uri"),
        "locator": row["locator"],
        "licence": source.get("licence"),
        **{f"dead_{name}": value for name, value in dead.items()},
    }


def choose_rules(rules: Iterable[Rule]) -> tuple[Choose, ...]:
    return tuple(rule for rule in rules if isinstance(rule, Choose) and rule.active)


def split_cluster(rule: Choose, place: int, claims: Sequence[Claim]) -> tuple[list[Claim], list[Claim]]:
    """(chosen, lost) of the claims on one cluster. place: the rule's among the choose rules."""
    if len(claims) <= rule.keep:
        return list(claims), []
    held = [claim[1][place] for claim in claims]
    cluster = key_words(pa.array([h[0] for h in held if h is not None], pa.binary(16)))
    uid = key_words(pa.array([bytes.fromhex(claim[0]) for claim in claims], pa.binary(16)))
    columns = np.array([h[1] for h in held if h is not None], np.float64).reshape(len(claims), -1)
    order = rule.order_by()
    lost = losers(cluster, uid, list(columns.T), [descending for _, descending in order], rule.keep)
    chosen: tuple[list[Claim], list[Claim]] = [], []
    for claim, is_lost in zip(claims, lost.tolist(), strict=True):
        chosen[is_lost].append(claim)
    return chosen
