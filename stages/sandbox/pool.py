"""Sandboxes kept alive between uses: a task borrows one, and the next task of this process finds it warm."""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import Any

from stages.sandbox.parent import Limits, Sandbox

_LOCK = threading.Lock()
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)
_IDLE: dict[tuple[str, str, Limits], list[Sandbox]] = {}
_FINALIZER: list[Finalize] = []


@contextmanager
def borrowed(target: str, options: Mapping[str, Any], limits: Limits) -> Iterator[Sandbox]:
    """A sandbox of this target, options and limits for one thread at a time, started only if none is idle.

    When the process ends, the idle ones are closed and waited for, so that their CPU time counts as its children's.
    """
    key = (target, json.dumps(options, sort_keys=True), limits)
    with _LOCK:
        if not _FINALIZER or not _FINALIZER[0].still_active():
            _FINALIZER[:] = [Finalize(None, close_idle, exitpriority=10)]
        idle = _IDLE.get(key)
        sandbox = idle.pop() if idle else Sandbox(target, options, limits)
    try:
        yield sandbox
    finally:
        with _LOCK:
            _IDLE.setdefault(key, []).append(sandbox)


def close_idle() -> None:
    """Ends every idle child of this process."""
    with _LOCK:
        sandboxes = [sandbox for idle in _IDLE.values() for sandbox in idle]
        _IDLE.clear()
    for sandbox in sandboxes:
        sandbox.close()
