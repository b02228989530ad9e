"""Solid colour: placeholders, spacers and blank scans are one colour nearly everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from stages.image.pixels import Pixels
from stages.scorer import Batch, Score


@dataclass(frozen=True)
class SolidColor:
    """The share of a thumbnail's pixels whose every channel is within `tolerance` (of 255) of the median colour.

    The median is taken channel by channel: it is the background as soon as that covers half of the picture.
    """

    tolerance: int = 8

    name = "image.solid_color"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        about = (
            f"share of thumbnail pixels within {self.tolerance} of the median colour, 1 for one colour. "
            "GLM-4.1V: solid-colour detection, no limit published"
        )
        return (Score("image.solid_share", pa.float32(), "media", "share", about),)

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]:
        pixels = Pixels.of(batch.all_pictures())
        near = np.ones(len(pixels.owner), bool)
        for channel in range(3):
            values = pixels.rgb[:, channel]
            below = np.cumsum(pixels.histograms(values), axis=1)
            median = np.argmax(2 * below >= pixels.counts[:, None], axis=1).astype(np.int16)
            near &= np.abs(values.astype(np.int16) - median[pixels.owner]) <= self.tolerance
        return {"image.solid_share": np.bincount(pixels.owner[near], minlength=len(pixels.counts)) / pixels.counts}
