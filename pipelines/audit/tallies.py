"""What is counted in the first pass over the ledger: values of a column, dead letters, the range of each score."""

import heapq
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.audit.parts import Part, floats

DISTINCT = 20_000  # values of one column that are counted apart; of a column with more, the rarer are put together
EXAMPLES = 4  # of each class of dead letters


@dataclass(slots=True)
class Tally:
    """Counts of a column's values, split by what became of the document. rest: counts of values given up as rare."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    total: Counter[str] = field(default_factory=Counter)
    rest: int = 0
    missing: int = 0

    def add(self, column: pa.ChunkedArray, outcome: pa.ChunkedArray) -> None:
        pairs = pa.table({"value": column.cast(pa.string()), "outcome": outcome})
        grouped = pairs.group_by(["value", "outcome"]).aggregate([([], "count_all")])
        for value, what, count in zip(*(grouped[name].to_pylist() for name in GROUPED), strict=True):
            if value is None:
                self.missing += count
                continue
            self.counts.setdefault(value, Counter())[what] += count
            self.total[value] += count
        if len(self.total) > DISTINCT:
            self._prune()

    def _prune(self) -> None:
        ranked = sorted(self.total, key=lambda value: (-self.total[value], value))
        for value in ranked[DISTINCT // 2 :]:
            self.rest += self.total.pop(value)
            del self.counts[value]

    def top(self, count: int) -> list[tuple[str, int, Counter[str]]]:
        """(value, total, by outcome), the largest first, ties by value."""
        ranked = sorted(self.total, key=lambda value: (-self.total[value], value))
        return [(value, self.total[value], self.counts[value]) for value in ranked[:count]]

    def beyond(self, count: int) -> tuple[int, int]:
        """(values, documents) that top(count) leaves out."""
        shown = sum(total for _, total, _ in self.top(count))
        return max(0, len(self.total) - count), sum(self.total.values()) + self.rest - shown


GROUPED = ("value", "outcome", "count_all")


@dataclass(frozen=True, slots=True, order=True)
class DeadExample:
    """One dead row."""

    uid: str
    source: str
    locator: str
    message: str


@dataclass(slots=True)
class DeadLetters:
    """Dead rows by (stage, class), each with the examples of smallest uid, messages all different where they can be."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], dict[str, DeadExample]] = field(default_factory=dict)

    def add(self, part: Part) -> None:
        dead = part.documents.filter(pa.array(part.place < 0))
        names = ("dead_stage", "dead_reason", "uid", "source", "locator", "dead_message")
        for stage, reason, uid, source, locator, message in zip(*(dead[n].to_pylist() for n in names), strict=True):
            key = (stage or "", reason or "")
            self.counts[key] += 1
            found = self.examples.setdefault(key, {})
            example = DeadExample(uid, source, locator, message or "")
            if example.message not in found or example < found[example.message]:
                found[example.message] = example
            if len(found) > EXAMPLES:
                del found[max(found, key=lambda text: found[text])]

    def classes(self) -> list[tuple[str, str, int, list[DeadExample]]]:
        """(stage, class, documents, examples), the largest first."""
        ranked = sorted(self.counts, key=lambda key: (-self.counts[key], key))
        return [(*key, self.counts[key], heapq.nsmallest(EXAMPLES, self.examples[key].values())) for key in ranked]


@dataclass(slots=True)
class Range:
    """Smallest and largest finite value of a score."""

    low: float = math.inf
    high: float = -math.inf

    def add(self, column: pa.ChunkedArray) -> None:
        values = floats(column)
        finite = values[np.isfinite(values)]
        if len(finite):
            self.low = min(self.low, float(finite.min()))
            self.high = max(self.high, float(finite.max()))

    @property
    def empty(self) -> bool:
        return self.low > self.high


def judged_column(part: Part, column: str, level: str, evaluated: str) -> pa.ChunkedArray:
    """A score's values over what rules were asked about: documents not dead, pictures of such documents."""
    table = part.documents if level == "document" else part.media
    return table[column].filter(judged_rows(part, level, evaluated))


def judged_rows(part: Part, level: str, evaluated: str) -> pa.Array:
    """bool: judged rows of a table. evaluated: the pass column, which is null where nobody was asked."""
    table = part.documents if level == "document" else part.media
    if evaluated in table.column_names:
        return pc.is_valid(table[evaluated]).combine_chunks()
    return pa.array(part.judged if level == "document" else part.owner >= 0)


def outcome_of_pictures(part: Part) -> pa.ChunkedArray:
    """Each picture's document's outcome, `dead` where it has none that was judged."""
    names: Mapping[bool, str] = {True: "kept", False: "dropped"}
    kept = part.kept
    return pa.chunked_array([pa.array([names[bool(kept[o])] if o >= 0 else "dead" for o in part.owner], pa.string())])
