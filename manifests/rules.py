"""Rules decide, on the ledger's values alone, what is kept.

Two kinds so far, in one ordered list: *bounds* on one score, and *choose* (the first of each cluster by a stated
order). A document's verdict is the first rule it fails; every rule's own pass or fail is recorded beside it.
Nothing here looks at a pixel, so another threshold costs a pass over narrow columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Drop = Literal["document", "segment"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """min <= score <= max, or the score is one of `allowed` (spelled `in` in a recipe). A missing score fails.

    drop: `document`, or `segment` where a media score should take away only its picture.
    gate: costlier scorers skip what it drops. source: where the default comes from.
    """

    name: str
    min: float | None = None
    max: float | None = None
    allowed: tuple[str | bool | int | float, ...] | None = None
    drop: Drop = "document"
    gate: bool = False
    source: str = ""

    @property
    def reasons(self) -> tuple[str, ...]:
        named = (("min", self.min), ("max", self.max), ("in", self.allowed))
        return (*(f"{self.name}.{bound}" for bound, value in named if value is not None), f"{self.name}.missing")

    @property
    def active(self) -> bool:
        return self.min is not None or self.max is not None or self.allowed is not None


@dataclass(frozen=True, slots=True)
class Choose:
    """Keeps the first `keep` documents of each cluster, among the survivors of the rules before it.

    name: the score that holds the cluster id (16 bytes, null for no cluster). by: scores to sort by, `-` in front for
    descending; the last tie is broken by uid. source: where the default comes from.
    """

    name: str
    by: tuple[str, ...] = ()
    keep: int = 1
    source: str = ""

    @property
    def reasons(self) -> tuple[str, ...]:
        return (f"{self.name}.choose",)

    @property
    def active(self) -> bool:
        return self.keep > 0

    def order_by(self) -> list[tuple[str, bool]]:
        """(score, descending) in order."""
        return [(key.removeprefix("-"), key.startswith("-")) for key in self.by]


Rule = Bounds | Choose


def column_of(score: str) -> str:
    """The ledger's column for a dotted score name."""
    return score.replace(".", "_")


def pass_column(rule: Rule) -> str:
    return f"pass_{column_of(rule.name)}"


@dataclass(slots=True)
class Verdicts:
    """What the rules said of n documents and m media rows.

    alive: bool[n], still kept. rule, value, bound: the first failure of each document, None where there is none.
    document_passes, media_passes: rule name -> bool array with nulls where the rule was not evaluated.
    media_dropped: bool[m], pictures taken away by a `drop: segment` rule; media_rule: by which.
    """

    alive: np.ndarray
    rule: np.ndarray
    value: np.ndarray
    bound: np.ndarray
    media_dropped: np.ndarray
    media_rule: np.ndarray
    document_passes: dict[str, pa.Array] = field(default_factory=dict)
    media_passes: dict[str, pa.Array] = field(default_factory=dict)


class Evaluation:
    """Evaluates an ordered list of rules on one part of the ledger.

    documents: one row a document. media: one row a picture, with owner[i] the row of its document.
    judged: bool[n], False for rows that rules must not see (dead, repeated).
    lost: for each choose rule, bool[n]: lost to a better copy (found by an exchange over all parts).
    """

    def __init__(self, documents: pa.Table, media: pa.Table, owner: np.ndarray, judged: np.ndarray):
        self.documents, self.media, self.owner, self.judged = documents, media, owner, judged
        n, m = documents.num_rows, media.num_rows
        self.verdicts = Verdicts(
            alive=judged.copy(),
            rule=np.full(n, None, object),
            value=np.full(n, None, object),
            bound=np.full(n, None, object),
            media_dropped=np.zeros(m, bool),
            media_rule=np.full(m, None, object),
        )

    def apply(self, rules: Iterable[Rule], lost: Mapping[str, np.ndarray]) -> Verdicts:
        for rule in rules:
            if isinstance(rule, Choose):
                self._choose(rule, lost[rule.name])
            elif not rule.active:
                continue
            elif column_of(rule.name) in self.documents.column_names:
                self._bound_documents(rule)
            else:
                self._bound_media(rule)
        return self.verdicts

    def _choose(self, rule: Choose, lost: np.ndarray) -> None:
        v = self.verdicts
        v.document_passes[rule.name] = pa.array(~lost, mask=~v.alive)
        cluster = self.documents[column_of(rule.name)]
        fails = v.alive & lost
        for row in np.flatnonzero(fails):
            v.rule[row], v.bound[row] = rule.reasons[0], str(rule.keep)
            v.value[row] = cluster[row].as_py().hex()
        v.alive &= ~lost

    def _bound_documents(self, rule: Bounds) -> None:
        v = self.verdicts
        column = self.documents[column_of(rule.name)].combine_chunks()
        passed = satisfied(rule, column)
        v.document_passes[rule.name] = pa.array(passed, mask=~self.judged)
        self._drop(rule, np.flatnonzero(v.alive & ~passed), column, None)
        v.alive &= passed

    def _bound_media(self, rule: Bounds) -> None:
        v = self.verdicts
        column = self.media[column_of(rule.name)].combine_chunks()
        passed = satisfied(rule, column)
        v.media_passes[rule.name] = pa.array(passed, mask=~self.judged[self.owner])
        standing = ~v.media_dropped & v.alive[self.owner]
        failing = np.flatnonzero(standing & ~passed)
        if rule.drop == "segment":
            v.media_dropped[failing] = True
            for row in failing:
                v.media_rule[row] = failed_bound(rule, column[row])[0]
            return
        # The first failing picture of each document speaks for it.
        owners, first = np.unique(self.owner[failing], return_index=True)
        self._drop(rule, owners, column, failing[first])
        v.alive[owners] = False

    def _drop(self, rule: Bounds, documents: np.ndarray, column: pa.Array, rows: np.ndarray | None) -> None:
        v = self.verdicts
        for at, row in zip(documents, documents if rows is None else rows, strict=True):
            v.rule[at], v.bound[at] = failed_bound(rule, column[row])
            v.value[at] = text_of(column[row])


def satisfied(rule: Bounds, column: pa.Array) -> np.ndarray:
    """bool[n]: whether each value is within the rule's bounds; null and NaN are not."""
    passed = np.asarray(pc.is_valid(column))
    if pa.types.is_floating(column.type):
        passed &= ~np.asarray(pc.fill_null(pc.is_nan(column), True))
    if rule.min is not None:
        passed &= np.asarray(pc.fill_null(pc.greater_equal(numeric(column), float(rule.min)), False))
    if rule.max is not None:
        passed &= np.asarray(pc.fill_null(pc.less_equal(numeric(column), float(rule.max)), False))
    if rule.allowed is not None:
        allowed = pa.array(list(rule.allowed)).cast(column.type)
        passed &= np.asarray(pc.is_in(column, value_set=allowed, skip_nulls=True))
    return passed


def failed_bound(rule: Bounds, value: pa.Scalar) -> tuple[str, str | None]:
    """(reason name, bound as text) of the first bound that the value fails."""
    plain = value.as_py()
    if plain is None or plain != plain:
        return f"{rule.name}.missing", None
    if rule.min is not None and not plain >= rule.min:
        return f"{rule.name}.min", number_text(rule.min)
    if rule.max is not None and not plain <= rule.max:
        return f"{rule.name}.max", number_text(rule.max)
    return f"{rule.name}.in", ",".join(str(item) for item in rule.allowed or ())


def numeric(column: pa.Array) -> pa.Array:
    """As float64: float32 scores are compared at their own value against a float64 bound, on every machine alike."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64())


def text_of(value: pa.Scalar) -> str | None:
    """A value as people read it; a float32 by its shortest spelling."""
    return None if not value.is_valid else value.cast(pa.string()).as_py()


def number_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def losers(
    cluster: np.ndarray, uid: np.ndarray, order: Sequence[np.ndarray], descending: Sequence[bool], keep: int
) -> np.ndarray:
    """bool[n]: rows that are not among the first `keep` of their cluster.

    cluster, uid: bytes of fixed width 16, as numpy `S16`/`V16` viewed as uint64[n, 2], big-endian.
    order: float64 columns; NaN sorts last whichever way. Ties end in uid, so the answer does not depend on row order.
    """
    n = len(cluster)
    lost = np.zeros(n, bool)
    by_cluster = np.argsort(cluster[:, 0], kind="stable")
    first = cluster[by_cluster, 0]
    alone = np.ones(n, bool)
    same = first[1:] == first[:-1]
    alone[1:] &= ~same
    alone[:-1] &= ~same
    rows = by_cluster[~alone]  # only these share their first eight bytes with another: usually few
    if not len(rows):
        return lost
    keys: list[np.ndarray] = [uid[rows, 1], uid[rows, 0]]
    for column, down in zip(reversed(order), reversed(descending), strict=True):
        keys.append(-column[rows] if down else column[rows])
    keys += [cluster[rows, 1], cluster[rows, 0]]
    rows = rows[np.lexsort(keys)]
    new = np.ones(len(rows), bool)
    new[1:] = (cluster[rows[1:]] != cluster[rows[:-1]]).any(axis=1)
    starts = np.flatnonzero(new)
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    lost[rows[rank >= keep]] = True
    return lost
