"""Choose: one of each cluster among the survivors of the rules before it, by a stated order that ends in uid.

The cluster ids are in the ledger; which copy wins is not, because another threshold can make another copy win.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests import rules
from manifests.rules import Rule
from pipelines import verbs
from pipelines.folder import RunFolder
from pipelines.identity import Identity
from pipelines.phase import Result, Task
from pipelines.scored import LOST, SCORE, choose_phase, load_part


@dataclass(frozen=True)
class Choose:
    """rule: which one. before: every rule before it in the recipe, whose survivors it chooses among."""

    rule: rules.Choose
    before: tuple[Rule, ...]
    version = 1

    @property
    def name(self) -> str:
        return choose_phase(self.rule)

    @property
    def upstream(self) -> tuple[str, ...]:
        return (SCORE, Identity.name, *earlier_chooses(self.before))

    @property
    def schema(self) -> pa.Schema:
        order = [pa.field(f"order_{i}", pa.float64()) for i in range(len(self.rule.by))]
        return pa.schema(
            [pa.field("cluster", verbs.KEY), pa.field("uid", verbs.KEY), pa.field("loc", pa.int64()), *order]
        )

    def config(self) -> Mapping[str, Any]:
        return {"rule": rule_config(self.rule), "before": [rule_config(rule) for rule in self.before if rule.active]}

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return verbs.part_ranges(run.commit(SCORE)["tasks"])

    def buckets(self, run: RunFolder) -> int:
        return verbs.buckets_for(run.commit(SCORE)["counts"].get("scored", 0))

    def route(self, run: RunFolder, task: Task) -> tuple[pa.Table, np.ndarray]:
        first, stop = task.params["first"], task.params["stop"]
        marks = verbs.Marks(run, [Identity.name, *earlier_chooses(self.before)], first, stop)
        tables = []
        for number in range(first, stop):
            part = load_part(run, number, marks)
            alive = part.evaluate(list(self.before), marks).verdicts.alive
            cluster = part.documents[rules.column_of(self.rule.name)]
            rows = np.flatnonzero(alive & cluster.is_valid().to_numpy())
            taken = pa.array(rows)
            fields = {
                "cluster": cluster.take(taken),
                "uid": verbs.keys_from_hex(part.documents["uid"].take(taken)),
                "loc": verbs.locs(number, rows),
            }
            for i, (score, _) in enumerate(self.rule.order_by()):
                fields[f"order_{i}"] = part.order_value(score)[rows]
            tables.append(pa.table(fields, self.schema))
        table = verbs.concat(tables, self.schema)
        return table, verbs.bucket_of(verbs.key_words(table["cluster"]), self.buckets(run))

    def fold(self, run: RunFolder, bucket: int, rows: pa.Table, scratch: Path) -> Result:
        order = self.rule.order_by()
        lost = rules.losers(
            verbs.key_words(rows["cluster"]),
            verbs.key_words(rows["uid"]),
            [rows[f"order_{i}"].to_numpy() for i in range(len(order))],
            [descending for _, descending in order],
            self.rule.keep,
        )
        loc = rows["loc"].to_numpy()[lost]
        return verbs.marks_result(run, self.name, bucket, loc, np.full(len(loc), LOST), scratch)


def earlier_chooses(before: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(choose_phase(rule) for rule in before if isinstance(rule, rules.Choose) and rule.active)


def rule_config(rule: Rule) -> dict[str, Any]:
    """What of a rule changes its outcome; where its default came from does not."""
    value = {name: getattr(rule, name) for name in rule.__dataclass_fields__ if name != "source"}
    return {"kind": type(rule).__name__.lower(), **value}
