"""The memory that a sandbox and its child share: records in, replies out, and the flight recorder.

    | header | table: one entry a record | inputs, end to end | replies, end to end |

Bytes cross here and not through pipes, so neither side can block the other, and what the child had finished before it
died is still there. The header says which record the child is on. Nothing is pickled. This file is imported by the
child, so it needs the standard library only.
"""

import contextlib
import mmap
import os
import struct
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

HEADER = struct.Struct("<qdq")  # record the child is on (-1: none), its start (monotonic seconds), end of the replies
ENTRY = struct.Struct("<qqqqq")  # input offset and size, reply offset and size, status
COMMAND = struct.Struct("<qq")  # records on the board, size of the board

READY, FINISHED = b"R", b"F"  # what the child says: it can take records; a chunk is finished
OUT_OF_MEMORY = 99  # its exit code where memory ran out
WAITING, DONE, FAILED = 0, 1, 2  # status: no reply yet; reply bytes; reply is JSON [reason, message]


class Entry(NamedTuple):
    """Where one record's input and reply lie on the board. All in bytes."""

    offset: int
    size: int
    reply_offset: int
    reply_size: int
    status: int


def unnamed_file() -> int:
    """A descriptor of an empty file in memory, or on disk where the system has no such thing (macOS)."""
    with contextlib.suppress(AttributeError, OSError):
        return os.memfd_create("sandbox", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Board:
    """A mapped file without a name. `fd` is handed to the child; both sides map it at the size a command states."""

    def __init__(self, fd: int):
        self.fd = fd
        self.size = 0
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> "Board":
        return cls(unnamed_file())

    @property
    def memory(self) -> mmap.mmap:
        assert self._map is not None, "the board has no size yet"
        return self._map

    def resize(self, size: int, *, truncate: bool) -> None:
        """Maps the file at this size. truncate: also gives the file this size (the parent does, the child follows)."""
        if size == self.size:
            return
        self.unmap()
        if truncate:
            os.ftruncate(self.fd, size)
        self._map, self.size = mmap.mmap(self.fd, size), size

    def unmap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map, self.size = None, 0

    def close(self) -> None:
        self.unmap()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # Parent's side.

    def write_inputs(self, payloads: Sequence[bytes], reply_bytes: int, least: int) -> None:
        """Lays out one chunk: every payload, and room for `reply_bytes` of reply each. At least `least` bytes large."""
        offset = start = HEADER.size + ENTRY.size * len(payloads)
        end = start + sum(len(payload) for payload in payloads)
        self.resize(max(least, end + reply_bytes * len(payloads)), truncate=True)
        memory = self.memory
        for number, payload in enumerate(payloads):
            size = len(payload)
            ENTRY.pack_into(memory, HEADER.size + ENTRY.size * number, offset, size, 0, 0, WAITING)
            memory[offset : offset + size] = payload
            offset += size
        HEADER.pack_into(memory, 0, -1, 0.0, end)

    def current(self) -> tuple[int, float]:
        """(record the child is on or -1, when it began)."""
        number, started, _ = HEADER.unpack_from(self.memory, 0)
        return number, started

    def reply(self, number: int) -> tuple[int, bytes]:
        """(status, reply). Raises ValueError where the child left nonsense: native code may have written anywhere."""
        entry = self.entry(number)
        inside = entry.reply_offset >= 0 and 0 <= entry.reply_size <= self.size - entry.reply_offset
        if entry.status not in (DONE, FAILED) or not inside:
            raise ValueError(f"record {number} has status {entry.status}")
        return entry.status, self.memory[entry.reply_offset : entry.reply_offset + entry.reply_size]

    # Child's side.

    def entry(self, number: int) -> Entry:
        return Entry(*ENTRY.unpack_from(self.memory, HEADER.size + ENTRY.size * number))

    def begin(self, number: int, now: float) -> bytes:
        """Writes the flight recorder, then gives the record's input."""
        _, _, end = HEADER.unpack_from(self.memory, 0)
        HEADER.pack_into(self.memory, 0, number, now, end)
        offset, size, *_ = self.entry(number)
        return self.memory[offset : offset + size]

    def write_reply(self, number: int, status: int, reply: bytes) -> None:
        """Appends a reply; the caller has checked that it is not longer than promised."""
        current, started, offset = HEADER.unpack_from(self.memory, 0)
        self.memory[offset : offset + len(reply)] = reply
        where = HEADER.size + ENTRY.size * number
        source = ENTRY.unpack_from(self.memory, where)[:2]
        ENTRY.pack_into(self.memory, where, *source, offset, len(reply), status)
        HEADER.pack_into(self.memory, 0, current, started, offset + len(reply))

    def finish(self) -> None:
        """No record is in hand any more."""
        HEADER.pack_into(self.memory, 0, -1, 0.0, HEADER.unpack_from(self.memory, 0)[2])
