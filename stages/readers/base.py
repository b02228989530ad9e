"""What a reader is: a plan of tasks over an input store, and the documents of one task."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from manifests.document import Document
from manifests.store import Store

Item = TypeVar("Item")
DOCUMENTS_A_TASK = 1000
BYTES_A_TASK = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes that stay where they are: part of a file of the input store. path is relative to the input root."""

    path: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document with its media bytes: one payload for each media segment, in order.

    A payload is the bytes, or a Range where the reader works in place (`Media.sha256` is filled in either way).
    """

    document: Document
    payloads: tuple[bytes | Range, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A source item that could not be made into a document: it becomes one dead row.

    key: what its uid is made from. locator: where it is, JSON scalars. reason: a CamelCase class. stage: `read`.
    """

    key: str
    locator: Mapping[str, str | int]
    reason: str
    message: str


class Reader(Protocol):
    """A dataclass whose fields are its settings: `source` (name) and `licence` (or None) at least.

    plan: the tasks, JSON-able dicts, the same for the same input whatever the engine or worker count; lazily, in a
    stable (sorted) order. Each task should hold about 1,000 documents or 64 MB. It sees listings, and of contents no
    more than a table's footer or the first line of a captions file.
    It raises RunError for an empty or unsuitable input, with the remedy.
    read: the documents of one task, in a stable order. It raises TransientError or OSError only for the whole task;
    what is wrong with one item is an Unreadable.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def source(self) -> str: ...

    @property
    def licence(self) -> str | None: ...

    def plan(self, store: Store) -> Iterator[dict[str, Any]]: ...

    def read(self, store: Store, task: Mapping[str, Any]) -> Iterator[Candidate | Unreadable]: ...


def in_tasks(
    sized: Iterable[tuple[Item, int]], most: int = DOCUMENTS_A_TASK, most_bytes: int = BYTES_A_TASK
) -> Iterator[list[Item]]:
    """Items with their sizes as one list a task, in order: no list above either limit but where one item alone is."""
    items: list[Item] = []
    total = 0
    for item, size in sized:
        if items and (len(items) >= most or total + size > most_bytes):
            yield items
            items, total = [], 0
        items.append(item)
        total += size
    if items:
        yield items
