"""The beam engine: everything that is not committed yet runs as one Beam job, a named composite for each phase.

    signal ─▶ plan ─▶ task numbers ─▶ Reshuffle ─▶ run ─────────────────────────────▶ barrier ─▶ commit ─▶ signal
    signal ─▶ plan ─▶ task numbers ─▶ Reshuffle ─▶ route ─▶ GroupByKey(bucket) ─▶ fold ─▶ barrier ─▶ commit ─▶ signal

Elements are task numbers, counts and narrow rows; workers read and write bytes straight from and to the store. No step
raises: what goes wrong is a failure record or a note in the store, and a phase that cannot commit gives no signal, so
nothing after it runs. The driver then judges by receipts, as every engine does.
"""

import contextlib
import io
import logging
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, SetupOptions, StandardOptions
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from manifests.errors import FailedTasks, RunError
from pipelines import commit
from pipelines.engines.base import Engine
from pipelines.engines.notes import leave_note, note_path, raise_noted
from pipelines.folder import RunFolder
from pipelines.phase import AnyPhase, is_exchange
from pipelines.progress import Progress
from pipelines.verbs import concat

log = logging.getLogger("winnow")

# Names for "on this machine". Beam's own DirectRunner would first try to download another runner and use that.
LOCAL_RUNNERS = ("", "direct", "directrunner", "fnapi", "fnapirunner")
SECONDS_A_LOOK = 0.25  # between looks at the receipts, for progress
LOOKING_SHARE = 0.05  # of the driver's time, at most: looks become rare where a listing is slow
METRICS = "winnow"  # namespace of Beam metrics; names are phase/outcome/rule
LOST = b"lost"  # in place of the rows of a routing task that could not be done: buckets are folded whole or not at all


class BeamEngine(Engine):
    """native: Beam's own options, such as --runner=DataflowRunner. Without a runner: threads of this process."""

    name = "beam"

    def __init__(self, native: Sequence[str] = ()):
        self.native = tuple(native)
        pipeline_options(self.native)

    def execute(self, phases: Sequence[AnyPhase], run: RunFolder, progress: Progress) -> None:
        todo = [phase for phase in phases if not commit.is_committed(phase, run)]
        if not todo:
            return
        for phase in todo:
            run.store.delete(note_path(phase, run))
        job = Job(self.pipeline(todo, run))
        watch(job, todo, run, progress)
        judge(todo, run, job.error)

    def pipeline(self, phases: Sequence[AnyPhase], run: RunFolder) -> beam.Pipeline:
        """The whole job, not started."""
        options, local = pipeline_options(self.native)
        check_reachable(options, run)
        try:
            pipeline = beam.Pipeline(runner=FnApiRunner() if local else None, options=options)
        except (ValueError, RuntimeError, ImportError) as error:
            raise RunError(f"Beam refuses the options after --: {one_line(error)}") from None
        signal = pipeline | "start" >> beam.Impulse()
        for phase in phases:
            signal = signal | phase.name >> RunPhase(phase, run)
        return pipeline


def pipeline_options(native: Sequence[str]) -> tuple[PipelineOptions, bool]:
    """Beam's options, and whether they ask for a runner on this machine. RunError for what Beam does not know."""
    options = PipelineOptions(list(native))
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            known = options.get_all_options()
            unknown = sorted(set(options.get_all_options(retain_unknown_options=True)) - set(known))
    except SystemExit:  # argparse, having printed a page of usage
        raise RunError(f"Beam refuses the options after --: {complaint.getvalue().splitlines()[-1]}") from None
    strays = [word for word in native[:1] if not word.startswith("--")]
    if unknown or strays:
        raise RunError(f"Beam has no option {', '.join(f'--{name}' for name in unknown) or strays[0]}")
    local = str(options.view_as(StandardOptions).runner or "").lower() in LOCAL_RUNNERS
    given = {word.split("=")[0] for word in native}
    if local and "--direct_running_mode" not in given:
        direct = options.view_as(DirectOptions)
        direct.direct_running_mode = "multi_threading"
        if "--direct_num_workers" not in given:
            direct.direct_num_workers = 0  # as many as there are cores
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:
        setup.save_main_session = False  # every step lives in a module that workers import; nothing of the command does
    return options, local


def check_reachable(options: PipelineOptions, run: RunFolder) -> None:
    """RunError where workers in a cloud are pointed at folders of this machine: they would fill their own disks."""
    runner = str(options.view_as(StandardOptions).runner)
    for uri in (run.output, run.input, *run.homes.values()):
        if "dataflow" in runner.lower() and uri is not None and not uri.startswith(("gs://", "s3://", "az://")):
            raise RunError(
                f"{runner} works elsewhere and cannot reach {uri}: give a bucket, such as gs://my-bucket/folder"
            )


class RunPhase(beam.PTransform):
    """One phase, whole: takes the signal that it may start and gives the signal that it has committed.

    strict: where no driver will judge, as in somebody else's job, a phase that cannot commit raises.
    """

    def __init__(self, phase: AnyPhase, run: RunFolder, strict: bool = False):
        super().__init__()
        self._step = (phase, run)
        self._exchange = is_exchange(phase)
        self._commit = StrictCommit if strict else Commit

    def expand(self, signal: PCollection) -> PCollection:
        done = self._folds(signal) if self._exchange else self._tasks(signal)
        planned = signal | "planned" >> beam.Map(lambda _: (0, 0)).with_output_types(tuple[int, int])
        return (
            (planned, done)
            | "ended" >> beam.Flatten()
            | "barrier" >> beam.CombinePerKey(total)
            | "commit" >> beam.ParDo(self._commit(*self._step)).with_output_types(bytes)
        )

    def _tasks(self, signal: PCollection) -> PCollection:
        return (
            signal
            | "plan" >> beam.ParDo(Plan(*self._step)).with_output_types(int)
            | "spread" >> beam.Reshuffle()
            | "run" >> beam.ParDo(RunTask(*self._step)).with_output_types(tuple[int, int])
        )

    def _folds(self, signal: PCollection) -> PCollection:
        plan = beam.ParDo(Plan(*self._step)).with_output_types(int, buckets=int).with_outputs("buckets", main="tasks")
        planned = signal | "plan" >> plan
        chunks = (
            planned.tasks
            | "spread" >> beam.Reshuffle()
            | "route" >> beam.ParDo(Route(*self._step)).with_output_types(tuple[int, bytes])
        )
        empty = planned.buckets | "empty" >> beam.Map(lambda bucket: (bucket, b"")).with_output_types(tuple[int, bytes])
        return (
            (chunks, empty)
            | "chunks" >> beam.Flatten()
            | "exchange" >> beam.GroupByKey()
            | "fold" >> beam.ParDo(Fold(*self._step)).with_output_types(tuple[int, int])
        )


def total(counts: Iterable[int]) -> int:
    return sum(counts)


class Step(beam.DoFn):
    """What every step of a phase holds: small settings only. Stores and models are opened where it runs."""

    heeds_notes = True

    def __init__(self, phase: AnyPhase, run: RunFolder):
        super().__init__()
        self.phase: Any = phase
        self.run = run

    def process(self, element: Any) -> Iterable[Any]:
        """`outcomes` of the element. After an error none, and none of the elements still to come: the run is over."""
        if self.heeds_notes and self.run.store.size(note_path(self.phase, self.run)) is not None:
            yield from self.lost(element)
            return
        try:
            yield from self.outcomes(element)
        except Exception as error:
            log.debug("%s", traceback.format_exc())
            leave_note(self.phase, self.run, error)
            yield from self.lost(element)

    def outcomes(self, element: Any) -> Iterator[Any]:
        raise NotImplementedError

    def lost(self, element: Any) -> Iterable[Any]:
        """What to give in place of the outcomes."""
        return ()

    def count(self, receipt: Mapping[str, Any]) -> None:
        """Mirrors a receipt in Beam's metrics. A bundle that is tried again is counted once: by the try that stood."""
        counts = {"failed": 1} if "failed" in receipt else receipt["counts"]
        for name, number in counts.items():
            Metrics.counter(METRICS, f"{self.phase.name}/{name}").inc(number)


class Plan(Step):
    """Writes the plan; gives the tasks without a receipt, or all tasks and the buckets without a receipt.

    Earlier failures and notes are forgotten here.
    """

    heeds_notes = False

    def outcomes(self, element: Any) -> Iterator[Any]:
        header = commit.write_plan(self.phase, self.run)
        todo = commit.pending(self.phase, self.run, header["units"])
        if not is_exchange(self.phase):
            yield from todo
        elif todo:
            yield from range(header["tasks"])
            yield from (TaggedOutput("buckets", bucket) for bucket in todo)


class RunTask(Step):
    """Does one task, up to its receipt."""

    def outcomes(self, index: int) -> Iterator[tuple[int, int]]:
        self.count(commit.run_task(self.phase, self.run, index))
        yield 0, 1


class Route(Step):
    """One Arrow stream for each bucket that the task has rows for."""

    def outcomes(self, index: int) -> Iterator[tuple[int, bytes]]:
        for bucket, table in commit.run_route(self.phase, self.run, index):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table.combine_chunks())
            yield bucket, sink.getvalue().to_pybytes()

    def lost(self, index: int) -> Iterator[tuple[int, bytes]]:
        header = commit.write_plan(self.phase, self.run)
        return ((bucket, LOST) for bucket in range(header["buckets"]))


class Fold(Step):
    """Folds one bucket, up to its receipt. An empty chunk says that it has none yet, whether there are rows or not."""

    def outcomes(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, int]]:
        bucket, chunks = element
        tables, pending = [], False
        for chunk in chunks:
            if chunk == LOST:
                return
            if chunk:
                tables.append(pa.ipc.open_stream(chunk).read_all())
            else:
                pending = True
        if pending:
            self.count(commit.run_fold(self.phase, self.run, bucket, concat(tables, self.phase.schema)))
            yield 0, 1


class Commit(Step):
    """Commits the phase once all its units have ended, and only then gives the signal to the next."""

    def outcomes(self, element: Any) -> Iterator[bytes]:
        try:
            commit.commit(self.phase, self.run)
        except FailedTasks as failed:
            log.info("%s", failed)  # no signal: the driver finds the same
            return
        yield b""


class StrictCommit(Commit):
    """Raises what the driver would have raised."""

    def process(self, element: Any) -> Iterator[bytes]:
        raise_noted(self.phase, self.run)
        commit.commit(self.phase, self.run)
        yield b""


def judge(phases: Sequence[AnyPhase], run: RunFolder, error: BaseException | None) -> None:
    """Returns if every phase committed, whatever the job said; else raises what the first that did not is about."""
    for phase in phases:
        if commit.is_committed(phase, run):
            continue
        raise_noted(phase, run)
        if run.store.size(run.path(phase.name, "plan.json")) is None:
            raise RunError(f"the Beam job did not start phase {phase.name}: {one_line(error)}") from error
        if error is not None:
            log.error("the Beam job ended with %s: %s", type(error).__name__, one_line(error))
        commit.commit(phase, run)


def one_line(error: BaseException | None) -> str:
    if error is None:
        return "it ended without an error and without running (was it a dry run?)"
    return " ".join(str(error).split())[:500] or type(error).__name__


class Job(threading.Thread):
    """A pipeline that runs beside the driver, so that the driver can say how far it is.

    ended: what to wait for. (A join that Ctrl-C interrupts takes the thread for ended, in Python 3.11 and 3.12.)
    """

    def __init__(self, pipeline: beam.Pipeline):
        super().__init__(name="beam job", daemon=True)
        self._pipeline = pipeline
        self._result: Any = None
        self._cancelled = False
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self._result = self._pipeline.run()
            self._result.wait_until_finish()
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """Where the job runs elsewhere; on this machine its steps find the driver's note instead."""
        if self._result is not None and not self._cancelled:
            self._cancelled = True
            self._result.cancel()


def watch(job: Job, phases: Sequence[AnyPhase], run: RunFolder, progress: Progress) -> None:
    """Runs the job and reports from receipts until it ends. Ctrl-C lets the tasks under way finish, and goes up."""
    look = Watch(phases, run, progress)
    job.start()
    pause = SECONDS_A_LOOK
    try:
        while not job.ended.wait(pause):
            started = time.monotonic()
            look.look()
            pause = max(SECONDS_A_LOOK, (time.monotonic() - started) / LOOKING_SHARE)
        look.look()
    except KeyboardInterrupt:
        progress.say("stopping; the tasks under way are finished first")
        while not job.ended.is_set():
            job.cancel()
            for phase in phases:  # again and again: a phase that is being planned forgets the notes it finds
                leave_note(phase, run, InterruptedError("by the person at the driver"))
            job.ended.wait(1.0)
        raise


class Watch:
    """Tells progress from what the job leaves in the store."""

    def __init__(self, phases: Sequence[AnyPhase], run: RunFolder, progress: Progress):
        self._run, self._progress = run, progress
        self._waiting = list(reversed(phases))
        self._seen = {phase.name: set(self._receipts(phase)) for phase in phases}
        self._started = False

    def look(self) -> None:
        try:
            while self._waiting and self._look(self._waiting[-1]):
                self._waiting.pop()
                self._started = False
        except Exception as error:  # whatever it is, the job goes on
            log.info("no progress to tell: %s", error)

    def _look(self, phase: AnyPhase) -> bool:
        """Whether the phase has committed."""
        seen = self._seen[phase.name]
        if not self._started:
            header = commit.read_json(self._run.store, self._run.path(phase.name, "plan.json"))
            if header is None:
                return False
            self._started = True
            self._progress.start(phase.name, header["units"], len(seen))
        committed = commit.is_committed(phase, self._run)
        for path in self._receipts(phase):
            if path not in seen:
                seen.add(path)
                self._progress.done(commit.read_json(self._run.store, path))
        if committed:
            self._progress.finish()
        else:
            self._progress.tick()
        return committed

    def _receipts(self, phase: AnyPhase) -> list[str]:
        return [entry.path for entry in self._run.store.list(self._run.path(phase.name, "receipts/"))]
