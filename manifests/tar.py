"""Tar files: a writer that gives equal bytes for equal members, and a scanner for tars that nobody vouches for.

The writer's members are readable by tar, Python's tarfile and webdataset; its headers name no time, owner or machine.
The scanner says where every member's bytes lie and never puts anything on a disk. Headers are made and read by hand:
tarfile takes several times as long.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Literal

from manifests.errors import RecordError
from manifests.store import Store

BLOCK = 512
RECORD = 10_240  # a tar's size is a multiple of this
LARGEST_MEMBER = 8**11 - 1  # bytes that 11 octal digits can say
LARGEST_EXTENSION = 1 << 20  # bytes of a long name or pax header; more is an attack or garbage
WINDOW = 4 << 20  # bytes fetched at once while members follow one another closely
PROBE = 4096  # bytes fetched behind a payload that was passed over
ZEROS = bytes(BLOCK)

Kind = Literal["file", "folder", "hard link", "symbolic link", "device", "pipe", "sparse file", "other"]


@dataclass(frozen=True, slots=True)
class Member:
    """name: as the tar has it, undecodable bytes as lone surrogates. offset, size: of the payload in the tar.

    Only the payload of a `file` is its content; nothing else is ever followed or expanded.
    """

    name: str
    offset: int
    size: int
    kind: Kind = "file"


class TarWriter:
    """Writes members in the order given to a binary file, from its start.

    `close` ends the tar. Left by an exception, a `with` block ends it with a header that promises a member which is not
    there: every reader says that the tar is cut off, where without any end most would take it for whole.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._position = 0
        self._closed = False

    def add(self, name: str, data: bytes) -> int:
        """Writes a member and returns the offset of its payload. ValueError for a name that is not a safe_name."""
        if self._closed:
            raise ValueError("the tar is closed")
        if not safe_name(name):
            raise ValueError(f"{name!r} is no safe name for a member: relative, without '..', zero bytes or bad UTF-8")
        if len(data) > LARGEST_MEMBER:
            raise ValueError(f"{name!r} has {len(data):,} bytes; a member holds at most {LARGEST_MEMBER:,}")
        head = _head(name.encode(), len(data))
        self._file.write(head)
        self._file.write(data)
        self._file.write(ZEROS[: -len(data) % BLOCK])
        offset = self._position + len(head)
        self._position = offset + len(data) + -len(data) % BLOCK
        return offset

    def close(self) -> None:
        """Two blocks of zeros, and more to a multiple of 10,240 bytes. The file itself stays open."""
        if not self._closed:
            self._closed = True
            end = self._position + 2 * BLOCK
            self._file.write(bytes(2 * BLOCK + -end % RECORD))

    def __enter__(self) -> "TarWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self._closed = True
            self._file.write(_header(b"cut-off", LARGEST_MEMBER))


def safe_name(name: str) -> bool:
    """Whether a member's name could be a file's below some folder: relative, no `..`, no zero byte, valid UTF-8."""
    if not name or "\0" in name or name.startswith("/") or ".." in name.split("/"):
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


_FIELDS_BEFORE_SIZE = b"0000644\0" + b"0000000\0" * 2  # mode, uid, gid
_TIME = b"00000000000\0"
_REST = b"ustar\x0000" + bytes(64) + b"0000000\0" * 2  # magic and version, uname and gname, devmajor and devminor


def _head(name: bytes, size: int) -> bytes:
    """The header of a regular file, with an extended one before it where the name does not fit."""
    if len(name) <= 100:
        return _header(name, size)
    cut = name.rfind(b"/", 0, 156)
    if cut > 0 and len(name) - cut - 1 <= 100 and not name.endswith(b"/"):
        return _header(name[cut + 1 :], size, prefix=name[:cut])
    record = _pax_record(b"path", name)
    padded = record + ZEROS[: -len(record) % BLOCK]
    return _header(b"././@PaxHeader", len(record), b"x") + padded + _header(name[:100], size)


def _header(name: bytes, size: int, kind: bytes = b"0", prefix: bytes = b"") -> bytes:
    front = name.ljust(100, b"\0") + _FIELDS_BEFORE_SIZE + b"%011o\0" % size + _TIME
    back = kind + bytes(100) + _REST + prefix.ljust(155, b"\0") + bytes(12)
    return b"%b%06o\0 %b" % (front, _sum(front) + _sum(back) + 8 * 32, back)  # the checksum counts itself as spaces


def _sum(data: bytes) -> int:
    """The sum of some bytes, modulo 65,521: the low half of their Adler-32 less 1, which is much faster than sum().

    The fields of our own headers stay below that; of others' headers only the remainder is compared.
    """
    return ((zlib.adler32(data) & 0xFFFF) - 1) % 65_521


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`LENGTH key=value`, a line feed; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


class Tar:
    """A tar in a store, read by ranges: iterate over its members, ask for the payloads that are wanted.

    What is read in order is fetched once, in large pieces; payloads that nobody asks for are passed over.
    """

    def __init__(self, store: Store, path: str):
        size = store.size(path)
        if size is None:
            raise FileNotFoundError(2, "no such file", f"{store.uri}/{path}")
        self.size = size
        self._window = _Window(lambda offset, count: store.read_range(path, offset, count), size)

    def __iter__(self) -> Iterator[Member]:
        return _scan(self._window)

    def payload(self, member: Member) -> bytes:
        return self._window.read(member.offset, member.size)


def scan(read_at: Callable[[int, int], bytes], size: int) -> Iterator[Member]:
    """The members of a tar of `size` bytes, in order, hostile or not. read_at(offset, size): exactly those bytes.

    Understands ustar, the older v7, GNU long names and sizes, and pax. Where it cannot go on it raises RecordError,
    after the members before: `TruncatedTar` (cut off, or without an end), `BadTar` (a header that is none, or more
    behind the end), `CompressedTar`. The message has the offset.
    """
    return _scan(_Window(read_at, size))


class _Window:
    """The piece of a file that was fetched last."""

    def __init__(self, read_at: Callable[[int, int], bytes], size: int):
        self._read_at, self.size = read_at, size
        self._start, self._data = 0, b""

    def read(self, offset: int, count: int) -> bytes:
        """Exactly these bytes, which must lie within the file."""
        place = offset - self._start
        if not 0 <= place <= place + count <= len(self._data):
            self._fetch(offset, count)
            place = 0
        return self._data[place : place + count]

    def _fetch(self, offset: int, count: int) -> None:
        end = self._start + len(self._data)
        kept = self._data[offset - self._start :] if self._start <= offset < end else b""
        near = -WINDOW // 2 <= offset - end <= WINDOW // 2
        first = offset + len(kept)
        wanted = max(count - len(kept), WINDOW if near else PROBE)
        self._data = kept + self._read_at(first, min(wanted, self.size - first))
        self._start = offset


_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_KINDS: dict[int, Kind] = {
    ord("\0"): "file",
    ord("0"): "file",
    ord("7"): "file",  # "contiguous"
    ord("1"): "hard link",
    ord("2"): "symbolic link",
    ord("3"): "device",
    ord("4"): "device",
    ord("5"): "folder",
    ord("6"): "pipe",
    ord("S"): "sparse file",
    ord("D"): "folder",  # GNU's, with a list of names as payload
}
_WITHOUT_PAYLOAD = frozenset(b"123456")  # whatever their size field says
_GNU = b"ustar  \0"
_POSIX = b"ustar\0"
_RECORD = re.compile(rb"(\d{1,20}) ([^=]+)=")


def _scan(window: _Window) -> Iterator[Member]:
    size = window.size
    _check_uncompressed(window.read(0, min(6, size)))
    at = 0
    common: dict[bytes, bytes] = {}  # pax records for all members that follow
    own: dict[bytes, bytes] = {}  # of long names and pax headers for the next member
    while True:
        if at + BLOCK > size:
            raise RecordError("TruncatedTar", f"ends at byte {size:,} without an end mark")
        header = window.read(at, BLOCK)
        if header == ZEROS:
            _check_end(window, at)
            return
        kind, count = header[156], _checked_size(header, at)
        if kind in b"xgLK":
            if count > LARGEST_EXTENSION:
                raise RecordError("BadTar", f"a name or header of {count:,} bytes at byte {at:,}")
            data = window.read(at + BLOCK, _within(count, at, size))
            if kind == ord("g"):
                common |= _pax_records(data, at)
            elif kind == ord("x"):
                own |= _pax_records(data, at)
            elif kind == ord("L"):
                own[b"path"] = data.rstrip(b"\0")
            at += BLOCK + count + -count % BLOCK
            continue
        records = {**common, **own} if common or own else own
        offset = at + BLOCK
        if kind == ord("S"):
            offset = _behind_sparse_map(window, header, at)
        count = 0 if kind in _WITHOUT_PAYLOAD else _size_in(records, count, at)
        yield _member(header, kind, records, offset, _within(count, offset - BLOCK, size))
        at = offset + count + -count % BLOCK
        own = {}


def _member(header: bytes, kind: int, records: dict[bytes, bytes], offset: int, size: int) -> Member:
    name = records.get(b"GNU.sparse.name", records.get(b"path"))
    if name is None:
        name = header[:100].split(b"\0", 1)[0]
        if header[345] and header[257:263] == _POSIX:
            name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    what = _KINDS.get(kind, "other")
    if kind in b"\x000" and name.endswith(b"/"):  # v7 has no other sign
        what = "folder"
    if what == "folder":
        name = name.rstrip(b"/")
    if any(key.startswith(b"GNU.sparse.") for key in records):
        what = "sparse file"
    return Member(name.decode("utf-8", "surrogateescape"), offset, size, what)


def _check_uncompressed(start: bytes) -> None:
    for magic, name in _COMPRESSED:
        if start.startswith(magic):
            raise RecordError(
                "CompressedTar", f"compressed with {name}: members cannot be reached; decompress it first"
            )


def _checked_size(header: bytes, at: int) -> int:
    """The size field of a header whose checksum holds."""
    claimed = _number(header[148:156])
    actual = _sum(header) - _sum(header[148:156]) + 8 * 32
    if claimed is None or (claimed - actual) % 65_521:
        signed = actual - 256 * sum(byte > 127 for byte in header[:148] + header[156:])  # some old tars added so
        if claimed is None or (claimed - signed) % 65_521:
            raise RecordError("BadTar", f"no tar header at byte {at:,}: its checksum does not hold")
    size = _number(header[124:136])
    if size is None or size < 0:
        raise RecordError("BadTar", f"the header at byte {at:,} has no size")
    return size


def _number(field: bytes) -> int | None:
    """Octal digits, or GNU's binary form for what needs more; None where it is neither."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:]) - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    text = field.split(b"\0", 1)[0].strip()
    try:
        return int(text or b"0", 8)
    except ValueError:
        return None


def _within(count: int, at: int, size: int) -> int:
    """The count itself, where the payload behind the header at `at` lies within the tar."""
    if at + BLOCK + count > size:
        raise RecordError("TruncatedTar", f"ends at byte {size:,}, within the member whose header is at byte {at:,}")
    return count


def _size_in(records: dict[bytes, bytes], count: int, at: int) -> int:
    value = records.get(b"size")
    if value is None:
        return count
    if not value.isdigit() or len(value) > 20:
        raise RecordError("BadTar", f"the pax header before byte {at:,} has the size {value[:40]!r}")
    return int(value)


def _pax_records(data: bytes, at: int) -> dict[bytes, bytes]:
    found = {}
    place = 0
    while place < len(data) and data[place]:
        match = _RECORD.match(data, place)
        end = place + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1] != ord("\n"):
            raise RecordError("BadTar", f"the pax header at byte {at:,} is malformed")
        found[match[2]] = data[match.end() : end - 1]
        place = end
    return found


def _behind_sparse_map(window: _Window, header: bytes, at: int) -> int:
    """Offset of a GNU sparse file's payload: its map may go on in blocks of its own."""
    offset, more = at + BLOCK, header[482]
    while more:
        _within(BLOCK, offset - BLOCK, window.size)
        more = window.read(offset, BLOCK)[504]
        offset += BLOCK
    return offset


def _check_end(window: _Window, at: int) -> None:
    """A tar ends in zeros. Anything else there would be lost without a word: two tars joined, usually."""
    rest = window.read(at, min(window.size - at, WINDOW))
    more = len(rest) - len(rest.lstrip(b"\0"))
    if more < len(rest):
        raise RecordError(
            "BadTar", f"holds more from byte {at + more:,}, behind its end (tars joined together?): that is not read"
        )
