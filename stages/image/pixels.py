"""All thumbnails of a batch as one array of pixels, for scorers that work on every pixel at once.

Sums are over integers, so a value does not depend on what else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.image.picture import Picture


@dataclass(frozen=True, slots=True)
class Pixels:
    """rgb: uint8 (pixels, 3), picture after picture. owner: int64 (pixels,), whose it is. counts: int64 (pictures,)."""

    rgb: np.ndarray
    owner: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, pictures: Sequence[Picture]) -> "Pixels":
        parts = [picture.thumbnail.reshape(-1, 3) for picture in pictures]
        counts = np.array([len(part) for part in parts], np.int64)
        rgb = np.concatenate(parts) if parts else np.empty((0, 3), np.uint8)
        return cls(rgb, np.repeat(np.arange(len(parts)), counts), counts)

    def histograms(self, values: np.ndarray) -> np.ndarray:
        """int64 (pictures, 256): how many pixels of each picture have each uint8 value."""
        cells = np.bincount(self.owner * 256 + values, minlength=256 * len(self.counts))
        return cells.reshape(len(self.counts), 256)

    def luminance(self) -> np.ndarray:
        """uint8 (pixels,): ITU-R BT.601 luma in 8-bit fixed point."""
        red, green, blue = (self.rgb[:, channel].astype(np.uint16) for channel in range(3))
        return ((77 * red + 150 * green + 29 * blue + 128) >> 8).astype(np.uint8)
