"""Functions that a sandbox runs in its tests. The first four bytes of a record say what it does to the child."""

import ctypes
import gc
import os
import re
import signal
import socket
import sys
import time
from typing import Any

from manifests.errors import RecordError
from stages.sandbox.board import Board


def behave(data: bytes, **options: Any) -> bytes:
    """Replies with the last ten bytes, unless told otherwise."""
    deed = DEEDS.get(data[:4])
    if deed is not None:
        deed(data)
    return data[-10:] + str(options.get("suffix", "")).encode()


def crash(data: bytes) -> None:
    ctypes.string_at(0)


def abort(data: bytes) -> None:
    os.abort()


def leave(data: bytes) -> None:
    os._exit(7)


def wait(data: bytes) -> None:
    time.sleep(1000)


def compute(data: bytes) -> None:
    """For hours inside native code, which lets no signal handler of Python's run."""
    re.match(r"(a|a)+$", "a" * 60 + "b")


def eat(data: bytes) -> None:
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def fail(data: bytes) -> None:
    raise ValueError(f"cannot read {object()} \udcff")


def refuse(data: bytes) -> None:
    raise RecordError("Truncated", "it ends too early")


def chatter(data: bytes) -> None:
    os.write(1, b"noise" * 1000)
    os.write(2, b"more noise")
    sys.stderr.write("and more")


def flood(data: bytes) -> None:
    for _ in range(1000):
        try:
            os.write(2, b"x" * 1000)
        except OSError:
            return


def scribble(data: bytes) -> None:
    """Native code gone wild: writes over the board, then dies."""
    board = next(item for item in gc.get_objects() if isinstance(item, Board))
    board.memory[: min(board.size, 4000)] = b"\xa5" * min(board.size, 4000)
    os._exit(1)


def open_something(data: bytes) -> None:
    for attempt in (lambda: open(__file__), socket.socket, lambda: os.open("/", os.O_RDONLY)):  # noqa: SIM115
        try:
            attempt()
        except OSError:
            continue
        raise RecordError("Opened", "it could open a file or a socket")


def die_once(data: bytes) -> None:
    """Killed from outside while on this record, the first time only. The record names a file to remember it by."""
    path = data[4:].decode()
    if not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT))
        os.kill(os.getpid(), signal.SIGKILL)


DEEDS = {
    b"CRSH": crash,
    b"ABRT": abort,
    b"EXIT": leave,
    b"WAIT": wait,
    b"SPIN": compute,
    b"EATS": eat,
    b"FAIL": fail,
    b"RFUS": refuse,
    b"CHAT": chatter,
    b"FLOD": flood,
    b"SCRB": scribble,
    b"OPEN": open_something,
    b"ONCE": die_once,
}


def environment(data: bytes) -> bytes:
    return "\n".join(f"{name}={value}" for name, value in os.environ.items()).encode()


def who(data: bytes) -> bytes:
    return str(os.getpid()).encode()


def long_reply(data: bytes) -> bytes:
    return bytes(int(data))


def size(data: bytes) -> bytes:
    return str(len(data)).encode()
