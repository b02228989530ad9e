"""The parent's side of the sandbox: runs a pure function on untrusted bytes in one long-lived child process.

A record that makes the child crash, hang or eat memory becomes a RecordError; the others keep their results:

    parent                             child
    lays 64 records on the board ──▶   for each: flight recorder, limits, function, reply on the board
    reads the replies            ◀──   one byte: finished
    the child died: the recorder names the guilty record; it is tried once more, alone, in a fresh child

Trying it again makes a verdict a property of the record: neither what an earlier record did to the child's memory
nor a kill from outside can make a good record dead.
"""

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import RecordError, RunError
from stages.sandbox.board import COMMAND, FAILED, OUT_OF_MEMORY, READY, Board, unnamed_file

log = logging.getLogger("winnow")

START_SECONDS = 60.0  # for the child to import its target
# The child needs no credentials: it gets these variables only.
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR")


@dataclass(frozen=True)
class Limits:
    """What one record may use, and how records are sent. A record never gets more than these, alone or in a chunk.

    memory_bytes: of the child's private writable memory. cpu_seconds: of one record, then DecoderTimeout.
    wall_seconds: of one record that waits without computing; far above cpu_seconds, so that a busy machine decides
    nothing. reply_bytes: the longest reply. chunk_records, chunk_bytes: the most that is sent at once (one record
    larger than that goes alone). recycle: records after which the child is replaced, against leaks.
    open_files: whether the target may open files and sockets.
    """

    memory_bytes: int = 1 << 30
    cpu_seconds: float = 20.0
    wall_seconds: float = 300.0
    reply_bytes: int = 64 << 10
    chunk_records: int = 64
    chunk_bytes: int = 8 << 20
    recycle: int = 20_000
    open_files: bool = False


@dataclass(slots=True)
class Death:
    """How a child died. certain: of the record's own doing, so that trying again would tell nothing.

    record: the one of the chunk that it was on, as far as the flight recorder can be believed; -1: on none.
    """

    reason: str
    message: str
    certain: bool = False
    record: int = -1

    def error(self) -> RecordError:
        return RecordError(self.reason, self.message)


class Sandbox:
    """Runs `target` ("package.module:function", called as function(data, **options)) on records in one child.

    The function takes bytes and returns bytes. What it raises comes back as a RecordError, with the reason that it
    stated or else the name of the exception's class. Reasons of the sandbox itself: DecoderCrashed, DecoderTimeout,
    DecoderOutOfMemory, ReplyTooLarge.

    The child starts with the first record. A Sandbox may be shared by threads (they wait for one another) and survives
    a fork (each process gets a child of its own). Use it as a context manager, or close it.
    """

    def __init__(self, target: str, options: Mapping[str, Any] | None = None, limits: Limits | None = None):
        self.target, self.options, self.limits = target, dict(options or {}), limits or Limits()
        self.starts = 0  # children started so far
        self.records = 0  # results given so far
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._board: Board | None = None
        self._commands = self._answers = self._life = -1  # our ends of the pipes
        self._errors = -1  # a file of what the child says on its standard error
        self._served = 0  # records, by this child
        _LIVE.add(self)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *rest: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return None if self._process is None else self._process.pid

    def map(self, payloads: Sequence[bytes]) -> list[bytes | RecordError]:
        """One reply or RecordError for each payload, in order. Raises RunError where the child cannot run at all."""
        with self._lock:
            try:
                results = [result for chunk in self._chunks(payloads) for result in self._chunk(chunk)]
                self.records += len(results)
                return results
            except BaseException:
                self._stop(kill=True)  # an interrupt came in mid-chunk: what the child does now is of no use
                raise

    def close(self) -> None:
        """Ends the child and waits for it. The sandbox may be used again; it then starts another."""
        with self._lock:
            self._stop(kill=False)
            if self._board is not None:
                self._board.close()
                self._board = None

    def _chunks(self, payloads: Sequence[bytes]) -> Iterator[list[bytes]]:
        chunk: list[bytes] = []
        size = 0
        for payload in payloads:
            if chunk and (len(chunk) == self.limits.chunk_records or size + len(payload) > self.limits.chunk_bytes):
                yield chunk
                chunk, size = [], 0
            chunk.append(payload)
            size += len(payload)
        if chunk:
            yield chunk

    def _chunk(self, payloads: list[bytes]) -> list[bytes | RecordError]:
        results: list[bytes | RecordError] = []
        while len(results) < len(payloads):
            rest = payloads[len(results) :]
            if len(rest[0]) > self.limits.memory_bytes:  # in one chunk such a record is alone
                message = f"{len(rest[0]):,} bytes, more than the {self.limits.memory_bytes:,} bytes of memory"
                results.append(RecordError("DecoderOutOfMemory", message))
                continue
            done, death = self._send(rest)
            results += done
            if death is None:
                continue
            if death.record == len(done) < len(rest):
                results.append(self._again(rest[len(done)], death))
            else:  # it died between records, or wrote over the recorder
                results += [self._alone(payload) for payload in rest[len(done) :]]
        return results

    def _alone(self, payload: bytes) -> bytes | RecordError:
        done, death = self._send([payload])
        return done[0] if death is None else self._again(payload, death)

    def _again(self, payload: bytes, death: Death) -> bytes | RecordError:
        """The verdict on the record that the child died on."""
        if death.certain:
            return death.error()
        done, second = self._send([payload])
        return done[0] if second is None else second.error()

    def _send(self, payloads: list[bytes]) -> tuple[list[bytes | RecordError], Death | None]:
        """Runs one chunk; (results of the records before the first without one, how the child died or None)."""
        self._start()
        assert self._board is not None
        limits = self.limits
        least = limits.chunk_bytes + limits.chunk_records * limits.reply_bytes
        self._board.write_inputs(payloads, limits.reply_bytes, least)
        try:
            os.write(self._commands, COMMAND.pack(len(payloads), self._board.size))
            death = self._wait()
        except BrokenPipeError:
            death = self._died()
        whole = len(payloads)
        if death is not None:
            death.record, _ = self._board.current()
            whole = death.record if 0 <= death.record < whole else 0
        results: list[bytes | RecordError] = []
        try:
            results.extend(result_of(*self._board.reply(number)) for number in range(whole))
        except ValueError:
            self._stop(kill=True)
            death = Death("DecoderCrashed", "it left memory behind that makes no sense")
        self._served += len(results)
        if self._process is not None and self._served >= limits.recycle:
            self._stop(kill=False)
        return results, death

    def _wait(self) -> Death | None:
        """Until the child has finished the chunk, died, or spent too long on one record."""
        assert self._board is not None
        began = time.monotonic()
        while True:
            _, started = self._board.current()
            left = max(began, started) + self.limits.wall_seconds - time.monotonic()
            if left <= 0:
                self._stop(kill=True)
                return Death("DecoderTimeout", f"no result after {self.limits.wall_seconds:g} seconds")
            if self._answered(left):
                return None if os.read(self._answers, 1) else self._died()

    def _answered(self, seconds: float) -> bool:
        """Whether the child says something, or dies, within this time."""
        poller = select.poll()
        poller.register(self._answers, select.POLLIN)
        return bool(poller.poll(seconds * 1000 + 1))

    def _died(self) -> Death:
        """Reaps a child that ended by itself and says how."""
        assert self._process is not None
        code = self._process.wait()
        self._stop(kill=True)
        if code == -signal.SIGPROF:
            return Death("DecoderTimeout", f"more than {self.limits.cpu_seconds:g} CPU seconds", certain=True)
        if code == OUT_OF_MEMORY:
            return Death("DecoderOutOfMemory", f"more than {self.limits.memory_bytes:,} bytes of memory")
        how = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
        return Death("DecoderCrashed", f"the decoder died of {how}")

    def _start(self) -> None:
        """A child that is ready, unless there is one."""
        if self._process is not None:
            return
        warn_once()
        if self._board is None:
            self._board = Board.create()
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        life, self._life = os.pipe()
        settings = {
            "target": self.target,
            "options": self.options,
            "commands": commands,
            "answers": answers,
            "board": self._board.fd,
            **{key: getattr(self.limits, key) for key in ("memory_bytes", "cpu_seconds", "reply_bytes", "open_files")},
        }
        self._errors = unnamed_file()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-S", "-Wignore", "-m", "stages.sandbox.child", json.dumps(settings)],
                stdin=life,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=(commands, answers, self._board.fd),
                env=child_environment(),
                start_new_session=True,
            )
        finally:
            for fd in (commands, answers, life):
                os.close(fd)
        self.starts += 1
        self._served = 0
        if not self._answered(START_SECONDS) or os.read(self._answers, 1) != READY:
            lines = os.pread(self._errors, 64 << 10, 0).decode(errors="replace").strip().splitlines() or ["no word"]
            self._stop(kill=True)
            raise RunError(f"the sandbox of {self.target} does not start: {lines[-1]}")

    def _stop(self, kill: bool) -> None:
        """Ends the child, if there is one, and closes what led to it."""
        process, self._process = self._process, None
        if process is not None:
            if kill:
                process.kill()
            os.close(self._commands)  # it ends when it reads the end of this pipe
            self._commands = -1
            process.wait()
        self._close_files()

    def _close_files(self) -> None:
        for name in ("_commands", "_answers", "_life", "_errors"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)

    def _after_fork(self) -> None:
        """In the forked process the child is not ours: let go of it, so that it still ends with its own parent."""
        self._lock = threading.RLock()
        self._process = None
        with contextlib.suppress(OSError):
            self._close_files()
        if self._board is not None:
            self._board.close()
            self._board = None


_LIVE: "weakref.WeakSet[Sandbox]" = weakref.WeakSet()


def _forget_all() -> None:
    for sandbox in list(_LIVE):
        sandbox._after_fork()


os.register_at_fork(after_in_child=_forget_all)


def result_of(status: int, reply: bytes) -> bytes | RecordError:
    if status != FAILED:
        return reply
    reason, message = json.loads(reply)
    return RecordError(reason, message)


def child_environment() -> dict[str, str]:
    """Where to import from, as here; one thread in each numeric library."""
    home = str(Path(__file__).parents[2])
    paths = [home, *(path or os.getcwd() for path in sys.path)]
    return {
        **{name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def warn_once() -> None:
    """macOS does not hold a process to a limit of memory."""
    if sys.platform == "darwin" and not _WARNED:
        _WARNED.append(True)
        log.warning("macOS cannot limit a process's memory: a hostile picture may use more than it should")


_WARNED: list[bool] = []
