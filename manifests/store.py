"""Where everything lies: a local folder, memory, or a bucket, by one address and with one meaning.

    Store("/data/pages")  Store("memory://name")  Store("s3://bucket/prefix")  gs://  az://

Buckets go through obstore and take its usual environment variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...). What the
commit protocol rests on, and what holds on all of them:

    put      a whole file appears at once in place of what was there; no reader ever sees a part of it
    create   as put, but only if nothing is there: of several writers one gets True
    read     after either has returned, every reader sees the file (list as well, on the stores above)

The reply to a create can be lost: the store was busy or the network broke after the file had been made. The create is
then repeated, and finding a file with exactly its bytes it returns True. So True means that what is there is what was
given, and that this call alone made it unless a reply was lost; False means that what another writer made stands.
If no answer ever comes, TransientError: the file may or may not be there, and the caller has to look.

Errors: FileNotFoundError for what is not there. TransientError after bounded retries of a store that is busy or out of
reach. RunError, naming the address and the remedy, for a refused permission, a missing bucket or credential, a full
disk. RecordError for one file that must not be read (a link out of the folder, a device). ValueError for a bad path.
"""

import builtins
import errno
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from manifests import faults
from manifests.errors import RunError, TransientError
from manifests.local import Found, LocalFiles
from manifests.objects import BUCKETS, Conflict, open_objects

ATTEMPTS = 6  # of one operation on a store that is busy
FIRST_WAIT = 0.1  # seconds before the second attempt; doubled each time, with jitter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing. path: relative to the store's root. size: bytes. tag: changes when the content does."""

    path: str
    size: int
    tag: str


class Store:
    """A folder, a bucket prefix or memory, addressed by one URI.

    It is opened at its first use, so that it may be pickled into any worker, and used from any thread.
    Paths are relative, with slashes, without `.`, `..` or empty parts.
    """

    uri: str

    def __init__(self, uri: str):
        self.uri = canonical(uri)
        self._opened: Files | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.uri,))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and self.uri == other.uri

    def __hash__(self) -> int:
        return hash(self.uri)

    def root_path(self) -> Path | None:
        """The folder of a local store, None for any other."""
        return None if "://" in self.uri else Path(self.uri)

    def child(self, prefix: str) -> "Store":
        """The store of what lies below a prefix, which is a whole folder name or several."""
        return Store(f"{self.uri.rstrip('/')}/{checked(prefix.rstrip('/'))}")

    def read(self, path: str) -> bytes:
        return self._try("read", path, lambda: self._files.read(checked(path)))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        return self.read_ranges(path, [(offset, size)])[0]

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """The bytes of each (offset, size), together where they lie near. OSError where the file ends before them."""
        wanted = [part for part in ranges if part[1]]
        if not wanted:
            return [b""] * len(ranges)
        found = iter(self._try("read", path, lambda: self._files.read_ranges(checked(path), wanted)))
        out = [next(found) if size else b"" for _, size in ranges]
        for (offset, size), data in zip(ranges, out, strict=True):
            if len(data) != size:
                raise OSError(
                    errno.EIO,
                    f"ends at byte {offset + len(data):,}, before {offset + size:,}: not the file it was taken for",
                    self._address(path),
                )
        return out

    def put(self, path: str, data: bytes | Path) -> None:
        """Makes or replaces a file by these bytes, or by a copy of a local file."""
        self._try("put", path, lambda: self._files.put(checked(path), data))

    def create(self, path: str, data: bytes | Path) -> bool:
        """Makes a file unless there is one; see the module's text. For small files: it goes up in one request."""
        unanswered = False  # whether an earlier attempt may have made it without our knowing
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._errors(path):
                    faults.point("store.create")
                    made = self._files.create(checked(path), data)
                    faults.point("store.create.done")
                return made or (unanswered and self._holds(path, data))
            except Conflict as error:
                if self.size(path) is not None:
                    return unanswered and self._holds(path, data)
                _wait(attempt, error)
            except TransientError as error:
                unanswered = True
                _wait(attempt, error)
        raise AssertionError("unreachable")

    def size(self, path: str) -> int | None:
        """Bytes, or None where there is no such file."""
        return self._try("size", path, lambda: self._files.size(checked(path)))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file whose path starts with the prefix, sorted by path, lazily.

        Locally what cannot be read (a link that leads out or nowhere, a pipe) is listed with size 0: read says why.
        """
        if prefix.strip("/"):
            checked(prefix.removesuffix("/"))
        for path, size, tag in self._listed(prefix.lstrip("/")):
            yield Entry(path, size, tag)

    def delete(self, path: str) -> None:
        """Removes a file; that it is not there is no error."""
        self._try("delete", path, lambda: self._files.delete(checked(path)))

    def sweep(self, prefix: str = "") -> int:
        """Removes what killed writers left half written in a local folder; returns how many. Never part of a listing.

        In a bucket nothing is left but unfinished uploads, which the bucket's lifecycle rule removes.
        """
        return self._try("sweep", prefix, lambda: self._files.sweep(prefix))

    @property
    def _files(self) -> "Files":
        if self._opened is None:
            self._opened = _open(self.uri)
        return self._opened

    def _address(self, path: str) -> str:
        return f"{self.uri.rstrip('/')}/{path}"

    def _holds(self, path: str, data: bytes | Path) -> bool:
        content = data.read_bytes() if isinstance(data, Path) else data
        try:
            return self.read(path) == content
        except FileNotFoundError:
            return False

    def _listed(self, prefix: str) -> Iterator[Found]:
        """As Files.list; a listing that breaks off is taken up again behind the last path."""
        last, attempt = "", 1
        while True:
            try:
                with self._errors(prefix):
                    faults.point("store.list")
                    for found in self._files.list(prefix, last):
                        if last and found[0] <= last:
                            continue
                        last, attempt = found[0], 1
                        yield found
                    return
            except TransientError as error:
                _wait(attempt, error)
                attempt += 1

    def _try(self, operation: str, path: str, action: Callable[[], T]) -> T:
        """The result of an action that may be repeated without harm."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._errors(path):
                    faults.point(f"store.{operation}")
                    result = action()
                    faults.point(f"store.{operation}.done")
                    return result
            except TransientError as error:
                _wait(attempt, error)
        raise AssertionError("unreachable")

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Says of the system's errors what they mean for a run, with the address."""
        try:
            yield
        except OSError as error:
            if not (isinstance(error.filename, str) and "/" in error.filename):
                error.filename, error.filename2 = self._address(path), None  # a call relative to an open folder
            if isinstance(error, PermissionError):
                raise RunError(
                    f"{error.filename}: permission denied; give this user access to it, or run as one who has it"
                ) from None
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise RunError(
                    f"{self._address(path)} cannot be written: {os.strerror(error.errno).lower()}; free some space and "
                    "run the same command again, what is finished is kept"
                ) from error
            if error.errno == errno.EROFS:
                raise RunError(f"{self._address(path)} cannot be written: its file system is read-only") from None
            if error.errno in (errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT):
                raise TransientError(f"{self._address(path)}: {error.strerror}") from error
            raise


class Files(Protocol):
    """What a kind of store must do. Ranges have a size; reads may come out short where the file ends.

    list may leave out paths up to `after`.
    """

    def read(self, path: str) -> bytes: ...
    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]: ...
    def size(self, path: str) -> int | None: ...
    def put(self, path: str, data: bytes | Path) -> None: ...
    def create(self, path: str, data: bytes | Path) -> bool: ...
    def delete(self, path: str) -> None: ...
    def list(self, prefix: str, after: str = "") -> Iterator[Found]: ...
    def sweep(self, prefix: str) -> int: ...


def _wait(attempt: int, error: TransientError) -> None:
    """Sleeps before the next attempt; raises the error where there is none."""
    if attempt >= ATTEMPTS:
        raise error
    time.sleep(FIRST_WAIT * 2 ** (attempt - 1) * (0.5 + random.random()))


def canonical(uri: str) -> str:
    """One spelling of an address: a local folder as an absolute path, anything else without a slash at its end."""
    if not uri:
        raise RunError("an empty address; give a folder, or s3://bucket/prefix and the like")
    scheme = uri.partition("://")[0] if "://" in uri else "file"
    if scheme == "file":
        path = unquote(urlsplit(uri).path) if uri.startswith("file://") else uri
        return os.path.abspath(path)
    if scheme != "memory" and scheme not in BUCKETS:
        raise RunError(f"{uri}: unknown kind of address; known: a local path, file, memory, s3, gs, az")
    return uri.rstrip("/")


def checked(path: str) -> str:
    """The path itself. ValueError where it is absolute, or has an empty, `.` or `..` part or a zero byte."""
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} is not a path within a store: no empty, '.' or '..' parts, no zero bytes")
    return path


def _open(uri: str) -> Files:
    return open_objects(uri) if "://" in uri else LocalFiles(uri)
