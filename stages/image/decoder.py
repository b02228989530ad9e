"""Decodes pictures for a task: bytes in, `Picture` or the reason why not, through the sandbox."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from manifests.document import Media
from manifests.errors import RecordError
from stages.image.decoded import THUMBNAIL, Decoded
from stages.image.picture import Picture
from stages.sandbox.parent import Limits, Sandbox
from stages.sandbox.pool import borrowed


@dataclass(frozen=True)
class Decoder:
    """The settings of `stages.image.decode`, and of the child that runs it.

    max_pixels: by the header, before a pixel is decoded; the default is where Pillow refuses, 2 * 89,478,485.
    memory_megabytes: of the child; the largest picture allowed fits as RGBA, twice over with room for its decoder.
    seconds: CPU time of one picture; a progressive JPEG of max_pixels takes under two.
    """

    max_pixels: int = 178_956_970
    memory_megabytes: int = 2048
    seconds: float = 20.0

    name = "image.decode"
    version = 1

    @contextmanager
    def open(self, side: int = THUMBNAIL) -> Iterator["OpenDecoder"]:
        """A decoder with a child behind it, for one thread. The child is kept for the next one.

        side: the most pixels that a side of a thumbnail has: for those who look at pictures. Scores are
        of the default.
        """
        reply = max(Limits.reply_bytes, 4096 + 3 * side * side)
        limits = Limits(memory_bytes=self.memory_megabytes << 20, cpu_seconds=self.seconds, reply_bytes=reply)
        options = {"max_pixels": self.max_pixels, "side": side}
        with borrowed("stages.image.decode:decode", options, limits) as sandbox:
            yield OpenDecoder(sandbox)


class OpenDecoder:
    """Decodes through one sandbox."""

    def __init__(self, sandbox: Sandbox):
        self._sandbox = sandbox

    def decode(self, items: Sequence[tuple[Media, bytes]]) -> list[Picture | RecordError]:
        """A Picture, or why there is none, for each item, in order. Bytes with the same sha256 are decoded once."""
        first = {media.sha256: data for media, data in reversed(items)}
        replies = dict(zip(first, self._sandbox.map(list(first.values())), strict=True))
        return [picture_of(media, data, replies[media.sha256]) for media, data in items]


def picture_of(media: Media, data: bytes, reply: bytes | RecordError) -> Picture | RecordError:
    if isinstance(reply, RecordError):
        return reply
    found = Decoded.from_bytes(reply)
    pixels = np.frombuffer(found.thumbnail, np.uint8).reshape(found.rows, found.columns, 3)  # read-only
    return Picture(
        data=data,
        extension=media.extension,
        sha256=media.sha256,
        format=found.format,
        mode=found.mode,
        width=found.width,
        height=found.height,
        frames=found.frames,
        orientation=found.orientation,
        thumbnail=pixels,
        policy=found.policy,
    )
