"""A store that misbehaves as real ones do, below the attempts that Store makes, for tests."""

import builtins
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from manifests.faults import Schedule, point
from manifests.local import Found
from manifests.objects import Conflict
from manifests.store import Files, Store


class FaultyStore(Store):
    """A Store whose every request passes `files.<operation>` before and `files.<operation>.done` after it happened.

    schedule: its own, or None for the armed one. Beside the actions of manifests.faults, it knows

        conflict   of create: answered 409, nothing is written
        race       of create: another writer is faster, with equal bytes; with others that mean the same if it is JSON
        stale      of list: what was listed under this prefix the time before, at first nothing
    """

    def __init__(self, uri: str, schedule: str | Schedule | None = None):
        super().__init__(uri)
        self.schedule = Schedule(schedule) if isinstance(schedule, str) else schedule

    def __reduce__(self) -> tuple[Any, ...]:
        return (FaultyStore, (self.uri, self.schedule))

    @property
    def _files(self) -> Files:
        if not isinstance(self._opened, _FaultyFiles):
            self._opened = _FaultyFiles(super()._files, self.schedule)
        return self._opened


class _FaultyFiles:
    def __init__(self, files: Files, schedule: Schedule | None):
        self._files = files
        self._pass = point if schedule is None else schedule.passes
        self._listed: dict[str, builtins.list[Found]] = {}

    def read(self, path: str) -> bytes:
        self._pass("files.read")
        return self._files.read(path)

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        self._pass("files.read")
        return self._files.read_ranges(path, ranges)

    def size(self, path: str) -> int | None:
        self._pass("files.size")
        return self._files.size(path)

    def put(self, path: str, data: bytes | Path) -> None:
        self._pass("files.put")
        self._files.put(path, data)
        self._pass("files.put.done")

    def create(self, path: str, data: bytes | Path) -> bool:
        outcome = self._pass("files.create")
        if outcome == "conflict":
            raise Conflict(f"injected at {path}: 409 Conflict")
        if outcome == "race":
            rival = data.read_bytes() if isinstance(data, Path) else data
            self._files.create(path, rival + b" " if path.endswith(".json") else rival)
        made = self._files.create(path, data)
        self._pass("files.create.done")
        return made

    def delete(self, path: str) -> None:
        self._pass("files.delete")
        self._files.delete(path)
        self._pass("files.delete.done")

    def list(self, prefix: str, after: str = "") -> Iterator[Found]:
        before = self._listed.get(prefix, [])
        self._listed[prefix] = [*self._files.list(prefix)]
        yield from before if self._pass("files.list") == "stale" else self._listed[prefix]

    def sweep(self, prefix: str) -> int:
        return self._files.sweep(prefix)
