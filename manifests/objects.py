"""Buckets and memory as a store, through obstore."""

import builtins
import errno
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from manifests.errors import RunError, TransientError
from manifests.local import Found

BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss", "azure", "adl")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
WHOLE_UPLOAD = 16 << 20  # bytes; larger files go up in parts
LISTED_AT_ONCE = 1000


class Conflict(TransientError):
    """A store refused a conditional write because of another one at the same time; the file may be there or not."""


class Objects:
    """A bucket or memory, through obstore. prefix: of every path, ends with a slash unless empty.

    patient: the client that repeats a failed request itself, which the parts of a large upload need.
    strict: the client that never does, so that the reply to a conditional write is the reply to our only request.
    """

    def __init__(self, uri: str, strict: Any, patient: Any, prefix: str = ""):
        self._uri, self._strict, self._patient, self._prefix = uri, strict, patient, prefix

    def read(self, path: str) -> bytes:
        with self._errors(path):
            return bytes(_obstore().get(self._strict, self._prefix + path).bytes())

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        starts, lengths = zip(*ranges, strict=True)
        with self._errors(path):
            found = _obstore().get_ranges(self._strict, self._prefix + path, starts=starts, lengths=lengths)
        return [bytes(data) for data in found]

    def size(self, path: str) -> int | None:
        try:
            with self._errors(path):
                return _obstore().head(self._strict, self._prefix + path)["size"]
        except FileNotFoundError:
            return None

    def put(self, path: str, data: bytes | Path) -> None:
        with self._errors(path):
            _obstore().put(self._patient, self._prefix + path, data, chunk_size=WHOLE_UPLOAD, max_concurrency=4)

    def create(self, path: str, data: bytes | Path) -> bool:
        content = data.read_bytes() if isinstance(data, Path) else data
        exceptions = _obstore().exceptions
        try:
            with self._errors(path):
                _obstore().put(self._strict, self._prefix + path, content, mode="create")
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError, exceptions.NotModifiedError) as error:
            # S3 answers 412 where a file is, and 409 where another request on the same name has not ended: there may be
            # none yet. Azure answers 409 to both. obstore gives one error for all.
            if "409" in str(error):
                raise Conflict(f"{self._uri}/{path}: 409 Conflict") from None
            return False
        return True

    def delete(self, path: str) -> None:
        try:
            with self._errors(path):
                _obstore().delete(self._patient, self._prefix + path)
        except FileNotFoundError:
            pass

    def list(self, prefix: str, after: str = "") -> Iterator[Found]:
        whole = self._prefix + prefix
        folder = whole.rpartition("/")[0]
        last = ""
        offset = self._prefix + after if after else None
        with self._errors(prefix):
            for page in _obstore().list(self._strict, folder or None, offset=offset, chunk_size=LISTED_AT_ONCE):
                for found in page:
                    path = found["path"]
                    if not path.startswith(whole):
                        continue
                    if path < last:
                        raise RunError(f"{self._uri} does not list its objects in the order of their names")
                    last = path
                    yield path[len(self._prefix) :], found["size"], _tag(found)

    def sweep(self, prefix: str) -> int:
        return 0

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        exceptions = _obstore().exceptions
        address = f"{self._uri}/{path}"
        try:
            yield
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError, exceptions.NotModifiedError):
            raise
        except (FileNotFoundError, exceptions.BaseError) as error:
            raise _meaning(address, error) from None


def _meaning(address: str, error: Exception) -> Exception:
    """What an error of a bucket means for a run."""
    exceptions = _obstore().exceptions
    text = str(error).split("\n\nDebug source:")[0].strip()
    status = int(found[1]) if (found := re.search(r"status code: (\d{3})", text)) else None
    if re.search(r"NoSuchBucket|ContainerNotFound|bucket does not exist", text):
        return RunError(f"{address}: there is no such bucket; make it, or correct the address")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "no such object", address)
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError) or status in (401, 403):
        return RunError(f"{address}: permission denied; give these credentials access to it ({text[:300]})")
    if "169.254.169.254" in text or "metadata.google" in text:
        return RunError(f"{address}: no credentials found; set those that obstore reads, such as AWS_ACCESS_KEY_ID")
    if isinstance(error, exceptions.InvalidPathError):
        return RunError(f"{address}: holds an object whose name cannot be used; rename it ({text[:300]})")
    if status == 416 or "Invalid range" in text:
        return OSError(errno.EIO, "ends before the bytes that were asked for", address)
    if status is None and not re.search(r"HTTP error|timed? ?out|connection|reset|body", text, re.I):
        return RunError(f"{address}: {text[:300]}")
    if status is not None and 300 <= status < 500 and status not in (408, 429):
        return RunError(f"{address}: {text[:300]}")
    return TransientError(f"{address}: {text[:300]}")


def _tag(found: Any) -> str:
    return found["e_tag"] or found["version"] or f"{found['size']}-{found['last_modified'].timestamp()}"


_lock = threading.Lock()
_memories: dict[str, Any] = {}
_process: int | None = None  # in which obstore was first used


def _obstore() -> Any:
    """obstore, imported at first use. RunError in a process forked from one that had used it: it would hang there."""
    global _process
    if _process is None:
        _process = os.getpid()
    elif _process != os.getpid():
        raise RunError("this worker was forked from a process that had already used a bucket; start workers by spawn")
    import obstore
    import obstore.exceptions

    return obstore


def open_objects(uri: str) -> Objects:
    """memory://name[/prefix], shared by name within this process, or a bucket."""
    scheme, _, rest = uri.partition("://")
    _obstore()
    from obstore.store import MemoryStore, from_url

    if scheme == "memory":
        name, _, prefix = rest.partition("/")
        with _lock:
            memory = _memories.setdefault(name, MemoryStore())
        return Objects(uri, memory, memory, f"{prefix}/" if prefix else "")
    client: dict[str, Any] = {"timeout": timedelta(seconds=300), "read_timeout": timedelta(seconds=30)}
    if any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS):
        client["allow_http"] = True
    make: Any = from_url
    try:
        strict = make(uri, client_options=client, retry_config={"max_retries": 0})
        patient = make(uri, client_options=client, retry_config={"max_retries": 5})
    except Exception as error:
        raise RunError(f"{uri}: cannot be opened: {str(error).splitlines()[0]}") from error
    return Objects(uri, strict, patient)
