"""Aspect ratio: banners, rules and sidebars are far from square."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.scorer import Batch, Score


@dataclass(frozen=True)
class AspectRatio:
    """The longer side over the shorter one, 1 or more, so that one bound holds for both directions."""

    name = "image.aspect_ratio"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        about = "longer side over shorter. DataComp: at most 3; MMC4, OBELICS and OmniCorpus: 2 (written as 0.5 to 2)"
        return (Score("image.aspect_ratio", pa.float32(), "media", "ratio", about),)

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]:
        sizes = [(picture.width, picture.height) for picture in batch.all_pictures()]
        return {"image.aspect_ratio": [max(size) / min(size) for size in sizes]}
