"""Interface agreed; implementation follows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing. path: relative to the store's root. size: bytes. tag: changes when the content does."""

    path: str
    size: int
    tag: str


class Store:
    """A folder, a bucket prefix or memory, addressed by one URI."""

    uri: str

    def __init__(self, uri: str): ...
    def read(self, path: str) -> bytes: ...
    def read_range(self, path: str, offset: int, size: int) -> bytes: ...
    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]: ...
    def put(self, path: str, data: bytes | Path) -> None: ...
    def create(self, path: str, data: bytes | Path) -> bool: ...
    def size(self, path: str) -> int | None: ...
    def list(self, prefix: str = "") -> Iterator[Entry]: ...
    def delete(self, path: str) -> None: ...
