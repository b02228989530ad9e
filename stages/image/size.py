"""Displayed size: how many pixels a picture has, as its header says and its EXIF rotation turns it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.scorer import Batch, Score


@dataclass(frozen=True)
class Size:
    """width and height as displayed; the shorter and longer of them; their product."""

    name = "image.size"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        def score(name: str, kind: pa.DataType, about: str) -> Score:
            return Score(name, kind, "media", "pixels", about)

        return (
            score("image.width", pa.int32(), "width as displayed, EXIF rotation applied"),
            score("image.height", pa.int32(), "height as displayed, EXIF rotation applied"),
            score(
                "image.short_side",
                pa.int32(),
                "the shorter side. GLM-4.1V: a minimum resolution, no limit published; DataComp 200; "
                "MMC4, OBELICS, OmniCorpus 150",
            ),
            score(
                "image.long_side", pa.int32(), "the longer side. OBELICS, MINT-1T: at most 20,000; MMC4 scales to 800"
            ),
            score("image.pixels", pa.int64(), "width times height"),
        )

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]:
        sizes = [(picture.width, picture.height) for picture in batch.all_pictures()]
        return {
            "image.width": [width for width, _ in sizes],
            "image.height": [height for _, height in sizes],
            "image.short_side": [min(size) for size in sizes],
            "image.long_side": [max(size) for size in sizes],
            "image.pixels": [width * height for width, height in sizes],
        }
