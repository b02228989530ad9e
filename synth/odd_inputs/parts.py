"""What all odd inputs are made of: sound pictures with captions, and what should become of an item."""

import io
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from synth.pictures import KINDS


@dataclass(frozen=True, slots=True)
class Odd:
    """One item. key: what its uid is made from, with the source's name.

    outcome: `kept`; `repeated`, the same key with the same content once more; or the class of a dead row. The class
    `DuplicateKey`, the same key with other content, is found after reading. caption: of what a reader reads.
    """

    key: str
    outcome: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound picture (JPEG) with its caption."""

    data: bytes
    caption: str

    def kept(self, key: str) -> Odd:
        return Odd(key, "kept", self.caption)


@cache
def sound(number: int) -> Sound:
    """Another picture and caption for each number."""
    picture, shown = KINDS[number % len(KINDS)](random.Random(number), 240, 220)
    out = io.BytesIO()
    picture.save(out, "JPEG")
    return Sound(out.getvalue(), f"{shown[0].upper()}{shown[1:]}, number {number} of the odd ones")


def put(path: Path, data: bytes | str) -> None:
    """Writes a file and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


# Caption files that are broken: name -> (extension, bytes, class of the dead row).
BROKEN_CAPTIONS = {
    "latin": ("txt", "Käse auf dem Tisch".encode("latin-1"), "BadEncoding"),
    "utf16": ("txt", "A cat on a mat".encode("utf-16"), "BadEncoding"),
    "blank": ("txt", b" \n\t ", "NoCaption"),
    "cut": ("json", b'{"caption": "A cap', "BadJson"),
    "list": ("json", b"[1, 2]", "BadJson"),
    "number": ("json", b'{"caption": 5}', "BadCaption"),
    "half": ("json", b'{"caption": "half a \\ud800 pair"}', "BadEncoding"),
    "deep": ("json", b"[" * 200_000, "BadJson"),
    "empty": ("json", b"{}", "NoCaption"),
    "zero": ("json", b"", "BadJson"),
}
