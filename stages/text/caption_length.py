"""Caption length: too short says nothing about the picture, too long is not a caption."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.scorer import Batch, Score

IDEOGRAPHS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
KANA = "\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff\uff66-\uff9f"
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Burmese, Khmer
LETTERS_A_WORD = 4  # of these scripts, in the mean
WITHOUT_SPACES = re.compile(f"(?P<one>[{IDEOGRAPHS}{KANA}])|(?P<run>[{UNSPACED}]+)")


def characters(text: str) -> int:
    """Code points of the text in NFC, runs of white space counted as one and none at the ends."""
    return len(" ".join(unicodedata.normalize("NFC", text).split()))


def words(text: str) -> int:
    """Words of a text in any script: what stands between spaces or long dashes and has a letter or digit in it.

    Han and kana stand for a word each, as word processors count them. Thai, Lao, Burmese and Khmer put no spaces
    between words either: a word for every four letters begun.
    """
    text = unicodedata.normalize("NFC", text).replace("\u2014", " ")
    if WITHOUT_SPACES.search(text) is None:
        return sum(any(map(str.isalnum, token)) for token in text.split())
    count = 0
    for match in WITHOUT_SPACES.finditer(text):
        run = match["run"]
        count += 1 if run is None else -(-len(run) // LETTERS_A_WORD)
    return count + words(WITHOUT_SPACES.sub(" ", text))


def alphabetic_share(text: str) -> float | None:
    """Letters and their combining marks over all characters that are not white space; None for an empty text."""
    solid = "".join(text.split())
    if not solid:
        return None
    letters = sum(map(str.isalpha, solid))
    if not solid.isascii():
        letters += sum(unicodedata.category(character)[0] == "M" for character in solid)
    return letters / len(solid)


@dataclass(frozen=True)
class CaptionLength:
    """Characters and words of a document's text, and how much of it is letters (not digits, marks, symbols)."""

    name = "caption.length"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        return (
            Score(
                "caption.characters",
                pa.int32(),
                "document",
                "characters",
                "code points in NFC, white space collapsed. GLM-4.1V: caption length bounds, none published; "
                "DataComp's basic filter: above 5",
            ),
            Score(
                "caption.words",
                pa.int32(),
                "document",
                "words",
                "words; Han and kana count one each. DataComp's basic filter: above 2; OBELICS: 4 to 1,000 a text node",
            ),
            Score(
                "caption.alphabetic_share",
                pa.float32(),
                "document",
                "share",
                "letters over characters that are not white space; missing for an empty caption. OBELICS bounds the "
                "opposite, special characters, at 0.3",
            ),
        )

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]:
        texts = [document.text() for document in batch.documents]
        return {
            "caption.characters": [characters(text) for text in texts],
            "caption.words": [words(text) for text in texts],
            "caption.alphabetic_share": [alphabetic_share(text) for text in texts],
        }
