"""Faults fire where and as often as the schedule says, and a FaultyStore misbehaves as real stores do."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import faults
from manifests.errors import RunError, TransientError
from manifests.faults import Crash, Schedule
from manifests.faulty_store import FaultyStore
from manifests.store import Store

ROOT = Path(__file__).parents[2]


def passages(schedule: str, calls: list[str], seed: int = 0) -> list[str | None]:
    counted = Schedule(schedule, seed)
    return [counted.action(call) for call in calls]


def test_nothing_happens_unless_armed():
    assert faults.point("before_receipt") is None


def test_a_fault_fires_at_its_passage_and_as_often_as_said():
    assert passages("a:kill", ["b", "a", "a"]) == [None, "kill", None]
    assert passages("a:busy@2", ["a", "b", "a", "a"]) == [None, None, "busy", None]
    assert passages("a:busy@2x2", ["a"] * 4) == [None, "busy", "busy", None]
    assert passages("a:busy@3x*", ["a"] * 5) == [None, None, "busy", "busy", "busy"]
    assert passages("store.*:busy store.put:full@2", ["store.put", "store.put"]) == ["busy", "full"]


@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_a_share_is_the_same_every_time_and_about_as_large_as_said(seed, share):
    first = passages(f"a:busy%{share:.3f}", ["a"] * 2000, seed)
    assert first == passages(f"a:busy%{share:.3f}", ["a"] * 2000, seed)
    assert abs(first.count("busy") / 2000 - share) < 0.08


@pytest.mark.parametrize("text", ["a", "a:", ":kill", "a:explode", "a:kill@x", "a:kill@0.5", "a:busy%", "a kill"])
def test_a_schedule_that_means_nothing_is_refused(text):
    with pytest.raises(ValueError, match="fault"):
        Schedule(text)


@pytest.mark.parametrize(
    ("action", "error"), [("crash", Crash), ("busy", TransientError), ("full", OSError), ("fail", RuntimeError)]
)
def test_an_action_raises_what_the_world_would(action, error):
    with faults.armed(f"here:{action}") as schedule:
        with pytest.raises(error, match="here"):
            faults.point("here")
        assert faults.point("here") is None
    assert schedule.fired == [("here", action)]
    assert not isinstance(Crash("x"), Exception), "no handler of Exception survives a death"


def test_armed_ends_with_its_block_and_may_be_nested():
    with faults.armed("a:busyx*"):
        with faults.armed(""):
            faults.point("a")
        with pytest.raises(TransientError):
            faults.point("a")
    faults.point("a")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from manifests import faults\n" + textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_the_environment_arms_every_process():
    killed = run("print('before', flush=True); faults.point('here'); print('after')", WINNOW_FAULTS="here:kill")
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "before\n")


def test_a_fault_is_spent_once_some_process_has_had_it(tmp_path):
    """Or a worker that is started again after its death would die for ever."""
    environment = {"WINNOW_FAULTS": "here:kill@2x2", "WINNOW_FAULTS_DIR": str(tmp_path / "claims")}
    codes = [run("faults.point('here'); faults.point('here')", **environment).returncode for _ in range(4)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0, 0]


def test_a_schedule_in_a_file_may_change_while_processes_run(tmp_path):
    code = f"""
        from pathlib import Path
        file = Path({str(tmp_path / "schedule")!r})
        faults.point("a")
        file.write_text("a:fail@2")
        faults.point("a")
        try:
            faults.point("a")
        except RuntimeError as error:
            print(error)
        file.write_text("")
        faults.point("a")
    """
    done = run(code, WINNOW_FAULTS=f"@{tmp_path / 'schedule'}")
    assert done.stdout == "injected at a\n", done.stderr


# --- FaultyStore ------------------------------------------------------------------------------------------------------


def test_without_a_schedule_it_is_a_store_like_any_other(tmp_path):
    store = FaultyStore(str(tmp_path))
    assert store.create("a/b", b"1")
    store.put("a/c", b"123")
    assert store.read("a/b") + store.read_range("a/c", 1, 2) == b"123"
    assert [(entry.path, entry.size) for entry in store.list("a/")] == [("a/b", 1), ("a/c", 3)]
    store.delete("a/b")
    assert store.size("a/b") is None
    assert store.sweep() == 0


def test_it_travels_with_its_schedule(tmp_path, no_waiting):
    twin = pickle.loads(pickle.dumps(FaultyStore(str(tmp_path), "files.put:crash@2")))
    twin.put("a", b"1")
    with pytest.raises(Crash):
        twin.put("a", b"2")
    assert twin.read("a") == b"1", "it died before it wrote"


def test_death_after_a_write_leaves_it_written(tmp_path):
    store = FaultyStore(str(tmp_path), "files.create.done:crash")
    with pytest.raises(Crash):
        store.create("a", b"1")
    assert Store(str(tmp_path)).read("a") == b"1"


def test_a_conflict_is_looked_into(tmp_path, no_waiting):
    assert FaultyStore(str(tmp_path), "files.create:conflictx2").create("a", b"1")
    assert not FaultyStore(str(tmp_path), "files.create:conflict").create("a", b"2")
    with pytest.raises(TransientError, match="409"):
        FaultyStore(str(tmp_path), "files.create:conflictx*").create("b", b"1")


def test_in_a_race_the_other_writer_wins(tmp_path):
    store = FaultyStore(str(tmp_path), "files.create:race")
    assert not store.create("receipts/0.json", b'{"task":0}')
    assert store.read("receipts/0.json") == b'{"task":0} '


def test_a_lost_reply_after_a_lost_race_is_no_success(tmp_path, no_waiting):
    store = FaultyStore(str(tmp_path), "files.create:race files.create.done:busy")
    assert not store.create("a.json", b"{}"), "what is there is not quite what was given"
    assert FaultyStore(str(tmp_path), "files.create.done:busy").create("b", b"mine")


def test_a_stale_listing_is_the_one_before(tmp_path):
    store = FaultyStore(str(tmp_path), "files.list:stale files.list:stale@3")
    store.put("a", b"1")
    assert list(store.list()) == []
    assert [entry.path for entry in store.list()] == ["a"]
    store.put("b", b"1")
    assert [entry.path for entry in store.list()] == ["a"]
    assert [entry.path for entry in store.list()] == ["a", "b"]


def test_a_full_disk_and_a_busy_store_are_what_store_makes_of_them(tmp_path, no_waiting):
    with pytest.raises(RunError, match="no space left"):
        FaultyStore(str(tmp_path), "files.put:full").put("a", b"1")
    FaultyStore(str(tmp_path), "files.*:busy%0.3").put("a", b"1")
    with faults.armed("files.read:busyx*"), pytest.raises(TransientError):
        FaultyStore(str(tmp_path)).read("a")
