"""CPU seconds and memory of a whole tree of processes, however its parents end.

A measured command runs under a keeper (this file as a program) that adopts every descendant whose parent has gone:

    bench ──▶ keeper ──▶ command ──▶ workers, fork servers, sandboxes, JVM
                  ▲______________________________│ adopted when orphaned, so that the kernel's accounting reaches it

The kernel adds a process's user and system time to its parent's when the parent waits for it, so what the keeper has
waited for, once nobody is left, is the whole tree. The keeper's own time is not in it. Linux only.

One case escapes that: a parent that ignores SIGCHLD (PySpark's daemon does) never waits, and the times of its children
are lost. The keeper looks at every process as it runs, and adds what it saw last of such children.
"""

import argparse
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
SECONDS_A_LOOK = 0.05  # between looks at the processes; what one does after the last look at it is missed
TICKS = os.sysconf("SC_CLK_TCK")
CHILD_ENDED = 1 << (signal.SIGCHLD - 1)  # in a mask of signals


@dataclass(frozen=True, slots=True)
class Measured:
    """cpu: user + system seconds of the tree. wall: seconds. largest, driver, others: peak resident bytes of the
    largest process, of the command's own, and of the largest one below it. output: its stdout and stderr, the end."""

    cpu: float
    wall: float
    largest: int
    driver: int
    others: int
    status: int
    output: str


class CommandFailed(Exception):
    """A measured command did not end with status 0, so its figures say nothing."""


def measure(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Measured:
    """Runs a command to its end and to that of all its descendants. CommandFailed if its status is not 0."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report, tempfile.TemporaryFile() as output:
        keeper = [sys.executable, str(Path(__file__).resolve()), report.name, "--", *command]
        subprocess.run(keeper, stdout=output, stderr=output, env={**os.environ, **(env or {})}, cwd=cwd, check=True)
        output.seek(0)
        text = output.read().decode(errors="replace")
        measured = Measured(**json.loads(Path(report.name).read_text()), output=text[-20000:])
    if measured.status:
        raise CommandFailed(f"status {measured.status} from {' '.join(command[:6])} …\n{measured.output[-3000:]}")
    return measured


def keep(command: Sequence[str]) -> dict[str, float | int]:
    """What the keeper does."""
    if ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    started = time.monotonic()
    child = subprocess.Popen(command)
    watch = Watch(child.pid)
    watch.start()
    status = child.wait()
    ended = time.monotonic()
    waited_for = set()
    while True:
        try:
            waited_for.add(os.wait()[0])
        except ChildProcessError:
            break
    watch.stop.set()
    watch.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu": used.ru_utime + used.ru_stime + watch.lost(waited_for),
        "wall": ended - started,
        "largest": used.ru_maxrss * 1024,
        "driver": watch.driver,
        "others": watch.others,
        "status": status,
    }


class Watch(threading.Thread):
    """Looks at the command's own process and at all below it: their memory, and the times that nobody will wait for."""

    def __init__(self, driver: int):
        super().__init__(daemon=True)
        self._pid = driver
        self._seen: dict[int, list[int]] = {}  # high-water marks
        self._unwaited: dict[int, float] = {}  # seconds of children of processes that ignore their end
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(SECONDS_A_LOOK):
            fields = stat_fields()
            ignoring = {}
            for pid in below(os.getpid(), fields):
                status = status_of(pid)
                self._seen.setdefault(pid, []).append(high_water(status))
                ignoring[pid] = bool(int(status.get("SigIgn", "0"), 16) & CHILD_ENDED)
            for pid in ignoring:
                if ignoring.get(int(fields[pid][1])):
                    self._unwaited[pid] = seconds(fields[pid])

    def lost(self, waited_for: set[int]) -> float:
        """Seconds of the processes that ended unwaited for: not those that outlived their parent and came to us."""
        return sum(used for pid, used in self._unwaited.items() if pid not in waited_for)

    @property
    def driver(self) -> int:
        return max(self._seen.get(self._pid, [0]))

    @property
    def others(self) -> int:
        """Of processes seen twice or more: one that is just being started still shows its parent's memory."""
        return max((max(seen[1:]) for pid, seen in self._seen.items() if pid != self._pid and seen[1:]), default=0)


def below(root: int, fields: Mapping[int, Sequence[str]]) -> list[int]:
    """Process ids below `root`, itself not among them. fields: as stat_fields."""
    found: set[int] = set()
    layer = {root}
    while layer:
        layer = {pid for pid, words in fields.items() if int(words[1]) in layer} - found
        found |= layer
    return sorted(found)


def cpu_below(root: int) -> float:
    """User and system seconds that `root`, its living descendants and all that these have waited for have used.

    For differences inside one long-lived process, where `measure` cannot be: what a fork server or a JVM did for it
    counts, what ended as an orphan elsewhere does not.
    """
    fields = stat_fields()
    return sum(seconds(fields[pid]) for pid in (root, *below(root, fields)))


def seconds(words: Sequence[str]) -> float:
    """User and system seconds of a process and of the children it has waited for. words: as in stat_fields."""
    return sum(int(word) for word in words[11:15]) / TICKS


def stat_fields() -> dict[int, list[str]]:
    """Fields 3 onwards of /proc/<pid>/stat of every process: state, parent, …; 11 to 14 are times in ticks."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            found[int(entry)] = text[text.rindex(")") + 2 :].split()
    return found


def status_of(pid: int) -> dict[str, str]:
    """/proc/<pid>/status by name; empty where the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def high_water(status: Mapping[str, str]) -> int:
    """Peak resident bytes of a process so far; 0 where it has gone."""
    return int(status.get("VmHWM", "0 kB").split()[0]) * 1024


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Run a command and write what its whole tree used as JSON.")
    parser.add_argument("report", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    options.report.write_text(json.dumps(keep(command)))


if __name__ == "__main__":
    main(sys.argv[1:])
