import io
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest

from manifests.errors import FailedTasks, RunError
from pipelines import commit
from pipelines.engines.local import LocalEngine
from pipelines.phase import check_narrow
from pipelines.progress import Progress
from tests.toys import LastDigits, Squares, counted, run_folder

TRUTH = {0: 12, 1: 24, 2: 0, 3: 0, 4: 24, 5: 12, 6: 24, 7: 0, 8: 0, 9: 24}


def execute(phases, run, workers=2):
    stream = io.StringIO()
    LocalEngine(workers).execute(phases, run, Progress(stream))
    return stream.getvalue()


@pytest.mark.parametrize("workers", [1, 3])
def test_phases_run_in_order_and_empty_buckets_commit_too(tmp_path, workers):
    phases = [Squares(12), LastDigits()]
    run = run_folder(tmp_path, phases)
    execute(phases, run, workers)
    assert counted(run) == TRUTH
    assert run.commit("squares")["counts"] == {"dropped/odd.max": 12, "in": 120, "kept": 108}


def test_a_worker_that_is_killed_once_costs_nothing(tmp_path):
    flag = tmp_path / "kill-once"
    flag.touch()
    phases = [Squares(12, ((5, f"once:{flag}"),)), LastDigits()]
    run = run_folder(tmp_path / "out", phases)
    execute(phases, run)
    assert counted(run) == TRUTH


def test_a_task_that_kills_its_worker_fails_alone_and_a_rerun_tries_only_that(tmp_path):
    bad = [Squares(6, ((2, "die"), (4, "raise"))), LastDigits()]
    run = run_folder(tmp_path, bad)
    with pytest.raises(FailedTasks) as caught:
        execute(bad, run)
    assert set(caught.value.failures) == {2, 4}
    assert "died 3 times" in caught.value.failures[2]
    assert caught.value.failures[4] == "ValueError: as asked"
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / run.path("squares", "receipts")).iterdir()}
    assert sorted(written) == ["000000.json", "000001.json", "000003.json", "000005.json"]
    good = [Squares(6), LastDigits()]
    execute(good, run)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / run.path("squares", "receipts")).iterdir()}
    assert {name: after[name] for name in written} == written
    assert sum(counted(run).values()) == 60


def test_a_busy_store_is_tried_three_times(tmp_path):
    phases = [Squares(2, ((1, "busy"),))]
    with pytest.raises(FailedTasks, match="503 slow down"):
        execute(phases, run_folder(tmp_path, phases))


def test_a_committed_phase_is_passed_over(tmp_path):
    phases = [Squares(3)]
    run = run_folder(tmp_path, phases)
    execute(phases, run)
    assert execute([Squares(3, ((0, "raise"), (1, "die")))], run) == ""


def test_an_exchange_of_payload_is_refused_when_it_is_planned(tmp_path):
    class Wide(LastDigits):
        schema = pa.schema([pa.field("digit", pa.int64()), pa.field("document", pa.string())])

    with pytest.raises(RunError, match="'document' of type string cannot cross an exchange"):
        check_narrow(Wide())


def test_documents_that_are_not_accounted_for_stop_the_phase(tmp_path):
    with pytest.raises(RunError, match="10 documents came in but 9"):
        commit.check_conservation("squares", {"in": 10, "kept": 8, "dead/Truncated": 1})


SCRIPT = """
import sys
from pipelines.engines.local import LocalEngine
from pipelines.progress import Progress
from tests.toys import Squares, run_folder

if __name__ == "__main__":
    phases = [Squares(8, ((3, "sleep"),))]
    LocalEngine(2).execute(phases, run_folder(sys.argv[1], phases), Progress())
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_is_stopped_leaves_a_state_that_resumes(tmp_path, how):
    script = tmp_path / "driver.py"
    script.write_text(SCRIPT)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, script, out], stderr=subprocess.PIPE, env=environment) as driver:
        phases = [Squares(8)]
        run = run_folder(out, phases)
        receipts = out / run.path("squares", "receipts")
        while not receipts.is_dir() or len(list(receipts.iterdir())) < 7:
            time.sleep(0.05)
        driver.send_signal(how)
        driver.wait(20)
    execute(phases, run)
    assert run.commit("squares")["tasks"] == 8
