"""The ledger of one part before it is decided: scores, dead rows, and what exchanges said of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from manifests.parquet import read_table
from manifests.rules import Choose, Evaluation, Rule, column_of
from pipelines.folder import RunFolder
from pipelines.identity import CONFLICT, REPEATED, Identity
from pipelines.verbs import Marks

SCORE = "score"
LOST = 1  # the mark of a row that lost to a better copy


def choose_phase(rule: Choose) -> str:
    """The name of the exchange that a choose rule needs."""
    return f"choose-{rule.name.replace('.', '-')}"


@dataclass(slots=True)
class ScoredPart:
    """documents: one row a document of the raw part, same order. media: one row a picture; owner: its document's row.

    repeated, conflict: bool[n] from the identity phase. dead: bool[n], unreadable, undecodable or conflicting.
    """

    part: int
    documents: pa.Table
    media: pa.Table
    owner: np.ndarray
    repeated: np.ndarray
    conflict: np.ndarray
    dead: np.ndarray

    def evaluate(self, rules: Sequence[Rule], marks: Marks) -> Evaluation:
        """Applies rules in order; the losers of choose rules come from the exchanges' marks."""
        lost = {
            rule.name: marks.of(choose_phase(rule), self.part, self.documents.num_rows) == LOST
            for rule in rules
            if isinstance(rule, Choose) and rule.active
        }
        return self.evaluate_with(rules, lost)

    def evaluate_with(self, rules: Sequence[Rule], lost: Mapping[str, np.ndarray]) -> Evaluation:
        """As evaluate. lost: choose rule -> bool[n], the rows that lost to a better copy."""
        evaluation = Evaluation(self.documents, self.media, self.owner, ~(self.dead | self.repeated))
        evaluation.apply([rule for rule in rules if rule.active], lost)
        return evaluation

    def order_value(self, score: str) -> np.ndarray:
        """float64[n] of a score: the document's own, or its first picture's; NaN where there is none."""
        name = column_of(score)
        if name in self.documents.column_names:
            return _floats(self.documents[name])
        out = np.full(self.documents.num_rows, np.nan)
        owners, first = np.unique(self.owner, return_index=True)
        out[owners] = _floats(self.media[name])[first]
        return out


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64()).to_numpy()


def load_part(run: RunFolder, part: int, marks: Marks) -> ScoredPart:
    home = run.home(SCORE)
    documents = read_table(home, run.data(SCORE, part, "documents.parquet"))
    media = read_table(home, run.data(SCORE, part, "media.parquet"))
    mark = marks.of(Identity.name, part, documents.num_rows)
    repeated, conflict = mark == REPEATED, mark == CONFLICT
    return ScoredPart(
        part=part,
        documents=documents,
        media=media.drop_columns(["document"]),
        owner=media["document"].to_numpy(),
        repeated=repeated,
        conflict=conflict,
        dead=(documents["dead_reason"].is_valid().to_numpy() | conflict) & ~repeated,
    )
