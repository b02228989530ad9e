"""The commit protocol: how a task's work becomes visible once, whatever dies or is delivered twice.

    plan.json            written before anything runs; the same for every driver that resumes
    data/…               whole-file uploads under names that only the plan decides
    receipts/<task>      created if absent: the one point where a task is done
    COMMIT.json          created if absent, once every receipt is there: the one point where a phase is done

Readers look at COMMIT.json and receipts only, so a file without a receipt does not exist for them.
"""

import hashlib
import io
import json
import logging
import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import faults
from manifests.document import canonical_json
from manifests.errors import FailedTasks, RunError, TransientError
from manifests.parquet import open_parquet
from manifests.store import Store
from pipelines.folder import RunFolder
from pipelines.phase import AnyPhase, ExchangePhase, MapPhase, Result, Task, check_narrow, is_exchange

log = logging.getLogger("winnow")

PAUSE = 0.05  # seconds, doubled with each attempt
ATTEMPTS = 3  # of a task whose store was busy, before it counts as failed
TASKS_A_ROW_GROUP = 64  # of tasks.parquet: what a worker reads to learn one task


def write_plan(phase: AnyPhase, run: RunFolder) -> dict[str, Any]:
    """Writes the plan of a phase if it is not there, and returns its header: {phase, tasks, units, buckets}.

    units: how many receipts the phase ends with: its tasks, or its buckets for an exchange.
    """
    path = run.path(phase.name, "plan.json")
    header = read_json(run.store, path)
    if header is None:
        if is_exchange(phase):
            check_narrow(phase)
        tasks = _write_tasks(phase, run)
        buckets = phase.buckets(run) if is_exchange(phase) else None
        header = {
            "phase": phase.name,
            "version": phase.version,
            "config": phase.config(),
            "tasks": tasks,
            "buckets": buckets,
            "units": tasks if buckets is None else buckets,
        }
        faults.point("before_plan")
        run.store.create(path, canonical_json(header))
    return header


def _write_tasks(phase: AnyPhase, run: RunFolder) -> int:
    """tasks.parquet: one row of JSON a task, in row groups small enough to read one task from."""
    schema = pa.schema([("params", pa.string())])
    buffer, count, group = io.BytesIO(), 0, []
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for params in phase.plan(run):
            group.append(canonical_json(params).decode())
            count += 1
            if len(group) == TASKS_A_ROW_GROUP:
                writer.write_table(pa.table({"params": group}, schema), row_group_size=TASKS_A_ROW_GROUP)
                group = []
        if group:
            writer.write_table(pa.table({"params": group}, schema), row_group_size=TASKS_A_ROW_GROUP)
    run.store.create(run.path(phase.name, "tasks.parquet"), buffer.getvalue())
    return count


def read_task(phase: AnyPhase, run: RunFolder, index: int) -> Task:
    """One task of a written plan, without reading the others."""
    file = open_parquet(run.store, run.path(phase.name, "tasks.parquet"))
    group = file.read_row_group(index // TASKS_A_ROW_GROUP)
    return Task(index, json.loads(group["params"][index % TASKS_A_ROW_GROUP].as_py()))


def pending(phase: AnyPhase, run: RunFolder, units: int) -> list[int]:
    """Task (or bucket) numbers without a receipt. Failures of earlier attempts are forgotten: they are tried again."""
    prefix = run.path(phase.name, "receipts/")
    done = {int(entry.path.rsplit("/", 1)[1].split(".")[0]) for entry in run.store.list(prefix)}
    todo = [index for index in range(units) if index not in done]
    for entry in list(run.store.list(run.path(phase.name, "failures/"))):
        run.store.delete(entry.path)
    return todo


def is_committed(phase: AnyPhase, run: RunFolder) -> bool:
    return run.store.size(run.path(phase.name, "COMMIT.json")) is not None


def run_task(phase: MapPhase, run: RunFolder, index: int) -> dict[str, Any]:
    """Does one task of a map phase and returns its receipt, or a failure {task, failed: message}."""
    return _attempt(phase, run, index, lambda scratch: phase.body(run, read_task(phase, run, index), scratch))


def run_fold(phase: ExchangePhase, run: RunFolder, bucket: int, rows: pa.Table) -> dict[str, Any]:
    """Folds one bucket of an exchange; as run_task."""
    return _attempt(phase, run, bucket, lambda scratch: phase.fold(run, bucket, rows, scratch))


def run_route(phase: ExchangePhase, run: RunFolder, index: int) -> list[tuple[int, pa.Table]]:
    """The rows of one task of an exchange, as (bucket, table) in bucket order. Nothing is committed by routing."""
    rows, buckets = phase.route(run, read_task(phase, run, index))
    if rows.schema != phase.schema:
        raise RunError(f"phase {phase.name} routed {rows.schema}, declared {phase.schema}")
    order = buckets.argsort(kind="stable")
    rows, buckets = rows.take(pa.array(order)), buckets[order]
    edges = [0, *(int(i) + 1 for i in (buckets[1:] != buckets[:-1]).nonzero()[0]), len(buckets)]
    return [(int(buckets[a]), rows.slice(a, b - a)) for a, b in pairwise(edges) if b > a]


def _attempt(phase: AnyPhase, run: RunFolder, index: int, work: Callable[[Path], Result]) -> dict[str, Any]:
    """Runs one unit of work with bounded retries; what cannot be finished is a failure, never an exception.

    RunError and what says that the code itself is broken go up: the run stops as asked for wrongly.
    """
    receipt_path = run.path(phase.name, f"receipts/{index:06d}.json")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            receipt = read_json(run.store, receipt_path)
            if receipt is not None:
                return receipt
            started = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="winnow-") as scratch:
                result = work(Path(scratch))
                return _publish(phase, run, index, result, started)
        except (RunError, ImportError, NameError, MemoryError):
            raise
        except TransientError as error:
            log.info("%s task %d, attempt %d: %s", phase.name, index, attempt, error)
            message = str(error)
            time.sleep(PAUSE * 2**attempt)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            log.debug("%s task %d failed\n%s", phase.name, index, traceback.format_exc())
            break
    return record_failure(phase, run, index, message)


def record_failure(phase: AnyPhase, run: RunFolder, index: int, message: str) -> dict[str, Any]:
    """Leaves failures/<task>.json, for the driver and for people; a store that cannot even take that is logged."""
    failure = {"task": index, "failed": message[:2000]}
    try:
        run.store.put(run.path(phase.name, f"failures/{index:06d}.json"), canonical_json(failure))
    except Exception as error:
        log.warning(
            "%s task %d failed (%s), and the failure could not be recorded: %s", phase.name, index, message, error
        )
    return failure


def _publish(phase: AnyPhase, run: RunFolder, index: int, result: Result, started: float) -> dict[str, Any]:
    """Uploads the files, then creates the receipt. The winner's receipt is the truth, whoever wrote it."""
    faults.point("before_data")
    files = {}
    for port, (local, path) in sorted(result.files.items()):
        files[port] = describe(local, path, result.rows.get(port))
        run.store.put(path, local)
        faults.point("after_data")
    receipt = {
        "task": index,
        "files": files,
        "counts": dict(sorted(result.counts.items())),
        "facts": result.facts,
        "seconds": {**result.seconds, "total": round(time.monotonic() - started, 4)},
    }
    path = run.path(phase.name, f"receipts/{index:06d}.json")
    faults.point("before_receipt")
    if not run.store.create(path, canonical_json(receipt)):
        winner = json.loads(run.store.read(path))
        if winner["files"] != files:
            log.warning("%s task %d gave other bytes when it ran twice: the first receipt stands", phase.name, index)
        return winner
    faults.point("after_receipt")
    return receipt


def describe(local: Path, path: str, rows: int | None) -> dict[str, Any]:
    with local.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": path, "bytes": os.path.getsize(local), "sha256": digest, "rows": rows}


def commit(phase: AnyPhase, run: RunFolder) -> dict[str, Any]:
    """Creates COMMIT.json once every unit has a receipt; raises FailedTasks while any has not."""
    path = run.path(phase.name, "COMMIT.json")
    done = read_json(run.store, path)
    if done is not None:
        return done
    header = json.loads(run.store.read(run.path(phase.name, "plan.json")))
    missing: list[int] = []
    totals: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for index in range(header["units"]):
        receipt = read_json(run.store, run.path(phase.name, f"receipts/{index:06d}.json"))
        if receipt is None:
            missing.append(index)
            continue
        totals.update(receipt["counts"])
        seconds.update(receipt["seconds"])
    if missing:
        raise FailedTasks(phase.name, {index: _failure(phase, run, index) for index in missing})
    check_conservation(phase.name, totals)
    value = {
        "phase": phase.name,
        "tasks": header["units"],
        "counts": dict(sorted(totals.items())),
        "seconds": {name: round(value, 3) for name, value in sorted(seconds.items())},
    }
    faults.point("before_commit")
    run.store.create(path, canonical_json(value))
    faults.point("after_commit")
    return json.loads(run.store.read(path))


def _failure(phase: AnyPhase, run: RunFolder, index: int) -> str:
    failure = read_json(run.store, run.path(phase.name, f"failures/{index:06d}.json"))
    return failure["failed"] if failure else "its worker died before it could say why"


def check_conservation(where: str, counts: Counter[str] | dict[str, int]) -> None:
    """in == kept + dropped + dead, wherever a phase counts documents. Raises RunError: nothing may be lost."""
    if "in" not in counts:
        return
    out = counts.get("kept", 0) + sum(n for key, n in counts.items() if key.startswith(("dropped/", "dead/")))
    if counts["in"] != out:
        raise RunError(f"{where}: {counts['in']} documents came in but {out} are accounted for: {dict(counts)}")


def read_json(store: Store, path: str) -> Any:
    """The JSON at a path, or None where there is none."""
    try:
        return json.loads(store.read(path))
    except FileNotFoundError:
        return None
