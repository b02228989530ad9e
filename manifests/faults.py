"""Faults on purpose, so that tests can show what the commit protocol survives: kills, busy stores, lost replies.

Code passes named points (`point("before_receipt")`; every attempt of a Store passes `store.put` before it and
`store.put.done` after it has happened). Nothing happens there unless a schedule is armed, by `armed(...)` in this
process or by the environment in every process that inherits it.

    schedule   POINT:ACTION[@PASSAGE][xTIMES | %SHARE], several separated by commas or white space
               before_receipt:kill            the first passage of a process kills it with SIGKILL
               store.create.done:busy@2       the second create of the store happens, but its reply is lost
               store.put:busy@1x3             the first three attempts are answered 503
               store.*:busy%0.05              each passage with this probability, decided by seed, point and passage

    points     those in the code; of every attempt of a Store `store.<operation>` and `store.<operation>.done`; in a
               folder `store.partial`, when all is written but has no name yet; `files.<operation>` of a FaultyStore
    actions    kill    SIGKILL to this process                       crash   raises Crash: death within one process
               busy    TransientError: 503, timeout, lost reply       full    OSError ENOSPC: the disk is full
               fail    RuntimeError: a defect in a stage              conflict, race, stale: see FaultyStore

    WINNOW_FAULTS       the schedule, or @FILE: a file that holds it, read again at every point
    WINNOW_FAULTS_SEED  an integer, 0 unless given
    WINNOW_FAULTS_DIR   a folder in which firings are claimed: a fault then fires TIMES in all processes together, so
                        that whoever is started again after a kill goes on; without it each process counts for itself
"""

import contextlib
import errno
import fnmatch
import hashlib
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import TransientError

_FAULT = re.compile(r"(?P<point>[\w.*/-]+):(?P<action>[a-z]+?)(@(?P<at>\d+))?(x(?P<times>\d+|\*)|%(?P<share>[\d.]+))?")


class Crash(BaseException):
    """Death within one process: no handler of Exception may survive it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """at: the passage it fires on first, from 1. times: on how many in a row, None for ever. share: instead, of all."""

    point: str
    action: str
    at: int = 1
    times: int | None = 1
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Fault":
        found = _FAULT.fullmatch(text)
        if found is None:
            raise ValueError(f"fault {text!r} is not POINT:ACTION[@PASSAGE][xTIMES|%SHARE]")
        if found["action"] not in KNOWN:
            raise ValueError(f"fault {text!r}: unknown action; known: {', '.join(KNOWN)}")
        share = float(found["share"]) if found["share"] else None
        times = None if share is not None or found["times"] == "*" else int(found["times"] or 1)
        return cls(found["point"], found["action"], int(found["at"] or 1), times, share)

    def fires(self, passage: int, seed: int) -> bool:
        if passage < self.at:
            return False
        if self.share is not None:
            digest = hashlib.sha256(f"{seed} {self.point} {self.action} {passage}".encode()).digest()
            return int.from_bytes(digest[:8]) < self.share * 2**64
        return self.times is None or passage < self.at + self.times


class Schedule:
    """Faults with their passages counted; the same calls in the same order fire the same faults."""

    def __init__(self, text: str = "", seed: int = 0, claims: Path | None = None):
        self.text, self.seed, self._claims = text, seed, claims
        self.faults = tuple(Fault.parse(part) for part in re.split(r"[,\s]+", text) if part)
        self._passages: Counter[Fault] = Counter()
        self.fired: list[tuple[str, str]] = []  # (point, action), in order

    def __reduce__(self) -> tuple[type["Schedule"], tuple[str, int, Path | None]]:
        return (Schedule, (self.text, self.seed, self._claims))

    def action(self, point: str) -> str | None:
        """Counts one passage of a point and says what is to happen there, or None."""
        due = None
        for fault in self.faults:
            if fnmatch.fnmatchcase(point, fault.point):
                self._passages[fault] += 1
                if due is None and self._fires(fault):
                    due = fault.action
        if due is not None:
            self.fired.append((point, due))
        return due

    def passes(self, point: str) -> str | None:
        """As action, and does it, unless it is one that only the caller can do (see OUTCOMES): that one is returned."""
        action = self.action(point)
        if action in ACTIONS:
            ACTIONS[action](point)
        return action

    def _fires(self, fault: Fault) -> bool:
        passage = self._passages[fault]
        if self._claims is None or fault.times is None:
            return fault.fires(passage, self.seed)
        return passage >= fault.at and self._claim(fault)

    def _claim(self, fault: Fault) -> bool:
        """Takes one of the fault's firings, whichever process comes first. The claim outlives a killed process."""
        assert self._claims is not None
        self._claims.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(repr(fault).encode()).hexdigest()[:12]
        for number in range(fault.times or 0):
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._claims / f"{name}-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                return True
        return False


def _kill(point: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _crash(point: str) -> None:
    raise Crash(point)


def _busy(point: str) -> None:
    raise TransientError(f"injected at {point}: 503 Service Unavailable")


def _full(point: str) -> None:
    raise OSError(errno.ENOSPC, "injected: no space left on device", point)


def _fail(point: str) -> None:
    raise RuntimeError(f"injected at {point}")


ACTIONS: dict[str, Callable[[str], None]] = {
    "kill": _kill,
    "crash": _crash,
    "busy": _busy,
    "full": _full,
    "fail": _fail,
}
OUTCOMES = frozenset({"conflict", "race", "stale"})  # what FaultyStore does itself
KNOWN = tuple(sorted({*ACTIONS, *OUTCOMES}))

_IN_ENVIRONMENT = os.environ.get("WINNOW_FAULTS")  # when this process started
_armed: Schedule | None = None
_environment: Schedule | None = None


def point(name: str) -> str | None:
    """A place where a test may let something go wrong; free of effect, and almost of cost, unless a schedule is armed.

    Returns an action of OUTCOMES where one is due, which a FaultyStore does itself.
    """
    if _armed is not None:
        return _armed.passes(name)
    if _IN_ENVIRONMENT is not None:
        schedule = _from_environment(_IN_ENVIRONMENT)
        return schedule.passes(name) if schedule is not None else None
    return None


@contextmanager
def armed(schedule: str | Schedule, seed: int = 0) -> Iterator[Schedule]:
    """Arms a schedule in this process only, in place of the environment's; yields it, for what has fired."""
    global _armed
    before, _armed = _armed, schedule if isinstance(schedule, Schedule) else Schedule(schedule, seed)
    try:
        yield _armed
    finally:
        _armed = before


def _from_environment(text: str) -> Schedule | None:
    """The environment's schedule; its passages are counted from the start again when its text changes."""
    global _environment
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except FileNotFoundError:
            return None
    if _environment is None or _environment.text != text:
        claims = os.environ.get("WINNOW_FAULTS_DIR")
        seed = int(os.environ.get("WINNOW_FAULTS_SEED", "0"))
        _environment = Schedule(text, seed, Path(claims) if claims else None)
    return _environment
