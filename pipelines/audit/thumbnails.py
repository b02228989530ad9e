"""Small pictures for the report: decoded in the sandbox, drawn again from their pixels, never a source's own bytes."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from manifests.document import Media
from pipelines.audit.contents import Location, read_pictures
from pipelines.folder import RunFolder
from stages.image.decoder import Decoder
from stages.image.picture import Picture

QUALITIES = ((160, 72), (160, 50), (128, 40), (96, 35), (64, 30))  # (longest side, WebP quality), best first
DECODED = 255  # pixels a side that the decoder gives at most, and at least half of it: room to be scaled down well


@dataclass(frozen=True, slots=True)
class Drawn:
    """pixels: uint8 (height, width, 3), longest side at most DECODED. width, height: of the original as displayed."""

    pixels: np.ndarray
    width: int
    height: int


def draw(run: RunFolder, decoder: Decoder, wanted: Mapping[Location, Media]) -> dict[str, Drawn]:
    """sha256 -> picture, for every one that can be read and decoded."""
    out: dict[str, Drawn] = {}
    media = {location[0]: item for location, item in wanted.items()}
    with decoder.open(side=DECODED) as opened:
        for group in read_pictures(run, wanted):
            items = [(media[sha256], data) for sha256, data in group.items()]
            for (item, _), picture in zip(items, opened.decode(items), strict=True):
                if isinstance(picture, Picture):
                    out[item.sha256] = Drawn(picture.thumbnail, picture.width, picture.height)
    return out


def encode(pixels: np.ndarray, side: int, quality: int) -> bytes:
    """WebP of at most `side` pixels a side, of the pixels alone: nothing else that was in the file can come along."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def within(pictures: Mapping[str, Drawn], shown: Sequence[str], budget: int) -> dict[str, bytes]:
    """Every picture encoded at the best of QUALITIES at which all fit into `budget` bytes of base64 text.

    shown: the sha256 of each place where a picture is shown, the dearest first: where even the worst quality is too
    much, the last of them go without.
    """
    encoded: dict[str, bytes] = {}
    there = [name for name in shown if name in pictures]
    for side, quality in QUALITIES:
        encoded = {name: encode(pictures[name].pixels, side, quality) for name in dict.fromkeys(there)}
        if sum(text_size(encoded[name]) for name in there) <= budget:
            return encoded
    return fitting(encoded, there, budget)


def fitting(encoded: Mapping[str, bytes], shown: Iterable[str], budget: int) -> dict[str, bytes]:
    """Those that fit with all their uses, the dearest first."""
    uses: dict[str, int] = {}
    for name in shown:
        uses[name] = uses.get(name, 0) + 1
    out: dict[str, bytes] = {}
    used = 0
    for name, count in uses.items():
        used += count * text_size(encoded[name])
        if used > budget:
            break
        out[name] = encoded[name]
    return out


def text_size(data: bytes) -> int:
    return 4 * ((len(data) + 2) // 3) + 64
