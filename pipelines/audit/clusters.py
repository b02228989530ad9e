"""What there is to see of a choose rule: how large clusters are, and some of them side by side with the one chosen.

Clusters span parts, so their keys are gathered: by ranges of the key where there are many, 25 bytes a document.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.rules import Choose, column_of, pass_column
from pipelines.audit.nearest import Candidate
from pipelines.audit.parts import Ledger
from pipelines.verbs import bucket_of, buckets_for, key_words, locs

CLUSTERS = 6  # shown, of which LARGEST are the largest; the others are those of smallest key: in effect, any
LARGEST = 2
MEMBERS = 5  # of a cluster that are shown
CHOSEN, LOST, NOT_ASKED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Cluster:
    """size: documents in it. lost: to a better copy. members: some of them, the chosen first."""

    key: str
    size: int
    lost: int
    members: Sequence[tuple[int, Candidate]]


@dataclass(slots=True)
class ClusterStudy:
    """sizes: upper size of a class -> [clusters, chosen, lost, not asked]; classes are 1, 2, 3-4, 5-8, …"""

    rule: Choose
    place: int
    sizes: dict[int, np.ndarray] = field(default_factory=dict)
    clusters: list[Cluster] = field(default_factory=list)
    missing: int = 0

    @property
    def column(self) -> str:
        return column_of(self.rule.name)


@dataclass(frozen=True, slots=True)
class _Group:
    """One cluster that lost documents: where its members lie."""

    size: int
    lost: int
    key: tuple[int, int]
    loc: np.ndarray
    state: np.ndarray


def study_clusters(ledger: Ledger, rule: Choose, place: int, documents: int) -> ClusterStudy:
    """documents: how many the ledger has, which decides into how many ranges of keys the work is cut."""
    study = ClusterStudy(rule, place)
    buckets = buckets_for(documents)
    largest: list[_Group] = []
    others: list[_Group] = []
    for bucket in range(buckets):
        words, loc, state = _gather(ledger, study, bucket, buckets)
        for group in _groups(study, words, loc, state):
            largest = sorted([*largest, group], key=lambda g: (-g.lost, g.key))[:LARGEST]
            others = sorted([*others, group], key=lambda g: g.key)[:CLUSTERS]
    chosen = [*largest, *(g for g in others if g.key not in {big.key for big in largest})][:CLUSTERS]
    study.clusters = _members(ledger, chosen)
    return study


def _gather(
    ledger: Ledger, study: ClusterStudy, bucket: int, buckets: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(uint64[n, 2] keys, int64[n] locs, int8[n] states) of all judged documents whose key is in the bucket."""
    passed = pass_column(study.rule)
    words, loc, state = [np.empty((0, 2), np.uint64)], [np.empty(0, np.int64)], [np.empty(0, np.int8)]
    for part in ledger.parts({study.column, passed}):
        column = part.documents[study.column]
        there = column.is_valid().to_numpy() & part.judged
        if bucket == 0:
            study.missing += int((~column.is_valid().to_numpy() & part.judged).sum())
        rows = np.flatnonzero(there)
        keys = key_words(column.take(pa.array(rows)))
        mine = bucket_of(keys, buckets) == bucket
        rows, keys = rows[mine], keys[mine]
        verdict = part.documents[passed].take(pa.array(rows))
        kept = np.asarray(pc.fill_null(verdict, False))
        asked = verdict.is_valid().to_numpy()
        words.append(keys)
        loc.append(locs(part.number, rows))
        state.append(np.where(asked, np.where(kept, CHOSEN, LOST), NOT_ASKED).astype(np.int8))
    return np.concatenate(words), np.concatenate(loc), np.concatenate(state)


def _groups(study: ClusterStudy, words: np.ndarray, loc: np.ndarray, state: np.ndarray) -> Iterator[_Group]:
    """Counts every cluster by its size, and yields the few that may be worth showing."""
    if not len(words):
        return
    order = np.lexsort((loc, words[:, 1], words[:, 0]))
    words, loc, state = words[order], loc[order], state[order]
    new = np.ones(len(words), bool)
    new[1:] = (words[1:] != words[:-1]).any(axis=1)
    starts = np.flatnonzero(new)
    size = np.diff(np.append(starts, len(words)))
    by_state = np.stack([np.add.reduceat((state == s).astype(np.int64), starts) for s in range(3)], axis=1)
    classes = 2 ** np.ceil(np.log2(size)).astype(np.int64)
    for top in np.unique(classes):
        row = np.concatenate([[int((classes == top).sum())], by_state[classes == top].sum(axis=0)])
        study.sizes[int(top)] = study.sizes.get(int(top), np.zeros(4, np.int64)) + row
    lost = by_state[:, LOST]
    losing = np.flatnonzero(lost)
    if len(losing):
        by_lost = losing[np.argsort(-lost[losing], kind="stable")]
        for at in np.unique(np.concatenate([by_lost[:LARGEST], losing[:CLUSTERS]])):
            members = slice(starts[at], starts[at] + size[at])
            key = (int(words[starts[at], 0]), int(words[starts[at], 1]))
            yield _Group(int(size[at]), int(lost[at]), key, loc[members], state[members])


def _members(ledger: Ledger, groups: Sequence[_Group]) -> list[Cluster]:
    """Reads who the members are, and picks of each cluster the chosen and the losers of smallest uid."""
    wanted: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # part -> (row, group, state)
    for number, group in enumerate(groups):
        for state in (CHOSEN, LOST, NOT_ASKED):
            for loc in group.loc[group.state == state][: 4 * MEMBERS]:
                wanted[int(loc) >> 32].append((int(loc) & 0xFFFFFFFF, number, state))
    found: dict[int, list[tuple[int, Candidate]]] = defaultdict(list)
    for part_number, rows in sorted(wanted.items()):
        part = ledger.part(part_number, set())
        uid = part.documents["uid"]
        for row, number, state in rows:
            place = int(part.place[row])
            found[number].append((state, Candidate(0, 0.0, uid[row].as_py(), -1, part_number, "", "", place)))
    out = []
    for number, group in enumerate(groups):
        ranked = sorted(found[number], key=lambda item: (item[0], item[1].uid))
        out.append(Cluster(f"{group.key[0]:016x}{group.key[1]:016x}", group.size, group.lost, ranked[:MEMBERS]))
    return out
