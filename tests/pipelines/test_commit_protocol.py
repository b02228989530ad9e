"""The commit protocol against everything that can happen to it, found by hypothesis: death at any point, the same task
delivered twice, a store that is busy, loses replies, lists too little, races or is full."""

import hashlib
import itertools
import json

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manifests import faults, store
from manifests.errors import FailedTasks, RunError, TransientError
from manifests.faults import Crash
from manifests.faulty_store import FaultyStore
from pipelines import commit, folder
from pipelines.folder import RunFolder
from tests.toys import Squares, run_folder

TASKS = 4
POINTS = ["plan", "data", "receipt", "commit"]
OWN = st.sampled_from([f"{when}_{what}" for what in POINTS for when in ("before", "after")])
STORE = st.sampled_from(
    [f"store.{operation}{done}" for operation in ("create", "put", "read", "list") for done in ("", ".done")]
)
SCHEDULES = st.one_of(
    st.just(""),
    st.builds("{}:crash".format, OWN),
    st.builds("{}:crash@{}".format, STORE, st.integers(1, 4)),
    st.builds("{}:busy@{}x{}".format, STORE, st.integers(1, 3), st.integers(1, 20)),
    st.builds("store.{}:full@{}".format, st.sampled_from(["put", "create"]), st.integers(1, 3)),
    st.just("store.*:busy%0.2"),
    st.builds("files.list:stale@{}".format, st.integers(1, 3)),
    st.builds("files.create:{}@{}".format, st.sampled_from(["race", "conflict"]), st.integers(1, 3)),
    st.builds("files.create:race@{0} files.create.done:busy@{0}".format, st.integers(1, 3)),
)
names = itertools.count()


class Protocol(RuleBasedStateMachine):
    """Deliveries, commits and plans of one phase in any order, each with its own misfortune."""

    def __init__(self):
        super().__init__()
        self.phase = Squares(TASKS)
        self.run: RunFolder = run_folder(f"memory://protocol-{next(names)}", [self.phase])
        self.planned = False
        self.receipts: dict[str, bytes] = {}
        self.committed: bytes | None = None

    def quietly(self, schedule, action):
        """Runs an action that may die, be refused or be left unanswered; its return value, or None."""
        with faults.armed(schedule):
            try:
                return action()
            except (Crash, TransientError, RunError, FailedTasks):
                return None

    @rule(schedule=SCHEDULES)
    def plan(self, schedule):
        if self.quietly(schedule, lambda: commit.write_plan(self.phase, self.run)) is not None:
            self.planned = True

    @precondition(lambda self: self.planned)
    @rule(task=st.integers(0, TASKS - 1), schedule=SCHEDULES)
    def deliver(self, task, schedule):
        outcome = self.quietly(schedule, lambda: commit.run_task(self.phase, self.run, task))
        if outcome is not None and "failed" not in outcome:
            path = self.run.path("squares", f"receipts/{task:06d}.json")
            assert json.loads(self.run.store.read(path)) == outcome, (
                "a task was told another receipt than the one there"
            )

    @precondition(lambda self: self.planned)
    @rule(schedule=SCHEDULES)
    def driver_comes_back(self, schedule):
        def resume():
            for task in commit.pending(self.phase, self.run, TASKS):
                commit.run_task(self.phase, self.run, task)
            return commit.commit(self.phase, self.run)

        self.quietly(schedule, resume)

    @precondition(lambda self: self.planned)
    @rule(schedule=SCHEDULES)
    def finish(self, schedule):
        self.quietly(schedule, lambda: commit.commit(self.phase, self.run))

    @invariant()
    def what_is_visible_is_whole_and_never_changes(self):
        seen = self.run.store
        for entry in seen.list(self.run.path("squares", "receipts/")):
            data = seen.read(entry.path)
            assert self.receipts.setdefault(entry.path, data) == data, "a receipt changed"
            file = json.loads(data)["files"]["squares"]
            assert hashlib.sha256(seen.read(file["path"])).hexdigest() == file["sha256"], "a partial or foreign file"
        if commit.is_committed(self.phase, self.run):
            data = seen.read(self.run.path("squares", "COMMIT.json"))
            self.committed = self.committed or data
            assert data == self.committed, "a commit changed"
            assert len(self.receipts) == TASKS, "committed without every receipt"

    def teardown(self):
        """Whatever happened, an untroubled rerun converges to the truth."""
        commit.write_plan(self.phase, self.run)
        for task in commit.pending(self.phase, self.run, TASKS):
            assert "failed" not in commit.run_task(self.phase, self.run, task)
        value = commit.commit(self.phase, self.run)
        assert value["counts"] == {"dropped/odd.max": TASKS, "in": 10 * TASKS, "kept": 9 * TASKS}
        squares = [json.loads(self.run.store.read(self.run.data("squares", t, "squares.json"))) for t in range(TASKS)]
        assert [n for part in squares for n in part] == [n * n for n in range(10 * TASKS)]
        self.what_is_visible_is_whole_and_never_changes()
        folder.open_store.cache_clear()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(store, "FIRST_WAIT", 0)
    monkeypatch.setattr(commit, "PAUSE", 0)
    monkeypatch.setattr(folder, "Store", FaultyStore)
    folder.open_store.cache_clear()


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=120, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
TestProtocol = pytest.mark.usefixtures("_no_waiting")(TestProtocol)


def test_a_full_disk_stops_the_run_with_the_remedy_and_a_rerun_goes_on(tmp_path):
    phase = Squares(3)
    run = run_folder(tmp_path, [phase])
    commit.write_plan(phase, run)
    commit.run_task(phase, run, 0)
    with (
        faults.armed("store.put:full"),
        pytest.raises(RunError, match="free some space and run the same command again"),
    ):
        commit.run_task(phase, run, 1)
    assert commit.pending(phase, run, 3) == [1, 2]
    for task in (1, 2):
        commit.run_task(phase, run, task)
    assert commit.commit(phase, run)["tasks"] == 3


def test_a_late_twin_gets_the_first_receipt_and_changes_nothing(tmp_path):
    phase = Squares(1)
    run = run_folder(tmp_path, [phase])
    commit.write_plan(phase, run)
    first = commit.run_task(phase, run, 0)
    body = Squares.body
    assert commit._publish(phase, run, 0, body(phase, run, commit.read_task(phase, run, 0), tmp_path), 0.0) == first
