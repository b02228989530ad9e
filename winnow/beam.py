"""Winnow's steps as Beam transforms, for use inside a job of your own.

    documents = pipeline | ReadDocuments("gs://bucket/pages", staging="gs://bucket/staging")
    decided = documents | Score("image-text-light") | Decide("image-text-light")
    decided | WriteShards("gs://bucket/dataset", "image-text-light")

Elements are dicts of plain values (pipelines/rows.py says of which), some kilobytes each, never payload bytes: whoever
needs those reads them from the store. Use any transform of yours between these; `MapDocuments`
applies a function to documents and leaves the dead alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.decorators import no_annotations
from apache_beam.utils.windowed_value import WindowedValue

from manifests.document import Document
from manifests.rules import Choose
from pipelines import recipe as recipes
from pipelines.assemble import Assembly, Layout, outcome_of, part_of, weigh
from pipelines.engines.beam import METRICS, RunPhase
from pipelines.folder import RunFolder, open_store
from pipelines.identity import Identity
from pipelines.ingest import Ingest
from pipelines.phase import fingerprint
from pipelines.recipe import Recipe
from pipelines.rows import Claim, Row, RowJudge, RowScorer, map_document, read_rows, split_cluster
from pipelines.run import listing_digest
from stages.readers.detect import make_reader
from winnow.addresses import input_uri, last_part, output_uri

__all__ = ["Decide", "Decided", "MapDocuments", "ReadDocuments", "Score", "WriteShards"]

ELEMENTS_A_BATCH = 128


class ReadDocuments(beam.PTransform):
    """Every document of a folder or bucket, each once; what cannot be read is an element with `dead` set.

    staging: a folder or bucket that takes the raw shards, with a receipt for each task: a job that is started again
    goes on from there. It must stay until the dataset is written. The other settings are those of `winnow run`.
    """

    def __init__(
        self,
        input: str,
        staging: str,
        source: str | None = None,
        format: str = "auto",
        licence: str | None = None,
        limit: int | None = None,
        **settings: Any,
    ):
        super().__init__()
        uri = input_uri(input)
        reader = make_reader(format, uri, source or last_part(uri), licence, **settings)
        self._phases = Ingest(reader, uri, listing_digest(open_store(uri)), limit), Identity()
        prints: dict[str, str] = {}
        for phase in self._phases:
            prints[phase.name] = fingerprint(phase, prints)
        self.run = RunFolder(output_uri(staging), uri, prints)

    def expand(self, pbegin: Any) -> PCollection:
        signal = pbegin.pipeline | "start" >> beam.Impulse()
        for phase in self._phases:
            signal = signal | phase.name >> RunPhase(phase, self.run, strict=True)
        return (
            signal
            | "parts" >> beam.FlatMap(parts_of, self.run).with_output_types(int)
            | "spread" >> beam.Reshuffle()
            | "read" >> beam.FlatMap(partial(read_rows, self.run)).with_output_types(Row)
        )


def parts_of(signal: bytes, run: RunFolder) -> Iterable[int]:
    return range(run.commit(Ingest.name)["tasks"])


class MapDocuments(beam.PTransform):
    """function(Document) -> Document on every document that is not dead. A RecordError that it raises makes it dead."""

    def __init__(self, function: Callable[[Document], Document]):
        super().__init__()
        self._function = function

    def expand(self, rows: PCollection) -> PCollection:
        stage = getattr(self._function, "__name__", "map")
        return rows | beam.Map(map_document, stage, self._function).with_output_types(Row)


class Score(beam.PTransform):
    """Runs a recipe's decoder and scorers: elements get `scores` and `pictures`, and `dead` where they cannot.

    recipe: a shipped one by name, a YAML file, or a Recipe. sets: as `--set`.
    """

    def __init__(self, recipe: str | Recipe, sets: Sequence[str] = ()):
        super().__init__()
        self._recipe = made(recipe, sets)

    def expand(self, rows: PCollection) -> PCollection:
        return rows | "score" >> beam.ParDo(ScoreBatches(self._recipe)).with_output_types(Row)


class Decided(NamedTuple):
    """The three outcomes. Every element has `ledger`, its row of the published table."""

    kept: PCollection
    dropped: PCollection
    dead: PCollection


class Decide(beam.PTransform):
    """Applies a recipe's rules to scored elements. Of each duplicate cluster the same documents stay on any runner."""

    def __init__(self, recipe: str | Recipe, sets: Sequence[str] = ()):
        super().__init__()
        self._recipe = made(recipe, sets)

    @no_annotations
    def expand(self, rows: PCollection) -> Decided:
        chooses = RowJudge(self._recipe).chooses
        with_lost = rows | "nothing lost" >> beam.Map(lambda row: (row, ())) if not chooses else self._choose(rows)
        outcomes = with_lost | "decide" >> beam.ParDo(DecideBatches(self._recipe)).with_output_types(
            Row, dropped=Row, dead=Row
        ).with_outputs("dropped", "dead", main="kept")
        return Decided(outcomes.kept, outcomes.dropped, outcomes.dead)

    def _choose(self, rows: PCollection) -> PCollection:
        """(row, names of the choose rules in which it lost). What is compared is claims, narrow; rows move once."""
        claims = rows | "claims" >> beam.ParDo(ClaimBatches(self._recipe)).with_output_types(Claim)
        lost = []
        for place, rule in enumerate(RowJudge(self._recipe).chooses):
            claims, losers = claims | rule.name >> ChooseOne(rule, place)
            lost.append(losers)
        return (
            {
                "row": rows | "by uid" >> beam.Map(lambda row: (row["uid"], row)).with_output_types(tuple[str, Row]),
                "lost": lost | "all lost" >> beam.Flatten(),
            }
            | "join" >> beam.CoGroupByKey()
            | "rejoined" >> beam.FlatMap(lambda group: [(row, group[1]["lost"]) for row in group[1]["row"]])
        )


class ChooseOne(beam.PTransform):
    """Of each cluster the first `keep` claims: (the claims that still stand, (uid, rule) of those that lost)."""

    def __init__(self, rule: Choose, place: int):
        super().__init__()
        self._rule, self._place = rule, place

    @no_annotations
    def expand(self, claims: PCollection) -> tuple[PCollection, PCollection]:
        place, name = self._place, self._rule.name
        competing = (
            claims
            | "competing" >> beam.Filter(lambda claim: claim[1][place] is not None)
            | "by cluster" >> beam.Map(lambda claim: (claim[1][place][0], claim)).with_output_types(tuple[bytes, Claim])
            | "group" >> beam.GroupByKey()
            | "choose" >> beam.Map(lambda group: split_cluster(self._rule, place, list(group[1])))
        )
        others = claims | "not competing" >> beam.Filter(lambda claim: claim[1][place] is None)
        chosen = competing | "chosen" >> beam.FlatMap(lambda split: split[0]).with_output_types(Claim)
        lost = competing | "lost" >> beam.FlatMap(
            lambda split: [(claim[0], name) for claim in split[1]]
        ).with_output_types(tuple[str, str])
        return (others, chosen) | "standing" >> beam.Flatten(), lost


class WriteShards(beam.PTransform):
    """Writes a whole dataset: shards, index, ledger and manifest, which `winnow verify` accepts.

    Takes a Decided, or one collection of decided elements. Gives one element once all is written: the manifest as JSON.
    Shards hold about as many samples as the recipe says: which shard a document goes to depends on its uid alone.
    """

    def __init__(self, output: str, recipe: str | Recipe, sets: Sequence[str] = (), name: str | None = None):
        super().__init__()
        uri = output_uri(output)
        self._assembly = Assembly(made(recipe, sets), uri, name or last_part(uri))

    def expand(self, decided: Any) -> PCollection:
        rows = decided if isinstance(decided, PCollection) else tuple(decided) | "all" >> beam.Flatten()
        rows = rows | "one window" >> beam.WindowInto(GlobalWindows())
        assembly = self._assembly
        layout = (
            rows
            | "weigh" >> beam.Map(weigh).with_output_types(tuple[int, int, int])
            | "sum" >> beam.CombineGlobally(sums).with_output_types(tuple[int, int, int])
            | "plan" >> beam.Map(started, assembly)
        )
        kept = rows | "kept" >> beam.Filter(lambda row: row["ledger"]["outcome"] == "kept")
        narrow = rows | "ledger rows" >> beam.Map(lambda row: {k: row[k] for k in ("uid", "ledger", "pictures")})
        done = (
            narrow | "ledger" >> WriteParts(assembly, "ledger", layout),
            kept | "shards" >> WriteParts(assembly, "shards", layout),
        )
        return layout | "publish" >> beam.Map(finished, assembly, *(AsSingleton(count) for count in done))


class WriteParts(beam.PTransform):
    """Groups rows by part and writes each part, those without rows too. Gives the number of parts."""

    def __init__(self, assembly: Assembly, what: str, layout: PCollection):
        super().__init__()
        self._assembly, self._what, self._layout = assembly, what, layout

    def expand(self, rows: PCollection) -> PCollection:
        what, assembly = self._what, self._assembly
        layout = AsSingleton(self._layout)
        keyed = rows | "part" >> beam.Map(
            lambda row, layout: (part_of(row["uid"], parts_in(layout, what)), row), layout
        ).with_output_types(tuple[int, Row])
        every = self._layout | "every part" >> beam.FlatMap(
            lambda layout: ((part, {}) for part in range(parts_in(layout, what)))
        ).with_output_types(tuple[int, Row])
        return (
            (keyed, every)
            | "parts" >> beam.Flatten()
            | "group" >> beam.GroupByKey()
            | "write" >> beam.FlatMap(write_part, assembly, what, layout).with_output_types(int)
            | "count" >> beam.CombineGlobally(sum)
        )


def parts_in(layout: Layout, what: str) -> int:
    return layout.ledger_parts if what == "ledger" else layout.shards


def sums(weights: Iterable[tuple[int, int, int]]) -> tuple[int, int, int]:
    documents = kept = size = 0
    for weight in weights:
        documents, kept, size = documents + weight[0], kept + weight[1], size + weight[2]
    return documents, kept, size


def started(totals: tuple[int, int, int], assembly: Assembly) -> Layout:
    layout = assembly.layout(*totals)
    assembly.start(layout)
    return layout


def write_part(group: tuple[int, Iterable[Row]], assembly: Assembly, what: str, layout: Layout) -> Iterator[int]:
    part, rows = group
    phase = assembly.ledger(layout.ledger_parts) if what == "ledger" else assembly.shards(layout.shards)
    receipt = assembly.write(phase, part, (row for row in rows if row))
    if what == "shards":  # the ledger's counts are counted where they are decided
        count(phase.name, receipt["counts"])
    yield 1


def finished(layout: Layout, assembly: Assembly, *written: int) -> dict[str, Any]:
    return assembly.finish(layout).to_json()


class Batches(beam.DoFn):
    """Gives `work` some elements at a time. An output keeps the time and the window of the element it is made from."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe

    def start_bundle(self) -> None:
        self._waiting: list[tuple[Any, Any, Any]] = []

    def process(
        self, element: Any, time: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        self._waiting.append((element, time, window))
        if len(self._waiting) >= ELEMENTS_A_BATCH:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        yield from self._flush()

    def _flush(self) -> Iterator[Any]:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        for number, tag, output in self.work([element for element, _, _ in waiting]):
            value = WindowedValue(output, waiting[number][1], (waiting[number][2],))
            yield value if tag is None else TaggedOutput(tag, value)

    def work(self, elements: list[Any]) -> Iterator[tuple[int, str | None, Any]]:
        """(which element it is made from, tag or None for the main output, output)."""
        raise NotImplementedError


class ScoreBatches(Batches):
    """Scores rows; the decoder's child process lives as long as this."""

    def setup(self) -> None:
        self._scorer = RowScorer(self.recipe)
        self._scorer.__enter__()

    def teardown(self) -> None:
        self._scorer.__exit__(None, None, None)

    def work(self, elements: list[Row]) -> Iterator[tuple[int, None, Row]]:
        for number, row in enumerate(self._scorer.score(elements)):
            count("score", {f"undone/{row['dead']['reason']}" if row["dead"] else "scored": 1})
            yield number, None, row


class ClaimBatches(Batches):
    """The claims of rows on their clusters."""

    def setup(self) -> None:
        self._judge = RowJudge(self.recipe)

    def work(self, elements: list[Row]) -> Iterator[tuple[int, None, Claim]]:
        for number, claim in self._judge.claims(elements):
            yield number, None, claim


class DecideBatches(Batches):
    """Takes (row, names of choose rules in which it lost); gives decided rows by outcome."""

    def setup(self) -> None:
        self._judge = RowJudge(self.recipe)

    def work(self, elements: list[tuple[Row, Sequence[str]]]) -> Iterator[tuple[int, str | None, Row]]:
        decided = self._judge.decide([row for row, _ in elements], [lost for _, lost in elements])
        for number, row in enumerate(decided):
            count("decide", dict.fromkeys(outcome_of(row), 1))
            outcome = row["ledger"]["outcome"]
            yield number, None if outcome == "kept" else outcome, row


def count(phase: str, counts: Mapping[str, int]) -> None:
    for name, number in counts.items():
        Metrics.counter(METRICS, f"{phase}/{name}").inc(number)


def made(recipe: str | Recipe, sets: Sequence[str]) -> Recipe:
    return recipes.load(recipe, sets) if isinstance(recipe, str) else recipe
