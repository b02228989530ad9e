"""Exact duplicates: keys that are equal for the same picture bytes, the same caption, and both together.

A key is 16 bytes: the first half of a SHA-256, so that two different ones of 10^10 documents meet with a chance of
10^-19. Pictures are compared as bytes, not as pixels: a hash of pixels without their shape makes one of two pictures of
one colour whose sides are swapped, and forgets the EXIF rotation. A key says which documents are copies; which copy
stays is a choose rule's matter.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.image.picture import Picture
from stages.scorer import Batch, Score

KEY = pa.binary(16)


def image_key(pictures: Sequence[Picture]) -> bytes | None:
    """Of one picture, half of its SHA-256; of several, of all of theirs in order; None without any."""
    if not pictures:
        return None
    if len(pictures) == 1:
        return bytes.fromhex(pictures[0].sha256)[:16]
    return hashlib.sha256(b"".join(bytes.fromhex(picture.sha256) for picture in pictures)).digest()[:16]


def caption_key(text: str) -> bytes | None:
    """Of the text in NFKC, case folded, white space collapsed; None where nothing is left of it."""
    normal = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).digest()[:16] if normal else None


@dataclass(frozen=True)
class ExactDuplicates:
    """Three keys of a document, each None where the document lacks what it is made from."""

    name = "duplicate"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        def score(what: str, about: str) -> Score:
            return Score(f"duplicate.{what}", KEY, "document", "key", f"cluster of documents with {about}")

        return (
            score("image", "the same picture bytes. GLM-4.1V: image-level de-duplication, method not published"),
            score("caption", "the same caption but for case, width and white space"),
            score("pair", "the same picture bytes and the same caption"),
        )

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]:
        images = [image_key(pictures) for pictures in batch.pictures]
        captions = [caption_key(document.text()) for document in batch.documents]
        pairs = [
            None if image is None or caption is None else hashlib.sha256(image + caption).digest()[:16]
            for image, caption in zip(images, captions, strict=True)
        ]
        return {"duplicate.image": images, "duplicate.caption": captions, "duplicate.pair": pairs}
