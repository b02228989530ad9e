"""The sandbox's child: runs one pure function on record after record, under limits. Started by `stages.sandbox.parent`.

It imports its target and nothing else of ours, reads records from the shared board and writes replies there. Two pipes
carry only wake-ups. Limits are set after the target is imported: memory, CPU seconds a record, no core dump,
no file growth, and no new file descriptor, so the target can open neither files nor sockets.

What it does not protect against: native code that is taken over by its input still runs as this user, with the
descriptors and the memory of this process. Use a container where that matters.
"""

import contextlib
import fcntl
import gc
import importlib
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from manifests.errors import RecordError
from stages.sandbox.board import COMMAND, DONE, FAILED, FINISHED, OUT_OF_MEMORY, READY, Board

LIFE = 0  # standard input: never carries a byte, closes when the parent dies
ADDRESS = re.compile(r"\b0x[0-9a-f]+")  # in the text of an exception; another one in each process


def main() -> int:
    settings = json.loads(sys.argv[1])
    commands, answers, board_fd = settings["commands"], settings["answers"], settings["board"]
    prepare_signals()
    module, _, name = settings["target"].partition(":")
    function = getattr(importlib.import_module(module), name)
    gc.freeze()  # what is imported stays; collections need not look at it
    set_limits(settings["memory_bytes"], settings["open_files"])
    board = Board(board_fd)
    os.write(answers, READY)
    while command := os.read(commands, COMMAND.size):
        records, size = COMMAND.unpack(command)
        board.resize(size, truncate=False)
        for number in range(records):
            run_one(board, number, function, settings)
        signal.setitimer(signal.ITIMER_PROF, 0)
        board.finish()
        os.write(answers, FINISHED)
    return 0


def run_one(board: Board, number: int, function: Callable[..., bytes], settings: dict[str, Any]) -> None:
    """One record: its reply or its error goes on the board; a lack of memory ends the process."""
    try:
        data = board.begin(number, time.monotonic())
        signal.setitimer(signal.ITIMER_PROF, settings["cpu_seconds"])  # SIGPROF ends the process
        reply = function(data, **settings["options"])
        if len(reply) > settings["reply_bytes"]:
            raise RecordError("ReplyTooLarge", f"{len(reply):,} bytes, more than {settings['reply_bytes']:,}")
        board.write_reply(number, DONE, reply)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except RecordError as error:
        write_error(board, number, error.reason, error.message, settings["reply_bytes"])
    except Exception as error:
        write_error(board, number, type(error).__name__, ADDRESS.sub("0x…", str(error)), settings["reply_bytes"])


def write_error(board: Board, number: int, reason: str, message: str, reply_bytes: int) -> None:
    reply = json.dumps([reason, message[:1000]]).encode()
    if len(reply) > reply_bytes:  # escapes make it longer than it was
        reply = json.dumps([reason[:100], ""]).encode()
    board.write_reply(number, FAILED, reply)


def prepare_signals() -> None:
    """Ctrl-C is for the parent. The kernel ends this process when the parent dies, even inside native code.

    Standard input is a pipe whose other end only the parent holds; with O_ASYNC its closing raises SIGIO, which ends
    the process. (PR_SET_PDEATHSIG would fire when the thread that started us ends, and engines start many.)
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGIO, signal.SIGPROF, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # where pipes cannot signal, it ends with the record it is on
        fcntl.fcntl(LIFE, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(LIFE, fcntl.F_SETFL, fcntl.fcntl(LIFE, fcntl.F_GETFL) | os.O_ASYNC)


def set_limits(memory_bytes: int, open_files: bool) -> None:
    """Of the private writable memory of this process, of dumps, of file growth and of descriptors."""
    limit(resource.RLIMIT_DATA, memory_bytes)
    # 1, not 0: Linux hands no dump to a collector program at 1, and the smallest dump is larger than that.
    limit(resource.RLIMIT_CORE, 1 if sys.platform == "linux" else 0)
    limit(resource.RLIMIT_FSIZE, 64 << 10)  # of what native libraries print
    if not open_files:
        spare = os.dup(LIFE)  # the lowest free descriptor: the mapped board takes it, and then there is none
        os.close(spare)
        limit(resource.RLIMIT_NOFILE, spare + 1)


def limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    sys.exit(main())
