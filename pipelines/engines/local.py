"""The local engine: a pool of processes. The default on a laptop, and the oracle that other engines are tested against.

A worker that dies takes nothing with it: its task has no receipt, so it is tried again, alone, and counts as failed
only when it has killed its worker three times.
"""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines import commit
from pipelines.engines.base import Engine
from pipelines.folder import RunFolder
from pipelines.phase import AnyPhase, ExchangePhase, is_exchange
from pipelines.progress import Progress
from pipelines.verbs import concat

log = logging.getLogger("winnow")

DEATHS = 3  # of workers on one task, the last ones alone, before the task counts as failed
PRELOAD = ["pipelines.engines.preload"]  # imported once in the fork server, so that workers start at once


class LocalEngine(Engine):
    """workers: processes. Each runs one task at a time."""

    name = "local"

    def __init__(self, workers: int):
        self.workers = workers

    def execute(self, phases: Sequence[AnyPhase], run: RunFolder, progress: Progress) -> None:
        with Pool(self.workers) as pool, tempfile.TemporaryDirectory(prefix="winnow-exchange-") as spill:
            for phase in phases:
                if commit.is_committed(phase, run):
                    continue
                header = commit.write_plan(phase, run)
                todo = commit.pending(phase, run, header["units"])
                progress.start(phase.name, header["units"], header["units"] - len(todo))
                if is_exchange(phase):
                    if todo:
                        self._exchange(phase, run, header, todo, pool, Path(spill) / phase.name, progress)
                else:
                    arguments = {index: (phase, run, index) for index in todo}
                    for index, receipt in pool.each(commit.run_task, arguments):
                        progress.done(receipt or commit.record_failure(phase, run, index, DIED))
                progress.finish()
                commit.commit(phase, run)

    def _exchange(
        self,
        phase: ExchangePhase,
        run: RunFolder,
        header: dict[str, Any],
        todo: list[int],
        pool: "Pool",
        spill: Path,
        progress: Progress,
    ) -> None:
        """Routes every task into one Arrow file each, then folds the buckets that have no receipt yet."""
        spill.mkdir()
        routing = {index: (phase, run, index, spill) for index in range(header["tasks"])}
        routed: dict[int, list[int]] = {}
        for index, buckets in pool.each(route_to_file, routing):
            if buckets is None:
                raise_lost_route(phase, run, todo)
            routed[index] = buckets
            progress.tick()
        folding = {
            bucket: (
                phase,
                run,
                bucket,
                [(spill / f"{i}.arrow", routed[i].index(bucket)) for i in sorted(routed) if bucket in routed[i]],
            )
            for bucket in todo
        }
        for bucket, receipt in pool.each(fold_from_files, folding):
            progress.done(receipt or commit.record_failure(phase, run, bucket, DIED))


DIED = f"its worker died {DEATHS} times"


def raise_lost_route(phase: AnyPhase, run: RunFolder, todo: list[int]) -> None:
    for bucket in todo:
        commit.record_failure(phase, run, bucket, "a routing task died, so no bucket is whole")
    commit.commit(phase, run)


def route_to_file(phase: ExchangePhase, run: RunFolder, index: int, spill: Path) -> list[int]:
    """Routes one task into spill/<index>.arrow, one record batch a bucket; returns the buckets in batch order."""
    parts = commit.run_route(phase, run, index)
    with pa.OSFile(str(spill / f"{index}.arrow"), "wb") as sink, pa.ipc.new_file(sink, phase.schema) as writer:
        for _, table in parts:
            writer.write_batch(table.combine_chunks().to_batches()[0])
    return [bucket for bucket, _ in parts]


def fold_from_files(
    phase: ExchangePhase, run: RunFolder, bucket: int, where: Iterable[tuple[Path, int]]
) -> dict[str, Any]:
    batches = []
    for path, number in where:
        with pa.memory_map(str(path)) as source:
            batches.append(pa.Table.from_batches([pa.ipc.open_file(source).get_batch(number)]))
    return commit.run_fold(phase, run, bucket, concat(batches, phase.schema))


class Pool:
    """Processes from a fork server, restarted when one dies. Nothing starts before the first call."""

    def __init__(self, workers: int):
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._stop(now=kind is not None)

    def each(self, function: Callable[..., Any], arguments: dict[int, tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """(key, function(*arguments)) as they end; (key, None) for one whose workers kept dying.

        An exception of the function goes up. When a worker dies, what was running is tried again one at a time,
        so that only the guilty one can be found guilty.
        """
        waiting: list[int] = list(reversed(arguments))
        suspects: list[int] = []
        deaths = dict.fromkeys(arguments, 0)
        running: dict[Future[Any], int] = {}
        while waiting or suspects or running:
            alone = bool(suspects)
            while (suspects if alone else waiting) and len(running) < (1 if alone else self._workers):
                key = (suspects if alone else waiting).pop()
                try:
                    with without_interrupt():
                        running[self._start().submit(function, *arguments[key])] = key
                except BrokenProcessPool:
                    self._stop(now=True)
                    (suspects if alone else waiting).append(key)
            done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            broken = False
            for future in done:
                try:
                    yield running[future], future.result()
                except BrokenProcessPool:
                    broken = True
                    continue
                del running[future]
            if not broken:
                continue
            self._stop(now=True)
            for key in running.values():
                deaths[key] += 1
                log.warning("a worker died during task %d (%d of at most %d times)", key, deaths[key], DEATHS)
                if deaths[key] < DEATHS or len(running) > 1:
                    suspects.append(key)
                else:
                    yield key, None
            running = {}

    def _start(self) -> ProcessPoolExecutor:
        if self._executor is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(PRELOAD)
            self._executor = ProcessPoolExecutor(
                self._workers, mp_context=context, initializer=_worker, initargs=(dict(os.environ),)
            )
        return self._executor

    def _stop(self, now: bool) -> None:
        if self._executor is None:
            return
        processes = list((self._executor._processes or {}).values())
        if now:
            for process in processes:
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None


@contextmanager
def without_interrupt() -> Iterator[None]:
    """Ctrl-C waits: one in the middle of starting a worker would leave it without its queue, and loud about it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # first, because starting it lifts the mask below
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    # What is started meanwhile inherits the mask: a fork server that is still importing would die of the Ctrl-C.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _worker(environment: dict[str, str]) -> None:
    os.environ.clear()  # the fork server's is of when it started: credentials may have changed since
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    """A driver that was killed leaves no worker behind."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        multiprocessing.connection.wait([driver.sentinel])
        os._exit(1)
