"""Small phases that need no pictures: engines and the commit protocol are tested with them."""

import json
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.errors import RunError, TransientError
from pipelines import verbs
from pipelines.folder import RunFolder
from pipelines.phase import AnyPhase, Result, Task, fingerprint


@dataclass(frozen=True)
class Squares:
    """Task i writes the squares of ten numbers.

    mischief: task -> what it does: `raise`, `busy` (as a store that says 503), `die` (SIGKILL to itself), `once:PATH`
    (dies as long as the file is there, and removes it), `sleep`, `stop` (as a run that was asked for wrongly).
    """

    tasks: int
    mischief: tuple[tuple[int, str], ...] = ()
    name = "squares"
    version = 1
    upstream = ()

    def config(self) -> Mapping[str, Any]:
        return {"tasks": self.tasks}

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return ({"from": 10 * i} for i in range(self.tasks))

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        misbehave(dict(self.mischief).get(task.index, ""))
        values = [n * n for n in range(task.params["from"], task.params["from"] + 10)]
        path = scratch / "squares.json"
        path.write_text(json.dumps(values))
        return Result(
            files={"squares": (path, run.data(self.name, task.index, "squares.json"))},
            rows={"squares": len(values)},
            counts={"in": 10, "kept": 9, "dropped/odd.max": 1},
        )


def misbehave(how: str) -> None:
    if how == "raise":
        raise ValueError("as asked")
    if how == "busy":
        raise TransientError("503 slow down")
    if how == "stop":
        raise RunError("no such format")
    if how == "sleep":
        time.sleep(30)
    if how.startswith("once:"):
        if not Path(how[5:]).exists():
            return
        Path(how[5:]).unlink()
        how = "die"
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class LastDigits:
    """An exchange: how many squares end in each digit, by ten buckets of which some stay empty.

    routing, folding: the mischief of tasks and of buckets, as for Squares.
    """

    routing: tuple[tuple[int, str], ...] = ()
    folding: tuple[tuple[int, str], ...] = ()
    name = "last-digits"
    version = 1
    upstream = (Squares.name,)
    schema = pa.schema([pa.field("digit", pa.int64()), pa.field("loc", pa.int64())])

    def config(self) -> Mapping[str, Any]:
        return {}

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return verbs.part_ranges(run.commit(Squares.name)["tasks"])

    def buckets(self, run: RunFolder) -> int:
        return 10

    def route(self, run: RunFolder, task: Task) -> tuple[pa.Table, np.ndarray]:
        misbehave(dict(self.routing).get(task.index, ""))
        digits: list[int] = []
        for part in range(task.params["first"], task.params["stop"]):
            digits += [n % 10 for n in json.loads(run.store.read(run.data(Squares.name, part, "squares.json")))]
        table = pa.table({"digit": digits, "loc": range(len(digits))}, self.schema)
        return table, np.array(digits, np.int64)

    def fold(self, run: RunFolder, bucket: int, rows: pa.Table, scratch: Path) -> Result:
        misbehave(dict(self.folding).get(bucket, ""))
        path = scratch / "count.json"
        path.write_text(json.dumps({"digit": bucket, "squares": rows.num_rows}))
        return Result(
            files={"count": (path, run.data(self.name, bucket, "count.json"))}, counts={"rows": rows.num_rows}
        )


def run_folder(output: Path | str, phases: Sequence[AnyPhase]) -> RunFolder:
    prints: dict[str, str] = {}
    for phase in phases:
        prints[phase.name] = fingerprint(phase, prints)
    return RunFolder(str(output), None, prints)


def counted(run: RunFolder) -> dict[int, int]:
    """What LastDigits wrote: digit -> squares."""
    values = [json.loads(run.store.read(receipt["files"]["count"]["path"])) for receipt in run.receipts("last-digits")]
    return {value["digit"]: value["squares"] for value in values}
