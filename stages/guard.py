"""The guard around a vectorised scorer: one bad record costs one record, never its batch.

Where a batch raises, it is cut in two until the guilty records stand alone. Trouble that is not the record's
(no memory, a missing package, wrong configuration, a busy store) goes up as it is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from manifests.errors import RecordError, RunError, TransientError
from stages.scorer import Batch, Score, Scorer

NOT_THE_RECORD = (MemoryError, ImportError, NameError, RunError, TransientError)

Dead = tuple[int, str, str]  # place in the batch, reason, message
Columns = dict[str, list[Any]]


def guarded(scorer: Scorer, batch: Batch) -> tuple[Columns, list[Dead]]:
    """The scorer's values for the whole batch, and the records that it could not score.

    Columns have one value a document or, at level `media`, one a picture of the whole batch, as Python values of the
    declared type; None for the dead, and for NaN. A record's reason is its RecordError's, or the exception's class.
    Raises RunError that names the scorer where it returns other columns, lengths or types than it declares.
    """
    if not len(batch):
        return {score.name: [] for score in scorer.scores}, []
    try:
        values = scorer.score(batch)
    except NOT_THE_RECORD:
        raise
    except Exception as error:
        if len(batch) == 1:
            reason, message = described(error)
            return {score.name: [None] * length(score, batch) for score in scorer.scores}, [(0, reason, message)]
        middle = len(batch) // 2
        left, left_dead = guarded(scorer, batch.slice(0, middle))
        right, right_dead = guarded(scorer, batch.slice(middle, len(batch)))
        moved = [(middle + place, reason, message) for place, reason, message in right_dead]
        return {name: left[name] + right[name] for name in left}, left_dead + moved
    return checked(scorer, batch, values), []


def described(error: Exception) -> tuple[str, str]:
    if isinstance(error, RecordError):
        return error.reason, error.message
    return type(error).__name__, str(error)[:1000]


def length(score: Score, batch: Batch) -> int:
    return len(batch) if score.level == "document" else sum(len(pictures) for pictures in batch.pictures)


def checked(scorer: Scorer, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Columns:
    """What a scorer returned, if it is what it declares."""
    declared = {score.name: score for score in scorer.scores}
    if set(values) != set(declared):
        raise RunError(f"scorer {scorer.name} declares {sorted(declared)} and returned {sorted(values)}")
    columns: Columns = {}
    for name, score in declared.items():
        column, expected = values[name], length(score, batch)
        if len(column) != expected:
            raise RunError(
                f"scorer {scorer.name} returned {len(column)} values of {name} for {expected} {score.level} records"
            )
        try:
            columns[name] = pa.array(column, score.type, from_pandas=True).to_pylist()
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise RunError(f"scorer {scorer.name}: values of {name} are no {score.type}: {error}") from None
    return columns


class DeadShare:
    """Stops a task that is misconfigured rather than unlucky: nearly every record dies of the same thing.

    share: of the records tried, with one reason in one stage. records: tried before it judges.
    """

    def __init__(self, share: float = 0.95, records: int = 200):
        self.share, self.records = share, records
        self.tried = 0
        self._dead: Counter[tuple[str, str]] = Counter()

    def record(self, stage: str, reason: str | None) -> None:
        """Counts one record, alive where reason is None. Raises RunError when the share is reached."""
        self.tried += 1
        if reason is None:
            return
        self._dead[stage, reason] += 1
        dead = self._dead[stage, reason]
        if self.tried >= self.records and dead >= self.share * self.tried:
            raise RunError(
                f"{dead} of {self.tried} records died of {reason} in {stage} ({dead / self.tried:.0%}): this looks "
                "like a wrong setting, not bad data. "
                f"If the data is that bad, raise --max-dead-share (now {self.share:g})"
            )
