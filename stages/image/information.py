"""Low information: how much the grey values of a picture differ, in bits and in contrast."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from stages.image.decoded import THUMBNAIL
from stages.image.pixels import Pixels
from stages.scorer import Batch, Score

# n log2 n for every count a histogram can have: vectorised logarithms differ in their last bit between processors.
WEIGHTED = np.array([0.0, *(n * math.log2(n) for n in range(1, THUMBNAIL * THUMBNAIL + 1))])


@dataclass(frozen=True)
class Information:
    """The thumbnail's grey histogram: its entropy (0 for one grey, 8 for all greys alike) and its spread."""

    name = "image.information"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        entropy = (
            "entropy of the thumbnail's 256 grey values, 0 to 8: blank pages are below 0.5, line drawings and masks "
            "mostly from 0.5 to 2.5, photos above 6. GLM-4.1V and the corpora it cites publish no limit"
        )
        contrast = "standard deviation of the thumbnail's grey values, 0 to 127.5"
        return (
            Score("image.entropy", pa.float32(), "media", "bits", entropy),
            Score("image.contrast", pa.float32(), "media", "grey levels", contrast),
        )

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]:
        pixels = Pixels.of(batch.all_pictures())
        histograms, counts = pixels.histograms(pixels.luminance()), pixels.counts
        grey = np.arange(256)
        mean = histograms @ grey / counts
        variance = histograms @ (grey * grey) / counts - mean * mean
        entropy = (WEIGHTED[counts] - WEIGHTED[histograms].sum(axis=1)) / counts
        return {
            "image.entropy": np.round(np.maximum(entropy, 0), 4),
            "image.contrast": np.round(np.sqrt(np.maximum(variance, 0)), 4),
        }
