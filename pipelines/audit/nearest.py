"""Which documents stand nearest to a cut: the ones to look at before moving it.

The choice depends on nothing but the ledger: documents that reached the rule come first, then the smaller distance,
then the smaller uid; each picture is shown once.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

POOL = 18  # candidates kept for a side, more than are shown: some turn out to say the same again
SHOWN = 6


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A row of the ledger. The order of the fields is the order of preference.

    late: 1 where an earlier rule dropped the document before this one saw it. segment: of the picture, -1 where the
    score is the document's. sha256: of the picture, or empty. place: as Part.place.
    """

    late: int
    distance: float
    uid: str
    segment: int
    part: int
    value: str
    sha256: str
    place: int


@dataclass(slots=True)
class Pool:
    """The best POOL candidates so far, each picture once."""

    best: dict[str, Candidate] = field(default_factory=dict)

    def limit(self) -> tuple[int, float]:
        """(late, distance) that a newcomer must not exceed."""
        if len(self.best) < POOL:
            return (1, np.inf)
        worst = max(self.best.values())
        return worst.late, worst.distance

    def add(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            key = candidate.sha256 or candidate.uid
            if key not in self.best or candidate < self.best[key]:
                self.best[key] = candidate
        if len(self.best) > POOL:
            kept = heapq.nsmallest(POOL, self.best.items(), key=lambda item: item[1])
            self.best = dict(kept)

    def ranked(self) -> list[Candidate]:
        return sorted(self.best.values())


@dataclass(frozen=True, slots=True)
class Rows:
    """Scored rows of one part as columns: of documents, or of pictures with their documents' place.

    values: float64[n], NaN where there is none. text: the values as people read them. rank: int64[n], the order of
    uids. picture: int64[n], equal where the picture is.
    """

    part: int
    uid: pa.ChunkedArray
    segment: np.ndarray
    sha256: pa.ChunkedArray
    place: np.ndarray
    values: np.ndarray
    text: pa.ChunkedArray
    rank: np.ndarray
    picture: np.ndarray

    def candidates(self, rows: np.ndarray, distance: np.ndarray, late: np.ndarray) -> list[Candidate]:
        taken = pa.array(rows)
        columns = (
            late[rows].tolist(),
            distance[rows].tolist(),
            self.uid.take(taken).to_pylist(),
            self.segment[rows].tolist(),
            [self.part] * len(rows),
            self.text.take(taken).to_pylist(),
            self.sha256.take(taken).to_pylist(),
            self.place[rows].tolist(),
        )
        return [Candidate(a, b, c, d, e, str(f), g or "", h) for a, b, c, d, e, f, g, h in zip(*columns, strict=True)]


def ranks(uid: pa.ChunkedArray) -> np.ndarray:
    """int64[n]: 0 for the smallest uid."""
    order = pc.sort_indices(uid).to_numpy()
    out = np.empty(len(order), np.int64)
    out[order] = np.arange(len(order))
    return out


def codes(sha256: pa.ChunkedArray) -> np.ndarray:
    """int64[n], equal where the text is; a row without a picture is like no other."""
    indices = sha256.combine_chunks().dictionary_encode().indices
    known = pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(known >= 0, known, -1 - np.arange(len(known)))


def offer(pool: Pool, rows: Rows, inside: np.ndarray, distance: np.ndarray, rule: int) -> None:
    """Offers the rows where `inside` is true to the pool. distance: float64[n] from the cut. rule: its place."""
    late = (rows.place < rule).astype(np.int64)
    worst_late, worst = pool.limit()
    good = inside & (rows.place >= 0) & ((late < worst_late) | ((late == worst_late) & (distance <= worst)))
    found = np.flatnonzero(good)
    found = found[np.lexsort((rows.rank[found], distance[found], late[found]))]
    _, first = np.unique(rows.picture[found], return_index=True)
    pool.add(rows.candidates(found[np.sort(first)[:POOL]], distance, late))
