"""File sanity: what the bytes are, against what the name says they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.image.picture import Picture
from stages.scorer import Batch, Score

EXTENSIONS = {
    "JPEG": {"jpg", "jpeg", "jpe", "jfif", "mpo"},
    "PNG": {"png", "apng"},
    "WEBP": {"webp"},
    "GIF": {"gif"},
    "AVIF": {"avif", "avifs"},
    "JPEG2000": {"jp2", "j2k", "jpf", "jpx", "j2c", "jpc"},
    "TIFF": {"tif", "tiff"},
    "BMP": {"bmp", "dib"},
    "ICO": {"ico"},
    "PPM": {"ppm", "pgm", "pbm", "pnm"},
}
ALL_EXTENSIONS = set().union(*EXTENSIONS.values())
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b"\x00;"}


@dataclass(frozen=True)
class FileSanity:
    """Format and frames as decoded, whether the extension agrees, bytes a pixel, and bytes behind the picture's end."""

    name = "image.file_sanity"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        return (
            Score(
                "image.format",
                pa.string(),
                "media",
                "name",
                "format of the content. MMC4: jpeg, png; OBELICS: webp too",
            ),
            Score("image.frames", pa.int32(), "media", "frames", "frames or pages, 1 for a still picture"),
            Score(
                "image.extension_matches",
                pa.bool_(),
                "media",
                "yes or no",
                "whether the extension is one of the format's; missing where it is no picture's extension at all",
            ),
            Score(
                "image.bytes_per_pixel",
                pa.float32(),
                "media",
                "bytes",
                "file size over displayed pixels: far below 0.05 is nearly empty, far above 4 carries something else",
            ),
            Score(
                "image.trailing_bytes",
                pa.int64(),
                "media",
                "bytes",
                "bytes after the last end marker (JPEG, PNG, GIF, WebP): something is appended; missing elsewhere",
            ),
        )

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, batch: Batch) -> Mapping[str, Sequence[Any]]:
        pictures = batch.all_pictures()
        return {
            "image.format": [picture.format for picture in pictures],
            "image.frames": [picture.frames for picture in pictures],
            "image.extension_matches": [extension_matches(picture) for picture in pictures],
            "image.bytes_per_pixel": [len(p.data) / (p.width * p.height) for p in pictures],
            "image.trailing_bytes": [trailing_bytes(picture) for picture in pictures],
        }


def extension_matches(picture: Picture) -> bool | None:
    if picture.extension not in ALL_EXTENSIONS:
        return None
    return picture.extension in EXTENSIONS[picture.format]


def trailing_bytes(picture: Picture) -> int | None:
    """Bytes after the last end marker; for WebP, after the size that its header states."""
    data = picture.data
    if picture.format == "WEBP":
        return len(data) - 8 - int.from_bytes(data[4:8], "little")
    marker = END_MARKERS.get(picture.format)
    if marker is None:
        return None
    at = data.rfind(marker)
    return len(data) - at - len(marker) if at >= 0 else 0
