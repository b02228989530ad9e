"""What a picture file's own structure says: which format, how many frames, whether it is whole.

Pure Python on bytes, without decoding a pixel. Pillow reads a PNG whose end is cut off, whose checksums are wrong, or
a GIF that stops after its first frame; a file that is not whole is told from a whole one here.
Sources: PNG 1.2 and APNG 1.0, GIF89a, the WebP container specification, ISO/IEC 14496-12 (AVIF), TIFF 6.0.
"""

import re
import struct
import zlib
from collections.abc import Callable

from manifests.errors import RecordError

SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("AVIF", re.compile(rb"....ftyp(avif|avis|mif1|msf1)", re.DOTALL)),
    ("JPEG2000", re.compile(rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("TIFF", re.compile(rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+")),
    ("BMP", re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", re.DOTALL)),
    ("ICO", re.compile(rb"\x00\x00\x01\x00[^\x00]\x00")),
    ("PPM", re.compile(rb"P[1-6]\s+[#\d]")),
)
VECTOR = re.compile(rb"<svg[\s>]|<!doctype\s+svg", re.IGNORECASE)
MARKUP = re.compile(rb"(\xef\xbb\xbf)?\s*<")


def sniff(data: bytes) -> str:
    """The format that the first bytes say, whatever the file is called. RecordError for what cannot be decoded."""
    if not data:
        raise RecordError("EmptyFile", "0 bytes")
    for name, pattern in SIGNATURES:
        if pattern.match(data):
            return name
    if MARKUP.match(data) and VECTOR.search(data, 0, 4096):
        raise RecordError(
            "VectorImage", "SVG is not rendered: it can hold scripts and has no size of its own in pixels"
        )
    raise RecordError("UnknownFormat", f"{len(data):,} bytes that begin with {data[:12].hex(' ')}")


def frames_of(form: str, data: bytes) -> int:
    """Frames that the file holds, 1 where the format's structure is not read here. RecordError if it is not whole."""
    return CHECKS[form](data) if form in CHECKS else 1


def cut(what: str) -> RecordError:
    return RecordError("Truncated", f"the file ends inside {what}")


def png(data: bytes) -> int:
    """Walks the chunks to IEND, verifying the checksum of each critical one; frames as acTL says, if it is APNG."""
    at, frames = 8, 1
    while True:
        if at + 12 > len(data):
            raise cut("a PNG chunk" if at < len(data) else "its chunks: there is no IEND")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        name = kind.decode("latin-1")
        if end > len(data):
            raise cut(f"the PNG chunk {name!r}")
        if kind[0] < 0x60:  # critical: an upper-case letter
            stated = int.from_bytes(data[end - 4 : end])
            if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != stated:
                raise RecordError("Corrupt", f"the PNG chunk {name!r} does not match its checksum")
        if kind == b"acTL" and length == 8:
            frames = max(1, int.from_bytes(data[at + 8 : at + 12]))
        if kind == b"IEND":
            return frames
        at = end


def gif(data: bytes) -> int:
    """Counts image blocks up to the trailer, or to the first byte that begins no block, as viewers do."""
    frames = 0
    at = 13 + color_table(data, 10)
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x2C:  # image: descriptor, colour table, code size, data
            frames += 1
            at += 11 + color_table(data, at + 9)
        elif data[at] == 0x21:  # extension
            at += 2
        else:
            break
        at = after_sub_blocks(data, at)
    if not frames:
        raise cut("its header: there is no GIF frame")
    return frames


def color_table(data: bytes, flags_at: int) -> int:
    if flags_at >= len(data):
        raise cut("a GIF header")
    flags = data[flags_at]
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def after_sub_blocks(data: bytes, at: int) -> int:
    length = len(data)
    while at < length:
        size = data[at]
        at += 1 + size
        if not size:
            return at
    raise cut("a GIF block")


def webp(data: bytes) -> int:
    """The RIFF size, and one frame for each ANMF chunk."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise cut(f"its RIFF chunk of {end:,} bytes")
    at, frames = 12, 0
    while at + 8 <= end:
        frames += data[at : at + 4] == b"ANMF"
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return max(1, frames)


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the canvas, by the first chunk."""
    kind, body = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def boxes(data: bytes) -> int:
    """The sizes of the top-level boxes (AVIF, JPEG 2000). Frames are not counted here."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1 and at + 16 <= len(data):
            size = int.from_bytes(data[at + 8 : at + 16])
        if not kind.isalnum() and kind not in (b"jP  ", b"url "):
            break  # not a box: something after the picture
        if size == 0:  # to the end of the file
            at = len(data)
            break
        if size < 8:
            raise RecordError("Corrupt", f"the box {kind.decode('latin-1')!r} has {size} bytes")
        at += size
        if at > len(data):
            raise cut(f"the box {kind.decode('latin-1')!r}")
    return 1


def jpeg2000(data: bytes) -> int:
    if data[:4] != b"\xff\x4f\xff\x51":
        boxes(data)
    if data.rfind(b"\xff\xd9") < 0:
        raise cut("its codestream: there is no end marker")
    return 1


def tiff(data: bytes) -> int:
    """Directories of a classic TIFF, each inside the file with all its values; frames are directories."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] not in (b"*\x00", b"\x00*") or len(data) < 8:
        return 1
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(at)
        if at + 2 > len(data):
            raise cut("a TIFF directory")
        (entries,) = struct.unpack_from(f"{order}H", data, at)
        if at + 2 + 12 * entries + 4 > len(data):
            raise cut("a TIFF directory")
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            kind, count, where = struct.unpack_from(f"{order}2xHII", data, entry)
            size = TIFF_SIZES.get(kind, 0) * count
            if size > 4 and where + size > len(data):
                raise cut("the values of a TIFF directory")
        (at,) = struct.unpack_from(f"{order}I", data, at + 2 + 12 * entries)
    return len(seen)


MAX_DIRECTORIES = 10_000
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

CHECKS: dict[str, Callable[[bytes], int]] = {
    "PNG": png,
    "GIF": gif,
    "WEBP": webp,
    "AVIF": boxes,
    "JPEG2000": jpeg2000,
    "TIFF": tiff,
}
