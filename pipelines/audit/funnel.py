"""The funnel: how many documents reached each rule, how many it dropped, and whether every one is accounted for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc

from manifests.manifest import Totals
from manifests.rules import Rule
from pipelines.audit.parts import Ledger, Part


@dataclass(frozen=True, slots=True)
class Step:
    """One rule of the funnel, in the recipe's order.

    reached: documents that no rule before it dropped. dropped: those whose first failure it is, `reasons` by bound.
    fails: all that fail it, dropped earlier or not. sole: those that fail nothing else, as far as was evaluated.
    pictures: pictures that it took away alone, for a rule that drops segments.
    """

    rule: Rule
    place: int
    reached: int
    dropped: int
    reasons: dict[str, int]
    fails: int
    sole: int
    pictures: int

    @property
    def left(self) -> int:
        return self.reached - self.dropped


@dataclass(slots=True)
class Funnel:
    """Counted from the ledger's own rows, so that it can be held against the manifest's totals."""

    rules: Sequence[Rule]
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)
    fails: np.ndarray = field(init=False)
    sole: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.fails = np.zeros(len(self.rules), np.int64)
        self.sole = np.zeros(len(self.rules), np.int64)

    def add(self, ledger: Ledger, part: Part) -> None:
        self.outcomes.update(part.documents["outcome"].to_pylist())
        self.reasons.update(pc.drop_null(part.documents["rule"]).to_pylist())
        if "rule" in part.media.column_names:
            self.pictures.update(pc.drop_null(part.media["rule"]).to_pylist())
        failed = ledger.failures(part)
        self.fails += failed.sum(axis=0)
        self.sole += failed[failed.sum(axis=1) == 1].sum(axis=0)

    @property
    def rows(self) -> int:
        return sum(self.outcomes.values())

    @property
    def judged(self) -> int:
        return self.outcomes["kept"] + self.outcomes["dropped"]

    def steps(self) -> list[Step]:
        steps, left = [], self.judged
        for place, rule in enumerate(self.rules):
            reasons = {reason: self.reasons[reason] for reason in rule.reasons if self.reasons[reason]}
            dropped = sum(reasons.values())
            pictures = sum(self.pictures[reason] for reason in rule.reasons)
            fails, sole = int(self.fails[place]), int(self.sole[place])
            steps.append(Step(rule, place, left, dropped, reasons, fails, sole, pictures))
            left -= dropped
        return steps

    def problems(self, totals: Totals) -> list[str]:
        """Every way in which the numbers do not add up; empty where each document is accounted for once."""
        dropped, dead = sum(totals.dropped.values()), sum(totals.dead.values())
        accounted = totals.kept + dropped + dead
        out = []
        if totals.documents != accounted:
            out.append(f"the manifest says that {totals.documents:,} came in, but accounts for {accounted:,}")
        if self.rows != totals.documents:
            out.append(f"the ledger has {self.rows:,} documents, the manifest {totals.documents:,}")
        stated = {"kept": totals.kept, "dropped": dropped, "dead": dead}
        for outcome, count in stated.items():
            if self.outcomes[outcome] != count:
                out.append(f"{outcome}: the ledger has {self.outcomes[outcome]:,}, the manifest {count:,}")
        if {k: v for k, v in self.reasons.items() if v} != {k: v for k, v in totals.dropped.items() if v}:
            out.append("the ledger's reasons for dropping are counted otherwise than the manifest's")
        return out
