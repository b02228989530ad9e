"""CPU seconds and memory of a whole tree of processes, however its parents end.

A measured command runs under a keeper (this file as a program) that adopts every descendant whose parent has gone:

    bench ──▶ keeper ──▶ command ──▶ workers, fork servers, sandboxes, JVM
                  ▲______________________________│ adopted when orphaned, so that the kernel's accounting reaches it

The kernel adds a process's user and system time to its parent's when the parent waits for it, so what the keeper has
waited for, once nobody is left, is the whole tree. The keeper's own time is not in it. Linux only.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
SECONDS_A_LOOK = 0.05  # between looks at memory; a process's high-water mark misses nothing but its last moment
TICKS = os.sysconf("SC_CLK_TCK")


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
    memory = Memory(child.pid)
    memory.start()
    status = child.wait()
    ended = time.monotonic()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    memory.stop.set()
    memory.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu": used.ru_utime + used.ru_stime,
        "wall": ended - started,
        "largest": used.ru_maxrss * 1024,
        "driver": memory.driver,
        "others": memory.others,
        "status": status,
    }


class Memory(threading.Thread):
    """Watches the high-water mark of the command's own process and of the largest one below it."""

    def __init__(self, driver: int):
        super().__init__(daemon=True)
        self._pid = driver
        self._seen: dict[int, list[int]] = {}
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(SECONDS_A_LOOK):
            for pid in descendants(os.getpid()):
                self._seen.setdefault(pid, []).append(high_water(pid))

    @property
    def driver(self) -> int:
        return max(self._seen.get(self._pid, [0]))

    @property
    def others(self) -> int:
        """Of processes seen twice or more: one that is just being started still shows its parent's memory."""
        return max((max(seen[1:]) for pid, seen in self._seen.items() if pid != self._pid and seen[1:]), default=0)


def descendants(root: int) -> list[int]:
    """Process ids below `root`, itself not among them."""
    parents = {pid: int(fields[1]) for pid, fields in stat_fields().items()}
    found: set[int] = set()
    layer = {root}
    while layer:
        layer = {pid for pid, parent in parents.items() if parent in layer} - found
        found |= layer
    return sorted(found)


def cpu_below(root: int) -> float:
    """User and system seconds that `root`, its living descendants and all that these have waited for have used.

    For differences inside one long-lived process, where `measure` cannot be: what a fork server or a JVM did for it
    counts, what ended as an orphan elsewhere does not.
    """
    fields = stat_fields()
    pids = {root, *descendants(root)}
    return sum(int(word) for pid in pids & fields.keys() for word in fields[pid][11:15]) / TICKS


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


def high_water(pid: int) -> int:
    """Peak resident bytes of a process so far; 0 where it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Run a command and write what its whole tree used as JSON.")
    parser.add_argument("report", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    options.report.write_text(json.dumps(keep(command)))


if __name__ == "__main__":
    main(sys.argv[1:])
