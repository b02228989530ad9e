"""The scorer protocol: values about documents and their pictures. Scorers return values; they never drop anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa

from manifests.document import Document
from stages.image.picture import Picture


@dataclass(frozen=True, slots=True)
class Score:
    """One column of the ledger.

    name: dotted (`image.short_side`); its ledger column has underscores for dots.
    level: `document` (one value a document) or `media` (one value a picture). unit: for people (`pixels`).
    """

    name: str
    type: pa.DataType
    level: Literal["document", "media"]
    unit: str
    description: str

    @property
    def column(self) -> str:
        return self.name.replace(".", "_")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some documents with their decoded pictures: pictures[i] are those of documents[i], in segment order."""

    documents: Sequence[Document]
    pictures: Sequence[Sequence[Picture]]

    def __len__(self) -> int:
        return len(self.documents)

    def slice(self, start: int, stop: int) -> "Batch":
        return Batch(self.documents[start:stop], self.pictures[start:stop])

    def all_pictures(self) -> list[Picture]:
        """Every picture, document after document: the order of media-level values."""
        return [picture for pictures in self.pictures for picture in pictures]


class Scorer(Protocol):
    """A dataclass whose fields are its settings.

    version: raised whenever the same input can give another value; part of the fingerprint of every score.
    score: for each declared score, a sequence of one value for each document (level `document`)
    or for each of `batch.all_pictures()` (level `media`); None where there is none. It must not depend on what else is
    in the batch. Raise RecordError for a record that cannot be scored: the guard finds the guilty one.
    """

    name: str
    version: int

    @property
    def scores(self) -> tuple[Score, ...]: ...

    def setup(self) -> None:
        """Called once in each worker process before the first batch: load models here."""

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]: ...
