"""What there is to see of each bounds rule: its score's histogram or commonest values, and documents near its cuts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.rules import Bounds, Rule, column_of, pass_column
from pipelines.audit.histograms import Cut, Histogram, axis_for
from pipelines.audit.nearest import SHOWN, Candidate, Pool, Rows, codes, offer, ranks
from pipelines.audit.parts import Ledger, Part, floats, is_numeric
from pipelines.audit.tallies import Range, Tally, judged_column, judged_rows, outcome_of_pictures

Side = Literal["fails", "passes"]
VALUES = 12  # values of an `in` rule that are drawn, and told apart in its gallery


@dataclass(frozen=True, slots=True)
class Gallery:
    """Documents on one side of a cut, nearest first. bound: as in a reason's name: min, max, in."""

    bound: str
    side: Side
    candidates: Sequence[Candidate]


@dataclass(slots=True)
class Study:
    """One bounds rule, over all documents (or pictures) that it was asked about.

    level: `document` or `media`. scores: the range, from the first pass. tally: the values, for an `in` rule.
    """

    rule: Bounds
    place: int
    level: str
    numeric: bool
    scores: Range = field(default_factory=Range)
    tally: Tally = field(default_factory=Tally)
    histogram: Histogram | None = None
    pools: dict[tuple[str, Side, str], Pool] = field(default_factory=dict)

    @property
    def column(self) -> str:
        return column_of(self.rule.name)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        low = () if self.rule.min is None else (Cut("min", float(self.rule.min)),)
        high = () if self.rule.max is None else (Cut("max", float(self.rule.max)),)
        return (*low, *high)

    def survey(self, part: Part) -> None:
        """First pass: the range and the values."""
        column = judged_column(part, self.column, self.level, pass_column(self.rule))
        if self.numeric:
            self.scores.add(column)
        if self.rule.allowed is not None:
            everything = part.documents["outcome"] if self.level == "document" else outcome_of_pictures(part)
            self.tally.add(column, everything.filter(judged_rows(part, self.level, pass_column(self.rule))))

    def prepare(self, whole: bool) -> None:
        """Between the passes: fixes the axis, and for which values examples are wanted."""
        if self.numeric and not self.scores.empty and self.cuts:
            self.histogram = Histogram(axis_for(self.scores.low, self.scores.high, whole, self.cuts), self.cuts)
        for cut in self.cuts:
            self.pools[cut.side, "fails", ""] = Pool()
            self.pools[cut.side, "passes", ""] = Pool()
        if self.rule.allowed is not None:
            allowed = {str(pa.scalar(value).cast(pa.string()).as_py()) for value in self.rule.allowed}
            ranked = [value for value, _, _ in self.tally.top(4 * VALUES)]
            for side, values in (
                ("passes", [v for v in ranked if v in allowed]),
                ("fails", [v for v in ranked if v not in allowed]),
            ):
                self.pools |= {("in", side, value): Pool() for value in values[:SHOWN]}  # type: ignore[misc]

    def see(self, part: Part, rows: "Levels") -> None:
        """Second pass: counts, and offers what is near a cut."""
        table = part.documents if self.level == "document" else part.media
        column = table[self.column]
        judged = np.asarray(judged_rows(part, self.level, pass_column(self.rule)))
        values = np.where(judged, floats(column), np.nan) if self.numeric else np.full(len(column), np.nan)
        base = rows.of(self.level, values, column)
        if self.histogram is not None:
            self.histogram.add(values[judged], base.place[judged] == part.rules)
        for (bound, side, value), pool in self.pools.items():
            if bound == "in":
                inside = judged & np.asarray(pc.fill_null(pc.equal(column.cast(pa.string()), value), False))
                offer(pool, base, inside, np.zeros(len(values)), self.place)
                continue
            cut = next(cut for cut in self.cuts if cut.side == bound)
            good = values >= cut.value if cut.side == "min" else values <= cut.value
            inside = judged & ~np.isnan(values) & (good if side == "passes" else ~good)
            offer(pool, base, inside, np.abs(values - cut.value), self.place)

    def galleries(self) -> list[Gallery]:
        """What fails and what passes at each bound; the candidates of an `in` rule take turns by value."""
        bounds = dict.fromkeys(bound for bound, _, _ in self.pools)
        out = []
        for bound in bounds:
            sides: tuple[Side, Side] = ("fails", "passes")
            for side in sides:
                pools = [pool.ranked() for (b, s, _), pool in self.pools.items() if (b, s) == (bound, side)]
                out.append(Gallery(bound, side, take_turns(pools)))
        return out


def take_turns(lists: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """The first of each list, then the second of each."""
    longest = max((len(items) for items in lists), default=0)
    return [items[turn] for turn in range(longest) for items in lists if turn < len(items)]


class Levels:
    """The columns that every study of one part shares, made once for documents and once for pictures."""

    def __init__(self, part: Part):
        self._part = part
        self._made: dict[str, Rows] = {}

    def of(self, level: str, values: np.ndarray, text: pa.ChunkedArray) -> Rows:
        if level not in self._made:
            self._made[level] = self._documents() if level == "document" else self._pictures()
        base = self._made[level]
        return Rows(base.part, base.uid, base.segment, base.sha256, base.place, values, text, base.rank, base.picture)

    def _documents(self) -> Rows:
        part = self._part
        first = np.full(part.documents.num_rows, -1, np.int64)
        if len(part.owner):
            owners, at = np.unique(part.owner, return_index=True)
            first[owners[owners >= 0]] = at[owners >= 0]
            sha256 = part.media["sha256"].take(pa.array(first, mask=first < 0))
        else:
            sha256 = pa.chunked_array([pa.nulls(len(first), pa.string())])
        return self._rows(part.documents["uid"], np.full(len(first), -1, np.int64), sha256, part.place)

    def _pictures(self) -> Rows:
        part = self._part
        place = np.where(part.owner >= 0, part.place[part.owner], -1) if len(part.place) else part.owner
        segment = part.media["segment"].to_numpy().astype(np.int64)
        return self._rows(part.media["uid"], segment, part.media["sha256"], place)

    def _rows(self, uid: pa.ChunkedArray, segment: np.ndarray, sha256: pa.ChunkedArray, place: np.ndarray) -> Rows:
        empty = np.empty(0)
        return Rows(self._part.number, uid, segment, sha256, place, empty, uid, ranks(uid), codes(sha256))


def studies_of(ledger: Ledger) -> list[Study]:
    """A study for each active bounds rule whose score the ledger has."""
    out = []
    for place, rule in enumerate(ledger.rules):
        level = ledger.level(rule)
        if isinstance(rule, Bounds) and level is not None:
            schema = ledger.document_schema if level == "document" else ledger.media_schema
            out.append(Study(rule, place, level, is_numeric(schema.field(column_of(rule.name)).type)))
    return out


def whole_numbers(ledger: Ledger, study: Study) -> bool:
    schema = ledger.document_schema if study.level == "document" else ledger.media_schema
    kind = schema.field(study.column).type
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def columns_of(rules: Iterable[Rule]) -> set[str]:
    """The columns of scores and passes of some rules, in either table."""
    return {name for rule in rules for name in (column_of(rule.name), pass_column(rule))}
