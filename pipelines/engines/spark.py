"""The spark engine: each phase is one Spark job in one application.

    range ─▶ mapInArrow(run_tasks) ─▶ outcomes                                                        (a map phase)
    range ─▶ mapInArrow(route) ─▶ chunks by bucket ─▶ sorted ─▶ mapInArrow(fold_buckets) ─▶ outcomes  (an exchange)

What Spark moves is task numbers, outcomes and chunks of narrow rows; workers read and write bytes straight from and to
the store. Success is judged by receipts, so tasks that Spark tries again, runs twice or loses change nothing.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, cast

import pyarrow as pa
from pyspark import AccumulatorParam, TaskContext
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (what everyone calls it)
from pyspark.util import inheritable_thread_target

from manifests.errors import RunError
from pipelines import commit
from pipelines.engines.base import Engine
from pipelines.engines.notes import leave_note, raise_noted
from pipelines.engines.spark_session import check_options, first_line, open_session
from pipelines.folder import RunFolder
from pipelines.phase import AnyPhase, ExchangePhase, MapPhase, is_exchange
from pipelines.progress import Progress
from pipelines.verbs import concat

log = logging.getLogger("winnow")

MAX_PARTITIONS = 20_000  # Spark tasks of one job; above it one Spark task runs several of ours, one after the other
CHUNK_ROWS = 1 << 16  # at most, of one bucket in one row of the exchange: a few MB
BATCH_BYTES = 16 << 20  # of chunks that a routing worker hands over at once
SECONDS_A_LOOK = 0.3  # between looks at what has come in, for progress
TRIES = 4  # of one Spark task, where nothing else is configured: Spark's own default
FAILURES_TOLD = 1_000  # one by one, when a whole job ends
NOT_THERE = re.compile(r"No module named '(manifests|pipelines|stages)")
BROKEN = (ImportError, NameError)  # the code itself: no other try can help

OUTCOME = pa.schema([pa.field("outcome", pa.string())])
CHUNK = pa.schema([pa.field("place", pa.int32()), pa.field("chunk", pa.binary())])


class SparkEngine(Engine):
    """workers: cores used on this machine, unless `native` (spark-submit's options) or a session says where to run."""

    name = "spark"

    def __init__(self, workers: int, native: Sequence[str] = ()):
        self.workers, self.native = workers, tuple(native)
        check_options(self.native)

    def execute(self, phases: Sequence[AnyPhase], run: RunFolder, progress: Progress) -> None:
        todo = [phase for phase in phases if not commit.is_committed(phase, run)]
        if not todo:  # nothing to start Spark for
            return
        with open_session(self.workers, self.native, progress) as spark:
            run_phases(spark, todo, run, progress)


def run_phases(spark: SparkSession, phases: Sequence[AnyPhase], run: RunFolder, progress: Progress) -> None:
    """Runs what has not committed of these phases, in order, on a session that is there."""
    for phase in phases:
        if commit.is_committed(phase, run):
            continue
        header = commit.write_plan(phase, run)
        units = commit.pending(phase, run, header["units"])
        progress.start(phase.name, header["units"], header["units"] - len(units))
        if units:
            Job(spark, phase, run, units, header).run(progress)
        progress.finish()
        mirror(spark, phase.name, commit.commit(phase, run)["counts"])


class Job:
    """One phase on Spark. units: the tasks, or buckets, that have no receipt yet."""

    def __init__(
        self, spark: SparkSession, phase: AnyPhase, run: RunFolder, units: list[int], header: Mapping[str, Any]
    ):
        self._spark, self._phase, self._run = spark, phase, run
        # A range says in a few bytes what a list of a million numbers says in as many.
        self._units: Sequence[int] = range(header["units"]) if len(units) == header["units"] else units
        self._tasks = int(header["tasks"])
        self._group = f"{phase.name}-{run.fingerprints[phase.name]}"
        self._connect = not hasattr(spark, "_jsparkSession")  # Spark Connect: no context, so no accumulators
        self._live = None if self._connect else spark.sparkContext.accumulator([], Outcomes())
        self._reported: set[int] = set()

    def run(self, progress: Progress) -> None:
        """Runs the job to its end. Raises what no other try can help; what else went wrong, receipts will tell."""
        frame = self._exchanged(self._phase) if is_exchange(self._phase) else self._mapped(cast(MapPhase, self._phase))
        with ThreadPoolExecutor(1) as threads:
            job = threads.submit(inheritable_thread_target(self._spark)(self._collect), frame)
            try:
                while not wait([job], SECONDS_A_LOOK).done:
                    self._report(self._live.value[len(self._reported) :] if self._live else [], progress)
            except KeyboardInterrupt:
                self._cancel()
                raise
            finally:
                if self._live:
                    self._live.value.clear()  # PySpark holds accumulators for as long as the session lives
        error = job.exception()
        if error is None:
            self._report(job.result(), progress)
            self._settle(job.result())
            return
        raise_noted(self._phase, self._run, error)
        if NOT_THERE.search(str(error)):
            raise RunError(
                f"Spark's executors lack Winnow ({first_line(error)}): install winnow-vlm in the Python that they run, "
                "which PYSPARK_PYTHON names"
            ) from error
        log.warning("Spark gave up on phase %s: %s", self._phase.name, first_line(error))
        self._tell_failures(f"the Spark job ended before it was done: {first_line(error)}")

    def _mapped(self, phase: MapPhase) -> DataFrame:
        work = partial(run_tasks, phase, self._run, self._units, self._tries(), self._live)
        return self._numbers(len(self._units)).mapInArrow(work, "outcome string")

    def _exchanged(self, phase: ExchangePhase) -> DataFrame:
        """Every task is routed again, to the buckets without a receipt only; one number more stands for the ends."""
        route = partial(route_tasks, phase, self._run, self._units, self._tasks)
        fold = partial(fold_buckets, phase, self._run, self._units, self._tries(), self._live)
        return (
            self._numbers(self._tasks + 1)
            .mapInArrow(route, "place int, chunk binary")
            .repartitionById(min(len(self._units), MAX_PARTITIONS), "place")
            .sortWithinPartitions("place", F.col("chunk").isNull())
            .mapInArrow(fold, "outcome string")
        )

    def _numbers(self, count: int) -> DataFrame:
        """0..count-1, a partition each: the explicit number keeps Spark from putting small rows together."""
        return self._spark.range(0, count, 1, min(count, MAX_PARTITIONS))

    def _collect(self, frame: DataFrame) -> list[dict[str, Any]]:
        if self._connect:
            self._spark.addTag(self._group)
        else:
            description = f"winnow {self._phase.name}: {len(self._units)} to do"
            self._spark.sparkContext.setJobGroup(self._group, description, interruptOnCancel=True)
        return [json.loads(row.outcome) for row in frame.collect()]

    def _cancel(self) -> None:
        if self._connect:
            self._spark.interruptTag(self._group)
        else:
            self._spark.sparkContext.cancelJobGroup(self._group)

    def _tries(self) -> int:
        """How often Spark tries a task. On this machine that is in the master's address: local[2,4]."""
        if self._connect:
            return TRIES
        context = self._spark.sparkContext
        here = re.fullmatch(r"local(\[[^,\]]+(,(\d+))?\])?", context.master or "")
        return int(here[3] or 1) if here else int(context.getConf().get("spark.task.maxFailures", str(TRIES)) or TRIES)

    def _report(self, outcomes: Sequence[dict[str, Any]], progress: Progress) -> None:
        for outcome in outcomes:
            if outcome["task"] not in self._reported:
                self._reported.add(outcome["task"])
                progress.done(outcome)
        progress.tick()

    def _settle(self, outcomes: Sequence[dict[str, Any]]) -> None:
        """RunError where the executors write elsewhere than the driver reads: of all failures and one success."""
        failed = [outcome for outcome in outcomes if "failed" in outcome]
        for outcome in [*failed, *(each for each in outcomes[:1] if each not in failed)]:
            folder = "failures" if "failed" in outcome else "receipts"
            if self._run.store.size(self._run.path(self._phase.name, f"{folder}/{outcome['task']:06d}.json")) is None:
                what = f" (task {outcome['task']} there: {outcome['failed']})" if "failed" in outcome else ""
                raise RunError(
                    f"Spark's executors have another {self._run.output}, or cannot write to it: "
                    f"give a bucket, or a folder that all machines share{what}"
                )

    def _tell_failures(self, message: str) -> None:
        """Says of tasks that left neither receipt nor failure why not: of so many as someone may look at."""
        store, path = self._run.store, partial(self._run.path, self._phase.name)
        for unit in self._units[:FAILURES_TOLD]:
            if all(store.size(path(f"{folder}/{unit:06d}.json")) is None for folder in ("receipts", "failures")):
                commit.record_failure(self._phase, self._run, unit, message)


class Outcomes(AccumulatorParam[list[dict[str, Any]]]):
    """Brings outcomes to the driver as tasks end, for progress only: a task that ran twice is there twice."""

    def zero(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return []

    def addInPlace(self, value1: list[dict[str, Any]], value2: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802
        value1.extend(value2)
        return value1


def mirror(spark: SparkSession, phase: str, counts: Mapping[str, int]) -> Observation | None:
    """Shows a committed phase's totals as a Spark observation, for listeners: `decide/dropped/image.short_side.min`.

    Metrics gathered while tasks run would count a repeated task twice; these are the receipts' sums.
    """
    if not counts:
        return None
    observation = Observation(f"winnow {phase}")
    metrics = [F.max(F.lit(number)).alias(f"{phase}/{name}") for name, number in counts.items()]
    spark.range(0, 1, 1, 1).observe(observation, *metrics).collect()
    return observation


# What follows runs in Spark's Python workers.


def run_tasks(
    phase: MapPhase, run: RunFolder, units: Sequence[int], tries: int, live: Any, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for place in numbers(batches):
        yield attempt(phase, run, units[place], tries, live, partial(commit.run_task, phase, run, units[place]))


def route_tasks(
    phase: ExchangePhase, run: RunFolder, units: Sequence[int], tasks: int, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """(place of the bucket in `units`, chunk of its rows); after them, sorted, comes one null chunk a bucket: its end.

    A worker cannot tell a stream that was cut off from one that ended, so a bucket without its end is not whole.
    """
    places = units if isinstance(units, range) else {bucket: place for place, bucket in enumerate(units)}
    for task in numbers(batches):
        if task == tasks:
            yield pa.record_batch([pa.array(range(len(units)), pa.int32()), pa.nulls(len(units), pa.binary())], CHUNK)
            continue
        if tries_before():
            raise_noted(phase, run)
        try:
            parts = commit.run_route(phase, run, task)
        except (RunError, *BROKEN) as error:
            leave_note(phase, run, error)
            raise
        found: list[tuple[int, bytes]] = []
        size = 0
        for bucket, table in parts:
            if bucket not in places:
                continue
            place = bucket if isinstance(places, range) else places[bucket]
            for batch in table.combine_chunks().to_batches(CHUNK_ROWS):
                found.append((place, batch.serialize().to_pybytes()))
                size += len(found[-1][1])
            if size >= BATCH_BYTES:
                yield chunk_batch(found)
                found, size = [], 0
        if found:
            yield chunk_batch(found)


def chunk_batch(found: list[tuple[int, bytes]]) -> pa.RecordBatch:
    return pa.record_batch([pa.array([p for p, _ in found], pa.int32()), pa.array([c for _, c in found])], CHUNK)


def fold_buckets(
    phase: ExchangePhase, run: RunFolder, units: Sequence[int], tries: int, live: Any, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Folds each bucket once its end has come."""
    chunks: list[pa.Table] = []
    for batch in batches:
        for place, chunk in zip(batch.column(0).to_pylist(), batch.column(1), strict=True):
            if chunk.is_valid:
                rows = pa.ipc.read_record_batch(chunk.as_buffer(), phase.schema)
                chunks.append(pa.Table.from_batches([rows]))
                continue
            rows = concat(chunks, phase.schema)
            chunks = []
            yield attempt(
                phase, run, units[place], tries, live, partial(commit.run_fold, phase, run, units[place], rows)
            )
    if chunks:
        raise OSError(f"phase {phase.name}: the exchange ended in the middle of a bucket")


def numbers(batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
    for batch in batches:
        yield from batch.column(0).to_pylist()


def attempt(
    phase: AnyPhase, run: RunFolder, unit: int, tries: int, live: Any, work: Callable[[], dict[str, Any]]
) -> pa.RecordBatch:
    """The outcome of one task or bucket: {task, counts} or {task, failed}.

    Spark's last try of a task whose worker died in all tries before is not spent on it but on saying so: a failure
    of Spark's own would end the job, and with it the tasks that have nothing to do with it.
    """
    failures = tries_before()
    if failures:
        raise_noted(phase, run)
    if failures >= max(tries - 1, 1):
        receipt = commit.read_json(run.store, run.path(phase.name, f"receipts/{unit:06d}.json"))
        receipt = receipt or commit.record_failure(phase, run, unit, f"its worker died {failures} times")
    else:
        try:
            receipt = work()
        except (RunError, *BROKEN) as error:
            leave_note(phase, run, error)
            raise
    outcome = {name: receipt[name] for name in ("task", "counts", "failed") if name in receipt}
    if live is not None:
        live.add([outcome])
    return pa.record_batch([pa.array([json.dumps(outcome)])], OUTCOME)


def tries_before() -> int:
    """How often Spark has tried the task under way before this time."""
    context = TaskContext.get()
    return context.attemptNumber() if context else 0
