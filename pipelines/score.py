"""Score: one pass over the raw shards; every scorer's values go to the ledger, and nothing is dropped."""

import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from manifests import ledger
from manifests.document import Document, Media
from manifests.errors import RecordError
from manifests.parquet import TableWriter, read_table
from pipelines.folder import RunFolder
from pipelines.ingest import Ingest, RawDocument, raw_documents, read_media
from pipelines.phase import Result, Task, fields_of
from stages.guard import DeadShare, guarded
from stages.image.decoder import Decoder
from stages.image.picture import Picture
from stages.scorer import Batch, Score, Scorer

DOCUMENTS_A_BATCH = 128  # scored together; the batch decides speed, never a value
CACHED_PICTURES = 512  # of one task: a logo that stands on every page is decoded once
CACHED_BYTES = 64 << 20

FRONT = (
    pa.field("uid", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("uri", pa.string()),
    pa.field("locator", pa.string(), nullable=False),
    pa.field("licence", pa.string()),
    pa.field("dead_stage", pa.string()),
    pa.field("dead_reason", pa.string()),
    pa.field("dead_message", pa.string()),
)
MEDIA_FRONT = (
    pa.field("document", pa.int32(), nullable=False),  # its document's row in this part
    *(field for field in ledger.MEDIA_COLUMNS if field.name in ("uid", "segment", "sha256", "bytes", "extension")),
    *ledger.DECODED_COLUMNS,
)


@dataclass(frozen=True)
class ScorePhase:
    """Runs a family's decoder and scorers, in order, over each raw part."""

    decoder: Decoder
    scorers: tuple[Scorer, ...]
    max_dead_share: float
    dead_share_records: int
    name = "score"
    version = 1
    upstream = (Ingest.name,)

    def config(self) -> Mapping[str, Any]:
        return {
            "decoder": {"version": self.decoder.version, **fields_of(self.decoder)},
            "scorers": [{"name": s.name, "version": s.version, **fields_of(s)} for s in self.scorers],
        }

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return ({"part": part} for part in range(run.commit(Ingest.name)["tasks"]))

    def schemas(self) -> tuple[pa.Schema, pa.Schema]:
        """Of the table of documents and of the table of media."""
        scores = {level: scores_of(self.scorers, level) for level in ("document", "media")}
        return (
            ledger.schema(FRONT, [(s.column, s.type) for s in scores["document"]], ()),
            ledger.schema(MEDIA_FRONT, [(s.column, s.type) for s in scores["media"]], ()),
        )

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        raw = run.data(Ingest.name, task.params["part"], "documents.parquet")
        table = read_table(run.home(Ingest.name), raw)
        timer = Timer()
        paths = scratch / "documents.parquet", scratch / "media.parquet"
        schemas = self.schemas()
        with (
            self.decoder.open() as decoder,
            TableWriter(paths[0], schemas[0]) as documents,
            TableWriter(paths[1], schemas[1]) as media,
        ):
            writer = ScoreWriter(documents, media, self.scorers)
            breaker = DeadShare(self.max_dead_share, self.dead_share_records)
            pictures = PictureCache(decoder)
            for start in range(0, table.num_rows, DOCUMENTS_A_BATCH):
                rows = list(raw_documents(table.slice(start, DOCUMENTS_A_BATCH), start))
                self.score_rows(rows, partial(read_media, run), pictures, writer, breaker, timer)
        return Result(
            files={
                "documents": (paths[0], run.data(self.name, task.index, "documents.parquet")),
                "media": (paths[1], run.data(self.name, task.index, "media.parquet")),
            },
            rows={"documents": writer.documents, "media": writer.pictures},
            counts=dict(writer.counts),
            seconds=timer.seconds(),
        )

    def score_rows(
        self,
        rows: Sequence[RawDocument],
        read: Callable[[Iterable[tuple[Any, ...]]], Mapping[str, bytes]],
        cache: "PictureCache",
        writer: "ScoreWriter",
        breaker: DeadShare,
        timer: "Timer",
    ) -> None:
        """Decodes and scores one batch, and writes a row for every document of it, dead or not.

        read: the bytes at some of the rows' media locations, by SHA-256.
        """
        dead: dict[int, tuple[str, str, str]] = {}  # place in the batch -> stage, reason, message
        documents: dict[int, Document] = {}
        for place, row in enumerate(rows):
            if row.document is None:
                dead[place] = ("read", row.dead_reason or "", row.dead_message or "")
            else:
                documents[place] = Document.from_json(row.document)
        with timer.stage("read"):
            data = read(m for place in documents for m in rows[place].media if m[0] not in cache)
        with timer.stage("decode"):
            wanted = {m.sha256: m for document in documents.values() for _, m in document.media()}
            decoded = cache.decode(wanted, data)
        places, pictures = [], []
        for place, document in documents.items():
            found = [decoded[media.sha256] for _, media in document.media()]
            errors = [item for item in found if isinstance(item, RecordError)]
            if errors:
                dead[place] = (self.decoder.name, errors[0].reason, errors[0].message)
                continue
            places.append(place)
            pictures.append([item for item in found if isinstance(item, Picture)])
        batch = Batch([documents[place] for place in places], pictures)
        columns: dict[str, list[Any]] = {}
        for scorer in map(ready, self.scorers):
            with timer.stage(scorer.name):
                values, deaths = guarded(scorer, batch)
            columns |= values
            for at, reason, message in deaths:
                dead.setdefault(places[at], (scorer.name, reason, message))
        for place in range(len(rows)):
            if place in dead:
                breaker.record(*dead[place][:2])
            else:
                breaker.record("", None)
        writer.write(rows, documents, places, batch, columns, dead)


def ready(scorer: Scorer) -> Scorer:
    """This scorer, or an equal one, set up: once in each process, and in each thread where engines run threads."""
    key = (type(scorer), repr(scorer))
    if key not in _READY.scorers:
        scorer.setup()
        _READY.scorers[key] = scorer
    return _READY.scorers[key]


class Ready(threading.local):
    """Each thread's own: no scorer is asked to score in two threads at once."""

    def __init__(self) -> None:
        self.scorers: dict[Any, Scorer] = {}


_READY = Ready()


def scores_of(scorers: Iterable[Scorer], level: str) -> list[Score]:
    return [score for scorer in scorers for score in scorer.scores if score.level == level]


class PictureCache:
    """Decodes each distinct picture of a task once, as long as it fits."""

    def __init__(self, decoder: Any):
        self._decoder = decoder
        self._kept: OrderedDict[str, Picture | RecordError] = OrderedDict()
        self._bytes = 0

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._kept

    def decode(self, wanted: Mapping[str, Media], data: Mapping[str, bytes]) -> dict[str, Picture | RecordError]:
        """sha256 -> picture or why not, for every wanted one: from the cache, or decoded from `data`."""
        out = {sha256: self._kept[sha256] for sha256 in wanted if sha256 in self._kept}
        new = [(media, data[sha256]) for sha256, media in wanted.items() if sha256 not in out]
        for (media, payload), result in zip(new, self._decoder.decode(new), strict=True):
            out[media.sha256] = self._kept[media.sha256] = result
            self._bytes += len(payload)
        while len(self._kept) > CACHED_PICTURES or (self._bytes > CACHED_BYTES and self._kept):
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.data) if isinstance(dropped, Picture) else 0
        return out


class Sink(Protocol):
    """Takes rows of its schema: a file, or a list."""

    schema: pa.Schema

    def write(self, table: pa.Table) -> None: ...


class ScoreWriter:
    """Writes the two tables of one part, a batch at a time."""

    def __init__(self, documents: Sink, media: Sink, scorers: Iterable[Scorer]):
        self._sinks = documents, media
        self._scores = {level: scores_of(scorers, level) for level in ("document", "media")}
        self.documents = self.pictures = 0
        self.counts: Counter[str] = Counter()

    def write(
        self,
        rows: Sequence[RawDocument],
        documents: Mapping[int, Document],
        places: Sequence[int],
        batch: Batch,
        columns: Mapping[str, Sequence[Any]],
        dead: Mapping[int, tuple[str, str, str]],
    ) -> None:
        """One row for each of `rows`; scores where `places` says that a row was scored, else null."""
        at = {place: number for number, place in enumerate(places)}
        fields: dict[str, list[Any]] = {field.name: [] for field in FRONT}
        for place, row in enumerate(rows):
            document = documents.get(place)
            stage, reason, message = dead.get(place, (None, None, None))
            values = (
                row.uid,
                row.source,
                document.source.uri if document else None,
                row.locator,
                document.source.licence if document else None,
                stage,
                reason,
                message,
            )
            for name, value in zip(fields, values, strict=True):
                fields[name].append(value)
        for score in self._scores["document"]:
            column = columns[score.name]
            fields[score.column] = [column[at[place]] if place in at else None for place in range(len(rows))]
        self._sinks[0].write(pa.table(fields, self._sinks[0].schema))
        self._media(rows, places, batch, columns)
        self.documents += len(rows)
        self.counts["scored"] += len(rows) - len(dead)
        self.counts.update(f"undone/{reason}" for _, reason, _ in dead.values())

    def _media(
        self, rows: Sequence[RawDocument], places: Sequence[int], batch: Batch, columns: Mapping[str, Sequence[Any]]
    ) -> None:
        fields: dict[str, list[Any]] = {field.name: [] for field in MEDIA_FRONT}
        for place, document, pictures in zip(places, batch.documents, batch.pictures, strict=True):
            for (segment, media), picture in zip(document.media(), pictures, strict=True):
                values = (
                    rows[place].row,
                    document.uid,
                    segment,
                    media.sha256,
                    media.size,
                    media.extension,
                    picture.format,
                    picture.mode,
                    picture.width,
                    picture.height,
                    picture.frames,
                    picture.orientation,
                    picture.policy,
                )
                for name, value in zip(fields, values, strict=True):
                    fields[name].append(value)
        self.pictures += len(fields["uid"])
        for score in self._scores["media"]:
            fields[score.column] = list(columns[score.name])
        self._sinks[1].write(pa.table(fields, self._sinks[1].schema))


class Timer:
    """Wall seconds by stage of one task."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - started

    def seconds(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in self._seconds.items()}
