"""Caption language, by py3langid: a naive Bayes model over byte n-grams, 140 languages, shipped with the package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from stages.scorer import Batch, Score


class Identifier(LanguageIdentifier):
    """The package's identifier with its one matrix product written as a sum.

    BLAS orders a product's additions by the processor and by how many threads it has; this sum has one order.
    """

    def _sparse_score(self, visits: Mapping[int, int], table: np.ndarray) -> np.ndarray:
        features = np.fromiter(visits.keys(), np.intp, len(visits))
        weights = np.log1p(np.fromiter(visits.values(), np.float32, len(visits)))
        return (weights[:, None] * table[features]).sum(axis=0) + self.nb_pc


@cache
def identifier() -> Identifier:
    """The model, loaded once in a process (half a CPU second)."""
    return Identifier.from_model_file(MODEL_FILE, norm_probs=True)


@dataclass(frozen=True)
class CaptionLanguage:
    """The most likely language of a document's text and its probability; None for a text without a letter.

    characters: of the text that are looked at, from its beginning.
    """

    characters: int = 1000

    name = "caption.language"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        language = "ISO 639-1 code by py3langid (`en`); missing where the caption has no letter"
        probability = (
            "py3langid's probability of that language, over all that it knows: below 0.5 is a guess, as short captions "
            "often are. OBELICS keeps documents from 0.8, by another model"
        )
        return (
            Score("caption.language", pa.string(), "document", "language", language),
            Score("caption.language_probability", pa.float32(), "document", "probability", probability),
        )

    def setup(self) -> None:
        identifier()

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]:
        found = [self._of(document.text()) for document in batch.documents]
        return {
            "caption.language": [language for language, _ in found],
            "caption.language_probability": [probability for _, probability in found],
        }

    def _of(self, text: str) -> tuple[str | None, float | None]:
        text = text[: self.characters]
        if not any(map(str.isalpha, text)):
            return None, None
        language, probability = identifier().classify(text)
        return language, round(probability, 4)
