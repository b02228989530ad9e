"""The sandbox attributes every death to its record, keeps every other result, and leaves no process behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import RecordError, RunError
from stages.sandbox.board import Board
from stages.sandbox.parent import Limits, Sandbox
from stages.sandbox.pool import borrowed, close_idle

TARGETS = "tests.stages.sandbox.targets"
BEHAVE = f"{TARGETS}:behave"
LIMITS = Limits(memory_bytes=192 << 20, cpu_seconds=0.5)


def said(result: bytes | RecordError) -> bytes | str:
    return result.reason if isinstance(result, RecordError) else result


def good(number: int) -> bytes:
    return f"good {number:05d}".encode()


def test_each_death_is_its_own_record_s_and_every_other_result_is_kept():
    records = [good(number) for number in range(300)]
    deeds = {
        5: (b"CRSH", "DecoderCrashed: the decoder died of SIGSEGV"),
        6: (b"ABRT", "DecoderCrashed: the decoder died of SIGABRT"),
        70: (b"SPIN", "DecoderTimeout: more than 0.5 CPU seconds"),
        150: (b"EATS", "DecoderOutOfMemory: more than 201,326,592 bytes of memory"),
        191: (b"EXIT", "DecoderCrashed: the decoder died of exit code 7"),
        192: (b"RFUS", "Truncated: it ends too early"),
        299: (b"CRSH", "DecoderCrashed: the decoder died of SIGSEGV"),
    }
    for place, (deed, _) in deeds.items():
        records[place] = deed
    with Sandbox(BEHAVE, limits=LIMITS) as sandbox:
        results = sandbox.map(records)
    for place, result in enumerate(results):
        if place in deeds:
            assert str(result) == deeds[place][1]
        else:
            assert result == good(place)


def test_a_record_that_waits_forever_is_given_up():
    with Sandbox(BEHAVE, limits=Limits(wall_seconds=0.5)) as sandbox:
        results = sandbox.map([good(1), b"WAIT", good(2)])
    assert str(results[1]) == "DecoderTimeout: no result after 0.5 seconds"
    assert [results[0], results[2]] == [good(1), good(2)]


def test_an_exception_is_a_result_with_no_address_in_it():
    with Sandbox(BEHAVE) as sandbox:
        (result,) = sandbox.map([b"FAIL"])
        assert sandbox.starts == 1
    assert str(result) == "ValueError: cannot read <object object at 0x…> \udcff"


def test_a_kill_from_outside_does_not_make_a_good_record_dead(tmp_path: Path):
    record = b"ONCE" + str(tmp_path / "seen").encode()
    with Sandbox(BEHAVE, limits=Limits(open_files=True)) as sandbox:
        results = sandbox.map([good(1), record, good(2)])
        assert sandbox.starts == 2
    assert results == [good(1), record[-10:], good(2)]


def test_a_child_killed_while_idle_is_replaced_and_nobody_is_blamed():
    with Sandbox(BEHAVE) as sandbox:
        assert sandbox.map([good(1)]) == [good(1)]
        assert sandbox.pid is not None
        os.kill(sandbox.pid, signal.SIGKILL)
        assert sandbox.map([good(2), good(3)]) == [good(2), good(3)]
        assert sandbox.starts == 2


def test_what_a_library_prints_corrupts_nothing():
    with Sandbox(BEHAVE) as sandbox:
        results = sandbox.map([b"CHAT-aaaaaaaaaa", b"FLOD-bbbbbbbbbb", good(1)])
    assert results == [b"aaaaaaaaaa", b"bbbbbbbbbb", good(1)]


def test_a_board_written_over_is_a_crash_and_no_nonsense_comes_out():
    with Sandbox(BEHAVE) as sandbox:
        results = sandbox.map([good(1), b"SCRB", good(2)])
        assert sandbox.map([good(3)]) == [good(3)]
    assert [said(result) for result in results] == [good(1), "DecoderCrashed", good(2)]


def test_the_target_can_open_neither_file_nor_socket():
    with Sandbox(BEHAVE) as sandbox:
        assert sandbox.map([b"OPEN-aaaaaaaaaa"]) == [b"aaaaaaaaaa"]
    with Sandbox(BEHAVE, limits=Limits(open_files=True)) as sandbox:
        assert [said(result) for result in sandbox.map([b"OPEN"])] == ["Opened"]


def test_the_child_is_given_no_credentials(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with Sandbox(f"{TARGETS}:environment") as sandbox:
        (result,) = sandbox.map([b""])
    assert isinstance(result, bytes)
    assert b"hush" not in result
    assert b"OMP_NUM_THREADS=1" in result


def test_options_reach_the_target():
    with Sandbox(BEHAVE, {"suffix": "!"}) as sandbox:
        assert sandbox.map([good(1)]) == [good(1) + b"!"]


def test_a_reply_is_at_most_as_long_as_promised():
    with Sandbox(f"{TARGETS}:long_reply", limits=Limits(reply_bytes=1000)) as sandbox:
        results = sandbox.map([b"1000", b"1001", b"0"])
    assert [said(result) for result in results] == [bytes(1000), "ReplyTooLarge", b""]


def test_records_of_any_size_pass_and_the_board_shrinks_again():
    sizes = [0, 1, 30 << 20, 5, 3 << 20, 0]
    with Sandbox(f"{TARGETS}:size", limits=Limits(chunk_bytes=1 << 20, memory_bytes=256 << 20)) as sandbox:
        assert sandbox.map([bytes(size) for size in sizes]) == [str(size).encode() for size in sizes]
        assert sandbox._board is not None
        assert sandbox._board.size < 8 << 20


def test_a_record_larger_than_the_memory_never_reaches_the_child():
    with Sandbox(f"{TARGETS}:size", limits=Limits(memory_bytes=100_000_000)) as sandbox:
        results = sandbox.map([bytes(100_000_001), b"abc"])
        assert sandbox.starts == 1
    assert [said(result) for result in results] == ["DecoderOutOfMemory", b"3"]


def test_the_child_is_replaced_after_so_many_records():
    with Sandbox(f"{TARGETS}:who", limits=Limits(chunk_records=5, recycle=10)) as sandbox:
        pids = sandbox.map([b""] * 25)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [10, 10, 5]


@pytest.mark.parametrize(
    ("target", "why"), [("no.such_module:f", "No module named 'no'"), (f"{TARGETS}:no_such", "no attribute 'no_such'")]
)
def test_a_target_that_cannot_be_imported_stops_the_run(target: str, why: str):
    with Sandbox(target) as sandbox, pytest.raises(RunError, match=why):
        sandbox.map([b""])


def test_no_record_no_child():
    with Sandbox("no.such_module:f") as sandbox:
        assert sandbox.map([]) == []
        assert sandbox.starts == 0


KINDS = {b"good": b"good", b"RFUS": "Truncated", b"FAIL": "ValueError", b"EXIT": "DecoderCrashed"}


@settings(max_examples=12)
@given(st.lists(st.sampled_from([*KINDS, *[b"good", b"RFUS"] * 3]), max_size=12), st.integers(1, 5))
def test_a_result_does_not_depend_on_the_records_around_it(records: list[bytes], chunk: int):
    with Sandbox(BEHAVE, limits=Limits(chunk_records=chunk)) as sandbox:
        assert [said(result) for result in sandbox.map(records)] == [KINDS[record] for record in records]


def test_threads_may_share_a_sandbox() -> None:
    results: dict[int, list[bytes | RecordError]] = {}
    with Sandbox(BEHAVE) as sandbox:

        def work(thread: int) -> None:
            results[thread] = sandbox.map([good(1000 * thread + number) for number in range(200)])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sandbox.starts == 1
    assert results == {mine: [good(1000 * mine + number) for number in range(200)] for mine in range(4)}


def test_the_child_outlives_the_thread_that_started_it():
    with Sandbox(BEHAVE) as sandbox:
        thread = threading.Thread(target=lambda: sandbox.map([good(1)]))
        thread.start()
        thread.join()
        assert sandbox.map([good(2)]) == [good(2)]
        assert sandbox.starts == 1


def in_fork(sandbox: Sandbox, answers: "multiprocessing.SimpleQueue[list[bytes | RecordError]]") -> None:
    answers.put(sandbox.map([b""]))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_gets_a_child_of_its_own():
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with Sandbox(f"{TARGETS}:who") as sandbox:
        before = sandbox.map([b""])
        process = context.Process(target=in_fork, args=(sandbox, answers))
        process.start()
        elsewhere = answers.get()
        process.join()
        assert process.exitcode == 0
        assert elsewhere != before
        assert sandbox.map([b""]) == before


def test_closing_ends_the_child_and_the_sandbox_can_be_used_again():
    sandbox = Sandbox(f"{TARGETS}:who")
    first = sandbox.map([b""])
    assert isinstance(first[0], bytes)
    sandbox.close()
    sandbox.close()
    assert not psutil.pid_exists(int(first[0]))
    assert sandbox.map([b""]) != first
    sandbox.close()


def test_a_borrowed_sandbox_is_warm_for_the_next_and_never_shared():
    with borrowed(f"{TARGETS}:who", {}, LIMITS) as first, borrowed(f"{TARGETS}:who", {}, LIMITS) as second:
        one, other = first.map([b""]), second.map([b""])
    assert one != other
    with borrowed(f"{TARGETS}:who", {}, LIMITS) as again:
        assert again.map([b""]) in (one, other)
    with borrowed(f"{TARGETS}:who", {}, Limits()) as unlike:
        assert unlike.map([b""]) not in (one, other)
    close_idle()
    assert isinstance(one[0], bytes)
    assert not psutil.pid_exists(int(one[0]))


SCRIPT = """
import sys
from stages.sandbox.parent import Sandbox
sandbox = Sandbox("tests.stages.sandbox.targets:behave")
sandbox.map([b"good"])
print(sandbox.pid, flush=True)
sandbox.map([sys.argv[1].encode()])
"""


def start_parent(deed: str) -> tuple["subprocess.Popen[bytes]", psutil.Process]:
    """A process in mid-record, and its child."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", SCRIPT, deed]
    parent = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    return parent, child


def wait_until_gone(child: psutil.Process) -> None:
    """A child whose parent is gone may stay as a zombie where nobody reaps it: that is gone too."""
    until = time.monotonic() + 60
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, f"the child still runs: {child}"
        time.sleep(0.01)


@pytest.mark.parametrize("deed", ["WAIT", "SPIN"])
def test_the_child_dies_with_its_parent_even_inside_native_code(deed: str):
    parent, child = start_parent(deed)
    parent.kill()
    parent.communicate()
    wait_until_gone(child)


def test_an_interrupt_leaves_no_child_and_the_child_says_nothing():
    parent, child = start_parent("WAIT")
    time.sleep(0.1)
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate()
    assert b"KeyboardInterrupt" in errors
    assert b"child.py" not in errors
    wait_until_gone(child)


def test_after_an_interrupt_the_sandbox_starts_afresh(monkeypatch: pytest.MonkeyPatch):
    with Sandbox(BEHAVE) as sandbox:
        sandbox.map([good(1)])

        def interrupted(seconds: float) -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(sandbox, "_answered", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sandbox.map([good(2)])
        monkeypatch.undo()
        assert sandbox.pid is None
        assert sandbox.map([good(3)]) == [good(3)]


def test_a_board_gives_no_reply_that_was_not_written():
    board = Board.create()
    board.write_inputs([b"one", b"two"], 100, 1000)
    with pytest.raises(ValueError, match="record 1 has status 0"):
        board.reply(1)
    board.begin(0, 1.5)
    board.write_reply(0, 1, b"reply")
    assert board.current() == (0, 1.5)
    assert board.reply(0) == (1, b"reply")
    assert board.size == 1000
    board.close()
