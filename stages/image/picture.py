"""A decoded picture: what every cheap scorer looks at."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Picture:
    """One image segment of one document, decoded once.

    data: the original bytes. extension: as the source named it, lower case, no dot. sha256: 64 hex digits.
    format: what the content is, Pillow's name (`JPEG`). mode: Pillow's mode before conversion (`CMYK`, `I;16`).
    width, height: pixels as displayed, EXIF rotation applied. frames: 1 unless animated. orientation: EXIF, 1 to 8.
    thumbnail: uint8 (height, width, 3) RGB as displayed, longest side at most 64; alpha composited on white.
    policy: what the pixel policy did to reach RGB, for the ledger (`exif:6,cmyk`), empty if nothing.
    """

    data: bytes
    extension: str
    sha256: str
    format: str
    mode: str
    width: int
    height: int
    frames: int
    orientation: int
    thumbnail: np.ndarray
    policy: str
