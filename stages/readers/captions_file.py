"""Reads captions files: one JSON record a line, each naming a picture and its caption.

A file is read in parts, each by a task of its own. A line belongs to the part in which it starts, and lines that follow
one another and name the same picture to the part in which the first of them starts: they are that picture's captions.

    part 1                      | part 2
    {a.jpg …} {b.jpg …} {b.jpg …|} {b.jpg …} {c.jpg …}        b.jpg and its three captions belong to part 1
"""

import hashlib
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manifests.document import Source
from manifests.errors import RecordError
from manifests.store import Store
from stages.readers.base import Candidate, Unreadable
from stages.readers.captions import captions_of, numbered, pair, parse_json
from stages.readers.media import PictureFiles, join_below_root

PICTURE_FIELDS = ("file_name", "filename", "file", "image", "image_path", "path")
LINE_BYTES = 100  # of a line, short rather than usual: a part of long lines is small, one of short lines not too large
CHUNK_BYTES = 256 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024
LOOK_BACK_BYTES = 64 * 1024  # in which the line before a part is looked for


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line break. record: None where it is no JSON object; error says why."""

    start: int
    data: bytes
    record: Mapping[str, Any] | None
    error: RecordError | None
    picture: str | None  # as the record names it


def names_pictures(store: Store, path: str, size: int) -> bool:
    """Whether a .jsonl is a captions file: its first record names a picture or is broken, which its lines then say."""
    line = store.read_range(path, 0, min(size, LOOK_BACK_BYTES)).lstrip().partition(b"\n")[0]
    if not line:
        return False
    parsed = parse_line(0, line)
    return parsed.picture is not None or parsed.record is None


def read_captions(
    store: Store, path: str, start: int, end: int, source: str, licence: str | None
) -> Iterator[Candidate | Unreadable]:
    """The documents of the lines that belong to one part of a captions file; see the module's text."""
    files = PictureFiles(store)
    previous: str | None = None
    seen: dict[str, int] = {}  # caption -> its number among those of one picture
    owned = False
    for line in parsed_lines(store, path, max(0, start - LOOK_BACK_BYTES)):
        follows = line.picture is not None and line.picture == previous
        previous = line.picture
        if not follows:
            if line.start >= end:
                return
            owned, seen = line.start >= start, {}
        if owned:
            yield from documents(files, path, line, seen, source, licence)


def documents(
    files: PictureFiles, path: str, line: Line, seen: dict[str, int], source: str, licence: str | None
) -> Iterator[Candidate | Unreadable]:
    """The documents of one line; captions of the same picture that it adds are numbered in `seen`."""
    where = f"{path!r}, the line at byte {line.start}"
    place = None if line.picture is None else join_below_root(posixpath.dirname(path), line.picture)
    try:
        if line.record is None:
            raise line.error or RecordError("BadJson", where)
        if line.picture is None:
            raise RecordError("NoPicture", f"{where} names no picture under {', '.join(PICTURE_FIELDS)}")
        if not place or line.picture.startswith("/"):
            raise RecordError("OutsideInput", f"{where} names {line.picture!r}, which is not below the file's folder")
        captions = captions_of(line.record, where)
        data, media = files.get(place)
    except RecordError as error:
        # What such a line is about is not known, so it is named by what it holds.
        key = f"{path}\0{hashlib.sha256(line.data).hexdigest()}"
        yield Unreadable(key, {"captions": path, "byte": line.start}, error.reason, error.message)
        return
    for caption in captions:
        number = seen.setdefault(caption.text, len(seen) + 1)
        locator: dict[str, str | int] = {"path": place, "captions": path, "byte": line.start}
        if number > 1:
            locator["caption"] = number
        origin = Source(source, caption.url, locator, caption.licence or licence)
        yield pair(numbered(place, number), origin, media, data, caption)


def parsed_lines(store: Store, path: str, start: int) -> Iterator[Line]:
    """Every line that starts at or after a place, blank ones left out; reads on only as far as is asked for.

    Where the place is not the file's start, the line that it lies in is left out.
    """
    size = store.size(path) or 0
    rest, at, partial = b"", start, start > 0  # bytes not handed out yet and where they start; whether in mid-line
    place = start
    while place < size:
        chunk = store.read_range(path, place, min(CHUNK_BYTES, size - place))
        place += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        if place >= size:
            lines, rest = [*lines, rest], b""
        for data in lines:
            if not partial and data.strip():
                yield parse_line(at, data)
            partial = False
            at += len(data) + 1
        if len(rest) > MAX_LINE_BYTES or partial:
            if not partial:
                error = RecordError("TooLarge", f"the line at byte {at} has more than {MAX_LINE_BYTES:,} bytes")
                yield Line(at, rest[:CHUNK_BYTES], None, error, None)
            rest, at, partial = b"", place, True


def parse_line(start: int, data: bytes) -> Line:
    try:
        record = parse_json(data, f"the line at byte {start}")
    except RecordError as error:
        return Line(start, data, None, error, None)
    named = (record.get(name) for name in PICTURE_FIELDS)
    return Line(start, data, record, None, next((name for name in named if isinstance(name, str) and name), None))
