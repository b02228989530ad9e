"""What the sandboxed decoder says of one picture, and its form as bytes between child and parent."""

import struct
from dataclasses import dataclass

THUMBNAIL = 64  # pixels, the longest side of a thumbnail

_NUMBERS = struct.Struct("<IIIBHH")


@dataclass(frozen=True, slots=True)
class Decoded:
    """See `stages.image.picture.Picture`; thumbnail: RGB bytes, row after row, of columns x rows pixels."""

    width: int
    height: int
    frames: int
    orientation: int
    columns: int
    rows: int
    format: str
    mode: str
    policy: str
    thumbnail: bytes

    def to_bytes(self) -> bytes:
        numbers = _NUMBERS.pack(self.width, self.height, self.frames, self.orientation, self.columns, self.rows)
        return b"\n".join((numbers, *(text.encode() for text in (self.format, self.mode, self.policy)), self.thumbnail))

    @classmethod
    def from_bytes(cls, reply: bytes) -> "Decoded":
        width, height, frames, orientation, columns, rows = _NUMBERS.unpack_from(reply)
        form, mode, policy, thumbnail = reply[_NUMBERS.size + 1 :].split(b"\n", 3)
        return cls(
            width,
            height,
            frames,
            orientation,
            columns,
            rows,
            form.decode(),
            mode.decode(),
            policy.decode(),
            thumbnail,
        )
