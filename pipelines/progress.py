"""Progress on stderr: tasks done, documents a second, share kept, time left."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, TextIO

EVERY_SECONDS = 0.5  # on a terminal, where a line is rewritten
EVERY_SECONDS_LOGGED = 10.0  # elsewhere, where every line stays


class Progress:
    """Counts receipts of the phase under way and says so. `quiet` says nothing."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False):
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._live = not quiet and self._stream.isatty()
        self._last = 0.0
        self._phase, self._units, self._done, self._reused, self._started = "", 0, 0, 0, 0.0
        self._counts: Counter[str] = Counter()
        self._failed = 0

    def start(self, phase: str, units: int, reused: int = 0) -> None:
        self._phase, self._units, self._done, self._reused = phase, units, reused, reused
        self._started = self._last = time.monotonic()
        self._counts, self._failed = Counter(), 0

    def done(self, receipt: Mapping[str, Any]) -> None:
        """One task ended: its receipt, or its failure."""
        if "failed" in receipt:
            self._failed += 1
        else:
            self._done += 1
            self._counts.update(receipt["counts"])
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if not self._quiet and now - self._last >= (EVERY_SECONDS if self._live else EVERY_SECONDS_LOGGED):
            self._last = now
            self._write(self._line(now), end="\r" if self._live else "\n")

    def finish(self) -> None:
        if not self._quiet and self._phase:
            self._write(self._line(time.monotonic(), ended=True), end="\n")

    def say(self, message: str) -> None:
        if not self._quiet:
            self._write(message, end="\n")

    def _write(self, text: str, end: str) -> None:
        self._stream.write(f"{text:<100}{end}" if self._live else f"{text}{end}")
        self._stream.flush()

    def _line(self, now: float, ended: bool = False) -> str:
        seconds = max(now - self._started, 1e-3)
        documents = next((self._counts[k] for k in ("in", "scored", "documents", "samples") if self._counts[k]), 0)
        text = f"  {self._phase:<24} {self._done}/{self._units} tasks"
        if documents:
            text += f"  {documents:,} documents  {documents / seconds:,.0f}/s"
        if self._counts["in"]:
            text += f"  kept {self._counts['kept'] / self._counts['in']:.1%}"
        if self._failed:
            text += f"  FAILED {self._failed}"
        if ended:
            text += f"  {seconds:.1f} s"
        elif self._done > self._reused:
            left = (self._units - self._done) * seconds / (self._done - self._reused)
            text += f"  about {left:.0f} s left"
        return text
