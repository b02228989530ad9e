"""What a phase is: a plan of tasks, and what each task does. Engines only schedule; everything else is here.

plan ──▶ tasks ──▶ body ──▶ files + receipt, each task by itself        (a map phase)
plan ──▶ tasks ──▶ route ──▶ narrow rows by bucket ──▶ fold ──▶ files + receipt, each bucket   (an exchange)
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import pyarrow as pa

from manifests.document import canonical_json
from manifests.errors import RunError
from pipelines.folder import RunFolder

MAX_VALUE_BYTES = 64  # of one value that crosses an engine's exchange: payload bytes never shuffle


@dataclass(frozen=True, slots=True)
class Task:
    """One item of a plan. index: its place in the plan, and in every name made from it. params: JSON."""

    index: int
    params: Mapping[str, Any]


@dataclass(slots=True)
class Result:
    """What a body made: local files to upload by port name, and what it counted.

    files: {name: (local path or None to say that the port is empty, path below the run's root)}.
    counts: additive integers, keys such as `in`, `kept`, `dropped/image.short_side.min`, `dead/Truncated`.
    facts: other JSON that later phases read from the receipt. seconds: CPU or wall time by stage, for people.
    """

    files: dict[str, tuple[Path, str]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Phase(Protocol):
    """A dataclass of plain settings, pickled to workers.

    name: also its folder's. version: raised when the same inputs can give other outputs.
    upstream: names of the phases whose outputs it reads. config: what its fingerprint is made of, beside these.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def upstream(self) -> tuple[str, ...]: ...

    def config(self) -> Mapping[str, Any]: ...

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        """Parameters of each task; a pure function of what upstream phases committed."""


class MapPhase(Phase, Protocol):
    """Each task by itself."""

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result: ...


class ExchangePhase(Phase, Protocol):
    """Rows routed by key to buckets, each bucket folded by itself. The receipts are the buckets'."""

    @property
    def schema(self) -> pa.Schema: ...

    def buckets(self, run: RunFolder) -> int: ...

    def route(self, run: RunFolder, task: Task) -> tuple[pa.Table, Any]:
        """(rows of `schema`, int64 numpy array of the bucket of each row)."""

    def fold(self, run: RunFolder, bucket: int, rows: pa.Table, scratch: Path) -> Result:
        """rows: all of one bucket, in no stated order."""


AnyPhase = MapPhase | ExchangePhase


def is_exchange(phase: AnyPhase) -> TypeGuard[ExchangePhase]:
    return hasattr(phase, "route")


def is_map(phase: AnyPhase) -> TypeGuard[MapPhase]:
    return hasattr(phase, "body")


def fingerprint(phase: Phase, upstream: Mapping[str, str]) -> str:
    """12 hex digits over name, version, settings and the fingerprints of what it reads."""
    value = {
        "phase": phase.name,
        "version": phase.version,
        "config": phase.config(),
        "upstream": {name: upstream[name] for name in phase.upstream},
    }
    return hashlib.sha256(canonical_json(value)).hexdigest()[:12]


def fields_of(stage: Any) -> dict[str, Any]:
    """The settings of a reader, decoder or scorer by field name: JSON scalars and lists."""
    return {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage) if field.init}


def check_narrow(phase: ExchangePhase) -> None:
    """Refuses a phase whose exchange would carry payload: every column must be of fixed width, at most 64 bytes."""
    for column in phase.schema:
        width = getattr(column.type, "bit_width", None) if pa.types.is_primitive(column.type) else None
        if pa.types.is_fixed_size_binary(column.type):
            width = column.type.byte_width * 8
        if width is None or width > MAX_VALUE_BYTES * 8:
            raise RunError(
                f"phase {phase.name}: column {column.name!r} of type {column.type} cannot cross an exchange: "
                f"only fixed-width values of at most {MAX_VALUE_BYTES} bytes do"
            )
